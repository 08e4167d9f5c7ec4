//! Anthropic's messages.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    super::read::Request, Again, Block, Reply, Scene, Speaker, parsed_arguments, quote, quoted, reading,
    sealed, whole_calls,
};
use crate::{
    ask::{Ask, Choice, Shape, Thinking},
    bucket::{Counted, Shortage},
    plan::{Finish, Part, Step},
    profile::FaultKind,
};

pub(super) fn parse(body: &Value, request: &Request) -> Result<Ask, Reply> {
    if request.header("anthropic-version").is_none() {
        return Err(invalid("anthropic-version: header is required"));
    }
    let Some(model) = body["model"].as_str() else { return Err(invalid("model: Field required")) };
    ask(body, model.to_owned(), body["stream"] == true)
}

/// Reads a body whose model and manner are known.
pub(super) fn ask(body: &Value, model: String, stream: bool) -> Result<Ask, Reply> {
    let Some(messages) = body["messages"].as_array() else {
        return Err(invalid("messages: Field required"));
    };
    if messages.is_empty() {
        return Err(invalid("messages: at least one message is required"));
    }
    let Some(max_tokens) = reading::number(&body["max_tokens"]).filter(|n| *n > 0) else {
        return Err(invalid("max_tokens: Field required"));
    };
    let choice = &body["tool_choice"];
    let mut ask = Ask {
        model,
        stream,
        stream_usage: true,
        max_tokens: Some(max_tokens),
        tools: reading::tools(&body["tools"], "/name", "/input_schema"),
        choice: match (choice["type"].as_str(), choice["name"].as_str()) {
            (Some("none"), _) => Choice::Never,
            (Some("any"), _) => Choice::Some,
            (Some("tool"), Some(name)) => Choice::This(name.to_owned()),
            _ => Choice::Free,
        },
        single_call: choice["disable_parallel_tool_use"] == true,
        stop: reading::texts(&body["stop_sequences"]),
        shape: match reading::shape(&body["output_config"]["format"], "/schema") {
            Shape::Words => reading::shape(&body["output_format"], "/schema"),
            shape => shape,
        },
        thinking: thinking(&body["thinking"]),
        ..Ask::default()
    };
    reading::messages(&mut ask, messages, &body["system"]);
    ask.answered = reading::last_holds(messages, |part| part["type"] == "tool_result");
    Ok(ask)
}

/// The wish for extended thinking, also as Bedrock passes it on.
pub(super) fn thinking(wish: &Value) -> Thinking {
    let budget = reading::number(&wish["budget_tokens"]).unwrap_or(u32::MAX);
    match wish["type"].as_str() {
        Some("enabled" | "adaptive") => Thinking::On(budget),
        Some("disabled") => Thinking::Off,
        _ => Thinking::Unsaid,
    }
}

/// The answer to a count of tokens.
pub(in super::super) fn count(body: &Value, request: &Request) -> Reply {
    if request.header("anthropic-version").is_none() {
        return invalid("anthropic-version: header is required");
    }
    for field in ["model", "messages"] {
        if body[field].is_null() {
            return invalid(&format!("{field}: Field required"));
        }
    }
    let mut ask = Ask::default();
    reading::messages(&mut ask, body["messages"].as_array().map_or(&[], Vec::as_slice), &body["system"]);
    Reply::json(200, &json!({"input_tokens": ask.input_tokens}))
}

fn error(status: u16, kind: &str, message: &str, request_id: Option<&str>) -> Reply {
    let body = json!({
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id
    });
    Reply::json(status, &body)
}

pub(super) fn invalid(message: &str) -> Reply {
    error(400, "invalid_request_error", message, None)
}

/// Status, type and message of an error.
fn words(kind: FaultKind) -> (u16, &'static str, &'static str) {
    match kind {
        FaultKind::RateLimit => (
            429,
            "rate_limit_error",
            "This request would exceed your organization's (simulated) rate limit. For details, refer to: \
             https://docs.claude.com/en/api/rate-limits.",
        ),
        FaultKind::Quota => (
            400,
            "invalid_request_error",
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or \
             purchase credits.",
        ),
        FaultKind::Auth => (401, "authentication_error", "invalid x-api-key"),
        FaultKind::Forbidden => {
            (403, "permission_error", "Your API key does not have permission to use the specified resource")
        }
        FaultKind::BadRequest => {
            (400, "invalid_request_error", "messages: first message must use the \"user\" role")
        }
        FaultKind::NotFound => (404, "not_found_error", ""),
        FaultKind::ContentFilter => {
            (400, "invalid_request_error", "Output blocked by content filtering policy")
        }
        FaultKind::Overloaded => (529, "overloaded_error", "Overloaded"),
        FaultKind::Timeout => (504, "timeout_error", "Request timed out"),
        _ => (500, "api_error", "Internal server error"),
    }
}

