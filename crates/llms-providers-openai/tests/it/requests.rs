//! What is sent, byte for byte, and where; and which configurations are refused.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::common;

use common::{codec, codec_of, local};
use llms_core::{
    ChatOptions, ChatRequest, ErrorCode, Message, ToolCall, ToolDefinition,
    chat::{Content, ImageData, ToolChoice},
    config::ModelConfig,
    registry::{BuildContext, Registry},
    wire::{Codec as _, Delivery},
};
use llms_providers_openai::{Codec, Config, Service, TokenLimitField};
use serde_json::{Value, json};

#[track_caller]
fn check_body(codec: &Codec, request: &ChatRequest, delivery: Delivery, expected: &str) {
    let body = codec.encode(request, delivery).unwrap().body;
    assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
}

#[test]
fn text() {
    check_body(
        &local(),
        &"Hi".into(),
        Delivery::Whole,
        r#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#,
    );
    check_body(
        &local(),
        &"Hi \"you\" 😄".into(),
        Delivery::Stream,
        r#"{"model":"m","messages":[{"role":"user","content":"Hi \"you\" 😄"}],"stream":true,"stream_options":{"include_usage":true}}"#,
    );
}

#[test]
fn system_and_several_turns() {
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::user("Hi"),
        Message::assistant("Hello"),
        Message::user("And now?"),
        Message::assistant(""),
    ]);
    check_body(
        &local(),
        &request,
        Delivery::Whole,
        r#"{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"},{"role":"user","content":"And now?"},{"role":"assistant","content":""}]}"#,
    );
}

#[test]
fn images() {
    let request = ChatRequest::new([Message::User {
        content: vec![
            Content::text("What is it?"),
            Content::Image { data: ImageData::Url("https://example.org/a.png".into()) },
            Content::Image {
                data: ImageData::Inline { media_type: "image/png".into(), base64: "iVBORw0KGgo=".into() },
            },
        ],
    }]);
    check_body(
        &local(),
        &request,
        Delivery::Whole,
        r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"What is it?"},{"type":"image_url","image_url":{"url":"https://example.org/a.png"}},{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]}"#,
    );
}

fn weather() -> ToolDefinition {
    ToolDefinition::new("get_weather", "Weather of a city", json!({"type": "object"}))
}

#[test]
fn tools_and_their_results() {
    let calls = vec![
        ToolCall { id: "a".into(), name: "get_weather".into(), arguments: r#"{"city":"Paris"}"#.into() },
        ToolCall { id: "b".into(), name: "now".into(), arguments: String::new() },
    ];
    let request = ChatRequest::new([
        Message::user("Weather?"),
        Message::tool_calls(calls.clone()),
        Message::tool_result(&calls[0], "sunny"),
        Message::tool_result(&calls[1], "12:00"),
    ])
    .with_tools([weather(), ToolDefinition::new("now", "", json!({"type": "object", "properties": {}}))]);
    check_body(
        &local(),
        &request,
        Delivery::Whole,
        r#"{"model":"m","messages":[{"role":"user","content":"Weather?"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Paris\"}"}},{"id":"b","type":"function","function":{"name":"now","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"sunny"},{"role":"tool","tool_call_id":"b","content":"12:00"}],"tools":[{"type":"function","function":{"name":"get_weather","description":"Weather of a city","parameters":{"type":"object"}}},{"type":"function","function":{"name":"now","parameters":{"properties":{},"type":"object"}}}]}"#,
    );
}

#[test]
fn tool_choice_is_sent_only_with_tools() {
    for (choice, expected) in [
        (ToolChoice::Auto, None),
        (ToolChoice::None, Some(json!("none"))),
        (ToolChoice::Required, Some(json!("required"))),
        (
            ToolChoice::Tool("get_weather".into()),
            Some(json!({"type": "function", "function": {"name": "get_weather"}})),
        ),
    ] {
        let mut request = ChatRequest::text("Hi").with_tools([weather()]);
        request.tool_choice = choice.clone();
        let body = local().encode(&request, Delivery::Whole).unwrap().body;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body.get("tool_choice"), expected.as_ref(), "{choice:?}");
    }
    let mut request = ChatRequest::text("Hi");
    request.tool_choice = ToolChoice::Required;
    let body = local().encode(&request, Delivery::Whole).unwrap().body;
    assert!(!String::from_utf8(body.to_vec()).unwrap().contains("tool"));
}

