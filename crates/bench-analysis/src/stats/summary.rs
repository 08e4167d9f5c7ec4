//! Mean, spread and shape of one sample, stable for values far from zero.

use super::interval::{StatsError, check_finite};
use super::quantile::{QuantileType, quantile_sorted};

/// Moments and robust measures of one sample of finite values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// number of values
    pub n: usize,
    /// arithmetic mean
    pub mean: f64,
    /// standard deviation with n − 1; `None` below two values
    pub sd: Option<f64>,
    /// smallest value
    pub min: f64,
    /// largest value
    pub max: f64,
    /// median, type 7
    pub median: f64,
    /// median absolute deviation from the median, unscaled
    pub mad: f64,
    /// sd / mean; `None` where sd is or the mean is 0
    pub cv: Option<f64>,
    /// geometric mean; `None` unless every value is above 0
    pub geometric_mean: Option<f64>,
    /// mean without the ⌊n/10⌋ smallest and largest values
    pub trimmed_mean_10: f64,
    /// skewness g1 = m3 / m2^1.5; `None` without spread
    pub skewness: Option<f64>,
}

/// Mean of finite values: exact shift by the first value, compensated (Neumaier) sum.
pub fn mean(x: &[f64]) -> f64 {
    let Some(&origin) = x.first() else { return f64::NAN };
    origin + compensated_sum(x.iter().map(|v| v - origin)) / x.len() as f64
}

/// Sample variance with n − 1, two passes with correction; `None` below two values.
pub fn variance(x: &[f64]) -> Option<f64> {
    if x.len() < 2 {
        return None;
    }
    let m = mean(x);
    let n = x.len() as f64;
    let squares = compensated_sum(x.iter().map(|v| (v - m) * (v - m)));
    let drift = compensated_sum(x.iter().map(|v| v - m));
    Some(((squares - drift * drift / n) / (n - 1.0)).max(0.0))
}

/// Sum with Neumaier's compensation: error independent of the number of terms.
pub fn compensated_sum(terms: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0_f64, 0.0_f64);
    for term in terms {
        let next = sum + term;
        lost += if sum.abs() < term.abs() { (term - next) + sum } else { (sum - next) + term };
        sum = next;
    }
    sum + lost
}

/// All of [`Summary`] in one go.
///
/// # Errors
/// `Empty`, `NotANumber`, `Infinite`.
pub fn summarize(x: &[f64]) -> Result<Summary, StatsError> {
    check_finite(x)?;
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len();
    let mean_value = mean(&sorted);
    let sd = variance(&sorted).map(f64::sqrt);
    let median = quantile_sorted(&sorted, 0.5, QuantileType::Type7);
    let mut distance: Vec<f64> = sorted.iter().map(|v| (v - median).abs()).collect();
    distance.sort_unstable_by(f64::total_cmp);
    let moment = |k: i32| compensated_sum(sorted.iter().map(|v| (v - mean_value).powi(k))) / n as f64;
    let (m2, m3) = (moment(2), moment(3));
    let cut = n / 10;
    Ok(Summary {
        n,
        mean: mean_value,
        sd,
        min: sorted[0],
        max: sorted[n - 1],
        median,
        mad: quantile_sorted(&distance, 0.5, QuantileType::Type7),
        cv: sd.filter(|_| mean_value != 0.0).map(|s| s / mean_value),
        geometric_mean: (0.0 < sorted[0])
            .then(|| (compensated_sum(sorted.iter().map(|v| v.ln())) / n as f64).exp()),
        trimmed_mean_10: mean(&sorted[cut..n - cut]),
        skewness: (0.0 < m2).then(|| m3 / m2.powf(1.5)),
    })
}

/// Midranks (1-based, ties share their mean rank) and Σ(t³ − t) over groups of ties.
///
/// Infinities rank like any value; equal infinities tie.
pub fn midranks(x: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_unstable_by(|&a, &b| x[a].total_cmp(&x[b]));
    let mut ranks = vec![0.0; x.len()];
    let mut ties = 0.0;
    let mut start = 0;
    while start < order.len() {
        let mut end = start + 1;
        while end < order.len() && x[order[end]] == x[order[start]] {
            end += 1;
        }
        let t = (end - start) as f64;
        ties += t * t * t - t;
        let rank = 0.5 * (start + 1 + end) as f64;
        for &i in &order[start..end] {
            ranks[i] = rank;
        }
        start = end;
    }
    (ranks, ties)
}
