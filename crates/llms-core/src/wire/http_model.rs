//! A [`ChatModel`] of a codec and a transport.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderName, HeaderValue};

use super::{Body, Codec, Decoder, Delivery, Framer, Reply, Transport};
use crate::{
    chat::{ChatRequest, ChatResponse},
    context::CallContext,
    error::{CallPhase, Error, ErrorCode, Result},
    event::{EventSink, Stamp},
    health::{Health, HealthState},
    model::{ChatModel, ModelInfo, Outcome},
    observe::CallEvent,
};

/// Largest whole body accepted.
const MAX_BODY: usize = 64 << 20;
/// Largest error body read before classification.
const MAX_ERROR_BODY: usize = 1 << 20;
/// How long a server may take to end the body after the terminal marker before the connection is dropped.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// Joins a provider's codec and a transport; generic over both, dynamic dispatch begins at [`ChatModel`].
#[derive(Debug)]
pub struct HttpModel<C, T: ?Sized = dyn Transport> {
    codec: C,
    transport: Arc<T>,
    timeout: Option<Duration>,
}

impl<C: Codec, T: Transport + ?Sized> HttpModel<C, T> {
    /// A model that speaks `codec` over `transport`.
    pub fn new(codec: C, transport: Arc<T>) -> Self {
        Self { codec, transport, timeout: None }
    }

    /// Limits calls whose context has no deadline of its own.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
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
        phase: &Progress,
    ) -> Result<Reply> {
        let mut prepared =
            self.codec.encode(request, delivery).map_err(|e| e.or_phase(CallPhase::Prepare))?;
        if let Some(id) = &ctx.request_id
            && let Ok(value) = HeaderValue::from_str(id)
        {
            prepared.headers.insert(HeaderName::from_static("x-request-id"), value);
        }
        let sent = ctx.now();
        ctx.emit(|| CallEvent::Sent { at: sent });
        phase.set(CallPhase::Headers);
        let mut reply = self.transport.send(prepared, ctx).await?;
        ctx.emit_hooks(|report| self.codec.hooks(&reply.headers, report));
        if (200..300).contains(&reply.status) {
            return Ok(reply);
        }
        phase.set(CallPhase::Body);
        // A refusal whose body breaks off is still that refusal.
        let mut body = Vec::new();
        let _ = read_whole(&mut *reply.body, &mut body, MAX_ERROR_BODY, ctx).await;
        Err(self
            .codec
            .classify(reply.status, &reply.headers, &body)
            .with_status(reply.status)
            .or_phase(CallPhase::Headers))
    }

    async fn drive_inner(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
        phase: &Progress,
    ) -> Result<Outcome> {
        let mut reply = self.send(request, Delivery::Stream, ctx, phase).await?;
        phase.set(CallPhase::Stream);
        let (mut framer, mut decoder) = (self.codec.framer(), self.codec.decoder());
        let read = self.read_stream(&mut *reply.body, &mut framer, &mut decoder, ctx, sink).await;
        let (counters, at) = (reply.body.counters(), ctx.now());
        ctx.emit(|| CallEvent::End { at, bytes: counters.bytes, reads: counters.reads });
        read.map_err(|e| e.or_phase(CallPhase::Stream))?;
        let outcome = decoder.finish().map_err(|e| e.or_phase(CallPhase::Stream));
        ctx.emit_hooks(|report| decoder.hooks(report));
        outcome
    }

    async fn read_stream(
        &self,
        body: &mut dyn Body,
        framer: &mut C::Framer,
        decoder: &mut C::Decoder,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<()> {
        let (mut first, mut last) = (true, Stamp::default());
        loop {
            if decoder.is_complete() {
                return drain(body, ctx).await;
            }
            poll_fn(|cx| sink.poll_ready(cx)).await;
            let Some(stamp) = poll_fn(|cx| body.poll_read(cx, framer.buffer())).await? else { break };
            if std::mem::take(&mut first) {
                ctx.emit(|| CallEvent::FirstByte { stamp });
            }
            last = stamp;
            while let Some(frame) = framer.next_frame()? {
                decoder.frame(frame, stamp, sink)?;
            }
        }
        if let Some(frame) = framer.finish()? {
            decoder.frame(frame, last, sink)?;
        }
        Ok(())
    }
}

/// Reads to the end of the body after the terminal marker, so that the connection can be reused. Whatever goes
/// wrong here costs the connection, not the answer.
async fn drain(body: &mut dyn Body, ctx: &CallContext) -> Result<()> {
    let limited = CallContext { deadline: Some(ctx.now() + CLOSE_GRACE), observer: None, ..ctx.clone() };
    let mut rest = Vec::new();
    let _ = limited.run("drain", read_whole(body, &mut rest, MAX_ERROR_BODY, &limited)).await;
    Ok(())
}

