//! Our transport as the HTTP client of the AWS SDK.
//!
//! The SDK hands over a signed request; it goes to [`Transport::send`] byte for byte, with `x-request-id` and the
//! configured headers added unsigned (a proxy that changes them must not break the signature). `sent` is the moment
//! of that call: building and signing lie before it and are reported as `bedrock.sign_ms`. The answer's body is
//! read by the SDK through [`WireBody`], one socket read at a time, and every read's stamp is noted on the way.
//!
//! Requests without a [`Call`] are the credential providers' (STS, container and instance metadata): they carry the
//! connect and read timeouts that the SDK sets for them, and report to nobody.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::{Body as HttpBody, Frame};
use llms_core::{
    CallContext, CallPhase, Error, ErrorCode,
    observe::{CallEvent, HookValue},
    time::Sleep,
    wire::{Body, Delivery, Prepared, Reply, Transport, refusal},
};

use crate::{
    call::{Call, Head},
    frames::BadLength,
    hooks,
};

/// Largest whole body accepted.
const MAX_BODY: u64 = 64 << 20;
/// Largest part of a refusal's body that is read.
const MAX_REFUSAL: u64 = 1 << 20;
/// How long the text of a refusal may take before it is judged by what has come.
const REFUSAL_GRACE: Duration = Duration::from_secs(5);
/// Headers that the transport writes itself.
const OWNED_BY_TRANSPORT: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::CONNECTION];

/// The SDK's HTTP client.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    transport: Arc<dyn Transport>,
    headers: Arc<HeaderMap>,
}

impl Wire {
    /// Sends over `transport`, adding `headers` to the requests of calls.
    pub(crate) fn new(transport: Arc<dyn Transport>, headers: HeaderMap) -> Self {
        Self { transport, headers: Arc::new(headers) }
    }
}

impl HttpClient for Wire {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeout = match (settings.connect_timeout(), settings.read_timeout()) {
            (None, None) => None,
            (connect, read) => Some(connect.unwrap_or_default() + read.unwrap_or_default()),
        };
        SharedHttpConnector::new(Connector { wire: self.clone(), timeout })
    }
}

#[derive(Debug)]
struct Connector {
    wire: Wire,
    /// Until status and headers; only credential providers set it.
    timeout: Option<Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (wire, timeout) = (self.wire.clone(), self.timeout);
        HttpConnectorFuture::new(async move {
            match request.extension::<Call>().cloned() {
                Some(call) => wire.send_call(request, call).await,
                None => wire.send_other(request, timeout).await,
            }
        })
    }
}

impl Wire {
    async fn send_call(&self, request: HttpRequest, call: Call) -> Result<HttpResponse, ConnectorError> {
        let mut prepared = prepare(request).await?;
        for (name, value) in self.headers.iter() {
            prepared.headers.insert(name, value.clone());
        }
        let ctx = call.ctx();
        if let Some(id) = &ctx.request_id {
            match HeaderValue::from_str(id) {
                Ok(value) => {
                    prepared.headers.insert(HeaderName::from_static("x-request-id"), value);
                }
                Err(e) => {
                    let message = "expected a request id of visible ASCII characters, to be sent in a header";
                    call.fail(Error::new("bedrock.encode", ErrorCode::InvalidInput, message).with_source(e));
                    return Err(ConnectorError::other(Kept.into(), None));
                }
            }
        }
        if let Some(parent) = ctx.trace_parent.as_ref().and_then(|p| HeaderValue::from_str(p).ok()) {
            prepared.headers.insert(HeaderName::from_static("traceparent"), parent);
        }
        let sent = ctx.now();
        let signing = sent.saturating_since(call.began()).as_secs_f64() * 1e3;
        ctx.emit(|| CallEvent::Reported { key: hooks::SIGN_MS, value: HookValue::Number(signing) });
        ctx.emit(|| CallEvent::Sent { at: sent });
        call.set_phase(CallPhase::Headers);
        let reply = match self.transport.send(prepared, &call.watched()).await {
            Ok(reply) => reply,
            Err(error) => {
                call.fail(error);
                return Err(ConnectorError::other(Kept.into(), None));
            }
        };
        ctx.emit_hooks(|report| hooks::of_headers(&reply.headers, call.config(), report));
        let head = Head { status: reply.status, headers: reply.headers.clone() };
        let kind = match (head.is_refusal(), call.delivery()) {
            (true, _) => Kind::Refusal,
            (false, Delivery::Whole) => Kind::Whole,
            (false, Delivery::Stream) => Kind::Stream,
        };
        if kind != Kind::Refusal
            && let Some(page) = refusal::page("bedrock.answer", &reply.headers)
        {
            call.fail(page);
            return Err(ConnectorError::other(Kept.into(), None));
        }
        call.set_phase(if kind == Kind::Stream { CallPhase::Stream } else { CallPhase::Body });
        {
            let mut state = call.state();
            state.head = Some(head);
            state.counters = Some(reply.body.counters());
        }
        response(reply, Some(call), kind)
    }

