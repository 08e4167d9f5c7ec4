//! Is there a trend, and how steep: Mann–Kendall and Theil–Sen.
//!
//! Both by ranks of pairs, so that one wild window decides nothing. They suppose weakly dependent values: feed windows or
//! batches, not requests ([`super::degradation`] sees to it); for a series that stays dependent,
//! [`MannKendall::discounted`] widens the null.

use super::dependence::autocorrelation;
use super::distribution::{norm_quantile, norm_sf, t_sf};
use super::interval::{Interval, StatsError, check_at_least, check_finite, check_unit};
use super::quantile::{QuantileType, quantile_sorted};
use super::summary::{mean, variance};

/// Most points for a Theil–Sen slope: it takes all pairs.
pub const POINTS_MAX: usize = 3000;

/// Test of "no monotone trend".
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MannKendall {
    /// pairs that rise less pairs that fall
    pub s: f64,
    /// variance of S without trend, ties corrected
    pub variance: f64,
    /// standardised, with continuity correction; 0 when all values are equal
    pub z: f64,
    /// two-sided p, normal approximation (within 0.02 from 4 values, 0.005 from 10)
    pub p: f64,
}

impl MannKendall {
    /// One-sided p of "it rises".
    pub fn p_rising(&self) -> f64 {
        norm_sf(self.z)
    }

    /// The test when `worth` values (≥ 1) are worth one independent one: variance times `worth`.
    pub fn discounted(self, worth: f64) -> Self {
        let variance = self.variance * worth.max(1.0);
        Self { variance, ..from_score(self.s, variance) }
    }
}

fn from_score(s: f64, variance: f64) -> MannKendall {
    let z = if s == 0.0 || variance <= 0.0 { 0.0 } else { (s - s.signum()) / variance.sqrt() };
    MannKendall { s, variance, z, p: (2.0 * norm_sf(z.abs())).min(1.0) }
}

/// Mann and Kendall's test on n ≥ 4 values in time order; `+∞` (a failed window) ranks like any value. O(n log n).
///
/// `S = Σ sign(x_j − x_i)`, `var = [n(n−1)(2n+5) − Σ t(t−1)(2t+5)]/18`, `Z = (S − sgn S)/√var`.
///
/// # Errors
/// `TooFew`, `NotANumber`.
///
/// # Source
/// Mann 1945; Kendall 1975.
pub fn mann_kendall(x: &[f64]) -> Result<MannKendall, StatsError> {
    check_at_least("a trend test", x, 4)?;
    if let Some(position) = x.iter().position(|v| v.is_nan()) {
        return Err(StatsError::NotANumber { position });
    }
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.dedup();
    // how many earlier values have each rank: a Fenwick tree
    let mut tree = vec![0_i64; sorted.len() + 1];
    let mut counts = vec![0_i64; sorted.len()];
    let mut s = 0_i64;
    for (seen, v) in x.iter().enumerate() {
        let rank = sorted.partition_point(|w| w < v);
        let (mut below, mut i) = (0_i64, rank);
        while 0 < i {
            below += tree[i];
            i &= i - 1;
        }
        let above = seen as i64 - below - counts[rank];
        s += below - above;
        counts[rank] += 1;
        i = rank + 1;
        while i < tree.len() {
            tree[i] += 1;
            i += i & i.wrapping_neg();
        }
    }
    let weight = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let ties: f64 = counts.iter().map(|t| weight(*t as f64)).sum();
    Ok(from_score(s as f64, (weight(x.len() as f64) - ties) / 18.0))
}

/// Slope of a line through the median of all pairs.
#[derive(Debug, Clone, PartialEq)]
pub struct TheilSen {
    /// median pairwise slope, unit of y over unit of x
    pub slope: f64,
    /// median y − slope · median x
    pub intercept: f64,
    /// limits of the slope by Kendall's normal approximation
    pub interval: Interval,
    /// pairs with different x
    pub pairs: usize,
}

impl TheilSen {
    /// y on the line at x.
    pub fn at(&self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }
}

/// Theil and Sen's slope with Sen's limits, 4 to [`POINTS_MAX`] points, any order.
///
/// Limits are the pairwise slopes of ranks `(N ∓ z σ)/2`, σ² = Kendall's variance less ties in x and in y.
///
/// # Errors
/// `TooFew`, `Unpaired`, `Infinite`, `NotANumber`; `Undefined` when all x are equal; `OutOfRange` for more points or
/// confidence outside (0, 1).
///
/// # Source
/// Sen 1968; ranks rounded as in `scipy.stats.theilslopes`.
pub fn theil_sen(x: &[f64], y: &[f64], confidence: f64) -> Result<TheilSen, StatsError> {
    theil_sen_dependent(x, y, confidence, 1.0)
}

