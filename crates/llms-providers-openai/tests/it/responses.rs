//! The Responses API where the recordings lack something: servers that leave out pieces, ends or names, failures of every
//! kind, and what is delivered once only.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::common;

use common::{local_of, play, play_data, vendor_of};
use http::HeaderMap;
use llms_core::{
    ErrorCode, FinishReason, StreamEvent,
    event::{ReasoningSeal, ToolCallDelta},
    wire::Codec as _,
};
use llms_providers_openai::{Api, Codec};

fn local() -> Codec {
    local_of(Api::Responses)
}

fn text(t: &str) -> StreamEvent<'_> {
    StreamEvent::Text(t.into())
}

fn start<'a>(id: Option<&'a str>, model: Option<&'a str>) -> StreamEvent<'a> {
    StreamEvent::Start { id: id.map(Into::into), model: model.map(Into::into) }
}

fn call<'a>(index: u32, id: Option<&'a str>, name: Option<&'a str>, arguments: &'a str) -> StreamEvent<'a> {
    let (id, name) = (id.map(Into::into), name.map(Into::into));
    StreamEvent::ToolCall(ToolCallDelta { index, id, name, arguments: arguments.into() })
}

const CREATED: &str =
    r#"{"type":"response.created","response":{"id":"resp_1","model":"m","status":"in_progress"}}"#;
const COMPLETED: &str =
    r#"{"type":"response.completed","response":{"id":"resp_1","model":"m","status":"completed"}}"#;

#[track_caller]
fn check(data: &[&str], expected: &[StreamEvent<'_>]) {
    let played = play_data(&local(), data);
    played.outcome.unwrap();
    assert_eq!(played.events, expected);
}

#[test]
fn parallel_calls_of_interleaved_pieces() {
    check(
        &[
            CREATED,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"m"}}"#,
            r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"function_call","id":"a","call_id":"call_a","name":"f","arguments":""}}"#,
            r#"{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","id":"b","call_id":"call_b","name":"f","arguments":""}}"#,
            r#"{"type":"response.function_call_arguments.delta","output_index":2,"item_id":"b","delta":"{\"x\""}"#,
            r#"{"type":"response.function_call_arguments.delta","output_index":1,"item_id":"a","delta":"{}"}"#,
            r#"{"type":"response.function_call_arguments.delta","output_index":2,"item_id":"b","delta":":1}"}"#,
            r#"{"type":"response.function_call_arguments.done","output_index":2,"item_id":"b","arguments":"{\"x\":1}"}"#,
            r#"{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","id":"a","call_id":"call_a","name":"f","arguments":"{}"}}"#,
            r#"{"type":"response.output_item.done","output_index":2,"item":{"type":"function_call","id":"b","call_id":"call_b","name":"f","arguments":"{\"x\":1}"}}"#,
            COMPLETED,
        ],
        &[
            start(Some("resp_1"), Some("m")),
            call(0, Some("call_a"), Some("f"), ""),
            call(1, Some("call_b"), Some("f"), ""),
            call(1, None, None, "{\"x\""),
            call(0, None, None, "{}"),
            call(1, None, None, ":1}"),
            StreamEvent::Finish(FinishReason::ToolCalls),
        ],
    );
}

#[test]
fn what_came_in_no_pieces_is_delivered_at_its_end_and_once() {
    let seal = |id: &'static str| {
        StreamEvent::ReasoningSeal(ReasoningSeal { id: Some(id.into()), ..ReasoningSeal::default() })
    };
    let message = r#"{"type":"message","id":"m","content":[{"type":"output_text","text":"A"},{"type":"output_text","text":"B"}]}"#;
    let reasoning = r#"{"type":"reasoning","id":"r","summary":[],"content":[{"type":"reasoning_text","text":"hm"}],"encrypted_content":""}"#;
    let function = r#"{"type":"function_call","id":"f","call_id":"c","name":"f","arguments":"{}"}"#;
    let completed = format!(
        r#"{{"type":"response.completed","response":{{"status":"completed","output":[{reasoning},{message},{function}]}}}}"#
    );
    let expected = [
        StreamEvent::Reasoning("hm".into()),
        seal("r"),
        text("A"),
        text("B"),
        call(0, Some("c"), Some("f"), "{}"),
        StreamEvent::Finish(FinishReason::ToolCalls),
    ];
    // Only the end of the response; the ends of items, without index, and the end of the response; announced before.
    check(&[&completed], &expected);
    let done = |item: &str| format!(r#"{{"type":"response.output_item.done","item":{item}}}"#);
    check(&[&done(reasoning), &done(message), &done(function), &completed], &expected);
    let added = |item: &str| done(item).replace("done", "added");
    check(
        &[
            &added(reasoning),
            &done(reasoning),
            &added(message),
            &done(message),
            &done(function),
            &done(function),
            &completed,
        ],
        &expected,
    );
}

