//! OpenAI's dialects, and what they and Azure have in common: errors, headers, usage.

pub(super) mod chat;
pub(super) mod completions;
pub(super) mod responses;

use std::{borrow::Cow, time::Duration};

use serde_json::{Value, json};

use super::{Again, Reply, Scene};
use crate::{
    bucket::{Counted, Level, Shortage},
    profile::FaultKind,
};

/// An error in the vendor's words.
struct Words {
    status: u16,
    message: Cow<'static, str>,
    kind: &'static str,
    param: Option<&'static str>,
    code: Option<&'static str>,
}

fn error(status: u16, message: &str, kind: &str, param: Option<&str>, code: Option<&str>) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": kind, "param": param, "code": code}}))
}

pub(super) fn invalid(message: &str, field: Option<&str>) -> Reply {
    error(400, message, "invalid_request_error", field, None)
}

fn missing(field: &str) -> Reply {
    error(
        400,
        &format!("Missing required parameter: '{field}'."),
        "invalid_request_error",
        Some(field),
        Some("missing_required_parameter"),
    )
}

fn no_model() -> Reply {
    error(400, "you must provide a model parameter", "invalid_request_error", None, None)
}

fn words(kind: FaultKind, model: &str, again: Again) -> Words {
    let invalid = "invalid_request_error";
    let words = |status, message: &'static str, kind, param, code| Words {
        status,
        message: Cow::Borrowed(message),
        kind,
        param,
        code,
    };
    match kind {
        FaultKind::RateLimit => {
            let (what, counted) = again.short.map_or((String::new(), "requests"), used_up);
            let when = again.after.map_or("later".to_owned(), |wait| format!("in {}ms", wait.as_millis()));
            let message = format!(
                "Rate limit reached for {model} in organization org-simulated{what}. Please try again {when}. Visit \
                 https://platform.openai.com/account/rate-limits to learn more."
            );
            let message = Cow::Owned(message);
            Words { message, ..words(429, "", counted, None, Some("rate_limit_exceeded")) }
        }
        FaultKind::Quota => words(
            429,
            "You exceeded your current quota, please check your plan and billing details. For more \
             information on this error, read the docs: \
             https://platform.openai.com/docs/guides/error-codes/api-errors.",
            "insufficient_quota",
            None,
            Some("insufficient_quota"),
        ),
        FaultKind::Auth => words(
            401,
            "Incorrect API key provided: sk-simul*ated. You can find your API key at \
             https://platform.openai.com/account/api-keys.",
            invalid,
            None,
            Some("invalid_api_key"),
        ),
        FaultKind::Forbidden => {
            let message = format!("Project `proj_simulated` does not have access to model `{model}`");
            let message = Cow::Owned(message);
            Words { message, ..words(403, "", invalid, None, Some("model_not_found")) }
        }
        FaultKind::BadRequest => words(
            400,
            "Invalid value: 'simulated'. Supported values are: 'system', 'assistant', 'user', 'function', and 'tool'.",
            invalid,
            Some("messages[0].role"),
            Some("invalid_value"),
        ),
        FaultKind::NotFound => {
            let message = format!("The model `{model}` does not exist or you do not have access to it.");
            let message = Cow::Owned(message);
            Words { message, ..words(404, "", invalid, None, Some("model_not_found")) }
        }
        FaultKind::ContentFilter => words(
            400,
            "The response was filtered due to the prompt triggering Azure OpenAI's content management \
             policy. Please modify your prompt and retry.",
            invalid,
            Some("prompt"),
            Some("content_filter"),
        ),
        FaultKind::Overloaded => words(
            503,
            "The engine is currently overloaded, please try again later",
            "server_error",
            None,
            None,
        ),
        FaultKind::Timeout => words(504, "The request timed out", "timeout", None, None),
        _ => words(
            500,
            "The server had an error while processing your request. Sorry about that!",
            "server_error",
            None,
            None,
        ),
    }
}

/// The limit that is used up as the vendor tells it, and its kind of error.
fn used_up(short: Shortage) -> (String, &'static str) {
    let (units, letter, kind) = match short.of {
        Counted::Requests => ("requests", 'R', "requests"),
        Counted::Tokens => ("tokens", 'T', "tokens"),
        Counted::Input => ("input tokens", 'T', "tokens"),
        Counted::Output => ("output tokens", 'T', "tokens"),
    };
    let Level { limit, remaining, period, .. } = short.level;
    let period = match period.as_millis() {
        1_000 => "sec".to_owned(),
        60_000 => format!("min ({letter}PM)"),
        86_400_000 => format!("day ({letter}PD)"),
        ms => format!("{} sec", ms as f64 / 1e3),
    };
    let (used, requested) = (limit.saturating_sub(remaining), short.requested);
    (format!(" on {units} per {period}: Limit {limit}, Used {used}, Requested {requested}"), kind)
}