    async fn send_other(
        &self,
        request: HttpRequest,
        timeout: Option<Duration>,
    ) -> Result<HttpResponse, ConnectorError> {
        let prepared = prepare(request).await?;
        let ctx = CallContext::new();
        let send = self.transport.send(prepared, &ctx);
        let reply = match timeout {
            None => send.await,
            Some(limit) => tokio::time::timeout(limit, send)
                .await
                .map_err(|elapsed| ConnectorError::timeout(elapsed.into()).never_connected())?,
        };
        response(reply.map_err(|e| ConnectorError::io(e.into()))?, None, Kind::Whole)
    }
}

/// The SDK's request as ours, nothing changed.
async fn prepare(request: HttpRequest) -> Result<Prepared, ConnectorError> {
    let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
    let (parts, mut body) = request.into_parts();
    let mut headers = parts.headers;
    for name in OWNED_BY_TRANSPORT {
        headers.remove(name);
    }
    for name in [header::AUTHORIZATION, HeaderName::from_static("x-amz-security-token")] {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
    let mut bytes = Bytes::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame.map_err(ConnectorError::user)?.into_data() {
            // The SDK's bodies are one piece in memory, so this moves and does not copy.
            bytes = if bytes.is_empty() { data } else { [bytes, data].concat().into() };
        }
    }
    Ok(Prepared { method: parts.method, uri: parts.uri, headers, body: bytes })
}

fn response(reply: Reply, call: Option<Call>, kind: Kind) -> Result<HttpResponse, ConnectorError> {
    let grace = call.as_ref().filter(|_| kind == Kind::Refusal).map(|call| {
        let clock = &call.ctx().clock;
        clock.sleep_until(clock.now() + REFUSAL_GRACE)
    });
    let source = Mutex::new(Source { body: reply.body, grace });
    let body = WireBody { source, call, kind, scratch: Vec::new(), bytes: 0, failed: None, over: false };
    let mut response = http::Response::new(SdkBody::from_body_1_x(body));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).map_err(|e| ConnectorError::other(e.into(), None))?;
    *response.headers_mut() = reply.headers;
    response
        .try_into()
        .map_err(|e: aws_smithy_runtime_api::http::HttpError| ConnectorError::other(e.into(), None))
}

/// What the body is, which decides its limits and who notes what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Whole,
    Stream,
    Refusal,
}

/// Where the bytes come from, and how long they may take.
struct Source {
    body: Box<dyn Body>,
    /// Ends a refusal whose text does not.
    grace: Option<Sleep>,
}

