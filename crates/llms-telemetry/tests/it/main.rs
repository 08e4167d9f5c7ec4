//! Metrics, spans and log lines as a collector sees them. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;
mod otlp;
mod t003_log_lines;
mod t004_metrics;
