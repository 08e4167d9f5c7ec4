//! Error budgets and recovery: how fast the budget burns, what is left of it, and how long a burst is felt.

use super::interval::{Interval, StatsError, check_at_least, check_unit};
use super::proportion::clopper_pearson;
use super::trend::median;

/// Burn rate of an error budget: share of bad requests over the share allowed; 1 spends it exactly.
///
/// # Errors
/// `OutOfRange` for an SLO outside (0, 1) or more bad than all; `Empty` without requests.
pub fn burn_rate(bad: u64, total: u64, slo: f64) -> Result<f64, StatsError> {
    check_unit("objective", slo)?;
    if total == 0 {
        return Err(StatsError::Empty);
    }
    if total < bad {
        return Err(StatsError::OutOfRange {
            what: "count of bad requests",
            range: "at most all requests",
            got: bad as f64,
        });
    }
    Ok(bad as f64 / total as f64 / (1.0 - slo))
}

/// What a run has used of the budget its requests bring along.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// bad over allowed: 1 = spent
    pub burn: f64,
    /// limits of the burn rate, Clopper–Pearson
    pub burn_interval: Interval,
    /// share of the budget left, 1 − burn; below 0 when overspent
    pub left: f64,
    /// limits of that
    pub left_interval: Interval,
}

/// The budget of `total` requests at objective `slo`, with exact limits.
///
/// # Errors
/// As [`burn_rate`]; `OutOfRange` for confidence outside (0, 1).
pub fn budget(bad: u64, total: u64, slo: f64, confidence: f64) -> Result<Budget, StatsError> {
    let burn = burn_rate(bad, total, slo)?;
    let burn_interval = clopper_pearson(bad, total, confidence)?.map(|p| p / (1.0 - slo));
    let left_interval = Interval::new(1.0 - burn_interval.high, 1.0 - burn_interval.low);
    Ok(Budget { burn, burn_interval, left: 1.0 - burn, left_interval })
}

/// Two windows that must burn above one rate at once: the long one for weight, the short one to say it still burns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BurnPair {
    /// seconds of the long window
    pub long_s: f64,
    /// seconds of the short window
    pub short_s: f64,
    /// burn rate above which both alarm
    pub burn: f64,
}

/// The pairs of the SRE workbook for a 30-day budget.
pub const BURN_PAIRS: [BurnPair; 2] = [
    BurnPair { long_s: 3600.0, short_s: 300.0, burn: 14.4 },
    BurnPair { long_s: 21_600.0, short_s: 1800.0, burn: 6.0 },
];

/// When a pair of windows first alarmed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BurnAlert {
    /// which pair
    pub pair: BurnPair,
    /// seconds, on the clock of the input
    pub at_s: f64,
    /// burn of the long window then
    pub long_burn: f64,
    /// burn of the short window then
    pub short_burn: f64,
}

/// First alarm of each pair over requests `(seconds, bad)` in order of time. A pair whose long window is not yet full is
/// not asked.
///
/// # Errors
/// `OutOfRange` for an SLO outside (0, 1) or times that go back.
pub fn burn_alerts(
    requests: &[(f64, bool)],
    slo: f64,
    pairs: &[BurnPair],
) -> Result<Vec<BurnAlert>, StatsError> {
    check_unit("objective", slo)?;
    if let Some(i) = requests.windows(2).position(|w| w[1].0 < w[0].0) {
        return Err(StatsError::OutOfRange { what: "times", range: "in order", got: requests[i + 1].0 });
    }
    let Some((begin, _)) = requests.first() else { return Ok(Vec::new()) };
    let mut alerts = Vec::new();
    for pair in pairs {
        let (mut long, mut short) = (Sliding::default(), Sliding::default());
        for (i, (at, bad)) in requests.iter().enumerate() {
            let long_burn = long.push(requests, i, at - pair.long_s, *bad) / (1.0 - slo);
            let short_burn = short.push(requests, i, at - pair.short_s, *bad) / (1.0 - slo);
            if begin + pair.long_s <= *at && pair.burn < long_burn && pair.burn < short_burn {
                alerts.push(BurnAlert { pair: *pair, at_s: *at, long_burn, short_burn });
                break;
            }
        }
    }
    Ok(alerts)
}

