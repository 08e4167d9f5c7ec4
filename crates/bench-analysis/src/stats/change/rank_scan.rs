//! The rank scan: where do the ranks of a series split most unevenly, and could chance have done it?
//!
//! The best split is a maximum over all splits, so its p comes from permutations of the whole search, never from the law of
//! one split (that is how Student's t at the best split flags 20 % of stable histories). By ranks one wild run decides
//! nothing, and without ties the null law depends on the number of runs alone.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::stats::interval::{StatsError, check_at_least, check_unit};
use crate::stats::summary::midranks;

/// Fewest values on either side of a split.
pub const SEGMENT_MIN: usize = 3;
/// Permutations behind a p: it is known to 1/10000.
pub const RESAMPLES: u64 = 9999;
/// Permutations that reach the data's statistic before the drawing stops: their share is then known to 4 %.
const ENOUGH: u64 = 600;

/// The most uneven split of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Split {
    /// index of the first value after it
    pub at: usize,
    /// standardised rank sum of the values before: negative where they are lower
    pub z: f64,
}

/// The most uneven split with its p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SplitTest {
    /// the split
    pub split: Split,
    /// p of "the order of the values is chance", over the whole search
    pub p: f64,
    /// permutations drawn
    pub resamples: u64,
}

/// `z_k` for every split k = `least` ..= n − `least`.
///
/// `z_k = (S_k − k(n+1)/2) / √(k(n−k)/12 · ((n+1) − Σ(t³−t)/(n(n−1))))`, `S_k` = sum of the first k midranks. All 0 when all
/// values are equal. `+∞` (a run without a single success) ranks like any value.
///
/// # Errors
/// `NotANumber`; `TooFew` below `2 · least` values or below two.
pub fn statistics(x: &[f64], least: usize) -> Result<Vec<f64>, StatsError> {
    let (ranks, ties) = ranked(x, least)?;
    let scale = scales(x.len(), ties, least);
    let mut all = Vec::with_capacity(scale.len());
    walk(&ranks, &scale, least, |_, z| all.push(z));
    Ok(all)
}

/// The split with the largest |z|, the first of equals.
///
/// # Errors
/// As [`statistics`].
pub fn scan(x: &[f64], least: usize) -> Result<Split, StatsError> {
    let (ranks, ties) = ranked(x, least)?;
    Ok(best(&ranks, &scales(x.len(), ties, least), least))
}

/// Test of "no change": p of the largest |z| over seeded permutations of the values.
///
/// `p = (b+1)/(B+1)` with b of B permutations at least as extreme; once 600 of them are, the drawing stops and
/// `p = 600/drawn`, so that stable series cost little.
///
/// # Errors
/// As [`statistics`].
///
/// # Source
/// Pettitt 1979 (the scan); Besag and Clifford 1991 (stopping).
pub fn test(x: &[f64], least: usize, resamples: u64, seed: u64) -> Result<SplitTest, StatsError> {
    let (mut ranks, ties) = ranked(x, least)?;
    let scale = scales(x.len(), ties, least);
    let split = best(&ranks, &scale, least);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // equal up to rounding is as extreme
    let limit = split.z.abs() * (1.0 - 1e-12);
    let (mut reached, mut drawn) = (0, 0);
    while drawn < resamples && reached < ENOUGH {
        shuffle(&mut ranks, &mut rng);
        reached += u64::from(reaches(&ranks, &scale, least, limit));
        drawn += 1;
    }
    let p = if reached < ENOUGH {
        (reached + 1) as f64 / (drawn + 1) as f64
    } else {
        reached as f64 / drawn as f64
    };
    Ok(SplitTest { split, p: p.min(1.0), resamples: drawn })
}

/// The |z| that the largest of a series of `n` different values exceeds with probability `alpha` if nothing changes.
///
/// # Errors
/// `TooFew`, `OutOfRange` for alpha outside (0, 1).
pub fn critical(n: usize, least: usize, alpha: f64, resamples: u64, seed: u64) -> Result<f64, StatsError> {
    check_unit("alpha", alpha)?;
    let values: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let (mut ranks, ties) = ranked(&values, least)?;
    let scale = scales(n, ties, least);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut law: Vec<f64> = (0..resamples.max(1))
        .map(|_| {
            shuffle(&mut ranks, &mut rng);
            best(&ranks, &scale, least).z.abs()
        })
        .collect();
    law.sort_unstable_by(f64::total_cmp);
    Ok(law[(((1.0 - alpha) * law.len() as f64) as usize).min(law.len() - 1)])
}

