//! OpenAI's chat completions, and Azure's additions to them.

use std::{io::Write as _, time::Duration};

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Reply, Scene, Speaker, quote, quoted, read_messages, read_tools, read_u32};
use crate::{
    ask::{Ask, Choice},
    plan::{Finish, Part, Step},
    profile::FaultKind,
};

pub(super) fn parse(body: &Value, deployment: Option<String>) -> Result<Ask, Reply> {
    let missing = |field: &str| {
        error(
            400,
            &format!("Missing required parameter: '{field}'."),
            "invalid_request_error",
            Some(field),
            Some("missing_required_parameter"),
        )
    };
    let model = body["model"].as_str().map(str::to_owned).or(deployment.clone());
    // Azure's deployment decides, whatever the body says.
    let Some(model) = deployment.or(model) else {
        return Err(error(400, "you must provide a model parameter", "invalid_request_error", None, None));
    };
    let Some(messages) = body["messages"].as_array() else { return Err(missing("messages")) };
    if messages.is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(error(400, message, "invalid_request_error", Some("messages"), Some("empty_array")));
    }
    if body["n"].as_u64().is_some_and(|n| n != 1) {
        return Err(invalid("the mock answers with one choice only; leave out 'n'", Some("n")));
    }
    let mut ask = Ask {
        model,
        stream: body["stream"] == true,
        stream_usage: body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true)),
        max_tokens: read_u32(&body["max_completion_tokens"]).or_else(|| read_u32(&body["max_tokens"])),
        tools: read_tools(&body["tools"], "/function/name", "/function/parameters"),
        choice: match &body["tool_choice"] {
            Value::String(word) if word == "none" => Choice::Never,
            Value::String(word) if word == "required" => Choice::Some,
            choice => match choice.pointer("/function/name").and_then(Value::as_str) {
                Some(name) => Choice::This(name.to_owned()),
                None => Choice::Free,
            },
        },
        ..Ask::default()
    };
    read_messages(&mut ask, messages, &Value::Null);
    Ok(ask)
}

fn error(status: u16, message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}

pub(super) fn invalid(message: &str, field: Option<&str>) -> Reply {
    error(400, message, "invalid_request_error", field, None)
}

pub(super) fn refusal(
    kind: FaultKind,
    model: &str,
    request_id: &str,
    retry_after: Option<Duration>,
) -> Reply {
    let invalid = "invalid_request_error";
    let mut reply = match kind {
        FaultKind::RateLimit => {
            let ms = retry_after.unwrap_or_default().as_millis();
            let message = format!(
                "Rate limit reached for {model} in organization org-simulated on requests per min (RPM): \
                 Limit 500, Used 500, Requested 1. Please try again in {ms}ms. Visit \
                 https://platform.openai.com/account/rate-limits to learn more."
            );
            error(429, &message, "requests", None, Some("rate_limit_exceeded"))
        }
        FaultKind::Quota => {
            let message = "You exceeded your current quota, please check your plan and billing details. For more \
                 information on this error, read the docs: \
                 https://platform.openai.com/docs/guides/error-codes/api-errors.";
            error(429, message, "insufficient_quota", None, Some("insufficient_quota"))
        }
        FaultKind::Auth => {
            let message = "Incorrect API key provided: sk-simul*ated. You can find your API key at \
                 https://platform.openai.com/account/api-keys.";
            error(401, message, invalid, None, Some("invalid_api_key"))
        }
        FaultKind::Forbidden => {
            let message = format!("Project `proj_simulated` does not have access to model `{model}`");
            error(403, &message, invalid, None, Some("model_not_found"))
        }
        FaultKind::BadRequest => error(
            400,
            "Invalid value: 'simulated'. Supported values are: 'system', 'assistant', 'user', 'function', and 'tool'.",
            invalid,
            Some("messages[0].role"),
            Some("invalid_value"),
        ),
        FaultKind::NotFound => {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            error(404, &message, invalid, None, Some("model_not_found"))
        }
        FaultKind::ContentFilter => {
            let message = "The response was filtered due to the prompt triggering Azure OpenAI's content management \
                 policy. Please modify your prompt and retry.";
            error(400, message, invalid, Some("prompt"), Some("content_filter"))
        }
        FaultKind::Overloaded => {
            let message = "The engine is currently overloaded, please try again later";
            error(503, message, "server_error", None, None)
        }
        FaultKind::Timeout => error(504, "The request timed out", "timeout", None, None),
        _ => error(
            500,
            "The server had an error while processing your request. Sorry about that!",
            "server_error",
            None,
            None,
        ),
    };
    if let Some(wait) = retry_after {
        reply = reply.with("retry-after-ms", wait.as_millis().to_string());
    }
    reply.with("x-request-id", request_id).with("openai-version", "2020-10-01")
}

