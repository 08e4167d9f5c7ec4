//! Amazon Bedrock's Converse and ConverseStream; frames by AWS's own codec.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Reply, Scene, Speaker, parsed_arguments, read_messages, read_tools, read_u32, whole_calls};
use crate::{
    ask::{Ask, Choice},
    plan::{Finish, Part, Step},
    profile::FaultKind,
};

/// A made-up signature of a reasoning block.
const SIGNATURE: &str = "c2ltdWxhdGVk";

pub(super) fn parse(body: &Value, model: String, stream: bool) -> Result<Ask, Reply> {
    let Some(messages) = body["messages"].as_array().filter(|m| !m.is_empty()) else {
        return Err(invalid(
            "1 validation error detected: Value at 'messages' failed to satisfy constraint: Member must not be null",
        ));
    };
    let choice = &body["toolConfig"]["toolChoice"];
    let mut ask = Ask {
        model,
        stream,
        stream_usage: true,
        max_tokens: read_u32(&body["inferenceConfig"]["maxTokens"]),
        tools: read_tools(&body["toolConfig"]["tools"], "/toolSpec/name", "/toolSpec/inputSchema/json"),
        choice: match choice["tool"]["name"].as_str() {
            Some(name) => Choice::This(name.to_owned()),
            None if choice.get("any").is_some() => Choice::Some,
            None => Choice::Free,
        },
        ..Ask::default()
    };
    read_messages(&mut ask, messages, &body["system"]);
    ask.answered = messages.last().is_some_and(|m| {
        m["content"].as_array().is_some_and(|parts| parts.iter().any(|p| p.get("toolResult").is_some()))
    });
    Ok(ask)
}

fn error(status: u16, kind: &str, message: &str) -> Reply {
    let kind = format!("{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/");
    Reply::json(status, &json!({"message": message})).with("x-amzn-errortype", kind)
}

pub(super) fn invalid(message: &str) -> Reply {
    error(400, "ValidationException", message)
}

pub(super) fn refusal(kind: FaultKind, request_id: &str) -> Reply {
    let (status, name, message) = match kind {
        FaultKind::RateLimit => {
            (429, "ThrottlingException", "Too many requests, please wait before trying again.")
        }
        FaultKind::Quota => {
            (400, "ServiceQuotaExceededException", "Your request exceeds the service quota for your account.")
        }
        FaultKind::Auth => {
            (403, "UnrecognizedClientException", "The security token included in the request is invalid.")
        }
        FaultKind::Forbidden => {
            (403, "AccessDeniedException", "You don't have access to the model with the specified model ID.")
        }
        FaultKind::BadRequest => (
            400,
            "ValidationException",
            "A conversation must start with a user message. Try again with a conversation that starts with a user \
             message.",
        ),
        FaultKind::NotFound => (404, "ResourceNotFoundException", "Model not found."),
        FaultKind::ContentFilter => {
            (400, "ValidationException", "Output blocked by content filtering policy")
        }
        FaultKind::Overloaded => {
            (503, "ServiceUnavailableException", "Bedrock is unable to process your request.")
        }
        FaultKind::Timeout => (504, "GatewayTimeoutException", "The gateway timed out."),
        _ => (
            500,
            "InternalServerException",
            "The system encountered an unexpected error during processing. Try your request again.",
        ),
    };
    error(status, name, message).with("x-amzn-requestid", request_id)
}

fn stop_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Tools => "tool_use",
    }
}

fn usage(scene: &Scene<'_>) -> Value {
    let (input, output, cached) =
        (scene.plan.input_tokens, scene.plan.output_tokens, scene.plan.cached_tokens);
    json!({
        "inputTokens": input - cached,
        "outputTokens": output,
        "totalTokens": u64::from(input) + u64::from(output),
        "cacheReadInputTokens": cached,
        "cacheWriteInputTokens": 0
    })
}

