//! Row T023 of the contract: the performance hook of Anthropic, through the whole model over a scripted transport. All
//! kinds of events, ping not counted, an error inside the stream, cache tokens, limit headers.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::stub;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use llms_core::{
    CallContext, ChatModel, ChatRequest, ErrorCode, FinishReason, StreamEvent, TimedEvent,
    observe::{Reported, Timeline},
};
use stub::{Answer, Log, Stub, bare, config, model, run, stamp};

const START: &str = r#"{"type":"message_start","message":{"id":"msg_1","model":"claude-test-1","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":2000,"cache_creation_input_tokens":300,"cache_creation":{"ephemeral_5m_input_tokens":100,"ephemeral_1h_input_tokens":200},"output_tokens":3,"service_tier":"priority","inference_geo":"us"}}}"#;
const PING: &str = r#"{"type":"ping"}"#;
const STOP: &str = r#"{"type":"message_stop"}"#;
const LIMITS: &[(&str, &str)] = &[
    ("request-id", "req_77"),
    ("x-envoy-upstream-service-time", "690"),
    ("server-timing", "x-originResponse;dur=7107"),
    ("anthropic-ratelimit-requests-limit", "1000"),
    ("anthropic-ratelimit-requests-remaining", "999"),
    ("anthropic-ratelimit-requests-reset", "2025-08-21T12:40:59Z"),
    ("anthropic-ratelimit-input-tokens-remaining", "80000"),
    ("anthropic-ratelimit-output-tokens-remaining", "16000"),
    ("anthropic-ratelimit-tokens-limit", "96000"),
    ("anthropic-priority-input-tokens-remaining", "9618"),
    ("anthropic-fast-output-tokens-remaining", "5"),
];

fn reported(pairs: &[(&str, Reported)]) -> BTreeMap<String, Reported> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

fn text(t: &str) -> Reported {
    Reported::Text(t.to_owned())
}

