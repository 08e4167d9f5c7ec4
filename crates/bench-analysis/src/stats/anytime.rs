//! A share under observation: an interval that may be looked at after every request.
//!
//! The beta-binomial mixture martingale of Robbins: by Ville's inequality the chance that the interval *ever* excludes the
//! true share is at most α, so a rule may stop the moment it decides. It supposes exchangeable trials; where bad ones
//! come in clumps (a queue remembers), [`Clumping`] says how many trials are worth one independent one.

use super::distribution::ln_beta;
use super::interval::{Interval, StatsError, check_unit};
use super::order_interval::least;

/// Hits and trials seen so far, with limits that hold at every n at once.
///
/// `{p : B(½+k, ½+n−k)/B(½, ½) < p^k (1−p)^(n−k)/α}`. Observing is O(1), a decision O(1), the limits a bisection.
///
/// # Source
/// Robbins 1970; Howard et al. 2021.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AnytimeProportion {
    hits: u64,
    trials: u64,
    /// ln(1/α)
    limit: f64,
}

impl AnytimeProportion {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// `OutOfRange` for confidence outside (0, 1).
    pub fn new(confidence: f64) -> Result<Self, StatsError> {
        check_unit("confidence", confidence)?;
        Ok(Self { hits: 0, trials: 0, limit: -(1.0 - confidence).ln() })
    }

    /// One trial more.
    pub fn observe(&mut self, hit: bool) {
        self.trials += 1;
        self.hits += u64::from(hit);
    }

    /// Hits so far.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Trials so far.
    pub fn trials(&self) -> u64 {
        self.trials
    }

    /// The limits now; [0, 1] before the first trial.
    pub fn interval(&self) -> Interval {
        self.interval_discounted(1.0)
    }

    /// The limits when `worth` trials (≥ 1) are worth one independent one.
    pub fn interval_discounted(&self, worth: f64) -> Interval {
        let (hits, misses) = self.discounted(worth);
        limits(hits, misses, self.limit)
    }

    /// Whether the whole interval lies above `share`; `worth` as in [`AnytimeProportion::interval_discounted`].
    pub fn above(&self, share: f64, worth: f64) -> bool {
        let (hits, misses) = self.discounted(worth);
        share * (hits + misses) < hits && evidence_against(hits, misses, share) >= self.limit
    }

    /// Whether the whole interval lies below `share`.
    pub fn below(&self, share: f64, worth: f64) -> bool {
        let (hits, misses) = self.discounted(worth);
        hits < share * (hits + misses) && evidence_against(hits, misses, share) >= self.limit
    }

    fn discounted(&self, worth: f64) -> (f64, f64) {
        let worth = worth.max(1.0);
        (self.hits as f64 / worth, (self.trials - self.hits) as f64 / worth)
    }
}

/// Smallest number of trials, all of them hits, whose lower limit lies above `share`: below it nothing can be shown.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1).
pub fn smallest_n_above(share: f64, confidence: f64) -> Result<u64, StatsError> {
    check_unit("share", share)?;
    check_unit("confidence", confidence)?;
    let limit = -(1.0 - confidence).ln();
    let enough = |n: u64| limit <= evidence_against(n as f64, 0.0, share);
    Ok(least(enough))
}

/// ln B(½, ½)
const LN_PI: f64 = 1.144_729_885_849_400_2;

/// ln of the mixture likelihood over that of share `p`: the evidence against `p`. Counts may be fractions.
fn evidence_against(hits: f64, misses: f64, p: f64) -> f64 {
    // B(½, ½) = π
    let mixture = ln_beta(0.5 + hits, 0.5 + misses) - LN_PI;
    mixture - term(hits, p.ln()) - term(misses, (-p).ln_1p())
}

/// `count · ln`, with 0 · −∞ = 0.
fn term(count: f64, ln: f64) -> f64 {
    if count == 0.0 { 0.0 } else { count * ln }
}

/// Both limits at ln(1/α) = `limit`.
pub(super) fn limits(hits: f64, misses: f64, limit: f64) -> Interval {
    let n = hits + misses;
    if n == 0.0 {
        return Interval::new(0.0, 1.0);
    }
    let share = hits / n;
    let excluded = |p: f64| limit <= evidence_against(hits, misses, p);
    let low = if hits == 0.0 { 0.0 } else { boundary(0.0, share, &excluded) };
    let high = if misses == 0.0 { 1.0 } else { boundary(1.0, share, &excluded) };
    Interval::new(low, high)
}

/// Where a predicate true at `outside` turns false on the way to `inside`.
fn boundary(mut outside: f64, mut inside: f64, excluded: &impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (outside + inside);
        if middle == outside || middle == inside {
            break;
        }
        if excluded(middle) {
            outside = middle;
        } else {
            inside = middle;
        }
    }
    inside
}

