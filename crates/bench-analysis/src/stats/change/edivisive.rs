//! The energy statistic of E-divisive: sees a change of shape as well as of level, at n² a scan.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::rank_scan::shuffle;
use crate::stats::interval::{StatsError, check_at_least, check_finite};

/// Most values of a scan: its cost grows with their square.
pub const VALUES_MAX: usize = 2000;
/// Permutations that reach the data's statistic before the drawing stops.
const ENOUGH: u64 = 60;

/// The split with the largest energy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergySplit {
    /// index of the first value after it
    pub at: usize,
    /// the statistic
    pub q: f64,
}

/// `Q = nm/(n+m) · (2/(nm) Σ|xᵢ−yⱼ| − mean_(i<j)|xᵢ−xⱼ| − mean_(i<j)|yᵢ−yⱼ|)` between two samples, two values a side.
///
/// # Errors
/// `TooFew`, `Infinite`, `NotANumber`.
///
/// # Source
/// Matteson and James 2014, α = 1.
pub fn energy(x: &[f64], y: &[f64]) -> Result<f64, StatsError> {
    for side in [x, y] {
        check_finite(side)?;
        check_at_least("an energy statistic", side, 2)?;
    }
    let within =
        |s: &[f64]| (0..s.len()).map(|i| (0..i).map(|j| (s[i] - s[j]).abs()).sum::<f64>()).sum::<f64>();
    let between = x.iter().map(|a| y.iter().map(|b| (a - b).abs()).sum::<f64>()).sum::<f64>();
    Ok(statistic(x.len(), y.len(), within(x), within(y), between))
}

fn statistic(n: usize, m: usize, within_x: f64, within_y: f64, between: f64) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let pairs = |k: f64| 0.5 * k * (k - 1.0);
    n * m / (n + m) * (2.0 * between / (n * m) - within_x / pairs(n) - within_y / pairs(m))
}

/// The best split `least` ..= n − `least`, both parts running to the ends. O(n²).
///
/// # Errors
/// `TooFew` below `2 · least` values (`least` two or more), `OutOfRange` above [`VALUES_MAX`], `Infinite`, `NotANumber`.
pub fn scan(x: &[f64], least: usize) -> Result<EnergySplit, StatsError> {
    let least = least.max(2);
    check_finite(x)?;
    check_at_least("an energy scan", x, 2 * least)?;
    if VALUES_MAX < x.len() {
        return Err(StatsError::OutOfRange {
            what: "number of values for an energy scan",
            range: "at most 2000: take the runs about the candidate",
            got: x.len() as f64,
        });
    }
    Ok(best(x, least))
}

fn best(x: &[f64], least: usize) -> EnergySplit {
    let n = x.len();
    // distances to all values before and to all after, in one pass over the pairs
    let (mut before, mut after) = (vec![0.0; n], vec![0.0; n]);
    for i in 1..n {
        let mut sum = 0.0;
        for j in 0..i {
            let d = (x[i] - x[j]).abs();
            sum += d;
            after[j] += d;
        }
        before[i] = sum;
    }
    let mut found = EnergySplit { at: least, q: f64::NEG_INFINITY };
    let (mut left, mut right, mut between) = (0.0, after.iter().sum::<f64>(), 0.0);
    for at in 1..=n - least {
        // the value at − 1 changes sides
        left += before[at - 1];
        right -= after[at - 1];
        between += after[at - 1] - before[at - 1];
        if least <= at {
            let q = statistic(at, n - at, left, right, between);
            if found.q < q {
                found = EnergySplit { at, q };
            }
        }
    }
    found
}

/// The best split with its permutation p, drawn as in [`super::rank_scan::test`] (stopped after 60).
///
/// # Errors
/// As [`scan`].
pub fn test(x: &[f64], least: usize, resamples: u64, seed: u64) -> Result<(EnergySplit, f64), StatsError> {
    let least = least.max(2);
    let found = scan(x, least)?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut values = x.to_vec();
    let limit = found.q - 1e-12 * found.q.abs();
    let (mut reached, mut drawn) = (0_u64, 0_u64);
    while drawn < resamples && reached < ENOUGH {
        shuffle(&mut values, &mut rng);
        reached += u64::from(limit <= best(&values, least).q);
        drawn += 1;
    }
    let p = if reached < ENOUGH {
        (reached + 1) as f64 / (drawn + 1) as f64
    } else {
        reached as f64 / drawn as f64
    };
    Ok((found, p.min(1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_value_and_the_sums_of_the_scan() {
        assert!((energy(&[1.0; 4], &[5.0; 4]).unwrap() - 16.0).abs() < 1e-12);
        let x: Vec<f64> =
            (0..40).map(|i| f64::from((i * 7919) % 101) + if i < 23 { 0.0 } else { 60.0 }).collect();
        let found = scan(&x, 2).unwrap();
        let direct = (2..=38).map(|at| energy(&x[..at], &x[at..]).unwrap()).fold(f64::NEG_INFINITY, f64::max);
        assert!((found.q - direct).abs() < 1e-9 * direct, "{found:?} against {direct}");
        assert!(found.at.abs_diff(23) <= 2, "{found:?}");
    }

    #[test]
    fn a_change_of_spread_alone_is_seen() {
        let x: Vec<f64> =
            (0..80).map(|i| f64::from((i * 37) % 19 - 9) * if i < 40 { 1.0 } else { 8.0 }).collect();
        let (found, p) = test(&x, 3, 999, 1).unwrap();
        assert!(p <= 0.002 && found.at.abs_diff(40) <= 4, "{found:?} p {p}");
    }

    #[test]
    fn too_many_values_are_refused() {
        assert!(matches!(scan(&vec![0.0; 2001], 3), Err(StatsError::OutOfRange { .. })));
        assert!(matches!(scan(&[1.0; 5], 3), Err(StatsError::TooFew { needed: 6, .. })));
    }
}
