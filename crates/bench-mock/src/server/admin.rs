//! Changing a running server over HTTP: profiles by protocol or model, and back to how it started.
//!
//! | request | does |
//! | --- | --- |
//! | `GET /mock/config` | all profiles, by name |
//! | `GET /mock/config/{name}` | one; a protocol's or a model's |
//! | `PUT /mock/config[/{name}]` | replaces one, or all that are named; absent fields are the defaults, or the `preset`'s |
//! | `PATCH /mock/config[/{name}]` | changes the fields that are given; a field is replaced as a whole |
//! | `POST /mock/reset` | profiles, counters, limits, caches and truth log as at the start |
//!
//! A change is checked as a whole before any of it is made, and concerns requests that arrive after it. Only for
//! loopback: a server that listens elsewhere answers 403 unless told otherwise.

use llms_core::config::ConfigErrors;
use serde_json::{Map, Value, json};

use super::{Shared, config::over, dialect::Reply, read::Request, route::percent_decode};
use crate::profile::Profile;

/// The answer, where the path is one of ours.
pub(super) fn answer(shared: &Shared, request: &Request) -> Option<Reply> {
    let rest = request.path.strip_prefix("/mock/")?;
    let (what, name) = rest.split_once('/').unwrap_or((rest, ""));
    if !matches!(what, "config" | "reset") {
        return None;
    }
    let config = &shared.config;
    if !config.bind.ip().is_loopback() && !config.allow_remote_admin {
        let message = "this server listens beyond loopback: it is not to be changed from elsewhere; start it with \
                       leave for that, or on 127.0.0.1";
        return Some(error(403, message, &ConfigErrors::default()));
    }
    let name = percent_decode(name);
    Some(match (request.method.as_str(), what) {
        ("GET", "config") => get(shared, &name),
        ("PUT" | "PATCH", "config") => match change(shared, request, &name) {
            Ok(()) => get(shared, &name),
            Err(reply) => reply,
        },
        ("POST", "reset") if name.is_empty() => {
            shared.engines.reset();
            shared.recall.clear();
            shared.log.take();
            Reply::json(200, &json!({"reset": true}))
        }
        _ => {
            let message = "expected GET, PUT or PATCH of /mock/config[/{name}], or POST of /mock/reset";
            error(405, message, &ConfigErrors::default())
        }
    })
}

fn error(status: u16, message: &str, errors: &ConfigErrors) -> Reply {
    let fields: Vec<_> = errors
        .errors
        .iter()
        .map(|e| json!({"field": e.field, "message": e.message, "found": e.found}))
        .collect();
    Reply::json(status, &json!({"error": {"message": message, "fields": fields}}))
}

fn unknown(shared: &Shared, name: &str) -> Reply {
    let handles = shared.engines.handles();
    let known: Vec<_> = handles.iter().map(|(name, _)| name.as_str()).collect();
    let message = format!("there is no profile `{name}`; expected one of {}", known.join(", "));
    error(404, &message, &ConfigErrors::default())
}

fn get(shared: &Shared, name: &str) -> Reply {
    let value = |profile: Profile| serde_json::to_value(profile).unwrap_or_default();
    if !name.is_empty() {
        return match shared.engines.handle(name) {
            Some(handle) => Reply::json(200, &value(handle.get())),
            None => unknown(shared, name),
        };
    }
    let all: Map<String, Value> =
        shared.engines.handles().into_iter().map(|(name, handle)| (name, value(handle.get()))).collect();
    Reply::json(200, &all.into())
}

/// Makes all changes or none.
fn change(shared: &Shared, request: &Request, name: &str) -> Result<(), Reply> {
    let nothing = ConfigErrors::default();
    let body: Value = serde_json::from_slice(&request.body)
        .map_err(|e| error(400, &format!("expected a JSON object: {e}"), &nothing))?;
    let Value::Object(body) = body else { return Err(error(400, "expected a JSON object", &nothing)) };
    let tables = if name.is_empty() { body } else { Map::from_iter([(name.to_owned(), body.into())]) };
    let (mut errors, mut changes) = (ConfigErrors::default(), Vec::new());
    for (each, table) in tables {
        let Some(handle) = shared.engines.handle(&each) else { return Err(unknown(shared, &each)) };
        let table = if request.method == "PATCH" { over(&handle.get(), table) } else { table };
        match Profile::from_value(table) {
            Ok(profile) => changes.push((handle.clone(), profile)),
            Err(e) if name.is_empty() => errors.nest(&each, Err(e)),
            Err(e) => errors.errors.extend(e.errors),
        }
    }
    if !errors.errors.is_empty() {
        return Err(error(400, &errors.to_string(), &errors));
    }
    for (handle, profile) in changes {
        handle.set(profile).map_err(|e| error(400, &e.to_string(), &e))?;
    }
    Ok(())
}
