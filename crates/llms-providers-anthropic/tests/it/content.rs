//! What goes into a request besides texts: documents, reasoning sent back, marks of the cache, formats; and what of it is
//! refused. The plain parts of requests are in `requests.rs`.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::stub;

use llms_core::{
    CallContext, ChatModel, ChatRequest, Error, ErrorCode, Message, StreamEvent, TimedEvent, ToolCall,
    ToolDefinition,
    chat::{CacheAt, CacheBreakpoint, CacheTtl, Content, DocumentData, ReasoningBlock, ResponseFormat},
    config::ModelConfig,
    event::Collector,
    wire::{Codec as _, Delivery},
};
use llms_providers_anthropic::{Codec, Config};
use serde_json::{Value, json};
use stub::{Answer, Stub, bare, model, run};

fn config() -> ModelConfig {
    ModelConfig::new("anthropic", "claude-test").with_base_url("http://127.0.0.1:9")
}

fn vendor() -> ModelConfig {
    ModelConfig::new("anthropic", "claude-test").with_api_key("hunter2hunter2")
}

fn encode(config: &ModelConfig, request: &ChatRequest) -> Result<Value, Error> {
    let codec = Codec::new(Config::new(config, &|_| None).unwrap());
    Ok(serde_json::from_slice(&codec.encode(request, Delivery::Whole)?.body).unwrap())
}

#[track_caller]
fn field(request: &ChatRequest, name: &str, expected: Value) {
    assert_eq!(encode(&config(), request).unwrap()[name], expected);
}

#[track_caller]
fn refused(request: &ChatRequest, fields: &[&str]) {
    let error = encode(&vendor(), request).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest, "{error}");
    for field in fields {
        assert!(error.message().contains(field), "{error} should name {field}");
    }
}

fn user(content: Vec<Content>) -> ChatRequest {
    ChatRequest::new([Message::User { content }])
}

fn document(name: Option<&str>, data: DocumentData) -> Content {
    Content::Document { name: name.map(str::to_owned), data }
}

fn inline(media_type: &str, base64: &str) -> DocumentData {
    DocumentData::Inline { media_type: media_type.into(), base64: base64.into() }
}

#[test]
fn documents_are_sent_inline_by_address_or_as_text() {
    let request = user(vec![
        Content::document("report", "application/pdf", "JVBERi0="),
        document(None, DocumentData::Url("https://example.com/a.pdf".into())),
        document(Some("notes"), DocumentData::Text("grüße".into())),
        document(None, inline("text/plain", "Z3LDvMOfZQ==")),
        Content::text("what do they say?"),
    ]);
    let text = |data: &str| json!({"type": "text", "media_type": "text/plain", "data": data});
    field(
        &request,
        "messages",
        json!([{"role": "user", "content": [
            {"type": "document", "title": "report",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}},
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
            {"type": "document", "title": "notes", "source": text("grüße")},
            {"type": "document", "source": text("grüße")},
            {"type": "text", "text": "what do they say?"},
        ]}]),
    );
}

#[test]
fn files_that_the_wire_has_no_words_for_are_refused_by_name() {
    refused(
        &user(vec![
            document(None, inline("text/csv", "YQ==")),
            document(None, inline("text/plain", "not base64")),
            document(None, inline("text/plain", "/w==")),
            Content::image("image/tiff", "aGk="),
        ]),
        &[
            "messages[0].content[0].media_type: expected application/pdf",
            "messages[0].content[1].base64: ",
            "messages[0].content[2].base64: ",
            "messages[0].content[3].media_type: expected one of image/jpeg",
        ],
    );
}

fn signed(text: &str, signature: &str) -> ReasoningBlock {
    ReasoningBlock { text: text.into(), signature: Some(signature.into()), ..ReasoningBlock::default() }
}

fn assistant(reasoning: Vec<ReasoningBlock>) -> ChatRequest {
    let call = ToolCall { id: "t".into(), name: "f".into(), arguments: "{}".into() };
    ChatRequest::new([
        Message::user("a"),
        Message::Assistant { content: "ok".into(), tool_calls: vec![call.clone()], reasoning },
        Message::tool_result(&call, "42"),
    ])
}

#[test]
fn reasoning_goes_back_before_text_and_calls() {
    let redacted = ReasoningBlock { encrypted: Some("cipher".into()), ..ReasoningBlock::default() };
    let request = assistant(vec![signed("hm", "sig=="), redacted, signed("", "only")]);
    let sent = encode(&vendor(), &request).unwrap();
    assert_eq!(
        sent["messages"][1],
        json!({"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig=="},
            {"type": "redacted_thinking", "data": "cipher"},
            {"type": "thinking", "thinking": "", "signature": "only"},
            {"type": "text", "text": "ok"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        ]})
    );
}

