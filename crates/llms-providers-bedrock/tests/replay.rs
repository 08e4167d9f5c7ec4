//! Recorded exchanges through the real SDK: the same text, reasoning, tool calls, finish and usage that boto3 makes
//! of the same bytes; each cut, each split of the reads.
// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

#[path = "it/support/mod.rs"]
mod support;

use std::sync::Arc;

use llms_core::{
    ChatModel, ChatModelExt, ChatRequest, ChatResponse, ErrorCode, Result, TimedEvent, Usage,
    observe::{CallTimeline, Reported, Timeline},
};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    Answer, End, Noting, Recording, Scripted, block_on, connect, context, event_type, frame_ends,
    in_one_read, recordings,
};

/// The answer through the path its recording took, and what was observed.
async fn replay(recording: &Recording, answer: Answer) -> (Result<ChatResponse>, CallTimeline) {
    let model = connect(Scripted::new([answer])).await;
    let timeline = Timeline::new();
    let ctx = context().with_observer(Arc::new(timeline.clone()));
    let request = ChatRequest::text("?");
    let response = if recording.stream {
        model.collect(&request, &ctx).await
    } else {
        model.generate(&request, &ctx).await
    };
    (response, timeline.take())
}

/// An answer in the words of `expected.json`.
fn in_words(response: &ChatResponse) -> Value {
    let calls: Vec<Value> = response
        .tool_calls
        .iter()
        .map(|c| json!({"id": c.id, "name": c.name, "arguments": c.parse_arguments().unwrap()}))
        .collect();
    json!({
        "text": response.text,
        "reasoning": response.reasoning,
        "tool_calls": calls,
        "finish": response.finish_reason.as_ref().map(|f| f.as_str().to_owned()),
        "usage": response.usage.map(usage_words),
        "model": response.model,
        "id": response.id,
        "reasoning_signature": response.reasoning_blocks.iter().find_map(|b| b.signature.clone()),
        "redacted": response.reasoning_blocks.iter().filter(|b| b.encrypted.is_some()).count(),
    })
}

/// Back to Bedrock's disjoint classes.
fn usage_words(u: Usage) -> Value {
    let mut words = json!({
        "inputTokens": u.uncached_input_tokens(),
        "outputTokens": u.output_tokens,
        "totalTokens": u.total_tokens,
    });
    for (name, count) in
        [("cacheReadInputTokens", u.cache_read_tokens), ("cacheWriteInputTokens", u.cache_write_tokens)]
    {
        if let Some(count) = count {
            words[name] = json!(count);
        }
    }
    words
}

/// What boto3 says, with its stop reason in our word.
fn expected_words(expected: &Value) -> Value {
    let mut words = json!({});
    for key in ["text", "reasoning", "tool_calls", "usage", "model", "id"] {
        words[key] = expected[key].clone();
    }
    words["reasoning_signature"] = expected["reasoning_signature"].clone();
    words["redacted"] = json!(expected["redacted"].as_u64().unwrap_or(0));
    words["finish"] = json!(match expected["finish"].as_str().unwrap() {
        "end_turn" | "stop_sequence" => "stop",
        "max_tokens" => "length",
        "tool_use" => "tool_calls",
        "guardrail_intervened" | "content_filtered" => "content_filter",
        other => other,
    });
    words
}

#[test]
fn every_recording_gives_what_boto3_makes_of_it() {
    let (mut streams, mut whole, mut refusals, mut seals) = (0, 0, 0, 0);
    for recording in recordings() {
        for sizes in [&[usize::MAX][..], &[1], &[97], &[1, 300, 7]] {
            let answer = recording.answer.clone().split(sizes);
            let (response, seen) = block_on(replay(&recording, answer));
            let expected = &recording.expected;
            if let Some(refusal) = expected.get("error") {
                let error = response.unwrap_err();
                assert_eq!(error.message(), refusal["message"], "{}", recording.id);
                assert_eq!(error.status(), expected["status"].as_u64().map(|s| s as u16));
                assert_eq!(error.code(), ErrorCode::ModelNotAvailable, "{}", recording.id);
                refusals += 1;
                continue;
            }
            let response = response.unwrap_or_else(|e| panic!("{}: {e}", recording.id));
            let signed: String = response
                .reasoning_blocks
                .iter()
                .filter(|b| b.signature.is_some())
                .map(|b| b.text.as_str())
                .collect();
            if !signed.is_empty() {
                assert_eq!(Some(signed), response.reasoning, "{}: the seal covers the text", recording.id);
                seals += 1;
            }
            assert_eq!(
                in_words(&response),
                expected_words(expected),
                "{} in reads of {sizes:?}",
                recording.id
            );
            let latency = expected["metrics"]["latencyMs"].as_f64().map(Reported::Number);
            assert_eq!(seen.reported.get("bedrock.latency_ms"), latency.as_ref(), "{}", recording.id);
            let id = expected["request_id"].as_str().map(|t| Reported::Text(t.to_owned()));
            assert_eq!(seen.reported.get("bedrock.request_id"), id.as_ref(), "{}", recording.id);
            assert_eq!(seen.bytes_in, Some(recording.answer.reads.concat().len() as u64));
            if recording.stream { streams += 1 } else { whole += 1 }
        }
    }
    assert_eq!((streams, whole, refusals), (4 * 22, 4 * 22, 4));
    assert!(seals >= 4, "{seals}");
}

