//! Telemetry kept in memory, as plain data: what tests of any crate look at.
//!
//! ```
//! use llms_telemetry::{Instrumented, capture::Capture};
//! # fn show(model: impl llms_core::ChatModel) -> Result<(), llms_telemetry::TelemetryError> {
//! let capture = Capture::new()?;
//! let model = Instrumented::new(model, capture.metrics().clone());
//! // … call the model …
//! assert_eq!(capture.total("llm.requests.total", &[("provider", "mock")]), 1.0);
//! # Ok(())
//! # }
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    KeyValue,
    metrics::MeterProvider,
    trace::{SpanKind, Status, TracerProvider},
};
use opentelemetry_sdk::{
    metrics::{
        InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
        data::{AggregatedMetrics, MetricData, ResourceMetrics, ScopeMetrics},
    },
    trace::{InMemorySpanExporter, SdkTracerProvider},
};

use crate::{Metrics, TelemetryError, live::scope, metrics::MetricsOptions};

/// Attributes as text.
pub type Attributes = BTreeMap<String, String>;

/// One series of one instrument.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Name of the instrument.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Attributes of the series.
    pub attributes: Attributes,
    /// A counter's value; the sum of a histogram.
    pub value: f64,
    /// Values recorded into a histogram; `None` for counters.
    pub count: Option<u64>,
    /// Bucket boundaries of a histogram.
    pub bounds: Vec<f64>,
}

/// One span that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanView {
    /// Its name.
    pub name: String,
    /// `client`, `internal`, …
    pub kind: &'static str,
    /// Its attributes.
    pub attributes: Attributes,
    /// Its events with their attributes, in order.
    pub events: Vec<(String, Attributes)>,
    /// The description of its error status; `None` when it is no error.
    pub error: Option<String>,
    /// When it began.
    pub start: SystemTime,
    /// From start to end.
    pub duration: Duration,
}

/// Keeps what is recorded through [`Capture::metrics`].
#[derive(Debug)]
pub struct Capture {
    metrics: Metrics,
    meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
    points: InMemoryMetricExporter,
    spans: InMemorySpanExporter,
}

impl Capture {
    /// An empty one.
    ///
    /// # Errors
    /// As [`Metrics::new`].
    pub fn new() -> Result<Self, TelemetryError> {
        Self::with_options(&MetricsOptions::default())
    }

    /// With a choice of names and buckets.
    ///
    /// # Errors
    /// As [`Metrics::with_options`].
    pub fn with_options(options: &MetricsOptions) -> Result<Self, TelemetryError> {
        let (points, spans) = (InMemoryMetricExporter::default(), InMemorySpanExporter::default());
        // Collected on demand only.
        let reader = PeriodicReader::builder(points.clone()).with_interval(Duration::from_hours(24)).build();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        let tracers = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        let metrics = Metrics::with_options(
            &meters.meter_with_scope(scope()),
            tracers.tracer_with_scope(scope()),
            options,
        )?;
        Ok(Self { metrics, meters, tracers, points, spans })
    }

    /// Records into this capture.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Every series, as of now.
    pub fn points(&self) -> Vec<Point> {
        self.points.reset();
        // Fails only after a shutdown, which nobody but `drop` asks for.
        let _ = self.meters.force_flush();
        let exported = self.points.get_finished_metrics().unwrap_or_default();
        exported.last().map(points_of).unwrap_or_default()
    }

    /// The series of one instrument.
    pub fn series(&self, name: &str) -> Vec<Point> {
        self.points().into_iter().filter(|p| p.name == name).collect()
    }

    /// The sum of an instrument over the series that have all of these attributes: counts of a counter, number of
    /// values of a histogram.
    pub fn total(&self, name: &str, attributes: &[(&str, &str)]) -> f64 {
        let has =
            |p: &Point| attributes.iter().all(|(k, v)| p.attributes.get(*k).is_some_and(|found| found == v));
        let amount = |p: &Point| p.count.map_or(p.value, |n| n as f64);
        self.series(name).iter().filter(|p| has(p)).map(amount).sum()
    }

    /// Spans that ended, in that order.
    pub fn spans(&self) -> Vec<SpanView> {
        let spans = self.spans.get_finished_spans().unwrap_or_default();
        let view = |s: opentelemetry_sdk::trace::SpanData| SpanView {
            kind: match s.span_kind {
                SpanKind::Client => "client",
                SpanKind::Server => "server",
                SpanKind::Producer => "producer",
                SpanKind::Consumer => "consumer",
                SpanKind::Internal => "internal",
            },
            attributes: text(&s.attributes),
            events: s.events.iter().map(|e| (e.name.to_string(), text(&e.attributes))).collect(),
            error: match &s.status {
                Status::Error { description } => Some(description.to_string()),
                _ => None,
            },
            start: s.start_time,
            duration: s.end_time.duration_since(s.start_time).unwrap_or_default(),
            name: s.name.into_owned(),
        };
        spans.into_iter().map(view).collect()
    }

    /// Everything recorded, as text: for tests that grep it for what must not be there.
    pub fn dump(&self) -> String {
        format!("{:#?}\n{:#?}", self.points(), self.spans())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = (self.meters.shutdown(), self.tracers.shutdown());
    }
}

fn text<'a>(attributes: impl IntoIterator<Item = &'a KeyValue>) -> Attributes {
    attributes.into_iter().map(|kv| (kv.key.to_string(), kv.value.to_string())).collect()
}

fn points_of(exported: &ResourceMetrics) -> Vec<Point> {
    let mut points = Vec::new();
    for metric in exported.scope_metrics().flat_map(ScopeMetrics::metrics) {
        let mut push = |attributes, value, count, bounds| {
            points.push(Point {
                name: metric.name().to_owned(),
                unit: metric.unit().to_owned(),
                attributes,
                value,
                count,
                bounds,
            });
        };
        macro_rules! each {
            ($data:expr) => {
                match $data {
                    MetricData::Sum(sum) => {
                        for p in sum.data_points() {
                            push(text(p.attributes()), p.value() as f64, None, Vec::new());
                        }
                    }
                    MetricData::Histogram(h) => {
                        for p in h.data_points() {
                            push(text(p.attributes()), p.sum() as f64, Some(p.count()), p.bounds().collect());
                        }
                    }
                    // No instrument of the table is one of these.
                    MetricData::Gauge(_) | MetricData::ExponentialHistogram(_) => {}
                }
            };
        }
        #[allow(trivial_numeric_casts, clippy::unnecessary_cast)] // one text for three types of number
        match metric.data() {
            AggregatedMetrics::F64(data) => each!(data),
            AggregatedMetrics::U64(data) => each!(data),
            AggregatedMetrics::I64(data) => each!(data),
        }
    }
    points
}
