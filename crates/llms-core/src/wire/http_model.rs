//! A [`ChatModel`] of a codec and a transport.

use std::{borrow::Cow, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use async_trait::async_trait;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    Body, BodyCounters, Codec, Decoder, Delivery, Framer, Probe, Reply, Transport,
    progress::{Progress, watched},
    refusal,
};
use crate::{
    chat::{ChatRequest, ChatResponse},
    context::CallContext,
    error::{CallPhase, Error, ErrorCode, Result},
    event::{EventSink, Stamp},
    health::{self, Health, HealthProbe},
    model::{ChatModel, ModelInfo, Outcome},
    observe::CallEvent,
};

/// Largest whole body accepted.
const MAX_BODY: usize = 64 << 20;
/// Largest error body read before classification.
const MAX_ERROR_BODY: usize = 1 << 20;
/// Carries the caller's id of a request; servers answer with theirs under the same name.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Carries the caller's span (W3C Trace Context).
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
/// How long a server may take to end the body after the terminal marker before the connection is dropped.
const CLOSE_GRACE: Duration = Duration::from_secs(1);
/// How long the text of a refusal may take before it is judged by what has come.
const BODY_GRACE: Duration = Duration::from_secs(5);

/// Joins a provider's codec and a transport; generic over both, dynamic dispatch begins at [`ChatModel`].
#[derive(Debug)]
pub struct HttpModel<C, T: ?Sized = dyn Transport> {
    codec: C,
    transport: Arc<T>,
    timeout: Option<Duration>,
    health: HealthProbe,
}

impl<C: Codec, T: Transport + ?Sized> HttpModel<C, T> {
    /// A model that speaks `codec` over `transport`.
    pub fn new(codec: C, transport: Arc<T>) -> Self {
        Self { codec, transport, timeout: None, health: HealthProbe::default() }
    }

    /// Limits calls whose context has no deadline of its own.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Chooses how health is probed.
    pub fn with_health_probe(mut self, probe: HealthProbe) -> Self {
        self.health = probe;
        self
    }

    /// `ctx`, with the model's own limit where it has none.
    fn limited<'c>(&self, ctx: &'c CallContext) -> Cow<'c, CallContext> {
        match self.timeout {
            Some(timeout) if ctx.deadline.is_none() => Cow::Owned(ctx.clone().with_timeout(timeout)),
            _ => Cow::Borrowed(ctx),
        }
    }

    /// The codec.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    fn op(&self, verb: &str) -> String {
        format!("{}.{verb}", self.codec.info().provider)
    }

    async fn send(
        &self,
        request: &ChatRequest,
        delivery: Delivery,
        ctx: &CallContext,
        progress: &Arc<Progress>,
    ) -> Result<Reply> {
        let mut prepared = self.codec.encode(request, delivery)?;
        if let Some(id) = &ctx.request_id {
            let value = HeaderValue::from_str(id).map_err(|e| {
                let message = "expected a request id of visible ASCII characters, to be sent in a header";
                Error::new(self.op("encode"), ErrorCode::InvalidInput, message).with_source(e)
            })?;
            prepared.headers.insert(REQUEST_ID, value);
        }
        if let Some(parent) = ctx.trace_parent.as_ref().and_then(|p| HeaderValue::from_str(p).ok()) {
            prepared.headers.insert(TRACE_PARENT, parent);
        }
        let sent = ctx.now();
        ctx.emit(|| CallEvent::Sent { at: sent });
        progress.set(CallPhase::Headers);
        let watched = CallContext { observer: Some(progress.clone()), ..ctx.clone() };
        let mut reply = self.transport.send(prepared, &watched).await?;
        // Some servers send our id back; what is told as the server's id must be the server's.
        if let Some(id) = &ctx.request_id
            && reply.headers.get(REQUEST_ID).is_some_and(|v| v.as_bytes() == id.as_bytes())
        {
            reply.headers.remove(REQUEST_ID);
        }
        ctx.emit_hooks(|report| self.codec.hooks(&reply.headers, report));
        Ok(reply)
    }

    /// The error that a refusal means. A body that breaks off, or does not end in time, leaves it that refusal.
    async fn refusal(&self, verb: &str, reply: &mut Reply, ctx: &CallContext) -> Error {
        let mut text = Vec::new();
        let limited = ctx.ending_within(BODY_GRACE);
        let read = read_whole(&mut *reply.body, &mut text, MAX_ERROR_BODY, ctx);
        match limited.run(self.op(verb), read).await {
            Err(e) if e.code() == ErrorCode::Cancelled => e.or_phase(CallPhase::Body),
            _ => self
                .codec
                .classify(reply.status, &reply.headers, &text)
                .with_status(reply.status)
                .or_phase(CallPhase::Headers),
        }
    }

    /// What a call came to, once its answer is read or reading ended early. Closes the books on the body.
    async fn settle(
        &self,
        verb: &str,
        reply: Option<Reply>,
        read: Result<()>,
        ctx: &CallContext,
    ) -> Result<()> {
        let Some(mut reply) = reply else { return read };
        let refused = !is_success(reply.status);
        let result = if refused { Err(self.refusal(verb, &mut reply, ctx).await) } else { read };
        emit_end(&*reply.body, ctx);
        result
    }
}

