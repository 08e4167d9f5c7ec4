//! What is sent: bodies, paths, headers, signatures. And what is refused because Converse cannot say it.
// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use crate::support;

use bytes::Bytes;
use llms_core::{
    ChatModel, ChatOptions, ChatRequest, ErrorCode, Message, ToolCall, ToolDefinition,
    chat::{CacheAt, CacheTtl, Content, DocumentData, ImageData, ReasoningBlock, ResponseFormat, ToolChoice},
};
use serde_json::{Value, json};
use support::{Answer, Scripted, block_on, connect, connect_with, context};

const ANSWER: &str = r#"{"output":{"message":{"role":"assistant","content":[{"text":"ok"}]}},"stopReason":"end_turn",
    "usage":{"inputTokens":1,"outputTokens":1,"totalTokens":2},"metrics":{"latencyMs":1}}"#;

/// The bodies that Converse and ConverseStream send for a request.
fn bodies(request: &ChatRequest) -> [Bytes; 2] {
    block_on(async {
        let transport =
            Scripted::new([Answer::new(200, ANSWER), Answer::stream(support::short_stream().concat())]);
        let model = connect(transport.clone()).await;
        model.generate(request, &context()).await.unwrap();
        model.drive(request, &context(), &mut Vec::new()).await.unwrap();
        let sent = transport.requests.lock().unwrap();
        [0, 1].map(|i| sent[i].body.clone())
    })
}

/// The same as JSON; they must agree.
fn body(request: &ChatRequest) -> Value {
    let [whole, stream] = bodies(request).map(|b| serde_json::from_slice::<Value>(&b).unwrap());
    assert_eq!(whole, stream);
    whole
}

#[track_caller]
fn sends(request: ChatRequest, expected: Value) {
    assert_eq!(body(&request), expected);
}

#[track_caller]
fn refuses(request: ChatRequest, field: &str) {
    let transport = Scripted::new([]);
    let error = block_on(async {
        connect(transport.clone()).await.generate(&request, &context()).await.expect_err("refused")
    });
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
    assert!(error.message().starts_with(field), "{error}");
    assert_eq!(error.phase(), Some(llms_core::CallPhase::Prepare));
    assert_eq!(error.provider(), Some("bedrock"));
    assert!(transport.requests.lock().unwrap().is_empty(), "nothing is sent");
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": [{"text": text}]})
}

fn weather() -> ToolDefinition {
    ToolDefinition::new("weather", "Weather of a city", json!({"type": "object", "properties": {"city": {}}}))
}

fn call(id: &str, arguments: &str) -> ToolCall {
    ToolCall { id: id.to_owned(), name: "weather".to_owned(), arguments: arguments.to_owned() }
}

#[test]
fn plain_text_and_nothing_more() {
    sends(ChatRequest::text("Hi"), json!({"messages": [user("Hi")]}));
}

#[test]
fn system_texts_stand_apart_and_turns_alternate() {
    sends(
        ChatRequest::new([
            Message::system("Be brief."),
            Message::user("A"),
            Message::assistant("B"),
            Message::system("And kind."),
            Message::user("C"),
            Message::user("D"),
        ]),
        json!({
            "system": [{"text": "Be brief."}, {"text": "And kind."}],
            "messages": [
                user("A"),
                {"role": "assistant", "content": [{"text": "B"}]},
                {"role": "user", "content": [{"text": "C"}, {"text": "D"}]},
            ],
        }),
    );
}

