//! What a refusal means: status and message to one [`ErrorCode`]. Ollama's errors are a plain text without code or type,
//! so the status decides; the text is asked only for what a status cannot say: which model is missing, whether the
//! server is busy.

use http::HeaderMap;
use llms_core::{
    Error, ErrorCode,
    wire::refusal::{redact, retry_after},
};

use crate::{
    codec::PROVIDER,
    config::Config,
    wire::{ErrorBody, Refusal, Tags},
};

/// Longest message kept, in characters.
const MAX_MESSAGE: usize = 1000;
/// How Ollama's own queue refuses, also inside a stream (`ErrMaxQueue` in its `server/sched.go`).
const BUSY: &str = "server busy";

/// An error of this provider.
pub(crate) fn new(op: &'static str, code: ErrorCode, message: impl Into<String>) -> Error {
    Error::new(op, code, message).with_provider(PROVIDER)
}

/// The answer cannot be parsed as `expected`.
#[cold]
pub(crate) fn malformed(
    config: &Config,
    op: &'static str,
    expected: &str,
    why: &dyn std::fmt::Display,
) -> Error {
    let why = redact(&why.to_string(), config.secrets());
    new(op, ErrorCode::MalformedResponse, format!("expected {expected} as JSON ({why}); check base_url"))
}

/// The answer is well formed and holds nothing.
pub(crate) fn empty(op: &'static str) -> Error {
    new(op, ErrorCode::EmptyResponse, "the answer holds nothing; expected a message")
}

/// The model is not among those the server has.
pub(crate) fn model_missing(config: &Config, op: &'static str, tags: &Tags<'_>) -> Error {
    const SHOWN: usize = 8;
    let names: Vec<&str> = tags.models.iter().map(|m| &*m.name).take(SHOWN).collect();
    let more = if tags.models.len() > SHOWN { ", …" } else { "" };
    let has = if names.is_empty() { "no model".to_owned() } else { format!("{}{more}", names.join(", ")) };
    let message = format!("the server has {has}, expected `{}`; run `ollama pull {0}`", config.model);
    new(op, ErrorCode::ModelNotAvailable, message)
}

