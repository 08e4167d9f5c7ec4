//! What a refusal means: status and body to one [`Error`], the same for whole answers, error objects inside a 200 and
//! error objects inside a stream.
//!
//! The words of the body decide where they are known, else the status. Messages keep the server's own text, without
//! keys. Nothing is retried here.

use http::HeaderMap;
use llms_core::{
    Error, ErrorCode,
    wire::refusal::{redact, redirect, retry_after, shorten},
};
use serde_json::Value;

use crate::{api::Api, codec::PROVIDER, config::Config, hooks};

/// An error of this provider.
pub(crate) fn new(op: &'static str, code: ErrorCode, message: impl Into<String>) -> Error {
    Error::new(op, code, message).with_provider(PROVIDER)
}

/// The answer is not what the protocol says; `what` is wrong with it.
pub(crate) fn protocol(op: &'static str, what: &str) -> Error {
    new(op, ErrorCode::MalformedResponse, format!("{what}; expected the server to follow the protocol"))
}

/// The answer cannot be parsed as `expected`.
pub(crate) fn malformed(
    config: &Config,
    op: &'static str,
    expected: &str,
    why: &dyn std::fmt::Display,
) -> Error {
    // A parser's complaint quotes what it found, however long that is.
    let why = shorten(&redact(&why.to_string(), config.secrets()));
    new(op, ErrorCode::MalformedResponse, format!("expected {expected} as JSON ({why}); check base_url"))
}

/// The answer is well formed and has no `what` in it.
pub(crate) fn empty(op: &'static str, what: &str) -> Error {
    new(op, ErrorCode::EmptyResponse, format!("the answer has no {what}; expected one"))
}

/// The model is not among those the server lists.
pub(crate) fn model_missing(config: &Config, names: &[&str]) -> Error {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    let more = if names.len() > SHOWN { ", …" } else { "" };
    let message = format!(
        "the server does not list the model `{}`; it lists {shown}{more}; name one of these as the \
         model, or probe with one token where the list is not complete",
        config.model
    );
    new("openai.health", ErrorCode::ModelNotAvailable, redact(&message, config.secrets()))
}

/// A refusal: any status outside 200–299.
pub(crate) fn classify(config: &Config, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let report = match serde_json::from_str::<Value>(&text) {
        Ok(json) => Report::read(&json),
        Err(_) => Report::of_text(&text),
    };
    let code = report.code(Some(status)).unwrap_or(ErrorCode::Unknown);
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let mut message = report.message(config).unwrap_or_else(|| format!("HTTP {status} without a message"));
    match code {
        ErrorCode::Authentication if !config.has_key => {
            message.push_str(
                " (no key was sent: OPENAI_API_KEY goes only to the vendor's hosts, to OPENAI_BASE_URL and to \
                 loopback; set api_key_env in the target's table)",
            );
        }
        ErrorCode::NotFound => {
            message.push_str(&format!(" (asked for {}; check base_url)", config.endpoint));
            if config.api == Api::Responses {
                message.push_str(
                    " (not every server has the responses API: provider_specific.api = \"chat\" is what all have)",
                );
            }
            message.extend(redirect(status, headers, config.secrets()));
        }
        _ => {}
    }
    let mut error = new(config.api.op(), code, message).with_status(status);
    if let Some(word) = report.word(config) {
        error = error.with_provider_code(word);
    }
    let id = header("x-request-id").or_else(|| header("apim-request-id"));
    if let Some(id) = id.filter(|id| !config.shows_secret(id)) {
        error = error.with_request_id(id);
    }
    // The reset headers come with every answer; only for a limit that was hit do they say how long to wait.
    let by_reset = || hooks::wait_for_reset(config.service, headers).filter(|_| code == ErrorCode::RateLimit);
    if let Some(wait) = retry_after(headers).or_else(by_reset) {
        error = error.with_retry_after(wait);
    }
    error
}

/// An error object that came inside a 200, in the place of an answer or of a chunk. `otherwise` is the code when neither
/// words nor numbers in it are known.
pub(crate) fn in_answer(config: &Config, op: &'static str, json: &str, otherwise: ErrorCode) -> Error {
    let report = match serde_json::from_str::<Value>(json) {
        Ok(json) => Report::read(&json),
        Err(_) => Report::of_text(json),
    };
    report.into_error(config, op, otherwise)
}