#[test]
fn options_have_their_names() {
    let options = ChatOptions {
        temperature: Some(0.5),
        top_p: Some(0.25),
        max_tokens: Some(64),
        stop_sequences: vec!["END".to_owned()],
        ..ChatOptions::default()
    };
    sends(
        ChatRequest::text("Hi").with_options(options),
        json!({
            "messages": [user("Hi")],
            "inferenceConfig": {"maxTokens": 64, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"]},
        }),
    );
}

#[test]
fn tools_are_offered_called_and_answered() {
    let calls = vec![call("c1", r#"{"city":"Paris","n":2.0}"#), call("c2", "")];
    let mut failed = Message::tool_result(&calls[1], "no such city");
    if let Message::Tool { is_error, .. } = &mut failed {
        *is_error = true;
    }
    let request = ChatRequest::new([
        Message::user("Weather?"),
        Message::tool_calls(calls.clone()),
        Message::tool_result(&calls[0], "sunny"),
        failed,
        Message::user("Thanks"),
    ])
    .with_tools([weather()]);
    sends(
        request,
        json!({
            "messages": [
                user("Weather?"),
                {"role": "assistant", "content": [
                    {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Paris", "n": 2.0}}},
                    {"toolUse": {"toolUseId": "c2", "name": "weather", "input": {}}},
                ]},
                {"role": "user", "content": [
                    {"toolResult": {"toolUseId": "c1", "content": [{"text": "sunny"}]}},
                    {"toolResult": {"toolUseId": "c2", "content": [{"text": "no such city"}], "status": "error"}},
                    {"text": "Thanks"},
                ]},
            ],
            "toolConfig": {"tools": [{"toolSpec": {
                "name": "weather",
                "description": "Weather of a city",
                "inputSchema": {"json": {"type": "object", "properties": {"city": {}}}},
            }}]},
        }),
    );
}

#[test]
fn a_tool_choice_is_sent_where_converse_has_one() {
    for (choice, sent) in [
        (ToolChoice::Auto, json!(null)),
        (ToolChoice::Required, json!({"any": {}})),
        (ToolChoice::Tool("weather".to_owned()), json!({"tool": {"name": "weather"}})),
    ] {
        let mut request = ChatRequest::text("?").with_tools([weather()]);
        request.tool_choice = choice;
        assert_eq!(body(&request)["toolConfig"]["toolChoice"], sent);
    }
    let mut none = ChatRequest::text("?").with_tools([weather()]);
    none.tool_choice = ToolChoice::None;
    assert_eq!(body(&none), json!({"messages": [user("?")]}));
    let history = Message::tool_calls(vec![call("c", "{}")]);
    none.messages.push(history);
    refuses(none, "tool_choice");
}

#[test]
fn images_travel_inline_or_from_s3() {
    let image = |data| {
        ChatRequest::new([Message::User { content: vec![Content::text("See"), Content::Image { data }] }])
    };
    let inline = |media: &str, base64: &str| {
        image(ImageData::Inline { media_type: media.to_owned(), base64: base64.to_owned() })
    };
    let content = |request| body(&request)["messages"][0]["content"][1]["image"].clone();
    assert_eq!(content(inline("image/jpeg", "AAEC")), json!({"format": "jpeg", "source": {"bytes": "AAEC"}}));
    assert_eq!(
        content(image(ImageData::Url("s3://bucket/cat.PNG".to_owned()))),
        json!({"format": "png", "source": {"s3Location": {"uri": "s3://bucket/cat.PNG"}}})
    );
    refuses(image(ImageData::Url("https://example.com/cat.png".to_owned())), "messages[0]");
    refuses(inline("image/tiff", "AAEC"), "messages[0]");
    refuses(inline("image/png", "not base64!"), "messages[0]");
}

#[test]
fn documents_travel_inline_as_text_or_from_s3() {
    let read = |parts: Vec<Content>| ChatRequest::new([Message::User { content: parts }]);
    let parts = |request: &ChatRequest| body(request)["messages"][0]["content"].clone();
    let at = |url: &str| Content::Document { name: None, data: DocumentData::Url(url.to_owned()) };
    let note = |name: Option<&str>| Content::Document {
        name: name.map(str::to_owned),
        data: DocumentData::Text("note".to_owned()),
    };
    assert_eq!(
        parts(&read(vec![
            Content::text("Read"),
            Content::document("Report (2025) [v-1]", "application/pdf", "AAEC"),
            at("s3://bucket/table.CSV"),
            note(None),
        ])),
        json!([
            {"text": "Read"},
            {"document": {"format": "pdf", "name": "Report (2025) [v-1]", "source": {"bytes": "AAEC"}}},
            {"document": {"format": "csv", "name": "document 2", "source": {"s3Location": {"uri": "s3://bucket/table.CSV"}}}},
            {"document": {"format": "txt", "name": "document 3", "source": {"text": "note"}}},
        ])
    );
    let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    for (media, format) in [
        (docx, "docx"),
        ("text/markdown", "md"),
        ("text/plain; charset=utf-8", "txt"),
        ("application/msword", "doc"),
    ] {
        let request = read(vec![Content::document("d", media, "AAEC")]);
        assert_eq!(parts(&request)[0]["document"]["format"], format);
    }
    refuses(read(vec![at("https://example.com/a.pdf")]), "messages[0]");
    refuses(read(vec![Content::document("a", "application/zip", "AAEC")]), "messages[0]");
    refuses(read(vec![Content::document("a.pdf", "application/pdf", "AAEC")]), "messages[0]");
    refuses(read(vec![Content::document("a", "application/pdf", "no base64!")]), "messages[0]");
    refuses(read(vec![note(Some("a")), note(Some("a"))]), "messages[0]");
}

#[test]
fn reasoning_is_sent_back_as_it_came() {
    let signed = ReasoningBlock {
        text: "Hm.".to_owned(),
        signature: Some("sig".to_owned()),
        ..ReasoningBlock::default()
    };
    let redacted = ReasoningBlock { encrypted: Some("AAEC".to_owned()), ..ReasoningBlock::default() };
    let said = |reasoning| {
        ChatRequest::new([
            Message::user("A"),
            Message::Assistant { content: "B".to_owned(), tool_calls: vec![], reasoning },
            Message::user("C"),
        ])
    };
    assert_eq!(
        body(&said(vec![signed.clone(), redacted]))["messages"][1]["content"],
        json!([
            {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "sig"}}},
            {"reasoningContent": {"redactedContent": "AAEC"}},
            {"text": "B"},
        ])
    );
    let foreign = ReasoningBlock { id: Some("rs_1".to_owned()), ..signed.clone() };
    refuses(said(vec![signed, foreign]), "messages[1].reasoning[1].id");
    let garbled = ReasoningBlock { encrypted: Some("!".to_owned()), ..ReasoningBlock::default() };
    refuses(said(vec![garbled]), "messages[1].reasoning[0].encrypted");
}

#[test]
fn cache_points_stand_where_they_were_asked_for() {
    let mut request = ChatRequest::new([
        Message::system("Be brief."),
        Message::user("A"),
        Message::user("B"),
        Message::system("And kind."),
    ])
    .with_tools([weather()])
    .with_cache(CacheAt::Tools)
    .with_cache(CacheAt::System)
    .with_cache(CacheAt::Message(0))
    .with_cache(CacheAt::Message(1));
    request.cache[1].ttl = CacheTtl::Long;
    let point = json!({"cachePoint": {"type": "default"}});
    let sent = body(&request);
    assert_eq!(sent["toolConfig"]["tools"][1], point);
    assert_eq!(
        sent["system"],
        json!([
            {"text": "Be brief."}, point, {"text": "And kind."}, {"cachePoint": {"type": "default", "ttl": "1h"}},
        ])
    );
    assert_eq!(sent["messages"][0]["content"], json!([{"text": "A"}, point, {"text": "B"}]));
    refuses(ChatRequest::text("A").with_cache(CacheAt::Tools), "cache[0]");
    refuses(ChatRequest::text("A").with_cache(CacheAt::System), "cache[0]");
    refuses(
        ChatRequest::text("A").with_cache(CacheAt::Message(0)).with_cache(CacheAt::Message(1)),
        "cache[1]",
    );
}

#[test]
fn an_answer_can_be_held_to_a_schema_and_no_other_form() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let format =
        ResponseFormat::JsonSchema { name: "answer".to_owned(), schema: schema.clone(), strict: true };
    let mut request = ChatRequest::text("?").with_format(format);
    request.options.extra.insert("outputConfig".to_owned(), json!({"effort": "low"}));
    let sent = body(&request)["outputConfig"].clone();
    assert_eq!(sent["effort"], "low");
    let format = &sent["textFormat"];
    assert_eq!(
        (&format["type"], &format["structure"]["jsonSchema"]["name"]),
        (&json!("json_schema"), &json!("answer"))
    );
    let text = format["structure"]["jsonSchema"]["schema"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), schema);
    refuses(ChatRequest::text("?").with_format(ResponseFormat::Json), "format");
    request.options.extra.insert("outputConfig".to_owned(), json!({"textFormat": {}}));
    refuses(request, "options.extra.outputConfig");
}

