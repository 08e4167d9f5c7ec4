//! Row T022 of the contract: the performance hook of OpenAI, through the whole model over a scripted transport. Usage in
//! the last chunk, cached tokens, limit headers, server time, first token, pieces of tool calls, broken streams; the same
//! for responses and text completions.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::stub;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use llms_core::{
    CallContext, ChatModel, ChatRequest, ErrorCode, FinishReason, StreamEvent, TimedEvent,
    config::ModelConfig,
    health::{HealthProbe, HealthState},
    observe::{CallTimeline, Reported, Timeline},
};
use llms_providers_openai::hooks::KEYS;
use stub::{Answer, Log, Stub, bare, config, model, run, stamp};

const HEADERS: &[(&str, &str)] = &[
    ("x-request-id", "req_77"),
    ("openai-processing-ms", "326"),
    ("openai-version", "2020-10-01"),
    ("x-envoy-upstream-service-time", "340"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-limit-tokens", "50000000"),
    ("x-ratelimit-remaining-tokens", "49999986"),
    ("x-ratelimit-reset-tokens", "1s"),
];
const ROLE: &str = r#"{"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const HI: &str =
    r#"{"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"id":"c1","model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USAGE: &str = r#"{"id":"c1","model":"m-1","service_tier":"priority","system_fingerprint":"fp_1","choices":[],"usage":{"prompt_tokens":2006,"completion_tokens":300,"total_tokens":2306,"prompt_tokens_details":{"cached_tokens":1920,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":12,"accepted_prediction_tokens":5,"rejected_prediction_tokens":1,"audio_tokens":0}}}"#;

fn text(t: &str) -> Reported {
    Reported::Text(t.to_owned())
}

fn number(n: f64) -> Reported {
    Reported::Number(n)
}

fn reported(pairs: &[(&str, Reported)]) -> BTreeMap<String, Reported> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect()
}

fn of_headers() -> BTreeMap<String, Reported> {
    reported(&[
        ("openai.request_id", text("req_77")),
        ("openai.processing_ms", number(326.0)),
        ("openai.api_version", text("2020-10-01")),
        ("openai.upstream_ms", number(340.0)),
        ("openai.ratelimit_limit_requests", number(10000.0)),
        ("openai.ratelimit_remaining_requests", number(9999.0)),
        ("openai.ratelimit_reset_requests_s", number(0.006)),
        ("openai.ratelimit_limit_tokens", number(50_000_000.0)),
        ("openai.ratelimit_remaining_tokens", number(49_999_986.0)),
        ("openai.ratelimit_reset_tokens_s", number(1.0)),
    ])
}

fn of_api(api: &str) -> ModelConfig {
    config().with_specific("api", api)
}

/// Streams one answer; what was seen, what came, how it ended.
fn drive(
    config: &ModelConfig,
    answer: Answer,
) -> (CallTimeline, Vec<StreamEvent<'static>>, llms_core::Result<llms_core::Outcome>) {
    let stub = Stub::new([answer]);
    let timeline = Timeline::new();
    let ctx = CallContext::new().with_observer(Arc::new(timeline.clone()));
    let mut events: Vec<TimedEvent> = Vec::new();
    let outcome = run(model(config, &stub).drive(&ChatRequest::text("hi"), &ctx, &mut events));
    let seen = timeline.take();
    for key in seen.reported.keys() {
        assert!(KEYS.iter().any(|(k, _)| k == key), "{key} is not documented");
    }
    (seen, bare(events), outcome)
}

#[test]
fn everything_a_chat_completion_reports() {
    let (seen, _, outcome) =
        drive(&config(), Answer::stream(&[ROLE, HI, STOP, USAGE, "[DONE]"]).with_headers(HEADERS));
    let usage = outcome.unwrap().usage.unwrap();
    assert_eq!(
        (usage.input_tokens, usage.cache_read_tokens, usage.reasoning_tokens),
        (Some(2006), Some(1920), Some(12))
    );
    // A role without text is no token.
    assert_eq!((seen.first_byte, seen.first_token), (Some(stamp(0)), Some(stamp(1))));
    assert_eq!((seen.status, seen.reads), (Some(200), Some(5)));
    assert!(seen.bytes_out.is_some_and(|n| n > 0) && seen.bytes_in.is_some_and(|n| n > 0));
    let mut expected = of_headers();
    expected.extend(reported(&[
        ("openai.service_tier", text("priority")),
        ("openai.system_fingerprint", text("fp_1")),
        ("openai.cached_tokens", number(1920.0)),
        ("openai.reasoning_tokens", number(12.0)),
        ("openai.accepted_prediction_tokens", number(5.0)),
        ("openai.rejected_prediction_tokens", number(1.0)),
    ]));
    assert_eq!(seen.reported, expected);
}

