//! Recorded answers of the real service, read by the codec, against what the vendor's own SDK made of the same bytes
//! (`recordings/SOURCES.md`); and what must hold for every one of them: any cut of the bytes gives the same events, any
//! truncation is an error.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::collections::BTreeMap;

use llms_core::{
    ChatResponse, Error, ErrorCode, EventSink, FinishReason, Result, Stamp, StreamEvent, TimedEvent, Usage,
    config::ModelConfig,
    event::Collector,
    model::Outcome,
    observe::Reported,
    wire::{Codec as _, Decoder as _, Framer as _},
};
use llms_providers_anthropic::{Codec, Config};
use proptest::prelude::*;
use serde_json::Value;

fn codec_for(model: &str) -> Codec {
    let config = ModelConfig::new("anthropic", model).with_base_url("http://127.0.0.1:9");
    Codec::new(Config::new(&config, &|_| None).unwrap())
}

fn codec() -> Codec {
    codec_for("claude-test")
}

struct Recording {
    id: String,
    stream: bool,
    status: u16,
    headers: http::HeaderMap,
    model: String,
    body: String,
    expected: Value,
}

fn recordings() -> Vec<Recording> {
    let own = file(include_str!("recordings/anthropic.jsonl"), include_str!("recordings/expected.json"));
    let other = file(
        include_str!("recordings/compatible.jsonl"),
        include_str!("recordings/compatible.expected.json"),
    );
    assert_eq!((own.len(), other.len()), (48, 6));
    own.into_iter().chain(other).collect()
}

fn file(lines: &str, expected: &str) -> Vec<Recording> {
    let expected: Value = serde_json::from_str(expected).unwrap();
    lines
        .lines()
        .map(|line| {
            let r: Value = serde_json::from_str(line).unwrap();
            let id = r["id"].as_str().unwrap().to_owned();
            let request: Value = serde_json::from_str(r["request"]["body"].as_str().unwrap()).unwrap();
            let headers = r["response"]["headers"].as_object().unwrap().iter();
            Recording {
                stream: r["stream"].as_bool().unwrap(),
                status: r["response"]["status"].as_u64().unwrap() as u16,
                headers: headers
                    .map(|(k, v)| (k.parse().unwrap(), v.as_str().unwrap().parse().unwrap()))
                    .collect::<http::HeaderMap>(),
                model: request["model"].as_str().unwrap().to_owned(),
                body: r["response"]["body"].as_str().unwrap().to_owned(),
                expected: expected["recordings"][&id].clone(),
                id,
            }
        })
        .collect()
}

fn streams() -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(|r| r.stream && r.status == 200)
}

/// Feeds `pieces` as a transport would, one read each.
fn drive(codec: &Codec, pieces: &[&[u8]], sink: &mut dyn EventSink) -> Result<Outcome> {
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
    decoder.finish()
}

fn events(pieces: &[&[u8]]) -> (Vec<TimedEvent>, Result<Outcome>) {
    let mut events = Vec::new();
    let outcome = drive(&codec(), pieces, &mut events);
    (events, outcome)
}

fn read(r: &Recording) -> Result<ChatResponse> {
    let codec = codec_for(&r.model);
    if r.status != 200 {
        return Err(codec.classify(r.status, &r.headers, r.body.as_bytes()));
    }
    if !r.stream {
        return codec.decode(r.body.as_bytes(), &mut |_, _| {});
    }
    let mut collector = Collector::default();
    let outcome = drive(&codec, &[r.body.as_bytes()], &mut collector)?;
    let response = collector.finish();
    assert_eq!(response.usage, outcome.usage, "{}: events and outcome tell the same usage", r.id);
    assert_eq!(response.finish_reason, outcome.finish_reason, "{}", r.id);
    assert_eq!((&response.id, &response.model), (&outcome.id, &outcome.model), "{}", r.id);
    Ok(response)
}

/// The SDK's numbers in the vocabulary of the core: the three input classes are disjoint on this wire.
fn expected_usage(raw: &Value) -> Usage {
    let n = |key: &str| raw[key].as_u64();
    let (read, write) = (n("cache_read_input_tokens"), n("cache_creation_input_tokens"));
    Usage {
        input_tokens: Some(n("input_tokens").unwrap() + read.unwrap_or(0) + write.unwrap_or(0)),
        output_tokens: n("output_tokens"),
        cache_read_tokens: read,
        cache_write_tokens: write,
        reasoning_tokens: raw["output_tokens_details"]["thinking_tokens"].as_u64(),
        total_tokens: None,
        ..Usage::default()
    }
}