fn options() -> ChatOptions {
    ChatOptions {
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(40),
        max_tokens: Some(7),
        stop_sequences: vec!["END".into()],
        frequency_penalty: Some(-1.0),
        presence_penalty: Some(1.0),
        seed: Some(42),
        extra: [("ignore_eos".to_owned(), json!(true))].into(),
    }
}

#[test]
fn every_option() {
    check_body(
        &local(),
        &ChatRequest::text("Hi").with_options(options()),
        Delivery::Whole,
        r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"temperature":0.5,"top_p":0.9,"top_k":40,"max_tokens":7,"stop":["END"],"frequency_penalty":-1.0,"presence_penalty":1.0,"seed":42,"ignore_eos":true}"#,
    );
}

#[test]
fn defaults_of_the_configuration_yield_to_the_request_and_extra_wins_over_both() {
    let codec =
        codec_of(ModelConfig::new("openai", "m").with_base_url("http://127.0.0.1:1").with_options(
            ChatOptions { temperature: Some(0.1), max_tokens: Some(5), ..ChatOptions::default() },
        ));
    let mut options = ChatOptions { temperature: Some(0.7), ..ChatOptions::default() };
    options.extra.insert("max_tokens".into(), json!(9));
    options
        .extra
        .insert("stream_options".into(), json!({"include_usage": true, "continuous_usage_stats": true}));
    check_body(
        &codec,
        &ChatRequest::text("Hi").with_options(options),
        Delivery::Stream,
        r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true,"temperature":0.7,"max_tokens":9,"stream_options":{"continuous_usage_stats":true,"include_usage":true}}"#,
    );
}

#[test]
fn what_the_wire_cannot_say_is_refused_by_name() {
    #[track_caller]
    fn check(codec: &Codec, request: &ChatRequest, named: &str) {
        let e = codec.encode(request, Delivery::Whole).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidRequest, "{e}");
        assert!(e.message().starts_with(&format!("{named}: expected ")), "{e}");
    }
    let with = |options: ChatOptions| ChatRequest::text("Hi").with_options(options);
    let extra = |name: &str, value: Value| {
        with(ChatOptions { extra: [(name.to_owned(), value)].into(), ..ChatOptions::default() })
    };
    check(&local(), &ChatRequest::default(), "messages");
    check(
        &local(),
        &with(ChatOptions { temperature: Some(2.5), ..ChatOptions::default() }),
        "options.temperature",
    );
    check(&local(), &extra("stream", json!(false)), "options.extra.stream");
    check(&local(), &extra("messages", json!([])), "options.extra.messages");
    check(&local(), &extra("n", json!(2)), "options.extra.n");
    let openai = codec_of(ModelConfig::new("openai", "m").with_api_key("k"));
    check(&openai, &with(ChatOptions { top_k: Some(3), ..ChatOptions::default() }), "options.top_k");
    let mut request = ChatRequest::text("Hi").with_tools([weather()]);
    request.tool_choice = ToolChoice::Tool("other".into());
    check(&local(), &request, "tool_choice");
}

#[test]
fn headers() {
    let config = ModelConfig::new("openai", "m")
        .with_api_key(" sk-private-key \n")
        .with_specific("organization", "org-1")
        .with_specific("project", "proj-1");
    let codec = codec_of(config);
    let prepared = codec.encode(&"Hi".into(), Delivery::Stream).unwrap();
    assert_eq!(prepared.method, "POST");
    assert_eq!(prepared.uri, "https://api.openai.com/v1/chat/completions");
    for (name, value) in [
        ("authorization", "Bearer sk-private-key"),
        ("content-type", "application/json"),
        ("accept", "text/event-stream"),
        ("openai-organization", "org-1"),
        ("openai-project", "proj-1"),
    ] {
        assert_eq!(prepared.headers[name], value);
    }
    assert!(prepared.headers["user-agent"].to_str().unwrap().starts_with("llms-bench/"));
    for shown in [format!("{prepared:?}"), format!("{codec:?}"), format!("{:?}", codec.config())] {
        assert!(!shown.contains("private"), "{shown}");
    }
}

