//! Exact bytes and headers of requests, what is refused, and which key goes where.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::sync::Arc;

use llms_core::{
    ChatOptions, ChatRequest, Error, ErrorCode, Message, ToolCall, ToolDefinition,
    chat::{Content, ImageData, ToolChoice},
    config::ModelConfig,
    wire::{Codec as _, Delivery, Prepared},
};
use llms_providers_anthropic::{Codec, Config};
use serde_json::{Value, json};

fn config() -> ModelConfig {
    ModelConfig::new("anthropic", "claude-test").with_base_url("http://127.0.0.1:9")
}

fn encode(config: &ModelConfig, request: &ChatRequest, delivery: Delivery) -> Result<Prepared, Error> {
    Codec::new(Config::new(config, &|_| None)?).encode(request, delivery)
}

#[track_caller]
fn body(request: &ChatRequest, expected: Value) {
    let prepared = encode(&config(), request, Delivery::Whole).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&prepared.body).unwrap(), expected);
}

#[track_caller]
fn messages(messages: Vec<Message>, expected: Value) {
    let prepared = encode(&config(), &ChatRequest::new(messages), Delivery::Whole).unwrap();
    let body: Value = serde_json::from_slice(&prepared.body).unwrap();
    assert_eq!(body["messages"], expected);
}

#[track_caller]
fn refused(config: &ModelConfig, request: &ChatRequest, field: &str) {
    let error = encode(config, request, Delivery::Whole).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest, "{error}");
    assert!(error.message().starts_with(field), "{error}");
}

#[test]
fn the_smallest_request_to_the_byte() {
    let request = ChatRequest::text("Hello");
    let whole = encode(&config(), &request, Delivery::Whole).unwrap();
    assert_eq!(
        std::str::from_utf8(&whole.body).unwrap(),
        r#"{"model":"claude-test","max_tokens":4096,"messages":[{"role":"user","content":"Hello"}]}"#
    );
    let stream = encode(&config(), &request, Delivery::Stream).unwrap();
    assert_eq!(
        std::str::from_utf8(&stream.body).unwrap(),
        r#"{"model":"claude-test","max_tokens":4096,"messages":[{"role":"user","content":"Hello"}],"stream":true}"#
    );
    assert_eq!(stream.method, "POST");
    assert_eq!(stream.uri, "http://127.0.0.1:9/v1/messages");
    assert_eq!(stream.headers["accept"], "text/event-stream");
    assert_eq!(whole.headers["accept"], "application/json");
    assert_eq!(whole.headers["content-type"], "application/json");
    assert_eq!(whole.headers["anthropic-version"], "2023-06-01");
    assert!(!whole.headers.contains_key("x-api-key"));
}

#[test]
fn options_stand_where_the_api_wants_them() {
    let mut request = ChatRequest::text("hi").with_system("be brief").with_max_tokens(7);
    request.options.temperature = Some(0.5);
    request.options.top_p = Some(0.9);
    request.options.top_k = Some(40);
    request.options.stop_sequences = vec!["END".into()];
    request.options.extra.insert("thinking".into(), json!({"type": "disabled"}));
    body(
        &request,
        json!({
            "model": "claude-test", "max_tokens": 7, "system": "be brief",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop_sequences": ["END"],
            "thinking": {"type": "disabled"},
        }),
    );
}

#[test]
fn the_configurations_options_are_defaults() {
    let mut config = config();
    config.options.max_tokens = Some(5);
    config.options.temperature = Some(1.0);
    let request = ChatRequest::text("hi").with_max_tokens(6);
    let prepared = encode(&config, &request, Delivery::Whole).unwrap();
    let body: Value = serde_json::from_slice(&prepared.body).unwrap();
    assert_eq!((&body["max_tokens"], &body["temperature"]), (&json!(6), &json!(1.0)));
}

