//! The wrapper: a model whose calls are reported.

use std::{future::Future, pin::Pin};

use llms_core::{
    CallContext, ChatModel, ChatModelExt, ChatRequest, ChatResponse, EventSink, EventStream, ModelInfo,
    Outcome, Result,
    health::{Health, HealthState},
    model::stream_of_drive,
};
use opentelemetry::{
    KeyValue,
    trace::{Span, SpanKind, Status, Tracer},
};

use crate::{
    call::Call,
    labels::{ModelLabels, Operation},
    live::Live,
    metrics::Metrics,
    seen::SeeingSink,
    span::Wall,
    table::key,
};

type Boxed<'f, T> = Pin<Box<dyn Future<Output = T> + Send + 'f>>;

/// A model whose calls are reported through [`Metrics`]: counted when they begin, recorded when they end, fail or
/// are given up. With [`Metrics::noop`] and no log line wanted, the inner model's own future is handed through.
///
/// Of several layers it belongs outermost, so that a call is what the caller asked for: retries are events of its
/// span, a replay from a cache is marked and measures nothing. One around the innermost model as well reports each
/// attempt.
///
/// What counts as a chunk: one read that brought generated content (text, reasoning, a piece of a tool call). Times
/// are arrival stamps, the kernel's where the transport has them.
#[derive(Clone, Debug)]
pub struct Instrumented<M> {
    model: M,
    metrics: Metrics,
    labels: ModelLabels,
}

impl<M: ChatModel> Instrumented<M> {
    /// Reports calls of `model` through `metrics`.
    pub fn new(model: M, metrics: Metrics) -> Self {
        let labels = ModelLabels::of(model.info());
        Self { model, metrics, labels }
    }

    /// The model inside.
    pub fn inner(&self) -> &M {
        &self.model
    }

    /// The attributes of its calls.
    pub fn labels(&self) -> &ModelLabels {
        &self.labels
    }

    /// [`ChatModelExt::batch`], recorded as a batch besides its calls.
    pub async fn batch(
        &self,
        requests: &[ChatRequest],
        concurrency: usize,
        ctx: &CallContext,
    ) -> Vec<Result<ChatResponse>> {
        let batch = ChatModelExt::batch(self, requests, concurrency, ctx);
        self.metrics.timed_batch(&self.labels, requests.len(), &ctx.clock, batch).await
    }

    async fn generate_watched(
        &self,
        live: &Live,
        request: &ChatRequest,
        ctx: &CallContext,
    ) -> Result<ChatResponse> {
        let (mut call, ctx) = Call::begin(live, &self.labels, Operation::Generate, request, ctx);
        let answered = self.model.generate(request, &ctx).await;
        if let Ok(response) = &answered {
            call.seen.response(response);
        }
        call.end(answered.as_ref().err());
        answered
    }

    async fn drive_watched(
        &self,
        live: &Live,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let (mut call, ctx) = Call::begin(live, &self.labels, Operation::Stream, request, ctx);
        let mut seeing = SeeingSink { sink, seen: &mut call.seen, live, labels: &self.labels };
        let answered = self.model.drive(request, &ctx, &mut seeing).await;
        if let Ok(outcome) = &answered {
            call.seen.outcome(outcome);
        }
        call.end(answered.as_ref().err());
        answered
    }

    async fn health_watched(&self, live: &Live, ctx: &CallContext) -> Health {
        let wall = Wall { start: ctx.now(), wall: ctx.clock.wall().into() };
        let operation = self.labels.operation(Operation::Health);
        let attributes = [
            KeyValue::new(key::LLM_PROVIDER, self.labels.provider().clone()),
            KeyValue::new(key::LLM_MODEL, self.labels.model().clone()),
            KeyValue::new(key::OPERATION, operation.clone()),
        ];
        let mut span = live
            .tracer
            .span_builder(operation.as_str().to_owned())
            .with_kind(SpanKind::Client)
            .with_start_time(wall.wall)
            .with_attributes(attributes)
            .start(&live.tracer);
        let health = self.model.check_health(ctx).await;
        let state = match health.state {
            HealthState::Healthy => "healthy",
            HealthState::Degraded => "degraded",
            HealthState::Unhealthy => "unhealthy",
        };
        span.set_attribute(KeyValue::new("llm.health", state));
        if health.state == HealthState::Unhealthy {
            span.set_status(Status::error("unhealthy"));
        }
        live.end_span(&mut span, wall.at(ctx.now()));
        health
    }
}

// Written out as `async_trait` would expand it, so that the inner future can be returned as it is.
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Instrumented<M> {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn generate<'m, 'r, 'c, 'f>(
        &'m self,
        request: &'r ChatRequest,
        ctx: &'c CallContext,
    ) -> Boxed<'f, Result<ChatResponse>>
    where
        'm: 'f,
        'r: 'f,
        'c: 'f,
        Self: 'f,
    {
        match self.metrics.live() {
            Some(live) => Box::pin(self.generate_watched(live, request, ctx)),
            None => self.model.generate(request, ctx),
        }
    }

    fn drive<'m, 'r, 'c, 's, 'f>(
        &'m self,
        request: &'r ChatRequest,
        ctx: &'c CallContext,
        sink: &'s mut dyn EventSink,
    ) -> Boxed<'f, Result<Outcome>>
    where
        'm: 'f,
        'r: 'f,
        'c: 'f,
        's: 'f,
        Self: 'f,
    {
        match self.metrics.live() {
            Some(live) => Box::pin(self.drive_watched(live, request, ctx, sink)),
            None => self.model.drive(request, ctx, sink),
        }
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        match self.metrics.live() {
            Some(_) => stream_of_drive(self, request, ctx),
            None => self.model.stream(request, ctx),
        }
    }

    fn check_health<'m, 'c, 'f>(&'m self, ctx: &'c CallContext) -> Boxed<'f, Health>
    where
        'm: 'f,
        'c: 'f,
        Self: 'f,
    {
        match self.metrics.live() {
            Some(live) => Box::pin(self.health_watched(live, ctx)),
            None => self.model.check_health(ctx),
        }
    }
}
