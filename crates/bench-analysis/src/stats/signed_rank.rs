//! Wilcoxon's signed-rank test and the Hodges–Lehmann pseudo-median of paired differences, with failures at `±∞`.
//!
//! The pseudo-median is the median of the Walsh averages `(dᵢ + dⱼ)/2, i ≤ j`; its interval are two of them, so test and
//! interval always agree. A pair in which only one side failed is `+∞` or `−∞`: it has a rank, and nothing is averaged.
//! The average of a `+∞` and a `−∞` has no value; it counts half below and half above every number, which is what tied
//! midranks do in the test. No pair of differences is ever stored: limits are found by counting, O(n) a step.

use super::distribution::{norm_quantile, norm_sf, t_quantile};
use super::interval::{Interval, StatsError, check_unit};

/// Up to this many pairs the null distribution is computed exactly; beyond, the normal approximation differs by < 10⁻³.
const EXACT_UP_TO: usize = 128;

/// Result of [`signed_rank`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SignedRank {
    /// number of differences
    pub n: usize,
    /// sum of the ranks of positive differences; ties and zeros count half
    pub v: f64,
    /// two-sided p-value of "the differences are symmetric about 0"
    pub p: f64,
    /// median of the Walsh averages, `±∞` where failures outweigh; `None` where opposite infinities leave it open
    pub pseudo_median: Option<f64>,
    /// interval for the pseudo-median; a side may be infinite
    pub interval: Interval,
    /// confidence really reached, at least what was asked for (up to the normal approximation for n > 128)
    pub achieved: f64,
}

/// Signed-rank test of differences against 0, with the pseudo-median and its interval.
///
/// `d`: one difference a pair (log ratios for latencies), `±∞` where one side failed.
///
/// # Errors
/// `NotANumber`; `TooFew` when 2·2⁻ⁿ > α (five pairs cannot carry 95 %); `OutOfRange` confidence.
///
/// # Source
/// Hollander, Wolfe and Chicken 2014, 3.1–3.3; R's `wilcox.test(exact = TRUE)` gives the same p and limits without ties.
pub fn signed_rank(d: &[f64], confidence: f64) -> Result<SignedRank, StatsError> {
    signed_rank_dependent(d, confidence, 1.0)
}

/// [`signed_rank`] where neighbours depend on one another: the null variance is `tau` times that of independent pairs.
///
/// `tau`: integrated autocorrelation time of the ranks of `d` in time order; 1 or less means independent.
///
/// # Errors
/// As [`signed_rank`].
pub fn signed_rank_dependent(d: &[f64], confidence: f64, tau: f64) -> Result<SignedRank, StatsError> {
    check_unit("confidence", confidence)?;
    if let Some(position) = d.iter().position(|v| v.is_nan()) {
        return Err(StatsError::NotANumber { position });
    }
    let n = d.len();
    let alpha = 1.0 - confidence;
    let needed = (2.0 / alpha).log2().ceil() as u64;
    if (n as u64) < needed {
        return Err(StatsError::TooFew { what: "a signed-rank interval", needed, have: n as u64 });
    }
    let walsh = Walsh::new(d);
    let null = Null::new(n, tau);
    let v = walsh.above_zero();
    let p = (2.0 * null.at_most(v.ceil()).min(null.at_least(v.floor()))).min(1.0);
    let rank = null.quantile(0.5 * alpha).max(1);
    let total = walsh.total;
    Ok(SignedRank {
        n,
        v,
        p,
        pseudo_median: walsh.median(),
        interval: Interval::new(
            walsh.ordered(rank, walsh.open.div_ceil(2)),
            walsh.ordered(total + 1 - rank, walsh.open / 2),
        ),
        achieved: 1.0 - 2.0 * null.at_most(rank as f64 - 1.0),
    })
}

