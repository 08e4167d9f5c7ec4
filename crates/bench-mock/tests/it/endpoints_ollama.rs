//! Ollama's endpoints: chat and generate with thinking, formats and images, and what it tells about its models.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::Profile;
use common::{
    endpoints::{call, lines, ok, quick, serve, thinking},
    raw::get,
};
use serde_json::{Value, json};

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";

fn chat(more: &Value) -> Value {
    let mut body = json!({"model": "m", "stream": false, "messages": [{"role": "user", "content": "hello"}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn generate_says_the_same_whole_and_streamed() {
    let server = serve(quick());
    let body = json!({"model": "m", "prompt": "hello", "system": "be short", "stream": false});
    let whole = ok(&server, GENERATE, &body);
    assert_eq!((&whole["done"], &whole["done_reason"]), (&json!(true), &json!("stop")));
    assert_eq!((&whole["prompt_eval_count"], &whole["eval_count"]), (&json!(4), &json!(6)));
    assert_eq!(whole["context"].as_array().unwrap().len(), 10);
    let lines =
        lines(&call(&server, GENERATE, &json!({"model": "m", "prompt": "hello", "system": "be short"})));
    let (last, pieces) = lines.split_last().unwrap();
    let text: String = pieces.iter().map(|l| l["response"].as_str().unwrap()).collect();
    assert_eq!((pieces.len(), &json!(text)), (6, &whole["response"]));
    assert!(pieces.iter().all(|l| l["done"] == false && l.get("context").is_none()));
    assert_eq!((&last["response"], &last["context"]), (&json!(""), &whole["context"]));
    let parts = ["load_duration", "prompt_eval_duration", "eval_duration"].map(|d| last[d].as_u64().unwrap());
    let total = last["total_duration"].as_u64().unwrap();
    // 10 ms to the first token, then six gaps of a millisecond.
    assert!((16_000_000..17_000_000).contains(&parts.iter().sum::<u64>()) && total >= 16_000_000, "{last}");
    // Raw: no template, so no conversation to go on with. A context of earlier ones counts.
    let raw = ok(&server, GENERATE, &json!({"model": "m", "prompt": "hello", "raw": true, "stream": false}));
    assert!(raw.get("context").is_none());
    let body = json!({"model": "m", "prompt": "hello", "context": [1, 2, 3], "stream": false});
    assert_eq!(ok(&server, GENERATE, &body)["prompt_eval_count"], 5);
}

#[test]
fn thinking_can_be_switched() {
    let (plain, thinks) = (serve(quick()), serve(thinking()));
    for (server, think, tokens) in [
        (&plain, Value::Null, None),
        (&plain, json!(true), Some(16)),
        (&plain, json!("low"), Some(8)),
        (&plain, json!("high"), Some(16)),
        (&thinks, Value::Null, Some(3)),
        (&thinks, json!(false), None),
    ] {
        let words = |v: &Value| v.as_str().map(|t| t.split(' ').count());
        let whole = ok(server, CHAT, &chat(&json!({"think": think})));
        assert_eq!(words(&whole["message"]["thinking"]), tokens, "{think}");
        let body = json!({"model": "m", "prompt": "hello", "think": think, "stream": false});
        assert_eq!(words(&ok(server, GENERATE, &body)["thinking"]), tokens, "{think}");
    }
    let lines = lines(&call(&thinks, GENERATE, &json!({"model": "m", "prompt": "hello"})));
    assert_eq!(lines.iter().filter(|l| l["thinking"].is_string()).count(), 3);
}

#[test]
fn formats_images_and_stops_are_honoured() {
    let server = serve(quick());
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    for (format, fits) in [(json!("json"), false), (schema, true)] {
        let whole = ok(&server, CHAT, &chat(&json!({"format": format})));
        let value: Value = serde_json::from_str(whole["message"]["content"].as_str().unwrap()).unwrap();
        assert!(value.is_object() && (!fits || value["n"].is_i64()));
        let body = json!({"model": "m", "prompt": "hello", "format": format, "stream": false});
        let whole = ok(&server, GENERATE, &body);
        assert!(serde_json::from_str::<Value>(whole["response"].as_str().unwrap()).unwrap().is_object());
    }
    let message = json!([{"role": "user", "content": "hello", "images": ["AAAA", "BBBB"]}]);
    let whole = ok(&server, CHAT, &chat(&json!({"messages": message, "format": ""})));
    assert_eq!(whole["prompt_eval_count"], 2 + 512);
    let body = json!({"model": "m", "prompt": "hello", "images": ["AAAA"], "stream": false});
    assert_eq!(ok(&server, GENERATE, &body)["prompt_eval_count"], 2 + 256);
    let said = serve(Profile { responses: vec!["one two three".into()], ..quick() });
    let whole = ok(&said, CHAT, &chat(&json!({"options": {"stop": ["two"]}})));
    assert_eq!((&whole["message"]["content"], &whole["done_reason"]), (&json!("one "), &json!("stop")));
    let body = json!({"model": "m", "prompt": "x", "stream": false, "options": {"num_predict": 1}});
    assert_eq!(ok(&said, GENERATE, &body)["done_reason"], "length");
}

#[test]
fn models_are_loaded_kept_and_unloaded() {
    let server = serve(quick());
    let loaded = || {
        let models = get(&server, "/api/ps").json()["models"].clone();
        let names = models.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), models)
    };
    assert_eq!(loaded().0, Vec::<String>::new());
    let load = ok(&server, CHAT, &json!({"model": "a", "messages": []}));
    assert_eq!((&load["done_reason"], &load["done"]), (&json!("load"), &json!(true)));
    ok(&server, GENERATE, &json!({"model": "b:1b", "prompt": "x", "stream": false, "keep_alive": "24h"}));
    ok(&server, CHAT, &chat(&json!({"model": "c", "keep_alive": -1})));
    let (names, models) = loaded();
    assert_eq!(names, ["a:latest", "b:1b", "c:latest"]);
    let until: Vec<&str> =
        models.as_array().unwrap().iter().map(|m| m["expires_at"].as_str().unwrap()).collect();
    assert!(until[0] < until[1] && until[1] < until[2] && until[2] > "2300", "{until:?}");
    let unload = ok(&server, GENERATE, &json!({"model": "a", "keep_alive": 0}));
    assert_eq!((&unload["done_reason"], &unload["response"]), (&json!("unload"), &json!("")));
    assert_eq!(loaded().0, ["b:1b", "c:latest"]);
    let bad = call(&server, CHAT, &chat(&json!({"keep_alive": "soon"})));
    assert_eq!(bad.status, 400);
}

#[test]
fn models_are_shown_listed_pulled_and_embedded() {
    let server = serve(quick());
    let show = ok(&server, "/api/show", &json!({"model": "mock-thinking"}));
    assert!(show["capabilities"].as_array().unwrap().contains(&json!("thinking")));
    let pulled = lines(&call(&server, "/api/pull", &json!({"model": "anything"})));
    let status: Vec<&str> = pulled.iter().map(|l| l["status"].as_str().unwrap()).collect();
    assert_eq!((status[0], *status.last().unwrap()), ("pulling manifest", "success"));
    let whole = ok(&server, "/api/pull", &json!({"model": "anything", "stream": false}));
    assert_eq!(whole, json!({"status": "success"}));
    let missing = lines(&call(&server, "/api/pull", &json!({"model": "mock-missing"})));
    assert!(missing[1]["error"].is_string());
    let embedded = ok(&server, "/api/embed", &json!({"model": "m", "input": ["a", "b", "a"]}));
    let vectors = embedded["embeddings"].as_array().unwrap();
    assert!(vectors[0] == vectors[2] && vectors[0] != vectors[1]);
    for path in [CHAT, GENERATE, "/api/show"] {
        let answer = call(&server, path, &chat(&json!({"model": "mock-missing", "prompt": "x"})));
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.json()["error"], "model \"mock-missing\" not found, try pulling it first");
    }
    assert_eq!(call(&server, GENERATE, &json!({"prompt": "x"})).json()["error"], "model is required");
}
