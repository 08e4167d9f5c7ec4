//! The instruments that record, created from the table.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use llms_core::{ErrorCode, Usage};
use opentelemetry::{
    InstrumentationScope, KeyValue,
    global::BoxedTracer,
    metrics::{Counter, Histogram, Meter, MeterProvider, UpDownCounter, noop::NoopMeterProvider},
    trace::{
        Span, TracerProvider,
        noop::{NoopTracer, NoopTracerProvider},
    },
};

use crate::{
    SCOPE, TelemetryError,
    labels::ModelLabels,
    metrics::{MetricsOptions, Semconv},
    table::{self, Instrument, key},
};

/// What spans and metrics of this crate are of.
pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope::builder(SCOPE).with_version(env!("CARGO_PKG_VERSION")).build()
}

/// The instruments that record.
pub(crate) struct Live {
    pub(crate) tracer: BoxedTracer,
    pub(crate) semconv: Semconv,
    pub(crate) requests: Counter<u64>,
    pub(crate) successful: Counter<u64>,
    pub(crate) failed: Counter<u64>,
    pub(crate) errors: Counter<u64>,
    pub(crate) input_tokens: Counter<u64>,
    pub(crate) output_tokens: Counter<u64>,
    pub(crate) tool_calls: Counter<u64>,
    pub(crate) batches: Counter<u64>,
    pub(crate) streams: Counter<u64>,
    pub(crate) generation_latency: Histogram<f64>,
    pub(crate) batch_latency: Histogram<f64>,
    pub(crate) stream_latency: Histogram<f64>,
    pub(crate) requests_active: UpDownCounter<i64>,
    pub(crate) streams_active: UpDownCounter<i64>,
    pub(crate) duration: Histogram<f64>,
    pub(crate) first_chunk: Histogram<f64>,
    pub(crate) per_chunk: Histogram<f64>,
    usage: UsageInstruments,
    pub(crate) spans_ended: AtomicU64,
}

enum UsageInstruments {
    V1_41(Histogram<u64>),
    Latest {
        input: Counter<u64>,
        output: Counter<u64>,
        cache_read: Counter<u64>,
        cache_write: Counter<u64>,
        reasoning: Counter<u64>,
        per_input: Histogram<u64>,
        per_output: Histogram<u64>,
    },
}

impl Live {
    pub(crate) fn new(
        meter: &Meter,
        tracer: BoxedTracer,
        options: &MetricsOptions,
    ) -> Result<Self, TelemetryError> {
        let make = Maker { meter, seconds: options.seconds.as_deref() };
        let latest = options.semconv == Semconv::Latest;
        let either = |v1_41, new| if latest { new } else { v1_41 };
        Ok(Self {
            requests: make.counter(table::REQUESTS)?,
            successful: make.counter(table::SUCCESSFUL)?,
            failed: make.counter(table::FAILED)?,
            errors: make.counter(table::ERRORS)?,
            input_tokens: make.counter(table::INPUT_TOKENS)?,
            output_tokens: make.counter(table::OUTPUT_TOKENS)?,
            tool_calls: make.counter(table::TOOL_CALLS)?,
            batches: make.counter(table::BATCHES)?,
            streams: make.counter(table::STREAMS)?,
            generation_latency: make.seconds(table::GENERATION_LATENCY)?,
            batch_latency: make.seconds(table::BATCH_LATENCY)?,
            stream_latency: make.seconds(table::STREAM_LATENCY)?,
            requests_active: make.up_down(table::REQUESTS_ACTIVE)?,
            streams_active: make.up_down(table::STREAMS_ACTIVE)?,
            duration: make.seconds(either(table::DURATION_141, table::DURATION))?,
            first_chunk: make.seconds(either(table::FIRST_CHUNK_141, table::FIRST_CHUNK))?,
            per_chunk: make.seconds(either(table::PER_CHUNK_141, table::PER_CHUNK))?,
            usage: if latest {
                UsageInstruments::Latest {
                    input: make.counter(table::USAGE_INPUT)?,
                    output: make.counter(table::USAGE_OUTPUT)?,
                    cache_read: make.counter(table::USAGE_CACHE_READ)?,
                    cache_write: make.counter(table::USAGE_CACHE_WRITE)?,
                    reasoning: make.counter(table::USAGE_REASONING)?,
                    per_input: make.tokens(table::OPERATION_INPUT)?,
                    per_output: make.tokens(table::OPERATION_OUTPUT)?,
                }
            } else {
                UsageInstruments::V1_41(make.tokens(table::TOKEN_USAGE_141)?)
            },
            tracer,
            semconv: options.semconv,
            spans_ended: AtomicU64::new(0),
        })
    }

