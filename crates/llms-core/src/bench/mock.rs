//! The contract's configuration of a simulated provider.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::duration;
use crate::{config::ConfigErrors, error::ErrorCode};

/// What a configured mock does. Defaults: 100 ms ± 0.1, no errors, 50 tokens/s ± 0.1, 1 MB × 1.2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MockConfiguration {
    /// Median time to the first token.
    #[serde(with = "duration")]
    pub simulated_latency: Duration,
    /// In 0–1: 90 % of latencies lie within ± this share of the median (log-normal).
    pub latency_variability: f64,
    /// In 0–1.
    pub error_injection_rate: f64,
    /// Errors injected, chosen evenly; needed when the rate is above 0.
    pub error_types: Vec<ErrorCode>,
    /// Tokens per second, above 0.
    pub token_generation_rate: f64,
    /// In 0–1: the same for gaps between tokens.
    pub token_variability: f64,
    /// Bytes really allocated during a request.
    pub memory_usage_bytes: u64,
    /// Factor on the bytes while streaming.
    pub streaming_memory_multiplier: f64,
    /// Requests served at once; more wait first-come first-served. `None`: no limit.
    pub concurrency_limit: Option<u32>,
}

impl Default for MockConfiguration {
    fn default() -> Self {
        Self {
            simulated_latency: Duration::from_millis(100),
            latency_variability: 0.1,
            error_injection_rate: 0.0,
            error_types: Vec::new(),
            token_generation_rate: 50.0,
            token_variability: 0.1,
            memory_usage_bytes: 1_000_000,
            streaming_memory_multiplier: 1.2,
            concurrency_limit: None,
        }
    }
}

/// Shapes mock providers while they run; every mock built from one configurator inherits its settings.
///
/// # Errors
/// Each method names the value that is out of range and changes nothing then.
pub trait MockConfigurator: Send + Sync {
    /// Median time to the first token and its spread (0–1).
    fn configure_latency(&self, base: Duration, variability: f64) -> Result<(), ConfigErrors>;

    /// Share of requests that fail (0–1), and how; `types` are needed when the rate is above 0.
    fn configure_error_injection(&self, rate: f64, types: &[ErrorCode]) -> Result<(), ConfigErrors>;

    /// Tokens per second (above 0) and the spread of the gaps (0–1).
    fn configure_token_generation(
        &self,
        tokens_per_second: f64,
        variability: f64,
    ) -> Result<(), ConfigErrors>;

    /// Bytes allocated during a request, and the factor on them while streaming (≥ 0).
    fn configure_memory_usage(&self, base_bytes: u64, streaming_multiplier: f64) -> Result<(), ConfigErrors>;

    /// Back to [`MockConfiguration::default`].
    fn reset_to_defaults(&self);

    /// The settings in force.
    fn configuration(&self) -> MockConfiguration;
}
