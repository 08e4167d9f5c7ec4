//! What is sent to the responses and completions APIs, byte for byte, where, and what is refused by name; documents,
//! formats and reasoning for all three.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::common;

use common::{codec_of, local_of, vendor_of};
use llms_core::{
    ChatOptions, ChatRequest, ErrorCode, Message, ToolCall, ToolDefinition,
    chat::{CacheAt, Content, DocumentData, ImageData, ReasoningBlock, ResponseFormat, ToolChoice},
    config::ModelConfig,
    wire::{Codec as _, Delivery},
};
use llms_providers_openai::{Api, Codec, Config, Service};
use serde_json::{Value, json};

#[track_caller]
fn check_body(codec: &Codec, request: &ChatRequest, delivery: Delivery, expected: &str) {
    let body = codec.encode(request, delivery).unwrap().body;
    assert_eq!(std::str::from_utf8(&body).unwrap(), expected);
}

#[track_caller]
fn check_json(codec: &Codec, request: &ChatRequest, pointer: &str, expected: &Value) {
    let body = codec.encode(request, Delivery::Whole).unwrap().body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body.pointer(pointer), Some(expected), "{body}");
}

#[track_caller]
fn check_refused(codec: &Codec, request: &ChatRequest, field: &str) {
    let e = codec.encode(request, Delivery::Stream).unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidRequest, "{e}");
    assert!(e.message().contains(&format!("{field}: expected ")), "{field} is not in {e}");
}

fn weather() -> ToolDefinition {
    ToolDefinition::new("get_weather", "Weather of a city", json!({"type": "object"}))
}

#[test]
fn a_conversation_as_items() {
    let call = ToolCall { id: "c1".into(), name: "get_weather".into(), arguments: String::new() };
    let request = ChatRequest::new([
        Message::system("Be brief."),
        Message::system("Be kind."),
        Message::user("Hi"),
        Message::assistant("Hello"),
        Message::system("Now in French."),
        Message::user("Weather?"),
        Message::Assistant {
            content: "Let me look.".into(),
            tool_calls: vec![call.clone()],
            reasoning: vec![ReasoningBlock {
                id: Some("rs_1".into()),
                text: "hm".into(),
                encrypted: Some("gAAA".into()),
                signature: None,
            }],
        },
        Message::tool_result(&call, "sunny"),
    ])
    .with_tools([weather()])
    .with_max_tokens(20);
    check_body(
        &vendor_of(Api::Responses),
        &request,
        Delivery::Stream,
        r#"{"model":"m","instructions":"Be brief.\n\nBe kind.","input":[{"role":"user","content":"Hi"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Hello","annotations":[]}]},{"role":"system","content":"Now in French."},{"role":"user","content":"Weather?"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"gAAA"},{"type":"message","role":"assistant","content":[{"type":"output_text","text":"Let me look.","annotations":[]}]},{"type":"function_call","call_id":"c1","name":"get_weather","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"sunny"}],"stream":true,"max_output_tokens":20,"tools":[{"type":"function","name":"get_weather","description":"Weather of a city","parameters":{"type":"object"},"strict":false}]}"#,
    );
    // vLLM insists on id and status of what the model said; open models reason in the clear.
    let request = ChatRequest::new([
        Message::user("Hi"),
        Message::Assistant {
            content: "Hello".into(),
            tool_calls: Vec::new(),
            reasoning: vec![ReasoningBlock { text: "hm".into(), ..ReasoningBlock::default() }],
        },
        Message::user("And?"),
    ]);
    check_body(
        &local_of(Api::Responses),
        &request,
        Delivery::Whole,
        r#"{"model":"m","input":[{"role":"user","content":"Hi"},{"type":"reasoning","id":"rs_1_0","summary":[],"content":[{"type":"reasoning_text","text":"hm"}]},{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Hello","annotations":[]}]},{"role":"user","content":"And?"}]}"#,
    );
}

