//! Exact bytes and headers of requests, what is refused, where they go, and what the probe finds.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use std::sync::Arc;

use llms_core::{
    ChatOptions, ChatRequest, ChatResponse, Error, ErrorCode, Message, ToolCall, ToolDefinition,
    chat::{CacheAt, Content, ImageData, ReasoningBlock, ResponseFormat, ToolChoice},
    config::ModelConfig,
    wire::{Codec as _, Delivery, Prepared},
};
use llms_providers_ollama::{Codec, Config};
use serde_json::{Value, json};

fn config() -> ModelConfig {
    ModelConfig::new("ollama", "tiny")
}

fn encode(config: &ModelConfig, request: &ChatRequest, delivery: Delivery) -> Result<Prepared, Error> {
    Codec::new(Config::new(config, &|_| None)?).encode(request, delivery)
}

fn body_of(request: &ChatRequest) -> Value {
    serde_json::from_slice(&encode(&config(), request, Delivery::Whole).unwrap().body).unwrap()
}

#[track_caller]
fn messages(messages: Vec<Message>, expected: Value) {
    assert_eq!(body_of(&ChatRequest::new(messages))["messages"], expected);
}

#[track_caller]
fn refused(request: &ChatRequest, field: &str) {
    let error = encode(&config(), request, Delivery::Whole).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidRequest, "{error}");
    assert!(error.message().starts_with(field), "{error}");
}

fn with(set: impl FnOnce(&mut ChatOptions)) -> ChatRequest {
    let mut request = ChatRequest::text("hi");
    set(&mut request.options);
    request
}

#[test]
fn the_smallest_request_to_the_byte() {
    let request = ChatRequest::text("Hello");
    let whole = encode(&config(), &request, Delivery::Whole).unwrap();
    assert_eq!(
        std::str::from_utf8(&whole.body).unwrap(),
        r#"{"model":"tiny","messages":[{"role":"user","content":"Hello"}],"stream":false}"#
    );
    let stream = encode(&config(), &request, Delivery::Stream).unwrap();
    assert_eq!(
        std::str::from_utf8(&stream.body).unwrap(),
        r#"{"model":"tiny","messages":[{"role":"user","content":"Hello"}],"stream":true}"#
    );
    assert_eq!(stream.method, "POST");
    assert_eq!(stream.uri, "http://127.0.0.1:11434/api/chat");
    assert_eq!(stream.headers["accept"], "application/x-ndjson");
    assert_eq!(whole.headers["accept"], "application/json");
    assert_eq!(whole.headers["content-type"], "application/json");
    assert!(!whole.headers.contains_key("authorization"));
}

#[test]
fn sampling_settings_stand_in_options() {
    let request = with(|o| {
        o.temperature = Some(0.5);
        o.top_p = Some(0.9);
        o.top_k = Some(40);
        o.max_tokens = Some(20);
        o.stop_sequences = vec!["END".into()];
        o.frequency_penalty = Some(0.1);
        o.presence_penalty = Some(-0.1);
        o.seed = Some(7);
        for (name, value) in [
            ("keep_alive", json!("5m")),
            ("think", json!(true)),
            ("format", json!("json")),
            ("num_ctx", json!(4096)),
            ("options", json!({"min_p": 0.05, "num_ctx": 1, "of_a_fork": 2})),
        ] {
            o.extra.insert(name.into(), value);
        }
    });
    assert_eq!(
        body_of(&request),
        json!({
            "model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false,
            "options": {
                "temperature": 0.5, "top_p": 0.9, "top_k": 40, "num_predict": 20, "stop": ["END"],
                "frequency_penalty": 0.1, "presence_penalty": -0.1, "seed": 7, "min_p": 0.05, "num_ctx": 4096, "of_a_fork": 2,
            },
            "keep_alive": "5m", "think": true, "format": "json",
        })
    );
}