#[test]
fn messages_in_a_row_by_one_speaker_become_one_turn() {
    let call = ToolCall { id: "toolu_1".into(), name: "f".into(), arguments: r#"{"b": 1,"a":2}"#.into() };
    let other = ToolCall { id: "toolu_2".into(), name: "g".into(), arguments: String::new() };
    messages(
        vec![
            Message::system("one"),
            Message::user("a"),
            Message::system("two"),
            Message::user("b"),
            Message::tool_calls(vec![call.clone(), other.clone()]),
            Message::tool_result(&call, "42"),
            Message::Tool {
                call_id: other.id.clone(),
                name: other.name.clone(),
                content: "no".into(),
                is_error: true,
            },
            Message::user("go on"),
            Message::assistant(""),
            Message::user("please"),
        ],
        json!([
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"b": 1, "a": 2}},
                {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "42"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no", "is_error": true},
                {"type": "text", "text": "go on"},
                {"type": "text", "text": "please"},
            ]},
        ]),
    );
    let request = ChatRequest::new([Message::system("one"), Message::user("a"), Message::system("two")]);
    let prepared = encode(&config(), &request, Delivery::Whole).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&prepared.body).unwrap()["system"], "one\n\ntwo");
}

#[test]
fn arguments_are_sent_as_the_model_wrote_them() {
    let call = ToolCall { id: "t".into(), name: "f".into(), arguments: r#" {"b": 1.0,"a":2} "#.into() };
    let request = ChatRequest::new([
        Message::user("a"),
        Message::Assistant { content: "ok".into(), tool_calls: vec![call], reasoning: Vec::new() },
    ]);
    let prepared = encode(&config(), &request, Delivery::Whole).unwrap();
    let text = std::str::from_utf8(&prepared.body).unwrap();
    assert!(
        text.contains(
            r#"{"type":"text","text":"ok"},{"type":"tool_use","id":"t","name":"f","input":{"b": 1.0,"a":2}}"#
        ),
        "{text}"
    );
}

#[test]
fn images_are_sent_inline_or_by_address() {
    messages(
        vec![Message::User {
            content: vec![
                Content::Image { data: ImageData::Url("https://example.com/cat.png".into()) },
                Content::Image {
                    data: ImageData::Inline { media_type: "image/png".into(), base64: "aGk=".into() },
                },
                Content::text("what is it?"),
            ],
        }],
        json!([{"role": "user", "content": [
            {"type": "image", "source": {"type": "url", "url": "https://example.com/cat.png"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            {"type": "text", "text": "what is it?"},
        ]}]),
    );
}

#[test]
fn tools_and_their_choice() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tools = vec![
        ToolDefinition::new("weather", "Weather of a city", schema.clone()),
        ToolDefinition::new("noop", "", json!({"type": "object"})),
    ];
    let sent = json!([
        {"name": "weather", "description": "Weather of a city", "input_schema": schema},
        {"name": "noop", "input_schema": {"type": "object"}},
    ]);
    for (choice, expected) in [
        (ToolChoice::Auto, Value::Null),
        (ToolChoice::None, json!({"type": "none"})),
        (ToolChoice::Required, json!({"type": "any"})),
        (ToolChoice::Tool("noop".into()), json!({"type": "tool", "name": "noop"})),
    ] {
        let mut request = ChatRequest::text("hi").with_tools(tools.clone());
        request.tool_choice = choice.clone();
        let prepared = encode(&config(), &request, Delivery::Whole).unwrap();
        let body: Value = serde_json::from_slice(&prepared.body).unwrap();
        assert_eq!((&body["tools"], &body["tool_choice"]), (&sent, &expected));
        request.tools.clear();
        if matches!(request.tool_choice, ToolChoice::Tool(_)) {
            continue;
        }
        let prepared = encode(&config(), &request, Delivery::Whole).unwrap();
        let body: Value = serde_json::from_slice(&prepared.body).unwrap();
        assert!(body.get("tool_choice").is_none(), "no choice without tools");
    }
}

fn with(set: impl FnOnce(&mut ChatOptions)) -> ChatRequest {
    let mut request = ChatRequest::text("hi");
    set(&mut request.options);
    request
}

#[test]
fn what_the_wire_cannot_say_is_refused_by_name() {
    let c = config();
    refused(&c, &with(|o| o.seed = Some(1)), "options.seed: ");
    refused(&c, &with(|o| o.frequency_penalty = Some(0.1)), "options.frequency_penalty: ");
    refused(&c, &with(|o| o.presence_penalty = Some(0.1)), "options.presence_penalty: ");
    refused(&c, &with(|o| o.temperature = Some(1.5)), "options.temperature: expected a number from 0 to 1");
    refused(&c, &with(|o| o.max_tokens = Some(0)), "options.max_tokens: ");
    refused(&c, &with(|o| drop(o.extra.insert("stream".into(), json!(false)))), "options.extra.stream: ");
    refused(&c, &ChatRequest::new([Message::system("s")]), "messages: ");
    refused(&c, &ChatRequest::text(""), "messages: ");
    let mut request = ChatRequest::text("hi");
    request.tool_choice = ToolChoice::Tool("absent".into());
    refused(&c, &request, "tool_choice: ");
    for arguments in ["[1]", "{", "7", "{} {}"] {
        let call = ToolCall { id: "t".into(), name: "f".into(), arguments: arguments.into() };
        let request = ChatRequest::new([Message::user("a"), Message::tool_calls(vec![call])]);
        refused(&c, &request, "messages[1].tool_calls[0].arguments: ");
    }
    let new = config().with_specific("api_version", "2026-10-21");
    refused(&new, &with(|o| o.temperature = Some(0.5)), "options.temperature: expected it unset");
    refused(&new, &with(|o| o.top_p = Some(0.5)), "options.top_p: ");
    refused(&new, &with(|o| o.top_k = Some(5)), "options.top_k: ");
    assert!(encode(&new, &ChatRequest::text("hi"), Delivery::Whole).is_ok());
}

#[test]
fn an_extra_field_stands_in_the_place_of_ours() {
    let request = with(|o| {
        o.max_tokens = Some(1);
        o.stop_sequences = vec!["x".into()];
        o.temperature = Some(0.1);
        for (field, value) in [
            ("max_tokens", json!(9)),
            ("stop_sequences", json!(["y"])),
            ("temperature", json!(0.2)),
            ("tools", json!([{"type": "web_search_20250305", "name": "web_search"}])),
            ("system", json!([{"type": "text", "text": "s"}])),
        ] {
            o.extra.insert(field.into(), value);
        }
    });
    body(
        &request,
        json!({
            "model": "claude-test", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}],
            "stop_sequences": ["y"], "temperature": 0.2, "system": [{"type": "text", "text": "s"}],
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        }),
    );
    let prepared = encode(&config(), &request, Delivery::Whole).unwrap();
    assert_eq!(std::str::from_utf8(&prepared.body).unwrap().matches("max_tokens").count(), 1);
    refused(&config(), &request.with_system("t"), "options.extra.system: ");
}

