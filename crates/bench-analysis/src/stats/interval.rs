//! The two small types every statistic returns: an interval, or the reason why there is none.

/// A two-sided interval `[low, high]` in the unit of its statistic.
///
/// `low` may be `-∞` and `high` `+∞`: then that side is not bounded by the data, which is not an error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// lower limit
    pub low: f64,
    /// upper limit; `low ≤ high`
    pub high: f64,
}

impl Interval {
    /// An interval from its limits.
    pub fn new(low: f64, high: f64) -> Self {
        debug_assert!(low <= high || low.is_nan() || high.is_nan(), "interval limits in order: {low} {high}");
        Self { low, high }
    }

    /// Whether `value` lies inside, limits included.
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }

    /// Both limits mapped by a non-decreasing function.
    pub fn map(&self, f: impl Fn(f64) -> f64) -> Self {
        Self { low: f(self.low), high: f(self.high) }
    }
}

/// Why a statistic could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// the sample has no values
    #[error("expected at least one value, got none")]
    Empty,
    /// a value is NaN; leave it out or count it as a failure before calling
    #[error("expected numbers, got NaN at position {position}")]
    NotANumber {
        /// 0-based position in the input
        position: usize,
    },
    /// an infinite value where the statistic needs finite ones (means do, ranks do not)
    #[error("expected finite values, got an infinite one; use a rank statistic for failed requests")]
    Infinite,
    /// the sample is smaller than the statistic needs
    #[error("{what} needs at least {needed} values, got {have}")]
    TooFew {
        /// the statistic, as a reader would name it
        what: &'static str,
        /// smallest sufficient number of values
        needed: u64,
        /// number of values given
        have: u64,
    },
    /// an argument outside its range
    #[error("expected {what} {range}, got {got}")]
    OutOfRange {
        /// the argument
        what: &'static str,
        /// its range, in words
        range: &'static str,
        /// the value given
        got: f64,
    },
    /// two samples that must pair up have different lengths
    #[error("expected two samples of one length, got {left} and {right}")]
    Unpaired {
        /// length of the first
        left: usize,
        /// length of the second
        right: usize,
    },
    /// the data leave the statistic undefined (no spread, denominator that includes zero)
    #[error("{0}")]
    Undefined(&'static str),
}

/// Refuses a level outside the open unit interval.
///
/// # Errors
/// `OutOfRange` with the name of the argument.
pub fn check_unit(what: &'static str, value: f64) -> Result<(), StatsError> {
    if 0.0 < value && value < 1.0 {
        Ok(())
    } else {
        Err(StatsError::OutOfRange { what, range: "inside (0, 1)", got: value })
    }
}

/// Refuses an empty sample, NaN and infinities: what every mean-like statistic demands.
///
/// # Errors
/// `Empty`, `NotANumber` or `Infinite`.
pub fn check_finite(x: &[f64]) -> Result<(), StatsError> {
    if x.is_empty() {
        return Err(StatsError::Empty);
    }
    for (position, v) in x.iter().enumerate() {
        if v.is_nan() {
            return Err(StatsError::NotANumber { position });
        }
        if v.is_infinite() {
            return Err(StatsError::Infinite);
        }
    }
    Ok(())
}

/// Refuses fewer than `needed` values.
///
/// # Errors
/// `TooFew`.
pub fn check_at_least(what: &'static str, x: &[f64], needed: usize) -> Result<(), StatsError> {
    if x.len() < needed {
        Err(StatsError::TooFew { what, needed: needed as u64, have: x.len() as u64 })
    } else {
        Ok(())
    }
}