async fn read_whole(body: &mut dyn Body, buf: &mut Vec<u8>, limit: usize, ctx: &CallContext) -> Result<()> {
    let mut first = true;
    let result = loop {
        match poll_fn(|cx| body.poll_read(cx, buf)).await {
            Ok(None) => break Ok(()),
            Ok(Some(stamp)) => {
                if std::mem::take(&mut first) {
                    ctx.emit(|| CallEvent::FirstByte { stamp });
                }
                if buf.len() > limit {
                    break Err(Error::new(
                        "http.body",
                        ErrorCode::MalformedResponse,
                        format!("the body exceeds the limit of {limit} bytes"),
                    ));
                }
            }
            Err(e) => break Err(e),
        }
    };
    let (counters, at) = (body.counters(), ctx.now());
    ctx.emit(|| CallEvent::End { at, bytes: counters.bytes, reads: counters.reads });
    result
}

/// Where a call is, so that a deadline or cancellation can say what it interrupted.
struct Progress(AtomicU8);

impl Progress {
    const PHASES: [CallPhase; 4] =
        [CallPhase::Prepare, CallPhase::Headers, CallPhase::Body, CallPhase::Stream];

    fn new() -> Self {
        Self(AtomicU8::new(0))
    }

    fn set(&self, phase: CallPhase) {
        self.0.store(Self::PHASES.iter().position(|p| *p == phase).unwrap_or(0) as u8, Relaxed);
    }

    fn get(&self) -> CallPhase {
        Self::PHASES[usize::from(self.0.load(Relaxed))]
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<C: Codec, T: Transport + ?Sized> ChatModel for HttpModel<C, T> {
    fn info(&self) -> &ModelInfo {
        self.codec.info()
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let phase = Progress::new();
        let ctx = &*self.limited(ctx);
        let call = async {
            let mut reply = self.send(request, Delivery::Whole, ctx, &phase).await?;
            phase.set(CallPhase::Body);
            let mut body = Vec::new();
            read_whole(&mut *reply.body, &mut body, MAX_BODY, ctx)
                .await
                .map_err(|e| e.or_phase(CallPhase::Body))?;
            let mut result = None;
            ctx.emit_hooks(|report| result = Some(self.codec.decode(&body, report)));
            result
                .unwrap_or_else(|| self.codec.decode(&body, &mut |_, _| {}))
                .map_err(|e| e.or_phase(CallPhase::Body))
        };
        ctx.run(self.op("generate"), call).await.map_err(|e| self.attribute(e, &phase))
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let phase = Progress::new();
        let ctx = &*self.limited(ctx);
        ctx.run(self.op("stream"), self.drive_inner(request, ctx, sink, &phase))
            .await
            .map_err(|e| self.attribute(e, &phase))
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> crate::EventStream<'a> {
        crate::model::stream_of_drive(self, request, ctx)
    }

    async fn check_health(&self, ctx: &CallContext) -> Health {
        let info = self.codec.info();
        let mut health = Health {
            state: HealthState::Unhealthy,
            provider: info.provider.clone(),
            model: info.model.clone(),
            checked_at: ctx.clock.wall(),
            latency: None,
            reason: None,
            details: BTreeMap::new(),
        };
        let start = ctx.now();
        match self.probe(ctx).await {
            Ok(facts) => {
                health.state = HealthState::Healthy;
                health.details.extend(facts);
            }
            Err(e) => {
                if e.code() == ErrorCode::ModelNotAvailable {
                    health.state = HealthState::Degraded;
                }
                health.reason = Some(e.to_string());
            }
        }
        health.latency = ctx.now().since(start);
        health
    }
}

impl<C: Codec, T: Transport + ?Sized> HttpModel<C, T> {
    async fn probe(&self, ctx: &CallContext) -> Result<Vec<(String, String)>> {
        let probe = self.codec.probe()?;
        let limited = CallContext { deadline: Some(ctx.now() + probe.timeout), ..ctx.clone() };
        limited
            .run(self.op("health"), async {
                let mut reply = self.transport.send(probe.request, &limited).await?;
                let mut body = Vec::new();
                read_whole(&mut *reply.body, &mut body, MAX_BODY, &limited).await?;
                self.codec.judge_probe(reply.status, &reply.headers, &body)
            })
            .await
    }

    /// Adds what only this level knows: the provider, and the phase an interruption hit.
    fn attribute(&self, error: Error, phase: &Progress) -> Error {
        let provider = self.codec.info().provider.clone();
        let error = if error.provider().is_none() { error.with_provider(provider) } else { error };
        error.or_phase(phase.get())
    }
}