fn expected_finish(word: &str) -> FinishReason {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        other => panic!("no rule for {other}"),
    }
}

#[test]
fn every_recording_reads_as_the_sdk_reads_it() {
    for r in recordings() {
        let (id, e) = (&r.id, &r.expected);
        assert_eq!(e["stream"], r.stream, "{id}");
        if let Some(error) = e["error"].as_object() {
            let got = read(&r).expect_err(id);
            let code = match error["class"].as_str().unwrap() {
                "BadRequestError" => ErrorCode::InvalidRequest,
                "NotFoundError" => ErrorCode::ModelNotAvailable,
                other => panic!("{id}: no rule for {other}"),
            };
            assert_eq!(got.code(), code, "{id}");
            assert!(got.message().starts_with(error["message"].as_str().unwrap()), "{id}: {got}");
            assert_eq!(got.provider_code(), error["type"].as_str(), "{id}");
            assert_eq!(got.request_id(), error["request_id_in_body"].as_str(), "{id}");
            continue;
        }
        let got = read(&r).unwrap_or_else(|e| panic!("{id}: {e}"));
        assert_eq!(got.text, e["text"].as_str().unwrap(), "{id}");
        // An empty thinking block has no text to show: absent here, "" there.
        let reasoning = e["reasoning"].as_str().filter(|t| !t.is_empty());
        assert_eq!(got.reasoning.as_deref(), reasoning, "{id}");
        // Blocks to send back: their texts are the reasoning, signatures and ciphers those of the SDK.
        let blocks = &got.reasoning_blocks;
        let texts: String = blocks.iter().map(|b| b.text.as_str()).collect();
        assert_eq!(texts, reasoning.unwrap_or_default(), "{id}");
        let signatures: String = blocks.iter().filter_map(|b| b.signature.as_deref()).collect();
        assert_eq!(signatures, e["reasoning_signature"].as_str().unwrap_or_default(), "{id}");
        let ciphers: Vec<&str> = blocks.iter().filter_map(|b| b.encrypted.as_deref()).collect();
        assert_eq!(
            Value::from(ciphers),
            *e.get("redacted_data").unwrap_or(&Value::Array(Vec::new())),
            "{id}"
        );
        let sdk = e["blocks"].as_array().unwrap().iter();
        let kinds: Vec<&str> = sdk.filter_map(|b| b.as_str()).filter(|b| b.ends_with("thinking")).collect();
        let ours: Vec<&str> = blocks
            .iter()
            .map(|b| if b.encrypted.is_some() { "redacted_thinking" } else { "thinking" })
            .collect();
        assert_eq!(ours, kinds, "{id}");
        let calls: Vec<Value> = got
            .tool_calls
            .iter()
            .map(|c| {
                let arguments = c.parse_arguments().unwrap();
                serde_json::json!({"id": c.id, "name": c.name, "arguments": arguments})
            })
            .collect();
        assert_eq!(Value::from(calls), e["tool_calls"], "{id}");
        assert_eq!(got.finish_reason, e["finish"].as_str().map(expected_finish), "{id}");
        assert_eq!(got.usage, Some(expected_usage(&e["usage"])), "{id}");
        assert_eq!(got.model.as_deref(), e["model"].as_str(), "{id}");
        assert_eq!(got.id.as_deref(), e["id"].as_str(), "{id}");
        let mut request_id = None;
        codec().hooks(&r.headers, &mut |key, value| {
            if key == "anthropic.request_id" {
                request_id = Some(Reported::from(value));
            }
        });
        assert_eq!(request_id, e["request_id"].as_str().map(|t| Reported::Text(t.to_owned())), "{id}");
    }
}

