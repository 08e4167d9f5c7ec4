//! Dialects and failures that the recordings lack: servers' streams as their sources write them, error objects of every
//! shape, and what each refusal means.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::common;

use common::{azure, codec, codec_of, local, play, play_data};
use http::{HeaderMap, HeaderName, HeaderValue};
use llms_core::{
    ChatResponse, ErrorCode, FinishReason, Stamp, StreamEvent, ToolCall, Usage,
    config::ModelConfig,
    event::ToolCallDelta,
    wire::{Codec as _, Decoder as _, Frame},
};

fn text(t: &str) -> StreamEvent<'_> {
    StreamEvent::Text(t.into())
}

fn reasoning(t: &str) -> StreamEvent<'_> {
    StreamEvent::Reasoning(t.into())
}

fn start<'a>(id: Option<&'a str>, model: Option<&'a str>) -> StreamEvent<'a> {
    StreamEvent::Start { id: id.map(Into::into), model: model.map(Into::into) }
}

fn usage(input: u64, output: u64) -> StreamEvent<'static> {
    StreamEvent::Usage(Usage {
        input_tokens: Some(input),
        output_tokens: Some(output),
        total_tokens: Some(input + output),
        ..Usage::default()
    })
}

#[track_caller]
fn check(data: &[&str], expected: &[StreamEvent<'_>]) {
    let played = play_data(&local(), data);
    played.outcome.unwrap();
    assert_eq!(played.events, expected);
}

#[test]
fn vllm_with_usage_in_every_chunk() {
    check(
        &[
            r#"{"id":"c","object":"chat.completion.chunk","model":"q","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":5,"completion_tokens":0}}"#,
            r#"{"id":"c","model":"q","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null,"token_ids":null}],"usage":{"prompt_tokens":5,"total_tokens":6,"completion_tokens":1}}"#,
            r#"{"id":"c","model":"q","choices":[{"index":0,"delta":{"content":" there"},"finish_reason":"length","stop_reason":null}],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}"#,
            r#"{"id":"c","model":"q","choices":[],"usage":{"prompt_tokens":5,"total_tokens":7,"completion_tokens":2}}"#,
            "[DONE]",
        ],
        &[
            start(Some("c"), Some("q")),
            usage(5, 0),
            text("Hi"),
            usage(5, 1),
            text(" there"),
            StreamEvent::Finish(FinishReason::Length),
            usage(5, 2),
            usage(5, 2),
        ],
    );
}

#[test]
fn ollama_with_a_usage_of_zeros_in_every_chunk() {
    let zeros = r#""usage":{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}"#;
    let chunk = |text: &str| {
        format!(
            r#"{{"id":"c","model":"q","choices":[{{"index":0,"text":"{text}","finish_reason":null}}],{zeros}}}"#
        )
    };
    check(
        &[
            &chunk(" a"),
            &chunk(" b"),
            r#"{"id":"c","model":"q","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#,
            "[DONE]",
        ],
        &[start(Some("c"), Some("q")), text(" a"), text(" b"), usage(5, 2)],
    );
}

#[test]
fn both_names_of_reasoning() {
    check(
        &[
            r#"{"id":"c","model":"q","choices":[{"delta":{"role":"assistant","content":null,"reasoning_content":""}}]}"#,
            r#"{"choices":[{"delta":{"content":null,"reasoning_content":"Hm"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"m\n"}}]}"#,
            r#"{"choices":[{"delta":{"reasoning":"twice","reasoning_content":"twice"}}]}"#,
            r#"{"choices":[{"delta":{"content":"A","reasoning_content":null},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
        &[
            start(Some("c"), Some("q")),
            reasoning("Hm"),
            reasoning("m\n"),
            reasoning("twice"),
            text("A"),
            StreamEvent::Finish(FinishReason::Stop),
        ],
    );
}

#[test]
fn no_id_no_usage_odd_types_and_extra_fields_are_harmless() {
    check(
        &[
            r#"{"id":7,"model":null,"created":"now","x":{"y":[1]},"choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":""}],"usage":{}}"#,
            r#"{"choices":[{"index":0,"delta":{"content":"A"},"finish_reason":null}],"usage":null,"system_fingerprint":[]}"#,
            r#"{"choices":[{"index":0,"delta":null,"finish_reason":"eos"}]}"#,
            r#"{"choices":[{"index":0,"delta":{},"finish_reason":"eos"}]}"#,
            r#"{"type":"ping"}"#,
            "[DONE]",
        ],
        &[text("A"), StreamEvent::Finish(FinishReason::Other("eos".into()))],
    );
}

/// A `Start` behind content would void it.
#[test]
fn an_id_that_comes_late_voids_nothing() {
    check(
        &[
            r#"{"choices":[{"delta":{"content":"Hi"}}]}"#,
            r#"{"id":"c","model":"q","choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
        &[text("Hi"), StreamEvent::Finish(FinishReason::Stop)],
    );
}

#[test]
fn parallel_tool_calls_are_told_apart_by_index() {
    let played = play_data(
        &local(),
        &[
            r#"{"id":"c","choices":[{"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","type":"function","function":{"name":"g","arguments":"{\"y\""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}},{"index":1,"function":{"arguments":":2}"}}]}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
            "[DONE]",
        ],
    );
    let calls = played.collect().tool_calls;
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.into(),
    };
    assert_eq!(calls, [call("a", "f", r#"{"x":1}"#), call("b", "g", r#"{"y":2}"#)]);
    let first =
        ToolCallDelta { index: 0, id: Some("a".into()), name: Some("f".into()), arguments: "".into() };
    assert_eq!(played.events[1], StreamEvent::ToolCall(first));
}

#[test]
fn a_refusal_is_text_and_ends_as_one() {
    check(
        &[
            r#"{"id":"c","choices":[{"delta":{"role":"assistant","content":null,"refusal":"I can"}}]}"#,
            r#"{"choices":[{"delta":{"refusal":"not."}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            "[DONE]",
        ],
        &[
            start(Some("c"), None),
            text("I can"),
            text("not."),
            StreamEvent::Finish(FinishReason::ContentFilter),
        ],
    );
    let body = r#"{"choices":[{"message":{"content":null,"refusal":"No."},"finish_reason":"stop"}]}"#;
    let answer = local().decode(body.as_bytes(), &mut |_, _| {}).unwrap();
    assert_eq!((answer.text.as_str(), answer.finish_reason), ("No.", Some(FinishReason::ContentFilter)));
}

#[test]
fn whole_answers_of_every_dialect() {
    #[track_caller]
    fn check(body: &str, expected: ChatResponse) {
        assert_eq!(local().decode(body.as_bytes(), &mut |_, _| {}).unwrap(), expected);
    }
    check(
        r#"{"choices":[{"message":{"role":"assistant","content":"A","reasoning":"B"},"finish_reason":"stop"}]}"#,
        ChatResponse {
            text: "A".into(),
            reasoning: Some("B".into()),
            finish_reason: Some(FinishReason::Stop),
            ..ChatResponse::default()
        },
    );
    check(
        r#"{"choices":[{"message":{"content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]},"finish_reason":"function_call"}]}"#,
        ChatResponse {
            tool_calls: vec![ToolCall { id: "call_0".into(), name: "f".into(), arguments: "{}".into() }],
            finish_reason: Some(FinishReason::ToolCalls),
            ..ChatResponse::default()
        },
    );
}

#[test]
fn what_comes_after_the_terminal_marker_does_not_count() {
    let codec = local();
    let (mut decoder, mut events) = (codec.decoder(), common::Events::default());
    for data in [r#"{"choices":[]}"#, "[DONE]", r#"{"error":{"message":"late"}}"#, "garbage"] {
        decoder.frame(Frame { event: None, data }, Stamp::default(), &mut events).unwrap();
    }
    decoder.finish().unwrap();
}

#[test]
fn an_end_without_the_marker_is_truncated_even_after_finish_reason() {
    let played = play_data(&local(), &[r#"{"choices":[{"delta":{"content":"A"},"finish_reason":"stop"}]}"#]);
    let e = played.outcome.unwrap_err();
    assert_eq!(e.code(), ErrorCode::StreamTruncated);
    assert!(e.message().contains("(after finish_reason) without `data: [DONE]`"), "{e}");
    // An event without its blank line is not an event.
    let played = play(&local(), [&b"data: {\"choices\":[]}\n\ndata: [DONE]\n"[..]]);
    assert_eq!(played.outcome.unwrap_err().code(), ErrorCode::StreamTruncated);
}

#[test]
fn a_stream_that_says_nothing_is_empty() {
    assert_eq!(play_data(&local(), &["[DONE]"]).outcome.unwrap_err().code(), ErrorCode::EmptyResponse);
    let e = local().decode(br#"{"id":"c","choices":[]}"#, &mut |_, _| {}).unwrap_err();
    assert_eq!(e.code(), ErrorCode::EmptyResponse);
}

/// The same error inside a stream, after a token.
#[track_caller]
fn check_in_stream(sse: &str, code: ErrorCode, provider_code: Option<&str>, message: &str) {
    let body =
        format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"A\"}}}}]}}\n\n{sse}\n\ndata: [DONE]\n\n");
    let played = play(&local(), [body.as_bytes()]);
    assert_eq!(played.events, [text("A")]);
    let e = played.outcome.unwrap_err();
    assert_eq!((e.code(), e.provider_code(), e.message()), (code, provider_code, message), "{e}");
}

#[test]
fn errors_inside_a_stream() {
    use ErrorCode as C;
    // OpenAI.
    check_in_stream(
        r#"data: {"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#,
        C::Internal,
        Some("server_error"),
        "The server had an error",
    );
    check_in_stream(
        r#"data: {"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}"#,
        C::RateLimit,
        Some("rate_limit_exceeded"),
        "Rate limit reached",
    );
    // By event name; vLLM and SGLang with a status; their older top level; OpenRouter; text generation inference.
    check_in_stream("event: error\ndata: {\"error\":\"boom\"}", C::Stream, None, "boom");
    check_in_stream("event: error\ndata: boom", C::Stream, None, "boom");
    check_in_stream(
        r#"data: {"error":{"object":"error","message":"bad","type":"BadRequestError","param":null,"code":400}}"#,
        C::InvalidRequest,
        Some("BadRequestError"),
        "bad",
    );
    check_in_stream(
        r#"data: {"object":"error","message":"gone","type":"InternalServerError","code":500}"#,
        C::Internal,
        Some("InternalServerError"),
        "gone",
    );
    check_in_stream(
        r#"data: {"id":"g","error":{"code":502,"message":"Provider disconnected"},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}"#,
        C::Internal,
        None,
        "Provider disconnected",
    );
    check_in_stream(
        r#"data: {"error":"Request failed during generation","error_type":"generation"}"#,
        C::Internal,
        Some("generation"),
        "Request failed during generation",
    );
    check_in_stream(
        r#"data: {"error":{"error":"Input validation error: too long","error_type":"validation"}}"#,
        C::Stream,
        Some("validation"),
        "Input validation error: too long",
    );
    check_in_stream(
        r#"data: {"error":{"message":"Template error: undefined","http_status_code":422}}"#,
        C::InvalidRequest,
        None,
        "Template error: undefined",
    );
    check_in_stream(r#"data: {"error":{}}"#, C::Stream, None, "an error object without a message");
}

#[test]
fn broken_json_is_malformed() {
    for data in ["{", "nothing", "[]", "7", r#"{"choices":[{"delta":{"content":7}}]}"#, r#"{"choices":{}}"#] {
        let e = play_data(&local(), &[data, "[DONE]"]).outcome.unwrap_err();
        assert_eq!(e.code(), ErrorCode::MalformedResponse, "{data}: {e}");
    }
    for body in [&b"<html>"[..], b"", b"\xff\xfe", b"[]"] {
        let e = local().decode(body, &mut |_, _| {}).unwrap_err();
        assert_eq!(e.code(), ErrorCode::MalformedResponse, "{e}");
    }
}

#[track_caller]
fn check_refusal(status: u16, body: &str, code: ErrorCode, provider_code: Option<&str>) {
    let e = local().classify(status, &HeaderMap::new(), body.as_bytes());
    assert_eq!((e.code(), e.provider_code(), e.status()), (code, provider_code, Some(status)), "{e}");
}

#[test]
fn refusals_by_word_and_by_status() {
    use ErrorCode as C;
    let error = |message: &str, kind: &str, code: &str| {
        format!(r#"{{"error":{{"message":"{message}","type":"{kind}","param":null,"code":{code}}}}}"#)
    };
    // OpenAI's documented errors.
    for (status, kind, code, expected) in [
        (401, "invalid_request_error", r#""invalid_api_key""#, C::Authentication),
        (403, "request_forbidden", r#""unsupported_country_region_territory""#, C::Authorization),
        (404, "invalid_request_error", r#""model_not_found""#, C::ModelNotAvailable),
        (429, "tokens", r#""rate_limit_exceeded""#, C::RateLimit),
        (429, "requests", "null", C::RateLimit),
        (429, "insufficient_quota", r#""insufficient_quota""#, C::QuotaExceeded),
        (400, "invalid_request_error", r#""context_length_exceeded""#, C::InvalidRequest),
        (400, "invalid_request_error", r#""content_policy_violation""#, C::ContentFiltered),
        (400, "invalid_request_error", "null", C::InvalidRequest),
        (500, "server_error", "null", C::Internal),
        (503, "server_error", "null", C::Overloaded),
        (503, "service_unavailable", r#""slow_down""#, C::Overloaded),
        (418, "teapot", "null", C::InvalidRequest),
    ] {
        let word = serde_json::from_str::<Option<String>>(code).unwrap().unwrap_or(kind.to_owned());
        check_refusal(status, &error("no", kind, code), expected, Some(&word));
    }
    // vLLM, SGLang: numbers as codes, the model only in the message, the older top level.
    check_refusal(
        404,
        &error("The model `x` does not exist.", "NotFoundError", "404"),
        C::ModelNotAvailable,
        Some("NotFoundError"),
    );
    check_refusal(
        400,
        r#"{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}"#,
        C::InvalidRequest,
        Some("BadRequestError"),
    );
    check_refusal(422, r#"{"detail":[{"loc":["body"],"msg":"field required"}]}"#, C::InvalidRequest, None);
    check_refusal(404, r#"{"detail":"Not Found"}"#, C::NotFound, None);
    // llama.cpp.
    check_refusal(
        503,
        &error("Loading model", "unavailable_error", "503"),
        C::Overloaded,
        Some("unavailable_error"),
    );
    check_refusal(
        404,
        &error("File Not Found", "not_found_error", "404"),
        C::NotFound,
        Some("not_found_error"),
    );
    // Azure.
    check_refusal(
        429,
        r#"{"error":{"code":"429","message":"Requests have exceeded call rate limit"}}"#,
        C::RateLimit,
        Some("429"),
    );
    check_refusal(401, r#"{"statusCode":401,"message":"Unauthorized"}"#, C::Authentication, None);
    check_refusal(
        400,
        r#"{"error":{"message":"filtered","type":null,"code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation"}}}"#,
        C::ContentFiltered,
        Some("content_filter"),
    );
    // Gateways: no JSON, no body, a quota without a word.
    check_refusal(
        402,
        &error("Insufficient Balance", "unknown_error", "null"),
        C::QuotaExceeded,
        Some("unknown_error"),
    );
    check_refusal(429, r#"{"message":"You exceeded your current quota, please"}"#, C::QuotaExceeded, None);
    check_refusal(429, "", C::RateLimit, None);
    check_refusal(502, "<html>Bad Gateway</html>", C::Internal, None);
    check_refusal(504, "upstream timed out", C::Timeout, None);
    // Text generation inference.
    check_refusal(
        424,
        r#"{"error":"Request failed during generation: out of memory","error_type":"generation"}"#,
        C::Internal,
        Some("generation"),
    );
    check_refusal(
        429,
        r#"{"error":"Model is overloaded","error_type":"overloaded"}"#,
        C::Overloaded,
        Some("overloaded"),
    );
    check_refusal(
        422,
        r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096","error_type":"validation"}"#,
        C::InvalidRequest,
        Some("validation"),
    );
    check_refusal(529, "{}", C::Overloaded, None);
    check_refusal(408, "{}", C::Timeout, None);
    check_refusal(301, "", C::NotFound, None);
    check_refusal(199, "", C::Unknown, None);
}

#[test]
fn a_refusal_says_what_to_do() {
    let headers: HeaderMap = [("retry-after", "20"), ("retry-after-ms", "1500"), ("x-request-id", "req_1")]
        .into_iter()
        .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
        .collect();
    let e = local().classify(429, &headers, br#"{"error":{"message":"slow down"}}"#);
    assert_eq!(e.retry_after(), Some(std::time::Duration::from_millis(1500)));
    assert_eq!((e.request_id(), e.message(), e.provider()), (Some("req_1"), "slow down", Some("openai")));

    // Without retry-after: until the exhausted limit is full again, and only where a limit was hit.
    let headers: HeaderMap = [
        ("x-ratelimit-remaining-requests", "57"),
        ("x-ratelimit-reset-requests", "10s"),
        ("x-ratelimit-remaining-tokens", "0"),
        ("x-ratelimit-reset-tokens", "1m30s"),
    ]
    .into_iter()
    .map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v)))
    .collect();
    let e = local().classify(429, &headers, b"");
    assert_eq!(e.retry_after(), Some(std::time::Duration::from_secs(90)));
    let quota = br#"{"error":{"message":"pay","code":"insufficient_quota"}}"#;
    assert_eq!(local().classify(429, &headers, quota).retry_after(), None);
    assert_eq!(local().classify(500, &headers, b"").retry_after(), None);

    let none = HeaderMap::new();
    let e = local().classify(404, &none, b"");
    assert!(
        e.message().contains("asked for http://127.0.0.1:8000/v1/chat/completions; check base_url"),
        "{e}"
    );
    let e = local().classify(401, &none, b"{}");
    assert!(e.message().contains("no key was sent"), "{e}");
    let e = azure().classify(401, &none, b"{}");
    assert_eq!(e.message(), "HTTP 401 without a message");
    let e = local().classify(502, &none, b"<html>");
    assert_eq!(e.message(), "the server sent a page for browsers, expected JSON");
    let e = local().classify(400, &none, "é".repeat(5000).as_bytes());
    assert_eq!(e.message().chars().count(), 1001);
}

#[test]
fn no_key_survives_in_an_error() {
    let own = codec_of(
        ModelConfig::new("openai", "m")
            .with_base_url("https://gateway.example/v1")
            .with_api_key("hunter2-hunter2"),
    );
    let quotes = r#"{"error":{"message":"bad key hunter2-hunter2, not sk-proj-0123456789","code":"sk-proj-0123456789"}}"#;
    for e in [
        own.classify(401, &HeaderMap::new(), quotes.as_bytes()),
        own.decode(quotes.as_bytes(), &mut |_, _| {}).unwrap_err(),
        play_data(&own, &[quotes]).outcome.unwrap_err(),
    ] {
        assert!(e.message().starts_with("bad key [redacted], not [redacted]"), "{e}");
        let shown = format!("{e} {e:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("0123456789"), "{shown}");
    }
    let _ = codec("http://localhost:1/v1");
}
