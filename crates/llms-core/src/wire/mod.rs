//! The seam between a provider's wire format and the network.
//!
//! A [`Codec`] is pure: request → [`Prepared`] bytes, frames → events. A [`Transport`] opens, reuses and times
//! connections and stamps every read. [`HttpModel`] joins the two into a [`ChatModel`](crate::ChatModel), so that
//! all providers are stamped by the same code.

pub mod borrow;
mod counters;
pub mod headers;
mod http_model;
pub mod ndjson;
pub mod progress;
pub mod refusal;
pub mod sse;

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use serde::{Deserialize, Serialize};

use crate::{
    chat::{ChatRequest, ChatResponse},
    context::CallContext,
    error::{Error, ErrorCode, Result},
    event::{EventSink, Stamp},
    model::{ModelInfo, Outcome},
    observe::{ConnectionInfo, HookValue},
};

pub use counters::TransportCounters;
pub use http_model::HttpModel;

/// Whether the answer is wanted whole or streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// One body.
    Whole,
    /// Frame by frame.
    Stream,
}

/// A request ready to be written. Secrets stand in headers marked sensitive, which `Debug` does not print.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// HTTP method.
    pub method: Method,
    /// Absolute: scheme, authority, path, query.
    pub uri: Uri,
    /// Without `host`, `content-length` and `connection`, which the transport adds.
    pub headers: HeaderMap,
    /// The body; cheap to clone for a second send.
    pub body: Bytes,
}

/// The head of an answer and its body to come.
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// Stamp of the read that completed the head.
    pub head: Stamp,
    /// How the connection came to be.
    pub connection: ConnectionInfo,
    /// The payload. Dropping it before its end drops the connection.
    pub body: Box<dyn Body>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

/// The payload of an answer, transfer coding removed.
pub trait Body: Send {
    /// Appends the payload of at most one socket read to `buf` and returns the stamp of that read; `None` at
    /// the end of a complete body.
    ///
    /// # Errors
    /// `stream_closed` when the connection broke or closed before the body was complete, `malformed_response`
    /// on broken transfer coding.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>>;

    /// Payload bytes and socket reads so far.
    fn counters(&self) -> BodyCounters;
}

/// Payload bytes and the socket reads that brought them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyCounters {
    /// Payload bytes, transfer coding removed.
    pub bytes: u64,
    /// Reads that brought at least one byte.
    pub reads: u32,
}

/// Which instant a transport can stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StampSource {
    /// The kernel's receive stamp of every read, with the user-space stamp beside it.
    Kernel,
    /// When the read returned in this process.
    User,
}

/// Stands in the message of every transport error whose cause is this machine and not the server: descriptors or local ports
/// used up. The verdict on the client looks for it.
pub const OWN_LIMIT: &str = "a limit of this machine";

/// What a transport says about itself, recorded in every result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransportInfo {
    /// `direct` or `pooled`.
    pub name: String,
    /// The instant its stamps mean: the best it can do here. What was used stands with each connection and each stamp.
    pub stamps: StampSource,
    /// Policy in words: `keep-alive, one request in flight per connection`.
    pub connections: String,
}

/// Opens, reuses and times connections. No retries, redirects, proxies or compression unless asked.
///
/// A request on a *reused* connection that died with no byte received since the send (and no timeout) is sent
/// once more on a fresh one and reported as resent.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Writes the request and waits for status and headers. Reports `Connecting`, `Connected`, `Resent`,
    /// `Written` and `Head` to the observer of `ctx` as far as it can tell; cancellation and deadline are the
    /// caller's business (drop the future).
    ///
    /// # Errors
    /// `network_error` in phase connect, send or headers; `malformed_response` for a broken head.
    async fn send(&self, request: Prepared, ctx: &CallContext) -> Result<Reply>;

    /// What it is, for the result file.
    fn info(&self) -> TransportInfo;

    /// What it has counted since it was made, over all its connections; `None` when it does not count. Answers under
    /// way count when they end.
    fn counters(&self) -> Option<TransportCounters> {
        None
    }

    /// Opens up to `connections` idle connections to the authority of `uri`, so that the first measured
    /// requests do not pay for it. Transports without such control do nothing.
    ///
    /// # Errors
    /// `network_error` when the server cannot be reached.
    async fn open(&self, _uri: &Uri, _connections: usize) -> Result<()> {
        Ok(())
    }
}