fn emit_end(body: &dyn Body, ctx: &CallContext) {
    let at = ctx.now();
    ctx.emit(|| {
        let BodyCounters { bytes, reads } = body.counters();
        CallEvent::End { at, bytes, reads }
    });
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Reads and decodes until the terminal marker (`false`) or the end of the body (`true`).
async fn read_stream(
    body: &mut dyn Body,
    framer: &mut impl Framer,
    decoder: &mut impl Decoder,
    ctx: &CallContext,
    sink: &mut dyn EventSink,
) -> Result<bool> {
    let (mut first, mut last) = (true, Stamp::default());
    loop {
        poll_fn(|cx| sink.poll_ready(cx)).await;
        let Some(stamp) = poll_fn(|cx| body.poll_read(cx, framer.buffer())).await? else { break };
        if std::mem::take(&mut first) {
            ctx.emit(|| CallEvent::FirstByte { stamp });
        }
        last = stamp;
        while let Some(frame) = framer.next_frame()? {
            decoder.frame(frame, stamp, sink)?;
            // What follows the marker is not part of the answer, in this read as in later ones.
            if decoder.is_complete() {
                return Ok(false);
            }
        }
    }
    if let Some(frame) = framer.finish()? {
        decoder.frame(frame, last, sink)?;
    }
    Ok(true)
}

/// Reads to the end of the body after the terminal marker, so that the connection can be reused. Whatever goes
/// wrong here, a deadline included, costs the connection, not the answer.
async fn drain(body: &mut dyn Body, ctx: &CallContext) {
    let mut rest = Vec::new();
    // Nearly always the end came with the marker, and there is nothing to wait for.
    if poll_fn(|cx| Poll::Ready(matches!(body.poll_read(cx, &mut rest), Poll::Ready(Ok(None) | Err(_)))))
        .await
    {
        return;
    }
    let limited = CallContext { observer: None, ..ctx.ending_within(CLOSE_GRACE) };
    let _ = limited.run("http.drain", read_whole(body, &mut rest, MAX_ERROR_BODY, &limited)).await;
}

async fn read_whole(body: &mut dyn Body, buf: &mut Vec<u8>, limit: usize, ctx: &CallContext) -> Result<()> {
    let mut first = true;
    while let Some(stamp) = poll_fn(|cx| body.poll_read(cx, buf)).await? {
        if std::mem::take(&mut first) {
            ctx.emit(|| CallEvent::FirstByte { stamp });
        }
        if buf.len() > limit {
            let message = format!("expected a body of at most {limit} bytes, got a longer one");
            return Err(Error::new("http.body", ErrorCode::MalformedResponse, message));
        }
    }
    Ok(())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<C: Codec, T: Transport + ?Sized> ChatModel for HttpModel<C, T> {
    fn info(&self) -> &ModelInfo {
        self.codec.info()
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let ctx = &*self.limited(ctx);
        let progress = Progress::new(ctx);
        let (mut reply, mut body) = (None, Vec::new());
        let read = ctx
            .run(self.op("generate"), async {
                let reply = reply.insert(self.send(request, Delivery::Whole, ctx, &progress).await?);
                if is_success(reply.status) {
                    progress.set(CallPhase::Body);
                    refusal::page(self.op("generate"), &reply.headers).map_or(Ok(()), Err)?;
                    read_whole(&mut *reply.body, &mut body, MAX_BODY, ctx).await?;
                }
                Ok(())
            })
            .await;
        let decoded = match self.settle("generate", reply, read, ctx).await {
            Ok(()) => {
                let mut decoded = None;
                ctx.emit_hooks(|report| decoded = Some(self.codec.decode(&body, report)));
                decoded.unwrap_or_else(|| self.codec.decode(&body, &mut |_, _| {}))
            }
            Err(e) => Err(e),
        };
        decoded.map_err(|e| self.attribute(e, &progress, ctx))
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let ctx = &*self.limited(ctx);
        let progress = Progress::new(ctx);
        let (mut framer, mut decoder) = (self.codec.framer(), self.codec.decoder());
        let mut room = None;
        let sink = watched(sink, ctx, &mut room);
        let mut reply = None;
        // Pinned here: a future handed over by value would take its room twice in each call in flight.
        let read = {
            let reading = pin!(async {
                let reply = reply.insert(self.send(request, Delivery::Stream, ctx, &progress).await?);
                if is_success(reply.status) {
                    progress.set(CallPhase::Stream);
                    refusal::page(self.op("stream"), &reply.headers).map_or(Ok(()), Err)?;
                    // Told already; kilobytes that a stream would hold until its end.
                    reply.headers = HeaderMap::new();
                    return read_stream(&mut *reply.body, &mut framer, &mut decoder, ctx, sink).await;
                }
                Ok(true)
            });
            ctx.run(self.op("stream"), reading).await
        };
        if let (Some(reply), Ok(false)) = (&mut reply, &read) {
            drain(&mut *reply.body, ctx).await;
        }
        let outcome = match self.settle("stream", reply, read.map(drop), ctx).await {
            Ok(()) => {
                let outcome = decoder.finish();
                ctx.emit_hooks(|report| decoder.hooks(report));
                outcome
            }
            Err(e) => Err(e),
        };
        outcome.map_err(|e| self.attribute(e, &progress, ctx))
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> crate::EventStream<'a> {
        crate::model::stream_of_drive(self, request, ctx)
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        if self.health == HealthProbe::OneToken {
            return health::one_token(self, ctx).await;
        }
        let health = Health::pending(self.codec.info(), ctx);
        let probe = match self.codec.probe() {
            Ok(probe) => probe,
            Err(e) => return health.settle(Err::<Vec<_>, _>(e), None),
        };
        let start = ctx.now();
        let found = self.probe(probe, ctx).await;
        health.settle(found, ctx.now().since(start))
    }
}

impl<C: Codec, T: Transport + ?Sized> HttpModel<C, T> {
    async fn probe(&self, probe: Probe, ctx: &CallContext) -> Result<Vec<(String, String)>> {
        let ctx = &ctx.ending_within(probe.timeout);
        let (mut reply, mut body) = (None, Vec::new());
        let read = ctx
            .run(self.op("health"), async {
                let at = ctx.now();
                ctx.emit(|| CallEvent::Sent { at });
                let reply = reply.insert(self.transport.send(probe.request, ctx).await?);
                read_whole(&mut *reply.body, &mut body, MAX_BODY, ctx).await
            })
            .await;
        let Some(reply) = reply else { return read.map(|()| Vec::new()) };
        emit_end(&*reply.body, ctx);
        if is_success(reply.status) {
            read?;
        }
        self.codec.judge_probe(reply.status, &reply.headers, &body)
    }

    /// Adds what only this level knows: the provider, and the phase an interruption hit. Tells the observer.
    fn attribute(&self, error: Error, progress: &Progress, ctx: &CallContext) -> Error {
        let error = match error.provider() {
            Some(_) => error,
            None => error.with_provider(self.codec.info().provider.clone()),
        };
        let error = error.or_phase(progress.get());
        ctx.emit(|| CallEvent::Failed { at: ctx.now(), error: &error });
        error
    }
}
