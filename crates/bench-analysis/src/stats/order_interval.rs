//! Distribution-free intervals for quantiles from two order statistics, and how many values one needs for them.
//!
//! Coverage is known exactly for every continuous law: no bootstrap of a percentile is ever needed. A failed request at
//! `+∞` takes part like any other value, so an upper limit may be `+∞`.

use super::distribution::{binomial_cdf, norm_pdf, norm_quantile};
use super::interval::{Interval, StatsError, check_unit};
use super::quantile::{QuantileType, Sample};

/// Ranks (1-based) of the two order statistics that bound a quantile, and the coverage they really have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RankInterval {
    /// rank of the lower limit; `None` when the sample has no lower limit at this confidence
    pub lower: Option<usize>,
    /// rank of the upper limit; `None` when it would lie above the largest value
    pub upper: Option<usize>,
    /// exact probability of holding the quantile, at least the confidence asked for
    pub coverage: f64,
}

/// Ranks of the two-sided interval for quantile `p` of `n` independent values.
///
/// `l = #{k : F(k) ≤ α/2}`, `u = 1 + min{k : F(k) ≥ 1 − α/2}` with F the CDF of Binomial(n, p);
/// coverage `F(u−1) − F(l−1)`.
///
/// # Errors
/// `Empty` for n = 0, `OutOfRange` for levels outside (0, 1).
pub fn quantile_ranks(n: usize, p: f64, confidence: f64) -> Result<RankInterval, StatsError> {
    check_unit("quantile level", p)?;
    check_unit("confidence", confidence)?;
    if n == 0 {
        return Err(StatsError::Empty);
    }
    let half = 0.5 * (1.0 - confidence);
    let cdf = |k: i64| binomial_cdf(k, n as u64, p);
    let below = first_where(n as i64, |k| half < cdf(k));
    let upper = 1 + first_where(n as i64, |k| 1.0 - half <= cdf(k));
    let lower = (0 < below).then_some(below as usize);
    let upper = (upper <= n as i64).then_some(upper as usize);
    let high = upper.map_or(1.0, |u| cdf(u as i64 - 1));
    let low = lower.map_or(0.0, |l| cdf(l as i64 - 1));
    Ok(RankInterval { lower, upper, coverage: high - low })
}

/// Smallest k in 0..=n at which the monotone predicate holds; it holds at n.
fn first_where(n: i64, holds: impl Fn(i64) -> bool) -> i64 {
    let (mut low, mut high) = (0, n);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// A quantile with its exact interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileEstimate {
    /// point estimate, type 7 (type 1 next to an infinity)
    pub value: f64,
    /// limits: observed values, `high` may be `+∞` when that many requests failed
    pub interval: Interval,
    /// ranks and exact coverage
    pub ranks: RankInterval,
}

/// The `p`-quantile of independent values with its exact order-statistic interval.
///
/// # Errors
/// `TooFew` with the smallest sufficient n when the sample cannot carry a two-sided interval at this confidence:
/// then the quantile is not reported at all (a p99 of 100 values is their maximum, not a p99).
pub fn quantile_estimate(sample: &Sample, p: f64, confidence: f64) -> Result<QuantileEstimate, StatsError> {
    let ranks = quantile_ranks(sample.len(), p, confidence)?;
    let (Some(lower), Some(upper)) = (ranks.lower, ranks.upper) else {
        return Err(StatsError::TooFew {
            what: "a two-sided interval for this quantile",
            needed: smallest_n_two_sided(p, confidence)?,
            have: sample.len() as u64,
        });
    };
    Ok(QuantileEstimate {
        value: sample.quantile(p, QuantileType::Type7)?,
        interval: Interval::new(sample.order_statistic(lower), sample.order_statistic(upper)),
        ranks,
    })
}

/// Smallest n at which both ranks of the two-sided interval for `p` exist: `max(p, 1−p)ⁿ ≤ α/2`.
///
/// 368 for p99 and 3688 for p99.9 at 95 %.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1).
pub fn smallest_n_two_sided(p: f64, confidence: f64) -> Result<u64, StatsError> {
    smallest_n_one_sided(p.max(1.0 - p), 1.0 - 0.5 * (1.0 - confidence))
}

/// Smallest n at which the largest value is an upper bound for quantile `p`: `⌈ln(1−c)/ln p⌉`.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1).
pub fn smallest_n_one_sided(p: f64, confidence: f64) -> Result<u64, StatsError> {
    check_unit("quantile level", p)?;
    check_unit("confidence", confidence)?;
    let exact = (1.0 - confidence).ln() / p.ln();
    // a ratio of logarithms that is whole up to rounding is whole
    Ok((exact * (1.0 - 4.0 * f64::EPSILON)).ceil().max(1.0) as u64)
}

