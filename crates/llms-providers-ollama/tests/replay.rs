//! Recorded answers of real servers, read by the codec, against what the official SDK made of the same bytes
//! (`recordings/SOURCES.md`); and what must hold for every one of them: any cut of the bytes gives the same events, any
//! truncation is an error.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use llms_core::{
    ChatResponse, Error, ErrorCode, EventSink, FinishReason, Outcome, Result, Stamp, StreamEvent, TimedEvent,
    Usage,
    config::ModelConfig,
    event::Collector,
    observe::HookValue,
    wire::{Codec as _, Decoder as _, Framer as _},
};
use llms_providers_ollama::{Codec, Config};
use proptest::prelude::*;
use serde_json::{Value, json};

fn codec_for(model: &str, api: &str) -> Codec {
    let config = ModelConfig::new("ollama", model).with_specific("api", api);
    Codec::new(Config::new(&config, &|_| None).unwrap())
}

fn codec() -> Codec {
    codec_for("tiny", "chat")
}

struct Recording {
    id: String,
    api: &'static str,
    stream: bool,
    status: u16,
    model: String,
    body: String,
    expected: Value,
}

fn recordings() -> Vec<Recording> {
    let chat = of(include_str!("recordings/ollama.jsonl"), include_str!("recordings/expected.json"), "chat");
    let generate = of(
        include_str!("recordings/generate.jsonl"),
        include_str!("recordings/generate.expected.json"),
        "generate",
    );
    assert!(chat.len() >= 11 && generate.len() >= 6);
    chat.into_iter().chain(generate).collect()
}

fn of(lines: &str, expected: &str, api: &'static str) -> Vec<Recording> {
    let expected: Value = serde_json::from_str(expected).unwrap();
    let recordings = lines.lines().map(|line| {
        let r: Value = serde_json::from_str(line).unwrap();
        let id = r["id"].as_str().unwrap().to_owned();
        let request: Value = serde_json::from_str(r["request"]["body"].as_str().unwrap()).unwrap();
        assert_eq!(r["request"]["path"], format!("/api/{api}"), "{id}");
        Recording {
            api,
            stream: r["stream"].as_bool().unwrap(),
            status: r["response"]["status"].as_u64().unwrap() as u16,
            model: request["model"].as_str().unwrap().to_owned(),
            body: r["response"]["body"].as_str().unwrap().to_owned(),
            expected: expected["recordings"][&id].clone(),
            id,
        }
    });
    recordings.collect()
}

fn streams() -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(|r| r.stream && r.status == 200)
}

