//! Sample quantiles: all nine types of Hyndman and Fan, on a sorted sample that may hold failures as `+∞`.
//!
//! Type 7 (numpy's and k6's default) is what reports show; type 1, an observed value, is used for interval ends and
//! wherever an interpolation would touch an infinity. Percentiles of several runs are never averaged: merge samples.

use super::interval::{StatsError, check_unit};

/// The definition of a sample quantile, numbered as in Hyndman and Fan (1996) and R's `quantile(type = …)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum QuantileType {
    /// inverse of the empirical distribution: `x[⌈np⌉]`, always an observed value
    Type1 = 1,
    /// as type 1, averaged at the jumps
    Type2 = 2,
    /// nearest even order statistic (SAS)
    Type3 = 3,
    /// linear interpolation of the empirical distribution
    Type4 = 4,
    /// piecewise linear, knots midway (hydrologists)
    Type5 = 5,
    /// Weibull: expected value of the uniform order statistics (Excel's PERCENTILE.EXC, Minitab, SPSS)
    Type6 = 6,
    /// modes of the uniform order statistics (numpy, R, k6, Excel's PERCENTILE.INC): the default here
    Type7 = 7,
    /// median-unbiased whatever the distribution
    Type8 = 8,
    /// unbiased for a normal distribution
    Type9 = 9,
}

impl QuantileType {
    /// All nine, in order.
    pub const ALL: [Self; 9] = [
        Self::Type1,
        Self::Type2,
        Self::Type3,
        Self::Type4,
        Self::Type5,
        Self::Type6,
        Self::Type7,
        Self::Type8,
        Self::Type9,
    ];

    /// Its number, 1 to 9.
    pub fn number(self) -> u8 {
        self as u8
    }
}

/// Values in ascending order, without NaN; `+∞` stands for a failed or timed-out request.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    sorted: Vec<f64>,
}

impl Sample {
    /// Sorts the values.
    ///
    /// # Errors
    /// `Empty` without values; `NotANumber` with the position of the first NaN.
    pub fn new(values: impl Into<Vec<f64>>) -> Result<Self, StatsError> {
        let mut sorted = values.into();
        if sorted.is_empty() {
            return Err(StatsError::Empty);
        }
        if let Some(position) = sorted.iter().position(|v| v.is_nan()) {
            return Err(StatsError::NotANumber { position });
        }
        sorted.sort_unstable_by(f64::total_cmp);
        Ok(Self { sorted })
    }

    /// Successes with `failures` further values at `+∞`.
    ///
    /// # Errors
    /// As [`Sample::new`].
    pub fn with_failures(successes: impl Into<Vec<f64>>, failures: usize) -> Result<Self, StatsError> {
        let mut values = successes.into();
        values.resize(values.len() + failures, f64::INFINITY);
        Self::new(values)
    }

    /// Number of values, failures included.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Never true: a sample has at least one value.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The values, ascending.
    pub fn values(&self) -> &[f64] {
        &self.sorted
    }

    /// The finite values, ascending: successes only.
    pub fn finite(&self) -> &[f64] {
        let end = self.sorted.partition_point(|v| *v < f64::INFINITY);
        &self.sorted[..end]
    }

    /// The value of 1-based rank `rank`, clamped to the sample.
    pub fn order_statistic(&self, rank: usize) -> f64 {
        self.sorted[rank.clamp(1, self.sorted.len()) - 1]
    }

    /// The `p`-quantile, p in [0, 1].
    ///
    /// Type 1 replaces the wanted type where it would touch an infinity: nothing is ever interpolated across one.
    ///
    /// # Errors
    /// `OutOfRange` for p outside [0, 1].
    pub fn quantile(&self, p: f64, kind: QuantileType) -> Result<f64, StatsError> {
        if !(0.0..=1.0).contains(&p) {
            return Err(StatsError::OutOfRange { what: "quantile level", range: "inside [0, 1]", got: p });
        }
        Ok(quantile_sorted(&self.sorted, p, kind))
    }

