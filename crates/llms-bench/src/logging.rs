//! Log lines on standard error, when asked for.

use tracing_subscriber::EnvFilter;

use crate::{cli::LogFormat, exit::Failure};

/// Starts logging by this filter; silent without one.
pub(crate) fn start(filter: Option<&str>, format: LogFormat) -> Result<(), Failure> {
    let Some(filter) = filter.filter(|f| !f.trim().is_empty()) else { return Ok(()) };
    let parsed = EnvFilter::try_new(filter).map_err(|e| {
        Failure::usage(format!(
            "--log: expected a filter such as info or llms_telemetry=debug, found `{filter}` ({e})"
        ))
    })?;
    let lines =
        tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_target(true);
    let started = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    // An embedder may have a subscriber of its own; then that one gets the lines.
    drop(started);
    Ok(())
}