#[test]
fn only_compatible_servers_get_reasoning_that_nobody_signed() {
    let request = assistant(vec![ReasoningBlock { text: "hm".into(), ..ReasoningBlock::default() }]);
    let sent = encode(&config(), &request).unwrap();
    assert_eq!(sent["messages"][1]["content"][0], json!({"type": "thinking", "thinking": "hm"}));
    refused(&request, &["messages[1].reasoning[0]: expected a block with its signature"]);
}

#[test]
fn reasoning_of_other_vendors_is_refused_by_name() {
    let foreign = ReasoningBlock { id: Some("rs_1".into()), encrypted: Some("x".into()), ..signed("", "") };
    refused(
        &assistant(vec![signed("a", "b"), foreign]),
        &["messages[1].reasoning[1]: expected a block of this API"],
    );
    let both = ReasoningBlock { encrypted: Some("x".into()), ..signed("a", "b") };
    refused(&assistant(vec![both]), &["messages[1].reasoning[0]: expected a block that is either signed"]);
}

const ANSWER: &[&str] = &[
    r#"{"type":"message_start","message":{"id":"m","model":"m","content":[],"usage":{"input_tokens":1}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"one "}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"\"two\""}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"s1+/="}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"c1"}}"#,
    r#"{"type":"content_block_stop","index":1}"#,
    r#"{"type":"content_block_start","index":2,"content_block":{"type":"thinking","thinking":"","signature":"s2"}}"#,
    r#"{"type":"content_block_stop","index":2}"#,
    r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
    r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"b\": 1}"}}"#,
    r#"{"type":"content_block_stop","index":3}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}"#,
    r#"{"type":"message_stop"}"#,
];

const WHOLE: &str = r#"{"id":"m","type":"message","model":"m","stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":1},
    "content":[{"type":"thinking","thinking":"one \"two\"","signature":"s1+/="},{"type":"redacted_thinking","data":"c1"},
    {"type":"thinking","thinking":"","signature":"s2"},{"type":"tool_use","id":"t","name":"f","input":{"b": 1}}]}"#;

#[test]
fn a_tool_loop_sends_the_reasoning_back_unchanged_streamed_or_not() {
    let back = json!({"role": "assistant", "content": [
        {"type": "thinking", "thinking": "one \"two\"", "signature": "s1+/="},
        {"type": "redacted_thinking", "data": "c1"},
        {"type": "thinking", "thinking": "", "signature": "s2"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"b": 1}},
    ]});
    let (first, whole) = (Answer::stream(ANSWER), Answer::new(200, &[WHOLE]));
    let stub = Stub::new([first, whole.clone(), whole]);
    let model = model(&vendor(), &stub);
    let ctx = CallContext::new();
    let mut request =
        ChatRequest::text("hi").with_tools([ToolDefinition::new("f", "", json!({"type": "object"}))]);
    let mut collector = Collector::default();
    run(model.drive(&request, &ctx, &mut collector)).unwrap();
    let streamed = collector.finish();
    let whole = run(model.generate(&request, &ctx)).unwrap();
    assert_eq!(streamed, whole);
    request.messages.push(streamed.to_message());
    request.messages.push(Message::tool_result(&streamed.tool_calls[0], "42"));
    run(model.generate(&request, &ctx)).unwrap();
    assert_eq!(stub.body(2)["messages"][1], back);
}

#[test]
fn thinking_that_nobody_ends_or_signs_is_sealed_all_the_same() {
    let stub = Stub::new([Answer::stream(&[
        ANSWER[0],
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"a"}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":""}}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"thinking","thinking":"b"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#,
        r#"{"type":"message_stop"}"#,
    ])]);
    let mut events: Vec<TimedEvent> = Vec::new();
    run(model(&config(), &stub).drive(&ChatRequest::text("hi"), &CallContext::new(), &mut events)).unwrap();
    let mut collector = Collector::default();
    for event in bare(events) {
        assert!(!matches!(&event, StreamEvent::ReasoningSeal(s) if s.signature.is_some()));
        llms_core::EventSink::event(&mut collector, event, llms_core::Stamp::default());
    }
    let blocks: Vec<String> = collector.finish().reasoning_blocks.into_iter().map(|b| b.text).collect();
    assert_eq!(blocks, ["a", "b"]);
}

fn long(at: CacheAt) -> CacheBreakpoint {
    CacheBreakpoint { at, ttl: CacheTtl::Long }
}