#[test]
fn tokens_are_what_was_sent_and_nothing_else() {
    for r in streams() {
        let (events, _) = events(&[r.body.as_bytes()]);
        let pieces = ["text_delta", "thinking_delta", "input_json_delta"];
        let sent = r.body.lines().filter(|l| l.starts_with("data:") && pieces.iter().any(|p| l.contains(p)));
        let tokens = events.iter().filter(|e| e.event.is_token()).count();
        assert!(tokens > 0 && tokens <= sent.count() + 7, "{}", r.id);
        for e in &events {
            assert!(!matches!(&e.event, StreamEvent::Text(t) | StreamEvent::Reasoning(t) if t.is_empty()));
        }
        assert!(matches!(events[0].event, StreamEvent::Start { .. }), "{}", r.id);
    }
}

#[test]
fn a_stream_cut_at_any_event_boundary_is_truncated() {
    for r in streams() {
        let boundaries: Vec<usize> = r.body.match_indices("\n\n").map(|(at, _)| at + 2).collect();
        let stop = r.body.find("event: message_stop").unwrap();
        let mut cuts = 0;
        for at in std::iter::once(0).chain(boundaries).filter(|at| *at <= stop) {
            let error = events(&[&r.body.as_bytes()[..at]]).1.expect_err(&r.id);
            assert_eq!(error.code(), ErrorCode::StreamTruncated, "{} at {at}", r.id);
            assert!(error.is_retryable());
            cuts += 1;
        }
        assert!(cuts > 5, "{}", r.id);
    }
}

#[test]
fn a_stream_cut_inside_an_event_is_truncated_too() {
    let r = streams().min_by_key(|r| r.body.len()).unwrap();
    let end = r.body.find("message_stop\"").unwrap();
    for at in 0..end {
        let error = events(&[&r.body.as_bytes()[..at]]).1.expect_err(&r.id);
        assert_eq!(error.code(), ErrorCode::StreamTruncated, "at {at}");
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
    #![proptest_config(ProptestConfig::with_cases(64))]

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

/// Frames of the given events, named as the service names them.
fn sse(frames: &[&str]) -> String {
    let mut body = String::new();
    for data in frames {
        let parsed: Value = serde_json::from_str(data).unwrap();
        body += &format!("event: {}\ndata: {data}\n\n", parsed["type"].as_str().unwrap());
    }
    body
}

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","model":"m","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":5,"output_tokens":3}}}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;

fn joined(body: &str) -> Result<ChatResponse, Error> {
    let mut collector = Collector::default();
    drive(&codec(), &[body.as_bytes()], &mut collector)?;
    Ok(collector.finish())
}

#[test]
fn what_is_unknown_is_skipped() {
    let answer = joined(&sse(&[
        START,
        r#"{"type":"ping"}"#,
        r#"{"type":"brand_new_event","delta":"not an object","usage":7}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"redacted_thinking","data":"x"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"signature_delta","signature":"abc"}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"a\n\"b\""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{"type":"page_location"}}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"brand_new_delta","data":[1]}}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"q\":1}"}}"#,
        r#"{"type":"content_block_start","index":4,"content_block":{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result"}]}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}"#,
        STOP,
    ]))
    .unwrap();
    assert_eq!((answer.text.as_str(), answer.reasoning.as_deref()), ("a\n\"b\"", Some("hm")));
    assert!(answer.tool_calls.is_empty());
    assert_eq!(answer.finish_reason, Some(FinishReason::Stop));
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(15), Some(9)));
}

#[test]
fn parallel_calls_are_numbered_in_their_own_order() {
    let answer = joined(&sse(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"first "}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"a","name":"f","input":{}}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"b","name":"g","input":{"y":2}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"x\""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":":1}"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"c","name":"h"}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}"#,
        STOP,
    ]))
    .unwrap();
    let calls: Vec<_> =
        answer.tool_calls.iter().map(|c| (c.id.as_str(), c.name.as_str(), c.arguments.as_str())).collect();
    assert_eq!(calls, [("a", "f", r#"{"x":1}"#), ("b", "g", r#"{"y":2}"#), ("c", "h", "")]);
    assert_eq!(answer.text, "first ");
    assert_eq!(answer.finish_reason, Some(FinishReason::ToolCalls));
}

#[test]
fn blocks_may_overlap_as_those_of_llama_cpp_do() {
    let answer = joined(&sse(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"Ready.\n"}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":" the"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":""}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":12}}"#,
        STOP,
    ]))
    .unwrap();
    assert_eq!((answer.text.as_str(), answer.reasoning.as_deref()), (" the", Some("Ready.\n")));
    assert_eq!(answer.finish_reason, Some(FinishReason::Length));
}

