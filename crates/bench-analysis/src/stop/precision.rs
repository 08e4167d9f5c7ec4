//! Stop when a quantile is known well enough, looked at only when declared.
//!
//! Asking a 95 % interval after each request and stopping when it is narrow covers 91 %; here the looks are fixed before the
//! run and share the error probability.

use llms_core::bench::policy::{PrecisionStop, StopReason, StopRule};
use llms_core::bench::{Origin, RecordOutcome, RequestRecord, RunPhase, metric};

use crate::request::Request;
use crate::stats::dependence::{DependentQuantile, quantile_estimate};
use crate::stats::interval::{StatsError, check_unit};
use crate::stats::order_interval::smallest_n_two_sided;

/// What a precision rule watches.
#[derive(Debug, Clone, PartialEq)]
pub struct PrecisionOptions {
    /// bare name of a per-request metric
    pub metric: String,
    /// where it starts
    pub origin: Origin,
    /// whether the scenario streams
    pub streamed: bool,
    /// quantile level, in (0, 1)
    pub quantile: f64,
    /// half the interval over the value at which there is enough; > 0
    pub relative: f64,
    /// confidence over all looks together, in (0, 1)
    pub confidence: f64,
    /// numbers of finished requests at which to look, rising
    pub looks: Vec<u64>,
}

/// Why a look was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum LookError {
    /// not one of the declared numbers of requests
    #[error("expected a declared look, got {seen} requests; {}", next_look(*.next))]
    Undeclared {
        /// requests so far
        seen: u64,
        /// the next declared number
        next: Option<u64>,
    },
    /// the interval does not exist yet
    #[error(transparent)]
    Stats(#[from] StatsError),
}

fn next_look(next: Option<u64>) -> String {
    next.map_or_else(|| "all declared looks are used".to_owned(), |n| format!("the next is at {n}"))
}

/// `count` looks from `first` to `last`, evenly spaced on the log scale: early ones are cheap, late ones few.
pub fn declared_looks(first: u64, last: u64, count: u32) -> Vec<u64> {
    let (low, high) = (first.max(1) as f64, last.max(first).max(1) as f64);
    let steps = f64::from(count.saturating_sub(1).max(1));
    let mut looks: Vec<u64> =
        (0..count).map(|i| (low * (high / low).powf(f64::from(i) / steps)).round() as u64).collect();
    looks.dedup();
    looks
}

/// Stops at the first declared look at which the quantile's interval is narrow enough.
///
/// The interval is the order-statistic one at 1 − α/looks, adjusted for dependence; failures rank as `+∞`. Keeps one number
/// per request up to the last look.
#[derive(Debug, Clone)]
pub struct PrecisionRule {
    options: PrecisionOptions,
    values: Vec<f64>,
    /// looks used
    used: usize,
    reason: Option<PrecisionStop>,
}

impl PrecisionRule {
    /// A rule with its looks declared.
    ///
    /// # Errors
    /// `OutOfRange` for levels, an unknown metric, or looks that do not rise; `TooFew` when not even the last look could
    /// carry the interval.
    pub fn new(options: PrecisionOptions) -> Result<Self, StatsError> {
        check_unit("quantile level", options.quantile)?;
        check_unit("confidence", options.confidence)?;
        if options.relative.is_nan() || options.relative <= 0.0 {
            return Err(StatsError::OutOfRange {
                what: "relative precision",
                range: "above 0",
                got: options.relative,
            });
        }
        if metric::find(&options.metric).is_none_or(|m| !m.per_request) {
            return Err(StatsError::Undefined("expected the name of a metric of one request, such as ttft"));
        }
        if options.looks.windows(2).any(|w| w[1] <= w[0]) {
            return Err(StatsError::OutOfRange {
                what: "declared looks",
                range: "in rising order",
                got: options.looks.len() as f64,
            });
        }
        let last = options.looks.last().copied().unwrap_or(0);
        let each = 1.0 - (1.0 - options.confidence) / options.looks.len().max(1) as f64;
        let needed = smallest_n_two_sided(options.quantile, each)?;
        if last < needed {
            return Err(StatsError::TooFew { what: "the last declared look", needed, have: last });
        }
        Ok(Self { options, values: Vec::new(), used: 0, reason: None })
    }

    /// The interval at the next declared look; refused at any other number of requests.
    ///
    /// # Errors
    /// `Undeclared`; `Stats` where the sample does not carry the interval (the look is used all the same).
    pub fn look(&mut self) -> Result<DependentQuantile, LookError> {
        let seen = self.values.len() as u64;
        let next = self.options.looks.get(self.used).copied();
        if next != Some(seen) {
            return Err(LookError::Undeclared { seen, next });
        }
        self.used += 1;
        let each = 1.0 - (1.0 - self.options.confidence) / self.options.looks.len() as f64;
        Ok(quantile_estimate(&self.values, self.options.quantile, each)?)
    }

    fn value(&self, record: &RequestRecord) -> Option<f64> {
        match record.outcome {
            RecordOutcome::Ok => {
                Request::new(record, self.options.streamed).value(&self.options.metric, self.options.origin)
            }
            RecordOutcome::Failed(_) => Some(f64::INFINITY),
            RecordOutcome::Censored => None,
        }
    }
}

impl StopRule for PrecisionRule {
    fn observe(&mut self, record: &RequestRecord, _in_flight: u64) -> Option<StopReason> {
        if self.reason.is_none() && record.phase == RunPhase::Measured && self.used < self.options.looks.len()
        {
            self.values.extend(self.value(record));
            if let Ok(q) = self.look() {
                let relative = 0.5 * (q.interval.high - q.interval.low) / q.value;
                if relative <= self.options.relative {
                    self.reason = Some(PrecisionStop {
                        metric: self.options.metric.clone(),
                        quantile: self.options.quantile,
                        requests: self.values.len() as u64,
                        value: q.value,
                        low: q.interval.low,
                        high: q.interval.high,
                        relative,
                        look: self.used as u32,
                        looks: self.options.looks.len() as u32,
                    });
                }
            }
        }
        self.reason.clone().map(StopReason::Precision)
    }
}
