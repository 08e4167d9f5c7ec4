//! Pictures of a load curve: isotonic fit and knee. Descriptions only, never an answer to an objective.

use super::interval::{StatsError, check_at_least, check_finite};

/// Pool-adjacent-violators: the non-increasing curve nearest to y in weighted least squares.
///
/// `y`: SLO attainment in the order of rising rate; `weights`: requests behind each value, above 0.
///
/// # Errors
/// `Empty`, `Infinite`, `NotANumber`, `Unpaired`, `OutOfRange` for a weight ≤ 0.
///
/// # Source
/// Ayer et al. 1955.
pub fn isotonic_decreasing(y: &[f64], weights: &[f64]) -> Result<Vec<f64>, StatsError> {
    check_finite(y)?;
    if y.len() != weights.len() {
        return Err(StatsError::Unpaired { left: y.len(), right: weights.len() });
    }
    if let Some(got) = weights.iter().copied().find(|w| !(0.0 < *w && w.is_finite())) {
        return Err(StatsError::OutOfRange { what: "weight", range: "above 0 and finite", got });
    }
    // blocks: sum of w·y, sum of w, values
    let mut blocks: Vec<(f64, f64, usize)> = Vec::with_capacity(y.len());
    for (value, weight) in y.iter().zip(weights) {
        blocks.push((value * weight, *weight, 1));
        while let [.., (s1, w1, n1), (s2, w2, n2)] = blocks[..] {
            if s2 * w1 <= s1 * w2 {
                break;
            }
            blocks.truncate(blocks.len() - 2);
            blocks.push((s1 + s2, w1 + w2, n1 + n2));
        }
    }
    Ok(blocks.into_iter().flat_map(|(sum, weight, n)| std::iter::repeat_n(sum / weight, n)).collect())
}

/// Where a saturating curve bends most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Knee {
    /// position in the input
    pub index: usize,
    /// x there
    pub x: f64,
    /// normalised y − x there; near 0 for a straight line, which has no knee
    pub difference: f64,
}

/// Kneedle on discrete points of rising x, up to the highest y: both axes to [0, 1], the knee is the largest y − x.
///
/// `None` when y never rises above its first value or the curve bends the other way.
///
/// # Errors
/// `TooFew` below three points, `Unpaired`, `Infinite`, `NotANumber`, `OutOfRange` when x does not rise.
///
/// # Source
/// Satopää et al. 2011, offline, S = 1, no smoothing.
pub fn kneedle(x: &[f64], y: &[f64]) -> Result<Option<Knee>, StatsError> {
    check_finite(x)?;
    check_finite(y)?;
    if x.len() != y.len() {
        return Err(StatsError::Unpaired { left: x.len(), right: y.len() });
    }
    check_at_least("a knee", x, 3)?;
    if let Some(i) = x.windows(2).position(|w| w[1] <= w[0]) {
        return Err(StatsError::OutOfRange { what: "x", range: "in rising order", got: x[i + 1] });
    }
    // the first of equal maxima
    let top = (1..y.len()).fold(0, |best, i| if y[best] < y[i] { i } else { best });
    let lowest = y[..=top].iter().copied().fold(f64::INFINITY, f64::min);
    if top == 0 || y[top] <= lowest {
        return Ok(None);
    }
    let difference = |i: usize| (y[i] - lowest) / (y[top] - lowest) - (x[i] - x[0]) / (x[top] - x[0]);
    let best = (1..=top).fold(0, |best, i| if difference(best) < difference(i) { i } else { best });
    let knee = Knee { index: best, x: x[best], difference: difference(best) };
    Ok((0.0 < knee.difference).then_some(knee))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_has_no_knee() {
        let x = [1.0, 2.0, 3.0, 4.0];
        assert!(kneedle(&x, &x).unwrap().is_none_or(|k| k.difference < 1e-12));
        assert_eq!(kneedle(&x, &[4.0, 3.0, 2.0, 1.0]).unwrap(), None);
        assert!(kneedle(&[1.0, 1.0, 2.0], &[1.0; 3]).is_err());
    }

    proptest! {
        #[test]
        fn isotonic_is_a_projection(
            pairs in prop::collection::vec((0.0..1.0_f64, 0.1..50.0_f64), 1..60),
        ) {
            let (y, w): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let fit = isotonic_decreasing(&y, &w).unwrap();
            prop_assert!(fit.windows(2).all(|p| p[1] <= p[0] + 1e-12));
            let sum = |v: &[f64]| v.iter().zip(&w).map(|(a, b)| a * b).sum::<f64>();
            prop_assert!((sum(&fit) - sum(&y)).abs() < 1e-9 * sum(&w));
            let again = isotonic_decreasing(&fit, &w).unwrap();
            prop_assert!(fit.iter().zip(&again).all(|(a, b)| (a - b).abs() < 1e-12));
        }
    }
}
