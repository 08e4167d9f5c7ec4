//! Recorded exchanges of InvokeModel and its stream, through the real SDK: the same text, tool calls, finish, usage,
//! metrics that boto3 (and for Anthropic's bodies Anthropic's own SDK) makes of the same bytes; each cut, each split.
// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use crate::support;

use std::{collections::BTreeMap, sync::Arc};

use llms_core::{
    ChatModel, ChatModelExt, ChatRequest, ChatResponse, ErrorCode, Outcome, Result, TimedEvent,
    observe::{CallTimeline, Reported, Timeline},
};
use llms_providers_bedrock::{Api, Model};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{
    Answer, End, Noting, Recording, Scripted, block_on, connect_with, context, frame_ends, in_one_read,
    invoke_recordings,
};

async fn connect(recording: &Recording, answer: Answer) -> Model {
    let id = recording.model.clone();
    let change = |mut c: llms_core::config::ModelConfig| {
        c.model = id;
        c.with_specific("api", "invoke")
    };
    connect_with(Scripted::new([answer]), change, &[]).await.unwrap()
}

async fn replay(recording: &Recording, answer: Answer) -> (Result<ChatResponse>, CallTimeline) {
    let model = connect(recording, answer).await;
    let Api::Invoke(family) = model.config().api() else { panic!("{:?}", model.config().api()) };
    assert_eq!(family.name(), recording.expected["family"], "{}", recording.id);
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

fn in_words(response: &ChatResponse) -> Value {
    let calls: Vec<Value> = response
        .tool_calls
        .iter()
        .map(|c| json!({"id": c.id, "name": c.name, "arguments": c.parse_arguments().unwrap()}))
        .collect();
    let usage = response.usage.unwrap();
    json!({
        "text": response.text,
        "reasoning": response.reasoning,
        "tool_calls": calls,
        "finish": response.finish_reason.as_ref().map(|f| f.as_str().to_owned()),
        "model": response.model,
        "id": response.id,
        "input": usage.uncached_input_tokens(),
        "output": usage.output_tokens,
        "total": usage.total_tokens,
        "cache_read": usage.cache_read_tokens,
        "cache_write": usage.cache_write_tokens,
    })
}

/// What the SDKs say, with stop reasons and counts in our words. A body without counts has those beside it.
fn expected_words(expected: &Value) -> Value {
    let mut words = json!({});
    for key in ["text", "reasoning", "tool_calls", "model", "id"] {
        words[key] = expected[key].clone();
    }
    words["finish"] = json!(match expected["finish"].as_str().unwrap() {
        _ if expected["guardrail"] == "INTERVENED" => "content_filter",
        "end_turn" | "stop_sequence" | "stop" | "FINISH" | "STOP_SEQUENCE" => "stop",
        "max_tokens" | "length" | "LENGTH" => "length",
        "tool_use" => "tool_calls",
        other => other,
    });
    let (usage, metrics) = (&expected["usage"], &expected["metrics"]);
    let one_of = |names: &[&str], beside: &str| {
        names.iter().map(|n| &usage[n]).find(|v| !v.is_null()).unwrap_or(&metrics[beside]).clone()
    };
    words["input"] = one_of(
        &["input_tokens", "inputTextTokenCount", "prompt_token_count", "inputTokens"],
        "inputTokenCount",
    );
    words["output"] = one_of(
        &[
            "output_tokens",
            "tokenCount",
            "totalOutputTextTokenCount",
            "generation_token_count",
            "outputTokens",
        ],
        "outputTokenCount",
    );
    words["total"] = usage["totalTokens"].clone();
    words["cache_read"] = one_of(&["cacheReadInputTokenCount"], "cacheReadInputTokenCount");
    words["cache_write"] = one_of(&["cacheWriteInputTokenCount"], "cacheWriteInputTokenCount");
    words
}

#[test]
fn every_recording_gives_what_the_vendors_sdks_make_of_it() {
    let mut seen_families = BTreeMap::<(String, bool), u32>::new();
    for recording in invoke_recordings() {
        let expected = &recording.expected;
        for sizes in [&[usize::MAX][..], &[1], &[97], &[1, 300, 7]] {
            let answer = recording.answer.clone().split(sizes);
            let (response, seen) = block_on(replay(&recording, answer));
            let response = response.unwrap_or_else(|e| panic!("{}: {e}", recording.id));
            assert_eq!(
                in_words(&response),
                expected_words(expected),
                "{} in reads of {sizes:?}",
                recording.id
            );
            for (key, metric) in [
                ("bedrock.latency_ms", "invocationLatency"),
                ("bedrock.first_byte_ms", "firstByteLatency"),
                ("bedrock.input_tokens", "inputTokenCount"),
                ("bedrock.output_tokens", "outputTokenCount"),
                ("bedrock.cache_read_tokens", "cacheReadInputTokenCount"),
                ("bedrock.cache_write_tokens", "cacheWriteInputTokenCount"),
            ] {
                let metric = expected["metrics"][metric].as_f64().map(Reported::Number);
                assert_eq!(seen.reported.get(key), metric.as_ref(), "{}: {key}", recording.id);
            }
            let id = expected["request_id"].as_str().map(|t| Reported::Text(t.to_owned()));
            assert_eq!(seen.reported.get("bedrock.request_id"), id.as_ref());
            let acted = expected["guardrail"].as_str().map(|t| Reported::Text(t.to_lowercase()));
            assert_eq!(seen.reported.get("bedrock.guardrail_action"), acted.as_ref());
            assert_eq!(seen.first_token.is_some(), recording.stream);
        }
        let family = expected["family"].as_str().unwrap().to_owned();
        *seen_families.entry((family, recording.stream)).or_default() += 1;
    }
    let count = |family: &str, stream| seen_families[&(family.to_owned(), stream)];
    assert_eq!((count("anthropic", true), count("titan", true), count("nova", true)), (8, 5, 3));
    assert_eq!((count("anthropic", false), count("titan", false), count("llama", false)), (3, 3, 3));
    assert_eq!((count("nova", false), count("mistral", false), count("cohere", false)), (2, 1, 1));
}

#[test]
fn a_guardrail_of_a_recording_says_what_it_did() {
    let recording = invoke_recordings().into_iter().find(|r| r.id == "bedrock-ea247615").unwrap();
    let (_, seen) = block_on(replay(&recording, recording.answer.clone()));
    let text = |key: &str| match &seen.reported[key] {
        Reported::Text(text) => text.clone(),
        Reported::Number(n) => panic!("{n}"),
    };
    assert_eq!(text("bedrock.guardrail_action"), "intervened");
    assert_eq!(text("bedrock.guardrail_policies"), "sensitive_information");
    assert!(matches!(seen.reported["bedrock.guardrail_output_ms"], Reported::Number(n) if n > 0.0));
}

async fn drive(recording: &Recording, answer: Answer) -> (Vec<TimedEvent>, Result<Outcome>) {
    let model = connect(recording, answer).await;
    let mut events = Vec::new();
    let end = model.drive(&ChatRequest::text("?"), &context(), &mut events).await;
    (events, end)
}

#[test]
fn a_cut_at_every_chunk_and_inside_it_is_seen() {
    let mut cuts = 0;
    for recording in invoke_recordings().into_iter().filter(|r| r.stream) {
        let bytes = recording.answer.reads.concat();
        let ends = frame_ends(&bytes);
        let (whole, _) = block_on(drive(&recording, recording.answer.clone()));
        // The last chunk has the metrics; the terminal marker is in it, but for Nova, where it stands before.
        let last = match recording.expected["family"].as_str() {
            Some("nova") => ends[ends.len() - 2],
            _ => ends[ends.len() - 1],
        };
        let starts = std::iter::once(0).chain(ends.iter().copied()).take(ends.len());
        for (start, end) in starts.zip(&ends) {
            for at in [start, start + 2, start + 12, end - 1] {
                for (end, code) in
                    [(End::Complete, ErrorCode::StreamTruncated), (End::Broken, ErrorCode::StreamClosed)]
                {
                    cuts += 1;
                    let answer = Answer::stream(&bytes[..at]).ending(end);
                    let (events, outcome) = block_on(drive(&recording, answer));
                    let cut = format!("{} cut at {at} of {}, {end:?}", recording.id, bytes.len());
                    assert_eq!(events, in_one_read(&whole)[..events.len()], "{cut}");
                    if at >= last {
                        assert_eq!(outcome.expect(&cut).usage, None, "{cut}");
                    } else {
                        let error = outcome.expect_err(&cut);
                        assert_eq!(error.code(), code, "{cut}");
                        assert_eq!(error.phase(), Some(llms_core::CallPhase::Stream), "{cut}");
                    }
                }
            }
        }
    }
    assert!(cuts > 1500, "{cuts}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_events_each_with_the_read_that_completed_its_chunk(
        which in 0_usize..16,
        sizes in prop::collection::vec(1_usize..900, 1..9),
    ) {
        let recording = invoke_recordings().into_iter().filter(|r| r.stream).nth(which).unwrap();
        let bytes = recording.answer.reads.concat();
        let answer = recording.answer.clone().split(&sizes);
        let read_ends: Vec<usize> =
            answer.reads.iter().scan(0, |end, r| { *end += r.len(); Some(*end) }).collect();
        let completed_by: Vec<u32> = frame_ends(&bytes)
            .iter()
            .map(|&end| read_ends.iter().position(|&r| r >= end).unwrap() as u32)
            .collect();
        let (whole, _) = block_on(drive(&recording, recording.answer.clone()));
        let (sink, outcome) = block_on(async {
            let model = connect(&recording, answer).await;
            let mut sink = Noting::default();
            let outcome = model.drive(&ChatRequest::text("?"), &context(), &mut sink).await;
            (sink, outcome)
        });
        prop_assert!(outcome.is_ok());
        let same: Vec<_> = whole.iter().map(|e| e.event.clone()).collect();
        let split: Vec<_> = sink.events.iter().map(|(e, _)| e.clone()).collect();
        prop_assert_eq!(split, same);
        for (event, read) in &sink.events {
            prop_assert!(completed_by.contains(read), "{:?} at read {}", event, read);
        }
        prop_assert!(sink.events.is_sorted_by_key(|(_, read)| *read));
        prop_assert_eq!(sink.events.last().map(|(_, r)| r), completed_by.last());
    }
}