/// `(configuration, environment)` to `(service, address, key header, token limit field)`.
#[track_caller]
fn check_place(
    config: ModelConfig,
    env: &[(&str, &str)],
    service: Service,
    address: &str,
    key: Option<(&str, &str)>,
    field: TokenLimitField,
) {
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let codec = Codec::new(Config::new(&config, &env).unwrap());
    assert_eq!(codec.config().service(), service);
    assert_eq!(codec.config().token_limit_field(), field);
    let prepared = codec.encode(&"Hi".into(), Delivery::Whole).unwrap();
    assert_eq!(prepared.uri, address);
    let sent: Vec<_> = ["authorization", "api-key"]
        .into_iter()
        .filter_map(|n| Some((n, prepared.headers.get(n)?.to_str().unwrap())))
        .collect();
    assert_eq!(sent, Vec::from_iter(key));
    assert_eq!(codec.config().has_key(), key.is_some());
}

#[test]
fn where_requests_go_and_with_which_key() {
    use Service::{Azure, Compatible, OpenAi};
    use TokenLimitField::{MaxCompletionTokens, MaxTokens};
    let config = || ModelConfig::new("openai", "m");
    let at = |url: &str| config().with_base_url(url);
    let key = ("OPENAI_API_KEY", "sk-env");
    let bearer = Some(("authorization", "Bearer sk-env"));
    let azure_key = ("AZURE_OPENAI_API_KEY", "az-env");
    let api_key = Some(("api-key", "az-env"));

    let vendor = "https://api.openai.com/v1/chat/completions";
    check_place(config(), &[key], OpenAi, vendor, bearer, MaxCompletionTokens);
    let eu = "https://eu.api.openai.com/v1/chat/completions";
    check_place(at("https://eu.api.openai.com"), &[key], OpenAi, eu, bearer, MaxCompletionTokens);

    // The base URL's variable, with or without path; the key follows it there.
    let env = [key, ("OPENAI_BASE_URL", "https://gateway.example/openai/v1/")];
    let gateway = "https://gateway.example/openai/v1/chat/completions";
    check_place(config(), &env, Compatible, gateway, bearer, MaxTokens);
    // Elsewhere the variable's key does not go; a key of the configuration does.
    let other = "https://other.example/v1/chat/completions";
    check_place(at("https://other.example/v1"), &env, Compatible, other, None, MaxTokens);
    let own = at("https://other.example/v1").with_api_key("sk-own");
    check_place(own, &env, Compatible, other, Some(("authorization", "Bearer sk-own")), MaxTokens);

    // Loopback: key if there is one, none needed. Host alone, trailing slash and full address all read.
    let local = "http://127.0.0.1:8000/v1/chat/completions";
    for url in
        ["http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000/v1/chat/completions"]
    {
        check_place(at(url), &[], Compatible, local, None, MaxTokens);
        check_place(at(url), &[key], Compatible, local, bearer, MaxTokens);
    }
    let field = at("http://127.0.0.1:8000").with_specific("max_tokens_field", "max_completion_tokens");
    check_place(field, &[], Compatible, local, None, MaxCompletionTokens);

    // Azure: by deployment path, by name, by variable, and by its newer API.
    let dated = "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21";
    let by_path = || at("https://r.openai.azure.com/openai/deployments/d");
    let by_name = || at("https://r.openai.azure.com").with_specific("azure_deployment", "d");
    check_place(by_path(), &[azure_key, key], Azure, dated, api_key, MaxCompletionTokens);
    check_place(by_name(), &[azure_key], Azure, dated, api_key, MaxCompletionTokens);
    let by_env = config().with_specific("azure_deployment", "d");
    let env = [azure_key, ("AZURE_OPENAI_ENDPOINT", "https://r.openai.azure.com/")];
    check_place(by_env, &env, Azure, dated, api_key, MaxCompletionTokens);
    let version =
        "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2025-04-01-preview";
    let env = [azure_key, ("OPENAI_API_VERSION", "2025-04-01-preview")];
    check_place(by_path(), &env, Azure, version, api_key, MaxCompletionTokens);
    let specific = by_name().with_specific("api_version", "2025-04-01-preview");
    check_place(specific, &[azure_key], Azure, version, api_key, MaxCompletionTokens);
    let newer = "https://r.openai.azure.com/openai/v1/chat/completions";
    check_place(at("https://r.openai.azure.com"), &env, Azure, newer, api_key, MaxCompletionTokens);
    let env = [key, ("OPENAI_BASE_URL", "https://r.openai.azure.com/openai/v1")];
    check_place(config(), &env, Azure, newer, Some(("api-key", "sk-env")), MaxCompletionTokens);
    // A deployment path before an old version, and one on this machine.
    let old = "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-02-01";
    let specific = by_name().with_specific("api_version", "2024-02-01");
    check_place(specific, &[azure_key], Azure, old, api_key, MaxTokens);
    let mock = "http://127.0.0.1:9/openai/deployments/d/chat/completions?api-version=2024-10-21";
    check_place(at("http://127.0.0.1:9/openai/deployments/d"), &[], Azure, mock, None, MaxCompletionTokens);
}

