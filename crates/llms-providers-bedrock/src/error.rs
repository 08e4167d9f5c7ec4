//! What a failure means: refusals by status and exception name, exceptions inside a stream, and the SDK's own
//! errors.
//!
//! Exception names come first, the status is the fallback: AWS answers 403 for a wrong signature and for a missing
//! right alike, and 429 both for throttling and for a model that is not loaded.
//!
//! The SDK's errors are told in words and never kept as a source: their `Debug` prints heads and bodies of the exchange,
//! answers and whatever a server echoes included.

use std::{error::Error as StdError, time::Duration};

use crate::{
    call::Call,
    config::Config,
    exception::{Body, Exception, bare, code_of_exception, code_of_message, code_of_status},
};
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::event_stream::{Message, RawMessage};
use http::HeaderMap;
use llms_core::{
    CallPhase, Error, ErrorCode,
    wire::refusal::{redact, redirect, retry_after},
};

/// What to set when there are no credentials, or the wrong ones.
pub(crate) const CREDENTIALS_HELP: &str = "set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and \
     AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN for temporary ones), or AWS_PROFILE; for SSO and \
     credential_process profiles run: eval \"$(aws configure export-credentials --format env)\"";

/// Longest text of a body that is no AWS error, e.g. a proxy's page, kept for the message.
const MAX_TEXT: usize = 300;

/// The error that a refusal (status outside 200–299) means.
pub(crate) fn classify(config: &Config, status: u16, headers: &HeaderMap, body: &[u8]) -> Error {
    let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let parsed = Body::read(body);
    let name = header("x-amzn-errortype")
        .map(str::to_owned)
        .or_else(|| parsed.as_ref().and_then(|b| b.code.clone().or_else(|| b.kind.clone())))
        .map(|n| redact(bare(&n), config.secrets()))
        .filter(|n| !n.is_empty());
    let message = match parsed.as_ref().and_then(Body::text) {
        Some(text) => redact(&text, config.secrets()),
        None => match plain_text(config, body) {
            Some(text) => format!("the endpoint answered: {text}"),
            None => "the endpoint refused without a message".to_owned(),
        },
    };
    let code = name
        .as_deref()
        .and_then(|n| code_of_exception(n, &message))
        .or_else(|| code_of_message(&message))
        .unwrap_or_else(|| code_of_status(status));
    let message = match redirect(status, headers, config.secrets()) {
        Some(to) => message + &to,
        None => message,
    };
    let message = match code {
        ErrorCode::Authentication => format!("{message}; {CREDENTIALS_HELP}"),
        _ => message,
    };
    let mut error = Error::new("bedrock.request", code, message).with_status(status);
    if let Some(name) = name {
        error = error.with_provider_code(name);
    }
    if let Some(id) = header("x-amzn-requestid") {
        error = error.with_request_id(redact(id, config.secrets()));
    }
    match retry_after(headers) {
        Some(wait) => error.with_retry_after(wait.max(Duration::ZERO)),
        None => error,
    }
}

/// The beginning of a body that is no JSON, on one line, without secrets.
fn plain_text(config: &Config, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let mut words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(MAX_TEXT) {
        words.truncate(end);
        words.push('…');
    }
    (!words.is_empty()).then(|| redact(&words, config.secrets()))
}

/// The error of a refusal, by as much of its text as has come; `None` while the call has not been refused.
pub(crate) fn refusal(call: &Call) -> Option<Error> {
    let state = call.state();
    let head = state.head.as_ref().filter(|head| head.is_refusal())?;
    let error = classify(call.config(), head.status, &head.headers, &state.refusal);
    Some(error.or_phase(CallPhase::Headers))
}

