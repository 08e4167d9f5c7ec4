//! The result of a health probe.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It answered as it should.
    Healthy,
    /// It answers, but something is missing (the model is not loaded, a limit is near).
    Degraded,
    /// It does not answer, or refuses.
    Unhealthy,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The verdict.
    pub state: HealthState,
    /// Provider name.
    pub provider: String,
    /// Model name.
    pub model: String,
    /// When the probe was made.
    #[serde(with = "time::serde::rfc3339")]
    pub checked_at: OffsetDateTime,
    /// How long the probe took; `None` when it could not be made.
    pub latency: Option<Duration>,
    /// Why it is not healthy, and what to do.
    pub reason: Option<String>,
    /// Further facts: server version, whether a key is set, region.
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}