/// The smallest shift of the pseudo-median that differences like these show with probability `power` in the two-sided
/// test at `alpha`, whatever its direction: how far from the centre the Walsh averages lie at which the test would reject.
///
/// `d`, `tau` as for [`signed_rank_dependent`]. `None` where no finite shift is seen (failures outweigh, too few pairs).
///
/// A shift moves the share P of positive averages; it is seen when `(P − ½)·N ≥ σ (t₁₋ₐ/₂ + t_power·2√(P(1−P)))`, with N
/// averages, null deviation σ√tau, and the spread of a share shrinking towards P = 1.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1), `NotANumber`.
pub fn smallest_detectable_shift(
    d: &[f64],
    alpha: f64,
    power: f64,
    tau: f64,
) -> Result<Option<f64>, StatsError> {
    check_unit("alpha", alpha)?;
    check_unit("power", power)?;
    if let Some(position) = d.iter().position(|v| v.is_nan()) {
        return Err(StatsError::NotANumber { position });
    }
    let (n, tau) = (d.len() as f64, tau.max(1.0));
    let df = n / tau - 1.0;
    let walsh = Walsh::new(d);
    let Some(centre) = walsh.median().filter(|m| m.is_finite() && 1.0 <= df) else { return Ok(None) };
    let total = walsh.total as f64;
    let sd = (tau * n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
    let (reject, reach) = (t_quantile(1.0 - 0.5 * alpha, df), t_quantile(power, df));
    let seen =
        |share: f64| sd * (reject + reach * 2.0 * (share * (1.0 - share)).sqrt()) <= (share - 0.5) * total;
    if !seen(1.0) {
        return Ok(None);
    }
    let (mut too_low, mut share) = (0.5, 1.0);
    for _ in 0..60 {
        let middle = 0.5 * (too_low + share);
        if seen(middle) {
            share = middle;
        } else {
            too_low = middle;
        }
    }
    let rank = (((1.0 - share) * total) as u64).max(1);
    let low = walsh.ordered(rank, walsh.open.div_ceil(2));
    let high = walsh.ordered(walsh.total + 1 - rank, walsh.open / 2);
    Ok(Some((centre - low).max(high - centre)).filter(|s| s.is_finite() && 0.0 < *s))
}

/// The Walsh averages of a sample, in order, without being stored.
struct Walsh {
    finite: Vec<f64>,
    minus: u64,
    open: u64,
    total: u64,
    finite_total: u64,
    plus: u64,
}

impl Walsh {
    fn new(d: &[f64]) -> Self {
        let mut finite: Vec<f64> = d.iter().copied().filter(|v| v.is_finite()).collect();
        finite.sort_unstable_by(f64::total_cmp);
        let f = finite.len() as u64;
        let lost = d.iter().filter(|v| **v == f64::NEG_INFINITY).count() as u64;
        let won = d.len() as u64 - f - lost;
        let triangle = |k: u64| k * (k + 1) / 2;
        Self {
            finite,
            minus: triangle(lost) + lost * f,
            plus: triangle(won) + won * f,
            open: lost * won,
            total: triangle(d.len() as u64),
            finite_total: triangle(f),
        }
    }

    /// Averages above 0, those equal to 0 and those without value counted half.
    fn above_zero(&self) -> f64 {
        let at_most = self.count_at_most(0.0);
        let below = self.count_at_most(-f64::MIN_POSITIVE * f64::EPSILON);
        let equal = at_most - below;
        (self.finite_total - at_most + self.plus) as f64 + 0.5 * (equal + self.open) as f64
    }

    /// Finite averages at most `limit`: two pointers over the sorted values.
    fn count_at_most(&self, limit: f64) -> u64 {
        let x = &self.finite;
        let mut end = x.len();
        let mut count = 0;
        for (i, a) in x.iter().enumerate() {
            while i < end && limit < 0.5 * (a + x[end - 1]) {
                end -= 1;
            }
            if end <= i {
                break;
            }
            count += (end - i) as u64;
        }
        count
    }

    /// The average of 1-based rank `rank`, with `low` of the averages without value counted as `−∞`.
    fn ordered(&self, rank: u64, low: u64) -> f64 {
        let below = self.minus + low;
        if rank <= below {
            return f64::NEG_INFINITY;
        }
        if self.finite_total < rank - below {
            return f64::INFINITY;
        }
        select(rank - below, |limit| self.count_at_most(limit))
    }

    fn median(&self) -> Option<f64> {
        let (first, second) = (self.total.div_ceil(2), self.total / 2 + 1);
        let low = self.ordered(first, self.open.div_ceil(2));
        let high = self.ordered(second, self.open / 2);
        match (low.is_finite(), high.is_finite()) {
            (true, true) => Some(0.5 * (low + high)),
            (true, false) => Some(low),
            (false, true) => Some(high),
            (false, false) => (low == high).then_some(low),
        }
    }
}

/// The smallest number with at least `rank` values at or below it, by bisection over the ordered bit patterns of `f64`.
///
/// `count(limit)`: how many values of the (unstored) collection are at most `limit`. The answer is a member, exactly.
pub(super) fn select(rank: u64, count: impl Fn(f64) -> u64) -> f64 {
    let to_float = |key: u64| f64::from_bits(if key >> 63 == 1 { key ^ (1 << 63) } else { !key });
    let to_key = |x: f64| if x.is_sign_negative() { !x.to_bits() } else { x.to_bits() ^ (1 << 63) };
    let (mut low, mut high) = (to_key(f64::MIN), to_key(f64::MAX));
    while low < high {
        let middle = low + (high - low) / 2;
        if rank <= count(to_float(middle)) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    // -0.0 and 0.0 are one value with two patterns
    to_float(low) + 0.0
}

/// Null distribution of the signed-rank sum.
enum Null {
    Exact(Vec<f64>),
    Normal { mean: f64, sd: f64, top: f64 },
}

impl Null {
    fn new(n: usize, tau: f64) -> Self {
        let top = n * (n + 1) / 2;
        if EXACT_UP_TO < n || 1.0 < tau {
            let n = n as f64;
            let sd = (tau.max(1.0) * n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
            return Self::Normal { mean: 0.5 * top as f64, sd, top: top as f64 };
        }
        let mut mass = vec![0.0; top + 1];
        mass[0] = 1.0;
        for rank in 1..=n {
            let reach = rank * (rank + 1) / 2;
            for v in (0..=reach).rev() {
                let with = if rank <= v { mass[v - rank] } else { 0.0 };
                mass[v] = 0.5 * (mass[v] + with);
            }
        }
        let mut sum = 0.0;
        for m in &mut mass {
            sum += *m;
            *m = sum;
        }
        Self::Exact(mass)
    }

    fn at_most(&self, v: f64) -> f64 {
        if v < 0.0 {
            return 0.0;
        }
        match self {
            Self::Exact(cdf) => cdf[(v as usize).min(cdf.len() - 1)].min(1.0),
            Self::Normal { mean, sd, top } => {
                if *top <= v {
                    1.0
                } else {
                    norm_sf((mean - v - 0.5) / sd)
                }
            }
        }
    }

    /// By symmetry about n(n+1)/4.
    fn at_least(&self, v: f64) -> f64 {
        let top = match self {
            Self::Exact(cdf) => (cdf.len() - 1) as f64,
            Self::Normal { top, .. } => *top,
        };
        self.at_most(top - v)
    }

    /// Smallest v with P(V ≤ v) ≥ p.
    fn quantile(&self, p: f64) -> u64 {
        match self {
            Self::Exact(cdf) => cdf.partition_point(|c| *c < p) as u64,
            Self::Normal { mean, sd, .. } => (mean + norm_quantile(p) * sd - 0.5).ceil().max(0.0) as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All Walsh averages by brute force.
    fn brute(d: &[f64]) -> Vec<f64> {
        let mut all: Vec<f64> = (0..d.len())
            .flat_map(|i| (i..d.len()).map(move |j| (i, j)))
            .map(|(i, j)| 0.5 * (d[i] + d[j]))
            .collect();
        all.sort_unstable_by(f64::total_cmp);
        all
    }

    #[test]
    fn counting_finds_what_sorting_finds() {
        let d: Vec<f64> = (0..37).map(|i| f64::from((i * 7919) % 101) / 7.0 - 5.0).collect();
        let walsh = Walsh::new(&d);
        for (i, expected) in brute(&d).into_iter().enumerate() {
            assert_eq!(walsh.ordered(i as u64 + 1, 0), expected, "rank {}", i + 1);
        }
    }

    #[test]
    fn normal_approximation_meets_the_exact_law() {
        let exact = Null::new(EXACT_UP_TO, 1.0);
        let n = EXACT_UP_TO as f64;
        let normal = Null::Normal {
            mean: n * (n + 1.0) / 4.0,
            sd: (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt(),
            top: n * (n + 1.0) / 2.0,
        };
        for p in [0.001, 0.025, 0.05, 0.5] {
            let claimed = exact.at_most(normal.quantile(p) as f64);
            assert!((claimed - p).abs() < 3e-3 * p.sqrt(), "at {p}: {claimed}");
        }
    }

    #[test]
    fn failures_shift_the_interval_and_never_average() {
        let mut d = vec![0.1, -0.05, 0.02, 0.0, 0.03, -0.01, 0.04, 0.05];
        let calm = signed_rank(&d, 0.95).unwrap();
        assert!(calm.interval.low.is_finite() && calm.interval.high.is_finite());
        d.extend([f64::INFINITY; 8]);
        let failing = signed_rank(&d, 0.95).unwrap();
        assert!(failing.interval.low.is_finite());
        assert_eq!(failing.interval.high, f64::INFINITY);
        assert!(failing.p < 0.01, "half of the pairs failed on one side: {}", failing.p);
    }

    #[test]
    fn opposite_failures_cancel() {
        let mut d = vec![f64::INFINITY; 10];
        d.extend([f64::NEG_INFINITY; 10]);
        let result = signed_rank(&d, 0.95).unwrap();
        assert!((result.v - 105.0).abs() < 1e-9 && result.p > 0.99);
        assert_eq!(result.pseudo_median, None);
        assert_eq!(result.interval, Interval::new(f64::NEG_INFINITY, f64::INFINITY));
    }

    #[test]
    fn the_smallest_shift_is_near_that_of_the_t_test_and_grows_with_failures_and_dependence() {
        // normal scores: a sample without luck
        let scores: Vec<f64> = (1..=200).map(|i| 0.2 * norm_quantile((f64::from(i) - 0.5) / 200.0)).collect();
        let shift = |d: &[f64], tau: f64| smallest_detectable_shift(d, 0.01, 0.8, tau).unwrap();
        let calm = shift(&scores, 1.0).unwrap();
        let by_t = super::super::power::smallest_detectable_ratio(0.2, 191, 0.01, 0.8).unwrap().ln();
        assert!((calm / by_t - 1.0).abs() < 0.05, "{calm} against {by_t}");
        let failing: Vec<f64> =
            scores.iter().enumerate().map(|(i, d)| if i % 20 == 0 { f64::INFINITY } else { *d }).collect();
        assert!(calm < shift(&failing, 1.0).unwrap());
        assert!(1.8 * calm < shift(&scores, 4.0).unwrap());
        assert_eq!(shift(&[f64::INFINITY; 20], 1.0), None);
        assert_eq!(shift(&scores[..6], 1.0), None, "six pairs never reach 0.01");
    }

    #[test]
    fn five_pairs_cannot_carry_95_percent() {
        assert!(matches!(signed_rank(&[1.0; 5], 0.95), Err(StatsError::TooFew { needed: 6, have: 5, .. })));
    }
}