#[test]
fn images_and_documents() {
    let request = ChatRequest::new([Message::User {
        content: vec![
            Content::text("Read."),
            Content::Image { data: ImageData::Url("https://example.org/a.png".into()) },
            Content::document("a.pdf", "application/pdf", "JVBERg=="),
            Content::Document { name: None, data: DocumentData::Text("plain".into()) },
        ],
    }]);
    check_json(
        &vendor_of(Api::Responses),
        &request,
        "/input/0/content",
        &json!([
            {"type": "input_text", "text": "Read."},
            {"type": "input_image", "detail": "auto", "image_url": "https://example.org/a.png"},
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="},
            {"type": "input_file", "filename": "document.txt", "file_data": "data:text/plain;base64,cGxhaW4="},
        ]),
    );
    check_json(
        &vendor_of(Api::Chat),
        &request,
        "/messages/0/content",
        &json!([
            {"type": "text", "text": "Read."},
            {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}},
            {"type": "file", "file": {"filename": "document.txt", "file_data": "data:text/plain;base64,cGxhaW4="}},
        ]),
    );
    let at_address = ChatRequest::new([Message::User {
        content: vec![Content::Document {
            name: None,
            data: DocumentData::Url("https://example.org/a.pdf".into()),
        }],
    }]);
    check_json(
        &vendor_of(Api::Responses),
        &at_address,
        "/input/0/content",
        &json!([{"type": "input_file", "file_url": "https://example.org/a.pdf"}]),
    );
    check_refused(&vendor_of(Api::Chat), &at_address, "messages[0].content[0]");
    check_refused(&local_of(Api::Completions), &at_address, "messages");
}

#[test]
fn formats() {
    let schema =
        ResponseFormat::JsonSchema { name: "city".into(), schema: json!({"type": "object"}), strict: true };
    let free = ChatRequest::text("Hi").with_format(ResponseFormat::Json);
    let held = ChatRequest::text("Hi").with_format(schema);
    let chat = vendor_of(Api::Chat);
    check_json(&chat, &free, "/response_format", &json!({"type": "json_object"}));
    let expected = json!({"type": "json_schema", "json_schema": {"name": "city", "schema": {"type": "object"}, "strict": true}});
    check_json(&chat, &held, "/response_format", &expected);
    let responses = vendor_of(Api::Responses);
    check_json(&responses, &free, "/text", &json!({"format": {"type": "json_object"}}));
    let mut terse = held.clone();
    terse.options.extra.insert("text".into(), json!({"verbosity": "low"}));
    let expected = json!({"verbosity": "low", "format": {"type": "json_schema", "name": "city", "schema": {"type": "object"}, "strict": true}});
    check_json(&responses, &terse, "/text", &expected);
    // Twice the same thing is refused.
    terse.options.extra.insert("text".into(), json!({"format": {"type": "text"}}));
    check_refused(&responses, &terse, "options.extra.text");
    let mut twice = held.clone();
    twice.options.extra.insert("response_format".into(), json!({"type": "text"}));
    check_refused(&chat, &twice, "options.extra.response_format");
    check_refused(&local_of(Api::Completions), &held, "format");
}

#[test]
fn reasoning_is_sent_back_where_the_wire_can() {
    let with = |block: ReasoningBlock| {
        ChatRequest::new([
            Message::Assistant { content: "A".into(), tool_calls: Vec::new(), reasoning: vec![block] },
            Message::user("B"),
        ])
    };
    let plain = ReasoningBlock { text: "hm".into(), ..ReasoningBlock::default() };
    let signed = ReasoningBlock { signature: Some("sig".into()), ..plain.clone() };
    let encrypted = ReasoningBlock { encrypted: Some("x".into()), ..plain.clone() };
    let known = ReasoningBlock { id: Some("rs_1".into()), ..plain.clone() };
    let chat = local_of(Api::Chat);
    check_json(&chat, &with(plain.clone()), "/messages/0/reasoning_content", &json!("hm"));
    check_refused(&chat, &with(signed.clone()), "messages[0].reasoning");
    check_refused(&vendor_of(Api::Chat), &with(plain.clone()), "messages[0].reasoning");
    let responses = vendor_of(Api::Responses);
    check_refused(&responses, &with(plain), "messages[0].reasoning[0]");
    check_refused(&responses, &with(signed), "messages[0].reasoning[0]");
    let summary = json!([{"type": "summary_text", "text": "hm"}]);
    check_json(
        &responses,
        &with(known),
        "/input/0",
        &json!({"type": "reasoning", "id": "rs_1", "summary": summary}),
    );
    check_json(
        &responses,
        &with(encrypted),
        "/input/0",
        &json!({"type": "reasoning", "summary": summary, "encrypted_content": "x"}),
    );
}

