//! What the bodies say, by small parsers of their own.

use aws_smithy_eventstream::frame::read_message_from;
use bench_mock::server::Protocol;
use serde_json::Value;

use super::raw::Answer;

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) reasoning: String,
    /// Name and arguments.
    pub(crate) calls: Vec<(String, Value)>,
    pub(crate) finish: String,
    /// Input with cached, cached, and output tokens.
    pub(crate) usage: Option<(u64, u64, u64)>,
    /// Streams only: the kinds of events in order.
    pub(crate) events: Vec<String>,
    /// Streams only: the protocol's terminal marker was there.
    pub(crate) terminated: bool,
    /// Streams only: an error object.
    pub(crate) error: Option<String>,
}

fn add(to: &mut String, piece: &Value) {
    to.push_str(piece.as_str().unwrap_or_default());
}

fn n(v: &Value) -> u64 {
    v.as_u64().unwrap_or(0)
}

/// Reads a body, whole or streamed.
#[track_caller]
pub(crate) fn said(protocol: Protocol, answer: &Answer, stream: bool) -> Said {
    assert_eq!(answer.status, 200, "{}", answer.text());
    match (protocol, stream) {
        (Protocol::OpenAi, false) => openai_whole(&answer.json()),
        (Protocol::OpenAi, true) => openai_stream(answer.text()),
        (Protocol::Anthropic, false) => anthropic_whole(&answer.json()),
        (Protocol::Anthropic, true) => anthropic_stream(answer.text()),
        (Protocol::Bedrock, false) => bedrock_whole(&answer.json()),
        (Protocol::Bedrock, true) => bedrock_stream(&answer.body),
        (Protocol::Ollama, _) => ollama(answer.text(), stream),
    }
}

fn openai_usage(u: &Value) -> Option<(u64, u64, u64)> {
    let cached = n(&u["prompt_tokens_details"]["cached_tokens"]);
    assert_eq!(n(&u["total_tokens"]), n(&u["prompt_tokens"]) + n(&u["completion_tokens"]));
    u.is_object().then(|| (n(&u["prompt_tokens"]), cached, n(&u["completion_tokens"])))
}

fn openai_whole(body: &Value) -> Said {
    let mut said = Said::default();
    let choice = &body["choices"][0];
    add(&mut said.text, &choice["message"]["content"]);
    add(&mut said.reasoning, &choice["message"]["reasoning_content"]);
    for call in choice["message"]["tool_calls"].as_array().into_iter().flatten() {
        let arguments = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        said.calls.push((call["function"]["name"].as_str().unwrap().to_owned(), arguments));
    }
    add(&mut said.finish, &choice["finish_reason"]);
    said.usage = openai_usage(&body["usage"]);
    said
}

/// Events of a stream: name and data.
pub(crate) fn sse(text: &str) -> Vec<(Option<&str>, &str)> {
    assert!(text.is_empty() || text.ends_with("\n\n"), "the last event is incomplete: {text:?}");
    let events = text.split_terminator("\n\n");
    events
        .map(|event| {
            let field = |name| event.lines().find_map(|l| l.strip_prefix(name));
            (field("event: "), field("data: ").unwrap_or_else(|| panic!("no data in {event:?}")))
        })
        .collect()
}

fn openai_stream(text: &str) -> Said {
    let mut said = Said::default();
    let mut calls: Vec<(String, String)> = Vec::new();
    for (_, data) in sse(text) {
        assert!(!said.terminated, "something follows [DONE]");
        if data == "[DONE]" {
            said.terminated = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).unwrap();
        if let Some(message) = chunk["error"]["message"].as_str() {
            said.error = Some(message.to_owned());
            continue;
        }
        if chunk["usage"].is_object() {
            assert_eq!(chunk["choices"], serde_json::json!([]));
            said.usage = openai_usage(&chunk["usage"]);
            said.events.push("usage".to_owned());
            continue;
        }
        let (delta, finish) = (&chunk["choices"][0]["delta"], &chunk["choices"][0]["finish_reason"]);
        let kind = if !delta["tool_calls"].is_null() {
            "call"
        } else if delta["content"].as_str().is_some_and(|t| !t.is_empty()) {
            "text"
        } else if !delta["reasoning_content"].is_null() {
            "reasoning"
        } else if !delta["role"].is_null() {
            "role"
        } else if finish.is_null() {
            "nothing"
        } else {
            "finish"
        };
        said.events.push(kind.to_owned());
        add(&mut said.text, &delta["content"]);
        add(&mut said.reasoning, &delta["reasoning_content"]);
        add(&mut said.finish, finish);
        for piece in delta["tool_calls"].as_array().into_iter().flatten() {
            let i = n(&piece["index"]) as usize;
            if calls.len() <= i {
                assert!(piece["id"].as_str().is_some_and(|id| id.starts_with("call_")));
                calls.resize_with(i + 1, Default::default);
            }
            add(&mut calls[i].0, &piece["function"]["name"]);
            add(&mut calls[i].1, &piece["function"]["arguments"]);
        }
    }
    said.calls = calls.into_iter().map(|(n, a)| (n, serde_json::from_str(&a).unwrap())).collect();
    said
}

fn anthropic_usage(u: &Value) -> Option<(u64, u64, u64)> {
    let cached = n(&u["cache_read_input_tokens"]);
    u.is_object().then(|| (n(&u["input_tokens"]) + cached, cached, n(&u["output_tokens"])))
}

fn anthropic_whole(body: &Value) -> Said {
    let mut said = Said::default();
    for block in body["content"].as_array().unwrap() {
        add(&mut said.text, &block["text"]);
        add(&mut said.reasoning, &block["thinking"]);
        if block["type"] == "tool_use" {
            said.calls.push((block["name"].as_str().unwrap().to_owned(), block["input"].clone()));
        }
    }
    add(&mut said.finish, &body["stop_reason"]);
    said.usage = anthropic_usage(&body["usage"]);
    said
}

