//! Amazon Bedrock's dialects, and what they have in common: errors, headers, frames by AWS's own codec.

pub(super) mod converse;
pub(super) mod invoke;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::{
    base64,
    event_stream::{Header, HeaderValue, Message},
};
use serde_json::{Value, json};

use super::{Reply, Scene};
use crate::{ask::Ask, profile::FaultKind};

fn error(status: u16, kind: &str, message: &str) -> Reply {
    let kind = format!("{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/");
    Reply::json(status, &json!({"message": message})).with("x-amzn-errortype", kind)
}

pub(super) fn invalid(message: &str) -> Reply {
    error(400, "ValidationException", message)
}

/// Status, type and message of an error.
fn words(kind: FaultKind) -> (u16, &'static str, &'static str) {
    match kind {
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
    }
}

pub(super) fn refusal(kind: FaultKind, request_id: &str) -> Reply {
    let (status, name, message) = words(kind);
    error(status, name, message).with("x-amzn-requestid", request_id)
}

pub(super) fn head(scene: &Scene<'_>) -> Reply {
    let reply = Reply { status: 200, content_type: "application/vnd.amazon.eventstream", ..Reply::default() };
    reply.with("x-amzn-requestid", scene.request_id)
}

/// The answer to a count of tokens: of a conversation, or of an InvokeModel body in base64.
pub(in super::super) fn count(body: &Value, model: &str, request: &super::super::read::Request) -> Reply {
    let counted = |ask: Result<Ask, Reply>| match ask {
        Ok(ask) => Reply::json(200, &json!({"inputTokens": ask.input_tokens})),
        Err(reply) => reply,
    };
    let input = &body["input"];
    if input["converse"].is_object() {
        return counted(converse::parse(&input["converse"], model.to_owned(), false));
    }
    let inner = input["invokeModel"]["body"].as_str().and_then(|text| base64::decode(text).ok());
    let Some(inner) = inner.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok()) else {
        return invalid("Value at 'input' failed to satisfy constraint: Member must not be null");
    };
    counted(invoke::parse(&inner, model.to_owned(), false, request))
}

fn string(name: &'static str, value: &'static str) -> Header {
    Header::new(name, HeaderValue::String(value.into()))
}

fn frame(kind: (&'static str, &'static str), name: &'static str, payload: String, out: &mut Vec<u8>) {
    let message = Message::new(payload)
        .add_header(string(kind.0, name))
        .add_header(string(":content-type", "application/json"))
        .add_header(string(":message-type", kind.1));
    write_message_to(&message, out).expect("invariant: small frames in memory can be written");
}

/// The vendor pads frames so that their size does not tell their text.
fn pad(frames: usize) -> &'static str {
    const PAD: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567";
    &PAD[..=frames * 23 % PAD.len()]
}

fn event(name: &'static str, payload: &Value, out: &mut Vec<u8>) {
    frame((":event-type", "event"), name, payload.to_string(), out);
}

/// A piece of a model's own stream.
fn chunk(bytes: &[u8], frames: usize, out: &mut Vec<u8>) {
    let payload = format!("{{\"bytes\":\"{}\",\"p\":\"{}\"}}", base64::encode(bytes), pad(frames));
    frame((":event-type", "event"), "chunk", payload, out);
}

/// The exception that ends a stream; `invoke` knows one more.
fn exception(scene: &Scene<'_>, invoke: bool, out: &mut Vec<u8>) {
    let model_error = |status: u16| {
        let message = "The system encountered an unexpected error during processing. Try your request again.";
        let payload = json!({"message": message, "originalStatusCode": status, "originalMessage": message});
        ("modelStreamErrorException", payload)
    };
    let plain = |name, message: &str| (name, json!({"message": message}));
    let (name, payload) = match scene.plan.says {
        None => model_error(500),
        Some(FaultKind::Timeout) if invoke => {
            plain("modelTimeoutException", "Model did not respond in time. Try your request again.")
        }
        Some(FaultKind::Timeout) => model_error(408),
        Some(kind) => {
            let name = match kind {
                FaultKind::RateLimit | FaultKind::Quota => "throttlingException",
                FaultKind::Overloaded => "serviceUnavailableException",
                FaultKind::BadRequest | FaultKind::ContentFilter => "validationException",
                _ => "internalServerException",
            };
            plain(name, words(kind).2)
        }
    };
    frame((":exception-type", "exception"), name, payload.to_string(), out);
}

/// What the service measured, as it stands in the last chunk of a model's own stream.
fn invocation_metrics(scene: &Scene<'_>) -> Value {
    let plan = scene.plan;
    json!({
        "inputTokenCount": plan.input_tokens - plan.cached_tokens - plan.cache_write_tokens,
        "outputTokenCount": plan.output_tokens,
        "invocationLatency": scene.total_ns() / 1_000_000,
        "firstByteLatency": scene.processing_ms(),
        "cacheReadInputTokenCount": plan.cached_tokens,
        "cacheWriteInputTokenCount": plan.cache_write_tokens
    })
}