/// [`theil_sen`] when `worth` points (≥ 1) are worth one independent one: σ² times `worth`.
///
/// # Errors
/// As [`theil_sen`].
pub fn theil_sen_dependent(
    x: &[f64],
    y: &[f64],
    confidence: f64,
    worth: f64,
) -> Result<TheilSen, StatsError> {
    check_unit("confidence", confidence)?;
    check_finite(x)?;
    check_finite(y)?;
    if x.len() != y.len() {
        return Err(StatsError::Unpaired { left: x.len(), right: y.len() });
    }
    check_at_least("a Theil–Sen slope", x, 4)?;
    if POINTS_MAX < x.len() {
        return Err(StatsError::OutOfRange {
            what: "number of points for a Theil–Sen slope",
            range: "at most 3000: use windows",
            got: x.len() as f64,
        });
    }
    let mut slopes = Vec::with_capacity(x.len() * (x.len() - 1) / 2);
    for i in 0..x.len() {
        for j in 0..i {
            let dx = x[i] - x[j];
            if dx != 0.0 {
                slopes.push((y[i] - y[j]) / dx);
            }
        }
    }
    if slopes.is_empty() {
        return Err(StatsError::Undefined("expected points that differ in x: equal ones have no slope"));
    }
    slopes.sort_unstable_by(f64::total_cmp);
    let slope = quantile_sorted(&slopes, 0.5, QuantileType::Type7);
    let weight = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let n = x.len() as f64;
    let variance = (weight(n) - tie_weight(x) - tie_weight(y)).max(0.0) / 18.0 * worth.max(1.0);
    let reach = norm_quantile(0.5 + 0.5 * confidence) * variance.sqrt();
    let pairs = slopes.len();
    let low = f64::midpoint(pairs as f64, -reach).round_ties_even() - 1.0;
    let high = f64::midpoint(pairs as f64, reach).round_ties_even();
    let at = |rank: f64| slopes[rank.clamp(0.0, (pairs - 1) as f64) as usize];
    Ok(TheilSen {
        slope,
        intercept: median(y) - slope * median(x),
        interval: Interval::new(at(low), at(high)),
        pairs,
    })
}

fn tie_weight(x: &[f64]) -> f64 {
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.chunk_by(|a, b| a == b).map(|g| g.len() as f64).map(|t| t * (t - 1.0) * (2.0 * t + 5.0)).sum()
}

pub(crate) fn median(x: &[f64]) -> f64 {
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    quantile_sorted(&sorted, 0.5, QuantileType::Type7)
}

/// Does a series drift, were it a random walk?
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// mean step from one value to the next
    pub step: f64,
    /// one-sided p of "it rises": t of the mean step
    pub p_rising: f64,
}

/// Test of a drift in n ≥ 4 window means of a series that may remember for ever (a queue near saturation).
///
/// Steps of window means of a random walk have lag-1 autocorrelation ¼, so the variance of their sum is 1.5 times that of
/// independent ones. Where the series returns to its mean, neighbouring steps cancel and the test errs on the safe side.
///
/// # Errors
/// `TooFew`, `Infinite`, `NotANumber`.
///
/// # Source
/// Working 1960 on averages of a random walk.
pub fn drift(y: &[f64]) -> Result<Drift, StatsError> {
    check_finite(y)?;
    check_at_least("a test of drift", y, 4)?;
    let steps: Vec<f64> = y.windows(2).map(|w| w[1] - w[0]).collect();
    let m = steps.len() as f64;
    let step = mean(&steps);
    let se = (1.5 * variance(&steps).expect("invariant: three steps or more") / m).sqrt();
    let p_rising = if 0.0 < se {
        t_sf(step / se, m - 1.0)
    } else if 0.0 < step {
        0.0
    } else {
        1.0
    };
    Ok(Drift { step, p_rising })
}

