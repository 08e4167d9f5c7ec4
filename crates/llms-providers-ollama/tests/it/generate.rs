//! `/api/generate`: exact requests, what it cannot say, and recorded answers against the SDK's reading.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use llms_core::{
    CallContext, ChatOptions, ChatRequest, Error, ErrorCode, Message, ToolDefinition,
    chat::{CacheAt, Content, ResponseFormat, ToolChoice},
    config::ModelConfig,
    wire::{Codec as _, Delivery, Prepared},
};
use llms_providers_ollama::{Api, Codec, Config};
use serde_json::{Value, json};

fn config() -> ModelConfig {
    ModelConfig::new("ollama", "tiny").with_specific("api", "generate")
}

fn encode(config: &ModelConfig, request: &ChatRequest) -> Result<Prepared, Error> {
    Codec::new(Config::new(config, &|_| None)?).encode(request, Delivery::Whole)
}

fn with(mut request: ChatRequest, set: impl FnOnce(&mut ChatOptions)) -> ChatRequest {
    set(&mut request.options);
    request
}

#[track_caller]
fn body(request: &ChatRequest, expected: Value) {
    let prepared = encode(&config(), request).unwrap();
    assert_eq!(prepared.uri, "http://127.0.0.1:11434/api/generate");
    assert_eq!(serde_json::from_slice::<Value>(&prepared.body).unwrap(), expected);
}

#[track_caller]
fn refused(request: &ChatRequest, field: &str) {
    let error = encode(&config(), request).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest, "{error}");
    assert!(error.message().starts_with(field), "{error}");
}

#[test]
fn one_prompt_with_its_system_text_and_images() {
    body(&ChatRequest::text("Hello"), json!({"model": "tiny", "prompt": "Hello", "stream": false}));
    let mut request = ChatRequest::new([
        Message::system("Be brief."),
        Message::User {
            content: vec![
                Content::text("What is "),
                Content::image("image/png", "aGk="),
                Content::text("it?"),
            ],
        },
        Message::system("In French."),
    ]);
    request.options.seed = Some(1);
    body(
        &request,
        json!({
            "model": "tiny", "prompt": "What is it?", "system": "Be brief.\n\nIn French.", "images": ["aGk="],
            "stream": false, "options": {"seed": 1},
        }),
    );
}

#[test]
fn what_only_generate_knows_is_extra() {
    let request = with(ChatRequest::text("def f("), |o| {
        for (name, value) in [
            ("suffix", json!("return x")),
            ("template", json!("{{ .Prompt }}")),
            ("context", json!([1, 2])),
            ("raw", json!(false)),
        ] {
            o.extra.insert(name.into(), value);
        }
    });
    body(
        &request,
        json!({
            "model": "tiny", "prompt": "def f(", "stream": false, "context": [1, 2], "raw": false,
            "suffix": "return x", "template": "{{ .Prompt }}",
        }),
    );
    let raw = with(ChatRequest::text("<|im_start|>"), |o| drop(o.extra.insert("raw".into(), json!(true))));
    body(&raw, json!({"model": "tiny", "prompt": "<|im_start|>", "stream": false, "raw": true}));
    refused(&raw.with_system("x"), "messages: ");
}

#[test]
fn formats_thinking_and_keeping_alive_are_said() {
    let schema = json!({"type": "object", "properties": {"age": {"type": "integer"}}});
    let format = ResponseFormat::JsonSchema { name: "person".into(), schema: schema.clone(), strict: true };
    let request = ChatRequest::text("x").with_format(format);
    let config = config().with_specific("keep_alive", -1).with_specific("think", "high");
    let prepared = encode(&config, &request).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&prepared.body).unwrap(),
        json!({
            "model": "tiny", "prompt": "x", "stream": false, "format": schema, "keep_alive": -1, "think": "high",
        })
    );
    body(
        &ChatRequest::text("x").with_format(ResponseFormat::Json),
        json!({"model": "tiny", "prompt": "x", "stream": false, "format": "json"}),
    );
}

#[test]
fn what_it_cannot_say_is_refused_by_name() {
    let history = ChatRequest::new([Message::user("a"), Message::assistant("b"), Message::user("c")]);
    refused(&history, "messages[1]: expected one user message");
    let error = encode(&config(), &history).unwrap_err();
    assert!(error.message().contains("messages[2]") && error.message().contains("\"chat\""), "{error}");
    let tool = ToolDefinition::new("f", "", json!({"type": "object"}));
    let mut request = ChatRequest::text("x").with_tools([tool]);
    refused(&request, "tools: ");
    request.tool_choice = ToolChoice::None;
    body(&request, json!({"model": "tiny", "prompt": "x", "stream": false}));
    refused(&ChatRequest::new([]), "messages: ");
    refused(&ChatRequest::text(""), "messages: ");
    refused(&ChatRequest::new([Message::system("x")]), "messages: ");
    refused(&ChatRequest::text("x").with_cache(CacheAt::System), "cache: ");
    for field in ["prompt", "system", "images", "messages", "stream", "_debug_render_only"] {
        refused(
            &with(ChatRequest::text("x"), |o| drop(o.extra.insert(field.into(), json!("y")))),
            &format!("options.extra.{field}: "),
        );
    }
    let document = Message::User { content: vec![Content::document("d", "application/pdf", "aGk=")] };
    refused(&ChatRequest::new([document]), "messages[0].content[0]: ");
}

#[test]
fn its_model_offers_no_tools() {
    use llms_core::ChatModel as _;
    let codec = Codec::new(Config::new(&config(), &|_| None).unwrap());
    assert_eq!(codec.config().api(), Api::Generate);
    let capabilities = &llms_core::wire::Codec::info(&codec).capabilities;
    assert!(!capabilities.tools && capabilities.images && capabilities.structured_output);
    // The refusal reaches the caller of the model as well.
    let stub = common::Stub::new([]);
    let tool = ToolDefinition::new("f", "", json!({"type": "object"}));
    let request = ChatRequest::text("x").with_tools([tool]);
    let error = common::block(common::model_of(&config(), &stub).generate(&request, &CallContext::new()))
        .unwrap_err();
    assert_eq!((error.code(), error.provider()), (ErrorCode::InvalidRequest, Some("ollama")));
    assert!(stub.asked().is_empty(), "nothing was sent");
}

use crate::common;