#[test]
fn every_kind_of_event_and_everything_reported() {
    let answer = Answer::stream(&[
        START,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        PING,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"sig=="}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"cipher"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"a"}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"citations_delta","citation":{"type":"char_location"}}}"#,
        r#"{"type":"content_block_stop","index":2}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"server_tool_use","id":"s","name":"web_search","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        r#"{"type":"content_block_stop","index":3}"#,
        r#"{"type":"content_block_start","index":4,"content_block":{"type":"brand_new","text":{"not":"a text"},"data":[1]}}"#,
        r#"{"type":"content_block_stop","index":4}"#,
        r#"{"type":"content_block_start","index":5,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":""}}"#,
        r#"{"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":"{\"x\":"}}"#,
        PING,
        r#"{"type":"content_block_delta","index":5,"delta":{"type":"input_json_delta","partial_json":"1}"}}"#,
        r#"{"type":"content_block_stop","index":5}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"stop_sequence","stop_sequence":"END"},"usage":{"output_tokens":40,"output_tokens_details":{"thinking_tokens":12},"server_tool_use":{"web_search_requests":2,"web_fetch_requests":0}}}"#,
        STOP,
    ])
    .with_headers(LIMITS);
    let stub = Stub::new([answer]);
    let timeline = Timeline::new();
    let ctx = CallContext::new().with_observer(Arc::new(timeline.clone()));
    let mut events: Vec<TimedEvent> = Vec::new();
    let outcome = run(model(&config(), &stub).drive(&ChatRequest::text("hi"), &ctx, &mut events)).unwrap();
    assert_eq!((outcome.id.as_deref(), outcome.model.as_deref()), (Some("msg_1"), Some("claude-test-1")));
    assert_eq!(outcome.finish_reason, Some(FinishReason::Stop));
    let usage = outcome.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (Some(2310), Some(40)));
    assert_eq!((usage.cache_read_tokens, usage.cache_write_tokens), (Some(2000), Some(300)));
    assert_eq!((usage.reasoning_tokens, usage.uncached_input_tokens()), (Some(12), Some(10)));
    let tokens: Vec<String> = bare(events)
        .iter()
        .filter_map(|e| match e {
            StreamEvent::Text(t) => Some(format!("text {t}")),
            StreamEvent::Reasoning(t) => Some(format!("reasoning {t}")),
            StreamEvent::ReasoningSeal(s) => {
                Some(format!("seal {:?} {:?}", s.signature.as_deref(), s.encrypted.as_deref()))
            }
            StreamEvent::ToolCall(d) => {
                Some(format!("call {} {:?} {}", d.index, d.name.as_deref(), d.arguments))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        tokens,
        [
            "reasoning hm",
            "seal Some(\"sig==\") None",
            "seal None Some(\"cipher\")",
            "text a",
            "call 0 Some(\"f\") ",
            "call 0 None {\"x\":",
            "call 0 None 1}",
        ]
    );
    let seen = timeline.take();
    // Read 2 is a ping, read 3 the first thought.
    assert_eq!((seen.first_byte, seen.first_token), (Some(stamp(0)), Some(stamp(3))));
    assert_eq!((seen.status, seen.reads), (Some(200), Some(25)));
    assert!(seen.bytes_out.is_some_and(|n| n > 0) && seen.bytes_in.is_some_and(|n| n > 0));
    let number = Reported::Number;
    assert_eq!(
        seen.reported,
        reported(&[
            ("anthropic.request_id", text("req_77")),
            ("anthropic.upstream_ms", number(690.0)),
            ("anthropic.origin_response_ms", number(7107.0)),
            ("anthropic.ratelimit_requests_limit", number(1000.0)),
            ("anthropic.ratelimit_requests_remaining", number(999.0)),
            ("anthropic.ratelimit_requests_reset", text("2025-08-21T12:40:59Z")),
            ("anthropic.ratelimit_input_tokens_remaining", number(80000.0)),
            ("anthropic.ratelimit_output_tokens_remaining", number(16000.0)),
            ("anthropic.ratelimit_tokens_limit", number(96000.0)),
            ("anthropic.priority_input_tokens_remaining", number(9618.0)),
            ("anthropic.fast_output_tokens_remaining", number(5.0)),
            ("anthropic.stop_reason", text("stop_sequence")),
            ("anthropic.stop_sequence", text("END")),
            ("anthropic.service_tier", text("priority")),
            ("anthropic.inference_geo", text("us")),
            ("anthropic.cache_read_tokens", number(2000.0)),
            ("anthropic.cache_write_tokens", number(300.0)),
            ("anthropic.cache_write_5m_tokens", number(100.0)),
            ("anthropic.cache_write_1h_tokens", number(200.0)),
            ("anthropic.thinking_tokens", number(12.0)),
            ("anthropic.web_search_requests", number(2.0)),
            ("anthropic.web_fetch_requests", number(0.0)),
        ])
    );
    for key in seen.reported.keys() {
        assert!(llms_providers_anthropic::hooks::KEYS.iter().any(|(k, _)| k == key), "{key}");
    }
}

#[test]
fn pings_are_no_tokens_however_many() {
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    let start = r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
    let end = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#;
    let stub =
        Stub::new([Answer::stream(&[START, PING, start, PING, PING, text, PING, text, PING, end, STOP])]);
    let log = Arc::new(Log::default());
    let ctx = CallContext::new().with_observer(log.clone());
    let mut events: Vec<TimedEvent> = Vec::new();
    run(model(&config(), &stub).drive(&ChatRequest::text("hi"), &ctx, &mut events)).unwrap();
    let tokens: Vec<u32> = events.iter().filter(|e| e.event.is_token()).map(|e| e.stamp.read).collect();
    assert_eq!(tokens, [5, 7]);
    let log = log.0.lock().unwrap();
    let of = |kind: &str| log.iter().filter(|e| e.starts_with(kind)).count();
    assert_eq!((of("FirstToken"), of("Chunk"), of("End")), (1, 2, 1));
}

#[test]
fn an_error_inside_the_stream_is_the_calls_error_and_what_came_before_stands() {
    let said = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    let error =
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_9"}"#;
    let stub = Stub::new([Answer::stream(&[START, PING, said, error, STOP]).with_headers(LIMITS)]);
    let timeline = Timeline::new();
    let ctx = CallContext::new().with_observer(Arc::new(timeline.clone()));
    let mut events: Vec<TimedEvent> = Vec::new();
    let e = run(model(&config(), &stub).drive(&ChatRequest::text("hi"), &ctx, &mut events)).unwrap_err();
    assert_eq!((e.code(), e.provider_code()), (ErrorCode::Overloaded, Some("overloaded_error")));
    assert_eq!((e.request_id(), e.phase()), (Some("req_9"), Some(llms_core::CallPhase::Stream)));
    assert!(e.is_retryable());
    assert_eq!(events.iter().filter(|e| e.event.is_token()).count(), 1);
    let seen = timeline.take();
    assert_eq!(seen.first_token, Some(stamp(2)));
    assert_eq!(seen.reported["anthropic.request_id"], text("req_77"));
    assert!(seen.end.is_some());
}

#[test]
fn a_broken_stream_says_so_and_carries_no_wrong_count() {
    let text = r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#;
    let stream = Answer::stream(&[START, text]);
    for (answer, code) in [
        (stream.clone(), ErrorCode::StreamTruncated),
        (Answer { breaks: true, ..stream }, ErrorCode::StreamClosed),
    ] {
        let stub = Stub::new([answer]);
        let mut events: Vec<TimedEvent> = Vec::new();
        let ctx = CallContext::new();
        let e = run(model(&config(), &stub).drive(&ChatRequest::text("hi"), &ctx, &mut events)).unwrap_err();
        assert_eq!(e.code(), code);
        let counts: Vec<_> = bare(events)
            .into_iter()
            .filter_map(|e| {
                if let StreamEvent::Usage(u) = e { Some((u.input_tokens, u.output_tokens)) } else { None }
            })
            .collect();
        assert_eq!(counts, [(Some(2310), None)]);
    }
}

#[test]
fn a_refusal_keeps_limits_wait_and_request_id() {
    let body =
        r#"{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"req_1"}"#;
    let limits: &[(&str, &str)] = &[
        ("request-id", "req_1"),
        ("date", "Thu, 21 Aug 2025 12:40:00 GMT"),
        ("anthropic-ratelimit-input-tokens-remaining", "0"),
        ("anthropic-ratelimit-input-tokens-reset", "2025-08-21T12:40:59Z"),
    ];
    let with_wait = [limits, &[("retry-after", "7")][..]].concat();
    for (headers, wait) in [(limits, 59), (&with_wait[..], 7)] {
        let stub = Stub::new([Answer::new(429, &[body]).with_headers(headers)]);
        let timeline = Timeline::new();
        let ctx = CallContext::new().with_observer(Arc::new(timeline.clone()));
        let e = run(model(&config(), &stub).generate(&ChatRequest::text("hi"), &ctx)).unwrap_err();
        assert_eq!((e.code(), e.status()), (ErrorCode::RateLimit, Some(429)));
        assert_eq!(e.retry_after(), Some(Duration::from_secs(wait)));
        assert_eq!((e.request_id(), e.message()), (Some("req_1"), "slow down"));
        let seen = timeline.take();
        assert_eq!(
            seen.reported["anthropic.ratelimit_input_tokens_remaining"],
            Reported::Number(0.0),
            "limits are reported with refusals too"
        );
    }
}

#[test]
fn a_whole_answer_reports_the_same() {
    let body = r#"{"id":"msg_1","type":"message","model":"m","stop_reason":"refusal","stop_sequence":null,
        "stop_details":{"type":"refusal","category":"cyber","explanation":"no"},
        "content":[{"type":"thinking","thinking":"hm","signature":"sig=="},{"type":"redacted_thinking","data":"cipher"},
        {"type":"text","text":"a"},{"type":"brand_new","text":7}],
        "usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":5,"speed":"fast"}}"#;
    let stub = Stub::new([Answer::new(200, &[body]).with_headers(&[("request-id", "req_2")])]);
    let timeline = Timeline::new();
    let ctx = CallContext::new().with_observer(Arc::new(timeline.clone()));
    let answer = run(model(&config(), &stub).generate(&ChatRequest::text("hi"), &ctx)).unwrap();
    assert_eq!((answer.text.as_str(), answer.reasoning.as_deref()), ("a", Some("hm")));
    assert_eq!(answer.finish_reason, Some(FinishReason::ContentFilter));
    let blocks: Vec<_> = answer
        .reasoning_blocks
        .iter()
        .map(|b| (b.text.as_str(), b.signature.as_deref(), b.encrypted.as_deref()))
        .collect();
    assert_eq!(blocks, [("hm", Some("sig=="), None), ("", None, Some("cipher"))]);
    let seen = timeline.take().reported;
    assert_eq!(
        seen,
        reported(&[
            ("anthropic.request_id", text("req_2")),
            ("anthropic.stop_reason", text("refusal")),
            ("anthropic.refusal_category", text("cyber")),
            ("anthropic.refusal_explanation", text("no")),
            ("anthropic.speed", text("fast")),
            ("anthropic.cache_read_tokens", Reported::Number(5.0)),
        ])
    );
}
