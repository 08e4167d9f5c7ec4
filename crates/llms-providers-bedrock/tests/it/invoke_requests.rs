//! What InvokeModel sends for each family of bodies, and what is refused because the body cannot say it.
// Helpers may unwrap as tests do.
#![allow(clippy::unwrap_used)]

use crate::support;

use llms_core::{
    ChatModel, ChatOptions, ChatRequest, Error, ErrorCode, Message, ToolCall, ToolDefinition,
    chat::{CacheAt, Content, DocumentData, ImageData, ReasoningBlock, ResponseFormat, ToolChoice},
    config::ModelConfig,
    wire::Prepared,
};
use serde_json::{Value, json};
use support::{Answer, Scripted, block_on, chunk, connect_with, context};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-20250514-v1:0";
const TITAN: &str = "amazon.titan-text-express-v1";
const LLAMA: &str = "meta.llama3-1-70b-instruct-v1:0";
const MISTRAL: &str = "mistral.mistral-7b-instruct-v0:2";
const COHERE: &str = "cohere.command-r-v1:0";
const NOVA: &str = "us.amazon.nova-micro-v1:0";

/// A whole answer that is one in every family, and the last chunk likewise.
const ANSWER: &str = r#"{"content":[],"results":[],"generation":"","outputs":[{"text":""}],"text":"","output":{"message":{}}}"#;
const LAST: &str = r#"{"type":"message_stop","completionReason":"FINISH","stop_reason":"stop","event_type":"stream-end",
    "outputs":[{"stop_reason":"stop"}],"messageStop":{},"amazon-bedrock-invocationMetrics":{}}"#;

/// What InvokeModel and its stream send for a request.
fn sent(model: &str, request: &ChatRequest) -> Result<[Prepared; 2], Error> {
    let transport = Scripted::new([Answer::new(200, ANSWER), Answer::stream(chunk(LAST))]);
    block_on(async {
        let change = |mut c: ModelConfig| {
            c.model = String::from(model);
            c.with_specific("api", "invoke")
        };
        let model = connect_with(transport.clone(), change, &[]).await.unwrap();
        model.generate(request, &context()).await?;
        model.drive(request, &context(), &mut Vec::new()).await?;
        let sent = transport.requests.lock().unwrap();
        Ok([0, 1].map(|i| sent[i].clone()))
    })
}

/// The body; both operations send the same.
#[track_caller]
fn body(model: &str, request: &ChatRequest) -> Value {
    let [whole, stream] = sent(model, request).unwrap();
    assert_eq!(whole.body, stream.body);
    serde_json::from_slice(&whole.body).unwrap()
}

#[track_caller]
fn refuses(model: &str, request: &ChatRequest, field: &str) {
    let error = sent(model, request).expect_err("refused");
    assert_eq!(error.code(), ErrorCode::InvalidRequest);
    assert!(error.message().starts_with(field), "{error}");
    assert_eq!(error.phase(), Some(llms_core::CallPhase::Prepare));
}

fn options() -> ChatOptions {
    ChatOptions { temperature: Some(0.7), top_p: Some(0.9), max_tokens: Some(64), ..ChatOptions::default() }
}

fn talk() -> ChatRequest {
    ChatRequest::new([Message::user("A"), Message::assistant("B"), Message::user("C"), Message::user("D")])
        .with_options(options())
}

fn with_system() -> ChatRequest {
    let mut request = talk();
    request.messages.insert(0, Message::system("Be brief."));
    request
}

fn weather() -> ToolDefinition {
    ToolDefinition::new("weather", "Weather of a city", json!({"type": "object"}))
}