#[test]
fn headers_of_the_user_win_and_stand_for_a_key() {
    let mut config = ModelConfig::new("openai", "m");
    config.headers.insert("Authorization".into(), "Bearer from-a-gateway-token".into());
    config.headers.insert("User-Agent".into(), "mine".into());
    let codec = codec_of(config);
    let prepared = codec.encode(&"Hi".into(), Delivery::Whole).unwrap();
    assert_eq!(prepared.headers["authorization"], "Bearer from-a-gateway-token");
    assert_eq!(prepared.headers["user-agent"], "mine");
    assert!(!format!("{prepared:?}").contains("gateway-token"));
    let e = codec.classify(401, &http::HeaderMap::new(), b"who is from-a-gateway-token?");
    assert!(!e.to_string().contains("gateway-token"), "{e}");
}

#[test]
fn a_missing_key_is_an_authentication_error_that_names_the_variable() {
    #[track_caller]
    fn check(config: ModelConfig, env: &[(&str, &str)], expected: &str) {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let e = Config::new(&config, &env).unwrap_err();
        assert_eq!(e.code(), ErrorCode::Authentication);
        assert!(e.message().contains(expected), "{e}");
        assert_eq!(e.provider(), Some("openai"));
    }
    let config = || ModelConfig::new("openai", "m");
    check(config(), &[], "api.openai.com needs a key; set OPENAI_API_KEY");
    check(config().with_api_key(" "), &[], "set OPENAI_API_KEY");
    check(
        config().with_base_url("https://r.openai.azure.com"),
        &[("OPENAI_API_KEY", "sk-env")],
        "r.openai.azure.com needs a key; set AZURE_OPENAI_API_KEY",
    );
    check(
        config().with_base_url("http://api.openai.com/v1"),
        &[("OPENAI_API_KEY", "sk-env")],
        "use https://api.openai.com",
    );
    check(config(), &[("OPENAI_API_KEY", "sk-\u{7}bell")], "OPENAI_API_KEY holds characters that no key has");
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let mut config = ModelConfig::new("openai", "")
        .with_api_key("sk-\u{1}")
        .with_specific("organisation", "org")
        .with_specific("stream_usage", "yes")
        .with_specific("api", "assistants")
        .with_specific("max_tokens_field", "tokens")
        .with_specific("project", 7);
    config.options.temperature = Some(9.0);
    config.headers.insert("Host".into(), "x".into());
    config.headers.insert("bad name".into(), "x".into());
    config.headers.insert("x-bad".into(), "a\nb".into());
    let e = Config::new(&config, &|_| None).unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidConfig);
    for field in [
        "model: ",
        "options.temperature: ",
        "provider_specific.organisation: expected one of api, api_version, azure_deployment, ",
        "provider_specific.stream_usage: ",
        "provider_specific.api: expected \"chat\", \"responses\" or \"completions\"",
        "provider_specific.max_tokens_field: ",
        "provider_specific.project: ",
        "headers.Host: ",
        "headers.bad name: ",
        "headers.x-bad: ",
        "api_key: ",
    ] {
        assert!(e.message().contains(field), "{field} is not in {e}");
    }
    assert!(!e.to_string().contains("sk-"), "{e}");

    for (config, named) in [
        (ModelConfig::new("openai", "m").with_base_url("ftp://x"), "base_url: expected http"),
        (
            ModelConfig::new("openai", "m").with_specific("azure_deployment", "d"),
            "base_url: expected base_url or ",
        ),
        (
            ModelConfig::new("openai", "m")
                .with_base_url("https://r.openai.azure.com/openai/deployments/other")
                .with_specific("azure_deployment", "d"),
            "provider_specific.azure_deployment: expected no other deployment",
        ),
        (
            ModelConfig::new("openai", "m")
                .with_base_url("http://127.0.0.1:1/v1/chat/completions")
                .with_specific("api", "responses"),
            "provider_specific.api: expected `chat`, which base_url is the address of",
        ),
    ] {
        let e = Config::new(&config, &|_| None).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidConfig, "{e}");
        assert_eq!(e.message().matches("expected ").count(), 1, "{e}");
        assert!(e.message().contains(named), "{e}");
    }
    let broken = |name: &str| (name == "OPENAI_BASE_URL").then(|| "nowhere".to_owned());
    let e = Config::new(&ModelConfig::new("openai", "m"), &broken).unwrap_err();
    assert!(e.message().starts_with("OPENAI_BASE_URL: expected an address"), "{e}");
}