fn common(reply: Reply, scene: &Scene<'_>) -> Reply {
    let tokens = 2_000_000_u64.saturating_sub(u64::from(scene.plan.input_tokens));
    let reply = reply
        .with("x-request-id", scene.request_id)
        .with("x-ratelimit-limit-requests", "10000")
        .with("x-ratelimit-limit-tokens", "2000000")
        .with("x-ratelimit-remaining-requests", "9999")
        .with("x-ratelimit-remaining-tokens", tokens.to_string());
    if scene.azure {
        return reply.with("x-ms-region", "Simulated").with("apim-request-id", scene.request_id);
    }
    reply
        .with("x-ratelimit-reset-requests", "6ms")
        .with("x-ratelimit-reset-tokens", "0s")
        .with("openai-organization", "org-simulated")
        .with("openai-version", "2020-10-01")
        .with("access-control-expose-headers", "X-Request-ID")
}

fn processing(reply: Reply, ms: u64) -> Reply {
    reply.with("openai-processing-ms", ms.to_string())
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Tools => "tool_calls",
    }
}

fn usage(scene: &Scene<'_>) -> Value {
    let (input, output) = (scene.plan.input_tokens, scene.plan.output_tokens);
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": u64::from(input) + u64::from(output),
        "prompt_tokens_details": {"cached_tokens": scene.plan.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": scene.plan.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0
        }
    })
}

