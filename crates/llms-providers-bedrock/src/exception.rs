//! AWS's exceptions: their members, their names, and the codes these mean; in refusals and inside streams alike.

use aws_smithy_types::event_stream::Message;
use llms_core::{Error, ErrorCode, wire::refusal::redact};
use serde::Deserialize;

use crate::config::Config;

/// The members that AWS errors have, in all their spellings.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Body {
    #[serde(default, alias = "Message", alias = "errorMessage")]
    message: Option<String>,
    #[serde(default, rename = "__type")]
    pub(crate) kind: Option<String>,
    #[serde(default)]
    pub(crate) code: Option<String>,
    #[serde(default, rename = "originalMessage")]
    original_message: Option<String>,
    /// The status that the model itself answered with.
    #[serde(default, rename = "originalStatusCode")]
    original_status: Option<i64>,
}

impl Body {
    /// A body, if it is JSON of this kind.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }

    /// What it says, and what the model said below it.
    pub(crate) fn text(&self) -> Option<String> {
        let said =
            |t: &Option<String>| t.as_deref().map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
        let original = said(&self.original_message);
        let model = match (self.original_status, original) {
            (Some(status), Some(text)) => Some(format!("the model answered with status {status}: {text}")),
            (Some(status), None) => Some(format!("the model answered with status {status}")),
            (None, Some(text)) => Some(format!("the model said: {text}")),
            (None, None) => None,
        };
        match (said(&self.message), model) {
            (Some(m), Some(o)) => Some(format!("{m} ({o})")),
            (m, o) => m.or(o),
        }
    }
}

/// `ns#ThrottlingException:http://…` → `ThrottlingException`.
pub(crate) fn bare(name: &str) -> &str {
    let name = name.split(':').next().unwrap_or(name);
    name.rsplit('#').next().unwrap_or(name).trim()
}

/// The code of an exception name; names are the same in headers (`ThrottlingException`) and inside a stream
/// (`throttlingException`).
pub(crate) fn code_of_exception(name: &str, message: &str) -> Option<ErrorCode> {
    let mut name = name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    Some(match name.as_str() {
        "ThrottlingException" | "TooManyRequestsException" if message.contains("per day") => {
            ErrorCode::QuotaExceeded
        }
        "ThrottlingException" | "TooManyRequestsException" => ErrorCode::RateLimit,
        "ServiceQuotaExceededException" => ErrorCode::QuotaExceeded,
        "ServiceUnavailableException" => ErrorCode::Overloaded,
        "InternalServerException" | "InternalFailure" | "ModelErrorException" => ErrorCode::Internal,
        "ModelStreamErrorException" => ErrorCode::Stream,
        "ModelTimeoutException" => ErrorCode::Timeout,
        "ModelNotReadyException" | "ResourceNotFoundException" => ErrorCode::ModelNotAvailable,
        "AccessDeniedException" => ErrorCode::Authorization,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "RequestExpired"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken" => ErrorCode::Authentication,
        "ValidationException" => code_of_message(message).unwrap_or(ErrorCode::InvalidRequest),
        "SerializationException" => ErrorCode::InvalidRequest,
        "UnknownOperationException" => ErrorCode::NotFound,
        _ => return None,
    })
}

/// What only the text of a `ValidationException` tells.
pub(crate) fn code_of_message(message: &str) -> Option<ErrorCode> {
    if message.contains("model identifier is invalid") {
        Some(ErrorCode::ModelNotAvailable)
    } else if message.contains("content filter") {
        // "Output blocked by content filtering policy", "… blocked by our content filters"
        Some(ErrorCode::ContentFiltered)
    } else {
        None
    }
}

/// Where no name tells.
pub(crate) fn code_of_status(status: u16) -> ErrorCode {
    match status {
        401 => ErrorCode::Authentication,
        403 => ErrorCode::Authorization,
        // Redirects are not followed: the address is wrong.
        300..=399 | 404 => ErrorCode::NotFound,
        408 | 504 => ErrorCode::Timeout,
        424 => ErrorCode::Internal,
        429 => ErrorCode::RateLimit,
        400..=499 => ErrorCode::InvalidRequest,
        503 => ErrorCode::Overloaded,
        500..=599 => ErrorCode::Internal,
        _ => ErrorCode::Unknown,
    }
}

/// An exception or error frame.
pub(crate) struct Exception {
    name: String,
    message: Option<String>,
}

impl Exception {
    /// `:message-type: exception` with `:exception-type` and a JSON payload, or `:message-type: error` with
    /// `:error-code` and `:error-message`.
    pub(crate) fn of(message: &Message) -> Option<Self> {
        let header = |name: &str| {
            let found = message.headers().iter().find(|h| h.name().as_str() == name)?;
            Some(found.value().as_string().ok()?.as_str().to_owned())
        };
        match header(":message-type")?.as_str() {
            "exception" => Some(Self {
                name: header(":exception-type")?,
                message: Body::read(message.payload()).and_then(|b| b.text()),
            }),
            "error" => Some(Self {
                name: header(":error-code").unwrap_or_else(|| "error".to_owned()),
                message: header(":error-message"),
            }),
            _ => None,
        }
    }

    /// Its error.
    pub(crate) fn classify(self, config: &Config) -> Error {
        let message = match &self.message {
            Some(text) => redact(text, config.secrets()),
            None => "the service ended the stream with an error and no message".to_owned(),
        };
        let code = code_of_exception(bare(&self.name), &message).unwrap_or(ErrorCode::Stream);
        Error::new("bedrock.stream", code, message)
            .with_provider_code(redact(bare(&self.name), config.secrets()))
    }
}
