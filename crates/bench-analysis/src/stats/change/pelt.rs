//! PELT: the segmentation with the least squared deviation plus a price for each change, found exactly.

use crate::stats::interval::{StatsError, check_at_least, check_finite};
use crate::stats::trend::median;

/// The cheapest segmentation.
#[derive(Debug, Clone, PartialEq)]
pub struct Segmentation {
    /// first index of each new segment, ascending
    pub changes: Vec<usize>,
    /// sum of squared deviations within segments + penalty · changes
    pub objective: f64,
}

/// Exact minimum over all segmentations with segments of at least `least` values, price `penalty` a change (0 or more).
///
/// # Errors
/// `TooFew` below `least` values, `Infinite`, `NotANumber`; `OutOfRange` penalty.
///
/// # Source
/// Killick, Fearnhead and Eckley 2012; Jackson et al. 2005 for the recursion.
pub fn pelt(x: &[f64], penalty: f64, least: usize) -> Result<Segmentation, StatsError> {
    let least = least.max(1);
    check_finite(x)?;
    check_at_least("a segmentation", x, least)?;
    if penalty.is_nan() || penalty < 0.0 {
        return Err(StatsError::OutOfRange { what: "penalty", range: "0 or more", got: penalty });
    }
    let n = x.len();
    // about the first value, so that squares of large numbers do not cancel
    let origin = x[0];
    let (mut sums, mut squares) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    for (i, v) in x.iter().enumerate() {
        let v = v - origin;
        sums[i + 1] = sums[i] + v;
        squares[i + 1] = squares[i] + v * v;
    }
    let cost = |from: usize, to: usize| {
        let sum = sums[to] - sums[from];
        (squares[to] - squares[from] - sum * sum / (to - from) as f64).max(0.0)
    };
    let mut best = vec![f64::INFINITY; n + 1];
    let mut last = vec![0; n + 1];
    best[0] = -penalty;
    // starts of the last segment that may still win, with the last end at which they may
    let mut starts: Vec<(usize, usize)> = Vec::new();
    for to in least..=n {
        // the newest start from which a whole segment ends here; those between 0 and `least` begin none
        let newest = to - least;
        if best[newest] < f64::INFINITY {
            starts.push((newest, n));
        }
        for &(from, _) in &starts {
            let value = best[from] + cost(from, to) + penalty;
            if value < best[to] {
                best[to] = value;
                last[to] = from;
            }
        }
        // A start that is dearer than the best even without the price of its change never wins once a whole segment fits
        // behind this end.
        for (from, until) in &mut starts {
            if best[to] < best[*from] + cost(*from, to) {
                *until = (*until).min(to + least - 1);
            }
        }
        starts.retain(|&(_, until)| to < until);
    }
    let mut changes = Vec::new();
    let mut at = n;
    while 0 < last[at] {
        at = last[at];
        changes.push(at);
    }
    changes.reverse();
    Ok(Segmentation { changes, objective: best[n] })
}

/// Deviation of the noise that steps in the level do not touch: `median |xᵢ₊₁ − xᵢ| / (0.6745 √2)`.
///
/// The median is about 0, as steps of a stable series are.
///
/// # Errors
/// `TooFew` below two values, `Infinite`, `NotANumber`.
pub fn noise(x: &[f64]) -> Result<f64, StatsError> {
    check_finite(x)?;
    check_at_least("a noise level", x, 2)?;
    let steps: Vec<f64> = x.windows(2).map(|w| (w[1] - w[0]).abs()).collect();
    Ok(median(&steps) / (0.6745 * std::f64::consts::SQRT_2))
}

/// The usual price of a change: `3 s² ln n` with [`noise`].
///
/// # Errors
/// As [`noise`].
pub fn default_penalty(x: &[f64]) -> Result<f64, StatsError> {
    Ok(3.0 * noise(x)?.powi(2) * (x.len() as f64).ln())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_case() {
        let s = pelt(&[1.0, 2.0, 1.0, 2.0, 9.0, 8.0, 9.0, 8.0, 9.0], 4.0, 1).unwrap();
        assert_eq!(s.changes, [4]);
        assert!((s.objective - 6.2).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn pruning_loses_nothing(
            x in prop::collection::vec(-9.0..9.0_f64, 3..40), penalty in 0.0..60.0_f64, least in 1..4_usize,
        ) {
            let deviation = |s: &[f64]| {
                let m = s.iter().sum::<f64>() / s.len() as f64;
                s.iter().map(|v| (v - m).powi(2)).sum::<f64>()
            };
            let mut best = vec![f64::INFINITY; x.len() + 1];
            best[0] = -penalty;
            for to in least..=x.len() {
                for from in 0..=to - least {
                    best[to] = best[to].min(best[from] + deviation(&x[from..to]) + penalty);
                }
            }
            let found = pelt(&x, penalty, least).unwrap();
            prop_assert!((found.objective - best[x.len()]).abs() < 1e-9, "{} {}", found.objective, best[x.len()]);
        }
    }
}