#[test]
fn extra_fields_go_to_their_places() {
    let mut request = ChatRequest::text("Hi");
    for (name, value) in [
        ("top_k", json!(40)),
        ("thinking", json!({"type": "enabled", "budget_tokens": 1024})),
        ("performanceConfig", json!({"latency": "optimized"})),
        ("serviceTier", json!({"type": "flex"})),
        ("requestMetadata", json!({"team": "a"})),
    ] {
        request.options.extra.insert(name.to_owned(), value);
    }
    sends(
        request,
        json!({
            "messages": [user("Hi")],
            "additionalModelRequestFields": {"top_k": 40, "thinking": {"type": "enabled", "budget_tokens": 1024}},
            "performanceConfig": {"latency": "optimized"},
            "serviceTier": {"type": "flex"},
            "requestMetadata": {"team": "a"},
        }),
    );
}

#[test]
fn a_guardrail_watches_both_kinds_of_answers() {
    let mut guarded = ChatRequest::text("Hi");
    let config = json!({
        "guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled", "streamProcessingMode": "async",
    });
    guarded.options.extra.insert("guardrailConfig".to_owned(), config.clone());
    let [whole, stream] = bodies(&guarded).map(|b| serde_json::from_slice::<Value>(&b).unwrap());
    assert_eq!(stream["guardrailConfig"], config);
    let mut without_mode = config;
    without_mode.as_object_mut().unwrap().remove("streamProcessingMode");
    assert_eq!(whole["guardrailConfig"], without_mode);
}

