//! What a local server tells about its models: Ollama's tags, ps, show, pull, embed and version.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::{
    Shared,
    config::Protocol,
    dialect::Reply,
    listing::{denied, names},
    read::Request,
    recall::tagged,
    route::Route,
};
use crate::situation::Situation;

/// Bytes of a model, as a small one has them; clients show it, and some take 0 for absent.
const SIZE: u64 = 2_019_393_189;
/// Numbers in an embedding.
const DIMENSIONS: u64 = 64;

/// The answer to one of these routes.
pub(super) fn answer(shared: &Shared, route: &Route, request: &Request) -> Result<Reply, Reply> {
    Ok(match route {
        Route::OllamaTags => {
            let all = names(shared, Protocol::Ollama);
            ollama(&json!({"models": all.iter().map(|name| tag(name)).collect::<Vec<_>>()}))
        }
        Route::OllamaPs => {
            let loaded =
                shared.recall.loaded(shared.wall(request.arrival)).into_iter().map(|(name, until)| {
                    let until = until.format(&Rfc3339).unwrap_or_default();
                    json!({
                        "name": name, "model": name, "size": SIZE, "digest": digest(&name), "details": details(),
                        "expires_at": until, "size_vram": 0
                    })
                });
            ollama(&json!({"models": loaded.collect::<Vec<_>>()}))
        }
        Route::OllamaVersion => ollama(&json!({"version": "0.9.3"})),
        Route::OllamaShow => {
            let (_, name) = asked(shared, request)?;
            let mut capabilities = vec!["completion", "tools", "vision"];
            if matches!(Situation::named(&name), Some(Situation::Thinking(_))) {
                capabilities.push("thinking");
            }
            ollama(&json!({
                "modelfile": "# simulated",
                "parameters": "",
                "template": "{{ .Prompt }}",
                "details": details(),
                "model_info": {"general.architecture": "simulated", "simulated.context_length": 131_072},
                "capabilities": capabilities,
                "modified_at": "2026-01-01T00:00:00Z"
            }))
        }
        Route::OllamaPull => pull(shared, request)?,
        _ => {
            let (body, name) = asked(shared, request)?;
            embed(&body, &name)
        }
    })
}

/// The body, and the model that it names.
fn asked(shared: &Shared, request: &Request) -> Result<(Value, String), Reply> {
    let body: Value = serde_json::from_slice(&request.body)
        .map_err(|e| Protocol::Ollama.invalid(&format!("could not parse the JSON body: {e}"), None))?;
    let name = body["model"].as_str().or(body["name"].as_str()).unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(Protocol::Ollama.invalid("model is required", None));
    }
    let id = request.id.as_deref().unwrap_or("req_listing");
    match denied(shared, Protocol::Ollama, &name, id) {
        Some(reply) => Err(reply),
        None => Ok((body, name)),
    }
}

/// Fetches nothing, and says what fetching would.
fn pull(shared: &Shared, request: &Request) -> Result<Reply, Reply> {
    let found = asked(shared, request);
    if let Err(reply) = &found
        && reply.status != 404
    {
        return found.map(|_| Reply::default());
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let mut lines = vec![json!({"status": "pulling manifest"})];
    let missing = json!({"error": "pull model manifest: file does not exist"});
    if let Ok((_, name)) = found {
        let digest = digest(&name);
        for completed in [0, 1024] {
            lines.push(json!({
                "status": format!("pulling {}", &digest[..12]), "digest": format!("sha256:{digest}"),
                "total": 1024, "completed": completed
            }));
        }
        lines.extend(
            ["verifying sha256 digest", "writing manifest", "success"]
                .map(|status| json!({"status": status})),
        );
    } else if body["stream"] == false {
        let reply = Reply::json(500, &missing);
        return Err(Reply { content_type: "application/json; charset=utf-8", ..reply });
    } else {
        lines.push(missing);
    }
    if body["stream"] == false {
        return Ok(ollama(lines.last().unwrap_or(&Value::Null)));
    }
    let body = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
    Ok(Reply { status: 200, content_type: "application/x-ndjson", body, ..Reply::default() })
}

/// Embeddings of unit length, the same for the same text.
fn embed(body: &Value, name: &str) -> Reply {
    let texts: Vec<&str> = match &body["input"] {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let vector = |text: &str| -> Vec<f64> {
        let seed = crate::draw::key(0, text, crate::draw::Identity::Number(0));
        let angles = (0..DIMENSIONS).map(|i| (seed >> (i % 32)) as f64 * (i + 1) as f64 / 1e9);
        let numbers: Vec<f64> = angles.map(f64::sin).collect();
        let length = numbers.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
        numbers.into_iter().map(|x| (x / length * 1e6).round() / 1e6).collect()
    };
    let tokens: u32 = texts.iter().map(|text| crate::words::count(text.len())).sum();
    ollama(&json!({
        "model": name,
        "embeddings": texts.iter().map(|text| vector(text)).collect::<Vec<_>>(),
        "total_duration": 1_000_000, "load_duration": 500_000, "prompt_eval_count": tokens
    }))
}

fn details() -> Value {
    json!({
        "parent_model": "", "format": "simulated", "family": "simulated", "families": ["simulated"],
        "parameter_size": "0B", "quantization_level": "none"
    })
}

/// 64 hexadecimal digits that tell names apart.
fn digest(name: &str) -> String {
    let part = |n| crate::draw::key(n, name, crate::draw::Identity::Number(n));
    format!("{:016x}{:016x}{:016x}{:016x}", part(0), part(1), part(2), part(3))
}

fn tag(name: &str) -> Value {
    let name = tagged(name);
    json!({
        "name": name, "model": name, "modified_at": "2026-01-01T00:00:00Z", "size": SIZE, "digest": digest(&name),
        "details": details()
    })
}

fn ollama(body: &Value) -> Reply {
    Reply { content_type: "application/json; charset=utf-8", ..Reply::json(200, body) }
}
