//! Telemetry of a run: every target wrapped, everything flushed at the end, also after Ctrl-C.

use std::time::Duration;

use llms_core::{bench::Target, config::process_env};
use llms_telemetry::{Config, Telemetry};

use crate::exit::Failure;

/// How long the last export may take.
const FLUSH: Duration = Duration::from_secs(5);

/// Starts export when `--otlp` or the standard variables ask for it.
///
/// # Errors
/// A setting that cannot be honoured, by name.
pub(crate) fn start(otlp: Option<&str>) -> Result<Telemetry, Failure> {
    let mut config = Config::new("llms-bench").with_resource("service.version", env!("CARGO_PKG_VERSION"));
    if let Some(endpoint) = otlp {
        config = config.with_endpoint(endpoint);
    }
    Telemetry::start(config, &process_env).map_err(|e| Failure::usage(e.to_string()))
}

/// Reports the calls of every target, when anybody listens: a collector or the log.
pub(crate) fn instrument(targets: &mut [Target], telemetry: &Telemetry) {
    let logged = tracing::enabled!(target: llms_telemetry::LOG_TARGET, tracing::Level::WARN);
    if telemetry.is_exporting() || logged {
        for target in targets {
            target.model = target.model.take().map(|model| telemetry.instrument(model));
        }
    }
}

/// Sends what is left. A line for the user: what was delivered, or why not; a collector that is away costs the
/// telemetry, never the run.
pub(crate) async fn finish(telemetry: Telemetry) -> Option<String> {
    if !telemetry.is_exporting() {
        return None;
    }
    let to = telemetry.destinations().join(" and ");
    let flushed = tokio::task::spawn_blocking(move || telemetry.shutdown(FLUSH)).await;
    Some(match flushed {
        Ok(Ok(done)) if done.spans_lost == 0 => {
            format!(
                "telemetry: {} spans and {} exports of metrics delivered to {to}",
                done.spans, done.metric_exports
            )
        }
        Ok(Ok(done)) => format!(
            "telemetry: {} spans delivered to {to}, {} lost: the collector was too slow or away",
            done.spans, done.spans_lost
        ),
        Ok(Err(e)) => e.to_string(),
        Err(e) => format!("telemetry: the last export panicked: {e}"),
    })
}