#[test]
fn an_answer_goes_back_as_it_came() {
    let body = r#"{"status":"completed","output":[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"hm"}],"encrypted_content":"gAAA"},{"type":"function_call","id":"fc_1","call_id":"c","name":"f","arguments":"{}"}]}"#;
    let codec = vendor_of(Api::Responses);
    let answer = codec.decode(body.as_bytes(), &mut |_, _| {}).unwrap();
    let request = ChatRequest::new([
        Message::user("Hi"),
        answer.to_message(),
        Message::tool_result(&answer.tool_calls[0], "1"),
    ]);
    check_json(
        &codec,
        &request,
        "/input",
        &json!([
            {"role": "user", "content": "Hi"},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "gAAA"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
        ]),
    );
}

#[test]
fn options_of_responses() {
    let sampled = ChatOptions {
        temperature: Some(0.5),
        top_p: Some(0.9),
        max_tokens: Some(16),
        extra: [
            ("store".to_owned(), json!(false)),
            ("include".to_owned(), json!(["reasoning.encrypted_content"])),
            ("parallel_tool_calls".to_owned(), json!(false)),
            ("service_tier".to_owned(), json!("flex")),
        ]
        .into(),
        ..ChatOptions::default()
    };
    check_body(
        &vendor_of(Api::Responses),
        &ChatRequest::text("Hi").with_options(sampled),
        Delivery::Whole,
        r#"{"model":"m","input":[{"role":"user","content":"Hi"}],"temperature":0.5,"top_p":0.9,"max_output_tokens":16,"include":["reasoning.encrypted_content"],"parallel_tool_calls":false,"service_tier":"flex","store":false}"#,
    );
    let only_elsewhere = ChatOptions {
        top_k: Some(5),
        stop_sequences: vec!["x".into()],
        frequency_penalty: Some(0.5),
        presence_penalty: Some(0.5),
        seed: Some(7),
        ..ChatOptions::default()
    };
    let request = ChatRequest::text("Hi").with_options(only_elsewhere);
    for field in ["top_k", "stop_sequences", "frequency_penalty", "presence_penalty", "seed"] {
        check_refused(&vendor_of(Api::Responses), &request, &format!("options.{field}"));
    }
    check_body(
        &local_of(Api::Responses),
        &request,
        Delivery::Whole,
        r#"{"model":"m","input":[{"role":"user","content":"Hi"}],"top_k":5,"stop":["x"],"frequency_penalty":0.5,"presence_penalty":0.5,"seed":7}"#,
    );
    assert!(!vendor_of(Api::Responses).info().capabilities.seed);
    for (choice, expected) in [
        (ToolChoice::None, json!("none")),
        (ToolChoice::Required, json!("required")),
        (ToolChoice::Tool("get_weather".into()), json!({"type": "function", "name": "get_weather"})),
    ] {
        let mut request = ChatRequest::text("Hi").with_tools([weather()]);
        request.tool_choice = choice;
        check_json(&local_of(Api::Responses), &request, "/tool_choice", &expected);
    }
}

#[test]
fn what_an_api_cannot_say_is_refused_by_name() {
    for (api, fields) in [
        (Api::Chat, &["messages", "model", "stream", "tool_choice", "tools"][..]),
        (Api::Responses, &["background", "input", "instructions", "model", "stream", "tool_choice", "tools"]),
        (Api::Completions, &["model", "prompt", "stream"]),
    ] {
        for field in fields {
            let mut request = ChatRequest::text("Hi");
            request.options.extra.insert((*field).to_owned(), json!(1));
            check_refused(&local_of(api), &request, &format!("options.extra.{field}"));
        }
        check_refused(&local_of(api), &ChatRequest::text("Hi").with_cache(CacheAt::System), "cache");
        check_refused(&local_of(api), &ChatRequest::default(), "messages");
        let mut twice = ChatRequest::text("Hi");
        twice.options.extra.insert("n".to_owned(), json!(2));
        check_refused(&local_of(api), &twice, "options.extra.n");
    }
}