#[test]
fn several_wrong_fields_are_named_at_once() {
    let request = with(|o| {
        o.seed = Some(1);
        o.temperature = Some(2.0);
    });
    let message = encode(&config(), &request, Delivery::Whole).unwrap_err().to_string();
    assert!(message.contains("options.seed") && message.contains("options.temperature"), "{message}");
}

fn configured(config: &ModelConfig, env: &[(&str, &str)]) -> Result<Prepared, Error> {
    let env: Vec<(String, String)> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let lookup = move |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    Codec::new(Config::new(config, &lookup)?).encode(&ChatRequest::text("hi"), Delivery::Whole)
}

#[track_caller]
fn goes(base_url: Option<&str>, env: &[(&str, &str)], uri: &str, key: Option<(&str, &str)>) {
    let mut config = ModelConfig::new("anthropic", "claude-test");
    config.base_url = base_url.map(str::to_owned);
    let prepared = configured(&config, env).unwrap();
    assert_eq!(prepared.uri.to_string(), uri);
    let mut found = None;
    for name in ["x-api-key", "authorization"] {
        if let Some(value) = prepared.headers.get(name) {
            assert!(value.is_sensitive() && found.is_none());
            found = Some((name, value.to_str().unwrap()));
        }
    }
    assert_eq!(found, key);
    assert!(!format!("{prepared:?}").contains("hunter2"));
}