/// A response whose state is `failed`: its error object may stand in the response inside an event.
pub(crate) fn of_failed(config: &Config, op: &'static str, json: &str, otherwise: ErrorCode) -> Error {
    let value: Value = serde_json::from_str(json).unwrap_or_default();
    let found = [&value["response"]["error"], &value["error"]].into_iter().find(|e| !e.is_null());
    match found {
        Some(error) => Report::read(error).into_error(config, op, otherwise),
        None => new(op, otherwise, "the response failed, and the server does not say why"),
    }
}

/// An error that stands where an answer should, without an `error` field (`{"object":"error","message":…}`,
/// `{"detail":…}`); `None` when `json` is something harmless.
pub(crate) fn of_other_shape(
    config: &Config,
    op: &'static str,
    json: &str,
    otherwise: ErrorCode,
) -> Option<Error> {
    let value: Value = serde_json::from_str(json).ok()?;
    let is_error = value["object"] == "error"
        || ["message", "detail"].iter().any(|key| value.get(key).is_some_and(|v| !v.is_null()));
    is_error.then(|| Report::read(&value).into_error(config, op, otherwise))
}

/// What a body says about the failure.
#[derive(Debug, Default)]
struct Report {
    message: Option<String>,
    /// Code, type and inner code in this order, as the server writes them.
    words: Vec<String>,
    /// A status inside the body, of servers that have begun to answer 200.
    status: Option<u16>,
}

impl Report {
    /// Reads every shape seen: `{"error":{…}}`, `{"error":"…"}`, the bare object, `{"detail":…}`, a bare text.
    fn read(json: &Value) -> Self {
        let object = match &json["error"] {
            Value::Null => json,
            inner => inner,
        };
        if let Value::String(text) = object {
            let mut report = Self::of_text(text);
            // Text generation inference puts the type beside the text.
            report.words.extend(json["error_type"].as_str().map(str::to_owned));
            return report;
        }
        let mut report = Self::default();
        for key in ["code", "type", "status", "statusCode", "http_status_code", "error_type"] {
            match &object[key] {
                // The type of an event of the Responses API says nothing more.
                Value::String(s) if !s.is_empty() && s != "error" => report.words.push(s.clone()),
                Value::Number(n) => {
                    report.status = report.status.or(n.as_u64().and_then(|n| n.try_into().ok()));
                }
                _ => {}
            }
        }
        report.words.extend(object["innererror"]["code"].as_str().map(str::to_owned));
        report.status = report.status.or_else(|| report.words.iter().find_map(|w| w.parse().ok()));
        // `error`: text generation inference, inside a stream.
        report.message = ["message", "msg", "detail", "error"].iter().find_map(|key| match &object[key] {
            Value::Null => None,
            Value::String(s) => Some(s.clone()),
            other => Some(other.to_string()),
        });
        report
    }

    /// A body that is no JSON. Pages for browsers say nothing worth keeping.
    fn of_text(text: &str) -> Self {
        let text = text.trim();
        let message = if text.starts_with('<') {
            Some("the server sent a page for browsers, expected JSON".to_owned())
        } else {
            (!text.is_empty()).then(|| text.to_owned())
        };
        Self { message, ..Self::default() }
    }

    fn into_error(self, config: &Config, op: &'static str, otherwise: ErrorCode) -> Error {
        let code = self.code(None).unwrap_or(otherwise);
        let message = self.message(config).unwrap_or_else(|| "an error object without a message".to_owned());
        let error = new(op, code, message);
        match self.word(config) {
            Some(word) => error.with_provider_code(word),
            None => error,
        }
    }

    /// The message, without keys, cut to a readable length.
    fn message(&self, config: &Config) -> Option<String> {
        Some(shorten(&redact(self.message.as_deref()?.trim(), config.secrets())))
    }

    /// The server's own word for the failure.
    fn word(&self, config: &Config) -> Option<String> {
        let word = self.words.iter().find(|w| w.parse::<u16>().is_err()).or(self.words.first())?;
        Some(shorten(&redact(word, config.secrets())))
    }

    /// What it means; `None` when neither words nor status are known.
    fn code(&self, status: Option<u16>) -> Option<ErrorCode> {
        let status = status.filter(|s| !(200..300).contains(s)).or(self.status);
        let by_word = |meaning: fn(&str) -> Option<ErrorCode>| {
            self.words.iter().find_map(|w| meaning(&w.to_ascii_lowercase()))
        };
        by_word(of_word).or_else(|| self.of_status(status?)).or_else(|| by_word(of_vague_word))
    }

