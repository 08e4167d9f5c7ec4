//! Export over OTLP (HTTP, protobuf), begun by the standard variables or by the caller, ended by a bounded flush.

mod export;
mod settings;

use std::{
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed, mpsc},
    thread,
    time::{Duration, Instant},
};

use llms_core::{
    SharedModel,
    config::{Env, process_env},
};
use opentelemetry::{
    KeyValue,
    metrics::{MeterProvider, noop::NoopMeterProvider},
    trace::{
        TracerProvider,
        noop::{NoopTracer, NoopTracerProvider},
    },
};
use opentelemetry_sdk::{
    Resource,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider},
};

use self::{
    export::{Ledger, Reactor},
    settings::{Settings, Vars},
};
use crate::{Instrumented, Metrics, TelemetryError, live::scope, metrics::MetricsOptions};

/// Spans that may wait for export. The SDK's default, 2048 and every 5 s, is passed by a benchmark at a few hundred
/// requests a second.
const MAX_QUEUED_SPANS: usize = 65_536;
const MAX_BATCH: usize = 2_048;
const SPAN_INTERVAL: Duration = Duration::from_secs(1);

/// How long a [`Telemetry`] that was not shut down flushes when it is dropped.
const DROP_TIMEOUT: Duration = Duration::from_secs(3);

/// Whether the environment asks for export: an OTLP endpoint or an exporter is named, and `OTEL_SDK_DISABLED` is not
/// set.
pub fn wanted(env: &Env<'_>) -> bool {
    Vars(env).wanted()
}

/// What the caller decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Base address of the collector, such as `http://127.0.0.1:4318`: goes before the variables, and asks for export
    /// by itself. `None`: the variables decide.
    pub endpoint: Option<String>,
    /// `service.name`, unless the environment names another.
    pub service_name: String,
    /// Further attributes of the resource (`service.version`, run id, …); they go before those of the environment.
    pub resource: Vec<(String, String)>,
    /// Bucket boundaries of durations in seconds, see [`MetricsOptions::seconds`].
    pub seconds: Option<Vec<f64>>,
}

impl Config {
    /// The variables decide; without a name from them, telemetry is of `service_name`.
    pub fn new(service_name: impl Into<String>) -> Self {
        Self { service_name: service_name.into(), ..Self::default() }
    }

    /// Exports to this base address.
    pub fn with_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Adds an attribute to the resource.
    pub fn with_resource(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.resource.push((name.into(), value.into()));
        self
    }
}

/// What was delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Spans the collector took.
    pub spans: u64,
    /// Spans lost: of failed exports, or dropped because too many waited.
    pub spans_lost: u64,
    /// Exports of metrics that the collector took.
    pub metric_exports: u64,
    /// Failed exports of either kind that a later success made good, as far as metrics go (they are cumulative).
    pub failures: u64,
}

/// Metrics and spans on their way to a collector, or nothing. Keep it until the end of the program and call
/// [`shutdown`](Self::shutdown): what was not sent by then is.
pub struct Telemetry {
    metrics: Metrics,
    pipeline: Option<Pipeline>,
}

struct Pipeline {
    tracers: Option<(SdkTracerProvider, Arc<Ledger>, String)>,
    meters: Option<(SdkMeterProvider, Arc<Ledger>, String)>,
}

impl Telemetry {
    /// Exports nothing; models are passed through.
    pub fn off() -> Self {
        Self { metrics: Metrics::noop(), pipeline: None }
    }

