//! Ollama's `/api/chat`.

use std::io::Write as _;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    Reply, Scene, Speaker, parsed_arguments, quote, quoted, read_messages, read_tools, read_u32, rfc3339,
    whole_calls,
};
use crate::{
    ask::Ask,
    plan::{Finish, Part, Step},
    profile::FaultKind,
};

pub(super) fn parse(body: &Value) -> Result<Ask, Reply> {
    let Some(model) = body["model"].as_str().filter(|m| !m.is_empty()) else {
        return Err(error(400, "model is required"));
    };
    let Some(messages) = body["messages"].as_array().filter(|m| !m.is_empty()) else {
        return Err(error(400, "the mock has no models to load; send at least one message"));
    };
    let mut ask = Ask {
        model: model.to_owned(),
        stream: body["stream"] != false,
        stream_usage: true,
        // Negative: no limit.
        max_tokens: read_u32(&body["options"]["num_predict"]),
        tools: read_tools(&body["tools"], "/function/name", "/function/parameters"),
        ..Ask::default()
    };
    read_messages(&mut ask, messages, &Value::Null);
    Ok(ask)
}

fn error(status: u16, message: &str) -> Reply {
    let reply = Reply::json(status, &json!({"error": message}));
    Reply { content_type: "application/json; charset=utf-8", ..reply }
}

pub(super) fn invalid(message: &str) -> Reply {
    error(400, message)
}

pub(super) fn refusal(kind: FaultKind, model: &str, request_id: &str) -> Reply {
    let reply = match kind {
        FaultKind::RateLimit => error(429, "too many concurrent requests"),
        FaultKind::Quota => {
            error(429, "you have reached your hourly usage limit, please upgrade to continue")
        }
        FaultKind::Auth => error(401, "unauthorized"),
        FaultKind::Forbidden => error(403, "forbidden"),
        FaultKind::BadRequest => error(400, "invalid role: simulated"),
        FaultKind::NotFound => {
            error(404, &format!("model {} not found, try pulling it first", quoted(model)))
        }
        FaultKind::ContentFilter => error(400, "the prompt was refused"),
        FaultKind::Overloaded => {
            error(503, "server busy, please try again.  maximum pending requests exceeded")
        }
        FaultKind::Timeout => error(504, "gateway timeout"),
        _ => error(500, "llama runner process has terminated: exit status 2"),
    };
    reply.with("x-request-id", request_id)
}

/// The fields of the last object.
fn ending(scene: &Scene<'_>) -> String {
    let plan = scene.plan;
    let reason = if plan.finish == Finish::Length { "length" } else { "stop" };
    let first = scene.first_at();
    let load = first / 10;
    let mut text = format!(
        "\"done_reason\":\"{reason}\",\"done\":true,\"total_duration\":{},\"load_duration\":{load}",
        scene.total_ns(),
    );
    if scene.profile.usage {
        text.push_str(&format!(
            ",\"prompt_eval_count\":{},\"prompt_eval_duration\":{},\"eval_count\":{},\"eval_duration\":{}",
            plan.input_tokens,
            first - load,
            plan.output_tokens,
            plan.end_at - first,
        ));
    }
    text
}

fn calls(scene: &Scene<'_>, which: impl Iterator<Item = usize>) -> Value {
    which
        .map(|i| {
            let arguments = parsed_arguments(scene.plan, i);
            json!({"function": {"name": scene.plan.calls[i].name, "arguments": arguments}})
        })
        .collect()
}

pub(super) fn whole(scene: &Scene<'_>, wall: OffsetDateTime) -> Reply {
    let plan = scene.plan;
    let mut message = json!({"role": "assistant", "content": plan.joined(Part::Text)});
    let thinking = plan.joined(Part::Reasoning);
    if !thinking.is_empty() {
        message["thinking"] = thinking.into();
    }
    let called = calls(scene, whole_calls(plan));
    if called.as_array().is_some_and(|c| !c.is_empty()) {
        message["tool_calls"] = called;
    }
    let body = format!(
        "{{\"model\":{},\"created_at\":\"{}\",\"message\":{message},{}}}",
        quoted(&scene.ask.model),
        rfc3339(wall),
        ending(scene),
    );
    let reply = Reply {
        status: 200,
        content_type: "application/json; charset=utf-8",
        headers: Vec::new(),
        body: body.into_bytes(),
    };
    reply.with("x-request-id", scene.request_id)
}

pub(super) fn head(scene: &Scene<'_>) -> Reply {
    let reply = Reply { status: 200, content_type: "application/x-ndjson", ..Reply::default() };
    reply.with("x-request-id", scene.request_id)
}

/// Says one JSON object a line.
#[derive(Default)]
pub(super) struct Ollama {
    /// Bytes of arguments of the current call already there; a call is said when it is complete.
    arguments: usize,
}

/// The beginning of a line, as far as the content of the message.
fn line(scene: &Scene<'_>, wall: OffsetDateTime, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"model\":");
    quote(out, &scene.ask.model);
    let _ = write!(
        out,
        ",\"created_at\":\"{}\",\"message\":{{\"role\":\"assistant\",\"content\":",
        rfc3339(wall)
    );
}

impl Speaker for Ollama {
    /// The protocol has none.
    fn preamble(&mut self, _scene: &Scene<'_>, _out: &mut Vec<u8>) {}

    fn step(&mut self, scene: &Scene<'_>, step: &Step, wall: OffsetDateTime, out: &mut Vec<u8>) {
        let piece = scene.plan.piece(step);
        match step.part {
            Part::Text => {
                line(scene, wall, out);
                quote(out, piece);
            }
            Part::Reasoning => {
                line(scene, wall, out);
                out.extend_from_slice(b"\"\",\"thinking\":");
                quote(out, piece);
            }
            Part::Open(_) => {
                self.arguments = 0;
                return;
            }
            Part::Arguments(i) => {
                self.arguments += piece.len();
                if self.arguments < scene.plan.calls[i].arguments.len() {
                    return;
                }
                line(scene, wall, out);
                let _ = write!(out, "\"\",\"tool_calls\":{}", calls(scene, std::iter::once(i)));
            }
        }
        out.extend_from_slice(b"},\"done\":false}\n");
    }

    fn finish(&mut self, scene: &Scene<'_>, wall: OffsetDateTime, out: &mut Vec<u8>) {
        line(scene, wall, out);
        let _ = writeln!(out, "\"\"}},{}}}", ending(scene));
    }

    fn error(&mut self, _scene: &Scene<'_>, out: &mut Vec<u8>) {
        let message = "an error was encountered while running the model: unexpected EOF";
        let _ = writeln!(out, "{}", json!({"error": message}));
    }
}