pub(super) fn refusal(kind: FaultKind, model: &str, request_id: &str, again: Again) -> Reply {
    let said = words(kind, model, again);
    let mut reply = error(said.status, &said.message, said.kind, said.param, said.code);
    if let Some(wait) = again.after {
        reply = reply.with("retry-after-ms", wait.as_millis().to_string());
    }
    reply.with("x-request-id", request_id).with("openai-version", "2020-10-01")
}

/// The same refusal in Azure's words, where it has its own.
pub(in super::super) fn azure_words(kind: FaultKind, reply: Reply, retry_after: Option<Duration>) -> Reply {
    let (code, message) = match kind {
        FaultKind::Auth => (
            "401",
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key \
             for an active subscription and use a correct regional API endpoint for your resource."
                .to_owned(),
        ),
        FaultKind::NotFound => (
            "DeploymentNotFound",
            "The API deployment for this resource does not exist. If you created the deployment within the last 5 \
             minutes, please wait a moment and try again."
                .to_owned(),
        ),
        FaultKind::RateLimit => {
            let seconds = retry_after.unwrap_or_default().as_secs_f64().ceil() as u64;
            let message = format!(
                "Requests to the ChatCompletions_Create Operation under Azure OpenAI API have exceeded call rate \
                 limit of your current OpenAI S0 pricing tier. Please retry after {seconds} seconds."
            );
            ("429", message)
        }
        _ => return reply,
    };
    let body = json!({"error": {"code": code, "message": message}});
    Reply { body: body.to_string().into_bytes(), status: status_of(kind), ..reply }
}

fn status_of(kind: FaultKind) -> u16 {
    words(kind, "", Again::default()).status
}

/// The error object of a stream of chunks.
fn stream_error(scene: &Scene<'_>) -> Value {
    let said = words(scene.plan.says.unwrap_or(FaultKind::Server), &scene.ask.model, Again::default());
    json!({"error": {"message": said.message, "type": said.kind, "param": said.param, "code": said.code}})
}

fn common(reply: Reply, scene: &Scene<'_>) -> Reply {
    let reply = reply.with("x-request-id", scene.request_id);
    if scene.azure {
        return reply.with("x-ms-region", "Simulated").with("apim-request-id", scene.request_id);
    }
    reply
        .with("openai-organization", "org-simulated")
        .with("openai-version", "2020-10-01")
        .with("access-control-expose-headers", "X-Request-ID")
}

fn processing(reply: Reply, ms: u64) -> Reply {
    reply.with("openai-processing-ms", ms.to_string())
}

/// The head of a stream.
pub(super) fn head(scene: &Scene<'_>) -> Reply {
    let reply = Reply { status: 200, content_type: "text/event-stream; charset=utf-8", ..Reply::default() };
    processing(common(reply, scene), scene.processing_ms())
}

/// A whole answer with its headers.
fn answer(scene: &Scene<'_>, body: &Value) -> Reply {
    processing(common(Reply::json(200, body), scene), scene.total_ns() / 1_000_000)
}

/// Usage in the words of chat and completions.
fn usage(scene: &Scene<'_>, output: u32) -> Value {
    let input = scene.plan.input_tokens;
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": u64::from(input) + u64::from(output),
        "prompt_tokens_details": {"cached_tokens": scene.plan.cached_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": scene.plan.reasoning_tokens.min(output),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0
        }
    })
}

/// What the filters of Azure say about a harmless answer.
fn safe() -> Value {
    let (safe, clear) = safe_words();
    json!({
        "hate": safe, "self_harm": safe, "sexual": safe, "violence": safe,
        "protected_material_code": clear, "protected_material_text": clear
    })
}

/// The same about a prompt.
fn prompt_filters() -> Value {
    let (safe, clear) = safe_words();
    let results =
        json!({"hate": safe, "self_harm": safe, "sexual": safe, "violence": safe, "jailbreak": clear});
    json!([{"prompt_index": 0, "content_filter_results": results}])
}

fn safe_words() -> (Value, Value) {
    (json!({"filtered": false, "severity": "safe"}), json!({"filtered": false, "detected": false}))
}

/// The tier that served a request which asked for `asked`.
fn tier(asked: &Value) -> Value {
    match asked.as_str() {
        None | Some("auto") => "default".into(),
        Some(tier) => tier.into(),
    }
}
