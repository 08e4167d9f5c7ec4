//! How load is put on a service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metric::Origin;
use crate::config::ConfigErrors;

/// The law of arrivals under open loop. Drawn before the run from a seed, never rescaled to hit a count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Equal gaps of `1/rate`.
    Constant,
    /// Exponential gaps, `-ln(U)/rate`.
    #[default]
    Poisson,
}

/// Who decides when the next request is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Load {
    /// Closed loop: users who wait for their answer before they ask again. With several targets each user asks
    /// every target in turn, in a seeded random order, so that `concurrency` is the number of requests in
    /// flight over all targets.
    Closed {
        /// Number of users, 1–10000.
        concurrency: u32,
        /// Pause of a user between answer and next request.
        #[serde(default, with = "super::duration")]
        think_time: Duration,
    },
    /// Open loop: arrivals follow a schedule regardless of completions. Each target sees `rate`.
    Open {
        /// Requests per second for each target, above 0.
        rate: f64,
        /// The law of arrivals.
        #[serde(default)]
        arrivals: Arrivals,
        /// Cap on requests in flight per target; arrivals above it wait, and their wait is part of the response
        /// time. `None`: no cap.
        #[serde(default)]
        max_concurrency: Option<u32>,
    },
}

impl Default for Load {
    fn default() -> Self {
        Self::Closed { concurrency: 1, think_time: Duration::ZERO }
    }
}

impl Load {
    /// Closed loop without think time.
    pub fn closed(concurrency: u32) -> Self {
        Self::Closed { concurrency, think_time: Duration::ZERO }
    }

    /// Poisson arrivals without a cap.
    pub fn poisson(rate: f64) -> Self {
        Self::Open { rate, arrivals: Arrivals::Poisson, max_concurrency: None }
    }

    /// Where a bare latency starts under this load: response time (from `scheduled`) under open loop, service
    /// time (from `sent`) under closed loop.
    pub fn headline_origin(&self) -> Origin {
        match self {
            Self::Closed { .. } => Origin::Service,
            Self::Open { .. } => Origin::Response,
        }
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        match self {
            Self::Closed { concurrency, .. } => {
                errors.check(
                    (1..=10_000).contains(concurrency),
                    "concurrency",
                    "expected 1 to 10000 users",
                    concurrency,
                );
            }
            Self::Open { rate, max_concurrency, .. } => {
                errors.check(
                    rate.is_finite() && *rate > 0.0,
                    "rate",
                    "expected requests per second above 0",
                    rate,
                );
                if let Some(cap) = max_concurrency {
                    errors.check(
                        (1..=1_000_000).contains(cap),
                        "max_concurrency",
                        "expected 1 to 1000000",
                        cap,
                    );
                }
            }
        }
        errors.into_result()
    }
}
