//! Where a run stops warming up: MSER-5.
//!
//! Cuts the transient at the front of one series; whether what is left is steady is asked in [`super::steady`].

use super::interval::{StatsError, check_at_least, check_finite};
use super::summary::{compensated_sum, mean};

/// Values in one batch.
pub const BATCH: usize = 5;

/// The cut that leaves the mean of the rest known best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WarmupCut {
    /// whole batches of five in the series
    pub batches: usize,
    /// batches to leave out
    pub cut_batches: usize,
    /// values to leave out: five for each batch
    pub cut: usize,
    /// squared standard error of the mean after the cut
    pub z: f64,
    /// the same without a cut
    pub z_uncut: f64,
    /// false when the best cut lies at half the series, the furthest looked at: no steady state, the run is too short
    pub reached: bool,
}

/// MSER-5 of values in time order, n ≥ 20: the warm-up that minimises the squared standard error of what is left.
///
/// Batch means `y_j` of five; `z(d) = Σ_{j>d} (y_j − ȳ_d)² / (k−d)²` for d in 0..=⌊k/2⌋, cut at the first minimum. Values
/// after the last whole batch take no part.
///
/// # Errors
/// `TooFew` below four batches, `Infinite` (give failed requests the time they took), `NotANumber`.
///
/// # Source
/// White 1997; Spratt 1998.
pub fn mser5(x: &[f64]) -> Result<WarmupCut, StatsError> {
    check_finite(x)?;
    check_at_least("a warm-up cut", x, 4 * BATCH)?;
    let batches: Vec<f64> = x.chunks_exact(BATCH).map(mean).collect();
    let k = batches.len();
    // sums from the end, about one origin: O(k) for all cuts
    let origin = mean(&batches[k / 2..]);
    let (mut sum, mut squares) = (0.0, 0.0);
    let mut z = vec![f64::INFINITY; k / 2 + 1];
    for d in (0..k).rev() {
        let y = batches[d] - origin;
        sum += y;
        squares += y * y;
        if d <= k / 2 {
            let left = (k - d) as f64;
            z[d] = (squares - sum * sum / left).max(0.0) / (left * left);
        }
    }
    // cancellation may blur neighbours of the minimum: the candidates are computed again in two passes
    let least = z.iter().copied().fold(f64::INFINITY, f64::min);
    let scale = squares / (k * k) as f64;
    let exact = |d: usize| {
        let rest = &batches[d..];
        let m = mean(rest);
        compensated_sum(rest.iter().map(|y| (y - m) * (y - m))) / (rest.len() * rest.len()) as f64
    };
    let mut best = (0, f64::INFINITY);
    for (d, rough) in z.iter().enumerate() {
        if *rough <= least + 1e-9 * scale {
            let value = exact(d);
            if value < best.1 {
                best = (d, value);
            }
        }
    }
    let (cut_batches, z) = best;
    Ok(WarmupCut {
        batches: k,
        cut_batches,
        cut: BATCH * cut_batches,
        z,
        z_uncut: exact(0),
        reached: cut_batches < k / 2,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_case() {
        let mut x = vec![50.0, 40.0, 30.0, 20.0, 15.0];
        (0..5).for_each(|_| x.extend([10.0, 11.0, 9.0, 10.0, 10.0]));
        let cut = mser5(&x).unwrap();
        assert_eq!((cut.batches, cut.cut_batches, cut.cut, cut.reached), (6, 1, 5, true));
        assert!(cut.z < 1e-25);
    }

    #[test]
    fn a_series_that_only_rises_has_no_steady_state() {
        let x: Vec<f64> = (0..200).map(f64::from).collect();
        assert!(!mser5(&x).unwrap().reached);
    }

    proptest! {
        /// The fast sums find the same cut as the definition, computed directly.
        #[test]
        fn equals_the_definition(x in prop::collection::vec(0.0..1000.0_f64, 20..300), shift in -1e6..1e6_f64) {
            let x: Vec<f64> = x.iter().map(|v| v + shift).collect();
            let cut = mser5(&x).unwrap();
            let y: Vec<f64> = x.chunks_exact(5).map(mean).collect();
            let z = |d: usize| {
                let m = mean(&y[d..]);
                y[d..].iter().map(|v| (v - m).powi(2)).sum::<f64>() / ((y.len() - d) as f64).powi(2)
            };
            let least = (0..=y.len() / 2).map(z).fold(f64::INFINITY, f64::min);
            prop_assert!(cut.z <= least * (1.0 + 1e-6) + 1e-12, "{} {}", cut.z, least);
        }
    }
}
