//! Anthropic's messages in full: versions, thinking, caching, documents, stop sequences, structured answers, counts.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{PrefixCache, Profile};
use common::{
    endpoints::{call, call_with, events, names, ok, quick, serve, thinking},
    raw::{Client, post_with},
};
use serde_json::{Value, json};

const MESSAGES: &str = "/v1/messages";

fn body(more: &Value) -> Value {
    let mut body =
        json!({"model": "m", "max_tokens": 4096, "messages": [{"role": "user", "content": "hello"}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn the_version_header_is_wanted() {
    let server = serve(quick());
    for path in [MESSAGES, "/v1/messages/count_tokens"] {
        let answer = call_with(&server, path, "", &body(&json!({})));
        assert_eq!(answer.status, 400, "{path}");
        assert_eq!(answer.json()["error"]["message"], "anthropic-version: header is required");
    }
    let headers = "anthropic-version: 2023-06-01\r\nanthropic-beta: a-2025-01-01,b-2025-02-02\r\n";
    let request = post_with(MESSAGES, "r", headers, &body(&json!({})));
    assert_eq!(Client::connect(server.addr()).call(&request).unwrap().status, 200);
}

#[test]
fn thinking_is_signed() {
    let server = serve(thinking());
    let whole = ok(&server, MESSAGES, &body(&json!({})));
    assert_eq!(whole["content"][0]["type"], "thinking");
    assert_eq!(whole["usage"]["output_tokens_details"], json!({"thinking_tokens": 3}));
    let events = events(&call(&server, MESSAGES, &body(&json!({"stream": true}))));
    assert_eq!(
        names(&events),
        [
            "message_start",
            "content_block_start",
            "ping",
            "content_block_delta",
            "content_block_stop",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let signatures: Vec<_> = events
        .iter()
        .filter(|(_, d)| d["delta"]["type"] == "signature_delta")
        .map(|(_, d)| &d["delta"])
        .collect();
    assert_eq!((signatures.len(), &signatures[0]["signature"]), (1, &whole["content"][0]["signature"]));
    // Asked for, it comes also where the profile has none; and the other way round.
    let plain = serve(quick());
    let on = body(&json!({"thinking": {"type": "enabled", "budget_tokens": 5}}));
    let whole = ok(&plain, MESSAGES, &on);
    assert_eq!(whole["content"][0]["thinking"].as_str().unwrap().split(' ').count(), 5);
    let off = body(&json!({"thinking": {"type": "disabled"}}));
    assert_eq!(ok(&server, MESSAGES, &off)["content"][0]["type"], "text");
}

#[test]
fn marked_prefixes_are_created_and_then_read() {
    let rules = PrefixCache { min_tokens: 64, ..PrefixCache::marked() };
    let server = serve(Profile { prefix_cache: Some(rules), ..quick() });
    let system = json!([{"type": "text", "text": "s".repeat(4000), "cache_control": {"type": "ephemeral"}}]);
    let usage = |stream: bool| -> Value {
        let request = body(&json!({"system": system, "stream": stream}));
        let answer = call(&server, MESSAGES, &request);
        if stream { events(&answer)[0].1["message"]["usage"].clone() } else { answer.json()["usage"].clone() }
    };
    let of = |u: &Value| {
        ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]
            .map(|f| u[f].as_u64().unwrap())
    };
    let (first, second) = (usage(false), usage(true));
    let [input, created, read] = of(&first);
    assert_eq!((created, read), (1000, 0), "{first}");
    assert_eq!(first["cache_creation"]["ephemeral_5m_input_tokens"], 1000);
    assert_eq!(of(&second), [input, 0, 1000], "{second}");
}

#[test]
fn documents_and_images_are_accepted_and_counted() {
    let server = serve(quick());
    let count = |content: Value| {
        let whole =
            ok(&server, MESSAGES, &body(&json!({"messages": [{"role": "user", "content": content}]})));
        let counted = ok(
            &server,
            "/v1/messages/count_tokens",
            &json!({"model": "m", "messages": [{"role": "user", "content": content}]}),
        );
        assert_eq!(whole["usage"]["input_tokens"], counted["input_tokens"]);
        counted["input_tokens"].as_u64().unwrap()
    };
    assert_eq!(count(json!("hello")), 2);
    assert_eq!(count(json!([{"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}])), 257);
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "A".repeat(400)});
    assert_eq!(count(json!([{"type": "document", "source": pdf}])), 75);
}

#[test]
fn stop_sequences_are_named() {
    let server = serve(Profile { responses: vec!["one two three four".into()], ..quick() });
    let stop = json!({"stop_sequences": ["four", "three"]});
    let whole = ok(&server, MESSAGES, &body(&stop));
    assert_eq!(whole["content"][0]["text"], "one two ");
    assert_eq!((&whole["stop_reason"], &whole["stop_sequence"]), (&json!("stop_sequence"), &json!("three")));
    let mut stop = stop;
    stop["stream"] = true.into();
    let events = events(&call(&server, MESSAGES, &body(&stop)));
    let delta = &events.iter().find(|(name, _)| name == "message_delta").unwrap().1["delta"];
    assert_eq!((&delta["stop_reason"], &delta["stop_sequence"]), (&json!("stop_sequence"), &json!("three")));
}

#[test]
fn answers_fit_the_schema_asked_for() {
    let server = serve(quick());
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    let format = json!({"type": "json_schema", "schema": schema});
    for more in [json!({"output_config": {"format": format}}), json!({"output_format": format})] {
        let whole = ok(&server, MESSAGES, &body(&more));
        let value: Value = serde_json::from_str(whole["content"][0]["text"].as_str().unwrap()).unwrap();
        assert!(value["n"].is_i64());
    }
}

#[test]
fn tools_stream_their_input_in_pieces() {
    let server = serve(quick());
    let tool = json!({"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {}}}});
    let more = json!({"tools": [tool], "tool_choice": {"type": "any"}, "stream": true});
    let events = events(&call(&server, MESSAGES, &body(&more)));
    let start = &events.iter().find(|(name, _)| name == "content_block_start").unwrap().1["content_block"];
    assert_eq!((&start["type"], &start["input"]), (&json!("tool_use"), &json!({})));
    let pieces: Vec<&str> = events.iter().filter_map(|(_, d)| d["delta"]["partial_json"].as_str()).collect();
    assert!(pieces.len() > 1);
    let input: Value = serde_json::from_str(&pieces.concat()).unwrap();
    assert!(input.is_object());
}

#[test]
fn models_are_listed_in_anthropics_way() {
    let server = serve(quick());
    let get = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nanthropic-version: 2023-06-01\r\n\r\n");
        Client::connect(server.addr()).call(request.as_bytes()).unwrap()
    };
    let list = get("/v1/models?limit=1000").json();
    assert_eq!(list["has_more"], false);
    assert_eq!(get("/v1/models/mock-json").json()["type"], "model");
    assert_eq!(get("/v1/models/mock-missing").status, 404);
}