/// How much a sequence of yes and no clumps, kept in O(1): lag-1 autocorrelation and what it makes of n.
///
/// `τ = (1 + r₁)/(1 − r₁)`, exact for a two-state Markov chain, at least 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Clumping {
    n: u64,
    ones: u64,
    /// neighbours that are both 1
    pairs: u64,
    first: bool,
    last: bool,
}

impl Clumping {
    /// The next value in order of time.
    pub fn observe(&mut self, one: bool) {
        if self.n == 0 {
            self.first = one;
        } else {
            self.pairs += u64::from(one && self.last);
        }
        self.n += 1;
        self.ones += u64::from(one);
        self.last = one;
    }

    /// Trials worth one independent one, at least 1; 1 where nothing varies.
    pub fn worth(&self) -> f64 {
        if self.ones == 0 || self.ones == self.n || self.n < 3 {
            return 1.0;
        }
        let n = self.n as f64;
        let mean = self.ones as f64 / n;
        // Σ (xᵢ−m)(xᵢ₊₁−m) over n−1 neighbours, from counts
        let heads = (self.ones - u64::from(self.last)) as f64;
        let tails = (self.ones - u64::from(self.first)) as f64;
        let products = self.pairs as f64 - mean * (heads + tails) + (n - 1.0) * mean * mean;
        let r = (products / (n * mean * (1.0 - mean))).clamp(0.0, 0.999);
        (1.0 + r) / (1.0 - r)
    }
}

#[cfg(test)]
mod tests {
    use super::super::proportion::anytime;
    use super::*;
    use proptest::prelude::*;

    fn fed(outcomes: &[bool], confidence: f64) -> AnytimeProportion {
        let mut a = AnytimeProportion::new(confidence).unwrap();
        for o in outcomes {
            a.observe(*o);
        }
        a
    }

    proptest! {
        #[test]
        fn one_by_one_equals_at_once(outcomes in prop::collection::vec(any::<bool>(), 1..400), c in 0.5..0.999_f64) {
            let a = fed(&outcomes, c);
            let interval = a.interval();
            prop_assert_eq!(interval, anytime(a.hits(), a.trials(), c).unwrap());
            let share = a.hits() as f64 / a.trials() as f64;
            prop_assert!(interval.low <= share && share <= interval.high);
        }

        #[test]
        fn decisions_agree_with_the_limits(hits in 0_u64..500, misses in 0_u64..500, p in 0.01..0.99_f64, worth in 1.0..9.0_f64) {
            prop_assume!(0 < hits + misses);
            let a = AnytimeProportion { hits, trials: hits + misses, limit: 3.0 };
            let i = a.interval_discounted(worth);
            // the limits come from a bisection: leave out what lies within its reach
            prop_assume!((i.low - p).abs() > 1e-9 && (i.high - p).abs() > 1e-9);
            prop_assert_eq!(a.above(p, worth), p < i.low);
            prop_assert_eq!(a.below(p, worth), i.high < p);
        }

        #[test]
        fn less_worth_is_never_narrower(hits in 0_u64..2000, misses in 0_u64..200, worth in 1.0..20.0_f64) {
            prop_assume!(0 < hits + misses);
            let a = AnytimeProportion { hits, trials: hits + misses, limit: 4.0 };
            let (all, few) = (a.interval(), a.interval_discounted(worth));
            prop_assert!(few.low <= all.low + 1e-9 && all.high <= few.high + 1e-9, "{all:?} {few:?}");
        }
    }

    #[test]
    fn far_counts_stay_sound() {
        let a = AnytimeProportion { hits: 9_990_000_000, trials: 10_000_000_000, limit: 20.0_f64.ln() };
        let i = a.interval();
        assert!(0.99899 < i.low && i.low < 0.999 && 0.999 < i.high && i.high < 0.99901, "{i:?}");
    }

    #[test]
    fn all_good_needs_this_many() {
        let n = smallest_n_above(0.986, 0.9975).unwrap();
        let all = |n| AnytimeProportion { hits: n, trials: n, limit: -(0.0025_f64).ln() };
        assert!(all(n).above(0.986, 1.0) && !all(n - 1).above(0.986, 1.0), "{n}");
    }

    #[test]
    fn clumps_are_seen_and_alternation_is_not_rewarded() {
        let worth = |f: &dyn Fn(u32) -> bool| {
            let mut c = Clumping::default();
            (0..10_000).for_each(|i| c.observe(f(i)));
            c.worth()
        };
        assert_eq!(worth(&|i| i % 2 == 0), 1.0);
        assert_eq!(worth(&|_| true), 1.0);
        // runs of ten: r₁ = 0.8, τ = 9
        assert!((worth(&|i| i / 10 % 2 == 0) - 9.0).abs() < 0.1);
    }
}
