//! "No worse than X %" and "the same within X %": non-inferiority and two one-sided tests on log ratios.
//!
//! Not significant is never a pass: a gate has three outcomes, and the interval decides.

use super::distribution::t_sf;
use super::interval::{Interval, StatsError, check_at_least, check_finite};
use super::mean::t_interval;
use super::ratio::welch_log_ratio;

/// Result of the two one-sided tests on a ratio first / second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Equivalence {
    /// geometric mean ratio
    pub ratio: f64,
    /// its two-sided 1 − 2α interval: 90 % for tests at 5 %
    pub interval: Interval,
    /// p of H0 "ratio ≤ 1/margin"
    pub p_lower: f64,
    /// p of H0 "ratio ≥ margin": non-inferiority of the first side (latency: lower is better)
    pub p_upper: f64,
    /// larger of the two: equivalence
    pub p_tost: f64,
}

/// Outcome of a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// the upper limit lies below the margin: no worse than allowed
    Pass,
    /// the lower limit lies above the margin: worse than allowed
    Fail,
    /// neither: more data needed
    Inconclusive,
}

/// Gate "first is at most `margin` times second" (margin 1.1 = 10 % slower allowed) on paired log ratios, level α.
///
/// # Errors
/// As [`t_interval`]; `OutOfRange` for a margin not above 0.
pub fn noninferiority_gate(log_ratios: &[f64], margin: f64, alpha: f64) -> Result<Gate, StatsError> {
    check_margin(margin, 0.0)?;
    let interval = t_interval(log_ratios, 1.0 - 2.0 * alpha)?.interval;
    Ok(if interval.high < margin.ln() {
        Gate::Pass
    } else if margin.ln() < interval.low {
        Gate::Fail
    } else {
        Gate::Inconclusive
    })
}

/// Two one-sided t tests on paired log ratios; `margin` > 1 stands for the band `1/margin … margin`.
///
/// # Errors
/// As [`t_interval`]; `OutOfRange` for a margin not above 1; `Undefined` without spread.
///
/// # Source
/// Schuirmann 1987.
pub fn tost_paired(log_ratios: &[f64], margin: f64, alpha: f64) -> Result<Equivalence, StatsError> {
    let estimate = t_interval(log_ratios, 1.0 - 2.0 * alpha)?;
    two_one_sided(estimate.mean, estimate.se, log_ratios.len() as f64 - 1.0, estimate.interval, margin)
}

/// Two one-sided Welch tests on the logs of two independent samples of values above 0.
///
/// # Errors
/// As [`tost_paired`]; two values a side at least.
pub fn tost_independent(x: &[f64], y: &[f64], margin: f64, alpha: f64) -> Result<Equivalence, StatsError> {
    check_finite(x)?;
    check_finite(y)?;
    check_at_least("an equivalence test", x, 2)?;
    check_at_least("an equivalence test", y, 2)?;
    let log = welch_log_ratio(x, y, 1.0 - 2.0 * alpha)?;
    two_one_sided(log.difference, log.se, log.df, log.interval, margin)
}

fn two_one_sided(
    mean: f64,
    se: f64,
    df: f64,
    log_interval: Interval,
    margin: f64,
) -> Result<Equivalence, StatsError> {
    check_margin(margin, 1.0)?;
    if se == 0.0 {
        return Err(StatsError::Undefined(
            "expected ratios that differ: equal ones leave no spread to judge by",
        ));
    }
    let reach = margin.ln();
    let p_lower = t_sf((mean + reach) / se, df);
    let p_upper = t_sf((reach - mean) / se, df);
    Ok(Equivalence {
        ratio: mean.exp(),
        interval: log_interval.map(f64::exp),
        p_lower,
        p_upper,
        p_tost: p_lower.max(p_upper),
    })
}

fn check_margin(margin: f64, above: f64) -> Result<(), StatsError> {
    if above < margin && margin.is_finite() {
        return Ok(());
    }
    let range = if above == 1.0 { "above 1" } else { "above 0" };
    Err(StatsError::OutOfRange { what: "margin (as a ratio)", range, got: margin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log_ratios: &[f64], expected: Gate) {
        assert_eq!(noninferiority_gate(log_ratios, 1.1, 0.05).unwrap(), expected);
    }

    #[test]
    fn three_outcomes() {
        check(&[0.0, 0.01, -0.01, 0.02, -0.02], Gate::Pass);
        check(&[0.2, 0.21, 0.19, 0.22, 0.18], Gate::Fail);
        check(&[0.0, 0.5, -0.5, 0.4, -0.3], Gate::Inconclusive);
    }
}
