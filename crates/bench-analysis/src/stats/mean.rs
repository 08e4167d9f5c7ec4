//! Intervals for a mean: Student's t, and the studentised bootstrap for skewed data.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::distribution::t_quantile;
use super::interval::{Interval, StatsError, check_at_least, check_finite, check_unit};
use super::quantile::{QuantileType, quantile_sorted};
use super::summary::{mean, variance};

/// A mean, its standard error and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MeanEstimate {
    /// arithmetic mean
    pub mean: f64,
    /// standard error: sd / √n
    pub se: f64,
    /// interval at the confidence asked for
    pub interval: Interval,
}

/// Student's interval for the mean of independent values: `x̄ ± t s/√n`, n ≥ 2.
///
/// Right on the log scale of latencies or for run means; on raw skewed latencies with small n it covers 86–92 %
/// instead of 95: use [`studentized_bootstrap`] there.
///
/// # Errors
/// `TooFew` below two values, `NotANumber`, `Infinite`, `OutOfRange` confidence.
pub fn t_interval(x: &[f64], confidence: f64) -> Result<MeanEstimate, StatsError> {
    check_unit("confidence", confidence)?;
    check_finite(x)?;
    check_at_least("an interval for a mean", x, 2)?;
    let sd = variance(x).expect("invariant: two values or more").sqrt();
    t_interval_of(mean(x), sd, x.len() as u64, confidence)
}

/// [`t_interval`] from mean, standard deviation and number of values, n ≥ 2.
///
/// # Errors
/// `TooFew` below two values, `OutOfRange` confidence.
pub fn t_interval_of(mean: f64, sd: f64, n: u64, confidence: f64) -> Result<MeanEstimate, StatsError> {
    check_unit("confidence", confidence)?;
    if n < 2 {
        check_at_least("an interval for a mean", &[mean][..n as usize], 2)?;
    }
    let se = sd / (n as f64).sqrt();
    let reach = t_quantile(0.5 + 0.5 * confidence, n as f64 - 1.0) * se;
    Ok(MeanEstimate { mean, se, interval: Interval::new(mean - reach, mean + reach) })
}

/// Studentised bootstrap (bootstrap-t) for the mean of independent values, n ≥ 5.
///
/// `t* = (m* − m)/(s*/√n)` over `resamples` seeded resamples; limits `m − t*₁₋ₐ s/√n`, `m − t*ₐ s/√n`.
/// Covers 93–94 % where t, percentile and BCa cover 86–93 (log-normal, sd 1).
///
/// # Errors
/// As [`t_interval`], with five values as the least; `Undefined` when all values are equal.
///
/// # Source
/// Efron and Tibshirani 1993, chapter 12.
pub fn studentized_bootstrap(
    x: &[f64],
    confidence: f64,
    resamples: usize,
    seed: u64,
) -> Result<MeanEstimate, StatsError> {
    check_finite(x)?;
    check_at_least("a studentised bootstrap", x, 5)?;
    if x.iter().all(|v| *v == x[0]) {
        return bootstrap_t_limits(x, Vec::new(), confidence);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let n = u32::try_from(x.len()).map_err(|_| StatsError::OutOfRange {
        what: "number of values",
        range: "small enough to resample",
        got: x.len() as f64,
    })?;
    let mut draw = vec![0.0; x.len()];
    let mut t_star = Vec::with_capacity(resamples);
    let centre = mean(x);
    for _ in 0..resamples {
        for slot in &mut draw {
            *slot = x[rng.random_range(0..n) as usize];
        }
        t_star.extend(studentized(&draw, centre));
    }
    bootstrap_t_limits(x, t_star, confidence)
}

/// The studentised bootstrap on given resamples (rows of indices into `x`): for reference values.
///
/// # Errors
/// As [`studentized_bootstrap`].
pub fn studentized_from_indices(
    x: &[f64],
    indices: &[Vec<usize>],
    confidence: f64,
) -> Result<MeanEstimate, StatsError> {
    check_finite(x)?;
    check_at_least("a studentised bootstrap", x, 2)?;
    let centre = mean(x);
    let t_star = indices
        .iter()
        .filter_map(|row| studentized(&row.iter().map(|&i| x[i]).collect::<Vec<_>>(), centre))
        .collect();
    bootstrap_t_limits(x, t_star, confidence)
}

/// `t*` of one resample; `None` when it has no spread.
fn studentized(draw: &[f64], centre: f64) -> Option<f64> {
    // shifted by the centre of the data, one pass is accurate enough and three times as fast as two
    let (mut sum, mut squares) = (0.0, 0.0);
    for v in draw {
        let d = v - centre;
        sum += d;
        squares += d * d;
    }
    let n = draw.len() as f64;
    let m = sum / n;
    let s2 = (squares - n * m * m) / (n - 1.0);
    (0.0 < s2).then(|| m / (s2 / n).sqrt())
}

fn bootstrap_t_limits(x: &[f64], mut t_star: Vec<f64>, confidence: f64) -> Result<MeanEstimate, StatsError> {
    check_unit("confidence", confidence)?;
    if t_star.is_empty() {
        return Err(StatsError::Undefined(
            "expected values that differ: a bootstrap of equal values has no spread",
        ));
    }
    t_star.sort_unstable_by(f64::total_cmp);
    let half = 0.5 * (1.0 - confidence);
    let t_low = quantile_sorted(&t_star, half, QuantileType::Type7);
    let t_high = quantile_sorted(&t_star, 1.0 - half, QuantileType::Type7);
    let m = mean(x);
    let se = (variance(x).expect("invariant: two values or more") / x.len() as f64).sqrt();
    Ok(MeanEstimate { mean: m, se, interval: Interval::new(m - t_high * se, m - t_low * se) })
}
