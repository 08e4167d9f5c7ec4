//! Models, versions, and what the mock tells about itself: answered at once, not in the truth log.

use serde_json::{Value, json};

use super::{
    Shared,
    auth::{self, Denied},
    config::Protocol,
    dialect::{Again, Reply, bedrock_count, count_tokens, input_tokens, no_response},
    local,
    read::Request,
    route::Route,
};
use crate::{
    profile::FaultKind,
    situation::{SITUATIONS, Situation},
};

/// The id of an answer to a request without one.
const ID: &str = "req_listing";

/// Names a client may look for in a listing; any other is answered too unless only listed ones are.
fn usual(protocol: Protocol) -> &'static [&'static str] {
    match protocol {
        Protocol::OpenAi => &["gpt-4o", "gpt-4o-mini", "gpt-4.1-mini"],
        Protocol::Anthropic => &["claude-haiku-4-5", "claude-sonnet-4-5"],
        Protocol::Bedrock => &[],
        Protocol::Ollama => &["llama3.2:latest"],
    }
}

/// The models that a listing names: usual ones, situations, and profiles of their own.
pub(super) fn names(shared: &Shared, protocol: Protocol) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    if !shared.config.only_listed_models {
        let situations = SITUATIONS.iter().map(|(name, _)| *name).filter(|name| *name != "mock-missing");
        names.extend(usual(protocol).iter().copied().chain(situations).map(str::to_owned));
    }
    for name in shared.engines.names() {
        if !names.iter().any(|n| n == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// Why a request about a model is not answered: there is none, or its name asks for that.
pub(super) fn denied(shared: &Shared, protocol: Protocol, model: &str, id: &str) -> Option<Reply> {
    let refused = Situation::named(model).filter(|_| !shared.engines.is_listed(model));
    if let Some((kind, status)) = refused.and_then(Situation::refusal) {
        return Some(Reply { status, ..protocol.refusal(kind, model, id, Again::default()) });
    }
    let found = shared.engines.find(protocol, model).is_some();
    (!found).then(|| {
        let reply = protocol.refusal(FaultKind::NotFound, model, id, Again::default());
        shared.engines.with_hint(model, reply)
    })
}

/// Whose manner a route has.
fn protocol_of(route: &Route, request: &Request) -> Option<Protocol> {
    Some(match route {
        Route::CountTokens => Protocol::Anthropic,
        Route::BedrockCount(_) => Protocol::Bedrock,
        Route::Models(_) if request.anthropic => Protocol::Anthropic,
        Route::Models(_) | Route::InputTokens | Route::Response(_) => Protocol::OpenAi,
        Route::OllamaTags
        | Route::OllamaPs
        | Route::OllamaShow
        | Route::OllamaPull
        | Route::OllamaEmbed
        | Route::OllamaVersion => Protocol::Ollama,
        Route::OllamaRoot | Route::Truth | Route::Profiles | Route::Nowhere(_) | Route::Chat(_) => {
            return None;
        }
    })
}

/// The answer to anything but chat.
pub(super) fn answer(shared: &Shared, route: &Route, request: &Request) -> Reply {
    let id = request.id.as_deref().unwrap_or(ID);
    let Some(protocol) = protocol_of(route, request) else { return other(shared, route, request) };
    match auth::check(shared, protocol, request) {
        Ok(()) => {}
        Err(Denied::Key) => return protocol.refusal(FaultKind::Auth, "", id, Again::default()),
        Err(Denied::Signature(reply)) => return reply,
    }
    let body = || -> Result<Value, Reply> {
        serde_json::from_slice(&request.body)
            .map_err(|e| protocol.invalid(&format!("could not parse the JSON body: {e}"), None))
    };
    let reply = match protocol {
        Protocol::Ollama => local::answer(shared, route, request),
        Protocol::Bedrock => body().map(|body| {
            let Route::BedrockCount(model) = route else { return protocol.invalid("unknown path", None) };
            let no = denied(shared, protocol, model, id);
            no.unwrap_or_else(|| bedrock_count(&body, model, request)).with("x-amzn-requestid", id)
        }),
        Protocol::OpenAi | Protocol::Anthropic => match route {
            Route::Models(None) => Ok(models(shared, protocol)),
            Route::Models(Some(name)) => Ok(denied(shared, protocol, name, id)
                .unwrap_or_else(|| Reply::json(200, &model(protocol, name)))),
            Route::Response(response) => Ok(no_response(response)),
            _ => body().map(|body| {
                let no = body["model"].as_str().and_then(|name| denied(shared, protocol, name, id));
                no.unwrap_or_else(|| match protocol {
                    Protocol::Anthropic => count_tokens(&body, request),
                    _ => input_tokens(&body),
                })
            }),
        },
    };
    let mut reply = reply.unwrap_or_else(|reply| reply);
    let name = match protocol {
        Protocol::Anthropic => "request-id",
        Protocol::OpenAi => "x-request-id",
        Protocol::Bedrock | Protocol::Ollama => return reply,
    };
    if !reply.headers.iter().any(|(n, _)| *n == name) {
        reply.headers.push((name, id.to_owned()));
    }
    reply
}

fn other(shared: &Shared, route: &Route, request: &Request) -> Reply {
    match route {
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
        Route::Nowhere(protocol) if *protocol != Protocol::Ollama => {
            let message = format!("Invalid URL ({} {})", request.method, request.path);
            Reply { status: 404, ..protocol.invalid(&message, None) }
        }
        _ => Reply {
            status: 404,
            content_type: "text/plain",
            body: b"404 page not found".to_vec(),
            ..Reply::default()
        },
    }
}

fn models(shared: &Shared, protocol: Protocol) -> Reply {
    let models: Vec<Value> = names(shared, protocol).iter().map(|name| model(protocol, name)).collect();
    if protocol == Protocol::OpenAi {
        return Reply::json(200, &json!({"object": "list", "data": models}));
    }
    let end = |model: Option<&Value>| model.map_or(Value::Null, |m| m["id"].clone());
    let (first, last) = (end(models.first()), end(models.last()));
    let body = json!({"data": models, "has_more": false, "first_id": first, "last_id": last});
    Reply::json(200, &body)
}

fn model(protocol: Protocol, name: &str) -> Value {
    if protocol == Protocol::OpenAi {
        return json!({"id": name, "object": "model", "created": 1_735_689_600, "owned_by": "simulated"});
    }
    let display = format!("{name} (simulated)");
    json!({"type": "model", "id": name, "display_name": display, "created_at": "2026-01-01T00:00:00Z"})
}