pub(super) fn whole(scene: &Scene<'_>) -> Reply {
    let plan = scene.plan;
    let (text, reasoning) = (plan.joined(Part::Text), plan.joined(Part::Reasoning));
    let calls: Vec<Value> = (0..plan.calls.len())
        .filter(|i| plan.steps.iter().any(|s| s.part == Part::Open(*i)))
        .map(|i| {
            json!({
                "id": format!("call_{}", plan.calls[i].id),
                "type": "function",
                "function": {"name": plan.calls[i].name, "arguments": plan.joined(Part::Arguments(i))}
            })
        })
        .collect();
    let mut message = json!({
        "role": "assistant",
        "content": if calls.is_empty() { Value::from(text) } else { Value::Null },
        "refusal": null,
        "annotations": []
    });
    if !reasoning.is_empty() {
        message["reasoning_content"] = reasoning.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let mut body = json!({
        "id": id(scene),
        "object": "chat.completion",
        "created": scene.created.unix_timestamp(),
        "model": scene.ask.model,
        "choices": [{
            "index": 0,
            "message": message,
            "logprobs": null,
            "finish_reason": finish_reason(plan.finish)
        }],
        "service_tier": "default",
        "system_fingerprint": "fp_simulated"
    });
    if scene.profile.usage {
        body["usage"] = usage(scene);
    }
    if scene.azure {
        body["prompt_filter_results"] = filter_results();
    }
    processing(common(Reply::json(200, &body), scene), scene.total_ns() / 1_000_000)
}

fn id(scene: &Scene<'_>) -> String {
    format!("chatcmpl-{:016x}", scene.key)
}

fn filter_results() -> Value {
    let safe = json!({"filtered": false, "severity": "safe"});
    json!([{
        "prompt_index": 0,
        "content_filter_results": {"hate": safe, "self_harm": safe, "sexual": safe, "violence": safe}
    }])
}

pub(super) fn head(scene: &Scene<'_>) -> Reply {
    let reply = Reply { status: 200, content_type: "text/event-stream; charset=utf-8", ..Reply::default() };
    processing(common(reply, scene), scene.processing_ms())
}

/// Says a stream of chunks.
pub(super) struct OpenAi {
    /// Each chunk as far as its choices.
    prefix: String,
    /// `,"usage":null` where usage was asked for.
    suffix: &'static str,
    begun: bool,
    chunks: usize,
}

impl OpenAi {
    pub(super) fn new(scene: &Scene<'_>) -> Self {
        let prefix = format!(
            "data: {{\"id\":\"{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},\
             \"service_tier\":\"default\",\"system_fingerprint\":\"fp_simulated\",\"choices\":",
            id(scene),
            scene.created.unix_timestamp(),
            quoted(&scene.ask.model),
        );
        let suffix = if scene.ask.stream_usage && scene.profile.usage { ",\"usage\":null" } else { "" };
        Self { prefix, suffix, begun: false, chunks: 0 }
    }

    /// One chunk; `delta` writes what stands between the braces.
    fn chunk(&mut self, out: &mut Vec<u8>, finish: Option<Finish>, delta: impl FnOnce(&mut Vec<u8>)) {
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend_from_slice(b"[{\"index\":0,\"delta\":{");
        delta(out);
        out.extend_from_slice(b"},\"logprobs\":null,\"finish_reason\":");
        match finish {
            Some(finish) => quote(out, finish_reason(finish)),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b"}]");
        out.extend_from_slice(self.suffix.as_bytes());
        // The vendor pads chunks so that their size does not tell their text.
        const PAD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
        self.chunks += 1;
        let n = 1 + self.chunks * 7 % 16;
        out.extend_from_slice(b",\"obfuscation\":\"");
        out.extend_from_slice(&PAD[self.chunks % 16..][..n]);
        out.extend_from_slice(b"\"}\n\n");
    }

    fn role(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.begun = true;
        if scene.azure {
            let first = json!({
                "choices": [], "created": 0, "id": "", "model": "", "object": "",
                "prompt_filter_results": filter_results()
            });
            let _ = write!(out, "data: {first}\n\n");
        }
        let calls = !scene.plan.calls.is_empty();
        let content: &[u8] = if calls { b"null" } else { b"\"\"" };
        self.chunk(out, None, |out| {
            out.extend_from_slice(b"\"role\":\"assistant\",\"content\":");
            out.extend_from_slice(content);
            out.extend_from_slice(b",\"refusal\":null");
        });
    }
}

impl Speaker for OpenAi {
    fn preamble(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>) {
        self.role(scene, out);
    }

    fn step(&mut self, scene: &Scene<'_>, step: &Step, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        let plan = scene.plan;
        let piece = plan.piece(step);
        let role: &[u8] = if self.begun { b"" } else { b"\"role\":\"assistant\"," };
        self.begun = true;
        self.chunk(out, None, |out| {
            out.extend_from_slice(role);
            match step.part {
                Part::Text => {
                    out.extend_from_slice(b"\"content\":");
                    quote(out, piece);
                }
                Part::Reasoning => {
                    out.extend_from_slice(b"\"reasoning_content\":");
                    quote(out, piece);
                }
                Part::Open(i) => {
                    let call = &plan.calls[i];
                    let _ = write!(
                        out,
                        "\"tool_calls\":[{{\"index\":{i},\"id\":\"call_{}\",\"type\":\"function\",\
                         \"function\":{{\"name\":{},\"arguments\":\"\"}}}}]",
                        call.id,
                        quoted(&call.name),
                    );
                }
                Part::Arguments(i) => {
                    let _ = write!(out, "\"tool_calls\":[{{\"index\":{i},\"function\":{{\"arguments\":");
                    quote(out, piece);
                    out.extend_from_slice(b"}}]");
                }
            }
        });
    }

    fn finish(&mut self, scene: &Scene<'_>, _wall: OffsetDateTime, out: &mut Vec<u8>) {
        self.chunk(out, Some(scene.plan.finish), |_| {});
        if scene.ask.stream_usage && scene.profile.usage {
            out.extend_from_slice(self.prefix.as_bytes());
            let _ = write!(out, "[],\"usage\":{}}}\n\n", usage(scene));
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn error(&mut self, _scene: &Scene<'_>, out: &mut Vec<u8>) {
        let error = json!({"error": {
            "message": "The server had an error while processing your request. Sorry about that!",
            "type": "server_error",
            "param": null,
            "code": null
        }});
        let _ = write!(out, "data: {error}\n\n");
    }
}