#[test]
fn everything_a_response_reports() {
    let answer = Answer::stream(&[
        r#"{"type":"response.created","response":{"id":"resp_1","model":"m-1","service_tier":"auto"}}"#,
        r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs_1"}}"#,
        r#"{"type":"response.reasoning_summary_text.delta","output_index":0,"delta":"hm"}"#,
        r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs_1","encrypted_content":"gAAA"}}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message","id":"msg_1"}}"#,
        r#"{"type":"response.output_text.delta","output_index":1,"delta":"Hi"}"#,
        r#"{"type":"response.completed","response":{"id":"resp_1","model":"m-1","status":"completed","service_tier":"flex","usage":{"input_tokens":90,"input_tokens_details":{"cached_tokens":64,"cache_write_tokens":3},"output_tokens":15,"output_tokens_details":{"reasoning_tokens":7},"total_tokens":105}},"timings":{"prompt_n":26,"prompt_ms":12.5}}"#,
    ])
    .with_headers(HEADERS);
    let (seen, events, outcome) = drive(&of_api("responses"), answer);
    let outcome = outcome.unwrap();
    assert_eq!((outcome.id.as_deref(), outcome.finish_reason), (Some("resp_1"), Some(FinishReason::Stop)));
    assert_eq!(events.iter().filter(|e| e.is_token()).count(), 2);
    assert!(
        events.iter().any(|e| {
            matches!(e, StreamEvent::ReasoningSeal(s) if s.encrypted.as_deref() == Some("gAAA"))
        })
    );
    assert_eq!(seen.first_token, Some(stamp(2)));
    let mut expected = of_headers();
    expected.extend(reported(&[
        ("openai.service_tier", text("flex")),
        ("openai.cached_tokens", number(64.0)),
        ("openai.cache_write_tokens", number(3.0)),
        ("openai.reasoning_tokens", number(7.0)),
        ("openai.timings_prompt_n", number(26.0)),
        ("openai.timings_prompt_ms", number(12.5)),
    ]));
    assert_eq!(seen.reported, expected);
}

#[test]
fn text_completions_report_the_same_way() {
    let answer = Answer::stream(&[
        r#"{"id":"cmpl-1","model":"m-1","choices":[{"index":0,"text":"","logprobs":null,"finish_reason":null}]}"#,
        r#"{"id":"cmpl-1","model":"m-1","choices":[{"index":0,"text":" upon","logprobs":null,"finish_reason":null,"stop_reason":null}]}"#,
        r#"{"id":"cmpl-1","model":"m-1","choices":[{"index":0,"text":" a","finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#,
        "[DONE]",
    ])
    .with_headers(HEADERS);
    let (seen, events, outcome) = drive(&of_api("completions"), answer);
    assert_eq!(outcome.unwrap().finish_reason, Some(FinishReason::Length));
    let said: String =
        events.iter().filter_map(|e| if let StreamEvent::Text(t) = e { Some(&**t) } else { None }).collect();
    assert_eq!(said, " upon a");
    assert_eq!((seen.first_token, seen.reported), (Some(stamp(1)), of_headers()));
}

