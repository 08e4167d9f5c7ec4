//! Ollama's `/api/chat` and `/api/generate`.

use std::io::Write as _;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Reply, Scene, Speaker, parsed_arguments, quote, quoted, reading, rfc3339, whole_calls};
use crate::{
    ask::{Ask, Choice, Shape, Thinking},
    plan::{Finish, Part, Step},
    profile::FaultKind,
};

/// Most tokens of a context: what a model would hold.
const MAX_CONTEXT: u64 = 32_768;
/// Ids of tokens in a context that the mock makes up lie below this.
const VOCABULARY: u64 = 32_000;

/// Reads a request to `/api/chat`, else to `/api/generate`.
pub(super) fn parse(body: &Value, chat: bool) -> Result<Ask, Reply> {
    let Some(model) = body["model"].as_str().filter(|m| !m.is_empty()) else {
        return Err(error(400, "model is required"));
    };
    let options = &body["options"];
    let mut ask = Ask {
        model: model.to_owned(),
        stream: body["stream"] != false,
        stream_usage: true,
        // Negative: no limit.
        max_tokens: reading::number(&options["num_predict"]),
        stop: reading::texts(&options["stop"]),
        shape: match &body["format"] {
            Value::String(word) if word == "json" => Shape::Json,
            schema @ Value::Object(_) => Shape::Schema(schema.clone()),
            _ => Shape::Words,
        },
        thinking: match &body["think"] {
            Value::Bool(false) => Thinking::Off,
            Value::String(level) if level == "low" => Thinking::On(8),
            Value::Bool(true) | Value::String(_) => Thinking::On(u32::MAX),
            _ => Thinking::Unsaid,
        },
        ..Ask::default()
    };
    ask.keep.seconds = keep_alive(&body["keep_alive"])?;
    if chat {
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        ask.tools = reading::tools(&body["tools"], "/function/name", "/function/parameters");
        reading::messages(&mut ask, messages, &Value::Null);
        ask.keep.only = messages.is_empty();
    } else {
        ask.choice = Choice::Never;
        let prompt = body["prompt"].as_str().unwrap_or_default();
        let images = &body["images"];
        let system = if body["raw"] == true { &Value::Null } else { &body["system"] };
        let message = json!({"content": prompt, "images": images});
        let suffix = json!({"content": body["suffix"]});
        reading::messages(&mut ask, &[message, suffix], system);
        prompt.clone_into(&mut ask.prompt);
        let context = body["context"].as_array().map_or(0, Vec::len);
        ask.input_tokens = ask.input_tokens.saturating_add(context as u32);
        ask.keep.only = prompt.is_empty() && images.as_array().is_none_or(Vec::is_empty);
        // A raw prompt has no conversation to go on with.
        ask.echo = json!({"context": body["raw"] != true});
    }
    Ok(ask)
}

/// Seconds of a `keep_alive`: a number of them, or a duration such as `5m` or `1h30m`.
fn keep_alive(value: &Value) -> Result<Option<f64>, Reply> {
    let bad = || error(400, &format!("time: invalid duration {value}"));
    match value {
        Value::Null => Ok(None),
        Value::Number(n) => Ok(n.as_f64()),
        Value::String(text) => duration(text).map(Some).ok_or_else(bad),
        _ => Err(bad()),
    }
}