/// A `Start` behind content would void it.
#[test]
fn an_id_that_comes_late_voids_nothing() {
    check(
        &[r#"{"type":"response.output_text.delta","item_id":"i","output_index":0,"delta":"Hi"}"#, COMPLETED],
        &[text("Hi"), StreamEvent::Finish(FinishReason::Stop)],
    );
}

#[test]
fn names_of_events_stand_in_for_missing_types() {
    let body = "event: response.created\ndata: {\"response\":{\"id\":\"a\"}}\n\n\
                event: response.output_text.delta\ndata: {\"delta\":\"A\"}\n\n\
                event: response.completed\ndata: {\"response\":{}}\n\n";
    let played = play(&local(), [body.as_bytes()]);
    played.outcome.unwrap();
    assert_eq!(played.events, [start(Some("a"), None), text("A"), StreamEvent::Finish(FinishReason::Stop)]);
}

#[test]
fn harmless() {
    check(
        &[
            r#"{"type":"response.queued","response":{}}"#,
            r#"{"type":"response.web_search_call.searching","output_index":0,"item_id":"w"}"#,
            r#"{"type":"response.output_item.added","output_index":0,"item":{"type":"mcp_call","id":"w","arguments":"{}","name":"n"}}"#,
            r#"{"type":"response.mcp_call_arguments.delta","output_index":0,"delta":"{}"}"#,
            r#"{"type":"response.code_interpreter_call_code.delta","output_index":0,"delta":"1+1"}"#,
            r#"{"type":"response.image_generation_call.partial_image","partial_image_b64":"AAAA"}"#,
            r#"{"type":"response.output_item.done","output_index":0,"item":{"type":"mcp_call","id":"w","arguments":{"a":1},"output":[1],"content":"x","summary":7}}"#,
            r#"{"type":"response.content_part.added","part":{"type":"output_text","text":"no"}}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"delta":""}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"delta":{"not":"a text"}}"#,
            r#"{"type":"response.output_text.annotation.added","annotation":{}}"#,
            r#"{"type":"response.of_the_future","error":null}"#,
            "{}",
            "[DONE]",
            r#"{"type":"response.completed","response":{"status":"completed","output":null,"usage":null,"incomplete_details":null,"error":null,"tools":[{"type":"x"}]}}"#,
            r#"{"type":"response.output_text.delta","output_index":1,"delta":"after the end"}"#,
        ],
        &[StreamEvent::Finish(FinishReason::Stop)],
    );
}

#[test]
fn the_end_says_why() {
    #[track_caller]
    fn check(response: &str, expected: &FinishReason) {
        let event = format!(r#"{{"type":"response.incomplete","response":{response}}}"#);
        let played = play_data(&local(), &[&event]);
        assert_eq!(played.outcome.unwrap().finish_reason.as_ref(), Some(expected));
        let whole = response.replacen('{', r#"{"output":[],"#, 1);
        let whole = local().decode(whole.as_bytes(), &mut |_, _| {}).unwrap();
        assert_eq!(whole.finish_reason.as_ref(), Some(expected));
    }
    let other = |w: &str| FinishReason::Other(w.to_owned());
    check(
        r#"{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}"#,
        &FinishReason::Length,
    );
    check(
        r#"{"status":"incomplete","incomplete_details":{"reason":"content_filter"}}"#,
        &FinishReason::ContentFilter,
    );
    check(r#"{"status":"incomplete","incomplete_details":{"reason":"steered"}}"#, &other("steered"));
    check(r#"{"status":"incomplete","incomplete_details":null}"#, &other("incomplete"));
    check(r#"{"status":"ready"}"#, &other("ready"));
}

/// The same failure inside a stream, after a token.
#[track_caller]
fn check_failure(sse: &str, code: ErrorCode, provider_code: Option<&str>, message: &str) {
    let body = format!(
        "data: {{\"type\":\"response.output_text.delta\",\"delta\":\"A\"}}\n\n{sse}\n\ndata: {COMPLETED}\n\n"
    );
    let played = play(&local(), [body.as_bytes()]);
    assert_eq!(played.events.iter().filter(|e| e.is_token()).count(), 1);
    let e = played.outcome.unwrap_err();
    assert_eq!((e.code(), e.provider_code()), (code, provider_code), "{e}");
    assert!(e.message().contains(message), "{e}");
}

#[test]
fn failures_inside_a_stream() {
    use ErrorCode as C;
    let failed = |error: &str| {
        format!(
            r#"data: {{"type":"response.failed","response":{{"id":"r","status":"failed","error":{error}}}}}"#
        )
    };
    for (word, code) in [
        ("server_error", C::Internal),
        ("rate_limit_exceeded", C::RateLimit),
        ("invalid_prompt", C::InvalidRequest),
        ("image_content_policy_violation", C::ContentFiltered),
        ("failed_to_download_image", C::InvalidRequest),
        ("vector_store_timeout", C::Timeout),
        ("of_the_future", C::Stream),
    ] {
        let error = format!(r#"{{"code":"{word}","message":"no"}}"#);
        check_failure(&failed(&error), code, Some(word), "no");
    }
    check_failure(&failed("null"), C::Stream, None, "does not say why");
    check_failure(
        r#"data: {"type":"response.completed","response":{"status":"failed","error":{"code":"server_error","message":"no"}}}"#,
        C::Internal,
        Some("server_error"),
        "no",
    );
    check_failure(
        r#"data: {"type":"error","code":null,"message":"boom","param":null,"sequence_number":3}"#,
        C::Stream,
        None,
        "boom",
    );
    check_failure("event: error\ndata: boom", C::Stream, None, "boom");
    check_failure(
        r#"data: {"error":{"message":"gone","type":"InternalServerError","code":500}}"#,
        C::Internal,
        Some("InternalServerError"),
        "gone",
    );
    check_failure(r#"data: {"object":"error","message":"bad","code":400}"#, C::InvalidRequest, None, "bad");
    check_failure(
        r#"data: {"type":"response.cancelled","response":{}}"#,
        C::InvalidResponse,
        None,
        "cancelled",
    );
    check_failure(
        r#"data: {"type":"response.completed"}"#,
        C::MalformedResponse,
        None,
        "without the response",
    );
    check_failure("data: {", C::MalformedResponse, None, "an event of a response");
}

#[test]
fn whole_answers_that_are_none() {
    #[track_caller]
    fn check(body: &str, code: ErrorCode, message: &str) {
        let e = local().decode(body.as_bytes(), &mut |_, _| {}).unwrap_err();
        assert_eq!(e.code(), code, "{e}");
        assert!(e.message().contains(message), "{e}");
    }
    check(r#"{"status":"queued","output":[]}"#, ErrorCode::InvalidResponse, "the response is queued");
    check(r#"{"status":"cancelled","output":[]}"#, ErrorCode::InvalidResponse, "the response is cancelled");
    check(r#"{"status":"failed","output":[],"error":null}"#, ErrorCode::InvalidResponse, "does not say why");
    check(
        r#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow"}}"#,
        ErrorCode::RateLimit,
        "slow",
    );
    check(r#"{"error":{"message":"no","code":"content_filter"}}"#, ErrorCode::ContentFiltered, "no");
    check(r#"{"detail":"Not here"}"#, ErrorCode::InvalidResponse, "Not here");
    check("{}", ErrorCode::EmptyResponse, "no output");
    check("[]", ErrorCode::MalformedResponse, "a response");
}

#[test]
fn a_server_without_this_api_is_told_from_a_wrong_address() {
    let e = local().classify(404, &HeaderMap::new(), b"404 page not found");
    assert_eq!(e.code(), ErrorCode::NotFound);
    assert!(e.message().contains("http://127.0.0.1:8000/v1/responses; check base_url"), "{e}");
    assert!(e.message().contains("provider_specific.api = \"chat\""), "{e}");
    assert_eq!(e.op(), "openai.responses");
    let e = vendor_of(Api::Responses).classify(400, &HeaderMap::new(), b"{}");
    assert_eq!(e.code(), ErrorCode::InvalidRequest);
}
