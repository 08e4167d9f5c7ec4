//! The error of every call: operation, code, phase, and what a caller can do about it.
//!
//! A failed *request* is data for the runner; this type is what it carries. Classification from status and
//! body to [`ErrorCode`] happens once per provider, in its `error.rs`.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal => $kind:ident, retry $retry:literal;)*) => {
        /// Stable, machine-readable cause. `as_str` is what files and telemetry carry.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            /// Every code, in declaration order.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The snake_case name, the same as in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }

            /// The short kind, which says what a caller can do.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$name => ErrorKind::$kind),* }
            }

            /// Whether the same request may succeed if sent again later.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$name => $retry),* }
            }
        }
    };
}

codes! {
    /// The configuration is incomplete or contradictory.
    InvalidConfig = "invalid_config" => InvalidRequest, retry false;
    /// The connection could not be made, or broke.
    NetworkError = "network_error" => Transport, retry true;
    /// No answer in time.
    Timeout = "timeout" => Timeout, retry true;
    /// The provider asks to slow down (HTTP 429).
    RateLimit = "rate_limit" => RateLimited, retry true;
    /// The account is out of credit or quota.
    QuotaExceeded = "quota_exceeded" => RateLimited, retry false;
    /// The key is missing, malformed or unknown (401).
    Authentication = "authentication_error" => Auth, retry false;
    /// The key may not do this (403).
    Authorization = "authorization_error" => Auth, retry false;
    /// The path or resource does not exist (404).
    NotFound = "not_found" => InvalidRequest, retry false;
    /// The server failed (5xx).
    Internal = "internal_error" => Overloaded, retry true;
    /// The server is over capacity (503, Anthropic 529, "server busy").
    Overloaded = "overloaded" => Overloaded, retry true;
    /// An argument of our own API is wrong.
    InvalidInput = "invalid_input" => InvalidRequest, retry false;
    /// No provider is registered under that name.
    UnsupportedProvider = "unsupported_provider" => InvalidRequest, retry false;
    /// The model name is malformed.
    InvalidModel = "invalid_model" => InvalidRequest, retry false;
    /// The model does not exist there, or is not ready.
    ModelNotAvailable = "model_not_available" => InvalidRequest, retry false;
    /// The provider refuses the request as it stands (400, 422).
    InvalidRequest = "invalid_request" => InvalidRequest, retry false;
    /// The answer is well formed but cannot be what was asked for.
    InvalidResponse = "invalid_response" => Protocol, retry false;
    /// The answer holds nothing at all.
    EmptyResponse = "empty_response" => Protocol, retry false;
    /// The answer is not valid JSON, SSE, or event stream.
    MalformedResponse = "malformed_response" => Protocol, retry false;
    /// The provider reported an error inside a running stream.
    Stream = "stream_error" => Protocol, retry true;
    /// The stream stopped delivering before its deadline.
    StreamTimeout = "stream_timeout" => Timeout, retry true;
    /// The connection broke in mid-stream.
    StreamClosed = "stream_closed" => Transport, retry true;
    /// The stream ended, politely or not, without its protocol's terminal marker.
    StreamTruncated = "stream_truncated" => Protocol, retry true;
    /// A tool call could not be parsed.
    ToolCall = "tool_call_error" => Protocol, retry false;
    /// The model called a tool that was not offered.
    ToolNotFound = "tool_not_found" => Protocol, retry false;
    /// The tool itself failed.
    ToolExecution = "tool_execution_error" => Protocol, retry false;
    /// The provider's filter refused the prompt or the answer.
    ContentFiltered = "content_filtered" => ContentFiltered, retry false;
    /// The caller cancelled.
    Cancelled = "context_canceled" => Cancelled, retry false;
    /// The caller's deadline passed.
    DeadlineExceeded = "context_timeout" => Timeout, retry false;
    /// Anything the provider's classifier does not know.
    Unknown = "unknown" => Protocol, retry false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a caller can do about an error; errors are counted by this and by [`ErrorCode`], never by text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Fix the key or its rights.
    Auth,
    /// Slow down, or buy more quota.
    RateLimited,
    /// Fix the request, the model name or the configuration.
    InvalidRequest,
    /// Try later or elsewhere.
    Overloaded,
    /// Allow more time, or find out why it is slow.
    Timeout,
    /// Check network, address and TLS.
    Transport,
    /// The server does not speak its protocol.
    Protocol,
    /// Change the content.
    ContentFiltered,
    /// Nothing: the caller asked for it.
    Cancelled,
}

/// Where in a call the error happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallPhase {
    /// Before anything was sent: configuration, encoding.
    Prepare,
    /// Name resolution, TCP, TLS.
    Connect,
    /// Writing the request.
    Send,
    /// Waiting for, or reading, status and headers.
    Headers,
    /// Reading a whole body.
    Body,
    /// Reading a stream.
    Stream,
}

impl fmt::Display for CallPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepare => "prepare",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Headers => "headers",
            Self::Body => "body",
            Self::Stream => "stream",
        })
    }
}

/// One failed operation. Small (one pointer), so `Result`s stay cheap on the hot path.
pub struct Error(Box<Inner>);