#[test]
fn marks_stand_on_the_last_block_of_their_place() {
    let tool = |name: &str| ToolDefinition::new(name, "", json!({"type": "object"}));
    let mut request = ChatRequest::new([
        Message::user("a"),
        Message::system("s"),
        Message::User { content: vec![Content::text("b"), Content::image("image/png", "aGk=")] },
        Message::assistant("c"),
        Message::user("d"),
    ])
    .with_tools([tool("f"), tool("g")]);
    request.cache = vec![long(CacheAt::Tools), long(CacheAt::System)];
    request = request.with_cache(CacheAt::Message(2)).with_cache(CacheAt::Message(3));
    let body = encode(&config(), &request).unwrap();
    let (short, hour) = (json!({"type": "ephemeral"}), json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(
        body["tools"],
        json!([
            {"name": "f", "input_schema": {"type": "object"}},
            {"name": "g", "input_schema": {"type": "object"}, "cache_control": hour},
        ])
    );
    assert_eq!(body["system"], json!([{"type": "text", "text": "s", "cache_control": hour}]));
    assert_eq!(
        body["messages"],
        json!([
            {"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "text", "text": "b"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                    "cache_control": short},
            ]},
            {"role": "assistant", "content": [{"type": "text", "text": "c", "cache_control": short}]},
            {"role": "user", "content": "d"},
        ])
    );
}

#[test]
fn marks_that_nothing_can_carry_are_refused_by_name() {
    let marked = |request: ChatRequest, at| request.with_cache(at);
    let chat = || ChatRequest::new([Message::user("a"), Message::assistant("")]);
    refused(&marked(chat(), CacheAt::Tools), &["cache[0].at: expected tools"]);
    refused(&marked(chat(), CacheAt::System), &["cache[0].at: expected a system message"]);
    refused(
        &marked(chat(), CacheAt::Message(1)),
        &["cache[0].at: expected a message that ends in something"],
    );
    refused(&marked(chat(), CacheAt::Message(2)), &["cache[0].at: expected the index of a message"]);
    let only_thinking = ChatRequest::new([
        Message::user("a"),
        Message::Assistant {
            content: String::new(),
            tool_calls: Vec::new(),
            reasoning: vec![signed("a", "b")],
        },
    ]);
    refused(
        &marked(only_thinking, CacheAt::Message(1)),
        &["cache[0].at: expected a message that ends in something"],
    );
    let mut five = ChatRequest::new(vec![Message::user("a"); 5]);
    for i in 0..5 {
        five = five.with_cache(CacheAt::Message(i));
    }
    refused(&five, &["cache: expected at most 4 marks, found 5"]);
    five.cache.pop();
    assert!(encode(&vendor(), &five).is_ok());
    five.options.extra.insert("cache_control".into(), json!({"type": "ephemeral"}));
    refused(&five, &["cache: expected at most 3 marks, found 4"]);
}

#[test]
fn a_schema_stands_in_output_config_beside_the_effort() {
    let schema =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "additionalProperties": false});
    let format = ResponseFormat::JsonSchema { name: "place".into(), schema: schema.clone(), strict: true };
    let mut request = ChatRequest::text("hi").with_format(format);
    field(&request, "output_config", json!({"format": {"type": "json_schema", "schema": schema}}));
    request.options.extra.insert("output_config".into(), json!({"effort": "low"}));
    field(
        &request,
        "output_config",
        json!({"effort": "low", "format": {"type": "json_schema", "schema": schema}}),
    );
    for given in [json!({"format": {}}), json!("low")] {
        request.options.extra.insert("output_config".into(), given);
        refused(&request, &["options.extra.output_config: expected an object without format"]);
    }
    request.options.extra.clear();
    request.options.extra.insert("output_format".into(), json!({"type": "json_schema"}));
    refused(&request, &["options.extra.output_format: "]);
    refused(&ChatRequest::text("hi").with_format(ResponseFormat::Json), &["format: expected a JSON schema"]);
}

#[test]
fn thinking_effort_and_tier_go_through_extra() {
    let mut request = ChatRequest::text("hi");
    let fields = [
        ("thinking", json!({"type": "adaptive", "display": "summarized"})),
        ("output_config", json!({"effort": "xhigh"})),
        ("service_tier", json!("standard_only")),
        ("metadata", json!({"user_id": "u"})),
    ];
    request.options.extra.extend(fields.clone().map(|(k, v)| (k.to_owned(), v)));
    for (name, expected) in fields {
        field(&request, name, expected);
    }
    request.options.extra.insert("effort".into(), json!("high"));
    refused(&request, &["options.extra.effort: expected it unset: effort is a part of output_config"]);
}
