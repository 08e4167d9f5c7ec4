//! Models, versions, and what the mock tells about itself: answered at once, not in the truth log.

use serde_json::{Value, json};

use super::{
    Shared,
    config::Protocol,
    dialect::{Reply, count_tokens},
    read::Request,
    route::Route,
};
use crate::profile::FaultKind;

/// Names a client may look for in a listing; any other is answered too unless only listed ones are.
fn usual(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::OpenAi => &["gpt-4o", "gpt-4o-mini", "gpt-4.1-mini"],
        Protocol::Anthropic => &["claude-haiku-4-5", "claude-sonnet-4-5"],
        Protocol::Bedrock => &[],
        Protocol::Ollama => &["llama3.2:latest"],
    }
}

fn names(shared: &Shared, protocol: Protocol) -> Vec<String> {
    let usual = if shared.config.only_listed_models { &[] } else { usual(protocol) };
    let usual = usual.iter().map(|name| (*name).to_owned());
    usual.chain(shared.engines.names().map(str::to_owned)).collect()
}

/// The answer to anything but chat.
pub(super) fn answer(shared: &Shared, route: &Route, request: &Request) -> Reply {
    let id = "req_listing";
    match route {
        Route::CountTokens => count_tokens(&request.body, id),
        Route::Models(None) if request.anthropic => {
            let models: Vec<_> = names(shared, Protocol::Anthropic).iter().map(|n| anthropic(n)).collect();
            let end = |model: Option<&Value>| model.map_or(Value::Null, |m| m["id"].clone());
            let (first, last) = (end(models.first()), end(models.last()));
            let body = json!({"data": models, "has_more": false, "first_id": first, "last_id": last});
            Reply::json(200, &body).with("request-id", id)
        }
        Route::Models(None) => {
            let models: Vec<_> = names(shared, Protocol::OpenAi).iter().map(|n| openai(n)).collect();
            Reply::json(200, &json!({"object": "list", "data": models})).with("x-request-id", id)
        }
        Route::Models(Some(name)) => {
            let protocol = if request.anthropic { Protocol::Anthropic } else { Protocol::OpenAi };
            if shared.engines.find(protocol, name).is_none() {
                return protocol.refusal(FaultKind::NotFound, name, id, None);
            }
            Reply::json(200, &if request.anthropic { anthropic(name) } else { openai(name) })
        }
        Route::BedrockCount(_) | Route::InputTokens | Route::Response(_) => {
            Protocol::OpenAi.refusal(FaultKind::NotFound, "", id, None)
        }
        Route::OllamaPull | Route::OllamaEmbed => Protocol::Ollama.refusal(FaultKind::NotFound, "", id, None),
        Route::OllamaTags => ollama(&json!({"models": tags(shared)})),
        Route::OllamaPs => ollama(&json!({"models": []})),
        Route::OllamaVersion => ollama(&json!({"version": "0.9.3"})),
        Route::OllamaShow => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let name = body["model"].as_str().or(body["name"].as_str()).unwrap_or_default();
            if name.is_empty() || shared.engines.find(Protocol::Ollama, name).is_none() {
                return Protocol::Ollama.refusal(FaultKind::NotFound, name, id, None);
            }
            ollama(&json!({
                "modelfile": "# simulated",
                "parameters": "",
                "template": "{{ .Prompt }}",
                "details": details(),
                "model_info": {"general.architecture": "simulated", "simulated.context_length": 131_072},
                "capabilities": ["completion", "tools"],
                "modified_at": "2026-01-01T00:00:00Z"
            }))
        }
        Route::OllamaRoot => Reply {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            body: if request.method == "HEAD" { Vec::new() } else { b"Ollama is running".to_vec() },
            ..Reply::default()
        },
        Route::Truth => {
            let mut body = Vec::new();
            for record in shared.log.records() {
                serde_json::to_writer(&mut body, &record)
                    .expect("invariant: writing to memory does not fail");
                body.push(b'\n');
            }
            Reply { status: 200, content_type: "application/x-ndjson", body, ..Reply::default() }
        }
        Route::Profiles => {
            let mut profiles = serde_json::Map::new();
            for (name, handle) in shared.engines.handles() {
                profiles.insert(name, serde_json::to_value(handle.get()).unwrap_or_default());
            }
            Reply::json(200, &profiles.into())
        }
        Route::Nowhere(Protocol::Ollama) => Reply {
            status: 404,
            content_type: "text/plain",
            body: b"404 page not found".to_vec(),
            ..Reply::default()
        },
        Route::Nowhere(protocol) => {
            let message = format!("Invalid URL ({} {})", request.method, request.path);
            Reply { status: 404, ..protocol.invalid(&message, None) }
        }
        Route::Chat(_) => Reply { status: 500, content_type: "text/plain", ..Reply::default() },
    }
}

fn openai(name: &str) -> Value {
    json!({"id": name, "object": "model", "created": 1_735_689_600, "owned_by": "simulated"})
}

fn anthropic(name: &str) -> Value {
    let display = format!("{name} (simulated)");
    json!({"type": "model", "id": name, "display_name": display, "created_at": "2026-01-01T00:00:00Z"})
}

fn details() -> Value {
    json!({
        "parent_model": "", "format": "simulated", "family": "simulated", "families": ["simulated"],
        "parameter_size": "0B", "quantization_level": "none"
    })
}

fn tags(shared: &Shared) -> Vec<Value> {
    let tag = |name: String| {
        let name = if name.contains(':') { name } else { format!("{name}:latest") };
        json!({
            "name": name, "model": name, "modified_at": "2026-01-01T00:00:00Z", "size": 0,
            "digest": "0".repeat(64), "details": details()
        })
    };
    names(shared, Protocol::Ollama).into_iter().map(tag).collect()
}

fn ollama(body: &Value) -> Reply {
    Reply { content_type: "application/json; charset=utf-8", ..Reply::json(200, body) }
}