#[test]
fn pieces_of_a_tool_call_are_tokens() {
    let piece =
        |call: &str| format!(r#"{{"id":"c1","choices":[{{"index":0,"delta":{{"tool_calls":[{call}]}}}}]}}"#);
    let first = piece(r#"{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}"#);
    let second = piece(r#"{"index":0,"function":{"arguments":"{}"}}"#);
    let end = STOP.replace("stop", "tool_calls");
    let (seen, events, outcome) =
        drive(&config(), Answer::stream(&[ROLE, &first, &second, &end, USAGE, "[DONE]"]));
    assert_eq!(outcome.unwrap().finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(seen.first_token, Some(stamp(1)));
    assert_eq!(events.iter().filter(|e| e.is_token()).count(), 2);
}

#[test]
fn a_broken_stream_keeps_what_was_seen_and_has_no_usage() {
    let (seen, events, outcome) =
        drive(&config(), Answer::stream(&[ROLE, HI]).with_headers(HEADERS).breaking());
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::StreamClosed);
    assert_eq!(events.iter().filter(|e| e.is_token()).count(), 1);
    assert_eq!((seen.first_token, seen.reported), (Some(stamp(1)), of_headers()));
    // Ended politely, but before the usage.
    let (seen, _, outcome) = drive(&config(), Answer::stream(&[ROLE, HI, STOP]).with_headers(HEADERS));
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::StreamTruncated);
    assert_eq!(seen.reported, of_headers());
    // An error inside it.
    let error = r#"{"error":{"message":"slow down","type":"tokens","code":"rate_limit_exceeded"}}"#;
    let (_, _, outcome) = drive(&config(), Answer::stream(&[ROLE, HI, error]).with_headers(HEADERS));
    assert_eq!(outcome.unwrap_err().code(), ErrorCode::RateLimit);
}

#[test]
fn a_refusal_reports_its_limits_and_how_long_to_wait() {
    let limits: &[(&'static str, &str)] = &[
        ("x-request-id", "req_9"),
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "7m12s"),
    ];
    let body = r#"{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}"#;
    let (seen, _, outcome) = drive(&config(), Answer::new(429, &[body]).with_headers(limits));
    let e = outcome.unwrap_err();
    assert_eq!((e.code(), e.retry_after()), (ErrorCode::RateLimit, Some(Duration::from_secs(432))));
    assert_eq!(e.request_id(), Some("req_9"));
    assert_eq!(seen.reported["openai.ratelimit_reset_requests_s"], number(432.0));
}

/// vLLM with `--enable-request-id-headers`, gateways: they send our own id back.
#[test]
fn our_own_id_is_not_told_as_the_servers() {
    let ask = |server: &'static str, status: u16| {
        let answer = Answer::new(status, &["{}"]).with_headers(&[("x-request-id", server)]);
        let timeline = Timeline::new();
        let ctx = CallContext::new().with_observer(Arc::new(timeline.clone())).with_request_id("ours-1");
        let e =
            run(model(&config(), &Stub::new([answer])).generate(&ChatRequest::text("hi"), &ctx)).unwrap_err();
        (timeline.take().reported.get("openai.request_id").cloned(), e.request_id().map(str::to_owned))
    };
    assert_eq!(ask("ours-1", 500), (None, None));
    assert_eq!(ask("req_1", 500), (Some(text("req_1")), Some("req_1".to_owned())));
    assert_eq!(ask("ours-1", 200).0, None);
}

#[test]
fn who_does_not_observe_is_not_told() {
    let stub = Stub::new([Answer::stream(&[ROLE, HI, STOP, USAGE, "[DONE]"]).with_headers(HEADERS)]);
    let mut events: Vec<TimedEvent> = Vec::new();
    let model = model(&config(), &stub);
    run(model.drive(&ChatRequest::text("hi"), &CallContext::new(), &mut events)).unwrap();
    assert_eq!(stub.sent.lock().unwrap()[0].headers["authorization"], "Bearer hunter2hunter2");
    assert_eq!(stub.body(0)["stream_options"]["include_usage"], true);
}

#[test]
fn the_observer_is_told_of_chunks() {
    let stub = Stub::new([Answer::stream(&[ROLE, HI, HI, STOP, "[DONE]"])]);
    let log = Arc::new(Log::default());
    let ctx = CallContext::new().with_observer(log.clone());
    let mut events: Vec<TimedEvent> = Vec::new();
    run(model(&config(), &stub).drive(&ChatRequest::text("hi"), &ctx, &mut events)).unwrap();
    let log = log.0.lock().unwrap();
    let count = |what: &str| log.iter().filter(|e| e.starts_with(what)).count();
    assert_eq!((count("FirstToken"), count("Chunk"), count("End")), (1, 2, 1));
}

#[test]
fn health_by_list_or_by_a_token() {
    let list = Answer::new(200, &[r#"{"data":[{"id":"m"}]}"#]);
    let stub = Stub::new([list]);
    let health = run(model(&config(), &stub).check_health(&CallContext::new()));
    assert_eq!(health.state, HealthState::Healthy, "{health:?}");
    assert_eq!(stub.sent.lock().unwrap()[0].uri, "http://127.0.0.1:9/v1/models");
    assert_eq!(health.details["api"], "chat");

    let answer = r#"{"choices":[{"message":{"content":"p"},"finish_reason":"length"}],"usage":{"completion_tokens":1}}"#;
    let stub = Stub::new([Answer::new(200, &[answer])]);
    let config = ModelConfig { health: HealthProbe::OneToken, ..config() };
    let health = run(model(&config, &stub).check_health(&CallContext::new()));
    assert_eq!(health.state, HealthState::Healthy, "{health:?}");
    assert_eq!(stub.body(0)["max_tokens"], 1);
}