#[test]
fn usage_in_streams_can_be_switched_off() {
    let codec = codec_of(
        ModelConfig::new("openai", "m")
            .with_base_url("http://127.0.0.1:1")
            .with_specific("stream_usage", false),
    );
    check_body(
        &codec,
        &"Hi".into(),
        Delivery::Stream,
        r#"{"model":"m","messages":[{"role":"user","content":"Hi"}],"stream":true}"#,
    );
}

#[test]
fn the_probe_lists_models() {
    #[track_caller]
    fn check(codec: &Codec, uri: &str) {
        let probe = codec.probe().unwrap();
        assert_eq!((probe.request.method.as_str(), probe.request.uri.to_string().as_str()), ("GET", uri));
        assert!(probe.request.body.is_empty());
    }
    check(&local(), "http://127.0.0.1:8000/v1/models");
    check(&common::azure(), "https://r.openai.azure.com/openai/models?api-version=2024-10-21");

    let judge = |status, body: &str| local().judge_probe(status, &http::HeaderMap::new(), body.as_bytes());
    let facts = judge(200, r#"{"object":"list","data":[{"id":"a"},{"id":"m"}],"models":[]}"#).unwrap();
    assert!(facts.contains(&("models".to_owned(), "2".to_owned())), "{facts:?}");
    assert!(judge(200, r#"{"data":[{"id":"m:latest"}]}"#).is_ok());
    let e = judge(200, r#"{"data":[{"id":"a"},{"id":"b"}]}"#).unwrap_err();
    assert_eq!(e.code(), ErrorCode::ModelNotAvailable);
    assert_eq!(
        e.message(),
        "the server does not list the model `m`; it lists a, b; name one of these as the model, or probe with one token where the list is not complete"
    );
    assert!(judge(404, "{}").is_ok());
    assert_eq!(judge(401, "{}").unwrap_err().code(), ErrorCode::Authentication);
    assert_eq!(judge(200, "<html>").unwrap_err().code(), ErrorCode::MalformedResponse);
    let openai = codec("https://gateway.example/v1");
    assert_eq!(openai.info().endpoint.as_deref(), Some("https://gateway.example/v1"));
}

#[test]
fn the_registry_builds_it() {
    #[derive(Debug)]
    struct Nowhere;

    #[async_trait::async_trait]
    impl llms_core::wire::Transport for Nowhere {
        async fn send(
            &self,
            _: llms_core::wire::Prepared,
            _: &llms_core::CallContext,
        ) -> llms_core::Result<llms_core::wire::Reply> {
            std::future::pending().await
        }

        fn info(&self) -> llms_core::wire::TransportInfo {
            llms_core::wire::TransportInfo {
                name: "nowhere".into(),
                stamps: llms_core::wire::StampSource::User,
                connections: "none".into(),
            }
        }
    }

    let registry = Registry::new();
    llms_providers_openai::register(&registry);
    let env = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-env".to_owned());
    let build = BuildContext { transport: std::sync::Arc::new(Nowhere), env: &env };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let config =
            ModelConfig::new("openai", "gpt-4o-mini").with_timeout(std::time::Duration::from_millis(20));
        let model = registry.create(&config, &build).await.unwrap();
        assert_eq!(model.info().model, "gpt-4o-mini");
        // The configured timeout ends a call whose context has no deadline.
        let e = model.generate(&"Hi".into(), &llms_core::CallContext::new()).await.unwrap_err();
        assert_eq!(e.code(), ErrorCode::DeadlineExceeded, "{e}");
    });
}