/// One of our bodies as one of the SDK's.
struct WireBody {
    /// The SDK wants its bodies `Sync`; it is only ever reached through `&mut`.
    source: Mutex<Source>,
    call: Option<Call>,
    kind: Kind,
    /// Keeps its capacity from read to read; the SDK gets exact copies.
    scratch: Vec<u8>,
    bytes: u64,
    /// What was wrong behind the good part of the last read.
    failed: Option<Error>,
    /// The end or an error was handed out; the SDK asks once more, for trailers.
    over: bool,
}

impl WireBody {
    fn fail(&self, error: Error) -> BoxError {
        match &self.call {
            Some(call) => {
                call.fail(error);
                Kept.into()
            }
            None => error.into(),
        }
    }

    /// Notes one read that lies in `scratch`.
    fn note(&mut self, stamp: llms_core::Stamp) -> Result<(), Error> {
        let first = self.bytes == 0;
        self.bytes += self.scratch.len() as u64;
        if self.kind != Kind::Stream && self.bytes > MAX_BODY {
            return Err(malformed(format!("the body exceeds the limit of {MAX_BODY} bytes")));
        }
        let Some(call) = &self.call else { return Ok(()) };
        if first {
            call.ctx().emit(|| CallEvent::FirstByte { stamp });
        }
        let mut state = call.state();
        state.use_permit();
        match self.kind {
            Kind::Whole => Ok(()),
            Kind::Refusal => {
                state.refusal.extend_from_slice(&self.scratch);
                Ok(())
            }
            Kind::Stream => {
                let Err(BadLength { length, good }) = state.frames.read(&self.scratch, stamp) else {
                    return Ok(());
                };
                let error =
                    malformed(format!("the body is no event stream: a frame cannot have {length} bytes"));
                if good == 0 {
                    return Err(error);
                }
                self.scratch.truncate(good);
                self.failed = Some(error);
                Ok(())
            }
        }
    }
}

fn malformed(message: String) -> Error {
    Error::new("bedrock.body", ErrorCode::MalformedResponse, message)
}

impl HttpBody for WireBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if let Some(error) = this.failed.take() {
            this.over = true;
            return Poll::Ready(Some(Err(this.fail(error))));
        }
        if let Some(call) = &this.call
            && this.kind == Kind::Stream
            && !call.state().may_read()
        {
            return Poll::Pending;
        }
        if this.kind == Kind::Refusal && this.bytes >= MAX_REFUSAL {
            this.over = true;
            return Poll::Ready(None);
        }
        let Source { body, grace } = this.source.get_mut().unwrap_or_else(PoisonError::into_inner);
        // A read may bring only transfer coding; the SDK has no use for an empty piece.
        let read = loop {
            match body.poll_read(cx, &mut this.scratch) {
                Poll::Ready(Ok(Some(_))) if this.scratch.is_empty() => {}
                Poll::Ready(read) => break read,
                Poll::Pending => match grace {
                    // A refusal is judged by what has come.
                    Some(sleep) => {
                        ready!(sleep.as_mut().poll(cx));
                        this.over = true;
                        return Poll::Ready(None);
                    }
                    None => return Poll::Pending,
                },
            }
        };
        if let Some(call) = &this.call {
            let mut state = call.state();
            state.counters = Some(body.counters());
            state.ended |= matches!(read, Ok(None));
        }
        let noted = match read {
            Ok(None) => Ok(false),
            Ok(Some(stamp)) => this.note(stamp).map(|()| true),
            // A refusal whose body breaks off is still that refusal.
            Err(_) if this.kind == Kind::Refusal => Ok(false),
            Err(error) => Err(error),
        };
        this.over = !matches!(noted, Ok(true));
        Poll::Ready(match noted {
            Ok(true) => {
                let piece = Bytes::copy_from_slice(&this.scratch);
                this.scratch.clear();
                Some(Ok(Frame::data(piece)))
            }
            Ok(false) => None,
            Err(error) => Some(Err(this.fail(error))),
        })
    }
}

/// Stands for an error of ours that [`Call`] keeps.
#[derive(Debug)]
struct Kept;

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the transport failed")
    }
}

impl std::error::Error for Kept {}