/// A duration in Go's way of writing, in seconds; negative ones are allowed.
fn duration(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    if let Ok(seconds) = rest.parse::<f64>() {
        return Some(sign * seconds);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit.find(|c: char| c.is_ascii_digit()).unwrap_or(unit.len());
        seconds += number
            * match &unit[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &unit[end..];
    }
    Some(sign * seconds)
}

/// What is said when a model was only to be loaded or unloaded.
pub(in super::super) fn loading(ask: &Ask, wall: OffsetDateTime, chat: bool) -> Reply {
    let reason = if ask.keep.seconds == Some(0.0) { "unload" } else { "load" };
    let mut body = json!({
        "model": ask.model, "created_at": rfc3339(wall), "done": true, "done_reason": reason
    });
    if chat {
        body["message"] = json!({"role": "assistant", "content": ""});
    } else {
        body["response"] = "".into();
    }
    let reply = Reply::json(200, &body);
    Reply { content_type: "application/json; charset=utf-8", ..reply }
}

fn error(status: u16, message: &str) -> Reply {
    let reply = Reply::json(status, &json!({"error": message}));
    Reply { content_type: "application/json; charset=utf-8", ..reply }
}

pub(super) fn invalid(message: &str) -> Reply {
    error(400, message)
}

fn words(kind: FaultKind, model: &str) -> Reply {
    match kind {
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
    }
}

pub(super) fn refusal(kind: FaultKind, model: &str, request_id: &str) -> Reply {
    words(kind, model).with("x-request-id", request_id)
}

/// The fields of the last object.
fn ending(scene: &Scene<'_>) -> String {
    let plan = scene.plan;
    let reason = if plan.finish == Finish::Length { "length" } else { "stop" };
    let first = scene.first_at();
    let load = first / 10;
    let mut text = format!("\"done_reason\":\"{reason}\",\"done\":true");
    if scene.ask.echo["context"] == true {
        let _ = std::fmt::Write::write_fmt(&mut text, format_args!(",\"context\":{}", json!(context(scene))));
    }
    text.push_str(&format!(",\"total_duration\":{},\"load_duration\":{load}", scene.total_ns()));
    if scene.profile.usage {
        text.push_str(&format!(
            ",\"prompt_eval_count\":{},\"prompt_eval_duration\":{},\"eval_count\":{},\"eval_duration\":{}",
            plan.input_tokens,
            first - load,
            plan.output_tokens,
            scene.times.end().saturating_sub(first),
        ));
    }
    text
}

/// The conversation so far in tokens: as many as there are and fit, their ids made up.
fn context(scene: &Scene<'_>) -> Vec<u64> {
    let n = u64::from(scene.plan.input_tokens) + u64::from(scene.plan.output_tokens);
    (0..n.min(MAX_CONTEXT))
        .map(|i| (scene.key ^ i.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % VOCABULARY)
        .collect()
}

fn calls(scene: &Scene<'_>, which: impl Iterator<Item = usize>) -> Value {
    which
        .map(|i| {
            let arguments = parsed_arguments(scene.plan, i);
            json!({"function": {"name": scene.plan.calls[i].name, "arguments": arguments}})
        })
        .collect()
}

pub(super) fn whole(scene: &Scene<'_>, wall: OffsetDateTime, chat: bool) -> Reply {
    let plan = scene.plan;
    let (text, thinking) = (plan.joined(Part::Text), plan.joined(Part::Reasoning));
    let mut said =
        if chat { json!({"role": "assistant", "content": text}) } else { json!({"response": text}) };
    if !thinking.is_empty() && !plan.redacted {
        said["thinking"] = thinking.into();
    }
    let called = calls(scene, whole_calls(plan));
    if chat && called.as_array().is_some_and(|c| !c.is_empty()) {
        said["tool_calls"] = called;
    }
    let said = said.to_string();
    let said = if chat { format!("\"message\":{said}") } else { said[1..said.len() - 1].to_owned() };
    let body = format!(
        "{{\"model\":{},\"created_at\":\"{}\",{said},{}}}",
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
pub(super) struct Ollama {
    chat: bool,
    /// Bytes of arguments of the current call already there; a call is said when it is complete.
    arguments: usize,
}

impl Ollama {
    pub(super) fn new(chat: bool) -> Self {
        Self { chat, arguments: 0 }
    }

    /// The beginning of a line, as far as the text.
    fn line(&self, scene: &Scene<'_>, wall: OffsetDateTime, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"model\":");
        quote(out, &scene.ask.model);
        let text =
            if self.chat { "\"message\":{\"role\":\"assistant\",\"content\":" } else { "\"response\":" };
        let _ = write!(out, ",\"created_at\":\"{}\",{text}", rfc3339(wall));
    }

    /// What closes the message.
    fn close(&self, out: &mut Vec<u8>) {
        if self.chat {
            out.push(b'}');
        }
    }
}

impl Speaker for Ollama {
    /// The protocol has none.
    fn preamble(&mut self, _scene: &Scene<'_>, _out: &mut Vec<u8>) {}

    fn step(&mut self, scene: &Scene<'_>, step: &Step, wall: OffsetDateTime, out: &mut Vec<u8>) {
        let piece = scene.plan.piece(step);
        match step.part {
            Part::Text => {
                self.line(scene, wall, out);
                quote(out, piece);
            }
            Part::Reasoning if scene.plan.redacted => return,
            Part::Reasoning => {
                self.line(scene, wall, out);
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
                self.line(scene, wall, out);
                let _ = write!(out, "\"\",\"tool_calls\":{}", calls(scene, std::iter::once(i)));
            }
        }
        self.close(out);
        out.extend_from_slice(b",\"done\":false}\n");
    }

    fn finish(&mut self, scene: &Scene<'_>, wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.line(scene, wall, out);
        out.extend_from_slice(b"\"\"");
        self.close(out);
        let _ = writeln!(out, ",{}}}", ending(scene));
    }

    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let said = scene.plan.says.map(|kind| words(kind, &scene.ask.model).body);
        let usual = "an error was encountered while running the model: unexpected EOF";
        let body = said.unwrap_or_else(|| json!({"error": usual}).to_string().into_bytes());
        out.extend_from_slice(&body);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("5m", Some(300.0)),
            ("1h30m", Some(5_400.0)),
            ("1.5s", Some(1.5)),
            ("-1", Some(-1.0)),
            ("-1m", Some(-60.0)),
            ("0", Some(0.0)),
            ("250ms", Some(0.25)),
            ("soon", None),
            ("5 m", None),
            ("5d", None),
        ] {
            assert_eq!(duration(text), seconds, "{text}");
        }
    }
}