/// One frame of a stream: a complete SSE event, or one line of NDJSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The SSE event name; `None` when absent, and for NDJSON.
    pub event: Option<&'a str>,
    /// The data, lines joined by `\n`.
    pub data: &'a str,
}

/// Cuts bytes into frames. A state machine without I/O: append to [`buffer`](Self::buffer), then take frames
/// until `None`. Any split of the bytes gives the same frames.
pub trait Framer: Send {
    /// Where the next read is appended.
    fn buffer(&mut self) -> &mut Vec<u8>;

    /// The next complete frame, borrowed from the buffer.
    ///
    /// # Errors
    /// `malformed_response` when a frame exceeds the limit or is not UTF-8.
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>>;

    /// Call at the end of the body. The last frame, if the protocol lets the end of the body end it (an
    /// unterminated NDJSON line does, an unterminated SSE event does not).
    ///
    /// # Errors
    /// `malformed_response` as above.
    fn finish(&mut self) -> Result<Option<Frame<'_>>>;
}

/// Largest frame a framer accepts unless told otherwise: 16 MiB.
pub const DEFAULT_MAX_FRAME_BYTES: usize = 16 << 20;

#[cold]
fn too_large(op: &'static str, what: &str, limit: usize) -> Error {
    Error::new(
        op,
        ErrorCode::MalformedResponse,
        format!(
            "expected {what}s of at most {limit} bytes, got a longer one; raise the frame limit if it is genuine"
        ),
    )
}

#[cold]
fn not_utf8(op: &'static str, e: std::str::Utf8Error) -> Error {
    Error::new(op, ErrorCode::MalformedResponse, "expected UTF-8; the server or a proxy sends something else")
        .with_source(e)
}

/// Receives values a server reports about itself, under stable keys.
pub type Hooks<'h> = dyn FnMut(&'static str, HookValue<'_>) + Send + 'h;

/// Turns the frames of one answer into events.
pub trait Decoder: Send {
    /// Parses one frame and pushes its events with the stamp of the read that completed it.
    ///
    /// # Errors
    /// `malformed_response` for JSON that cannot be read; the classified error for an error object.
    fn frame(&mut self, frame: Frame<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()>;

    /// Whether the protocol's terminal marker has been seen.
    fn is_complete(&self) -> bool;

    /// The end of the body.
    ///
    /// # Errors
    /// `stream_truncated` when the terminal marker is missing.
    fn finish(&mut self) -> Result<Outcome>;

    /// What the server reported inside the stream (durations, tiers). Called once, after `finish`.
    fn hooks(&self, _report: &mut Hooks<'_>) {}
}

/// How to probe a service, and how to read the answer.
#[derive(Clone, Debug)]
pub struct Probe {
    /// A cheap request, free of charge where the provider has one.
    pub request: Prepared,
    /// Longest wait for the answer.
    pub timeout: Duration,
}

/// A provider's wire format: pure and synchronous, tested without a network.
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// Cuts the body of a stream.
    type Framer: Framer;
    /// Reads the frames of a stream.
    type Decoder: Decoder;

    /// Who answers, where, and what it can do.
    fn info(&self) -> &ModelInfo;

    /// The request as bytes, before the clock starts.
    ///
    /// # Errors
    /// `invalid_request` when the wire cannot say what is asked, naming the field.
    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<Prepared>;

    /// A framer for one stream.
    fn framer(&self) -> Self::Framer;

    /// A decoder for one stream.
    fn decoder(&self) -> Self::Decoder;

    /// A whole answer; values the server reports about itself go to `hooks`.
    ///
    /// # Errors
    /// `malformed_response` or the classified error for an error object.
    fn decode(&self, body: &[u8], hooks: &mut Hooks<'_>) -> Result<ChatResponse>;

    /// The error that a refusal (status outside 200–299) means. Keeps the body's message, redacts keys, reads
    /// `retry-after`.
    fn classify(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Error;

    /// What the server reports in its headers: processing time, rate limits, request id.
    fn hooks(&self, _headers: &HeaderMap, _report: &mut Hooks<'_>) {}

    /// How to probe the service.
    fn probe(&self) -> Result<Probe>;

    /// What the answer to the probe means: `Ok` facts to show (server version, number of models), or the error
    /// (e.g. the model is missing there).
    ///
    /// # Errors
    /// The classified refusal, or `model_not_available`.
    fn judge_probe(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>> {
        let _ = body;
        if (200..300).contains(&status) { Ok(Vec::new()) } else { Err(self.classify(status, headers, body)) }
    }
}
