//! What the vendors were recorded to send, the mock sends too: every field that at least half of the recorded
//! objects of a kind have (`recordings/fields.json`).
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::collections::{BTreeMap, BTreeSet};

use bench_mock::server::Server;
use common::{
    endpoints::{call, events, frames, lines, ok, quick, serve},
    raw::get,
};
use serde_json::{Value, json};

/// By endpoint and kind: paths.
type Fields = BTreeMap<(String, String), BTreeSet<String>>;

fn recorded() -> Fields {
    let text = include_str!("../recordings/fields.json");
    let file: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(text).unwrap();
    let of = |(endpoint, kinds): (String, BTreeMap<String, String>)| {
        kinds.into_iter().map(move |(kind, fields)| {
            ((endpoint.clone(), kind), fields.split(' ').map(str::to_owned).collect())
        })
    };
    file.into_iter().flat_map(of).collect()
}

fn add(to: &mut BTreeSet<String>, value: &Value, at: &str) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = format!("{at}.{name}");
                add(to, value, &path);
                to.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| add(to, item, &format!("{at}[]"))),
        _ => {}
    }
}

/// What has been said so far.
struct Said {
    server: Server,
    fields: Fields,
}

impl Said {
    fn note(&mut self, endpoint: &str, kind: &str, value: &Value) {
        add(self.fields.entry((endpoint.to_owned(), kind.to_owned())).or_default(), value, "");
    }

    fn whole(&mut self, endpoint: &str, path: &str, body: &Value) {
        let whole = ok(&self.server, path, body);
        let family = match () {
            () if endpoint != "/model/*/invoke" => "",
            () if whole.get("results").is_some() => ":titan",
            () if whole.get("generation").is_some() => ":llama",
            () if whole.get("stop_reason").is_some() => ":claude",
            () => ":nova",
        };
        self.note(endpoint, &format!("whole{family}"), &whole);
    }

    fn stream(&mut self, endpoint: &str, path: &str, body: &Value) {
        let answer = call(&self.server, path, body);
        if path.starts_with("/api/") {
            for line in lines(&answer) {
                self.note(endpoint, if line["done"] == true { "done" } else { "line" }, &line);
            }
        } else if path.starts_with("/model/") {
            for (kind, frame) in frames(&answer) {
                if kind != "chunk" {
                    self.note(endpoint, &kind, &frame);
                    continue;
                }
                let own = frame.as_object().unwrap().keys().next().unwrap().clone();
                let kind = frame["type"].as_str().map_or(own, str::to_owned);
                let kind = if frame.get("outputText").is_some() { "titan".to_owned() } else { kind };
                self.note(endpoint, &format!("chunk:{kind}"), &frame);
            }
        } else {
            for (name, event) in events(&answer) {
                self.note(endpoint, if name.is_empty() { "line" } else { &name }, &event);
            }
        }
    }
}

#[test]
fn every_recorded_field_is_said() {
    let mut said = Said { server: serve(quick()), fields: Fields::new() };
    let hello = json!([{"role": "user", "content": "hello"}]);
    let parts = json!([{"role": "user", "content": [{"text": "hello"}]}]);
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    for model in ["mock", "mock-tool-calls", "mock-thinking"] {
        for stream in [false, true] {
            let invoke = if stream { "invoke-with-response-stream" } else { "invoke" };
            let converse = if stream { "converse-stream" } else { "converse" };
            let azure = "/openai/deployments/*/chat/completions";
            let (invokes, converses) = (format!("/model/*/{invoke}"), format!("/model/*/{converse}"));
            let (invoke, converse) =
                (format!("/model/{model}/{invoke}"), format!("/model/{model}/{converse}"));
            let tool = json!({"type": "function", "name": "get_weather", "parameters": schema});
            let choice = if model == "mock" { "none" } else { "auto" };
            let with = |mut body: Value| {
                body["model"] = model.into();
                body["stream"] = stream.into();
                body
            };
            let mut chat = with(json!({"messages": hello}));
            if stream {
                chat["stream_options"] = json!({"include_usage": true});
            }
            let claude =
                json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": hello});
            let calls: [(&str, &str, Value); 11] = [
                ("/v1/chat/completions", "/v1/chat/completions", chat.clone()),
                (azure, &azure.replace('*', model), chat),
                (
                    "/v1/responses",
                    "/v1/responses",
                    with(json!({"input": "hello", "tools": [tool], "tool_choice": choice})),
                ),
                ("/v1/completions", "/v1/completions", with(json!({"prompt": "hello"}))),
                ("/v1/messages", "/v1/messages", with(json!({"max_tokens": 50, "messages": hello}))),
                (&converses, &converse, json!({"messages": parts})),
                (&invokes, &invoke, claude),
                (&invokes, &invoke, json!({"inputText": "hello"})),
                (&invokes, &invoke, json!({"prompt": "hello"})),
                (&invokes, &invoke, json!({"messages": parts, "inferenceConfig": {}})),
                ("/api/chat", "/api/chat", with(json!({"messages": hello}))),
            ];
            for (endpoint, path, body) in &calls {
                if stream { said.stream(endpoint, path, body) } else { said.whole(endpoint, path, body) }
            }
            let generate = with(json!({"prompt": "hello"}));
            if stream {
                said.stream("/api/generate", "/api/generate", &generate);
            } else {
                said.whole("/api/generate", "/api/generate", &generate);
            }
        }
    }
    for (path, body) in [
        ("/api/show", json!({"model": "m"})),
        ("/v1/messages/count_tokens", json!({"model": "m", "messages": hello})),
        ("/v1/responses/input_tokens", json!({"model": "m", "input": "hello"})),
    ] {
        said.whole(path, path, &body);
    }
    let count = json!({"input": {"converse": {"messages": parts}}});
    said.whole("/model/*/count-tokens", "/model/m/count-tokens", &count);
    for path in ["/api/tags", "/api/ps"] {
        let listed = get(&said.server, path).json();
        said.note(path, "whole", &listed);
    }
    let nothing = BTreeSet::new();
    let mut missing = Vec::new();
    for (kind, fields) in recorded() {
        let own = said.fields.get(&kind).unwrap_or(&nothing);
        missing.extend(fields.difference(own).map(|field| format!("{} {} {field}", kind.0, kind.1)));
    }
    assert!(missing.is_empty(), "recorded, but not said:\n{}", missing.join("\n"));
}
