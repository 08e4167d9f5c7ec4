//! DDSketch: counts in steps of a constant ratio, for values of any scale. A second opinion on our own sketch.
//!
//! The sketch of this workspace is `llms_core::bench::Hdr`, whose grid is integers of a known range; this one has no range
//! and no integers. They share nothing, so each checks the other (`t038_percentiles`). Nothing is reported from it.

use std::collections::BTreeMap;

use super::interval::StatsError;

/// Counts of values above 0 in steps `γⁱ⁻¹ < v ≤ γⁱ`.
///
/// # Source
/// Masson, Rim and Lee 2019.
#[derive(Debug, Clone, PartialEq)]
pub struct DdSketch {
    gamma: f64,
    counts: BTreeMap<i32, u64>,
    total: u64,
}

impl DdSketch {
    /// Without values: quantiles will be off by at most `alpha` of themselves.
    ///
    /// # Errors
    /// `OutOfRange` for alpha outside (0, 1).
    pub fn new(alpha: f64) -> Result<Self, StatsError> {
        super::interval::check_unit("relative error", alpha)?;
        Ok(Self { gamma: (1.0 + alpha) / (1.0 - alpha), counts: BTreeMap::new(), total: 0 })
    }

    /// The step of a value above 0: `⌈ln v / ln γ⌉`.
    pub fn step(&self, value: f64) -> i32 {
        (value.ln() / self.gamma.ln()).ceil() as i32
    }

    /// What stands for a step: `2γⁱ/(γ+1)`.
    pub fn value(&self, step: i32) -> f64 {
        2.0 * self.gamma.powi(step) / (self.gamma + 1.0)
    }

    /// Counts a value above 0.
    ///
    /// # Errors
    /// `OutOfRange` for others, and for NaN.
    pub fn add(&mut self, value: f64) -> Result<(), StatsError> {
        if value.is_nan() || value <= 0.0 || value.is_infinite() {
            return Err(StatsError::OutOfRange {
                what: "a value of a sketch",
                range: "finite and above 0",
                got: value,
            });
        }
        *self.counts.entry(self.step(value)).or_default() += 1;
        self.total += 1;
        Ok(())
    }

    /// Adds the counts of another; nothing happens, and `false`, when its steps are others.
    pub fn merge(&mut self, other: &Self) -> bool {
        if self.gamma != other.gamma {
            return false;
        }
        for (step, count) in &other.counts {
            *self.counts.entry(*step).or_default() += count;
        }
        self.total += other.total;
        true
    }

    /// Values counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The quantile of type 1: what stands for the step that holds the rank `⌈p n⌉`. `None` without values.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let rank = ((p * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        let step = self.counts.iter().find(|(_, count)| {
            seen += **count;
            rank <= seen
        })?;
        Some(self.value(*step.0))
    }
}
