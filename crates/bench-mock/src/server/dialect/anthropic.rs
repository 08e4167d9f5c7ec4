//! Anthropic's messages.

use std::io::Write as _;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    Reply, Scene, Speaker, parsed_arguments, quote, quoted, read_messages, read_tools, read_u32, rfc3339,
    text_bytes, whole_calls,
};
use crate::{
    ask::{Ask, Choice},
    plan::{Finish, Part, Step},
    profile::FaultKind,
    words,
};

pub(super) fn parse(body: &Value) -> Result<Ask, Reply> {
    let Some(model) = body["model"].as_str() else { return Err(invalid("model: Field required")) };
    let Some(messages) = body["messages"].as_array() else {
        return Err(invalid("messages: Field required"));
    };
    if messages.is_empty() {
        return Err(invalid("messages: at least one message is required"));
    }
    let Some(max_tokens) = read_u32(&body["max_tokens"]).filter(|n| *n > 0) else {
        return Err(invalid("max_tokens: Field required"));
    };
    let choice = &body["tool_choice"];
    let mut ask = Ask {
        model: model.to_owned(),
        stream: body["stream"] == true,
        stream_usage: true,
        max_tokens: Some(max_tokens),
        tools: read_tools(&body["tools"], "/name", "/input_schema"),
        choice: match (choice["type"].as_str(), choice["name"].as_str()) {
            (Some("none"), _) => Choice::Never,
            (Some("any"), _) => Choice::Some,
            (Some("tool"), Some(name)) => Choice::This(name.to_owned()),
            _ => Choice::Free,
        },
        ..Ask::default()
    };
    read_messages(&mut ask, messages, &body["system"]);
    ask.answered = messages.last().is_some_and(|m| {
        m["content"].as_array().is_some_and(|parts| parts.iter().any(|p| p["type"] == "tool_result"))
    });
    Ok(ask)
}

pub(super) fn count(body: &Value) -> Reply {
    let bytes: usize =
        body["messages"].as_array().into_iter().flatten().map(|m| text_bytes(&m["content"])).sum();
    Reply::json(200, &json!({"input_tokens": words::count(bytes + text_bytes(&body["system"]))}))
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

pub(super) fn refusal(kind: FaultKind, model: &str, request_id: &str) -> Reply {
    let (status, name, message) = match kind {
        FaultKind::RateLimit => (
            429,
            "rate_limit_error",
            "This request would exceed the rate limit for your organization (simulated) of 50 requests per minute. \
             For details, refer to: https://docs.claude.com/en/api/rate-limits.",
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
    };
    let missing = format!("model: {model}");
    let message = if kind == FaultKind::NotFound { &missing } else { message };
    error(status, name, message, Some(request_id)).with("request-id", request_id)
}

fn common(reply: Reply, scene: &Scene<'_>) -> Reply {
    let reset = rfc3339(scene.created.replace_nanosecond(0).unwrap_or(scene.created));
    let input = 400_000_u64.saturating_sub(u64::from(scene.plan.input_tokens));
    reply
        .with("request-id", scene.request_id)
        .with("anthropic-organization-id", "00000000-0000-4000-8000-000000000000")
        .with("anthropic-ratelimit-requests-limit", "4000")
        .with("anthropic-ratelimit-requests-remaining", "3999")
        .with("anthropic-ratelimit-requests-reset", reset.clone())
        .with("anthropic-ratelimit-input-tokens-limit", "400000")
        .with("anthropic-ratelimit-input-tokens-remaining", input.to_string())
        .with("anthropic-ratelimit-input-tokens-reset", reset.clone())
        .with("anthropic-ratelimit-output-tokens-limit", "80000")
        .with("anthropic-ratelimit-output-tokens-remaining", "80000")
        .with("anthropic-ratelimit-output-tokens-reset", reset)
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Tools => "tool_use",
    }
}

/// The vendor's classes are disjoint: what was read from the cache is not in `input_tokens`.
fn usage(scene: &Scene<'_>, output: u32) -> Value {
    json!({
        "input_tokens": scene.plan.input_tokens - scene.plan.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": scene.plan.cached_tokens,
        "output_tokens": output,
        "service_tier": "standard"
    })
}

fn id(scene: &Scene<'_>) -> String {
    format!("msg_01{:016x}", scene.key)
}

/// A made-up signature of a thinking block.
fn signature(scene: &Scene<'_>) -> String {
    format!("c2ltdWxhdGVk{:016x}==", scene.key)
}

pub(super) fn whole(scene: &Scene<'_>) -> Reply {
    let plan = scene.plan;
    let (text, thinking) = (plan.joined(Part::Text), plan.joined(Part::Reasoning));
    let mut content = Vec::new();
    if !thinking.is_empty() {
        content.push(json!({"type": "thinking", "thinking": thinking, "signature": signature(scene)}));
    }
    if !text.is_empty() {
        content.push(json!({"type": "text", "text": text}));
    }
    content.extend(whole_calls(plan).map(|i| {
        let call = &plan.calls[i];
        let id = format!("toolu_{}", call.id);
        json!({"type": "tool_use", "id": id, "name": call.name, "input": parsed_arguments(plan, i)})
    }));
    let mut body = json!({
        "model": scene.ask.model,
        "id": id(scene),
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop_reason(plan.finish),
        "stop_sequence": null
    });
    if scene.profile.usage {
        body["usage"] = usage(scene, plan.output_tokens);
    }
    common(Reply::json(200, &body), scene)
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    Call(usize),
}

impl Block {
    fn of(part: Part) -> Self {
        match part {
            Part::Reasoning => Self::Thinking,
            Part::Text => Self::Text,
            Part::Open(i) | Part::Arguments(i) => Self::Call(i),
        }
    }
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
            "stop_sequence": null
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
            Block::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Block::Text => json!({"type": "text", "text": ""}),
            Block::Call(i) => {
                let call = &scene.plan.calls[i];
                let id = format!("toolu_{}", call.id);
                json!({"type": "tool_use", "id": id, "name": call.name, "input": {}})
            }
        };
        let index = self.index();
        let start = json!({"type": "content_block_start", "index": index, "content_block": content});
        event(out, "content_block_start", &start);
    }

    fn close(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        let Some(block) = self.open.take() else { return };
        let index = self.index();
        if block == Block::Thinking {
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
             \"stop_sequence\":null}}",
            quoted(stop_reason(scene.plan.finish)),
        );
        if scene.profile.usage {
            let _ = write!(out, ",\"usage\":{}", usage(scene, scene.plan.output_tokens));
        }
        out.extend_from_slice(b"}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    }

    fn error(&mut self, _scene: &Scene<'_>, out: &mut Vec<u8>) {
        let error = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
        event(out, "error", &error);
    }
}