#[test]
fn a_text_to_continue() {
    let options = ChatOptions {
        temperature: Some(0.0),
        max_tokens: Some(8),
        stop_sequences: vec!["\n".into()],
        seed: Some(1),
        extra: [("ignore_eos".to_owned(), json!(true)), ("min_tokens".to_owned(), json!(8))].into(),
        ..ChatOptions::default()
    };
    let request = ChatRequest::text("Once").with_options(options);
    check_body(
        &local_of(Api::Completions),
        &request,
        Delivery::Stream,
        r#"{"model":"m","prompt":"Once","stream":true,"stream_options":{"include_usage":true},"temperature":0.0,"max_tokens":8,"stop":["\n"],"seed":1,"ignore_eos":true,"min_tokens":8}"#,
    );
    // The vendor's field has no newer name here.
    check_json(&vendor_of(Api::Completions), &request, "/max_tokens", &json!(8));
    let completions = local_of(Api::Completions);
    check_refused(&completions, &ChatRequest::text("Hi").with_system("Be brief."), "messages");
    check_refused(&completions, &ChatRequest::new([Message::assistant("Hi")]), "messages");
    let parts = Message::User { content: vec![Content::text("a"), Content::text("b")] };
    check_refused(&completions, &ChatRequest::new([parts]), "messages");
    check_refused(&completions, &ChatRequest::text("Hi").with_tools([weather()]), "tools");
    let can = &completions.info().capabilities;
    assert!(can.streaming && can.seed && !can.tools && !can.images && !can.documents);
}

#[test]
fn the_length_of_a_prompt_can_be_asked_for() {
    let expected: Value =
        serde_json::from_str(include_str!("../recordings/count-tokens.expected.json")).unwrap();
    let codec = vendor_of(Api::Responses);
    for line in include_str!("../recordings/count-tokens.jsonl").lines() {
        let r: Value = serde_json::from_str(line).unwrap();
        let body = r["response"]["body"].as_str().unwrap().as_bytes();
        let count = codec.count_tokens_answer(200, &http::HeaderMap::new(), body).unwrap();
        assert_eq!(expected["recordings"][r["id"].as_str().unwrap()]["input_tokens"], count);
    }
    // Only what makes the prompt is sent, and to the place the recordings were sent to.
    let mut request =
        ChatRequest::text("Hi").with_system("Be brief.").with_tools([weather()]).with_max_tokens(7);
    request.options.temperature = Some(0.5);
    request.options.extra.insert("store".into(), json!(false));
    request.options.extra.insert("reasoning".into(), json!({"effort": "low"}));
    let asked = codec.count_tokens_request(&request.with_format(ResponseFormat::Json)).unwrap();
    assert_eq!(asked.uri, "https://api.openai.com/v1/responses/input_tokens");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let keys: Vec<&str> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["input", "instructions", "model", "reasoning", "text", "tools"]);
    let azure =
        ModelConfig::new("openai", "m").with_api_key("key-of-mine").with_specific("api_version", "preview");
    let azure = codec_of(azure.with_base_url("https://r.openai.azure.com/openai/v1/responses"));
    let asked = azure.count_tokens_request(&ChatRequest::text("Hi")).unwrap();
    assert_eq!(asked.uri, "https://r.openai.azure.com/openai/v1/responses/input_tokens?api-version=preview");
    let e = vendor_of(Api::Chat).count_tokens_request(&ChatRequest::text("Hi")).unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidConfig, "{e}");
    let e = codec.count_tokens_answer(429, &http::HeaderMap::new(), b"{}").unwrap_err();
    assert_eq!(e.code(), ErrorCode::RateLimit);
}

