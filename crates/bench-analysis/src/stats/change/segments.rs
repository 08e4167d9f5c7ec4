//! All changes of level: the rank scan on the whole series, then on both halves, and by how much the level moved.

use super::pelt::noise;
use super::rank_scan::{self, RESAMPLES, SEGMENT_MIN};
use crate::stats::interval::{Interval, StatsError, check_finite, check_unit};
use crate::stats::trend::median;
use crate::stats::two_sample::hodges_lehmann;

/// Up to this many differences are sorted for a shift; beyond, they are counted.
const SORTED_PAIRS: usize = 20_000;

/// What counts as a change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rule {
    /// a split counts below this p
    pub alpha: f64,
    /// smallest |shift| between neighbouring segments, unit of the values (logs: `ln 1.05` for 5 %)
    pub shift_min: f64,
    /// smallest |shift| in deviations of the noise (of single values, from differences of neighbours)
    pub noise_min: f64,
    /// fewest values on either side
    pub least: usize,
    /// permutations behind each p
    pub resamples: u64,
    /// their seed
    pub seed: u64,
}

impl Rule {
    /// p < 0.01, one deviation of the noise and `shift_min`, three values a side, 9999 permutations.
    pub fn new(shift_min: f64, seed: u64) -> Self {
        Self { alpha: 0.01, shift_min, noise_min: 1.0, least: SEGMENT_MIN, resamples: RESAMPLES, seed }
    }
}

/// One change of level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// index of the first value of the new level
    pub at: usize,
    /// standardised rank sum of the values before, in the stretch in which the split was found: negative where they rise
    pub z: f64,
    /// permutation p of that split over the whole search
    pub p: f64,
}

/// By how much a level moved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shift {
    /// Hodges–Lehmann: median of all differences after − before
    pub value: f64,
    /// its exact interval; `None` when the segments are too short for the confidence
    pub interval: Option<Interval>,
}

/// Hodges–Lehmann shift from `before` to `after`, finite values.
///
/// # Errors
/// `Empty`, `NotANumber`, `Infinite`.
pub fn shift_value(before: &[f64], after: &[f64]) -> Result<f64, StatsError> {
    if SORTED_PAIRS < before.len() * after.len() {
        return Ok(hodges_lehmann(after, before, 0.95)?.shift);
    }
    for side in [before, after] {
        check_finite(side)?;
    }
    let all: Vec<f64> = after.iter().flat_map(|a| before.iter().map(move |b| a - b)).collect();
    Ok(median(&all))
}

/// [`shift_value`] with its exact interval at `confidence`.
///
/// # Errors
/// As [`shift_value`]; `OutOfRange` confidence.
pub fn shift(before: &[f64], after: &[f64], confidence: f64) -> Result<Shift, StatsError> {
    check_unit("confidence", confidence)?;
    let value = shift_value(before, after)?;
    let interval = match hodges_lehmann(after, before, confidence) {
        Ok(s) => Some(s.interval),
        Err(StatsError::TooFew { .. }) => None,
        Err(e) => return Err(e),
    };
    Ok(Shift { value, interval })
}

/// Changes of level in order of place: split where ranks are most uneven if p and noise allow, then both halves likewise; at the
/// end changes smaller than `shift_min` are taken out ([`prune`]). None in a series too short to be split.
///
/// # Errors
/// `Infinite`, `NotANumber`; `OutOfRange` for alpha outside (0, 1).
pub fn changes(x: &[f64], rule: &Rule) -> Result<Vec<Change>, StatsError> {
    check_unit("alpha", rule.alpha)?;
    check_finite(x)?;
    let mut found = Vec::new();
    split(x, 0, rule, &mut found)?;
    prune(x, &mut found, rule.shift_min)?;
    Ok(found)
}

/// Takes out the change with the smallest shift between its segments until none is below `shift_min`.
///
/// # Errors
/// As [`shift_value`].
pub fn prune(x: &[f64], changes: &mut Vec<Change>, shift_min: f64) -> Result<(), StatsError> {
    loop {
        let mut smallest: Option<(usize, f64)> = None;
        for i in 0..changes.len() {
            let (before, after) = neighbours(x, changes, i);
            let size = shift_value(before, after)?.abs();
            if size < shift_min && smallest.is_none_or(|(_, s)| size < s) {
                smallest = Some((i, size));
            }
        }
        match smallest {
            Some((i, _)) => changes.remove(i),
            None => return Ok(()),
        };
    }
}

/// The segments on both sides of the i-th change.
pub fn neighbours<'x>(x: &'x [f64], changes: &[Change], i: usize) -> (&'x [f64], &'x [f64]) {
    let from = if i == 0 { 0 } else { changes[i - 1].at };
    let to = changes.get(i + 1).map_or(x.len(), |c| c.at);
    (&x[from..changes[i].at], &x[changes[i].at..to])
}

fn split(x: &[f64], offset: usize, rule: &Rule, found: &mut Vec<Change>) -> Result<(), StatsError> {
    if x.len() < 2 * rule.least.max(1) {
        return Ok(());
    }
    let test = rank_scan::test(x, rule.least, rule.resamples, rule.seed)?;
    if rule.alpha <= test.p {
        return Ok(());
    }
    let (before, after) = x.split_at(test.split.at);
    let size = shift_value(before, after)?.abs();
    if size < rule.noise_min * noise(x)? {
        return Ok(());
    }
    split(before, offset, rule, found)?;
    found.push(Change { at: offset + test.split.at, z: test.split.z, p: test.p });
    split(after, offset + test.split.at, rule, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noisy(i: usize) -> f64 {
        ((i * 7919) % 101) as f64 / 101.0 - 0.5
    }

    #[test]
    fn two_steps_are_found_in_order_with_their_size() {
        let x: Vec<f64> = (0..90)
            .map(|i| {
                noisy(i)
                    + if i < 30 {
                        0.0
                    } else if i < 60 {
                        2.0
                    } else {
                        -1.0
                    }
            })
            .collect();
        let found = changes(&x, &Rule::new(0.5, 1)).unwrap();
        assert_eq!(found.iter().map(|c| c.at).collect::<Vec<_>>(), [30, 60]);
        let (before, after) = neighbours(&x, &found, 1);
        let moved = shift(before, after, 0.95).unwrap();
        assert!(
            (moved.value + 3.0).abs() < 0.2 && moved.interval.unwrap().contains(moved.value),
            "{moved:?}"
        );
        assert!(changes(&x, &Rule::new(4.0, 1)).unwrap().is_empty(), "smaller than asked for");
    }

    #[test]
    fn short_sides_have_a_shift_without_an_interval() {
        let s = shift(&[1.0, 2.0, 3.0], &[5.0, 6.0, 7.0], 0.95).unwrap();
        assert_eq!((s.value, s.interval), (4.0, None));
        assert!(shift(&[1.0], &[f64::INFINITY], 0.95).is_err());
        assert!(changes(&[1.0, 2.0], &Rule::new(0.0, 1)).unwrap().is_empty());
    }
}
