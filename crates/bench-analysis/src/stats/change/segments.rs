//! All change points of a series: the rank scan on the whole, then on both halves, and by how much the level moved.

use super::rank_scan::{RESAMPLES, SEGMENT_MIN};
use crate::stats::interval::{Interval, StatsError, check_unit};
use crate::stats::trend::median;
use crate::stats::two_sample::hodges_lehmann;

/// What counts as a change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// largest p of a split
    pub alpha: f64,
    /// smallest |shift| between neighbouring segments, unit of the values (logs: `ln 1.05` for 5 %)
    pub shift_min: f64,
    /// fewest values on either side
    pub least: usize,
    /// permutations behind each p
    pub resamples: u64,
    /// their seed
    pub seed: u64,
}

impl Rule {
    /// p < 0.01 and 5 % (for values that are logs), three values a side, 9999 permutations.
    pub fn new(seed: u64) -> Self {
        Self { alpha: 0.01, shift_min: 1.05_f64.ln(), least: SEGMENT_MIN, resamples: RESAMPLES, seed }
    }
}

/// One change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// index of the first value of the new level
    pub at: usize,
    /// first index of the segment before
    pub from: usize,
    /// index after the last of the segment that begins here
    pub to: usize,
    /// standardised rank sum: negative where the values rise
    pub z: f64,
    /// permutation p of the split within both segments, over the whole search
    pub p: f64,
    /// values after less values before
    pub shift: Shift,
}

/// By how much a level moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Hodges–Lehmann: median of all differences after − before; of the medians where a value is not finite
    pub value: f64,
    /// its exact interval; `None` when the segments are too short for the confidence, or a value is not finite
    pub interval: Option<Interval>,
}

/// Shift from `before` to `after` with its interval at `confidence`.
///
/// # Errors
/// `NotANumber`, `Empty`, `OutOfRange` confidence.
pub fn shift(before: &[f64], after: &[f64], confidence: f64) -> Result<Shift, StatsError> {
    check_unit("confidence", confidence)?;
    if before.is_empty() || after.is_empty() {
        return Err(StatsError::Empty);
    }
    match hodges_lehmann(after, before, confidence) {
        Ok(s) => Ok(Shift { value: s.shift, interval: Some(s.interval) }),
        Err(StatsError::TooFew { .. }) => {
            let mut all: Vec<f64> = after.iter().flat_map(|a| before.iter().map(move |b| a - b)).collect();
            all.sort_unstable_by(f64::total_cmp);
            Ok(Shift { value: median(&all), interval: None })
        }
        Err(StatsError::Infinite) => {
            let (a, b) = (median(after), median(before));
            Ok(Shift { value: if a == b { 0.0 } else { a - b }, interval: None })
        }
        Err(e) => Err(e),
    }
}
