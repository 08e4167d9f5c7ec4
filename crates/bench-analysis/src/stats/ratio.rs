//! Differences and ratios of two independent samples: Welch, Fieller, and MOVER for quantiles.

use super::distribution::{t_quantile, t_two_sided_p};
use super::interval::{Interval, StatsError, check_at_least, check_finite, check_unit};
use super::order_interval::{RankInterval, quantile_ranks};
use super::quantile::{QuantileType, Sample};
use super::summary::{mean, variance};

/// Welch's comparison of two means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Welch {
    /// mean(x) − mean(y)
    pub difference: f64,
    /// its standard error
    pub se: f64,
    /// Satterthwaite's degrees of freedom
    pub df: f64,
    /// t statistic
    pub t: f64,
    /// two-sided p
    pub p: f64,
    /// interval for the difference
    pub interval: Interval,
}

/// Welch's t test and interval for `mean(x) − mean(y)`, unequal variances, two values a side at least.
///
/// # Errors
/// `TooFew`, `Infinite`, `NotANumber`; `Undefined` when neither side has any spread.
pub fn welch(x: &[f64], y: &[f64], confidence: f64) -> Result<Welch, StatsError> {
    check_unit("confidence", confidence)?;
    for side in [x, y] {
        check_finite(side)?;
        check_at_least("Welch's test", side, 2)?;
    }
    let (n, m) = (x.len() as f64, y.len() as f64);
    let vx = variance(x).expect("invariant: two values or more") / n;
    let vy = variance(y).expect("invariant: two values or more") / m;
    let se2 = vx + vy;
    if se2 == 0.0 {
        return Err(StatsError::Undefined(
            "expected values that differ: two constant samples have no standard error",
        ));
    }
    let df = se2 * se2 / (vx * vx / (n - 1.0) + vy * vy / (m - 1.0));
    let (difference, se) = (mean(x) - mean(y), se2.sqrt());
    let t = difference / se;
    let reach = t_quantile(0.5 + 0.5 * confidence, df) * se;
    Ok(Welch {
        difference,
        se,
        df,
        t,
        p: t_two_sided_p(t, df),
        interval: Interval::new(difference - reach, difference + reach),
    })
}

/// [`welch`] on logarithms: `difference` is the log of the ratio of geometric means.
///
/// # Errors
/// As [`welch`]; `OutOfRange` for values not above 0.
pub fn welch_log_ratio(x: &[f64], y: &[f64], confidence: f64) -> Result<Welch, StatsError> {
    if let Some(&got) = x.iter().chain(y).find(|v| **v <= 0.0) {
        return Err(StatsError::OutOfRange { what: "a value on the log scale", range: "above 0", got });
    }
    let log = |s: &[f64]| s.iter().map(|v| v.ln()).collect::<Vec<_>>();
    welch(&log(x), &log(y), confidence)
}

/// Fieller's interval for `mean(x)/mean(y)` of independent samples, t quantile with n + m − 2.
///
/// With `A = ȳ² − t² v_y`, `B = x̄ȳ`, `C = x̄² − t² v_x`: `(B ∓ √(B² − AC))/A`.
///
/// # Errors
/// `Undefined` when the interval of the denominator includes 0 (A ≤ 0); otherwise as [`welch`].
pub fn fieller(x: &[f64], y: &[f64], confidence: f64) -> Result<(f64, Interval), StatsError> {
    check_unit("confidence", confidence)?;
    for side in [x, y] {
        check_finite(side)?;
        check_at_least("Fieller's interval", side, 2)?;
    }
    let (n, m) = (x.len() as f64, y.len() as f64);
    let vx = variance(x).expect("invariant: two values or more") / n;
    let vy = variance(y).expect("invariant: two values or more") / m;
    let (mx, my) = (mean(x), mean(y));
    let t = t_quantile(0.5 + 0.5 * confidence, n + m - 2.0);
    let a = my * my - t * t * vy;
    if a <= 0.0 {
        return Err(StatsError::Undefined(
            "expected a denominator clearly different from 0: its interval includes 0",
        ));
    }
    let (b, c) = (mx * my, mx * mx - t * t * vx);
    let root = (b * b - a * c).max(0.0).sqrt();
    Ok((mx / my, Interval::new((b - root) / a, (b + root) / a)))
}

