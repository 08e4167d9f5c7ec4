//! What a refusal means: status and error object to one [`ErrorCode`]. The only place that knows Anthropic's words for
//! failures; refusals and `error` events inside a stream go through the same table.
//!
//! Nothing is read from the wording of a message, save whether it quotes the model that was asked for, and the sentence
//! about credit, which has no word of its own.

use http::{HeaderMap, Uri};
use llms_core::{
    Error, ErrorCode,
    wire::refusal::{redact, redirect, retry_after, shorten},
};

use crate::{
    codec::PROVIDER,
    config::Config,
    limits,
    wire::{ErrorObject, Refusal},
};

/// How an `invalid_request_error` with status 400 begins that is about money.
const NO_CREDIT: &str = "Your credit balance is too low";

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

/// A refusal of what `op` asked of `uri`: any status outside 200–299.
pub(crate) fn classify(
    config: &Config,
    uri: &Uri,
    op: &'static str,
    status: u16,
    headers: &HeaderMap,
    body: &[u8],
) -> Error {
    let text = String::from_utf8_lossy(body);
    let refusal: Option<Refusal<'_>> = serde_json::from_str(&text).ok();
    let object = refusal.as_ref().map(|r| &r.error);
    let code = match status {
        404 if object.is_some_and(|o| names_model(o, config)) => ErrorCode::ModelNotAvailable,
        _ => code_of(object, Some(status)),
    };
    let mut message =
        said(config, object, &text).unwrap_or_else(|| format!("HTTP {status} without a message"));
    match code {
        ErrorCode::Authentication if !config.has_key => message.push_str(
            " (no key was sent: ANTHROPIC_API_KEY goes only to the vendor's host, to ANTHROPIC_BASE_URL and to \
             loopback; set api_key_env in the target's table)",
        ),
        ErrorCode::NotFound => {
            message.push_str(&format!(" (asked for {uri}; check base_url)"));
            message.extend(redirect(status, headers, config.secrets()));
        }
        _ => {}
    }
    let mut error = describe(config, new(op, code, message), refusal.as_ref()).with_status(status);
    if let Some(id) = headers.get("request-id").and_then(|v| v.to_str().ok()) {
        error = error.with_request_id(config.clean(id));
    }
    // Without the header the limits themselves say when they are full again.
    let reset = || if code == ErrorCode::RateLimit { limits::until_reset(headers) } else { None };
    match retry_after(headers).or_else(reset) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

/// An error object inside a successful answer: the data of an `error` event, or a body in the place of a message.
/// `otherwise` is the code when its words are not known.
pub(crate) fn in_answer(config: &Config, op: &'static str, json: &str, otherwise: ErrorCode) -> Error {
    let refusal: Option<Refusal<'_>> = serde_json::from_str(json).ok();
    let object = refusal.as_ref().map(|r| &r.error);
    let code = match code_of(object, None) {
        ErrorCode::Unknown => otherwise,
        code => code,
    };
    let message =
        said(config, object, json).unwrap_or_else(|| "an error object without a message".to_owned());
    describe(config, new(op, code, message), refusal.as_ref())
}

/// Adds what the body says besides the message.
fn describe(config: &Config, mut error: Error, refusal: Option<&Refusal<'_>>) -> Error {
    let Some(refusal) = refusal else { return error };
    if let Some(word) = provider_code(&refusal.error) {
        error = error.with_provider_code(shorten(&redact(word, config.secrets())));
    }
    match &refusal.request_id {
        Some(id) => error.with_request_id(config.clean(id)),
        None => error,
    }
}

/// The server's own words, without keys, cut to a readable length.
fn said(config: &Config, object: Option<&ErrorObject<'_>>, body: &str) -> Option<String> {
    let text = match object.and_then(|o| o.message.as_ref()) {
        Some(message) => message.trim(),
        None if body.trim_start().starts_with('<') => "the server sent a page for browsers, expected JSON",
        None => body.trim(),
    };
    (!text.is_empty()).then(|| shorten(&redact(text, config.secrets())))
}

/// Whether a refusal has the vendor's own shape, which compatible servers do not use for pages they lack.
pub(crate) fn is_of_the_vendor(body: &[u8]) -> bool {
    serde_json::from_slice::<Refusal<'_>>(body).is_ok_and(|r| r.kind.is_some_and(|k| &*k == "error"))
}

/// The stable name of the cause where there is one, else its broad category.
fn provider_code<'e>(object: &'e ErrorObject<'_>) -> Option<&'e str> {
    cause(object).or(object.kind.as_deref())
}

fn cause<'e>(object: &'e ErrorObject<'_>) -> Option<&'e str> {
    object.details.as_ref()?.error_code.as_deref()
}

fn names_model(object: &ErrorObject<'_>, config: &Config) -> bool {
    object.kind.as_deref() == Some("not_found_error")
        && object.message.as_ref().is_some_and(|m| m.contains(&config.model))
}

/// `status` is `None` inside a successful answer; `Unknown` where neither words nor status are known.
fn code_of(object: Option<&ErrorObject<'_>>, status: Option<u16>) -> ErrorCode {
    let of_money = |c: &str| ["spend_limit", "billing", "billable"].iter().any(|w| c.contains(w));
    let no_credit = |o: &ErrorObject<'_>| o.message.as_ref().is_some_and(|m| m.starts_with(NO_CREDIT));
    if object.and_then(cause).is_some_and(of_money) || object.is_some_and(no_credit) {
        return ErrorCode::QuotaExceeded;
    }
    match object.and_then(|o| o.kind.as_deref()) {
        Some("authentication_error") => ErrorCode::Authentication,
        Some("billing_error") => ErrorCode::QuotaExceeded,
        Some("permission_error") => ErrorCode::Authorization,
        Some("rate_limit_error") => ErrorCode::RateLimit,
        Some("timeout_error") => ErrorCode::Timeout,
        Some("overloaded_error") => ErrorCode::Overloaded,
        Some("not_found_error") => ErrorCode::NotFound,
        Some("request_too_large") => ErrorCode::InvalidRequest,
        // Broad words: a status says more.
        Some("invalid_request_error") => status.map_or(ErrorCode::InvalidRequest, code_of_status),
        Some("api_error") => status.map_or(ErrorCode::Internal, code_of_status),
        _ => status.map_or(ErrorCode::Unknown, code_of_status),
    }
}

fn code_of_status(status: u16) -> ErrorCode {
    match status {
        401 => ErrorCode::Authentication,
        402 => ErrorCode::QuotaExceeded,
        403 => ErrorCode::Authorization,
        // Redirects are not followed: the address is wrong.
        300..=399 | 404 | 405 => ErrorCode::NotFound,
        408 | 504 => ErrorCode::Timeout,
        429 => ErrorCode::RateLimit,
        400..=499 => ErrorCode::InvalidRequest,
        503 | 529 => ErrorCode::Overloaded,
        500..=599 => ErrorCode::Internal,
        _ => ErrorCode::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llms_core::config::ModelConfig;

    use super::*;

    fn config() -> Config {
        let config = ModelConfig::new("anthropic", "claude-x").with_api_key("sk-ant-hunter2hunter2");
        Config::new(&config, &|_| None).unwrap()
    }

    fn refuse(config: &Config, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
        classify(config, &config.messages, "anthropic.messages", status, headers, body)
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: ErrorCode) -> Error {
        let error = refuse(&config(), status, &HeaderMap::new(), body.as_bytes());
        assert_eq!(error.code(), expected, "{status} {body}");
        assert_eq!((error.status(), error.provider()), (Some(status), Some("anthropic")));
        error
    }

    fn body(kind: &str, message: &str) -> String {
        format!(
            r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_7"}}"#
        )
    }

    #[test]
    fn the_vendors_words_become_codes() {
        check(400, &body("invalid_request_error", "max_tokens: required"), ErrorCode::InvalidRequest);
        check(413, &body("request_too_large", "too large"), ErrorCode::InvalidRequest);
        check(409, &body("conflict_error", "conflict"), ErrorCode::InvalidRequest);
        check(401, &body("authentication_error", "invalid x-api-key"), ErrorCode::Authentication);
        check(402, &body("billing_error", "pay"), ErrorCode::QuotaExceeded);
        let broke =
            "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing";
        check(400, &body("invalid_request_error", broke), ErrorCode::QuotaExceeded);
        check(403, &body("permission_error", "no"), ErrorCode::Authorization);
        check(404, &body("not_found_error", "Not Found"), ErrorCode::NotFound);
        check(404, &body("not_found_error", "model: claude-x"), ErrorCode::ModelNotAvailable);
        check(429, &body("rate_limit_error", "slow down"), ErrorCode::RateLimit);
        check(500, &body("api_error", "oops"), ErrorCode::Internal);
        check(504, &body("timeout_error", "late"), ErrorCode::Timeout);
        check(529, &body("overloaded_error", "Overloaded"), ErrorCode::Overloaded);
        let spent = r#"{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}}}"#;
        let error = check(429, spent, ErrorCode::QuotaExceeded);
        assert_eq!(error.provider_code(), Some("enforced_spend_limit_reached"));
        assert!(!error.is_retryable());
    }

    #[test]
    fn without_the_vendors_words_the_status_speaks() {
        check(
            503,
            r#"{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}"#,
            ErrorCode::Overloaded,
        );
        check(529, "", ErrorCode::Overloaded);
        check(502, "<html>bad gateway</html>", ErrorCode::Internal);
        check(418, "teapot", ErrorCode::InvalidRequest);
        check(302, "", ErrorCode::NotFound);
        check(700, "", ErrorCode::Unknown);
        check(401, "", ErrorCode::Authentication);
    }

    #[test]
    fn messages_say_what_to_do() {
        let e = check(404, "<html>nginx</html>", ErrorCode::NotFound);
        assert_eq!(
            e.message(),
            "the server sent a page for browsers, expected JSON (asked for https://api.anthropic.com/v1/messages; \
             check base_url)"
        );
        assert_eq!(check(500, " ", ErrorCode::Internal).message(), "HTTP 500 without a message");
        assert_eq!(check(500, &"x".repeat(5000), ErrorCode::Internal).message().chars().count(), 1001);
        let keyless = ModelConfig::new("anthropic", "m").with_base_url("https://gateway.example");
        let keyless = Config::new(&keyless, &|_| None).unwrap();
        let e = refuse(&keyless, 401, &HeaderMap::new(), b"who are you?");
        assert!(e.message().starts_with("who are you? (no key was sent: ANTHROPIC_API_KEY goes only"));
    }

    #[test]
    fn request_id_wait_and_code_are_kept_and_keys_are_not() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "27".parse().unwrap());
        let text = body("rate_limit_error", "key sk-ant-hunter2hunter2 is over its limit");
        let e = refuse(&config(), 429, &headers, text.as_bytes());
        assert_eq!((e.retry_after(), e.request_id()), (Some(Duration::from_secs(27)), Some("req_7")));
        assert_eq!(e.provider_code(), Some("rate_limit_error"));
        assert_eq!(e.message(), "key [redacted] is over its limit");
        headers.insert("request-id", "req_8".parse().unwrap());
        assert_eq!(refuse(&config(), 429, &headers, text.as_bytes()).request_id(), Some("req_8"));
    }

    #[test]
    fn without_retry_after_a_used_up_limit_says_how_long_to_wait() {
        let mut headers = HeaderMap::new();
        headers.insert("date", "Tue, 29 Jul 2025 15:56:00 GMT".parse().unwrap());
        headers.insert("anthropic-ratelimit-requests-reset", "2025-07-29T15:56:38Z".parse().unwrap());
        let limited = body("rate_limit_error", "slow down");
        let wait = |headers: &HeaderMap, status| {
            refuse(&config(), status, headers, limited.as_bytes()).retry_after()
        };
        assert_eq!(wait(&headers, 429), Some(Duration::from_secs(38)));
        headers.insert("retry-after", "2".parse().unwrap());
        assert_eq!(wait(&headers, 429), Some(Duration::from_secs(2)));
        headers.remove("retry-after");
        let other = body("api_error", "oops");
        assert_eq!(refuse(&config(), 500, &headers, other.as_bytes()).retry_after(), None);
    }

    #[test]
    fn errors_inside_an_answer_are_classified_by_the_same_words() {
        let config = config();
        let inside = |data: &str| in_answer(&config, "anthropic.stream", data, ErrorCode::Stream);
        assert_eq!(inside(&body("overloaded_error", "Overloaded")).code(), ErrorCode::Overloaded);
        assert_eq!(inside(&body("api_error", "oops")).code(), ErrorCode::Internal);
        assert_eq!(inside(&body("brand_new_error", "?")).code(), ErrorCode::Stream);
        assert_eq!(inside("no JSON").code(), ErrorCode::Stream);
    }

    #[test]
    fn only_the_vendors_shape_says_that_a_model_is_missing() {
        assert!(is_of_the_vendor(body("not_found_error", "model: x").as_bytes()));
        let llama = br#"{"error":{"message":"File Not Found","type":"not_found_error","code":404}}"#;
        assert!(!is_of_the_vendor(llama));
        assert!(!is_of_the_vendor(b"404 page not found"));
    }
}