#[test]
fn an_extra_field_stands_in_the_place_of_ours() {
    let request = with(|o| {
        o.max_tokens = Some(1);
        o.temperature = Some(0.1);
        o.extra.insert("num_predict".into(), json!(9));
        o.extra.insert("options".into(), json!({"temperature": 0.2}));
    });
    let prepared = encode(&config(), &request, Delivery::Whole).unwrap();
    assert!(
        std::str::from_utf8(&prepared.body)
            .unwrap()
            .ends_with(r#""options":{"temperature":0.2,"num_predict":9}}"#)
    );
}

#[test]
fn the_configurations_options_are_defaults() {
    let mut config = config();
    config.options.max_tokens = Some(5);
    config.options.seed = Some(1);
    let request = ChatRequest::text("hi").with_max_tokens(6);
    let prepared = encode(&config, &request, Delivery::Whole).unwrap();
    let body: Value = serde_json::from_slice(&prepared.body).unwrap();
    assert_eq!(body["options"], json!({"num_predict": 6, "seed": 1}));
}

#[test]
fn a_conversation_with_tools_keeps_its_order() {
    let call = ToolCall { id: "call_0".into(), name: "f".into(), arguments: r#"{"b": 1,"a":2}"#.into() };
    let other = ToolCall { id: "call_1".into(), name: "g".into(), arguments: String::new() };
    messages(
        vec![
            Message::system("one"),
            Message::user("a"),
            Message::tool_calls(vec![call.clone(), other]),
            Message::tool_result(&call, "42"),
            Message::system("two"),
            Message::assistant("b"),
        ],
        json!([
            {"role": "system", "content": "one"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "call_0", "function": {"name": "f", "arguments": {"b": 1, "a": 2}}},
                {"id": "call_1", "function": {"name": "g", "arguments": {}}},
            ]},
            {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "call_0"},
            {"role": "system", "content": "two"},
            {"role": "assistant", "content": "b"},
        ]),
    );
}

#[test]
fn thinking_goes_back_with_its_message() {
    let block = |text: &str| ReasoningBlock { text: text.into(), ..ReasoningBlock::default() };
    let answer = ChatResponse {
        text: "b".into(),
        reasoning_blocks: vec![block("so "), block("so")],
        ..ChatResponse::default()
    };
    messages(
        vec![Message::user("a"), answer.to_message(), Message::user("c")],
        json!([
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b", "thinking": "so so"},
            {"role": "user", "content": "c"},
        ]),
    );
}

#[test]
fn formats_are_said() {
    let schema = json!({"type": "object"});
    let of_schema = ResponseFormat::JsonSchema { name: "x".into(), schema: schema.clone(), strict: true };
    assert_eq!(body_of(&ChatRequest::text("x").with_format(of_schema))["format"], schema);
    let mut request = ChatRequest::text("x").with_format(ResponseFormat::Json);
    assert_eq!(body_of(&request)["format"], "json");
    request.options.extra.insert("format".into(), schema.clone());
    assert_eq!(body_of(&request)["format"], schema, "an extra field stands in the place of ours");
}

#[test]
fn settings_of_the_configuration_are_defaults() {
    let config = config().with_specific("keep_alive", "10m").with_specific("think", false);
    let body = |request: &ChatRequest| -> Value {
        serde_json::from_slice(&encode(&config, request, Delivery::Whole).unwrap().body).unwrap()
    };
    let plain = body(&ChatRequest::text("x"));
    assert_eq!((&plain["keep_alive"], &plain["think"]), (&json!("10m"), &json!(false)));
    let own = body(&with(|o| drop(o.extra.insert("think".into(), json!("low")))));
    assert_eq!((&own["keep_alive"], &own["think"]), (&json!("10m"), &json!("low")));
}

#[test]
fn images_stand_beside_the_text() {
    let image = |data| Content::Image { data };
    let inline = |base64: &str| ImageData::Inline { media_type: "image/png".into(), base64: base64.into() };
    messages(
        vec![Message::User {
            content: vec![
                Content::text("what "),
                image(inline("aGk=")),
                Content::text("is it?"),
                image(inline("aG8=")),
            ],
        }],
        json!([{"role": "user", "content": "what is it?", "images": ["aGk=", "aG8="]}]),
    );
    let by_address =
        Message::User { content: vec![image(ImageData::Url("https://example.com/cat.png".into()))] };
    refused(&ChatRequest::new([Message::user("a"), by_address]), "messages[1].content[0]: ");
}

