//! The errors that faults end in, as a provider's codec would classify them.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header::RETRY_AFTER};
use llms_core::{CallPhase, Error, ErrorCode};

use crate::profile::FaultKind;

/// HTTP status of a refusal or of a gateway that gave up; `None` where no status is sent or 200 was.
pub(super) fn status(kind: FaultKind) -> Option<u16> {
    Some(match kind {
        FaultKind::RateLimit | FaultKind::Quota => 429,
        FaultKind::Auth => 401,
        FaultKind::Forbidden => 403,
        FaultKind::BadRequest | FaultKind::ContentFilter => 400,
        FaultKind::NotFound => 404,
        FaultKind::Server => 500,
        FaultKind::Overloaded => 503,
        FaultKind::Timeout => 504,
        _ => return None,
    })
}

/// The headers that go with it.
pub(super) fn headers(retry_after: Option<Duration>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(wait) = retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs_f64().ceil() as u64));
    }
    headers
}

/// The error of an injected fault.
pub(super) fn error(op: String, kind: FaultKind, retry_after: Option<Duration>) -> Error {
    let code = kind.code().unwrap_or(ErrorCode::Unknown);
    let phase = match kind {
        FaultKind::StreamError | FaultKind::Truncate | FaultKind::Reset | FaultKind::Close => {
            CallPhase::Stream
        }
        _ => CallPhase::Headers,
    };
    let mut error = Error::new(op, code, format!("injected by the mock's profile: {kind}")).with_phase(phase);
    if let Some(status) = status(kind) {
        error = error.with_status(status);
    }
    if let Some(wait) = retry_after {
        error = error.with_retry_after(wait);
    }
    error
}