    /// The median, type 7.
    pub fn median(&self) -> f64 {
        quantile_sorted(&self.sorted, 0.5, QuantileType::Type7)
    }
}

/// The `p`-quantile of values already ascending; the caller guarantees order, no NaN, at least one value, p in [0, 1].
///
/// # Source
/// Hyndman and Fan, "Sample quantiles in statistical packages", 1996; positions are rounded as R does, so that
/// `n·p` of 69.99999999999999 means 70.
pub fn quantile_sorted(sorted: &[f64], p: f64, kind: QuantileType) -> f64 {
    let n = sorted.len() as f64;
    let (j, weight) = match kind {
        QuantileType::Type1 => {
            let (j, rest) = split(n * p);
            (j, if rest == 0.0 { 0.0 } else { 1.0 })
        }
        QuantileType::Type2 => {
            let (j, rest) = split(n * p);
            (j, if rest == 0.0 { 0.5 } else { 1.0 })
        }
        QuantileType::Type3 => {
            let (j, rest) = split(n * p - 0.5);
            (j, if rest == 0.0 && j % 2.0 == 0.0 { 0.0 } else { 1.0 })
        }
        QuantileType::Type4 => split(n * p),
        QuantileType::Type5 => split(n * p + 0.5),
        QuantileType::Type6 => split((n + 1.0) * p),
        QuantileType::Type7 => split((n - 1.0) * p + 1.0),
        QuantileType::Type8 => split((n + 1.0 / 3.0) * p + 1.0 / 3.0),
        QuantileType::Type9 => split((n + 0.25) * p + 0.375),
    };
    let at = |rank: f64| sorted[(rank.clamp(1.0, n) as usize) - 1];
    let (below, above) = (at(j), at(j + 1.0));
    if weight == 0.0 || below == above {
        return below;
    }
    if weight == 1.0 {
        return above;
    }
    if below.is_infinite() || above.is_infinite() {
        return quantile_sorted(sorted, p, QuantileType::Type1);
    }
    (below + weight * (above - below)).min(above)
}

/// Whole part and fraction of a position, with R's allowance for rounding in `n·p`.
fn split(position: f64) -> (f64, f64) {
    let fuzz = 4.0 * f64::EPSILON * position.abs().max(1.0);
    let whole = (position + fuzz).floor();
    let rest = position - whole;
    (whole, if rest.abs() <= fuzz { 0.0 } else { rest })
}

