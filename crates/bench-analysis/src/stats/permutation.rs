//! Permutation tests of any difference between two independent samples: exact for small ones, seeded otherwise.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::interval::{StatsError, check_finite};

/// Largest number of relabelings that [`exact`] enumerates.
const MOST_RELABELINGS: u64 = 2_000_000;

/// Count of relabelings at least as extreme as the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Permutation {
    /// `statistic(x) − statistic(y)` of the data
    pub observed: f64,
    /// relabelings with |difference| ≥ |observed|; the data's own included in the exact test
    pub count: u64,
    /// relabelings looked at
    pub total: u64,
    /// p-value: `count/total`, or `(count + 1)/(total + 1)` for the seeded test
    pub p: f64,
}

/// Exact two-sided test: every way to split the pooled values into groups of the same sizes.
///
/// # Errors
/// `OutOfRange` above two million relabelings: use [`seeded`]; `Empty`, `NotANumber`, `Infinite`.
pub fn exact(x: &[f64], y: &[f64], statistic: impl Fn(&[f64]) -> f64) -> Result<Permutation, StatsError> {
    check_finite(x)?;
    check_finite(y)?;
    let (k, n) = (x.len(), x.len() + y.len());
    let total = (1..=k as u64).try_fold(1_u64, |c, i| c.checked_mul(n as u64 - k as u64 + i).map(|v| v / i));
    let total = total.filter(|t| *t <= MOST_RELABELINGS).ok_or(StatsError::OutOfRange {
        what: "number of values",
        range: "small enough to enumerate (two million relabelings)",
        got: n as f64,
    })?;
    let pool: Vec<f64> = x.iter().chain(y).copied().collect();
    let observed = statistic(x) - statistic(y);
    let mut chosen: Vec<usize> = (0..k).collect();
    let (mut first, mut second) = (vec![0.0; k], vec![0.0; n - k]);
    let mut count = 0;
    loop {
        let (mut a, mut b) = (0, 0);
        for (i, v) in pool.iter().enumerate() {
            if a < k && chosen[a] == i {
                first[a] = *v;
                a += 1;
            } else {
                second[b] = *v;
                b += 1;
            }
        }
        count += u64::from(observed.abs() - 1e-9 <= (statistic(&first) - statistic(&second)).abs());
        // next combination in lexicographic order
        let Some(i) = (0..k).rev().find(|&i| chosen[i] < n - k + i) else { break };
        chosen[i] += 1;
        for j in i + 1..k {
            chosen[j] = chosen[j - 1] + 1;
        }
    }
    Ok(Permutation { observed, count, total, p: count as f64 / total as f64 })
}

/// Seeded two-sided test with `resamples` random relabelings: `p = (b+1)/(B+1)`, never 0.
///
/// # Errors
/// `Empty`, `NotANumber`, `Infinite`.
pub fn seeded(
    x: &[f64],
    y: &[f64],
    statistic: impl Fn(&[f64]) -> f64,
    resamples: u64,
    seed: u64,
) -> Result<Permutation, StatsError> {
    check_finite(x)?;
    check_finite(y)?;
    let mut pool: Vec<f64> = x.iter().chain(y).copied().collect();
    let observed = statistic(x) - statistic(y);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut count = 0;
    for _ in 0..resamples {
        // a partial Fisher–Yates shuffle draws the first group
        for i in 0..x.len() {
            let j = rng.random_range(i..pool.len());
            pool.swap(i, j);
        }
        let (first, second) = pool.split_at(x.len());
        count += u64::from(observed.abs() - 1e-9 <= (statistic(first) - statistic(second)).abs());
    }
    Ok(Permutation { observed, count, total: resamples, p: (count + 1) as f64 / (resamples + 1) as f64 })
}