/// Drives one stream and returns its events and how it ended.
async fn drive(answer: Answer) -> (Vec<TimedEvent>, Result<llms_core::Outcome>) {
    let model = connect(Scripted::new([answer])).await;
    let mut events = Vec::new();
    let end = model.drive(&ChatRequest::text("?"), &context(), &mut events).await;
    (events, end)
}

#[test]
fn a_cut_at_every_frame_and_inside_it_is_seen() {
    let mut cuts = 0;
    for recording in recordings().into_iter().filter(|r| r.stream) {
        let bytes = recording.answer.reads.concat();
        let ends = frame_ends(&bytes);
        let starts: Vec<usize> = std::iter::once(0).chain(ends.iter().copied()).take(ends.len()).collect();
        let kinds: Vec<String> = starts.iter().zip(&ends).map(|(&a, &b)| event_type(&bytes[a..b])).collect();
        let stop = ends[kinds.iter().position(|k| k == "messageStop").unwrap()];
        let (whole, _) = block_on(drive(recording.answer.clone()));
        for &start in &starts {
            // At the boundary, inside the length, after the prelude, and one byte short of the end.
            let frame = *ends.iter().find(|&&e| e > start).unwrap() - start;
            for at in [start, start + 2, start + 12, start + frame - 1] {
                for end in [End::Complete, End::Broken] {
                    cuts += 1;
                    let answer = Answer::stream(&bytes[..at]).ending(end);
                    let (events, outcome) = block_on(drive(answer));
                    assert_eq!(events, in_one_read(&whole)[..events.len()], "{} cut at {at}", recording.id);
                    let outcome = outcome.map_err(|e| (e.code(), e.phase()));
                    let cut = format!("{} cut at {at} of {}, {end:?}", recording.id, bytes.len());
                    if at >= stop {
                        assert_eq!(outcome.expect(&cut).usage, None, "{cut}");
                    } else {
                        let code = match end {
                            End::Complete => ErrorCode::StreamTruncated,
                            _ => ErrorCode::StreamClosed,
                        };
                        let phase = Some(llms_core::CallPhase::Stream);
                        assert_eq!(outcome.expect_err(&cut), (code, phase), "{cut}");
                    }
                }
            }
        }
    }
    assert!(cuts > 2000, "{cuts}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_events_each_with_the_read_that_completed_it(
        which in 0_usize..22,
        sizes in prop::collection::vec(1_usize..700, 1..9),
    ) {
        let recording = recordings().into_iter().filter(|r| r.stream).nth(which).unwrap();
        let bytes = recording.answer.reads.concat();
        let answer = recording.answer.clone().split(&sizes);
        let read_ends: Vec<usize> =
            answer.reads.iter().scan(0, |end, r| { *end += r.len(); Some(*end) }).collect();
        // One event at most for each frame, in order: frame i was completed by this read.
        let completed_by: Vec<u32> = frame_ends(&bytes)
            .iter()
            .map(|&end| read_ends.iter().position(|&r| r >= end).unwrap() as u32)
            .collect();
        let (whole, _) = block_on(drive(recording.answer));
        let (sink, outcome) = block_on(async {
            let model = connect(Scripted::new([answer])).await;
            let mut sink = Noting::default();
            let outcome = model.drive(&ChatRequest::text("?"), &context(), &mut sink).await;
            (sink, outcome)
        });
        prop_assert!(outcome.is_ok());
        let same: Vec<_> = whole.iter().map(|e| e.event.clone()).collect();
        let split: Vec<_> = sink.events.iter().map(|(e, _)| e.clone()).collect();
        prop_assert_eq!(split, same);
        // The reads of the events are a subsequence of the frames' reads, ending with messageStop and metadata.
        let mut frames = completed_by.iter();
        for (event, read) in &sink.events {
            prop_assert!(frames.any(|r| r == read), "{:?} at read {}", event, read);
        }
        prop_assert_eq!(sink.events.last().map(|(_, r)| r), completed_by.last());
    }
}
