//! What can go wrong in setting up telemetry and in delivering it. Never the failure of a call, and never a reason
//! to fail a run.

use std::time::Duration;

/// Telemetry could not be set up or delivered. Texts hold no header, no key and no credentials of an address.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// Bucket boundaries are empty, not ascending, or not finite.
    #[error("buckets of {instrument} cannot be used: {why}; give ascending finite numbers of seconds")]
    Buckets {
        /// The instrument.
        instrument: &'static str,
        /// What is wrong.
        why: String,
    },
    /// An instrument's name or unit breaks OpenTelemetry's rules, or is given twice.
    #[error("instrument {name:?} cannot be created: {why}")]
    Instrument {
        /// Its name.
        name: String,
        /// Which rule.
        why: &'static str,
    },
    /// A setting cannot be honoured.
    #[error("{setting}: {why}")]
    Setting {
        /// The variable or option, by name.
        setting: String,
        /// What was expected, and the next step.
        why: String,
    },
    /// The exporter, its HTTP client or its thread could not be made.
    #[error("the OTLP exporter cannot be set up: {0}")]
    SetUp(String),
    /// The collector did not take (all of) what was sent.
    #[error(
        "telemetry was not delivered to {endpoint}: {why} ({spans_lost} spans lost); is a collector listening there \
         for OTLP over HTTP? Nothing else is affected"
    )]
    NotDelivered {
        /// Where it should have gone, without credentials.
        endpoint: String,
        /// The last failure.
        why: String,
        /// Spans that will not arrive.
        spans_lost: u64,
    },
    /// Flushing took longer than allowed; what was not sent is lost.
    #[error(
        "telemetry was not delivered to {endpoint} within {timeout:?}; is the collector reachable? Nothing else is \
         affected"
    )]
    Late {
        /// Where it should have gone, without credentials.
        endpoint: String,
        /// How long was waited.
        timeout: Duration,
    },
}

impl TelemetryError {
    pub(crate) fn setting(setting: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Setting { setting: setting.into(), why: why.into() }
    }
}