/// What the SDK's failure of a whole call means.
pub(crate) fn of_call<E>(call: &Call, error: SdkError<E, HttpResponse>) -> Error
where
    E: StdError + Send + Sync + 'static,
{
    if let Some(error) = call.state().error.take() {
        return error;
    }
    if let Some(refusal) = refusal(call) {
        return refusal;
    }
    let text = chain(call.config(), &error);
    if !call.was_sent() {
        return prepare(&error, &text).with_phase(CallPhase::Prepare);
    }
    with_id(
        call,
        Error::new(
            "bedrock.answer",
            ErrorCode::MalformedResponse,
            format!("expected an answer of Bedrock's runtime as JSON: {text}"),
        ),
    )
}

/// The SDK failed before it sent anything.
fn prepare(error: &(dyn StdError + 'static), text: &str) -> Error {
    if sources(error).any(<dyn StdError>::is::<CredentialsError>) {
        let message = format!("cannot get AWS credentials: {text}; {CREDENTIALS_HELP}");
        return Error::new("bedrock.sign", ErrorCode::Authentication, message);
    }
    Error::new("bedrock.request", ErrorCode::InvalidRequest, format!("cannot build the request: {text}"))
}

/// What the SDK's failure in the middle of a stream means.
pub(crate) fn of_stream<E>(call: &Call, error: SdkError<E, RawMessage>) -> Error
where
    E: StdError + Send + Sync + 'static,
{
    {
        let mut state = call.state();
        if let Some(error) = state.error.take() {
            return error;
        }
        if state.ended && state.frames.is_mid_frame() {
            drop(state);
            return truncated(call, "the rest of a frame");
        }
    }
    if let Some(exception) = error.raw_response().and_then(decoded).and_then(Exception::of) {
        return with_id(call, exception.classify(call.config()));
    }
    let text = chain(call.config(), &error);
    with_id(
        call,
        Error::new(
            "bedrock.stream",
            ErrorCode::MalformedResponse,
            format!("expected an event of Bedrock's runtime: {text}"),
        ),
    )
}

/// The stream ended without its terminal event.
pub(crate) fn truncated(call: &Call, terminal: &str) -> Error {
    let message = format!(
        "the stream ended without {terminal}: the answer is incomplete; see whether a proxy or the server cut it off"
    );
    with_id(call, Error::new("bedrock.stream", ErrorCode::StreamTruncated, message))
}

/// With the server's request id, where it gave one.
pub(crate) fn with_id(call: &Call, error: Error) -> Error {
    match call.request_id() {
        Some(id) => error.with_request_id(id),
        None => error,
    }
}

fn decoded(raw: &RawMessage) -> Option<&Message> {
    match raw {
        RawMessage::Decoded(message) => Some(message),
        _ => None,
    }
}

/// Whether a failure is an exception that the service wrote into the stream, not a broken stream.
pub(crate) fn is_exception<E>(error: &SdkError<E, RawMessage>) -> bool {
    match error {
        SdkError::ServiceError(e) => decoded(e.raw()).and_then(Exception::of).is_some(),
        SdkError::ResponseError(e) => decoded(e.raw()).and_then(Exception::of).is_some(),
        _ => false,
    }
}

fn sources<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The text of an error and its sources, each once.
pub(crate) fn chain(config: &Config, error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for e in sources(error) {
        // Some of the SDK's texts are lists on several lines.
        let part = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
    }
    redact(&text, config.secrets())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use llms_core::config::ModelConfig;

    use super::*;

    fn config() -> Config {
        Config::new(&ModelConfig::new("bedrock", "m").with_api_key("the-api-key"), &|_| None).unwrap()
    }

    #[track_caller]
    fn check(status: u16, kind: Option<&'static str>, body: &str, code: ErrorCode, message: &str) -> Error {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert("x-amzn-errortype", HeaderValue::from_static(kind));
        }
        headers.insert("x-amzn-requestid", HeaderValue::from_static("id-1"));
        headers.insert("retry-after", HeaderValue::from_static("3"));
        let error = classify(&config(), status, &headers, body.as_bytes());
        assert_eq!((error.code(), error.message()), (code, message), "{status} {kind:?} {body}");
        assert_eq!(error.status(), Some(status));
        assert_eq!(error.request_id(), Some("id-1"));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(3)));
        error
    }

    #[test]
    fn exceptions_are_told_apart_by_name() {
        use ErrorCode as C;
        for (status, kind, code) in [
            (429, "ThrottlingException", C::RateLimit),
            (429, "ModelNotReadyException", C::ModelNotAvailable),
            (400, "ServiceQuotaExceededException", C::QuotaExceeded),
            (503, "ServiceUnavailableException", C::Overloaded),
            (500, "InternalServerException", C::Internal),
            (424, "ModelErrorException", C::Internal),
            (424, "ModelStreamErrorException", C::Stream),
            (408, "ModelTimeoutException", C::Timeout),
            (404, "ResourceNotFoundException", C::ModelNotAvailable),
            (
                404,
                "UnknownOperationException:http://internal.amazon.com/coral/com.amazon.coral.service/",
                C::NotFound,
            ),
            (403, "AccessDeniedException", C::Authorization),
            (400, "ValidationException", C::InvalidRequest),
            (400, "com.amazon.coral#SerializationException", C::InvalidRequest),
        ] {
            let error = check(status, Some(kind), r#"{"message":"why"}"#, code, "why");
            assert!(!error.provider_code().unwrap().contains([':', '#', '/']));
        }
    }

    #[test]
    fn wrong_credentials_say_what_to_set() {
        for (status, kind) in [
            (403, Some("UnrecognizedClientException")),
            (403, Some("InvalidSignatureException")),
            (403, Some("ExpiredTokenException")),
            (401, None),
        ] {
            let message = format!("no; {CREDENTIALS_HELP}");
            check(status, kind, r#"{"message":"no"}"#, ErrorCode::Authentication, &message);
        }
    }

    #[test]
    fn only_the_text_tells_an_unknown_model_a_filter_and_a_daily_quota() {
        let filtered = "Output blocked by content filtering policy";
        let body = format!("{{\"message\":\"{filtered}\"}}");
        check(400, Some("ValidationException"), &body, ErrorCode::ContentFiltered, filtered);
        let invalid = "The provided model identifier is invalid.";
        let body = format!("{{\"message\":\"{invalid}\"}}");
        check(400, None, &body, ErrorCode::ModelNotAvailable, invalid);
        check(400, Some("ValidationException"), &body, ErrorCode::ModelNotAvailable, invalid);
        let daily = "Too many tokens per day, please wait before trying again.";
        let body = format!("{{\"message\":\"{daily}\"}}");
        check(429, Some("ThrottlingException"), &body, ErrorCode::QuotaExceeded, daily);
    }

    #[test]
    fn without_an_exception_name_the_status_decides() {
        use ErrorCode as C;
        for (status, code) in [
            (400, C::InvalidRequest),
            (403, C::Authorization),
            (404, C::NotFound),
            (413, C::InvalidRequest),
            (429, C::RateLimit),
            (500, C::Internal),
            (502, C::Internal),
            (503, C::Overloaded),
            (504, C::Timeout),
            (302, C::NotFound),
        ] {
            check(status, None, "", code, "the endpoint refused without a message");
        }
        check(
            502,
            None,
            "<h1>Bad\n gateway</h1>",
            C::Internal,
            "the endpoint answered: <h1>Bad gateway</h1>",
        );
        check(500, None, r#"{"__type":"a.b#ThrottlingException","Message":"slow"}"#, C::RateLimit, "slow");
        check(424, None, r#"{"message":"m","originalMessage":"o"}"#, C::Internal, "m (the model said: o)");
    }

    #[test]
    fn keys_in_a_refusal_do_not_survive() {
        let body = br#"{"message":"AKIAIOSFODNN7EXAMPLE and the-api-key are wrong"}"#;
        let error = classify(&config(), 400, &HeaderMap::new(), body);
        assert_eq!(error.message(), "[redacted] and [redacted] are wrong");
    }
}
