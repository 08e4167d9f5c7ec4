//! T025: what a call to Ollama tells its observer: nanosecond durations split into load, prefill and decode, cold and
//! warm starts told apart, cached tokens, the first token, tool calls, and what a broken stream leaves. Through the whole
//! model over a stub transport, streamed and not.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::common;

use std::{collections::BTreeMap, sync::Arc};

use common::{Answer, Stub, block, model_of, stamp};
use llms_core::{
    CallContext, ChatModel as _, ChatModelExt as _, ChatRequest, ErrorCode, FinishReason, Usage,
    config::ModelConfig,
    observe::{CallTimeline, Reported, Timeline},
};
use llms_providers_ollama::hooks;

const TEXT: &str = r#"{"model":"tiny","created_at":"2026-11-22T13:34:13.3Z","message":{"role":"assistant","content":"Hel"},"done":false}"#;
const MORE: &str = r#"{"model":"tiny","created_at":"2026-11-22T13:34:13.4Z","message":{"role":"assistant","content":"lo"},"done":false}"#;

/// The last line of an answer; `fields` are added.
fn last(fields: &str) -> String {
    format!(
        r#"{{"model":"tiny","created_at":"2026-11-22T13:34:14Z","message":{{"role":"assistant","content":""}},"done":true,"done_reason":"stop"{fields}}}"#
    )
}

const MEASURED: &str = r#","total_duration":3600123000,"load_duration":2037300208,"prompt_eval_count":1201,"prompt_eval_cached_count":1024,"prompt_eval_duration":177983000,"eval_count":63,"eval_duration":1384123456"#;

fn config() -> ModelConfig {
    ModelConfig::new("ollama", "tiny").with_base_url("http://127.0.0.1:9")
}

/// A streamed call, observed.
fn observed(answer: Answer) -> (llms_core::Result<llms_core::ChatResponse>, CallTimeline) {
    let stub = Stub::new([("/api/chat", answer)]);
    let timeline = Timeline::new();
    let ctx = CallContext::new().with_observer(Arc::new(timeline.clone()));
    let got = block(model_of(&config(), &stub).collect(&ChatRequest::text("hi"), &ctx));
    (got, timeline.take())
}

fn numbers(timeline: &CallTimeline) -> BTreeMap<&str, f64> {
    let number = |v: &Reported| if let Reported::Number(n) = v { Some(*n) } else { None };
    timeline.reported.iter().filter_map(|(k, v)| Some((k.as_str(), number(v)?))).collect()
}

#[track_caller]
fn text<'t>(timeline: &'t CallTimeline, key: &str) -> Option<&'t str> {
    match timeline.reported.get(key)? {
        Reported::Text(t) => Some(t),
        Reported::Number(n) => panic!("{key} is {n}, expected a word"),
    }
}

#[test]
fn t025_durations_are_split_into_load_prefill_and_decode() {
    let whole = last(MEASURED);
    let (got, timeline) = observed(Answer::lines(&[TEXT, MORE, &whole]));
    let expected = BTreeMap::from([
        ("ollama.total_duration_ms", 3600.123),
        ("ollama.load_duration_ms", 2037.300208),
        ("ollama.prompt_eval_duration_ms", 177.983),
        ("ollama.eval_duration_ms", 1384.123456),
        ("ollama.cached_tokens", 1024.0),
    ]);
    assert_eq!(numbers(&timeline), expected);
    let got = got.unwrap();
    assert_eq!((got.text.as_str(), got.finish_reason), ("Hello", Some(FinishReason::Stop)));
    let usage = Usage {
        input_tokens: Some(1201),
        output_tokens: Some(63),
        cache_read_tokens: Some(1024),
        ..Usage::default()
    };
    assert_eq!(got.usage, Some(usage));
    assert_eq!(usage.uncached_input_tokens(), Some(177));
    // Not streamed: the same values out of one body.
    let stub = Stub::new([("/api/chat", Answer::ok(whole))]);
    let timeline = Timeline::new();
    let ctx = CallContext::new().with_observer(Arc::new(timeline.clone()));
    let got = block(model_of(&config(), &stub).generate(&ChatRequest::text("hi"), &ctx)).unwrap();
    assert_eq!(got.usage, Some(usage));
    assert_eq!(numbers(&timeline.take()), expected);
}