/// A refusal: any status outside 200–299.
pub(crate) fn classify(config: &Config, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    let refusal: Option<Refusal> = serde_json::from_str(&text).ok();
    let said = said(refusal.as_ref(), &text);
    let code = code_of(config, status, refusal.is_some(), said);
    let mut message = shorten(&redact(said, config.secrets()));
    if message.is_empty() {
        message = format!("HTTP {status} without a message");
    }
    match code {
        ErrorCode::ModelNotAvailable => message.push_str(&format!("; run `ollama pull {}`", config.model)),
        ErrorCode::NotFound => message.push_str(&format!(" (asked for {}; check base_url)", config.chat)),
        ErrorCode::Authentication if refusal.is_some_and(|r| r.signin_url.is_some()) => {
            message.push_str("; run `ollama signin` on the server");
        }
        ErrorCode::Authentication if !config.has_key => message.push_str(
            " (no key was sent: OLLAMA_API_KEY goes only to ollama.com, to OLLAMA_HOST and to loopback; set \
             api_key_env in the target's table)",
        ),
        _ => {}
    }
    let error = new("ollama.chat", code, message).with_status(status);
    match retry_after(headers) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

/// An error inside a successful answer: an `error` line of a stream, or a body in the place of a message. `otherwise` is
/// the code when the text is not known.
pub(crate) fn in_answer(config: &Config, op: &'static str, json: &str, otherwise: ErrorCode) -> Error {
    let refusal: Option<Refusal> = serde_json::from_str(json).ok();
    let said = said(refusal.as_ref(), json);
    let code = if said.starts_with(BUSY) { ErrorCode::Overloaded } else { otherwise };
    new(op, code, shorten(&redact(said, config.secrets())))
}

/// The server's own words.
fn said<'t>(refusal: Option<&'t Refusal>, body: &'t str) -> &'t str {
    match refusal.map(|r| &r.error) {
        Some(ErrorBody::Text(text) | ErrorBody::Object { message: Some(text) }) => text.trim(),
        _ if body.trim_start().starts_with('<') => "the server sent a page for browsers, expected JSON",
        _ => body.trim(),
    }
}

/// `in_json`: the refusal has the shape of an API, so that a 404 is about the model and not about the address.
fn code_of(config: &Config, status: u16, in_json: bool, said: &str) -> ErrorCode {
    match status {
        400 if said == "invalid model name" => ErrorCode::InvalidModel,
        401 => ErrorCode::Authentication,
        402 => ErrorCode::QuotaExceeded,
        403 => ErrorCode::Authorization,
        404 if in_json && said.contains(&config.model) => ErrorCode::ModelNotAvailable,
        // Redirects are not followed: the address is wrong.
        300..=399 | 404 | 405 => ErrorCode::NotFound,
        408 | 504 => ErrorCode::Timeout,
        429 => ErrorCode::RateLimit,
        400..=499 => ErrorCode::InvalidRequest,
        503 => ErrorCode::Overloaded,
        500..=599 if said.starts_with(BUSY) => ErrorCode::Overloaded,
        500..=599 => ErrorCode::Internal,
        _ => ErrorCode::Unknown,
    }
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use llms_core::config::ModelConfig;

    use super::*;

    fn config() -> Config {
        Config::new(&ModelConfig::new("ollama", "llama9").with_api_key("hunter2hunter2"), &|_| None).unwrap()
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: ErrorCode) -> Error {
        let error = classify(&config(), status, &HeaderMap::new(), body.as_bytes());
        assert_eq!(error.code(), expected, "{status} {body}");
        assert_eq!((error.status(), error.provider()), (Some(status), Some("ollama")));
        error
    }

    #[test]
    fn refusals_become_codes() {
        let missing = check(404, r#"{"error":"model 'llama9' not found"}"#, ErrorCode::ModelNotAvailable);
        assert_eq!(missing.message(), "model 'llama9' not found; run `ollama pull llama9`");
        check(
            404,
            r#"{"error":"model \"llama9\" not found, try pulling it first"}"#,
            ErrorCode::ModelNotAvailable,
        );
        let page = check(404, "404 page not found", ErrorCode::NotFound);
        assert_eq!(
            page.message(),
            "404 page not found (asked for http://127.0.0.1:11434/api/chat; check base_url)"
        );
        check(404, "no llama9 here", ErrorCode::NotFound);
        let busy = r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#;
        assert!(check(503, busy, ErrorCode::Overloaded).is_retryable());
        check(500, busy, ErrorCode::Overloaded);
        check(500, r#"{"error":"option \"temperature\" must be of type float32"}"#, ErrorCode::Internal);
        check(400, r#"{"error":"invalid model name"}"#, ErrorCode::InvalidModel);
        check(
            400,
            r#"{"error":"registry.ollama.ai/library/tiny:latest does not support tools"}"#,
            ErrorCode::InvalidRequest,
        );
        check(403, r#"{"error":"remote inference is unavailable"}"#, ErrorCode::Authorization);
        check(429, r#"{"error":"too many"}"#, ErrorCode::RateLimit);
        check(502, "<html>bad gateway</html>", ErrorCode::Internal);
        check(504, "", ErrorCode::Timeout);
        check(302, "", ErrorCode::NotFound);
        check(700, "", ErrorCode::Unknown);
    }

    #[test]
    fn messages_say_what_to_do_and_hold_no_key() {
        let signin = r#"{"error":"unauthorized","signin_url":"https://ollama.com/connect"}"#;
        let message = "unauthorized; run `ollama signin` on the server";
        assert_eq!(check(401, signin, ErrorCode::Authentication).message(), message);
        assert_eq!(
            check(401, r#"{"error":{"message":"key hunter2hunter2 is wrong"}}"#, ErrorCode::Authentication)
                .message(),
            "key [redacted] is wrong"
        );
        assert_eq!(check(500, " ", ErrorCode::Internal).message(), "HTTP 500 without a message");
        assert_eq!(check(500, &"x".repeat(5000), ErrorCode::Internal).message().chars().count(), 1001);
        let keyless = Config::new(&ModelConfig::new("ollama", "m"), &|_| None).unwrap();
        let e = classify(&keyless, 401, &HeaderMap::new(), b"");
        assert!(e.message().contains("OLLAMA_API_KEY goes only to"), "{e}");
    }

    #[test]
    fn error_lines_are_classified() {
        let inside = |json: &str| in_answer(&config(), "ollama.stream", json, ErrorCode::Stream);
        assert_eq!(inside(r#"{"error":"server busy, please try again."}"#).code(), ErrorCode::Overloaded);
        let crash = inside(r#"{"error":"an error was encountered while running the model"}"#);
        assert_eq!(crash.code(), ErrorCode::Stream);
        assert_eq!(crash.message(), "an error was encountered while running the model");
    }
}
