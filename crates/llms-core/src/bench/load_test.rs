//! The contract's load test: a rate held for a while against one target, and what came of it window by window.
//!
//! [`LoadTester`] is implemented by `bench-runner` over its runner and an injected [`Summarizer`](super::Summarizer).
//! What was not measured is `None`.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    load::Arrivals,
    summary::{LatencyMetrics, MemoryMetrics},
    traits::Target,
};
use crate::{
    config::ConfigErrors,
    context::CallContext,
    error::{ErrorCode, Result},
};

/// What is offered, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadTestConfig {
    /// Length of the measured window, above 0.
    pub duration: Duration,
    /// Requests per second offered, 1 or more, whatever comes back: open loop.
    pub target_rps: f64,
    /// Requests in flight at most, 1–1000; arrivals beyond wait, and their wait is part of their response time.
    pub max_concurrency: u32,
    /// The rate rises from 0 over this time, before the window and on top of it.
    pub ramp_up: Duration,
    /// Which scenario of the tester's registry is asked.
    pub scenario_name: String,
    /// How arrivals are spaced.
    pub arrivals: Arrivals,
    /// Width of the windows of the curves, above 0.
    pub window: Duration,
    /// Of arrivals, order and prompts.
    pub seed: u64,
}

impl LoadTestConfig {
    /// `target_rps` over `duration` of scenario `scenario_name`: Poisson arrivals, 50 in flight at most, no ramp-up, windows of
    /// a second.
    pub fn new(target_rps: f64, duration: Duration, scenario_name: impl Into<String>) -> Self {
        Self {
            duration,
            target_rps,
            max_concurrency: 50,
            ramp_up: Duration::ZERO,
            scenario_name: scenario_name.into(),
            arrivals: Arrivals::Poisson,
            window: Duration::from_secs(1),
            seed: 0,
        }
    }

    /// Checks every rule of the contract.
    ///
    /// # Errors
    /// Every field that breaks one.
    pub fn validate(&self) -> std::result::Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        e.check(!self.duration.is_zero(), "duration", "expected a time above 0", "0");
        let rate = self.target_rps;
        e.check(rate.is_finite() && rate >= 1.0, "target_rps", "expected 1 or more", rate);
        let cap = self.max_concurrency;
        e.check((1..=1000).contains(&cap), "max_concurrency", "expected 1 to 1000", cap);
        e.check(!self.scenario_name.trim().is_empty(), "scenario_name", "expected a text", "nothing");
        e.check(!self.window.is_zero(), "window", "expected a time above 0", "0");
        e.into_result()
    }
}

/// What a load test found. Operations are the requests scheduled in the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadTestResult {
    /// The run it comes from.
    pub test_id: String,
    /// Length of the window, seconds.
    pub duration_s: f64,
    /// Requests per second offered.
    pub target_rps: f64,
    /// Complete answers per second of the window.
    pub actual_rps: Option<f64>,
    /// The cap on requests in flight.
    pub max_concurrency: u32,
    /// Scheduled; the sum of the five below.
    pub planned_ops: u64,
    /// Complete answers.
    pub successful_ops: u64,
    /// Errors but timeouts.
    pub failed_ops: u64,
    /// Ended by the scenario's time limit.
    pub timeout_ops: u64,
    /// In flight, or waiting for the cap, when the drain was over.
    pub censored_ops: u64,
    /// Never sent because the test ended before.
    pub unsent_ops: u64,
    /// Sent more than a millisecond after their place in the plan, the wait for the cap not counted.
    pub late_sends: u64,
    /// Response times: from the place in the plan, not from the sending.
    pub latency_metrics: LatencyMetrics,
    /// Window by window, until the last answer.
    pub throughput_curve: Vec<ThroughputPoint>,
    /// The same windows.
    pub error_rate_over_time: Vec<ErrorRatePoint>,
    /// What the process used.
    pub memory_metrics: Option<MemoryMetrics>,
    /// Of the processors it may use, 0–100.
    pub cpu_usage_percent: Option<f64>,
    /// Money, where a price is known.
    pub total_cost_usd: Option<Decimal>,
    /// Per complete answer, failed spend included.
    pub cost_per_successful_op: Option<Decimal>,
}

impl LoadTestResult {
    /// Requests that ended.
    pub fn total_ops(&self) -> u64 {
        self.successful_ops + self.failed_ops + self.timeout_ops
    }

    /// Share of failures among the requests that ended; `None` when none did.
    pub fn error_rate(&self) -> Option<f64> {
        let total = self.total_ops();
        (0 < total).then(|| (self.failed_ops + self.timeout_ops) as f64 / total as f64)
    }
}

/// What one window saw end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThroughputPoint {
    /// Where the window begins, seconds after the measured one does.
    pub at_s: f64,
    /// Complete answers per second.
    pub rps: f64,
    /// Requests in flight, on average over the window.
    pub concurrency: f64,
    /// Mean response time of the answers, seconds; `None` without any.
    pub avg_latency_s: Option<f64>,
}

/// The errors of one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRatePoint {
    /// Where the window begins, seconds after the measured one does.
    pub at_s: f64,
    /// Failed of ended, 0–1; `None` when nothing ended.
    pub error_rate: Option<f64>,
    /// Requests that failed.
    pub error_count: u64,
    /// By kind.
    pub error_types: BTreeMap<ErrorCode, u64>,
}

/// Runs load tests. Tests at once do not meet but at the target.
#[async_trait]
pub trait LoadTester: Send + Sync {
    /// Offers the load, waits for the answers, and says what came of it.
    ///
    /// # Errors
    /// `invalid_config` for what cannot be offered, `not_found` for a scenario nobody registered, and what the runner says;
    /// failures of requests are data.
    async fn run_load_test(
        &self,
        target: &Target,
        config: &LoadTestConfig,
        ctx: &CallContext,
    ) -> Result<LoadTestResult>;
}