/// Weighted type-1 quantile: smallest x whose cumulative weight reaches `p · Σw`.
///
/// `weights`: one non-negative weight for each value (a token count weights a request by its tokens).
///
/// # Errors
/// `Unpaired`, `Empty`, `NotANumber`, or `OutOfRange` for a negative weight, weights that are all 0, or p outside (0, 1).
pub fn weighted_quantile(values: &[f64], weights: &[f64], p: f64) -> Result<f64, StatsError> {
    check_unit("quantile level", p)?;
    if values.len() != weights.len() {
        return Err(StatsError::Unpaired { left: values.len(), right: weights.len() });
    }
    if let Some(position) = values.iter().position(|v| v.is_nan()) {
        return Err(StatsError::NotANumber { position });
    }
    if let Some(&got) = weights.iter().find(|w| !(0.0 <= **w && w.is_finite())) {
        return Err(StatsError::OutOfRange { what: "weight", range: "finite and not negative", got });
    }
    let total: f64 = weights.iter().sum();
    if total <= 0.0 {
        return Err(StatsError::Empty);
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let goal = p * total * (1.0 - 4.0 * f64::EPSILON);
    let mut cumulative = 0.0;
    let mut last = f64::NAN;
    for i in order {
        cumulative += weights[i];
        last = values[i];
        if goal <= cumulative {
            break;
        }
    }
    Ok(last)
}

/// Harrell and Davis' quantile: all order statistics, weighted by the beta distribution of the wanted rank.
///
/// Smoother than a single order statistic, for pictures; not for tails of bimodal data (measurement note: its interval
/// covers 86 % there). Finite values only.
///
/// # Errors
/// `Infinite` when a failure is in the sample; `OutOfRange` for p outside (0, 1).
///
/// # Source
/// Harrell and Davis 1982.
pub fn harrell_davis(sample: &Sample, p: f64) -> Result<f64, StatsError> {
    check_unit("quantile level", p)?;
    if sample.values().iter().any(|v| v.is_infinite()) {
        return Err(StatsError::Infinite);
    }
    let n = sample.len() as f64;
    Ok(beta_weighted(sample.values(), p * (n + 1.0), (1.0 - p) * (n + 1.0), |x| x))
}

/// Maritz and Jarrett's standard error of the `p`-quantile (as `scipy.stats.mstats.mjci`).
///
/// # Errors
/// `TooFew` when the wanted rank leaves no beta distribution (`2 ≤ ⌊np + ½⌋ < n`); `Infinite` with failures.
pub fn maritz_jarrett_se(sample: &Sample, p: f64) -> Result<f64, StatsError> {
    check_unit("quantile level", p)?;
    if sample.values().iter().any(|v| v.is_infinite()) {
        return Err(StatsError::Infinite);
    }
    let n = sample.len() as f64;
    let rank = (n * p + 0.5).floor();
    if rank < 2.0 || n <= rank {
        let needed = (1.5 / p).max(0.5 / (1.0 - p)).ceil() as u64 + 1;
        return Err(StatsError::TooFew { what: "this standard error", needed, have: sample.len() as u64 });
    }
    let mean = beta_weighted(sample.values(), rank - 1.0, n - rank, |x| x);
    let square = beta_weighted(sample.values(), rank - 1.0, n - rank, |x| x * x);
    Ok((square - mean * mean).max(0.0).sqrt())
}

fn beta_weighted(sorted: &[f64], a: f64, b: f64, f: impl Fn(f64) -> f64) -> f64 {
    let n = sorted.len() as f64;
    let mut before = 0.0;
    let mut sum = 0.0;
    for (i, &x) in sorted.iter().enumerate() {
        let up_to = super::distribution::beta_cdf(a, b, (i as f64 + 1.0) / n);
        sum += (up_to - before) * f(x);
        before = up_to;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[f64], p: f64, kind: QuantileType, expected: f64) {
        let got = Sample::new(values).unwrap().quantile(p, kind).unwrap();
        assert!(got == expected || (got - expected).abs() < 1e-12, "type {} at {p}: {got}", kind.number());
    }

    #[test]
    fn nine_types_of_one_to_hundred() {
        let x: Vec<f64> = (1..=100).map(f64::from).collect();
        let expected = [99.0, 99.5, 99.0, 99.0, 99.5, 99.99, 99.01, 99.66333333333334, 99.6225];
        for (kind, expected) in QuantileType::ALL.into_iter().zip(expected) {
            check(&x, 0.99, kind, expected);
        }
    }

    #[test]
    fn infinity_is_never_interpolated() {
        let x = [1.0, 2.0, f64::INFINITY];
        check(&x, 0.5, QuantileType::Type7, 2.0);
        check(&x, 0.6, QuantileType::Type7, 2.0); // type 7 lies between 2 and ∞: the observed value below it
        check(&x, 0.7, QuantileType::Type7, f64::INFINITY);
    }

    #[test]
    fn refusals() {
        assert_eq!(Sample::new(vec![]), Err(StatsError::Empty));
        assert_eq!(Sample::new(vec![1.0, f64::NAN]), Err(StatsError::NotANumber { position: 1 }));
        assert!(Sample::new(vec![1.0]).unwrap().quantile(1.5, QuantileType::Type7).is_err());
        assert!(weighted_quantile(&[1.0], &[0.0], 0.5).is_err());
    }
}