pub(super) fn whole(scene: &Scene<'_>) -> Reply {
    let plan = scene.plan;
    let (text, reasoning) = (plan.joined(Part::Text), plan.joined(Part::Reasoning));
    let mut content = Vec::new();
    if !reasoning.is_empty() {
        let signed = json!({"text": reasoning, "signature": SIGNATURE});
        content.push(json!({"reasoningContent": {"reasoningText": signed}}));
    }
    if !text.is_empty() {
        content.push(json!({"text": text}));
    }
    content.extend(whole_calls(plan).map(|i| {
        let call = &plan.calls[i];
        let id = format!("tooluse_{}", call.id);
        json!({"toolUse": {"toolUseId": id, "name": call.name, "input": parsed_arguments(plan, i)}})
    }));
    let mut body = json!({
        "output": {"message": {"role": "assistant", "content": content}},
        "stopReason": stop_reason(plan.finish),
        "metrics": {"latencyMs": scene.total_ns() / 1_000_000}
    });
    if scene.profile.usage {
        body["usage"] = usage(scene);
    }
    Reply::json(200, &body).with("x-amzn-requestid", scene.request_id)
}

pub(super) fn head(scene: &Scene<'_>) -> Reply {
    let reply = Reply { status: 200, content_type: "application/vnd.amazon.eventstream", ..Reply::default() };
    reply.with("x-amzn-requestid", scene.request_id)
}

/// Says a stream of binary frames.
#[derive(Default)]
pub(super) struct Bedrock {
    begun: bool,
    open: Option<Part>,
    /// Blocks opened so far.
    blocks: usize,
    frames: usize,
}

fn string(name: &'static str, value: &'static str) -> Header {
    Header::new(name, HeaderValue::String(value.into()))
}

fn frame(kind: (&'static str, &'static str), name: &'static str, payload: &Value, out: &mut Vec<u8>) {
    let message = Message::new(payload.to_string())
        .add_header(string(kind.0, name))
        .add_header(string(":content-type", "application/json"))
        .add_header(string(":message-type", kind.1));
    write_message_to(&message, out).expect("invariant: small frames in memory can be written");
}

/// Both pieces of a call belong to one block.
fn block(part: Part) -> Part {
    if let Part::Arguments(i) = part { Part::Open(i) } else { part }
}

impl Bedrock {
    fn event(&mut self, name: &'static str, mut payload: Value, out: &mut Vec<u8>) {
        // The vendor pads frames so that their size does not tell their text.
        const PAD: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567";
        self.frames += 1;
        payload["p"] = PAD[..=self.frames * 23 % PAD.len()].into();
        frame((":event-type", "event"), name, &payload, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.event("messageStart", json!({"role": "assistant"}), out);
        }
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if let Some(part) = self.open.take() {
            if part == Part::Reasoning {
                let delta = json!({"reasoningContent": {"signature": SIGNATURE}});
                let payload = json!({"contentBlockIndex": self.blocks - 1, "delta": delta});
                self.event("contentBlockDelta", payload, out);
            }
            self.event("contentBlockStop", json!({"contentBlockIndex": self.blocks - 1}), out);
        }
    }
}

impl Speaker for Bedrock {
    fn preamble(&mut self, _scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.begin(out);
    }

    fn step(&mut self, scene: &Scene<'_>, step: &Step, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.begin(out);
        if self.open != Some(block(step.part)) {
            self.close(out);
            self.open = Some(block(step.part));
            self.blocks += 1;
        }
        let index = self.blocks - 1;
        let piece = scene.plan.piece(step);
        let delta = match step.part {
            Part::Text => json!({"text": piece}),
            Part::Reasoning => json!({"reasoningContent": {"text": piece}}),
            Part::Arguments(_) => json!({"toolUse": {"input": piece}}),
            // Only blocks of calls are announced.
            Part::Open(i) => {
                let call = &scene.plan.calls[i];
                let start = json!({"toolUseId": format!("tooluse_{}", call.id), "name": call.name});
                let payload = json!({"contentBlockIndex": index, "start": {"toolUse": start}});
                return self.event("contentBlockStart", payload, out);
            }
        };
        self.event("contentBlockDelta", json!({"contentBlockIndex": index, "delta": delta}), out);
    }

    fn finish(&mut self, scene: &Scene<'_>, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(out);
        self.event("messageStop", json!({"stopReason": stop_reason(scene.plan.finish)}), out);
        let mut metadata = json!({"metrics": {"latencyMs": scene.total_ns() / 1_000_000}});
        if scene.profile.usage {
            metadata["usage"] = usage(scene);
        }
        self.event("metadata", metadata, out);
    }

    fn error(&mut self, _scene: &Scene<'_>, out: &mut Vec<u8>) {
        let message = "The system encountered an unexpected error during processing. Try your request again.";
        let payload = json!({"message": message, "originalStatusCode": 500});
        frame((":exception-type", "exception"), "modelStreamErrorException", &payload, out);
    }
}