#[test]
fn t025_cold_and_warm_starts_are_told_apart() {
    for (load, start) in
        [(2_037_300_208_u64, "cold"), (538_071_741, "cold"), (52_719_542, "warm"), (988_875, "warm")]
    {
        let (_, timeline) = observed(Answer::lines(&[TEXT, &last(&format!(r#","load_duration":{load}"#))]));
        assert_eq!(text(&timeline, "ollama.start"), Some(start), "{load} ns");
    }
    let (_, timeline) = observed(Answer::lines(&[TEXT, &last("")]));
    assert_eq!(timeline.reported, BTreeMap::new(), "what the server does not say is not reported");
}

#[test]
fn t025_the_first_token_is_the_read_that_brought_it() {
    let empty =
        r#"{"model":"tiny","created_at":"t","message":{"role":"assistant","content":""},"done":false}"#;
    let (_, timeline) = observed(Answer::lines(&[empty, empty, TEXT, MORE, &last(MEASURED)]));
    assert_eq!(timeline.first_byte, Some(stamp(1)));
    assert_eq!(timeline.first_token, Some(stamp(3)), "an empty delta is no token");
    assert_eq!(timeline.status, Some(200));
    assert_eq!(timeline.reads, Some(5));
    assert!(timeline.bytes_in.unwrap() > 400 && timeline.bytes_out.unwrap() > 50);
}

#[test]
fn t025_a_tool_call_is_a_token_and_comes_whole() {
    let call = r#"{"model":"tiny","created_at":"t","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"f","arguments":{"a":1}}}]},"done":false}"#;
    let (got, timeline) = observed(Answer::lines(&[call, &last(MEASURED)]));
    let got = got.unwrap();
    assert_eq!(timeline.first_token, Some(stamp(1)));
    assert_eq!(got.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(
        (got.tool_calls[0].id.as_str(), got.tool_calls[0].arguments.as_str()),
        ("call_0", r#"{"a":1}"#)
    );
}

#[test]
fn t025_models_of_ollama_com_name_themselves() {
    let line =
        last(r#","remote_model":"gpt-oss:120b","remote_host":"https://ollama.com:443","load_duration":0"#);
    let (_, timeline) = observed(Answer::lines(&[TEXT, &line]).with("x-request-id", "req-7"));
    assert_eq!(text(&timeline, "ollama.remote_model"), Some("gpt-oss:120b"));
    assert_eq!(text(&timeline, "ollama.remote_host"), Some("https://ollama.com:443"));
    assert_eq!(text(&timeline, "ollama.request_id"), Some("req-7"));
    for key in timeline.reported.keys() {
        assert!(hooks::KEYS.iter().any(|(k, _)| k == key), "{key} is documented");
    }
}

#[test]
fn t025_a_broken_stream_keeps_what_was_seen_and_reports_no_durations() {
    let broken = Answer { breaks: true, ..Answer::lines(&[TEXT]) };
    let (got, timeline) = observed(broken);
    assert_eq!(got.unwrap_err().code(), ErrorCode::StreamClosed);
    assert_eq!(timeline.first_token, Some(stamp(1)));
    assert_eq!(timeline.reported, BTreeMap::new());
    let (got, _) = observed(Answer::lines(&[TEXT]));
    assert_eq!(got.unwrap_err().code(), ErrorCode::StreamTruncated);
    let (got, _) = observed(Answer::lines(&[TEXT, r#"{"error":"llama runner process has terminated"}"#]));
    assert_eq!(got.unwrap_err().code(), ErrorCode::Stream);
}

#[test]
fn t025_loading_and_unloading_is_no_answer() {
    for reason in ["load", "unload"] {
        let line = format!(
            r#"{{"model":"tiny","created_at":"t","message":{{"role":"assistant","content":""}},"done":true,"done_reason":"{reason}"}}"#
        );
        let (got, _) = observed(Answer::lines(&[&line]));
        let error = got.unwrap_err();
        assert_eq!((error.code(), error.provider_code()), (ErrorCode::EmptyResponse, Some(reason)));
        let stub = Stub::new([("/api/chat", Answer::ok(line))]);
        let got = block(model_of(&config(), &stub).generate(&ChatRequest::text("hi"), &CallContext::new()));
        assert_eq!(got.unwrap_err().code(), ErrorCode::EmptyResponse);
    }
}
