//! Control charts against a known level: CUSUM for slow drifts, EWMA.

use crate::stats::interval::{StatsError, check_finite};

/// CUSUM's slack and limit, in deviations.
pub const CUSUM_SLACK: f64 = 0.5;
/// See [`CUSUM_SLACK`].
pub const CUSUM_LIMIT: f64 = 5.0;
/// EWMA's weight of the newest value.
pub const EWMA_WEIGHT: f64 = 0.2;
/// EWMA's limits, in deviations of the average.
pub const EWMA_LIMIT: f64 = 3.0;

/// A chart and where it first alarmed.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// the chart's value after each input
    pub path: Vec<f64>,
    /// index of the first alarm
    pub alarm: Option<usize>,
}

/// Which side of the level is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// above
    Upper,
    /// below
    Lower,
}

/// One-sided CUSUM: `S = max(0, S ± (x−target)/sd − slack)`, alarm when `S > limit` (both in deviations).
///
/// # Errors
/// `Infinite`, `NotANumber`, `Empty`; `OutOfRange` for sd not above 0.
///
/// # Source
/// Page 1954.
pub fn cusum(
    x: &[f64],
    target: f64,
    sd: f64,
    side: Side,
    slack: f64,
    limit: f64,
) -> Result<Chart, StatsError> {
    check(x, sd)?;
    let sign = if side == Side::Upper { 1.0 } else { -1.0 };
    let mut s = 0.0_f64;
    let path: Vec<f64> = x
        .iter()
        .map(|v| {
            s = (s + (sign * (v - target) / sd - slack)).max(0.0);
            s
        })
        .collect();
    let alarm = path.iter().position(|s| limit < *s);
    Ok(Chart { path, alarm })
}

/// EWMA `z = w x + (1 − w) z` from `target`, limits `limit · sd · √(w/(2−w) (1 − (1−w)^(2t)))` on both sides.
///
/// # Errors
/// As [`cusum`]; `OutOfRange` for a weight outside (0, 1].
///
/// # Source
/// Roberts 1959; exact limits as in Lucas and Saccucci 1990.
pub fn ewma(x: &[f64], target: f64, sd: f64, weight: f64, limit: f64) -> Result<Chart, StatsError> {
    check(x, sd)?;
    if weight.is_nan() || weight <= 0.0 || 1.0 < weight {
        return Err(StatsError::OutOfRange { what: "weight of an EWMA", range: "in (0, 1]", got: weight });
    }
    let mut z = target;
    let path: Vec<f64> = x
        .iter()
        .map(|v| {
            z = weight * v + (1.0 - weight) * z;
            z
        })
        .collect();
    let alarm = path.iter().enumerate().position(|(i, z)| {
        let spread = weight / (2.0 - weight) * (1.0 - (1.0 - weight).powi(2 * (i as i32 + 1)));
        limit * sd * spread.sqrt() < (z - target).abs()
    });
    Ok(Chart { path, alarm })
}

fn check(x: &[f64], sd: f64) -> Result<(), StatsError> {
    check_finite(x)?;
    if sd.is_nan() || sd <= 0.0 {
        return Err(StatsError::OutOfRange {
            what: "deviation of a control chart",
            range: "above 0",
            got: sd,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_sees_its_own_shift() {
        let x: Vec<f64> = (0..40).map(|i| if i < 20 { 0.0 } else { -1.5 }).collect();
        let lower = cusum(&x, 0.0, 1.0, Side::Lower, CUSUM_SLACK, CUSUM_LIMIT).unwrap();
        // one deviation a run: above five at the sixth
        assert_eq!(lower.alarm, Some(25));
        assert_eq!(cusum(&x, 0.0, 1.0, Side::Upper, CUSUM_SLACK, CUSUM_LIMIT).unwrap().alarm, None);
        assert!(
            ewma(&x, 0.0, 1.0, EWMA_WEIGHT, EWMA_LIMIT).unwrap().alarm.is_some_and(|i| (20..26).contains(&i))
        );
        assert!(cusum(&x, 0.0, 0.0, Side::Upper, 0.5, 5.0).is_err() && ewma(&x, 0.0, 1.0, 0.0, 3.0).is_err());
    }
}