#[test]
fn a_key_goes_only_where_it_belongs() {
    const KEY: (&str, &str) = ("ANTHROPIC_API_KEY", "hunter2");
    const TOKEN: (&str, &str) = ("ANTHROPIC_AUTH_TOKEN", "hunter2");
    let gateway = ("ANTHROPIC_BASE_URL", "https://gateway.example/anthropic");
    let (as_key, as_token) = (Some(("x-api-key", "hunter2")), Some(("authorization", "Bearer hunter2")));
    let own = "https://api.anthropic.com/v1/messages";
    goes(None, &[KEY], own, as_key);
    goes(None, &[TOKEN], own, as_token);
    goes(None, &[TOKEN, KEY], own, as_key);
    goes(None, &[KEY, gateway], "https://gateway.example/anthropic/v1/messages", as_key);
    goes(Some("https://api.anthropic.com/v1"), &[KEY], own, as_key);
    goes(Some("https://api.anthropic.com/v1/messages/"), &[KEY], own, as_key);
    goes(Some("http://127.0.0.1:8080"), &[KEY], "http://127.0.0.1:8080/v1/messages", as_key);
    goes(Some("https://other.example"), &[KEY, gateway], "https://other.example/v1/messages", None);
    goes(Some("https://other.example"), &[], "https://other.example/v1/messages", None);
    let given =
        ModelConfig::new("anthropic", "m").with_base_url("https://other.example").with_api_key("hunter2");
    assert_eq!(configured(&given, &[KEY]).unwrap().headers["x-api-key"], "hunter2");
}

