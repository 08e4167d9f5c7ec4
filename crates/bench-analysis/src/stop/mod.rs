//! Reasons to stop a run that rest on statistics, fed one finished request at a time.
//!
//! Each rule may be asked after every request without making its claim untrue: the error rate by an anytime-valid
//! interval, precision and over-saturation by looks declared beforehand with the error probability divided over them.
//! Nothing here stops anything: the runner asks through [`StopRule`].

mod error_rate;
mod precision;
mod saturation;

use llms_core::bench::RequestRecord;
use llms_core::bench::policy::{StopReason, StopRule};

pub use error_rate::ErrorRateRule;
pub use precision::{LookError, PrecisionOptions, PrecisionRule, declared_looks};
pub use saturation::{SaturationOptions, SaturationRule};

/// Several rules as one: each sees every request, the first reason stands.
#[derive(Debug, Default)]
pub struct AnyOf {
    rules: Vec<Box<dyn StopRule>>,
    reason: Option<StopReason>,
}

impl AnyOf {
    /// These rules; of two reasons at one request, that of the earlier rule.
    pub fn new(rules: Vec<Box<dyn StopRule>>) -> Self {
        Self { rules, reason: None }
    }
}

impl StopRule for AnyOf {
    fn observe(&mut self, record: &RequestRecord, in_flight: u64) -> Option<StopReason> {
        if self.reason.is_none() {
            for rule in &mut self.rules {
                let reason = rule.observe(record, in_flight);
                if self.reason.is_none() {
                    self.reason = reason;
                }
            }
        }
        self.reason.clone()
    }
}