/// Bad share of the requests later than a moving limit.
#[derive(Default)]
struct Sliding {
    first: usize,
    bad: u64,
}

impl Sliding {
    fn push(&mut self, requests: &[(f64, bool)], i: usize, after: f64, bad: bool) -> f64 {
        self.bad += u64::from(bad);
        while requests[self.first].0 <= after {
            self.bad -= u64::from(requests[self.first].1);
            self.first += 1;
        }
        self.bad as f64 / (i + 1 - self.first) as f64
    }
}

/// How long a burst is felt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recovery {
    /// what counts as recovered: factor × median of the baseline
    pub limit: f64,
    /// first of the consecutive windows at or below the limit; `None` = not within what was watched (right-censored)
    pub index: Option<usize>,
    /// later windows above the limit; 0 when there was no recovery
    pub relapses: usize,
}

/// Recovery after a burst, by a statistic per window (median latency); a window without an answer is `+∞`.
///
/// First of `consecutive` windows ≤ `factor` × median(baseline): 1.1 and 3 are the usual ones.
///
/// # Errors
/// `Empty` baseline, `NotANumber`, `OutOfRange` for factor ≤ 0 or no consecutive window.
pub fn recovery_time(
    baseline: &[f64],
    after: &[f64],
    factor: f64,
    consecutive: usize,
) -> Result<Recovery, StatsError> {
    check_at_least("a baseline", baseline, 1)?;
    if let Some(position) = baseline.iter().chain(after).position(|v| v.is_nan()) {
        return Err(StatsError::NotANumber { position });
    }
    if factor.is_nan() || factor <= 0.0 {
        return Err(StatsError::OutOfRange { what: "recovery factor", range: "above 0", got: factor });
    }
    if consecutive == 0 {
        return Err(StatsError::OutOfRange { what: "consecutive windows", range: "1 or more", got: 0.0 });
    }
    let limit = factor * median(baseline);
    let index = after.windows(consecutive).position(|w| w.iter().all(|v| *v <= limit));
    let relapses = index.map_or(0, |i| after[i..].iter().filter(|v| limit < **v).count());
    Ok(Recovery { limit, index, relapses })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_window_silences_what_is_over() {
        // an hour at 20 % bad, objective 99 %: burn 20
        let mut requests: Vec<(f64, bool)> = (0..7200).map(|s| (f64::from(s), s % 5 == 0)).collect();
        let alerts = burn_alerts(&requests, 0.99, &BURN_PAIRS).unwrap();
        assert_eq!(alerts.len(), 1);
        assert_eq!(alerts[0].at_s, 3600.0);
        // the same, but good again for the last ten minutes when the hour is full
        for (s, bad) in &mut requests {
            *bad &= *s < 3000.0;
        }
        assert_eq!(burn_alerts(&requests, 0.99, &BURN_PAIRS).unwrap(), []);
    }

    #[test]
    fn budget_left_has_exact_limits() {
        let b = budget(3, 1000, 0.99, 0.95).unwrap();
        assert!((b.left - 0.7).abs() < 1e-12);
        assert!(b.left_interval.contains(b.left) && b.left_interval.high < 1.0);
        assert!(budget(30, 1000, 0.99, 0.95).unwrap().left_interval.high < 0.0, "overspent for sure");
        assert!(burn_rate(2, 1, 0.9).is_err() && burn_rate(0, 0, 0.9).is_err());
    }

    #[test]
    fn recovery_is_censored_and_relapses_counted() {
        let base = [10.0; 5];
        let got = recovery_time(&base, &[50.0, 30.0, 11.0, 10.0, 10.0, 12.0, 10.0], 1.1, 3).unwrap();
        assert_eq!((got.index, got.relapses), (Some(2), 1));
        let never = recovery_time(&base, &[50.0, f64::INFINITY, 11.0, 10.0, 40.0], 1.1, 3).unwrap();
        assert_eq!((never.index, never.relapses), (None, 0));
    }
}