#[track_caller]
fn stops(word: &str, expected: FinishReason) {
    let delta = format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{word}"}}}}"#);
    assert_eq!(joined(&sse(&[START, &delta, STOP])).unwrap().finish_reason, Some(expected));
}

#[test]
fn every_stop_reason_has_its_meaning() {
    stops("end_turn", FinishReason::Stop);
    stops("stop_sequence", FinishReason::Stop);
    stops("max_tokens", FinishReason::Length);
    stops("model_context_window_exceeded", FinishReason::Length);
    stops("tool_use", FinishReason::ToolCalls);
    stops("refusal", FinishReason::ContentFilter);
    stops("pause_turn", FinishReason::Other("pause_turn".into()));
    stops("compaction", FinishReason::Other("compaction".into()));
}

#[test]
fn an_error_event_ends_the_stream_with_its_meaning() {
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    for (kind, code) in [
        ("overloaded_error", ErrorCode::Overloaded),
        ("api_error", ErrorCode::Internal),
        ("rate_limit_error", ErrorCode::RateLimit),
        ("something_new", ErrorCode::Stream),
    ] {
        let error = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"Overloaded"}}}}"#);
        let body = sse(&[START, text, &error, STOP]);
        let (events, outcome) = events(&[body.as_bytes()]);
        let e = outcome.unwrap_err();
        assert_eq!((e.code(), e.provider_code()), (code, Some(kind)));
        assert!(events.iter().any(|e| e.event.is_token()), "what came before the error stands");
    }
}

#[test]
fn a_server_that_names_no_events_is_understood() {
    let frames = [
        START,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#,
        STOP,
        "[DONE]",
    ];
    let body = format!("data: {}\n\n", frames.join("\n\ndata: "));
    assert_eq!(joined(&body).unwrap().text, "a");
}

#[test]
fn what_is_no_json_is_malformed() {
    let e = joined("event: content_block_delta\ndata: {\"index\":0,\n\n").unwrap_err();
    assert_eq!(e.code(), ErrorCode::MalformedResponse);
    let decode = |body: &str| codec().decode(body.as_bytes(), &mut |_, _| {}).unwrap_err();
    assert_eq!(decode("<html>").code(), ErrorCode::MalformedResponse);
    assert_eq!(decode(" ").code(), ErrorCode::EmptyResponse);
    assert_eq!(decode("{}").code(), ErrorCode::InvalidResponse);
    let inside = r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
    assert_eq!(decode(inside).code(), ErrorCode::Overloaded);
    assert_eq!(decode(r#"{"error":"what?"}"#).code(), ErrorCode::InvalidResponse);
    assert_eq!(joined(&sse(&[STOP])).unwrap_err().code(), ErrorCode::EmptyResponse);
}

#[test]
fn the_guess_of_output_tokens_at_the_start_is_no_count() {
    let (events, outcome) = events(&[sse(&[START]).as_bytes()]);
    assert!(outcome.is_err());
    let usage: Vec<&Usage> = events
        .iter()
        .filter_map(|e| if let StreamEvent::Usage(u) = &e.event { Some(u) } else { None })
        .collect();
    assert_eq!(usage.len(), 1);
    assert_eq!((usage[0].input_tokens, usage[0].output_tokens), (Some(15), None));
}

#[test]
fn values_in_the_usage_are_reported() {
    let body = r#"{"content":[],"usage":{"input_tokens":1,"output_tokens":1,"service_tier":"priority",
        "cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":4}}}"#;
    let mut seen = BTreeMap::new();
    codec().decode(body.as_bytes(), &mut |key, value| drop(seen.insert(key, Reported::from(value)))).unwrap();
    let expected = [
        ("anthropic.cache_write_1h_tokens", Reported::Number(4.0)),
        ("anthropic.cache_write_5m_tokens", Reported::Number(3.0)),
        ("anthropic.service_tier", Reported::Text("priority".into())),
    ];
    assert_eq!(seen, BTreeMap::from(expected));
}