fn anthropic_stream(text: &str) -> Said {
    let mut said = Said::default();
    let mut open: Option<u64> = None;
    let mut input = String::new();
    for (name, data) in sse(text) {
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["type"].as_str(), name, "event name and type agree");
        let name = name.unwrap();
        said.events.push(name.to_owned());
        match name {
            "message_start" => assert_eq!(event["message"]["content"], serde_json::json!([])),
            "content_block_start" => {
                assert_eq!(open, None, "blocks do not overlap");
                open = event["index"].as_u64();
                let block = &event["content_block"];
                if block["type"] == "tool_use" {
                    said.calls.push((block["name"].as_str().unwrap().to_owned(), Value::Null));
                }
            }
            "content_block_delta" => {
                assert_eq!(open, event["index"].as_u64(), "a delta belongs to the open block");
                add(&mut said.text, &event["delta"]["text"]);
                add(&mut said.reasoning, &event["delta"]["thinking"]);
                add(&mut input, &event["delta"]["partial_json"]);
            }
            "content_block_stop" => {
                assert_eq!(open.take(), event["index"].as_u64());
                if let Some(call) = said.calls.last_mut().filter(|_| !input.is_empty()) {
                    call.1 = serde_json::from_str(&std::mem::take(&mut input)).unwrap();
                }
            }
            "message_delta" => {
                add(&mut said.finish, &event["delta"]["stop_reason"]);
                said.usage = anthropic_usage(&event["usage"]);
            }
            "message_stop" => said.terminated = true,
            "error" => said.error = event["error"]["type"].as_str().map(str::to_owned),
            "ping" => {}
            other => panic!("{other}"),
        }
    }
    said
}

fn bedrock_usage(u: &Value) -> Option<(u64, u64, u64)> {
    let cached = n(&u["cacheReadInputTokens"]);
    u.is_object().then(|| (n(&u["inputTokens"]) + cached, cached, n(&u["outputTokens"])))
}

fn bedrock_whole(body: &Value) -> Said {
    let mut said = Said::default();
    for block in body["output"]["message"]["content"].as_array().unwrap() {
        add(&mut said.text, &block["text"]);
        add(&mut said.reasoning, &block["reasoningContent"]["reasoningText"]["text"]);
        if let Some(call) = block.get("toolUse") {
            said.calls.push((call["name"].as_str().unwrap().to_owned(), call["input"].clone()));
        }
    }
    add(&mut said.finish, &body["stopReason"]);
    said.usage = bedrock_usage(&body["usage"]);
    said
}

fn bedrock_stream(body: &[u8]) -> Said {
    let (mut said, mut rest, mut input) = (Said::default(), body, String::new());
    while !rest.is_empty() {
        let message = read_message_from(&mut rest).unwrap();
        let header = |name: &str| {
            let found = message.headers().iter().find(|h| h.name().as_str() == name);
            found.map(|h| h.value().as_string().unwrap().as_str().to_owned())
        };
        let payload: Value = serde_json::from_slice(message.payload()).unwrap();
        assert_eq!(header(":content-type").as_deref(), Some("application/json"));
        if header(":message-type").as_deref() == Some("exception") {
            said.error = header(":exception-type");
            continue;
        }
        let name = header(":event-type").unwrap();
        let delta = &payload["delta"];
        match name.as_str() {
            "contentBlockStart" => {
                let call = &payload["start"]["toolUse"];
                said.calls.push((call["name"].as_str().unwrap().to_owned(), Value::Null));
            }
            "contentBlockDelta" => {
                add(&mut said.text, &delta["text"]);
                add(&mut said.reasoning, &delta["reasoningContent"]["text"]);
                add(&mut input, &delta["toolUse"]["input"]);
            }
            "contentBlockStop" if !input.is_empty() => {
                said.calls.last_mut().unwrap().1 = serde_json::from_str(&std::mem::take(&mut input)).unwrap();
            }
            "messageStop" => add(&mut said.finish, &payload["stopReason"]),
            "metadata" => {
                said.usage = bedrock_usage(&payload["usage"]);
                assert!(payload["metrics"]["latencyMs"].is_u64());
                said.terminated = true;
            }
            _ => {}
        }
        said.events.push(name);
    }
    said
}

fn ollama(text: &str, stream: bool) -> Said {
    let mut said = Said::default();
    for line in text.lines() {
        assert!(!said.terminated, "something follows done: true");
        let line: Value = serde_json::from_str(line).unwrap();
        if let Some(error) = line["error"].as_str() {
            said.error = Some(error.to_owned());
            continue;
        }
        let message = &line["message"];
        add(&mut said.text, &message["content"]);
        add(&mut said.reasoning, &message["thinking"]);
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            let function = &call["function"];
            said.calls.push((function["name"].as_str().unwrap().to_owned(), function["arguments"].clone()));
        }
        said.terminated = line["done"] == true;
        said.events.push(if said.terminated { "done" } else { "line" }.to_owned());
        if said.terminated {
            add(&mut said.finish, &line["done_reason"]);
            said.usage = Some((n(&line["prompt_eval_count"]), 0, n(&line["eval_count"])));
            let parts = ["load_duration", "prompt_eval_duration", "eval_duration"].map(|d| n(&line[d]));
            assert!(n(&line["total_duration"]) >= parts.iter().sum(), "the parts fit into the whole");
        }
    }
    if !stream {
        assert!(std::mem::take(&mut said.terminated));
        said.events.clear();
    }
    said
}