    fn of_status(&self, status: u16) -> Option<ErrorCode> {
        Some(match status {
            401 => ErrorCode::Authentication,
            402 => ErrorCode::QuotaExceeded,
            403 => ErrorCode::Authorization,
            404 if self.is_about_a_model() => ErrorCode::ModelNotAvailable,
            // Redirects are not followed: the address is wrong.
            300..=399 | 404 | 405 => ErrorCode::NotFound,
            408 | 504 => ErrorCode::Timeout,
            429 if self.is_about_quota() => ErrorCode::QuotaExceeded,
            429 => ErrorCode::RateLimit,
            400..=499 => ErrorCode::InvalidRequest,
            503 | 529 => ErrorCode::Overloaded,
            500..=599 => ErrorCode::Internal,
            _ => return None,
        })
    }

    /// vLLM, SGLang and gateways answer 404 for a wrong model with no word but their message.
    fn is_about_a_model(&self) -> bool {
        self.message.as_ref().is_some_and(|m| {
            let m = m.to_ascii_lowercase();
            // A path such as /v1/models is about the address.
            m.contains("model") && !m.contains("/models")
        })
    }

    /// A 429 that no waiting cures, from servers without the word `insufficient_quota`.
    fn is_about_quota(&self) -> bool {
        self.message.as_ref().is_some_and(|m| {
            let m = m.to_ascii_lowercase();
            m.contains("exceeded your current quota") || m.contains("insufficient balance")
        })
    }
}

/// The meaning of a word in `code` or `type`, lower case, where it says more than a status.
fn of_word(word: &str) -> Option<ErrorCode> {
    Some(match word {
        "insufficient_quota" | "billing_hard_limit_reached" | "billing_not_active" | "access_terminated" => {
            ErrorCode::QuotaExceeded
        }
        // OpenAI's type is the unit of the limit: `tokens`, `requests`.
        "rate_limit_exceeded" | "rate_limit_error" | "rate_limit_reached" | "tokens" | "requests" => {
            ErrorCode::RateLimit
        }
        "model_not_found" | "deploymentnotfound" | "model_not_available" => ErrorCode::ModelNotAvailable,
        "invalid_api_key" | "authentication_error" | "account_deactivated" => ErrorCode::Authentication,
        "permission_error" | "insufficient_permissions" | "unsupported_country_region_territory" => {
            ErrorCode::Authorization
        }
        // The latter three: a response that failed (Responses API).
        "content_filter"
        | "content_policy_violation"
        | "responsibleaipolicyviolation"
        | "image_content_policy_violation"
        | "bio_policy"
        | "misalignment_policy_violation" => ErrorCode::ContentFiltered,
        // All but the first three: a response that failed.
        "context_length_exceeded"
        | "exceed_context_size_error"
        | "invalid_prompt"
        | "invalid_image"
        | "invalid_image_format"
        | "invalid_base64_image"
        | "invalid_image_url"
        | "image_too_large"
        | "image_too_small"
        | "image_parse_error"
        | "invalid_image_mode"
        | "image_file_too_large"
        | "unsupported_image_media_type"
        | "empty_image_file"
        | "failed_to_download_image"
        | "image_file_not_found"
        | "data_residency_mismatch" => ErrorCode::InvalidRequest,
        "vector_store_timeout" => ErrorCode::Timeout,
        // Text generation inference, which says 424 with them.
        "generation" | "incomplete_generation" => ErrorCode::Internal,
        // llama.cpp while it loads its model; OpenAI when it asks to slow down the ramp.
        "unavailable_error" | "server_overloaded" | "engine_overloaded" | "overloaded_error"
        | "slow_down" | "overloaded" => ErrorCode::Overloaded,
        _ => return None,
    })
}

/// Words that only repeat a status, and less exactly (`server_error` comes with 500 and with 503): asked when there is
/// no status, as inside a stream.
fn of_vague_word(word: &str) -> Option<ErrorCode> {
    Some(match word {
        "server_error" | "internal_error" | "internal_server_error" | "internalservererror" => {
            ErrorCode::Internal
        }
        "invalid_request_error" | "badrequesterror" => ErrorCode::InvalidRequest,
        _ => return None,
    })
}