/// Independent values needed to know quantile `p` of a log-normal to ± `relative` (log-sd `sd_log`).
///
/// `n = ⌈(z/ε)² p(1−p)/f²⌉`, `f = φ(Φ⁻¹(p))/s`: asymptotic variance of a quantile on the log scale. Multiply by
/// n/ESS when requests depend on one another.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1), `relative ≤ 0` or `sd_log ≤ 0`.
pub fn quantile_sample_size(sd_log: f64, p: f64, relative: f64, confidence: f64) -> Result<u64, StatsError> {
    check_unit("quantile level", p)?;
    check_unit("confidence", confidence)?;
    for (what, got) in [("relative precision", relative), ("log standard deviation", sd_log)] {
        if got.is_nan() || got <= 0.0 {
            return Err(StatsError::OutOfRange { what, range: "above 0", got });
        }
    }
    let z = norm_quantile(0.5 + 0.5 * confidence);
    let density = norm_pdf(norm_quantile(p)) / sd_log;
    Ok(((z / relative).powi(2) * p * (1.0 - p) / (density * density)).ceil() as u64)
}

/// Values under a latency limit that must be seen to absorb `over` values above it (MLPerf early stopping).
///
/// Smallest h with `BinomCDF(over; h + over, 1 − p) < 1 − confidence`.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1).
///
/// # Source
/// MLPerf LoadGen, `early_stopping.cc`.
pub fn early_stopping_under(over: u64, p: f64, confidence: f64) -> Result<u64, StatsError> {
    check_unit("quantile level", p)?;
    check_unit("confidence", confidence)?;
    let enough = |h: u64| binomial_cdf(over as i64, h + over, 1.0 - p) < 1.0 - confidence;
    Ok(least(enough))
}

/// The least n ≥ 1 with `enough(n)`, which must hold from there on.
pub(crate) fn least(enough: impl Fn(u64) -> bool) -> u64 {
    let mut high = 1_u64;
    while !enough(high) {
        high *= 2;
    }
    let mut low = high / 2;
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// One-sided tail certificate: an observed value that is an upper bound of quantile `p` with the given confidence.
///
/// Returns `(value, over)`: the largest `over` with `n ≥ h(over) + over` and the value `sorted[n − over]` (0-based; the
/// largest value for `over = 0`).
///
/// # Errors
/// `TooFew` with the smallest sufficient n.
pub fn early_stopping_bound(sample: &Sample, p: f64, confidence: f64) -> Result<(f64, u64), StatsError> {
    let n = sample.len() as u64;
    let fits = |over: u64| Ok::<_, StatsError>(early_stopping_under(over, p, confidence)? + over <= n);
    if !fits(1)? {
        let needed = early_stopping_under(1, p, confidence)? + 1;
        return Err(StatsError::TooFew { what: "a tail certificate", needed, have: n });
    }
    let (mut low, mut high) = (1_u64, n);
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if fits(middle)? {
            low = middle;
        } else {
            high = middle;
        }
    }
    Ok((sample.order_statistic((n - low) as usize + 1), low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(n: usize, p: f64, lower: Option<usize>, upper: Option<usize>) {
        let got = quantile_ranks(n, p, 0.95).unwrap();
        assert_eq!((got.lower, got.upper), (lower, upper), "n {n} p {p}");
        assert!(0.95 <= got.coverage || upper.is_none() || lower.is_none());
    }

    #[test]
    fn published_ranks() {
        check(1000, 0.99, Some(983), Some(997));
        check(1000, 0.5, Some(469), Some(532));
        check(368, 0.99, Some(360), Some(368));
        check(367, 0.99, Some(359), None);
        check(1, 0.5, None, None);
    }

    #[test]
    fn a_million_values_take_no_time_and_stay_sane() {
        let ranks = quantile_ranks(1_000_000, 0.999, 0.95).unwrap();
        assert!((0.9499..0.955).contains(&ranks.coverage), "{ranks:?}");
    }

    #[test]
    fn too_few_is_said_with_the_number_needed() {
        let sample = Sample::new((0..100).map(f64::from).collect::<Vec<_>>()).unwrap();
        let refused = quantile_estimate(&sample, 0.99, 0.95).unwrap_err();
        assert!(matches!(refused, StatsError::TooFew { needed: 368, have: 100, .. }), "{refused:?}");
    }
}
