//! Stop when more requests fail than allowed.

use llms_core::bench::policy::{ErrorRateStop, StopReason, StopRule};
use llms_core::bench::{RecordOutcome, RequestRecord, RunPhase};

use crate::stats::StatsError;
use crate::stats::anytime::AnytimeProportion;
use crate::stats::interval::check_unit;

/// Stops when the failing share is above what is allowed, by an interval that may be looked at after every request.
///
/// With an allowed share of 0 the first failure stops. Counts measured requests that ended by themselves; one cut off by
/// the run says nothing. Requests in a row are taken as they come: an outage is a reason to stop although its failures are
/// not independent.
#[derive(Debug, Clone)]
pub struct ErrorRateRule {
    failed: AnytimeProportion,
    allowed: f64,
    confidence: f64,
    reason: Option<ErrorRateStop>,
}

impl ErrorRateRule {
    /// `allowed`: share in [0, 1); `confidence`: chance at least that a run within the limit is never stopped, in (0, 1).
    ///
    /// # Errors
    /// `OutOfRange` for either.
    pub fn new(allowed: f64, confidence: f64) -> Result<Self, StatsError> {
        check_unit("confidence", confidence)?;
        if !(0.0..1.0).contains(&allowed) {
            return Err(StatsError::OutOfRange {
                what: "allowed error rate",
                range: "inside [0, 1)",
                got: allowed,
            });
        }
        Ok(Self { failed: AnytimeProportion::new(confidence)?, allowed, confidence, reason: None })
    }
}

impl StopRule for ErrorRateRule {
    fn observe(&mut self, record: &RequestRecord, _in_flight: u64) -> Option<StopReason> {
        if self.reason.is_none() && record.phase == RunPhase::Measured {
            match record.outcome {
                RecordOutcome::Ok => self.failed.observe(false),
                RecordOutcome::Failed(_) => self.failed.observe(true),
                RecordOutcome::Censored => {}
            }
            if self.failed.above(self.allowed, 1.0) {
                self.reason = Some(ErrorRateStop {
                    requests: self.failed.trials(),
                    failed: self.failed.hits(),
                    low: self.failed.interval().low,
                    allowed: self.allowed,
                    confidence: self.confidence,
                });
            }
        }
        self.reason.map(StopReason::ErrorRate)
    }
}