pub(super) fn refusal(kind: FaultKind, model: &str, request_id: &str, again: Again) -> Reply {
    let (status, name, message) = words(kind);
    let message = match (kind, again.short) {
        (FaultKind::NotFound, _) => format!("model: {model}"),
        (FaultKind::RateLimit, Some(short)) => {
            message.replacen("rate limit", &format!("rate limit of {}", limit(short)), 1)
        }
        _ => message.to_owned(),
    };
    let message = message.as_str();
    error(status, name, message, Some(request_id)).with("request-id", request_id)
}

/// A limit as the vendor tells it.
fn limit(short: Shortage) -> String {
    let units = match short.of {
        Counted::Requests => "requests",
        Counted::Tokens => "tokens",
        Counted::Input => "input tokens",
        Counted::Output => "output tokens",
    };
    let n = short.level.limit;
    match short.level.period.as_millis() {
        60_000 => format!("{n} {units} per minute"),
        ms => format!("{n} {units} per {} seconds", ms as f64 / 1e3),
    }
}

fn common(reply: Reply, scene: &Scene<'_>) -> Reply {
    reply
        .with("request-id", scene.request_id)
        .with("anthropic-organization-id", "00000000-0000-4000-8000-000000000000")
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopSequence => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::Tools => "tool_use",
        Finish::Refused => "refusal",
    }
}

fn stop_details(finish: Finish) -> Value {
    if finish == Finish::Refused {
        json!({"type": "refusal", "category": null, "explanation": "simulated"})
    } else {
        Value::Null
    }
}

/// What every usage tells. The vendor's classes are disjoint: what was read from the cache or written to it is not
/// in `input_tokens`.
fn counts(scene: &Scene<'_>, output: u32) -> Value {
    let plan = scene.plan;
    let written = plan.cache_write_tokens;
    json!({
        "input_tokens": plan.input_tokens - plan.cached_tokens - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": plan.cached_tokens,
        "output_tokens": output
    })
}