/// Lag-1 autocorrelation of what is left of y after its Theil–Sen line over 0, 1, 2 …: 0 where nothing is left.
///
/// A trend alone makes neighbours alike; dependence is what remains without it.
///
/// # Errors
/// As [`theil_sen`].
pub fn residual_lag1(y: &[f64]) -> Result<f64, StatsError> {
    let x: Vec<f64> = (0..y.len()).map(|i| i as f64).collect();
    let line = theil_sen(&x, y, 0.95)?;
    let rest: Vec<f64> = x.iter().zip(y).map(|(x, y)| y - line.at(*x)).collect();
    match autocorrelation(&rest, 1) {
        Ok(r) => Ok(r[0]),
        Err(StatsError::Undefined(_)) => Ok(0.0),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    #[test]
    fn published_case() {
        let x = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0, 8.0];
        let mk = mann_kendall(&x).unwrap();
        assert_eq!((mk.s, mk.variance), (25.0, 207.0));
        assert!((mk.z - 1.668115312456598).abs() < 1e-12 && (mk.p - 0.09529283802345656).abs() < 1e-12);
        let t: Vec<f64> = (0..12).map(f64::from).collect();
        let sen = theil_sen(&t, &x, 0.95).unwrap();
        assert!((sen.slope - 0.3666666666666667).abs() < 1e-12, "{sen:?}");
        assert_eq!((sen.interval.low, sen.interval.high), (0.0, 0.8));
    }

    #[test]
    fn equal_values_and_failed_windows() {
        assert_eq!(mann_kendall(&[2.0; 9]).unwrap().p, 1.0);
        let failing = [1.0, 2.0, 1.5, f64::INFINITY, f64::INFINITY, f64::INFINITY];
        assert!(0.0 < mann_kendall(&failing).unwrap().s);
        assert!(matches!(theil_sen(&[1.0; 4], &[1.0; 4], 0.95), Err(StatsError::Undefined(_))));
        assert!(theil_sen(&[0.0; 6], &failing, 0.95).is_err());
    }

    /// Sums of independent steps have no drift: 5 % of them look as if, and no more.
    #[test]
    fn a_random_walk_does_not_drift() {
        let alarms = (0..1000)
            .filter(|seed| {
                let mut rng = ChaCha8Rng::seed_from_u64(*seed);
                let mut at = 0.0;
                let mut window = || {
                    let sum: f64 = (0..20)
                        .map(|_| {
                            let step: f64 = StandardNormal.sample(&mut rng);
                            at += step;
                            at
                        })
                        .sum();
                    sum / 20.0
                };
                let walk: Vec<f64> = (0..40).map(|_| window()).collect();
                drift(&walk).unwrap().p_rising < 0.05
            })
            .count();
        assert!((25..=72).contains(&alarms), "{alarms} of 1000");
        assert_eq!(drift(&[1.0, 2.0, 3.0, 4.0]).unwrap().p_rising, 0.0);
        assert_eq!(drift(&[2.0; 9]).unwrap().p_rising, 1.0);
    }

    proptest! {
        #[test]
        fn score_equals_the_definition(x in prop::collection::vec(0_u8..20, 4..80)) {
            let x: Vec<f64> = x.into_iter().map(f64::from).collect();
            let mut s = 0.0;
            for j in 0..x.len() {
                for i in 0..j {
                    s += if x[i] < x[j] { 1.0 } else if x[j] < x[i] { -1.0 } else { 0.0 };
                }
            }
            prop_assert_eq!(mann_kendall(&x).unwrap().s, s);
        }

        #[test]
        fn reversed_time_reverses_the_sign(x in prop::collection::vec(-50.0..50.0_f64, 4..60)) {
            let back: Vec<f64> = x.iter().rev().copied().collect();
            let (a, b) = (mann_kendall(&x).unwrap(), mann_kendall(&back).unwrap());
            prop_assert_eq!(a.s, -b.s);
            prop_assert!((a.p - b.p).abs() < 1e-12);
        }

        #[test]
        fn slope_follows_scale_and_tilt(
            y in prop::collection::vec(-50.0..50.0_f64, 4..40), a in 0.1..9.0_f64, b in -5.0..5.0_f64,
        ) {
            let x: Vec<f64> = (0..y.len()).map(|i| i as f64).collect();
            let tilted: Vec<f64> = x.iter().zip(&y).map(|(x, y)| a * y + b * x + 7.0).collect();
            let (plain, other) = (theil_sen(&x, &y, 0.95).unwrap(), theil_sen(&x, &tilted, 0.95).unwrap());
            prop_assert!((other.slope - (a * plain.slope + b)).abs() < 1e-9 * (1.0 + other.slope.abs()));
            prop_assert!(other.interval.low <= other.slope && other.slope <= other.interval.high);
        }
    }
}