#[track_caller]
fn misconfigured(config: &ModelConfig, env: &[(&str, &str)], code: ErrorCode, says: &[&str]) {
    let error = configured(config, env).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    for text in says {
        assert!(error.to_string().contains(text), "{error} should say {text}");
    }
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_wrong_configuration_says_what_to_do() {
    let own = ModelConfig::new("anthropic", "m");
    misconfigured(&own, &[], ErrorCode::Authentication, &["api.anthropic.com", "ANTHROPIC_API_KEY"]);
    let clear = own.clone().with_base_url("http://api.anthropic.com");
    misconfigured(&clear, &[("ANTHROPIC_API_KEY", "hunter2")], ErrorCode::Authentication, &["https://"]);
    misconfigured(
        &own.clone().with_api_key("hunter2\n7"),
        &[],
        ErrorCode::InvalidConfig,
        &["api_key: expected visible ASCII"],
    );
    misconfigured(
        &own,
        &[("ANTHROPIC_BASE_URL", "ftp://x")],
        ErrorCode::InvalidConfig,
        &["ANTHROPIC_BASE_URL"],
    );
    let mut many = config().with_specific("api_version", "latest").with_specific("region", "x");
    many.options.seed = Some(1);
    many.options.temperature = Some(1.1);
    many.headers.insert("Host".into(), "x".into());
    many.headers.insert("anthropic-version".into(), "2023-06-01".into());
    misconfigured(
        &many,
        &[],
        ErrorCode::InvalidConfig,
        &[
            "options.seed",
            "options.temperature",
            "provider_specific.api_version",
            "provider_specific.region",
            "headers.Host",
            "headers.anthropic-version",
        ],
    );
}

#[test]
fn version_beta_and_headers_are_sent() {
    let config = config()
        .with_specific("api_version", "2026-10-21")
        .with_specific("beta", json!(["a-2025-01-01", "b-2025-01-01"]));
    let prepared = configured(&config, &[]).unwrap();
    assert_eq!(prepared.headers["anthropic-version"], "2026-10-21");
    assert_eq!(prepared.headers["anthropic-beta"], "a-2025-01-01,b-2025-01-01");
    let one =
        ModelConfig { headers: [("x-team".into(), "t".into())].into(), ..config.with_specific("beta", "c") };
    let prepared = configured(&one, &[]).unwrap();
    assert_eq!(
        (&prepared.headers["anthropic-beta"], &prepared.headers["x-team"]),
        (&"c".parse().unwrap(), &"t".parse().unwrap())
    );
}

#[test]
fn the_probe_asks_for_the_model_and_reads_the_answer() {
    let config =
        Config::new(&ModelConfig::new("anthropic", "a/b c").with_base_url("http://127.0.0.1:9/x"), &|_| None);
    let codec = Codec::new(config.unwrap());
    let probe = codec.probe().unwrap();
    assert_eq!(probe.request.uri, "http://127.0.0.1:9/x/v1/models/a%2Fb%20c");
    assert_eq!(probe.request.method, "GET");
    let headers = http::HeaderMap::new();
    let found = br#"{"type":"model","id":"a/b c-20260101","display_name":"A","lifecycle":"deprecated"}"#;
    let facts = codec.judge_probe(200, &headers, found).unwrap();
    for fact in [("model", "a/b c-20260101"), ("lifecycle", "deprecated"), ("api_key", "none")] {
        assert!(facts.contains(&(fact.0.to_owned(), fact.1.to_owned())), "{facts:?}");
    }
    let unknown = ("model".to_owned(), "cannot be looked up on this server".to_owned());
    let facts = codec.judge_probe(200, &headers, br#"{"id":"a/b c","object":"model"}"#).unwrap();
    assert!(facts.contains(&unknown), "{facts:?}");
    let missing = br#"{"type":"error","error":{"type":"not_found_error","message":"model: a/b c"}}"#;
    assert_eq!(codec.judge_probe(404, &headers, missing).unwrap_err().code(), ErrorCode::ModelNotAvailable);
    let no_such_page = br#"{"error":{"message":"File Not Found","type":"not_found_error","code":404}}"#;
    assert!(codec.judge_probe(404, &headers, no_such_page).unwrap().contains(&unknown));
    assert_eq!(codec.judge_probe(401, &headers, b"").unwrap_err().code(), ErrorCode::Authentication);
}

#[test]
fn the_registry_builds_the_model() {
    #[derive(Debug)]
    struct Nowhere;
    #[async_trait::async_trait]
    impl llms_core::wire::Transport for Nowhere {
        async fn send(
            &self,
            _: Prepared,
            _: &llms_core::CallContext,
        ) -> llms_core::Result<llms_core::wire::Reply> {
            Err(Error::new("test", ErrorCode::NetworkError, "nowhere"))
        }
        fn info(&self) -> llms_core::wire::TransportInfo {
            unreachable!("nobody asks")
        }
    }
    let registry = llms_core::registry::Registry::new();
    llms_providers_anthropic::register(&registry);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let build = llms_core::registry::BuildContext { transport: Arc::new(Nowhere), env: &|_| None };
        let model = registry.create(&config(), &build).await.unwrap();
        let info = model.info();
        assert_eq!(
            (info.provider.as_str(), info.endpoint.as_deref()),
            ("anthropic", Some("http://127.0.0.1:9"))
        );
        assert_eq!(info.capabilities.max_temperature, Some(1.0));
        let context = llms_core::CallContext::new();
        let error = model.generate(&ChatRequest::text("hi"), &context).await.unwrap_err();
        assert_eq!((error.code(), error.provider()), (ErrorCode::NetworkError, Some("anthropic")));
        let mut request = ChatRequest::text("hi");
        request.options.seed = Some(1);
        let error = model.generate(&request, &context).await.unwrap_err();
        assert_eq!(error.phase(), Some(llms_core::CallPhase::Prepare));
    });
}
