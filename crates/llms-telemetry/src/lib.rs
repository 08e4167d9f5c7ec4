//! OpenTelemetry metrics, spans and structured logs of chat models.
//!
//! [`Instrumented`] wraps a [`ChatModel`](llms_core::ChatModel) and reports each call through [`Metrics`]: the
//! instruments of [`table`], one span with the GenAI conventions, one log line. [`Telemetry`] exports them over OTLP
//! when the standard `OTEL_*` variables, or the caller, say so; [`capture`] keeps them in memory for tests.
//!
//! Prompts, answers, tool arguments, headers and error texts are never recorded, at any verbosity. Nothing is
//! reported while a stream runs: each chunk costs two additions and a push, everything else happens when the call
//! ends. Switched off, the wrapper hands the inner model's future through: no allocation, no clock read.
//!
//! The only crate that names OpenTelemetry types. It does not set global providers and sends no log records over
//! OTLP: logs go to `tracing`.

mod call;
pub mod capture;
mod error;
mod instrumented;
mod labels;
mod live;
mod metrics;
mod otlp;
mod seen;
mod span;
pub mod table;

pub use error::TelemetryError;
pub use instrumented::Instrumented;
pub use labels::ModelLabels;
pub use metrics::{Metrics, MetricsOptions, Semconv};
pub use otlp::{Config, Exported, Telemetry, wanted};

/// The `tracing` target of the line logged at the end of each call, for filters: `llms_telemetry::call=info`.
pub const LOG_TARGET: &str = "llms_telemetry::call";

/// Name of the instrumentation scope that all spans and metrics carry.
pub const SCOPE: &str = "llms-telemetry";