#[track_caller]
fn check_place(config: &ModelConfig, env: &[(&str, &str)], api: Api, uri: &str, model: &str) {
    let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let codec = Codec::new(Config::new(config, &env).unwrap());
    let prepared = codec.encode(&"Hi".into(), Delivery::Whole).unwrap();
    let body: Value = serde_json::from_slice(&prepared.body).unwrap();
    assert_eq!((prepared.uri.to_string().as_str(), body["model"].as_str()), (uri, Some(model)));
    assert_eq!(codec.config().api(), api);
}

#[test]
fn where_each_api_is() {
    use Api::{Chat, Completions, Responses};
    let at = |url: &str| ModelConfig::new("openai", "m").with_base_url(url).with_api_key("key-of-mine");
    let local = "http://127.0.0.1:8000/v1";
    check_place(&at(local), &[], Chat, "http://127.0.0.1:8000/v1/chat/completions", "m");
    for (api, path) in [(Responses, "responses"), (Completions, "completions")] {
        let endpoint = format!("{local}/{path}");
        for url in ["http://127.0.0.1:8000", local, &endpoint] {
            check_place(&at(url).with_specific("api", api.as_str()), &[], api, &endpoint, "m");
        }
        // The address of an endpoint says which API it is.
        check_place(&at(&endpoint), &[], api, &endpoint, "m");
    }
    // At the root of a host, where DeepSeek has it; its models stand beside.
    let root = "https://api.deepseek.com/responses";
    check_place(&at(root), &[], Responses, root, "m");
    let probe = Codec::new(Config::new(&at(root), &|_| None).unwrap()).probe().unwrap();
    assert_eq!(probe.request.uri, "https://api.deepseek.com/models");
    let typed = Config::responses(&at(local), &|_| None).unwrap();
    assert_eq!((typed.api(), typed.base_url().as_str()), (Responses, local));
    assert_eq!(Config::completions(&at(local), &|_| None).unwrap().api(), Completions);
    let e = Config::chat(&at(local).with_specific("api", "responses"), &|_| None).unwrap_err();
    assert!(e.message().contains("provider_specific.api: expected `chat`"), "{e}");

    // Azure: the newer API; deployments named in the body; dated versions beside the deployments.
    let azure =
        |path: &str| at(&format!("https://r.openai.azure.com{path}")).with_specific("api", "responses");
    let newer = "https://r.openai.azure.com/openai/v1/responses";
    check_place(&azure(""), &[], Responses, newer, "m");
    check_place(&azure("/openai/v1"), &[("OPENAI_API_VERSION", "2025-04-01-preview")], Responses, newer, "m");
    check_place(&azure("/openai/v1/responses"), &[], Responses, newer, "m");
    check_place(&azure("/openai/deployments/d"), &[], Responses, newer, "d");
    check_place(&azure("").with_specific("azure_deployment", "d"), &[], Responses, newer, "d");
    let preview = format!("{newer}?api-version=preview");
    check_place(&azure("").with_specific("api_version", "preview"), &[], Responses, &preview, "m");
    let dated = "https://r.openai.azure.com/openai/responses?api-version=2025-04-01-preview";
    let version = ("OPENAI_API_VERSION", "2025-04-01-preview");
    check_place(&azure("").with_specific("api_version", version.1), &[], Responses, dated, "m");
    check_place(&azure("/openai"), &[version], Responses, dated, "m");
    check_place(&azure("/openai/deployments/d"), &[version], Responses, dated, "d");
    let behind = at("https://gateway.example/team/openai/deployments/d").with_specific("api", "responses");
    let gateway = "https://gateway.example/team/openai/responses?api-version=2025-04-01-preview";
    check_place(&behind, &[version], Responses, gateway, "d");
    assert_eq!(Config::new(&behind, &|_| None).unwrap().service(), Service::Azure);
    let e = Config::new(&azure("/openai/deployments/d").with_specific("azure_deployment", "e"), &|_| None);
    assert!(e.unwrap_err().message().contains("provider_specific.azure_deployment"));
    let legacy = at("https://r.openai.azure.com/openai/deployments/d").with_specific("api", "completions");
    let uri = "https://r.openai.azure.com/openai/deployments/d/completions?api-version=2024-10-21";
    check_place(&legacy, &[], Completions, uri, "m");
    let _ = codec_of(at(local));
}
