//! OpenAI's endpoints beyond plain chat: responses, completions, structured answers, compatible servers, Azure.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{Profile, ToolAnswers};
use common::{
    endpoints::{call, call_with, events, names, ok, quick, serve, thinking},
    raw::get,
};
use serde_json::{Value, json};

const RESPONSES: &str = "/v1/responses";
const CHAT: &str = "/v1/chat/completions";

fn hello() -> Value {
    json!([{"role": "user", "content": "hello"}])
}

fn tool() -> Value {
    json!({
        "type": "function", "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    })
}

/// The streamed response: events numbered from 0, the last one's response object, and the names in order.
#[track_caller]
fn streamed(server: &bench_mock::server::Server, body: &Value) -> (Vec<(String, Value)>, Value) {
    let mut body = body.clone();
    body["stream"] = true.into();
    let events = events(&call(server, RESPONSES, &body));
    for (i, (name, data)) in events.iter().enumerate() {
        assert_eq!((data["type"].as_str().unwrap(), &data["sequence_number"]), (name.as_str(), &json!(i)));
    }
    let last = events.last().unwrap().1["response"].clone();
    (events, last)
}

#[test]
fn a_response_says_the_same_whole_and_streamed() {
    let server = serve(quick());
    let body = json!({"model": "m", "input": "hello", "instructions": "be short", "metadata": {"k": "v"}});
    let whole = ok(&server, RESPONSES, &body);
    let (events, mut last) = streamed(&server, &body);
    assert_eq!(
        names(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    for field in ["created_at", "completed_at"] {
        last[field] = whole[field].clone();
    }
    assert_eq!(last, whole);
    assert_eq!((&whole["object"], &whole["status"]), (&json!("response"), &json!("completed")));
    assert_eq!((&whole["instructions"], &whole["metadata"]["k"]), (&json!("be short"), &json!("v")));
    assert_eq!(
        whole["usage"],
        json!({
            "input_tokens": 4, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 6,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 10
        })
    );
    let text = whole.pointer("/output/0/content/0/text").unwrap().as_str().unwrap();
    let deltas = events.iter().filter(|(name, _)| name == "response.output_text.delta");
    let joined: String = deltas.map(|(_, d)| d["delta"].as_str().unwrap()).collect();
    assert_eq!((joined.as_str(), text.split(' ').count()), (text, 6));
    assert_eq!(events[0].1["response"]["status"], "in_progress");
}

#[test]
fn a_response_calls_tools_and_reasons() {
    let server = serve(Profile { tools: ToolAnswers { calls: 2, ..ToolAnswers::default() }, ..thinking() });
    let body = json!({"model": "m", "input": hello(), "tools": [tool()]});
    let (events, last) = streamed(&server, &body);
    assert_eq!(
        names(&events),
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed"
        ]
    );
    let kinds: Vec<_> = last["output"].as_array().unwrap().iter().map(|i| i["type"].clone()).collect();
    assert_eq!(kinds, ["reasoning", "function_call", "function_call"]);
    for (i, item) in last["output"].as_array().unwrap().iter().enumerate().skip(1) {
        let arguments: Value = serde_json::from_str(item["arguments"].as_str().unwrap()).unwrap();
        assert!(arguments["city"].is_string() && item["call_id"].as_str().unwrap().starts_with("call_"));
        let deltas = events
            .iter()
            .filter(|(n, d)| n == "response.function_call_arguments.delta" && d["output_index"] == i);
        let joined: String = deltas.map(|(_, d)| d["delta"].as_str().unwrap()).collect();
        assert_eq!(item["arguments"], joined);
    }
    assert_eq!(last.pointer("/usage/output_tokens_details/reasoning_tokens"), Some(&json!(3)));
    // One call only, and words after a tool's result.
    let one = json!({"model": "m", "input": hello(), "tools": [tool()], "parallel_tool_calls": false});
    assert_eq!(ok(&server, RESPONSES, &one)["output"].as_array().unwrap().len(), 2);
    let answered = json!({"model": "m", "tools": [tool()], "input": [
        {"role": "user", "content": "hello"},
        {"type": "function_call", "call_id": "c", "name": "get_weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "rain"}
    ]});
    assert_eq!(ok(&server, RESPONSES, &answered)["output"][1]["type"], "message");
    let quiet = json!({"model": "m", "input": "hello", "reasoning": {"effort": "none"}});
    assert_eq!(ok(&server, RESPONSES, &quiet)["output"][0]["type"], "message");
}

#[test]
fn a_response_may_be_incomplete_or_json() {
    let server = serve(quick());
    let (events, last) = streamed(&server, &json!({"model": "m", "input": "hello", "max_output_tokens": 2}));
    assert_eq!(events.last().unwrap().0, "response.incomplete");
    assert_eq!(last["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(last["output"][0]["status"], "incomplete");
    let format = json!({"type": "json_schema", "name": "n", "strict": true, "schema": {
        "type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}
    }});
    let body = json!({"model": "m", "input": "hello", "text": {"format": format}});
    let whole = ok(&server, RESPONSES, &body);
    let text = whole.pointer("/output/0/content/0/text").unwrap().as_str().unwrap();
    let value: Value = serde_json::from_str(text).unwrap();
    assert!(value["n"].is_i64() && value["ok"].is_boolean());
    assert_eq!(whole["text"]["format"], format);
}

#[test]
fn around_responses() {
    let server = serve(quick());
    let stored = get(&server, "/v1/responses/resp_1");
    assert_eq!((stored.status, &stored.json()["error"]["type"]), (404, &json!("invalid_request_error")));
    let counted = ok(&server, "/v1/responses/input_tokens", &json!({"model": "m", "input": "hello"}));
    assert_eq!(counted, json!({"object": "response.input_tokens", "input_tokens": 2}));
    for (body, code) in [
        (json!({"model": "m"}), json!("missing_required_parameter")),
        (json!({"model": "m", "input": "x", "background": true}), Value::Null),
        (json!({"model": "mock-missing", "input": "x"}), json!("model_not_found")),
    ] {
        let answer = call(&server, RESPONSES, &body);
        assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &code), "{body}");
    }
}

#[test]
fn completions_go_on_with_a_prompt() {
    let server = serve(quick());
    let body = json!({"model": "m", "prompt": "hello", "max_tokens": 100});
    let whole = ok(&server, "/v1/completions", &body);
    assert_eq!(
        (&whole["object"], &whole["choices"][0]["finish_reason"]),
        (&json!("text_completion"), &json!("stop"))
    );
    assert_eq!(whole["usage"], json!({"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8}));
    let mut body = body;
    body["stream"] = true.into();
    body["stream_options"] = json!({"include_usage": true});
    let events = events(&call(&server, "/v1/completions", &body));
    let (last, chunks) = events.split_last().unwrap();
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!(last.1, "[DONE]");
    assert_eq!((&usage.1["choices"], &usage.1["usage"]), (&json!([]), &whole["usage"]));
    let text: String = chunks.iter().map(|(_, c)| c["choices"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(whole["choices"][0]["text"], text);
    assert_eq!(chunks.last().unwrap().1["choices"][0]["finish_reason"], "stop");
    assert!(chunks.iter().all(|(_, c)| c["usage"].is_null() && c["object"] == "text_completion"));
    // The vendor's own limit is 16; prompts may be tokens.
    let long = serve(quick().with_output_tokens(50));
    let tokens = ok(&long, "/v1/completions", &json!({"model": "m", "prompt": [1, 2, 3]}));
    assert_eq!(tokens["usage"], json!({"prompt_tokens": 3, "completion_tokens": 16, "total_tokens": 19}));
    assert_eq!(tokens["choices"][0]["finish_reason"], "length");
    let two = call(&server, "/v1/completions", &json!({"model": "m", "prompt": ["a", "b"]}));
    assert_eq!((two.status, &two.json()["error"]["param"]), (400, &json!("prompt")));
}

#[test]
fn answers_fit_the_format_asked_for() {
    let server = serve(quick());
    let answer = |format: Value| -> Value {
        let body = json!({"model": "m", "messages": hello(), "response_format": format});
        let whole = ok(&server, CHAT, &body);
        serde_json::from_str(whole.pointer("/choices/0/message/content").unwrap().as_str().unwrap()).unwrap()
    };
    assert!(answer(json!({"type": "json_object"})).is_object());
    let schema = json!({"type": "object", "properties": {
        "tags": {"type": "array", "minItems": 2, "items": {"enum": ["a", "b"]}}
    }});
    let fitting = answer(json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}));
    assert_eq!(fitting["tags"].as_array().unwrap().len(), 2);
}

#[test]
fn compatible_servers_fields_are_honoured() {
    let server = serve(quick());
    let tokens = |more: Value| {
        let mut body = json!({"model": "m", "messages": hello(), "logprobs": true, "top_logprobs": 2});
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        let whole = ok(&server, CHAT, &body);
        (whole["usage"]["completion_tokens"].as_u64().unwrap(), whole["choices"][0]["finish_reason"].clone())
    };
    assert_eq!(tokens(json!({"ignore_eos": true, "max_tokens": 40})), (40, json!("length")));
    assert_eq!(tokens(json!({"min_tokens": 20})), (20, json!("stop")));
    assert_eq!(tokens(json!({"min_tokens": 20, "max_tokens": 8})), (8, json!("length")));
    let tier = |tier: Value| {
        ok(&server, CHAT, &json!({"model": "m", "messages": hello(), "service_tier": tier}))["service_tier"]
            .clone()
    };
    assert_eq!(
        (tier(Value::Null), tier(json!("auto")), tier(json!("flex"))),
        (json!("default"), json!("default"), json!("flex"))
    );
    // Usage in every chunk.
    let options = json!({"include_usage": true, "continuous_usage_stats": true});
    let body = json!({"model": "m", "messages": hello(), "stream": true, "stream_options": options});
    let events = events(&call(&server, CHAT, &body));
    let counts: Vec<u64> =
        events.iter().filter_map(|(_, c)| c["usage"]["completion_tokens"].as_u64()).collect();
    assert_eq!(counts, [0, 1, 2, 3, 4, 5, 6, 6, 6]);
}

#[test]
fn stop_sequences_end_the_answer() {
    let server = serve(Profile { responses: vec!["one two three four".into()], ..quick() });
    for stop in [json!("three"), json!(["four", " three"])] {
        let whole = ok(&server, CHAT, &json!({"model": "m", "messages": hello(), "stop": stop}));
        let choice = &whole["choices"][0];
        assert_eq!(choice["message"]["content"].as_str().unwrap().trim_end(), "one two");
        assert_eq!(choice["finish_reason"], "stop");
    }
    // At the very beginning nothing is left.
    let body = json!({"model": "m", "messages": hello(), "stop": "one", "stream": true});
    let events = events(&call(&server, CHAT, &body));
    assert_eq!(events.last().unwrap().1, "[DONE]");
}

#[test]
fn images_and_files_are_accepted_and_counted() {
    let server = serve(quick());
    let content = json!([
        {"type": "text", "text": "hello"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    ]);
    let whole = ok(&server, CHAT, &json!({"model": "m", "messages": [{"role": "user", "content": content}]}));
    assert_eq!(whole["usage"]["prompt_tokens"], 258);
}

#[test]
fn azure_has_paths_filters_and_words_of_its_own() {
    let server = serve(quick());
    let chat = json!({"messages": hello()});
    let path = "/openai/deployments/mine/chat/completions?api-version=2024-10-21";
    let answer = call_with(&server, path, "api-key: k\r\n", &chat);
    let whole = answer.json();
    assert_eq!(whole["model"], "mine");
    assert!(whole["prompt_filter_results"][0]["content_filter_results"]["hate"].is_object());
    assert!(whole["choices"][0]["content_filter_results"]["violence"].is_object());
    assert!(answer.headers.contains_key("apim-request-id"));
    let path = "/openai/deployments/mine/completions?api-version=2024-10-21";
    assert_eq!(ok(&server, path, &json!({"prompt": "hello"}))["object"], "text_completion");
    for path in ["/openai/responses?api-version=2025-04-01-preview", "/openai/v1/responses"] {
        assert_eq!(ok(&server, path, &json!({"model": "mine", "input": "x"}))["object"], "response");
    }
    assert_eq!(
        ok(&server, "/openai/v1/chat/completions", &json!({"model": "m", "messages": hello()}))["model"],
        "m"
    );
    let answer = call_with(&server, path, "api-key: bad-key\r\n", &json!({"prompt": "hello"}));
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (401, &json!("401")));
    let missing = call(&server, "/openai/deployments/mock-missing/chat/completions", &chat);
    assert_eq!((missing.status, &missing.json()["error"]["code"]), (404, &json!("DeploymentNotFound")));
}
