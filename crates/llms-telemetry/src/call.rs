//! One call from beginning to end: counts it, and when it ends, however it ends, records its metrics, ends its span
//! and writes its log line. Dropping it, as a caller does who gives up a stream, ends it as cancelled.

use std::{borrow::Cow, sync::Arc};

use llms_core::{
    CallContext, ChatRequest, Error, ErrorCode, FinishReason, observe::Timeline, time::SharedClock,
};
use opentelemetry::{
    KeyValue,
    global::BoxedSpan,
    trace::{Span, SpanKind, Status, Tracer},
};

use crate::{
    LOG_TARGET,
    labels::{ModelLabels, Operation},
    live::{Live, record_latency},
    seen::Seen,
    span::{self, Wall, Watch},
    table::key,
};

/// A call that is running.
pub(crate) struct Call<'a> {
    pub(crate) live: &'a Live,
    pub(crate) labels: &'a ModelLabels,
    pub(crate) seen: Seen,
    operation: Operation,
    request: &'a ChatRequest,
    request_id: Option<Arc<str>>,
    clock: SharedClock,
    wall: Wall,
    span: BoxedSpan,
    timeline: Timeline,
    over: bool,
}

impl<'a> Call<'a> {
    /// Begins a call; the context is the one to make it with.
    pub(crate) fn begin(
        live: &'a Live,
        labels: &'a ModelLabels,
        operation: Operation,
        request: &'a ChatRequest,
        ctx: &CallContext,
    ) -> (Self, CallContext) {
        live.requests.add(1, labels.contract());
        live.requests_active.add(1, labels.contract());
        if operation == Operation::Stream {
            live.streams.add(1, labels.contract());
            live.streams_active.add(1, labels.contract());
        }
        let wall = Wall { start: ctx.now(), wall: ctx.clock.wall().into() };
        let mut attributes = Vec::with_capacity(24);
        attributes.extend_from_slice(labels.gen_ai());
        attributes.push(KeyValue::new(key::LLM_PROVIDER, labels.provider().clone()));
        attributes.push(KeyValue::new(key::LLM_MODEL, labels.model().clone()));
        attributes.push(KeyValue::new(key::OPERATION, labels.operation(operation).clone()));
        span::request(&mut attributes, request, operation == Operation::Stream);
        let span = live
            .tracer
            .span_builder(labels.span_name().to_owned())
            .with_kind(SpanKind::Client)
            .with_start_time(wall.wall)
            .with_attributes(attributes)
            .start(&live.tracer);
        let timeline = Timeline::new();
        let watch = Watch { timeline: timeline.clone(), theirs: ctx.observer.clone() };
        let inner = CallContext {
            observer: Some(Arc::new(watch)),
            trace_parent: span::trace_parent(&span).or_else(|| ctx.trace_parent.clone()),
            ..ctx.clone()
        };
        let call = Self {
            live,
            labels,
            seen: Seen::default(),
            operation,
            request,
            request_id: ctx.request_id.clone(),
            clock: ctx.clock.clone(),
            wall,
            span,
            timeline,
            over: false,
        };
        (call, inner)
    }

    /// The call ended with an answer, or with this error.
    pub(crate) fn end(mut self, failure: Option<&Error>) {
        self.settle(failure.map(|e| (e.code(), Cow::Owned(span::describe(e)), Some(e))));
    }