/// Feeds `pieces` as a transport would, one read each; durations reported at the end go to `durations`.
fn drive(
    codec: &Codec,
    pieces: &[&[u8]],
    sink: &mut dyn EventSink,
    durations: &mut Vec<(&'static str, f64)>,
) -> Result<Outcome> {
    let (mut framer, mut decoder) = (codec.framer(), codec.decoder());
    for piece in pieces {
        framer.buffer().extend_from_slice(piece);
        while let Some(frame) = framer.next_frame()? {
            decoder.frame(frame, Stamp::default(), sink)?;
        }
    }
    if let Some(frame) = framer.finish()? {
        decoder.frame(frame, Stamp::default(), sink)?;
    }
    let outcome = decoder.finish();
    decoder.hooks(&mut |key, value| keep(durations, key, value));
    outcome
}

fn keep(durations: &mut Vec<(&'static str, f64)>, key: &'static str, value: HookValue<'_>) {
    match value {
        HookValue::Number(ms) => durations.push((key, ms)),
        HookValue::Text(word) => assert!(key == "ollama.start" && matches!(word, "cold" | "warm"), "{key}"),
    }
}

fn events(pieces: &[&[u8]]) -> (Vec<TimedEvent>, Result<Outcome>) {
    let mut events = Vec::new();
    let outcome = drive(&codec(), pieces, &mut events, &mut Vec::new());
    (events, outcome)
}

fn read(r: &Recording, durations: &mut Vec<(&'static str, f64)>) -> Result<ChatResponse> {
    let codec = codec_for(&r.model, r.api);
    if r.status != 200 {
        return Err(codec.classify(r.status, &http::HeaderMap::new(), r.body.as_bytes()));
    }
    if !r.stream {
        return codec.decode(r.body.as_bytes(), &mut |key, value| keep(durations, key, value));
    }
    let mut collector = Collector::default();
    let outcome = drive(&codec, &[r.body.as_bytes()], &mut collector, durations)?;
    let response = collector.finish();
    assert_eq!(response.usage, outcome.usage, "{}: events and outcome tell the same usage", r.id);
    assert_eq!(response.finish_reason, outcome.finish_reason, "{}", r.id);
    assert_eq!((&response.id, &response.model), (&outcome.id, &outcome.model), "{}", r.id);
    Ok(response)
}

/// The SDK hands on the server's word; with calls, `stop` means that they are wanted.
fn expected_finish(word: &str, calls: &[Value]) -> FinishReason {
    match word {
        "stop" if !calls.is_empty() => FinishReason::ToolCalls,
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        other => panic!("no rule for {other}"),
    }
}

#[test]
fn every_recording_reads_as_the_sdk_reads_it() {
    for r in recordings() {
        let (id, e) = (&r.id, &r.expected);
        assert_eq!(e["stream"], r.stream, "{id}");
        let mut durations = Vec::new();
        let got = read(&r, &mut durations);
        if let Some(error) = e["error"].as_object() {
            let got = got.expect_err(id);
            let code = match r.status {
                400 => ErrorCode::InvalidRequest,
                404 => ErrorCode::ModelNotAvailable,
                other => panic!("{id}: no rule for {other}"),
            };
            assert_eq!(got.code(), code, "{id}");
            assert!(got.message().starts_with(error["message"].as_str().unwrap()), "{id}: {got}");
            continue;
        }
        if e["finish"] == "load" {
            let got = got.expect_err(id);
            assert_eq!((got.code(), got.provider_code()), (ErrorCode::EmptyResponse, Some("load")), "{id}");
            continue;
        }
        let got = got.unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(got.text, e["text"].as_str().unwrap(), "{id}");
        assert_eq!(got.reasoning.as_deref(), e["reasoning"].as_str(), "{id}");
        let blocks: Vec<&str> = got.reasoning_blocks.iter().map(|b| b.text.as_str()).collect();
        assert_eq!(blocks, e["reasoning"].as_str().into_iter().collect::<Vec<_>>(), "{id}: what goes back");
        let expected_calls = e["tool_calls"].as_array().unwrap();
        let calls: Vec<Value> = got
            .tool_calls
            .iter()
            .map(|c| json!({"id": null, "name": c.name, "arguments": c.parse_arguments().unwrap()}))
            .collect();
        assert_eq!(&calls, expected_calls, "{id}");
        for (i, call) in got.tool_calls.iter().enumerate() {
            assert_eq!(call.id, format!("call_{i}"), "{id}");
        }
        let finish = e["finish"].as_str().map(|w| expected_finish(w, expected_calls));
        assert_eq!(got.finish_reason, finish, "{id}");
        let usage = Usage {
            input_tokens: e["usage"]["prompt_eval_count"].as_u64(),
            output_tokens: e["usage"]["eval_count"].as_u64(),
            ..Usage::default()
        };
        assert_eq!(got.usage, Some(usage), "{id}");
        assert_eq!(got.model.as_deref(), e["model"].as_str(), "{id}");
        assert_eq!(got.id, None, "{id}");
        let expected: Vec<(String, f64)> = ["total", "load", "prompt_eval", "eval"]
            .iter()
            .filter_map(|part| {
                let ns = e["durations_ns"][format!("{part}_duration")].as_f64()?;
                Some((format!("ollama.{part}_duration_ms"), ns / 1e6))
            })
            .collect();
        let durations: Vec<(String, f64)> = durations.iter().map(|(k, v)| ((*k).to_owned(), *v)).collect();
        assert_eq!(durations, expected, "{id}");
        assert_eq!(durations.len(), 4, "{id}");
    }
}

#[test]
fn tokens_are_the_lines_with_content_and_nothing_else() {
    for r in streams() {
        let (events, _) = events(&[r.body.as_bytes()]);
        let lines = r.body.lines().count() as u64;
        assert_eq!(r.expected["chunks"].as_u64(), Some(lines), "{}", r.id);
        let tokens = events.iter().filter(|e| e.event.is_token()).count() as u64;
        let empty = r.body.lines().filter(|l| {
            let line: Value = serde_json::from_str(l).unwrap();
            let m = if r.api == "chat" { &line["message"] } else { &line };
            let said = |field: &str| m[field].as_str().is_some_and(|t| !t.is_empty());
            !said("content") && !said("response") && !said("thinking") && m["tool_calls"].is_null()
        });
        assert_eq!(tokens, lines - empty.count() as u64, "{}: every line with content is a token", r.id);
        assert!(matches!(events[0].event, StreamEvent::Start { .. }), "{}", r.id);
    }
}

#[test]
fn a_stream_cut_at_any_line_is_truncated() {
    for r in streams() {
        let ends: Vec<usize> = r.body.match_indices('\n').map(|(at, _)| at + 1).collect();
        for at in std::iter::once(0).chain(ends).filter(|at| *at < r.body.trim_end().len()) {
            let error = events(&[&r.body.as_bytes()[..at]]).1.expect_err(&r.id);
            assert_eq!(error.code(), ErrorCode::StreamTruncated, "{} at {at}", r.id);
            assert!(error.is_retryable());
        }
    }
}

#[test]
fn a_stream_cut_inside_a_line_is_never_taken_for_whole() {
    for r in streams() {
        for at in 0..r.body.trim_end().len() {
            let error = events(&[&r.body.as_bytes()[..at]]).1.expect_err(&r.id);
            let cut_line = !matches!(r.body.as_bytes()[..at].last(), None | Some(b'\n'));
            // The end of the body ends the last line: what is left of it is no JSON.
            let expected = if cut_line { ErrorCode::MalformedResponse } else { ErrorCode::StreamTruncated };
            let whole_line = r.body.as_bytes()[at] == b'\n';
            let expected = if whole_line { ErrorCode::StreamTruncated } else { expected };
            assert_eq!(error.code(), expected, "{} at {at}", r.id);
        }
    }
}

#[test]
fn cut_every_few_bytes_the_events_are_the_same() {
    for r in streams() {
        let (whole, outcome) = events(&[r.body.as_bytes()]);
        let outcome = outcome.unwrap();
        for size in [1, 2, 3, 7, 97] {
            let pieces: Vec<&[u8]> = r.body.as_bytes().chunks(size).collect();
            let (cut, cut_outcome) = events(&pieces);
            assert_eq!(cut, whole, "{} by {size}", r.id);
            assert_eq!(cut_outcome.unwrap(), outcome, "{} by {size}", r.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn cut_anywhere_the_events_are_the_same(
        which in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let all: Vec<Recording> = streams().collect();
        let body = which.get(&all).body.as_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|c| c.index(body.len())).collect();
        at.extend([0, body.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|w| &body[w[0]..w[1]]).collect();
        let (cut, _) = events(&pieces);
        prop_assert_eq!(cut, events(&[body]).0);
    }
}

const DONE: &str = r#"{"model":"tiny","message":{"role":"assistant","content":""},"done_reason":"stop","done":true,"eval_count":4}"#;

fn joined(lines: &[&str]) -> Result<ChatResponse, Error> {
    let mut collector = Collector::default();
    drive(&codec(), &[lines.join("\n").as_bytes()], &mut collector, &mut Vec::new())?;
    Ok(collector.finish())
}

#[test]
fn parallel_calls_are_numbered_and_ids_of_newer_servers_kept() {
    let answer = joined(&[
        r#"{"model":"tiny","message":{"role":"assistant","content":"","tool_calls":[{"function":{"index":0,"name":"f","arguments":{"b":1.0,"a":"x y"}}},{"id":"call_9z","function":{"name":"g","arguments":{}}}]},"done":false}"#,
        r#"{"model":"tiny","message":{"role":"assistant","content":"","tool_calls":[{"function":{"index":0,"name":"h","arguments":"{\"c\":2}"}}]},"done":false}"#,
        DONE,
    ])
    .unwrap();
    let calls: Vec<_> =
        answer.tool_calls.iter().map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str())).collect();
    assert_eq!(
        calls,
        [("call_0", "f", r#"{"b":1.0,"a":"x y"}"#), ("call_9z", "g", "{}"), ("call_2", "h", r#"{"c":2}"#)]
    );
    assert_eq!(answer.finish_reason, Some(FinishReason::ToolCalls));
}

#[test]
fn content_of_the_last_line_and_unknown_fields_are_taken_as_they_come() {
    let answer = joined(&[
        r#"{"model":"tiny","created_at":5,"message":{"role":"assistant","content":null,"thinking":"hm","logprobs":[]},"brand_new":{},"done":false}"#
            .replace("\"created_at\":5,", "")
            .as_str(),
        r#"{"model":"tiny","message":{"role":"assistant","content":"a\n"},"done":false}"#,
        "",
        r#"{"done":false}"#,
        r#"{"model":"tiny","message":{"role":"assistant","content":"b"},"done":true,"prompt_eval_count":3}"#,
    ])
    .unwrap();
    assert_eq!((answer.text.as_str(), answer.reasoning.as_deref()), ("a\nb", Some("hm")));
    assert_eq!(answer.finish_reason, None, "older servers give no reason");
    assert_eq!(answer.usage, Some(Usage { input_tokens: Some(3), ..Usage::default() }));
}

#[track_caller]
fn stops(word: &str, expected: FinishReason) {
    let line = format!(r#"{{"model":"tiny","message":{{}},"done_reason":"{word}","done":true}}"#);
    assert_eq!(joined(&[&line]).unwrap().finish_reason, Some(expected));
}

#[test]
fn every_done_reason_has_its_meaning() {
    stops("stop", FinishReason::Stop);
    stops("length", FinishReason::Length);
    stops("context_full", FinishReason::Other("context_full".into()));
}

#[test]
fn an_error_line_ends_the_stream_with_its_meaning() {
    let text = r#"{"model":"tiny","message":{"role":"assistant","content":"a"},"done":false}"#;
    for (message, code) in [
        ("an error was encountered while running the model", ErrorCode::Stream),
        ("server busy, please try again.  maximum pending requests exceeded", ErrorCode::Overloaded),
    ] {
        let error = format!(r#"{{"error":"{message}"}}"#);
        let body = [text, &error, DONE].join("\n");
        let (events, outcome) = events(&[body.as_bytes()]);
        let e = outcome.unwrap_err();
        assert_eq!((e.code(), e.message()), (code, message));
        assert!(events.iter().any(|e| e.event.is_token()), "what came before the error stands");
    }
    // Ollama 0.9 refuses a bad `format` with status 200 and this as the only line.
    let refused = joined(&[
        r#"{"error":"invalid format: \"\\\"xx\\\"\"; expected \"json\" or a valid JSON Schema object"}"#,
    ]);
    assert_eq!(refused.unwrap_err().code(), ErrorCode::Stream);
}

#[test]
fn what_is_no_chat_is_malformed() {
    let e = joined(&["{\"model\":"]).unwrap_err();
    assert_eq!(e.code(), ErrorCode::MalformedResponse);
    let decode = |body: &str| codec().decode(body.as_bytes(), &mut |_, _| {}).unwrap_err();
    assert_eq!(decode("<html>").code(), ErrorCode::MalformedResponse);
    assert_eq!(decode(" \n").code(), ErrorCode::EmptyResponse);
    assert_eq!(decode("{}").code(), ErrorCode::InvalidResponse);
    assert_eq!(decode(r#"{"error":"server busy"}"#).code(), ErrorCode::Overloaded);
    assert_eq!(decode(r#"{"error":"oops"}"#).code(), ErrorCode::InvalidResponse);
}

/// Who answers may be said late; a `Start` behind content would void it.
#[test]
fn a_name_that_comes_late_voids_nothing() {
    let answer = joined(&[r#"{"message":{"content":"Hi"},"done":false}"#, DONE]).unwrap();
    assert_eq!(answer.text, "Hi");
}

/// Whoever collects an answer keeps every call of it.
#[test]
fn calls_are_bounded() {
    let calls = |n: usize| {
        let calls = vec![r#"{"function":{"name":"f","arguments":{}}}"#; n].join(",");
        joined(&[&format!(r#"{{"message":{{"tool_calls":[{calls}]}},"done":false}}"#), DONE])
    };
    assert_eq!(calls(1024).unwrap().tool_calls.len(), 1024);
    assert_eq!(calls(1025).unwrap_err().code(), ErrorCode::MalformedResponse);
}

/// A parser quotes what it found; an error does not carry all of it. Found by fuzzing.
#[test]
fn what_is_no_chat_is_not_repeated_at_length() {
    let body = format!(r#"{{"message":"{}"}}"#, "x".repeat(100_000));
    let whole = codec().decode(body.as_bytes(), &mut |_, _| {}).unwrap_err();
    let streamed = joined(&[&body]).unwrap_err();
    for e in [whole, streamed] {
        assert_eq!(e.code(), ErrorCode::MalformedResponse);
        assert!(e.message().len() < 2000, "{} bytes", e.message().len());
    }
}