#[test]
fn tools_and_their_choice() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    let tools = vec![
        ToolDefinition::new("weather", "Weather of a city", schema.clone()),
        ToolDefinition::new("noop", "", json!({"type": "object"})),
    ];
    let mut request = ChatRequest::text("hi").with_tools(tools);
    assert_eq!(
        body_of(&request)["tools"],
        json!([
            {"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": schema}},
            {"type": "function", "function": {"name": "noop", "parameters": {"type": "object"}}},
        ])
    );
    request.tool_choice = ToolChoice::None;
    assert!(body_of(&request).get("tools").is_none(), "a tool that is not offered is not called");
    request.tool_choice = ToolChoice::Required;
    refused(&request, "tool_choice: ");
    request.tool_choice = ToolChoice::Tool("noop".into());
    refused(&request, "tool_choice: ");
}

#[test]
fn what_the_wire_cannot_say_is_refused_by_name() {
    refused(&with(|o| o.seed = Some(u64::MAX)), "options.seed: ");
    refused(&with(|o| o.temperature = Some(2.5)), "options.temperature: ");
    refused(&with(|o| drop(o.extra.insert("stream".into(), json!(false)))), "options.extra.stream: ");
    refused(&with(|o| drop(o.extra.insert("options".into(), json!(1)))), "options.extra.options: ");
    refused(&ChatRequest::new([]), "messages: ");
    for (name, value) in [
        ("ignore_eos", json!(true)),
        ("temprature", json!(1)),
        ("raw", json!(true)),
        ("suffix", json!("x")),
        ("keep_alive", json!("5")),
        ("think", json!("hard")),
    ] {
        refused(&with(|o| drop(o.extra.insert(name.into(), value))), &format!("options.extra.{name}: "));
    }
    refused(&ChatRequest::text("x").with_cache(CacheAt::Tools), "cache: ");
    let document = Message::User { content: vec![Content::document("d", "application/pdf", "aGk=")] };
    refused(&ChatRequest::new([document]), "messages[0].content[0]: ");
    let sealed =
        ReasoningBlock { text: "t".into(), signature: Some("s".into()), ..ReasoningBlock::default() };
    let answer = Message::Assistant { content: "a".into(), tool_calls: vec![], reasoning: vec![sealed] };
    refused(&ChatRequest::new([answer]), "messages[0].reasoning[0].signature: ");
    for arguments in ["[1]", "{", "7", "{} {}"] {
        let call = ToolCall { id: "t".into(), name: "f".into(), arguments: arguments.into() };
        let request = ChatRequest::new([Message::user("a"), Message::tool_calls(vec![call])]);
        refused(&request, "messages[1].tool_calls[0].arguments: ");
    }
}

fn configured(config: &ModelConfig, env: &[(&str, &str)]) -> Result<Prepared, Error> {
    let env: Vec<(String, String)> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let lookup = move |name: &str| env.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    Codec::new(Config::new(config, &lookup)?).encode(&ChatRequest::text("hi"), Delivery::Whole)
}

#[track_caller]
fn goes(base_url: Option<&str>, env: &[(&str, &str)], uri: &str, key: bool) {
    let mut config = config();
    config.base_url = base_url.map(str::to_owned);
    let prepared = configured(&config, env).unwrap();
    assert_eq!(prepared.uri.to_string(), uri);
    let sent = prepared.headers.get("authorization");
    assert_eq!(sent.map(|v| v.to_str().unwrap()), key.then_some("Bearer hunter2"));
    assert!(sent.is_none_or(http::HeaderValue::is_sensitive));
    assert!(!format!("{prepared:?}").contains("hunter2"));
}

