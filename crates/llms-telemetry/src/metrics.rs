//! The instruments and the tracer in one object: what the contract calls the recorder.
//!
//! [`Instrumented`](crate::Instrumented) calls it for every call to a model; whoever measures something else (a
//! batch, a tool, an operation of their own) may call it as well.

use std::{
    fmt,
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use llms_core::{ErrorCode, Usage, time::SharedClock};
use opentelemetry::{
    KeyValue,
    global::BoxedTracer,
    metrics::Meter,
    trace::{Span, SpanKind, Status, Tracer},
};

use crate::{
    LOG_TARGET, TelemetryError,
    labels::ModelLabels,
    live::{Live, record_latency},
    table::key,
};

/// Which version of the GenAI conventions is emitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Semconv {
    /// v1.41, the last release: what collectors and dashboards know.
    #[default]
    V1_41,
    /// The unreleased names of 2026, for `OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental`.
    Latest,
}

/// What [`Metrics::with_options`] may be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricsOptions {
    /// Version of the GenAI conventions.
    pub semconv: Semconv,
    /// Bucket boundaries of every duration, in seconds, ascending and finite; `None`: those of the conventions,
    /// whose lowest is 10 ms, so that gaps between chunks of fast servers all fall below it.
    pub seconds: Option<Vec<f64>>,
}

/// Instruments and tracer, or nothing. Cheap to clone; clones record into the same instruments.
#[derive(Clone, Default)]
pub struct Metrics(Option<Arc<Live>>);

impl Metrics {
    /// Creates every instrument of [`table`](crate::table) on `meter`; spans are made by `tracer`.
    ///
    /// # Errors
    /// [`TelemetryError::Instrument`] when a row of the table breaks the rules for names, where OpenTelemetry itself
    /// would silently record nothing.
    pub fn new<T>(meter: &Meter, tracer: T) -> Result<Self, TelemetryError>
    where
        T: Tracer + Send + Sync + 'static,
        T::Span: Send + Sync + 'static,
    {
        Self::with_options(meter, tracer, &MetricsOptions::default())
    }

    /// The same with a choice of names and buckets.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`TelemetryError::Buckets`].
    pub fn with_options<T>(meter: &Meter, tracer: T, options: &MetricsOptions) -> Result<Self, TelemetryError>
    where
        T: Tracer + Send + Sync + 'static,
        T::Span: Send + Sync + 'static,
    {
        let tracer = BoxedTracer::new(Box::new(tracer));
        Ok(Self(Some(Arc::new(Live::new(meter, tracer, options)?))))
    }

    /// Records nothing and costs nothing: every method returns at once, wrapped models are passed through.
    pub const fn noop() -> Self {
        Self(None)
    }

    /// Whether anything is recorded.
    pub fn is_noop(&self) -> bool {
        self.0.is_none()
    }

    /// What records a call; without instruments still something while the log line of calls is wanted, be it that of
    /// failures only.
    pub(crate) fn live(&self) -> Option<&Live> {
        match &self.0 {
            Some(live) => Some(live),
            None if tracing::enabled!(target: LOG_TARGET, tracing::Level::WARN) => Some(Live::log_only()),
            None => None,
        }
    }

    /// Spans ended so far.
    pub(crate) fn spans_ended(&self) -> u64 {
        self.0.as_ref().map_or(0, |live| live.spans_ended.load(Relaxed))
    }

    /// A call begins: counts it, whatever will become of it.
    pub fn request(&self, on: &ModelLabels) {
        if let Some(live) = &self.0 {
            live.requests.add(1, on.contract());
        }
    }

    /// A call that was not streamed took `latency` and ended so.
    pub fn generation(&self, on: &ModelLabels, latency: Duration, outcome: Result<(), ErrorCode>) {
        if let Some(live) = &self.0 {
            live.ended(on, outcome);
            record_latency(&live.generation_latency, on, latency, outcome);
        }
    }

    /// An error of this code happened.
    pub fn error(&self, on: &ModelLabels, code: ErrorCode) {
        if let Some(live) = &self.0 {
            live.error(on, code);
        }
    }

    /// The provider reported these tokens for one call.
    pub fn token_usage(&self, on: &ModelLabels, usage: &Usage) {
        if let Some(live) = &self.0 {
            live.tokens(on, Some(usage), on.gen_ai(), None);
        }
    }