    /// Records nothing, so that only the log line of a call remains.
    pub(crate) fn log_only() -> &'static Self {
        static LOG_ONLY: OnceLock<Live> = OnceLock::new();
        LOG_ONLY.get_or_init(|| {
            let meter = NoopMeterProvider::new().meter(SCOPE);
            let tracer: NoopTracer = NoopTracerProvider::new().tracer(SCOPE);
            Self::new(&meter, BoxedTracer::new(Box::new(tracer)), &MetricsOptions::default())
                .expect("invariant: the table is valid, a test creates every row")
        })
    }

    pub(crate) fn ended(&self, on: &ModelLabels, outcome: Result<(), ErrorCode>) {
        match outcome {
            Ok(()) => self.successful.add(1, on.contract()),
            Err(code) => {
                self.failed.add(1, &on.contract_and(KeyValue::new(key::ERROR_CODE, code.as_str())));
            }
        }
    }

    pub(crate) fn error(&self, on: &ModelLabels, code: ErrorCode) {
        self.errors.add(1, &on.contract_and(KeyValue::new(key::ERROR_CODE, code.as_str())));
    }

    pub(crate) fn tool_call(&self, on: &ModelLabels, tool: &str) {
        self.tool_calls.add(1, &on.contract_and(KeyValue::new(key::TOOL_NAME, tool.to_owned())));
    }

    /// Tokens of one call. What the provider did not report stays unrecorded, save that the unreleased conventions
    /// ask for a 0 in the counters of input and output. (They ask for a 0 in the distributions too; those keep to
    /// what was reported.)
    pub(crate) fn tokens(
        &self,
        on: &ModelLabels,
        usage: Option<&Usage>,
        gen_ai: &[KeyValue],
        error: Option<ErrorCode>,
    ) {
        let usage = usage.copied().unwrap_or_default();
        if let Some(n) = usage.input_tokens {
            self.input_tokens.add(n, on.contract());
        }
        if let Some(n) = usage.output_tokens {
            self.output_tokens.add(n, on.contract());
        }
        match &self.usage {
            UsageInstruments::V1_41(histogram) => {
                for (n, token_type) in [(usage.input_tokens, "input"), (usage.output_tokens, "output")] {
                    if let Some(n) = n {
                        histogram.record(n, &and(gen_ai, KeyValue::new(key::TOKEN_TYPE, token_type)));
                    }
                }
            }
            UsageInstruments::Latest {
                input,
                output,
                cache_read,
                cache_write,
                reasoning,
                per_input,
                per_output,
            } => {
                let modality = and(gen_ai, KeyValue::new(key::TOKEN_MODALITY, "unknown"));
                input.add(usage.input_tokens.unwrap_or(0), &modality);
                output.add(usage.output_tokens.unwrap_or(0), &modality);
                for (counter, n) in [
                    (cache_read, usage.cache_read_tokens),
                    (cache_write, usage.cache_write_tokens),
                    (reasoning, usage.reasoning_tokens),
                ] {
                    if let Some(n) = n {
                        counter.add(n, &modality);
                    }
                }
                let mut attributes = gen_ai.to_vec();
                attributes.extend(error.map(|code| KeyValue::new(key::ERROR_TYPE, code.as_str())));
                for (histogram, n) in [(per_input, usage.input_tokens), (per_output, usage.output_tokens)] {
                    if let Some(n) = n {
                        histogram.record(n, &attributes);
                    }
                }
            }
        }
    }

    pub(crate) fn end_span(&self, span: &mut impl Span, at: SystemTime) {
        let counted = span.is_recording();
        span.end_with_timestamp(at);
        if counted {
            self.spans_ended.fetch_add(1, Relaxed);
        }
    }
}