    fn settle(&mut self, failure: Option<(ErrorCode, Cow<'static, str>, Option<&Error>)>) {
        self.over = true;
        let (live, on) = (self.live, self.labels);
        let now = self.clock.now();
        let elapsed = now.saturating_since(self.wall.start);
        let outcome = failure.as_ref().map_or(Ok(()), |(code, ..)| Err(*code));
        let mut timeline = self.timeline.take();
        timeline.replayed |= self.seen.replayed;
        if let Some((_, _, Some(error))) = &failure {
            timeline.status = timeline.status.or(error.status());
        }
        let streamed = self.operation == Operation::Stream;

        live.requests_active.add(-1, on.contract());
        if streamed {
            live.streams_active.add(-1, on.contract());
        }
        live.ended(on, outcome);
        let gen_ai = self.seen.gen_ai(on);
        let first_chunk = self.seen.first_chunk.and_then(|at| at.since(self.wall.start));
        if let Err(code) = outcome {
            live.error(on, code);
        } else {
            for tool in self.seen.tools(self.request) {
                live.tool_call(on, tool);
            }
        }
        // A replay from a cache measures no service, and nobody generated its tokens again.
        if !timeline.replayed {
            let latency = if streamed { &live.stream_latency } else { &live.generation_latency };
            record_latency(latency, on, elapsed, outcome);
            live.tokens(on, self.seen.usage.as_ref(), &gen_ai, outcome.err());
            if let Some(first) = first_chunk {
                live.first_chunk.record(first.as_secs_f64(), &gen_ai);
            }
            self.seen.record_gaps(live, &gen_ai);
            match outcome {
                Ok(()) => live.duration.record(elapsed.as_secs_f64(), &gen_ai),
                Err(code) => {
                    let mut attributes = gen_ai;
                    attributes.push(KeyValue::new(key::ERROR_TYPE, code.as_str()));
                    live.duration.record(elapsed.as_secs_f64(), &attributes);
                }
            }
        }

        if self.span.is_recording() {
            span::answer(&mut self.span, &self.seen, live.semconv, outcome.is_err());
            span::timeline(&mut self.span, &timeline, self.wall);
            if let Some(first) = first_chunk {
                let seconds = first.as_secs_f64();
                self.span.set_attribute(KeyValue::new("gen_ai.response.time_to_first_chunk", seconds));
            }
            if let Some(id) = &self.request_id {
                self.span.set_attribute(KeyValue::new("llm.request_id", id.clone()));
            }
            if let Some((code, text, _)) = &failure {
                self.span.set_attribute(KeyValue::new(key::ERROR_TYPE, code.as_str()));
                let exception = vec![
                    KeyValue::new("exception.type", code.as_str()),
                    KeyValue::new("exception.message", text.clone()),
                ];
                self.span.add_event_with_timestamp("exception", self.wall.at(now), exception);
                self.span.set_status(Status::error(text.clone()));
            }
        }
        live.end_span(&mut self.span, self.wall.at(now));
        self.log(elapsed.as_secs_f64(), first_chunk.map(|d| d.as_secs_f64()), failure.as_ref());
    }

    fn log(
        &self,
        duration_s: f64,
        first_chunk_s: Option<f64>,
        failure: Option<&(ErrorCode, Cow<'static, str>, Option<&Error>)>,
    ) {
        let usage = self.seen.usage.unwrap_or_default();
        let (provider, model) = (self.labels.provider().as_str(), self.labels.model().as_str());
        let operation = self.labels.operation(self.operation).as_str();
        let request_id = self.request_id.as_deref();
        match failure {
            None => tracing::info!(
                target: LOG_TARGET,
                provider,
                model,
                operation,
                duration_s,
                first_chunk_s,
                input_tokens = usage.input_tokens,
                output_tokens = usage.output_tokens,
                chunks = (self.operation == Operation::Stream).then_some(self.seen.chunks),
                finish_reason = self.seen.finish.as_ref().map(FinishReason::as_str),
                request_id,
                "call answered"
            ),
            Some((code, _, error)) => tracing::warn!(
                target: LOG_TARGET,
                provider,
                model,
                operation,
                duration_s,
                first_chunk_s,
                error_code = code.as_str(),
                status = error.and_then(Error::status),
                phase = error.and_then(Error::phase).map(tracing::field::display),
                input_tokens = usage.input_tokens,
                output_tokens = usage.output_tokens,
                request_id,
                "call failed"
            ),
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.settle(Some((ErrorCode::Cancelled, "given up by the caller".into(), None)));
        }
    }
}