#[test]
fn requests_and_keys_go_where_they_belong() {
    const KEY: (&str, &str) = ("OLLAMA_API_KEY", "hunter2");
    let here = "http://127.0.0.1:11434/api/chat";
    goes(None, &[], here, false);
    goes(None, &[KEY], here, true);
    goes(None, &[("OLLAMA_HOST", "0.0.0.0:18434")], "http://127.0.0.1:18434/api/chat", false);
    goes(None, &[("OLLAMA_HOST", "gpu-box"), KEY], "http://gpu-box:11434/api/chat", true);
    goes(None, &[("OLLAMA_HOST", "ollama.com"), KEY], "https://ollama.com/api/chat", true);
    goes(Some("https://ollama.com/api"), &[KEY], "https://ollama.com/api/chat", true);
    goes(Some("http://gpu-box:11434/"), &[KEY], "http://gpu-box:11434/api/chat", false);
    goes(Some("http://gpu-box:11434/x/api/chat"), &[], "http://gpu-box:11434/x/api/chat", false);
    goes(
        Some("http://127.0.0.1:1"),
        &[("OLLAMA_HOST", "host:nonsense")],
        "http://127.0.0.1:1/api/chat",
        false,
    );
    let specific = config().with_specific("base_url", "localhost:11500");
    assert_eq!(configured(&specific, &[]).unwrap().uri, "http://localhost:11500/api/chat");
    let given = config().with_base_url("https://gateway.example").with_api_key("hunter2");
    assert_eq!(configured(&given, &[]).unwrap().headers["authorization"], "Bearer hunter2");
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
    const KEY: (&str, &str) = ("OLLAMA_API_KEY", "hunter2");
    let cloud = config().with_base_url("https://ollama.com");
    misconfigured(&cloud, &[], ErrorCode::Authentication, &["ollama.com", "OLLAMA_API_KEY"]);
    let clear = config().with_base_url("http://ollama.com");
    misconfigured(&clear, &[KEY], ErrorCode::Authentication, &["https://"]);
    misconfigured(
        &config(),
        &[("OLLAMA_HOST", "host:99999")],
        ErrorCode::InvalidConfig,
        &["OLLAMA_HOST", "port"],
    );
    misconfigured(
        &config().with_base_url("http://a").with_specific("base_url", "b"),
        &[],
        ErrorCode::InvalidConfig,
        &["provider_specific.base_url"],
    );
    let mut many = config()
        .with_specific("keep_alive", "5")
        .with_specific("think", 1)
        .with_specific("api", "v1")
        .with_specific("num_ctx", 1)
        .with_api_key("hunter2\n7")
        .with_base_url("ftp://x");
    many.options.seed = Some(u64::MAX);
    many.options.temperature = Some(3.0);
    many.headers.insert("Host".into(), "x".into());
    misconfigured(
        &many,
        &[],
        ErrorCode::InvalidConfig,
        &[
            "base_url",
            "options.seed",
            "options.temperature",
            "provider_specific.keep_alive",
            "provider_specific.think",
            "provider_specific.api",
            "provider_specific.num_ctx",
            "headers.Host",
            "api_key",
        ],
    );
}

#[test]
fn the_probe_looks_for_the_model() {
    let codec = |model: &str| Codec::new(Config::new(&ModelConfig::new("ollama", model), &|_| None).unwrap());
    let probe = codec("tiny").probe().unwrap();
    assert_eq!((probe.request.method.as_str(), probe.request.uri.path()), ("GET", "/api/tags"));
    let tags = br#"{"models":[{"name":"tiny:latest","model":"tiny:latest","size":1,"digest":"bfaad925",
        "details":{"format":"gguf","families":null,"parameter_size":"7.91M","quantization_level":"F16"}}]}"#;
    let headers = http::HeaderMap::new();
    let facts = codec("tiny").judge_probe(200, &headers, tags).unwrap();
    for fact in
        [("models", "1"), ("digest", "bfaad925"), ("parameter_size", "7.91M"), ("quantization", "F16")]
    {
        assert!(facts.contains(&(fact.0.to_owned(), fact.1.to_owned())), "{facts:?}");
    }
    let missing = codec("llama9").judge_probe(200, &headers, tags).unwrap_err();
    assert_eq!(missing.code(), ErrorCode::ModelNotAvailable);
    assert_eq!(missing.message(), "the server has tiny:latest, expected `llama9`; run `ollama pull llama9`");
    let none = codec("llama9").judge_probe(200, &headers, br#"{"models":[]}"#).unwrap_err();
    assert!(none.message().contains("has no model"), "{none}");
    let other = codec("tiny").judge_probe(404, &headers, b"404 page not found").unwrap_err();
    assert_eq!(other.code(), ErrorCode::NotFound);
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
    llms_providers_ollama::register(&registry);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let build = llms_core::registry::BuildContext { transport: Arc::new(Nowhere), env: &|_| None };
        let model = registry.create(&config(), &build).await.unwrap();
        let info = model.info();
        assert_eq!(
            (info.provider.as_str(), info.endpoint.as_deref()),
            ("ollama", Some("http://127.0.0.1:11434"))
        );
        assert!(info.capabilities.seed);
        let context = llms_core::CallContext::new();
        let error = model.generate(&ChatRequest::text("hi"), &context).await.unwrap_err();
        assert_eq!((error.code(), error.provider()), (ErrorCode::NetworkError, Some("ollama")));
    });
}