/// Midranks less their mean, and the sum of ties.
fn ranked(x: &[f64], least: usize) -> Result<(Vec<f64>, f64), StatsError> {
    if let Some(position) = x.iter().position(|v| v.is_nan()) {
        return Err(StatsError::NotANumber { position });
    }
    check_at_least("a scan for a change", x, (2 * least).max(2))?;
    let (mut ranks, ties) = midranks(x);
    let centre = 0.5 * (x.len() as f64 + 1.0);
    for rank in &mut ranks {
        *rank -= centre;
    }
    Ok((ranks, ties))
}

/// One over the deviation of each centred rank sum; 0 when all values are equal.
fn scales(n: usize, ties: f64, least: usize) -> Vec<f64> {
    let size = n as f64;
    let spread = (size + 1.0) - ties / (size * (size - 1.0));
    (least.max(1)..=n - least.max(1))
        .map(|k| {
            let variance = k as f64 * (n - k) as f64 / 12.0 * spread;
            if 1e-9 < variance { variance.sqrt().recip() } else { 0.0 }
        })
        .collect()
}

fn walk(ranks: &[f64], scale: &[f64], least: usize, mut each: impl FnMut(usize, f64)) {
    let least = least.max(1);
    let mut sum: f64 = ranks[..least - 1].iter().sum();
    for (i, s) in scale.iter().enumerate() {
        sum += ranks[least - 1 + i];
        each(least + i, sum * s);
    }
}

fn best(ranks: &[f64], scale: &[f64], least: usize) -> Split {
    let mut found = Split { at: least.max(1), z: 0.0 };
    walk(ranks, scale, least, |at, z| {
        if found.z.abs() < z.abs() {
            found = Split { at, z };
        }
    });
    found
}

fn reaches(ranks: &[f64], scale: &[f64], least: usize, limit: f64) -> bool {
    let least = least.max(1);
    let mut sum: f64 = ranks[..least - 1].iter().sum();
    scale.iter().zip(&ranks[least - 1..]).any(|(s, r)| {
        sum += r;
        limit <= (sum * s).abs()
    })
}

pub(super) fn shuffle(values: &mut [f64], rng: &mut ChaCha8Rng) {
    for i in (1..values.len()).rev() {
        values.swap(i, rng.random_range(0..=i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_case() {
        let split = scan(&[1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 5.0, 5.0], SEGMENT_MIN).unwrap();
        assert_eq!(split.at, 4);
        assert!((split.z + 7.0_f64.sqrt()).abs() < 1e-12, "{split:?}");
    }

    #[test]
    fn equal_values_and_too_few() {
        let flat = test(&[3.0; 12], SEGMENT_MIN, 999, 1).unwrap();
        assert_eq!((flat.split.z, flat.p), (0.0, 1.0));
        assert!(matches!(scan(&[1.0; 5], SEGMENT_MIN), Err(StatsError::TooFew { needed: 6, have: 5, .. })));
        assert!(matches!(scan(&[f64::NAN; 9], SEGMENT_MIN), Err(StatsError::NotANumber { position: 0 })));
    }

    /// Six different values: 720 orders, so the permutation p can be held against all of them.
    #[test]
    fn p_is_that_of_the_enumeration() {
        let x = [1.0, 2.0, 3.0, 5.0, 6.0, 4.0];
        let mut orders = vec![vec![]];
        for _ in 0..6 {
            orders = orders
                .into_iter()
                .flat_map(|o: Vec<usize>| {
                    (0..6)
                        .filter(|i| !o.contains(i))
                        .map(|i| [o.clone(), vec![i]].concat())
                        .collect::<Vec<_>>()
                })
                .collect();
        }
        let limit = scan(&x, 2).unwrap().z.abs() - 1e-9;
        let extreme = orders
            .iter()
            .filter(|o| limit <= scan(&o.iter().map(|i| x[*i]).collect::<Vec<_>>(), 2).unwrap().z.abs())
            .count();
        let exact = extreme as f64 / 720.0;
        let p = test(&x, 2, RESAMPLES, 7).unwrap().p;
        assert!((p - exact).abs() < 0.12 * exact, "{p} against {exact}");
    }
}
