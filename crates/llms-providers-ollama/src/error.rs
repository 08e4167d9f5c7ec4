//! What a refusal means: status and message to one [`ErrorCode`]. Ollama's errors are a plain text without code or type,
//! so the status decides; the text is asked only for what a status cannot say: which model is missing, whether the
//! server is busy.

use http::{HeaderMap, Uri};
use llms_core::{
    Error, ErrorCode,
    wire::refusal::{redact, redirect, retry_after, shorten},
};

use crate::{
    codec::PROVIDER,
    config::Config,
    hooks,
    wire::{ErrorBody, Refusal},
};

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
    // A parser's complaint quotes what it found, however long that is.
    let why = shorten(&redact(&why.to_string(), config.secrets()));
    new(op, ErrorCode::MalformedResponse, format!("expected {expected} as JSON ({why}); check base_url"))
}

/// The answer is well formed and holds nothing.
pub(crate) fn empty(op: &'static str) -> Error {
    new(op, ErrorCode::EmptyResponse, "the answer holds nothing; expected a message")
}

/// The server says that it loaded or unloaded the model, and nothing else.
pub(crate) fn no_answer(op: &'static str, reason: &str) -> Error {
    let message = format!("the server only says `{reason}` and generated nothing; send the request again");
    new(op, ErrorCode::EmptyResponse, message).with_provider_code(reason)
}

/// The model is not among those the server has.
pub(crate) fn model_missing<'n>(
    config: &Config,
    op: &'static str,
    names: impl Iterator<Item = &'n str>,
) -> Error {
    let has = there(names);
    let message = format!("the server has {has}, expected `{0}`; run `ollama pull {0}`", config.model);
    new(op, ErrorCode::ModelNotAvailable, message)
}

/// The models of a server, in words.
pub(crate) fn there<'n>(names: impl Iterator<Item = &'n str>) -> String {
    const SHOWN: usize = 8;
    let mut names = names.peekable();
    let shown: Vec<&str> = names.by_ref().take(SHOWN).collect();
    let more = if names.peek().is_some() { ", …" } else { "" };
    if shown.is_empty() { "no model".to_owned() } else { format!("{}{more}", shown.join(", ")) }
}

/// `error`, with the models that the server has.
pub(crate) fn with_models(error: &Error, there: &str) -> Error {
    let message = format!("{}; the server has {there}", error.message());
    let mut named = Error::new(error.op().to_owned(), error.code(), message).with_provider(PROVIDER);
    if let Some(phase) = error.phase() {
        named = named.with_phase(phase);
    }
    if let Some(status) = error.status() {
        named = named.with_status(status);
    }
    match error.request_id() {
        Some(id) => named.with_request_id(id),
        None => named,
    }
}

/// A refusal: any status outside 200–299.
pub(crate) fn classify(config: &Config, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let asked = (config.api.op(), config.asked(), config.model.as_str());
    classify_for(config, asked, status, headers, body)
}

/// A refusal of another request than for an answer: the operation, where it went, the model it was about.
pub(crate) fn classify_for(
    config: &Config,
    (op, uri, model): (&'static str, &Uri, &str),
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Error {
    let text = String::from_utf8_lossy(body);
    let refusal: Option<Refusal> = serde_json::from_str(&text).ok();
    let said = said(refusal.as_ref(), &text);
    let code = code_of(model, status, refusal.is_some(), said);
    let mut message = shorten(&redact(said, config.secrets()));
    if message.is_empty() {
        message = format!("HTTP {status} without a message");
    }
    match code {
        ErrorCode::ModelNotAvailable => message.push_str(&format!("; run `ollama pull {model}`")),
        ErrorCode::NotFound => {
            message.push_str(&format!(" (asked for {uri}; check base_url)"));
            message.extend(redirect(status, headers, config.secrets()));
        }
        ErrorCode::Authentication if refusal.as_ref().is_some_and(|r| r.signin_url.is_some()) => {
            message.push_str("; run `ollama signin` on the server");
        }
        ErrorCode::Authentication if !config.has_key => message.push_str(
            " (no key was sent: OLLAMA_API_KEY goes only to ollama.com, to OLLAMA_HOST and to loopback; set \
             api_key_env in the target's table)",
        ),
        _ => {}
    }
    let mut error = new(op, code, message).with_status(status);
    if let Some(id) = hooks::request_id(headers).or_else(|| reference(said)) {
        error = error.with_request_id(config.clean(id));
    }
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
fn code_of(model: &str, status: u16, in_json: bool, said: &str) -> ErrorCode {
    match status {
        400 if said == "invalid model name" => ErrorCode::InvalidModel,
        401 => ErrorCode::Authentication,
        402 => ErrorCode::QuotaExceeded,
        403 => ErrorCode::Authorization,
        404 if in_json && said.contains(model) => ErrorCode::ModelNotAvailable,
        // Redirects are not followed: the address is wrong.
        300..=399 | 404 | 405 => ErrorCode::NotFound,
        408 | 504 => ErrorCode::Timeout,
        // ollama.com: "you have reached your weekly usage limit, upgrade for higher limits"; waiting seconds is no help.
        429 if said.contains("usage limit") => ErrorCode::QuotaExceeded,
        429 => ErrorCode::RateLimit,
        400..=499 => ErrorCode::InvalidRequest,
        503 => ErrorCode::Overloaded,
        500..=599 if said.starts_with(BUSY) => ErrorCode::Overloaded,
        500..=599 => ErrorCode::Internal,
        _ => ErrorCode::Unknown,
    }
}

/// The id that ollama.com puts into its messages: `(ref: …)`.
fn reference(said: &str) -> Option<&str> {
    let (id, _) = said.split_once("(ref: ")?.1.split_once(')')?;
    (!id.is_empty() && !id.contains(char::is_whitespace)).then_some(id)
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
        let weekly = r#"{"error":"you (x) have reached your weekly usage limit, upgrade for higher limits: https://ollama.com/upgrade (ref: 3f1c-9)"}"#;
        let weekly = check(429, weekly, ErrorCode::QuotaExceeded);
        assert_eq!((weekly.is_retryable(), weekly.request_id()), (false, Some("3f1c-9")));
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