    /// An answer asked for a call of `tool`, a name from a bounded set (a tool that was offered).
    pub fn tool_call(&self, on: &ModelLabels, tool: &str) {
        if let Some(live) = &self.0 {
            live.tool_call(on, tool);
        }
    }

    /// A batch of `size` requests took `latency`.
    pub fn batch(&self, on: &ModelLabels, size: usize, latency: Duration) {
        if let Some(live) = &self.0 {
            let size = i64::try_from(size).unwrap_or(i64::MAX);
            let attributes = on.contract_and(KeyValue::new(key::BATCH_SIZE, size));
            live.batches.add(1, &attributes);
            live.batch_latency.record(latency.as_secs_f64(), &attributes);
        }
    }

    /// A streamed call took `latency` and ended so.
    pub fn stream(&self, on: &ModelLabels, latency: Duration, outcome: Result<(), ErrorCode>) {
        if let Some(live) = &self.0 {
            live.streams.add(1, on.contract());
            live.ended(on, outcome);
            record_latency(&live.stream_latency, on, latency, outcome);
        }
    }

    /// Calls running now: `delta` more, or fewer.
    pub fn requests_active(&self, on: &ModelLabels, delta: i64) {
        if let Some(live) = &self.0 {
            live.requests_active.add(delta, on.contract());
        }
    }

    /// Streams running now: `delta` more, or fewer.
    pub fn streams_active(&self, on: &ModelLabels, delta: i64) {
        if let Some(live) = &self.0 {
            live.streams_active.add(delta, on.contract());
        }
    }

    /// An operation of any kind that just ended, by its low-cardinality name: counted as a request and a generation,
    /// with its latency, and a span that ends now. Its only attribute is `operation`, since no model is known.
    pub fn record_operation(&self, operation: &'static str, duration: Duration, success: bool) {
        let Some(live) = &self.0 else { return };
        let attributes = [KeyValue::new(key::OPERATION, operation)];
        live.requests.add(1, &attributes);
        if success { &live.successful } else { &live.failed }.add(1, &attributes);
        live.generation_latency.record(duration.as_secs_f64(), &attributes);

        let end = opentelemetry::time::now();
        let start = end.checked_sub(duration).unwrap_or(end);
        let mut span = live
            .tracer
            .span_builder(operation)
            .with_kind(SpanKind::Internal)
            .with_start_time(start)
            .with_attributes(attributes)
            .start(&live.tracer);
        if !success {
            span.set_status(Status::error("the operation failed"));
        }
        live.end_span(&mut span, end);
    }

    /// Runs a batch of `size` requests, times it on `clock` and records it.
    pub async fn timed_batch<F: Future>(
        &self,
        on: &ModelLabels,
        size: usize,
        clock: &SharedClock,
        batch: F,
    ) -> F::Output {
        if self.0.is_none() {
            return batch.await;
        }
        let start = clock.now();
        let output = batch.await;
        self.batch(on, size, clock.now().saturating_since(start));
        output
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("noop", &self.is_noop()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::{
        metrics::{MeterProvider, noop::NoopMeterProvider},
        trace::{TracerProvider, noop::NoopTracerProvider},
    };

    use super::*;
    use crate::SCOPE;

    #[track_caller]
    fn check(seconds: &[f64], expected: Option<&str>) {
        let meter = NoopMeterProvider::new().meter(SCOPE);
        let options = MetricsOptions { seconds: Some(seconds.to_vec()), ..MetricsOptions::default() };
        let tracer = NoopTracerProvider::new().tracer(SCOPE);
        let made = Metrics::with_options(&meter, tracer, &options);
        let told = made.err().map(|e| e.to_string());
        assert_eq!(told.is_some(), expected.is_some(), "{told:?}");
        if let (Some(told), Some(expected)) = (told, expected) {
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn buckets_that_cannot_be_used_are_refused() {
        check(&[0.001, 0.01], None);
        check(&[], Some("llm.generation.latency cannot be used: there is none"));
        check(&[0.1, 0.1], Some("0.1 follows 0.1"));
        check(&[0.1, f64::NAN], Some("NaN is not finite"));
    }
}