struct Inner {
    op: Cow<'static, str>,
    code: ErrorCode,
    message: String,
    phase: Option<CallPhase>,
    provider: Option<Cow<'static, str>>,
    status: Option<u16>,
    provider_code: Option<String>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    attempts: u32,
    source: Option<Source>,
}

impl Error {
    /// An error of operation `op` (`openai.stream`, `config.validate`): lower-case message, no full stop, says
    /// what was expected and the next step.
    pub fn new(op: impl Into<Cow<'static, str>>, code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            op: op.into(),
            code,
            message: message.into(),
            phase: None,
            provider: None,
            status: None,
            provider_code: None,
            request_id: None,
            retry_after: None,
            attempts: 1,
            source: None,
        }))
    }

    /// The caller cancelled `op`.
    pub fn cancelled(op: impl Into<Cow<'static, str>>) -> Self {
        Self::new(op, ErrorCode::Cancelled, "cancelled by the caller")
    }

    /// The caller's deadline passed during `op`.
    pub fn deadline(op: impl Into<Cow<'static, str>>) -> Self {
        Self::new(op, ErrorCode::DeadlineExceeded, "the deadline of the call passed; allow more time")
    }

    /// Adds the phase in which it happened.
    pub fn with_phase(mut self, phase: CallPhase) -> Self {
        self.0.phase = Some(phase);
        self
    }

    /// Adds the phase unless one is known already.
    pub fn or_phase(mut self, phase: CallPhase) -> Self {
        self.0.phase.get_or_insert(phase);
        self
    }

    /// Adds the provider's name.
    pub fn with_provider(mut self, provider: impl Into<Cow<'static, str>>) -> Self {
        self.0.provider = Some(provider.into());
        self
    }

    /// Adds the HTTP status.
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Adds the provider's own code or type (`overloaded_error`, `ThrottlingException`).
    pub fn with_provider_code(mut self, code: impl Into<String>) -> Self {
        self.0.provider_code = Some(code.into());
        self
    }

    /// Adds the server's request id, for its support desk.
    pub fn with_request_id(mut self, id: impl Into<String>) -> Self {
        self.0.request_id = Some(id.into());
        self
    }

    /// Adds how long the server asks to wait.
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds how often it was tried, the last time included.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Adds the underlying error.
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The operation that failed.
    pub fn op(&self) -> &str {
        &self.0.op
    }

    /// The stable cause.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The short kind of the cause.
    pub fn kind(&self) -> ErrorKind {
        self.0.code.kind()
    }

    /// The message without operation and code.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where in the call it happened.
    pub fn phase(&self) -> Option<CallPhase> {
        self.0.phase
    }

    /// The provider's name.
    pub fn provider(&self) -> Option<&str> {
        self.0.provider.as_deref()
    }

    /// The HTTP status.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The provider's own code.
    pub fn provider_code(&self) -> Option<&str> {
        self.0.provider_code.as_deref()
    }

    /// The server's request id.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// How often it was tried; 1 without a retry layer.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether the same request may succeed if sent again later.
    pub fn is_retryable(&self) -> bool {
        self.0.code.is_retryable()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = &*self.0;
        write!(f, "{}: {}", i.op, i.message)?;
        write!(f, " ({}", i.code)?;
        if let Some(status) = i.status {
            write!(f, ", HTTP {status}")?;
        }
        if let Some(code) = &i.provider_code {
            write!(f, ", {code}")?;
        }
        if let Some(phase) = i.phase {
            write!(f, ", in {phase}")?;
        }
        if i.attempts > 1 {
            write!(f, ", after {} attempts", i.attempts)?;
        }
        f.write_str(")")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let i = &*self.0;
        f.debug_struct("Error")
            .field("op", &i.op)
            .field("code", &i.code)
            .field("message", &i.message)
            .field("phase", &i.phase)
            .field("provider", &i.provider)
            .field("status", &i.status)
            .field("provider_code", &i.provider_code)
            .field("request_id", &i.request_id)
            .field("retry_after", &i.retry_after)
            .field("attempts", &i.attempts)
            .field("source", &i.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|s| s as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_round_trip_through_json_by_their_names() {
        for &code in ErrorCode::ALL {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.as_str()));
            assert_eq!(serde_json::from_str::<ErrorCode>(&json).unwrap(), code);
        }
    }

    #[test]
    fn what_cannot_succeed_is_not_retryable() {
        use ErrorCode as C;
        for code in [C::Authentication, C::QuotaExceeded, C::InvalidRequest, C::Cancelled, C::Unknown] {
            assert!(!code.is_retryable(), "{code}");
        }
        for code in [C::RateLimit, C::NetworkError, C::Timeout, C::Internal, C::Overloaded] {
            assert!(code.is_retryable(), "{code}");
        }
    }

    #[test]
    fn the_chain_is_kept_and_the_text_says_where() {
        let io = std::io::Error::other("connection refused");
        let e = Error::new("ollama.stream", ErrorCode::NetworkError, "cannot reach the server")
            .with_phase(CallPhase::Connect)
            .with_source(io);
        assert_eq!(e.to_string(), "ollama.stream: cannot reach the server (network_error, in connect)");
        assert_eq!(e.source().unwrap().to_string(), "connection refused");
        assert!(size_of::<Error>() == size_of::<usize>());
    }
}