pub(crate) fn record_latency(
    into: &Histogram<f64>,
    on: &ModelLabels,
    latency: Duration,
    outcome: Result<(), ErrorCode>,
) {
    match outcome {
        Ok(()) => into.record(latency.as_secs_f64(), on.contract()),
        Err(code) => into
            .record(latency.as_secs_f64(), &on.contract_and(KeyValue::new(key::ERROR_CODE, code.as_str()))),
    }
}

fn and(attributes: &[KeyValue], more: KeyValue) -> Vec<KeyValue> {
    let mut all = Vec::with_capacity(attributes.len() + 1);
    all.extend_from_slice(attributes);
    all.push(more);
    all
}

/// Creates instruments, and says what OpenTelemetry would keep to itself.
struct Maker<'a> {
    meter: &'a Meter,
    seconds: Option<&'a [f64]>,
}

impl Maker<'_> {
    fn counter(&self, i: Instrument) -> Result<Counter<u64>, TelemetryError> {
        check_name(&i)?;
        Ok(self.meter.u64_counter(i.name).with_unit(i.unit).with_description(i.description).build())
    }

    fn up_down(&self, i: Instrument) -> Result<UpDownCounter<i64>, TelemetryError> {
        check_name(&i)?;
        Ok(self.meter.i64_up_down_counter(i.name).with_unit(i.unit).with_description(i.description).build())
    }

    fn seconds(&self, i: Instrument) -> Result<Histogram<f64>, TelemetryError> {
        check_name(&i)?;
        let buckets = self.seconds.unwrap_or(i.buckets);
        check_buckets(i.name, buckets)?;
        let builder = self.meter.f64_histogram(i.name).with_unit(i.unit).with_description(i.description);
        Ok(builder.with_boundaries(buckets.to_vec()).build())
    }

    fn tokens(&self, i: Instrument) -> Result<Histogram<u64>, TelemetryError> {
        check_name(&i)?;
        check_buckets(i.name, i.buckets)?;
        let builder = self.meter.u64_histogram(i.name).with_unit(i.unit).with_description(i.description);
        Ok(builder.with_boundaries(i.buckets.to_vec()).build())
    }
}

/// OpenTelemetry's rules for instruments; an SDK hands out one that records nothing when they are broken.
fn check_name(i: &Instrument) -> Result<(), TelemetryError> {
    let fail = |why| Err(TelemetryError::Instrument { name: i.name.to_owned(), why });
    if !i.name.starts_with(|c: char| c.is_ascii_alphabetic()) || i.name.len() > 255 {
        return fail("names begin with a letter and have at most 255 characters");
    }
    if !i.name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-/".contains(c)) {
        return fail("names consist of letters, digits and _ . - /");
    }
    if !i.unit.is_ascii() || i.unit.len() > 63 {
        return fail("units have at most 63 ASCII characters");
    }
    Ok(())
}

fn check_buckets(instrument: &'static str, buckets: &[f64]) -> Result<(), TelemetryError> {
    let fail = |why: String| Err(TelemetryError::Buckets { instrument, why });
    if buckets.is_empty() {
        return fail("there is none".to_owned());
    }
    if let Some(b) = buckets.iter().find(|b| !b.is_finite()) {
        return fail(format!("{b} is not finite"));
    }
    match buckets.windows(2).find(|w| w[1] <= w[0]) {
        Some(w) => fail(format!("{} follows {}", w[1], w[0])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_table_keeps_the_rules() {
        for i in table::INSTRUMENTS {
            check_name(i).unwrap();
        }
        let bad = Instrument { name: "llm requests", ..table::REQUESTS };
        assert!(check_name(&bad).is_err());
    }
}
