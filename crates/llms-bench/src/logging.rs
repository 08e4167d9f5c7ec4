//! Log lines on standard error, when asked for.

use tracing::{Level, Metadata};
use tracing_subscriber::{
    Layer as _,
    filter::{Targets, filter_fn},
    fmt,
    layer::SubscriberExt as _,
    registry,
    util::SubscriberInitExt as _,
};

use crate::{cli::LogFormat, exit::Failure};

/// Starts logging by this filter; silent without one.
pub(crate) fn start(filter: Option<&str>, format: LogFormat) -> Result<(), Failure> {
    let Some(filter) = filter.filter(|f| !f.trim().is_empty()) else { return Ok(()) };
    let parsed = filter.parse::<Targets>().map_err(|e| {
        Failure::usage(format!(
            "--log: expected a filter such as info or llms_telemetry=debug, found `{filter}` ({e})"
        ))
    })?;
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let started = registry().with(lines.with_filter(parsed)).with(filter_fn(is_discreet)).try_init();
    // An embedder may have a subscriber of its own; then that one gets the lines.
    drop(started);
    Ok(())
}

/// Whether what is logged there holds no bodies. The AWS SDK's `debug` and `trace` hold whole answers, which may quote
/// keys: they are silent under every filter.
fn is_discreet(what: &Metadata<'_>) -> bool {
    *what.level() <= Level::INFO || !what.target().starts_with("aws_")
}