/// The usage of a message, at its beginning or whole.
fn usage(scene: &Scene<'_>, output: u32) -> Value {
    let mut usage = counts(scene, output);
    let written = scene.plan.cache_write_tokens;
    usage["cache_creation"] = json!({"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0});
    usage["service_tier"] = "standard".into();
    usage["inference_geo"] = "not_available".into();
    usage
}

/// The usage of an answer that has ended, with its reasoning apart.
fn with_thinking(scene: &Scene<'_>, mut usage: Value) -> Value {
    if scene.plan.reasoning_tokens > 0 {
        usage["output_tokens_details"] = json!({"thinking_tokens": scene.plan.reasoning_tokens});
    }
    usage
}

fn id(scene: &Scene<'_>) -> String {
    let place = if scene.ask.family.is_some() { "bdrk_" } else { "" };
    format!("msg_{place}01{:016x}", scene.key)
}

fn call_id(scene: &Scene<'_>, call: usize) -> String {
    let place = if scene.ask.family.is_some() { "bdrk_" } else { "" };
    format!("toolu_{place}{}", scene.plan.calls[call].id)
}

/// A made-up signature of a thinking block.
fn signature(scene: &Scene<'_>) -> String {
    STANDARD.encode(format!("simulated {:016x}", scene.key))
}

/// The message of a whole answer.
pub(super) fn message(scene: &Scene<'_>) -> Value {
    let plan = scene.plan;
    let (text, thinking) = (plan.joined(Part::Text), plan.joined(Part::Reasoning));
    let mut content = Vec::new();
    if !thinking.is_empty() && plan.redacted {
        content.push(json!({"type": "redacted_thinking", "data": sealed(scene.key)}));
    } else if !thinking.is_empty() {
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": signature(scene)}));
    }
    if !text.is_empty() {
        content.push(json!({"type": "text", "text": text}));
    }
    content.extend(whole_calls(plan).map(|i| {
        let input = parsed_arguments(plan, i);
        json!({"type": "tool_use", "id": call_id(scene, i), "name": plan.calls[i].name, "input": input})
    }));
    let mut body = json!({
        "model": scene.ask.model,
        "id": id(scene),
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop_reason(plan.finish),
        "stop_sequence": plan.stop,
        "stop_details": stop_details(plan.finish)
    });
    if scene.profile.usage {
        body["usage"] = with_thinking(scene, usage(scene, plan.output_tokens));
    }
    body
}

pub(super) fn whole(scene: &Scene<'_>) -> Reply {
    common(Reply::json(200, &message(scene)), scene)
}

pub(super) fn head(scene: &Scene<'_>) -> Reply {
    let reply = Reply { status: 200, content_type: "text/event-stream; charset=utf-8", ..Reply::default() };
    common(reply, scene).with("cache-control", "no-cache")
}

/// Says a stream of typed events.
#[derive(Default)]
pub(super) struct Anthropic {
    begun: bool,
    /// The block that is open: what it holds.
    open: Option<Block>,
    /// Blocks opened so far.
    blocks: usize,
}

fn event(out: &mut Vec<u8>, name: &str, data: &Value) {
    let _ = write!(out, "event: {name}\ndata: {data}\n\n");
}

impl Anthropic {
    fn index(&self) -> usize {
        self.blocks.saturating_sub(1)
    }

    fn begin(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let mut message = json!({
            "model": scene.ask.model,
            "id": id(scene),
            "type": "message",
            "role": "assistant",
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "stop_details": null
        });
        if scene.profile.usage {
            message["usage"] = usage(scene, 1);
        }
        event(out, "message_start", &json!({"type": "message_start", "message": message}));
    }

    fn open(&mut self, scene: &Scene<'_>, block: Block, out: &mut Vec<u8>) {
        if self.open == Some(block) {
            return;
        }
        self.close(scene, out);
        self.open = Some(block);
        self.blocks += 1;
        let content = match block {
            Block::Thinking if scene.plan.redacted => {
                json!({"type": "redacted_thinking", "data": sealed(scene.key)})
            }
            Block::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Block::Text => json!({"type": "text", "text": ""}),
            Block::Call(i) => {
                let name = &scene.plan.calls[i].name;
                json!({"type": "tool_use", "id": call_id(scene, i), "name": name, "input": {}})
            }
        };
        let index = self.index();
        let start = json!({"type": "content_block_start", "index": index, "content_block": content});
        event(out, "content_block_start", &start);
    }

    fn close(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        let index = self.index();
        if block == Block::Thinking && !scene.plan.redacted {
            let delta = json!({"type": "signature_delta", "signature": signature(scene)});
            event(
                out,
                "content_block_delta",
                &json!({"type": "content_block_delta", "index": index, "delta": delta}),
            );
        }
        event(out, "content_block_stop", &json!({"type": "content_block_stop", "index": index}));
    }
}

impl Speaker for Anthropic {
    fn preamble(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.begin(scene, out);
        match scene.plan.steps.first().map(|s| Block::of(s.part)) {
            // The name of a tool is a token: it waits for its time.
            Some(Block::Call(_)) | None => {}
            Some(block) => self.open(scene, block, out),
        }
        out.extend_from_slice(b"event: ping\ndata: {\"type\": \"ping\"}\n\n");
    }

    fn step(&mut self, scene: &Scene<'_>, step: &Step, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.begin(scene, out);
        self.open(scene, Block::of(step.part), out);
        let (kind, field) = match step.part {
            Part::Reasoning if scene.plan.redacted => return,
            Part::Text => ("text_delta", "text"),
            Part::Reasoning => ("thinking_delta", "thinking"),
            Part::Arguments(_) => ("input_json_delta", "partial_json"),
            Part::Open(_) => return,
        };
        let index = self.index();
        let _ = write!(
            out,
            "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":{index},\
             \"delta\":{{\"type\":\"{kind}\",\"{field}\":"
        );
        quote(out, scene.plan.piece(step));
        out.extend_from_slice(b"}}\n\n");
    }

    fn finish(&mut self, scene: &Scene<'_>, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.begin(scene, out);
        self.close(scene, out);
        let _ = write!(
            out,
            "event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":{},\
             \"stop_sequence\":{},\"stop_details\":{}}}",
            quoted(stop_reason(scene.plan.finish)),
            json!(scene.plan.stop),
            stop_details(scene.plan.finish),
        );
        if scene.profile.usage {
            let usage = with_thinking(scene, counts(scene, scene.plan.output_tokens));
            let _ = write!(out, ",\"usage\":{usage}");
        }
        out.extend_from_slice(b"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let (kind, message) = match scene.plan.says {
            None | Some(FaultKind::Overloaded) => ("overloaded_error", "Overloaded"),
            Some(kind) => {
                let (_, name, message) = words(kind);
                (name, message)
            }
        };
        event(out, "error", &json!({"type": "error", "error": {"type": kind, "message": message}}));
    }
}