#[test]
fn the_same_request_is_the_same_bytes() {
    // The SDK's documents are hash maps: unsorted, a tool's schema would read differently in every request, which
    // also defeats the provider's prompt cache.
    let schema =
        json!({"type": "object", "properties": {"a": {}, "b": {}, "c": {}, "d": {}}, "required": ["d"]});
    let mut request = ChatRequest::text("Hi").with_tools([ToolDefinition::new("t", "", schema)]);
    let calls = vec![call("c", r#"{"z":1,"y":2,"x":3,"w":4}"#)];
    request.messages.push(Message::tool_calls(calls.clone()));
    request.messages.push(Message::tool_result(&calls[0], "é"));
    request.options.extra.extend((0..9).map(|i| (format!("k{i}"), json!(i))));
    let first = bodies(&request);
    assert_eq!(first[0], first[1]);
    for _ in 0..5 {
        assert_eq!(bodies(&request), first);
    }
    let text = String::from_utf8(first[0].to_vec()).unwrap();
    assert!(text.contains(r#"{"w":4,"x":3,"y":2,"z":1}"#), "{text}");
}

#[test]
fn what_converse_cannot_say_is_refused_by_name() {
    let options = |o: ChatOptions| ChatRequest::text("Hi").with_options(o);
    let none = ChatOptions::default();
    refuses(options(ChatOptions { top_k: Some(1), ..none.clone() }), "options.top_k");
    refuses(options(ChatOptions { seed: Some(1), ..none.clone() }), "options.seed");
    refuses(
        options(ChatOptions { frequency_penalty: Some(1.0), ..none.clone() }),
        "options.frequency_penalty",
    );
    refuses(options(ChatOptions { presence_penalty: Some(1.0), ..none.clone() }), "options.presence_penalty");
    refuses(options(ChatOptions { max_tokens: Some(u32::MAX), ..none.clone() }), "options.max_tokens");
    for (name, value) in [
        ("messages", json!([])),
        ("promptVariables", json!({})),
        ("performanceConfig", json!("optimized")),
        ("guardrailConfig", json!({"id": "g"})),
    ] {
        let mut o = none.clone();
        o.extra.insert(name.to_owned(), value);
        refuses(options(o), &format!("options.extra.{name}"));
    }
    refuses(ChatRequest::new([Message::user("A"), Message::user("")]), "messages[1]");
    let calls = vec![call("c", "{not json")];
    refuses(ChatRequest::new([Message::tool_calls(calls)]), "messages[0].tool_calls[0].arguments");
}

#[test]
fn defaults_of_the_configuration_lie_below_the_request() {
    let transport = Scripted::new([Answer::new(200, ANSWER)]);
    let sent: Value = block_on(async {
        let defaults = ChatOptions { max_tokens: Some(5), temperature: Some(0.0), ..ChatOptions::default() };
        let model = connect_with(transport.clone(), |c| c.with_options(defaults), &[]).await.unwrap();
        model.generate(&ChatRequest::text("Hi").with_max_tokens(9), &context()).await.unwrap();
        serde_json::from_slice(&transport.request().body).unwrap()
    });
    assert_eq!(sent["inferenceConfig"], json!({"maxTokens": 9, "temperature": 0.0}));
}

/// Path and headers of a request of this model with this environment.
fn head(model: &str, env: &[(&str, &str)]) -> (String, http::HeaderMap) {
    let transport = Scripted::new([Answer::new(200, ANSWER)]);
    block_on(async {
        let change = |mut c: llms_core::config::ModelConfig| {
            model.clone_into(&mut c.model);
            c.headers.insert("x-team".to_owned(), "a".to_owned());
            c
        };
        let model = connect_with(transport.clone(), change, env).await.unwrap();
        model.generate(&ChatRequest::text("Hi"), &context().with_request_id("r-1")).await.unwrap();
    });
    let request = transport.request();
    assert_eq!(request.method, http::Method::POST);
    assert_eq!(request.uri.authority().unwrap().as_str(), "127.0.0.1:9");
    (request.uri.path().to_owned(), request.headers)
}

#[test]
fn ids_profiles_and_arns_are_encoded_into_the_path() {
    let arn = "arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.anthropic.claude-v1:0";
    for (model, path) in [
        ("amazon.nova-micro-v1:0", "/model/amazon.nova-micro-v1%3A0/converse"),
        ("us.amazon.nova-micro-v1:0", "/model/us.amazon.nova-micro-v1%3A0/converse"),
        (
            arn,
            "/model/arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-v1%3A0/converse",
        ),
    ] {
        assert_eq!(head(model, &[]).0, path);
    }
}

const KEYS: [(&str, &str); 4] = [
    ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
    ("AWS_SECRET_ACCESS_KEY", "very-secret-key"),
    ("AWS_SESSION_TOKEN", "the-session-token"),
    ("AWS_REGION", "eu-central-1"),
];

#[test]
fn keys_sign_and_what_is_signed_is_sent() {
    let (_, headers) = head("m", &KEYS);
    let authorization = headers["authorization"].to_str().unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"), "{authorization}");
    assert!(authorization.contains("/eu-central-1/bedrock/aws4_request"), "{authorization}");
    assert_eq!(headers["x-amz-security-token"], "the-session-token");
    // The transport adds exactly the two that it owns; everything else that was signed is there.
    let signed = authorization.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    let missing: Vec<&str> = signed.split(';').filter(|name| !headers.contains_key(*name)).collect();
    assert!(missing.iter().all(|name| ["host", "content-length"].contains(name)), "{missing:?}");
    assert!(missing.contains(&"host"));
    // A proxy may change these: they are not signed.
    assert!(!signed.split(';').any(|n| n == "x-request-id" || n == "x-team"));
    assert_eq!(
        (&headers["x-request-id"], &headers["x-team"]),
        (&"r-1".parse().unwrap(), &"a".parse().unwrap())
    );
    let printed = format!("{headers:?}");
    assert!(!printed.contains("AKIDEXAMPLE") && !printed.contains("the-session-token"), "{printed}");
    assert_eq!(headers["amz-sdk-request"], "attempt=1; max=1", "no retries");
}

#[test]
fn an_api_key_is_a_bearer_token() {
    let (_, headers) = head("m", &[("AWS_BEARER_TOKEN_BEDROCK", "bedrock-api-key-1\n"), KEYS[0], KEYS[1]]);
    assert_eq!(headers["authorization"], "Bearer bedrock-api-key-1");
    assert!(!format!("{headers:?}").contains("bedrock-api-key"));
}

#[test]
fn without_credentials_loopback_is_signed_with_placeholders() {
    let (_, headers) = head("m", &[]);
    let authorization = headers["authorization"].to_str().unwrap();
    assert!(
        authorization.contains("Credential=placeholder/") && authorization.contains("/us-east-1/bedrock/")
    );
}