/// Ratio of the same quantile of two independent samples, with its MOVER interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileRatio {
    /// Q_x(p)/Q_y(p), type 1
    pub ratio: f64,
    /// interval on the ratio
    pub interval: Interval,
    /// ranks used in x
    pub ranks_x: RankInterval,
    /// ranks used in y
    pub ranks_y: RankInterval,
}

/// MOVER on logs with the exact order-statistic limits of each side; values above 0.
///
/// `L = d − √((q_x−l_x)² + (u_y−q_y)²)`, `U = d + √((u_x−q_x)² + (q_y−l_y)²)`, all on logs. Covers 95–100 %.
///
/// # Errors
/// `TooFew` when a side cannot carry the quantile's interval; `Infinite` when a limit is a failure; `OutOfRange`.
///
/// # Source
/// Donner and Zou 2012.
pub fn quantile_ratio(x: &Sample, y: &Sample, p: f64, confidence: f64) -> Result<QuantileRatio, StatsError> {
    let (qx, lx, ux, ranks_x) = log_limits(x, p, confidence)?;
    let (qy, ly, uy, ranks_y) = log_limits(y, p, confidence)?;
    let (ratio, interval) = of_logs((qx, lx, ux), (qy, ly, uy));
    Ok(QuantileRatio { ratio, interval, ranks_x, ranks_y })
}

/// MOVER of two estimates above 0 with limits of their own, independent of one another: `(ratio, interval)`.
///
/// # Errors
/// `OutOfRange` for a lower limit not above 0, `Infinite` for limits that are not finite.
///
/// # Source
/// Donner and Zou 2012.
pub fn mover(x: (f64, Interval), y: (f64, Interval)) -> Result<(f64, Interval), StatsError> {
    for (value, limits) in [x, y] {
        if !(value.is_finite() && limits.high.is_finite()) {
            return Err(StatsError::Infinite);
        }
        if limits.low <= 0.0 {
            return Err(StatsError::OutOfRange {
                what: "a value on the log scale",
                range: "above 0",
                got: limits.low,
            });
        }
    }
    let logs = |(value, i): (f64, Interval)| (value.ln(), i.low.ln(), i.high.ln());
    Ok(of_logs(logs(x), logs(y)))
}

/// Value, lower and upper limit of each side, on logs.
fn of_logs((qx, lx, ux): (f64, f64, f64), (qy, ly, uy): (f64, f64, f64)) -> (f64, Interval) {
    let d = qx - qy;
    let low = d - (qx - lx).hypot(uy - qy);
    let high = d + (ux - qx).hypot(qy - ly);
    (d.exp(), Interval::new(low.exp(), high.exp()))
}

fn log_limits(sample: &Sample, p: f64, confidence: f64) -> Result<(f64, f64, f64, RankInterval), StatsError> {
    let ranks = quantile_ranks(sample.len(), p, confidence)?;
    let (Some(lower), Some(upper)) = (ranks.lower, ranks.upper) else {
        let needed = super::order_interval::smallest_n_two_sided(p, confidence)?;
        return Err(StatsError::TooFew { what: "a ratio of quantiles", needed, have: sample.len() as u64 });
    };
    let q = sample.quantile(p, QuantileType::Type1)?;
    let (low, high) = (sample.order_statistic(lower), sample.order_statistic(upper));
    if low <= 0.0 {
        return Err(StatsError::OutOfRange { what: "a value on the log scale", range: "above 0", got: low });
    }
    if high.is_infinite() {
        return Err(StatsError::Infinite);
    }
    Ok((q.ln(), low.ln(), high.ln(), ranks))
}