fn call() -> ToolCall {
    ToolCall { id: "c1".to_owned(), name: "weather".to_owned(), arguments: r#"{"city":"Paris"}"#.to_owned() }
}

fn see(part: Content) -> ChatRequest {
    ChatRequest::new([Message::User { content: vec![Content::text("See"), part] }])
}

#[test]
fn both_operations_go_to_their_paths_with_their_headers() {
    let mut request = talk();
    for (name, value) in [
        ("performanceConfig", json!({"latency": "optimized"})),
        ("serviceTier", json!({"type": "flex"})),
        ("requestMetadata", json!({"team": "a", "app": "b"})),
        ("guardrailConfig", json!({"guardrailIdentifier": "g", "guardrailVersion": "1", "trace": "enabled"})),
        ("amazon-bedrock-guardrailConfig", json!({"streamProcessingMode": "ASYNCHRONOUS"})),
    ] {
        request.options.extra.insert(name.to_owned(), value);
    }
    let [whole, stream] = sent(TITAN, &request).unwrap();
    assert_eq!(whole.uri.path(), "/model/amazon.titan-text-express-v1/invoke");
    assert_eq!(stream.uri.path(), "/model/amazon.titan-text-express-v1/invoke-with-response-stream");
    assert_eq!(whole.headers["accept"], "application/json");
    assert_eq!(stream.headers["x-amzn-bedrock-accept"], "application/json");
    for headers in [whole.headers, stream.headers] {
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
            ("x-amzn-bedrock-service-tier", "flex"),
            ("x-amzn-bedrock-request-metadata", r#"{"app":"b","team":"a"}"#),
            ("x-amzn-bedrock-guardrailidentifier", "g"),
            ("x-amzn-bedrock-guardrailversion", "1"),
            ("x-amzn-bedrock-trace", "ENABLED"),
        ] {
            assert_eq!(headers[name], value);
        }
        assert!(headers["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 "));
    }
    let body: Value = serde_json::from_slice(&whole.body).unwrap();
    assert_eq!(body["amazon-bedrock-guardrailConfig"], json!({"streamProcessingMode": "ASYNCHRONOUS"}));
    let mode = json!({"guardrailIdentifier": "g", "guardrailVersion": "1", "streamProcessingMode": "async"});
    request.options.extra.insert("guardrailConfig".to_owned(), mode);
    refuses(TITAN, &request, "options.extra.guardrailConfig.streamProcessingMode");
}

#[test]
fn arns_and_profiles_are_escaped_into_the_path() {
    let arn = "arn:aws:bedrock:us-west-2:123456789012:inference-profile/us.anthropic.claude-v1:0";
    let [whole, stream] = sent(arn, &talk()).unwrap();
    let path = "/model/arn%3Aaws%3Abedrock%3Aus-west-2%3A123456789012%3Ainference-profile%2Fus.anthropic.claude-v1%3A0";
    assert_eq!(whole.uri.path(), format!("{path}/invoke"));
    assert_eq!(stream.uri.path(), format!("{path}/invoke-with-response-stream"));
    assert!(whole.headers["authorization"].to_str().unwrap().contains("/us-west-2/bedrock/aws4_request"));
}

#[test]
fn anthropics_body_says_everything() {
    let text = |t: &str| json!({"type": "text", "text": t});
    let mut request = with_system().with_tools([weather()]);
    request.options.top_k = Some(40);
    request.options.stop_sequences = vec!["END".to_owned()];
    request.options.extra.insert("thinking".to_owned(), json!({"type": "enabled", "budget_tokens": 1024}));
    request.options.extra.insert("anthropic_beta".to_owned(), json!(["interleaved-thinking-2025-05-14"]));
    request.tool_choice = ToolChoice::Required;
    request.format = Some(ResponseFormat::JsonSchema {
        name: "answer".to_owned(),
        schema: json!({"type": "object"}),
        strict: true,
    });
    request.messages.extend([
        Message::Assistant {
            content: "Let me see.".to_owned(),
            tool_calls: vec![call()],
            reasoning: vec![
                ReasoningBlock {
                    text: "Hm.".to_owned(),
                    signature: Some("sig".to_owned()),
                    ..ReasoningBlock::default()
                },
                ReasoningBlock { encrypted: Some("c2VjcmV0".to_owned()), ..ReasoningBlock::default() },
            ],
        },
        Message::tool_result(&call(), "sunny"),
    ]);
    assert_eq!(
        body(CLAUDE, &request),
        json!({
            "anthropic_version": "bedrock-2023-05-31",
            "anthropic_beta": ["interleaved-thinking-2025-05-14"],
            "max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "top_k": 40, "stop_sequences": ["END"],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "system": "Be brief.",
            "tools": [{"name": "weather", "description": "Weather of a city", "input_schema": {"type": "object"}}],
            "tool_choice": {"type": "any"},
            "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
            "messages": [
                {"role": "user", "content": [text("A")]},
                {"role": "assistant", "content": [text("B")]},
                {"role": "user", "content": [text("C"), text("D")]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "Hm.", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "c2VjcmV0"},
                    text("Let me see."),
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Paris"}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}]},
            ],
        })
    );
    assert_eq!(body(CLAUDE, &ChatRequest::text("Hi"))["max_tokens"], 4096, "the body demands one");
}

#[test]
fn anthropics_body_holds_images_documents_and_cache_marks() {
    let image = Content::image("image/png", "AAEC");
    assert_eq!(
        body(CLAUDE, &see(image))["messages"][0]["content"][1],
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAEC"}})
    );
    let pdf = Content::document("report.pdf", "application/pdf", "AAEC");
    assert_eq!(
        body(CLAUDE, &see(pdf))["messages"][0]["content"][1],
        json!({
            "type": "document", "title": "report.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "AAEC"},
        })
    );
    let note = Content::Document { name: None, data: DocumentData::Text("note".to_owned()) };
    assert_eq!(
        body(CLAUDE, &see(note))["messages"][0]["content"][1]["source"],
        json!({"type": "text", "media_type": "text/plain", "data": "note"})
    );
    let web = "https://example.com/a.png".to_owned();
    refuses(CLAUDE, &see(Content::Image { data: ImageData::Url(web.clone()) }), "messages[0]");
    refuses(CLAUDE, &see(Content::Document { name: None, data: DocumentData::Url(web) }), "messages[0]");
    refuses(CLAUDE, &see(Content::document("a", "text/csv", "AAEC")), "messages[0]");

    let mut request = with_system().with_tools([weather()]);
    request = request.with_cache(CacheAt::Tools).with_cache(CacheAt::System).with_cache(CacheAt::Message(3));
    request.cache[1].ttl = llms_core::chat::CacheTtl::Long;
    let sent = body(CLAUDE, &request);
    let short = json!({"type": "ephemeral"});
    assert_eq!(sent["tools"][0]["cache_control"], short);
    assert_eq!(sent["system"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    assert_eq!(sent["messages"][2]["content"][0]["cache_control"], short);
    assert_eq!(sent["messages"][2]["content"][1].get("cache_control"), None);
    refuses(CLAUDE, &talk().with_cache(CacheAt::System), "cache[0]");
}

#[test]
fn novas_body_is_much_like_converses() {
    let mut request = with_system().with_tools([weather()]);
    request.options.top_k = Some(40);
    request.tool_choice = ToolChoice::Tool("weather".to_owned());
    request.messages.extend([Message::tool_calls(vec![call()]), Message::tool_result(&call(), "sunny")]);
    assert_eq!(
        body(NOVA, &request),
        json!({
            "schemaVersion": "messages-v1",
            "system": [{"text": "Be brief."}],
            "inferenceConfig": {"maxTokens": 64, "temperature": 0.7, "topP": 0.9, "topK": 40},
            "toolConfig": {
                "tools": [{"toolSpec": {
                    "name": "weather", "description": "Weather of a city", "inputSchema": {"json": {"type": "object"}},
                }}],
                "toolChoice": {"tool": {"name": "weather"}},
            },
            "messages": [
                {"role": "user", "content": [{"text": "A"}]},
                {"role": "assistant", "content": [{"text": "B"}]},
                {"role": "user", "content": [{"text": "C"}, {"text": "D"}]},
                {"role": "assistant", "content": [
                    {"toolUse": {"toolUseId": "c1", "name": "weather", "input": {"city": "Paris"}}},
                ]},
                {"role": "user", "content": [{"toolResult": {"toolUseId": "c1", "content": [{"text": "sunny"}]}}]},
            ],
        })
    );
    assert_eq!(
        body(NOVA, &see(Content::image("image/jpeg", "AAEC")))["messages"][0]["content"][1],
        json!({"image": {"format": "jpeg", "source": {"bytes": "AAEC"}}})
    );
    refuses(NOVA, &see(Content::document("a", "application/pdf", "AAEC")), "messages[0].content[1]");
    refuses(NOVA, &talk().with_cache(CacheAt::Message(0)), "cache");
}

#[test]
fn titans_prompt_is_a_conversation() {
    let mut request = talk();
    request.options.stop_sequences = vec!["User:".to_owned()];
    assert_eq!(
        body(TITAN, &request),
        json!({
            "inputText": "User: A\nBot: B\nUser: C\n\nD\nBot:",
            "textGenerationConfig": {
                "maxTokenCount": 64, "temperature": 0.7, "topP": 0.9, "stopSequences": ["User:"],
            },
        })
    );
    assert_eq!(body(TITAN, &ChatRequest::text("Hi")), json!({"inputText": "User: Hi\nBot:"}));
}

#[test]
fn llamas_prompt_has_the_template_of_its_generation() {
    assert_eq!(
        body(LLAMA, &with_system()),
        json!({
            "prompt": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>\
                       <|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>\
                       <|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>\
                       <|start_header_id|>user<|end_header_id|>\n\nC\n\nD<|eot_id|>\
                       <|start_header_id|>assistant<|end_header_id|>\n\n",
            "max_gen_len": 64, "temperature": 0.7, "top_p": 0.9,
        })
    );
    let prompt = |model: &str| body(model, &with_system())["prompt"].as_str().unwrap().to_owned();
    assert_eq!(
        prompt("meta.llama2-13b-chat-v1"),
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nA [/INST] B </s><s>[INST] C\n\nD [/INST]"
    );
    assert_eq!(
        body("us.meta.llama4-scout-17b-instruct-v1:0", &ChatRequest::text("Hi"))["prompt"],
        "<|begin_of_text|><|header_start|>user<|header_end|>\n\nHi<|eot|><|header_start|>assistant<|header_end|>\n\n"
    );
}

#[test]
fn mistral_and_cohere_have_their_own_words() {
    let mut request = talk();
    request.options.top_k = Some(5);
    request.options.stop_sequences = vec!["END".to_owned()];
    assert_eq!(
        body(MISTRAL, &request),
        json!({
            "prompt": "<s>[INST] A [/INST] B</s>[INST] C\n\nD [/INST]",
            "max_tokens": 64, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "stop": ["END"],
        })
    );
    request.messages.insert(0, Message::system("Be brief."));
    request.options.seed = Some(7);
    request.options.frequency_penalty = Some(0.5);
    request.options.extra.insert("search_queries_only".to_owned(), json!(false));
    assert_eq!(
        body(COHERE, &request),
        json!({
            "message": "C\n\nD",
            "chat_history": [{"role": "USER", "message": "A"}, {"role": "CHATBOT", "message": "B"}],
            "preamble": "Be brief.",
            "max_tokens": 64, "temperature": 0.7, "p": 0.9, "k": 5, "seed": 7, "frequency_penalty": 0.5,
            "stop_sequences": ["END"], "search_queries_only": false,
        })
    );
}

#[test]
fn what_a_text_body_cannot_say_is_refused_by_name() {
    let image = see(Content::image("image/png", "AAEC"));
    let document = see(Content::document("a", "application/pdf", "AAEC"));
    let schema =
        ResponseFormat::JsonSchema { name: "a".to_owned(), schema: json!({"type": "object"}), strict: true };
    let called = ChatRequest::new([Message::user("A"), Message::tool_calls(vec![call()])]);
    let answered = ChatRequest::new([Message::user("A"), Message::tool_result(&call(), "x")]);
    for model in [TITAN, LLAMA, MISTRAL, COHERE] {
        refuses(model, &image, "messages[0].content[1]");
        refuses(model, &document, "messages[0].content[1]");
        refuses(model, &talk().with_tools([weather()]), "tools");
        refuses(model, &called, "messages[1].tool_calls");
        refuses(model, &answered, "messages[1]");
        refuses(model, &talk().with_format(schema.clone()), "format");
        refuses(model, &talk().with_cache(CacheAt::Message(0)), "cache");
        refuses(model, &ChatRequest::new([Message::user("A"), Message::assistant("B")]), "messages");
        refuses(model, &ChatRequest::new([Message::user("")]), "messages[0]");
        let mut untold = talk().with_tools([weather()]);
        untold.tool_choice = ToolChoice::None;
        assert_eq!(body(model, &untold), body(model, &talk()), "tools that may not be used are not told");
    }
    for model in [TITAN, MISTRAL] {
        refuses(model, &with_system(), "messages[0]");
    }
    let option = |change: fn(&mut ChatOptions)| {
        let mut request = talk();
        change(&mut request.options);
        request
    };
    refuses(LLAMA, &option(|o| o.stop_sequences = vec!["x".to_owned()]), "options.stop_sequences");
    for model in [LLAMA, TITAN] {
        refuses(model, &option(|o| o.top_k = Some(1)), "options.top_k");
    }
    for model in [CLAUDE, NOVA, TITAN, LLAMA, MISTRAL] {
        refuses(model, &option(|o| o.seed = Some(1)), "options.seed");
        refuses(model, &option(|o| o.presence_penalty = Some(1.0)), "options.presence_penalty");
    }
    for (model, name) in [(CLAUDE, "messages"), (TITAN, "inputText"), (LLAMA, "prompt"), (COHERE, "message")]
    {
        let mut request = talk();
        request.options.extra.insert(name.to_owned(), json!("x"));
        refuses(model, &request, &format!("options.extra.{name}"));
    }
    refuses(CLAUDE, &talk().with_format(ResponseFormat::Json), "format");
    let unsigned = ReasoningBlock { text: "Hm.".to_owned(), ..ReasoningBlock::default() };
    let mut thought = talk();
    thought.messages[1] =
        Message::Assistant { content: "B".to_owned(), tool_calls: vec![], reasoning: vec![unsigned] };
    refuses(CLAUDE, &thought, "messages[1].reasoning[0].signature");
    refuses(NOVA, &thought, "messages[1].reasoning");
}
