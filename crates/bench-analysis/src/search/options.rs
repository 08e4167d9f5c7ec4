//! What a capacity search is asked, and the steps it declares before it begins.

use crate::stats::StatsError;
use crate::stats::anytime::smallest_n_above;
use crate::stats::interval::check_unit;

/// Factor between the rates of the bracket.
pub const GROWTH: f64 = 1.5;

/// Settings of a capacity search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CapacityOptions {
    /// share of requests that must be good; in (0, 1)
    pub target: f64,
    /// how far below the target a certified rate may really be: .003–.005 at .99; in (0, target)
    pub margin: f64,
    /// confidence of the whole search, divided over its steps; in (0, 1)
    pub confidence: f64,
    /// lowest rate worth knowing, requests per second; > 0
    pub rate_min: f64,
    /// first rate probed; in `rate_min..=rate_max`
    pub rate_start: f64,
    /// highest rate allowed, requests per second
    pub rate_max: f64,
    /// most requests a step may take; the confirming step takes them all
    pub requests_max: u64,
    /// relative width of the answer at which to stop narrowing; > 0
    pub resolution: f64,
    /// first requests of each step that are not judged: the queue has to find its length first
    pub settle: u64,
    /// seed of the order in which rates are narrowed
    pub seed: u64,
}

impl Default for CapacityOptions {
    /// 99 % ± .4 points with 95 % confidence, 1 to 1,000/s from 1/s, 5,000 requests a step, 2 % resolution.
    fn default() -> Self {
        Self {
            target: 0.99,
            margin: 0.004,
            confidence: 0.95,
            rate_min: 1.0,
            rate_start: 1.0,
            rate_max: 1000.0,
            requests_max: 5000,
            resolution: 0.02,
            settle: 0,
            seed: 0,
        }
    }
}

impl CapacityOptions {
    /// Most steps that narrow: each leaves at most three quarters of the bracket.
    pub(super) fn narrow_steps(&self) -> u32 {
        let ratio = GROWTH.ln() / self.resolution.ln_1p();
        (ratio.ln() / (4.0_f64 / 3.0).ln()).ceil().max(0.0) as u32
    }

    /// Most steps towards a bracket: all the way up or all the way down, the first included.
    fn bracket_steps(&self) -> u32 {
        let steps = |span: f64| (span.ln() / GROWTH.ln() - 1e-9).ceil().max(0.0) as u32;
        1 + steps(self.rate_max / self.rate_start).max(steps(self.rate_start / self.rate_min))
    }

    /// 1 − α/K for K declared steps.
    pub(super) fn step_confidence(&self, confirmations: u32) -> f64 {
        let steps = self.bracket_steps() + self.narrow_steps() + confirmations;
        1.0 - (1.0 - self.confidence) / f64::from(steps)
    }

    /// Refuses settings with which nothing could be decided.
    pub(super) fn check(&self, confirmations: u32) -> Result<(), StatsError> {
        check_unit("target", self.target)?;
        check_unit("confidence", self.confidence)?;
        if !(0.0 < self.margin && self.margin < self.target) {
            return Err(StatsError::OutOfRange {
                what: "margin",
                range: "above 0 and below the target",
                got: self.margin,
            });
        }
        for (what, got) in
            [("lowest rate", self.rate_min), ("highest rate", self.rate_max), ("resolution", self.resolution)]
        {
            if !(0.0 < got && got.is_finite()) {
                return Err(StatsError::OutOfRange { what, range: "above 0 and finite", got });
            }
        }
        if self.rate_max < self.rate_min {
            return Err(StatsError::OutOfRange {
                what: "highest rate",
                range: "at least the lowest",
                got: self.rate_max,
            });
        }
        if !(self.rate_min..=self.rate_max).contains(&self.rate_start) {
            return Err(StatsError::OutOfRange {
                what: "first rate",
                range: "between the lowest and the highest",
                got: self.rate_start,
            });
        }
        let needed =
            self.settle + smallest_n_above(self.target - self.margin, self.step_confidence(confirmations))?;
        if self.requests_max < needed {
            return Err(StatsError::TooFew {
                what: "a step in which even flawless requests could pass (most requests a step)",
                needed,
                have: self.requests_max,
            });
        }
        Ok(())
    }
}