    /// What the variables of this process ask for.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn from_env(service_name: impl Into<String>) -> Result<Self, TelemetryError> {
        Self::start(Config::new(service_name), &process_env)
    }

    /// To the collector at this base address, with whatever else the variables of this process say.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn otlp(
        endpoint: impl Into<String>,
        service_name: impl Into<String>,
    ) -> Result<Self, TelemetryError> {
        Self::start(Config::new(service_name).with_endpoint(endpoint), &process_env)
    }

    /// Starts export when `config` or `env` asks for it, else [`off`](Self::off). Works inside any async runtime and
    /// outside of one; nothing is connected yet.
    ///
    /// Honoured: `OTEL_SDK_DISABLED`, `OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER`, `OTEL_SERVICE_NAME`,
    /// `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_METRIC_EXPORT_INTERVAL`, `OTEL_SEMCONV_STABILITY_OPT_IN`;
    /// `OTEL_EXPORTER_OTLP_` with `ENDPOINT`, `PROTOCOL`, `HEADERS`, `TIMEOUT`, `CERTIFICATE`, also with `TRACES_` or
    /// `METRICS_` between. By the SDK itself, from the process environment: `OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`,
    /// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
    ///
    /// # Errors
    /// [`TelemetryError::Setting`] names what cannot be honoured; [`TelemetryError::SetUp`].
    pub fn start(config: Config, env: &Env<'_>) -> Result<Self, TelemetryError> {
        if config.endpoint.is_some() && Vars(env).disabled() {
            let why = "it is true, but an OTLP endpoint was given; remove one of the two";
            return Err(TelemetryError::setting("OTEL_SDK_DISABLED", why));
        }
        if config.endpoint.is_none() && !wanted(env) {
            return Ok(Self::off());
        }
        let settings = Settings::resolve(&config, env)?;
        let reactor = Reactor::start()?;
        let resource = Resource::builder()
            .with_attributes(settings.resource.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())))
            .build();
        let tracers = match &settings.traces {
            Some(to) => {
                let exporter = export::spans(to, &reactor)?;
                let kept = (exporter.ledger.clone(), exporter.endpoint.clone());
                let processor =
                    BatchSpanProcessor::builder(exporter).with_batch_config(batching(env)).build();
                let provider = SdkTracerProvider::builder()
                    .with_span_processor(processor)
                    .with_resource(resource.clone())
                    .build();
                Some((provider, kept.0, kept.1))
            }
            None => None,
        };
        let meters = match &settings.metrics {
            Some(to) => {
                let exporter = export::metrics(to, &reactor)?;
                let kept = (exporter.ledger.clone(), exporter.endpoint.clone());
                let reader = PeriodicReader::builder(exporter).with_interval(settings.interval).build();
                let provider =
                    SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
                Some((provider, kept.0, kept.1))
            }
            None => None,
        };
        let meter = match &meters {
            Some((provider, ..)) => provider.meter_with_scope(scope()),
            None => NoopMeterProvider::new().meter_with_scope(scope()),
        };
        let options = MetricsOptions { semconv: settings.semconv, seconds: config.seconds };
        let metrics = match &tracers {
            Some((provider, ..)) => {
                Metrics::with_options(&meter, provider.tracer_with_scope(scope()), &options)?
            }
            None => {
                let tracer: NoopTracer = NoopTracerProvider::new().tracer_with_scope(scope());
                Metrics::with_options(&meter, tracer, &options)?
            }
        };
        Ok(Self { metrics, pipeline: Some(Pipeline { tracers, meters }) })
    }

    /// Whether anything is exported.
    pub fn is_exporting(&self) -> bool {
        self.pipeline.is_some()
    }

    /// Where it goes, traces first, without credentials: for the user to read.
    pub fn destinations(&self) -> Vec<String> {
        let Some(pipeline) = &self.pipeline else { return Vec::new() };
        let traces = pipeline.tracers.as_ref().map(|(_, _, endpoint)| endpoint.clone());
        traces.into_iter().chain(pipeline.meters.as_ref().map(|(_, _, endpoint)| endpoint.clone())).collect()
    }

    /// Records into what is exported; [`Metrics::noop`] when nothing is.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// `model`, its calls reported.
    pub fn instrument(&self, model: SharedModel) -> SharedModel {
        Arc::new(Instrumented::new(model, self.metrics.clone()))
    }

    /// Sends what is left, for at most `timeout`, and ends. Blocks this thread; depends on no runtime of the caller's,
    /// so it may be called inside one.
    ///
    /// # Errors
    /// [`TelemetryError::NotDelivered`] or [`TelemetryError::Late`] for the first destination in trouble: a warning to
    /// show, not a reason to fail.
    pub fn shutdown(mut self, timeout: Duration) -> Result<Exported, TelemetryError> {
        self.finish(timeout)
    }

    fn finish(&mut self, timeout: Duration) -> Result<Exported, TelemetryError> {
        let Some(Pipeline { tracers, meters }) = self.pipeline.take() else { return Ok(Exported::default()) };
        let end = Instant::now() + timeout;
        // Both at once, each on a thread that is left behind when it is late.
        let traces = tracers.map(|(provider, ledger, endpoint)| {
            let flushed = in_background(move || drop(provider.shutdown_with_timeout(timeout)));
            (flushed, ledger, endpoint)
        });
        let metrics = meters.map(|(provider, ledger, endpoint)| {
            let flushed = in_background(move || drop(provider.shutdown_with_timeout(timeout)));
            (flushed, ledger, endpoint)
        });
        let mut exported = Exported::default();
        let mut trouble = None;
        for (is_traces, flushing) in [(true, traces), (false, metrics)] {
            let Some((flushed, ledger, endpoint)) = flushing else { continue };
            let in_time = flushed.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok();
            let failures = ledger.failures.load(Relaxed);
            exported.failures += failures;
            if is_traces {
                exported.spans = ledger.spans.load(Relaxed);
                exported.spans_lost = self.metrics.spans_ended().saturating_sub(exported.spans);
            } else {
                exported.metric_exports = ledger.exports.load(Relaxed).saturating_sub(failures);
            }
            let lost = if is_traces { exported.spans_lost } else { 0 };
            let this = if let Some(why) = ledger.trouble() {
                Some(TelemetryError::NotDelivered { endpoint, why, spans_lost: lost })
            } else if !in_time {
                Some(TelemetryError::Late { endpoint, timeout })
            } else if lost > 0 {
                let why = "too many spans waited, or an export failed".to_owned();
                Some(TelemetryError::NotDelivered { endpoint, why, spans_lost: lost })
            } else {
                None
            };
            trouble = trouble.or(this);
        }
        trouble.map_or(Ok(exported), Err)
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // Who wants to know calls `shutdown`; the first failed export has been logged.
        let _ = self.finish(DROP_TIMEOUT);
    }
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("destinations", &self.destinations()).finish_non_exhaustive()
    }
}

/// Larger than the SDK's defaults where the environment does not say otherwise.
fn batching(env: &Env<'_>) -> opentelemetry_sdk::trace::BatchConfig {
    let mut config = BatchConfigBuilder::default();
    if env("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
        config = config.with_max_queue_size(MAX_QUEUED_SPANS);
    }
    if env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE").is_none() {
        config = config.with_max_export_batch_size(MAX_BATCH);
    }
    if env("OTEL_BSP_SCHEDULE_DELAY").is_none() {
        config = config.with_scheduled_delay(SPAN_INTERVAL);
    }
    config.build()
}

/// Runs `work` on a thread; the channel tells when it is done. Without a thread it is done here.
fn in_background(work: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
    let (done, told) = mpsc::sync_channel(1);
    let work = Arc::new(std::sync::Mutex::new(Some(work)));
    let run = move || {
        let taken = work.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(work) = taken {
            work();
        }
        let _ = done.send(());
    };
    let again = run.clone();
    if thread::Builder::new().name("llms-telemetry-end".to_owned()).spawn(run).is_err() {
        again();
    }
    told
}
