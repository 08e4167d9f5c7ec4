//! The memory of a series: lag-1 autocorrelation of what is left after its levels, and the series without it.
//!
//! A drifting environment makes neighbouring runs alike, and a test for independent values then sees changes where there are
//! none (AR(1) 0.5: 47 % instead of 5 %).

use crate::stats::interval::{StatsError, check_at_least, check_finite};
use crate::stats::trend::median;

/// Residuals beyond this many robust deviations count as that many: one wild run is no memory.
const WINSOR: f64 = 3.0;
/// Fewest values for an estimate of the memory.
const LEAST: usize = 8;

/// Lag-1 autocorrelation of the values about the median of their segment, less its bias.
///
/// `levels`: change points (first index of each new segment, ascending); none means one level. Residuals are cut at three
/// robust deviations. Estimating m levels from n values pulls the coefficient down by about `(m + (2 + m)φ)/n`
/// (Marriott and Pope 1954, Kendall 1954 for m = 1: `(1 + 3φ)/n`); that is added back, up to 1.
///
/// 0 where nothing varies.
///
/// # Errors
/// `Infinite`, `NotANumber`; `TooFew` below eight values.
pub fn memory(x: &[f64], levels: &[usize]) -> Result<f64, StatsError> {
    check_finite(x)?;
    check_at_least("the memory of a series", x, LEAST)?;
    let mut rest = Vec::with_capacity(x.len());
    let mut segments = 0.0;
    let mut start = 0;
    for end in levels.iter().copied().chain([x.len()]) {
        let Some(segment) = x.get(start..end).filter(|s| !s.is_empty()) else { continue };
        let level = median(segment);
        rest.extend(segment.iter().map(|v| v - level));
        segments += 1.0;
        start = end;
    }
    let spread = median(&rest.iter().map(|r| r.abs()).collect::<Vec<f64>>()) / 0.6745;
    if 0.0 < spread {
        for r in &mut rest {
            *r = r.clamp(-WINSOR * spread, WINSOR * spread);
        }
    }
    let squares: f64 = rest.iter().map(|r| r * r).sum();
    if squares == 0.0 {
        return Ok(0.0);
    }
    let n = x.len() as f64;
    let phi = rest.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / squares;
    let corrected = (n * phi + segments) / (n - 2.0 - segments).max(1.0);
    Ok(corrected.clamp(-1.0, 1.0))
}

/// `x_t − φ x_(t−1)`: one value less; a change at index k of the result is one at k + 1 of the series.
pub fn prewhiten(x: &[f64], phi: f64) -> Vec<f64> {
    x.windows(2).map(|w| w[1] - phi * w[0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    fn ar(phi: f64, n: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut at = 0.0;
        (0..n + 50)
            .map(|_| {
                let fresh: f64 = StandardNormal.sample(&mut rng);
                at = phi * at + fresh;
                at
            })
            .skip(50)
            .collect()
    }

    #[test]
    fn memory_is_found_without_bias() {
        for phi in [0.0, 0.3, 0.5, 0.7] {
            let average = (0..400).map(|s| memory(&ar(phi, 50, s), &[]).unwrap()).sum::<f64>() / 400.0;
            // medians and the cut at three deviations cost a little
            assert!((average - phi).abs() < 0.05, "phi {phi}: {average}");
        }
    }

    #[test]
    fn levels_and_wild_values_are_no_memory() {
        let mut x = ar(0.0, 60, 3);
        for v in &mut x[30..] {
            *v += 8.0;
        }
        assert!(0.8 < memory(&x, &[]).unwrap());
        assert!(memory(&x, &[30]).unwrap().abs() < 0.3);
        x[45] = 1e6;
        assert!(memory(&x, &[30]).unwrap().abs() < 0.3);
        assert_eq!(memory(&[2.0; 10], &[]).unwrap(), 0.0);
    }

    #[test]
    fn what_is_left_is_white() {
        let x = ar(0.7, 4000, 9);
        let rest = prewhiten(&x, memory(&x, &[]).unwrap());
        assert_eq!(rest.len(), 3999);
        assert!(memory(&rest, &[]).unwrap().abs() < 0.05);
    }
}
