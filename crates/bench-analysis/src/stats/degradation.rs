//! Does a long run get worse? Slopes over windows of equal request count.
//!
//! Windows of ≥ 200 requests, enlarged until neighbours no longer tell of each other (lag-1 below 0.3 after the trend is
//! taken out); then Theil–Sen for how much and Mann–Kendall for whether. The input is in order of *scheduled*, failures
//! are `+∞`, so a server that begins to fail shows in the quantiles, too.

use super::interval::{Interval, StatsError, check_unit};
use super::quantile::{QuantileType, quantile_sorted};
use super::trend::{POINTS_MAX, mann_kendall, median, residual_lag1, theil_sen_dependent};

/// Fewest requests in a window.
pub const WINDOW_MIN: usize = 200;
/// Fewest windows for a slope.
pub const WINDOWS_MIN: usize = 10;
/// Windows are enlarged until their lag-1 autocorrelation is below this.
pub const LAG1_MAX: f64 = 0.3;
/// Relative slope per hour that alarms, when its interval also excludes 0.
pub const ALARM_PER_HOUR: f64 = 0.01;

/// One window of equal request count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowStat {
    /// middle of its requests' times, seconds
    pub at_s: f64,
    /// median, type 7; `+∞` when half of it failed
    pub median: f64,
    /// 95th percentile, type 7; `+∞` when 5 % failed
    pub p95: f64,
    /// share of requests without a finite value
    pub failed: f64,
}

/// The slope of one statistic over the windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// Theil–Sen slope per hour over the level at the start; for the failing share, points per hour (not relative)
    pub per_hour: f64,
    /// limits of that
    pub interval: Interval,
    /// Mann–Kendall, two-sided p
    pub p: f64,
    /// level of the line at the first window, in the input's unit
    pub start: f64,
    /// the interval lies above 0 and the slope above 1 % (one point) an hour
    pub alarm: bool,
}

/// Slopes of a long run.
#[derive(Debug, Clone, PartialEq)]
pub struct Degradation {
    /// requests in a window
    pub window: usize,
    /// the windows; requests after the last whole one take no part
    pub windows: Vec<WindowStat>,
    /// lag-1 autocorrelation of the window medians without their trend
    pub lag1: f64,
    /// windows for each independent one: 1, or above when not even the largest windows were independent; the limits
    /// are widened by it
    pub dependence: f64,
    /// slope of the medians; `None` when some window has no finite median
    pub median: Option<Slope>,
    /// slope of the 95th percentiles; `None` as above
    pub p95: Option<Slope>,
    /// slope of the failing share
    pub failed: Slope,
}

impl Degradation {
    /// Whether any of the three alarms.
    pub fn alarm(&self) -> bool {
        self.failed.alarm || [self.median, self.p95].iter().flatten().any(|s| s.alarm)
    }
}

/// Slopes of `(seconds, value)` in order of time; a failed request is `+∞`.
///
/// # Errors
/// `TooFew` below ten windows of 200 requests, `NotANumber`, `OutOfRange` for times that go back or confidence.
pub fn degradation(requests: &[(f64, f64)], confidence: f64) -> Result<Degradation, StatsError> {
    check_unit("confidence", confidence)?;
    if let Some(position) = requests.iter().position(|(t, v)| t.is_nan() || v.is_nan()) {
        return Err(StatsError::NotANumber { position });
    }
    if let Some(i) = requests.windows(2).position(|w| w[1].0 < w[0].0) {
        return Err(StatsError::OutOfRange { what: "times", range: "in order", got: requests[i + 1].0 });
    }
    if requests.len() < WINDOW_MIN * WINDOWS_MIN {
        return Err(StatsError::TooFew {
            what: "a degradation slope",
            needed: (WINDOW_MIN * WINDOWS_MIN) as u64,
            have: requests.len() as u64,
        });
    }
    let mut window = WINDOW_MIN.max(requests.len().div_ceil(POINTS_MAX));
    let mut windows = cut(requests, window);
    let mut lag1 = dependence(&windows)?;
    while LAG1_MAX <= lag1 && WINDOWS_MIN <= requests.len() / (2 * window) {
        window *= 2;
        windows = cut(requests, window);
        lag1 = dependence(&windows)?;
    }
    // what enlarging could not cure is paid for in the limits
    let worth = if lag1 < LAG1_MAX { 1.0 } else { (1.0 + lag1) / (1.0 - lag1.min(0.999)) };
    let slope = |f: fn(&WindowStat) -> f64, relative: bool| slope(&windows, f, relative, confidence, worth);
    Ok(Degradation {
        median: slope(|w| w.median, true)?,
        p95: slope(|w| w.p95, true)?,
        failed: slope(|w| w.failed, false)?.expect("invariant: shares are finite"),
        window,
        windows,
        lag1,
        dependence: worth,
    })
}

fn cut(requests: &[(f64, f64)], window: usize) -> Vec<WindowStat> {
    requests
        .chunks_exact(window)
        .map(|chunk| {
            let mut values: Vec<f64> = chunk.iter().map(|r| r.1).collect();
            values.sort_unstable_by(f64::total_cmp);
            let finite = values.partition_point(|v| *v < f64::INFINITY);
            WindowStat {
                at_s: 0.5 * (chunk[0].0 + chunk[window - 1].0),
                median: quantile_sorted(&values, 0.5, QuantileType::Type7),
                p95: quantile_sorted(&values, 0.95, QuantileType::Type7),
                failed: (window - finite) as f64 / window as f64,
            }
        })
        .collect()
}

/// Lag-1 of the medians without their trend, or of the failing share when medians are not finite.
fn dependence(windows: &[WindowStat]) -> Result<f64, StatsError> {
    let medians: Vec<f64> = windows.iter().map(|w| w.median).collect();
    let failed: Vec<f64> = windows.iter().map(|w| w.failed).collect();
    let rest = residual_lag1(&failed)?;
    if medians.iter().all(|m| m.is_finite()) { Ok(residual_lag1(&medians)?.max(rest)) } else { Ok(rest) }
}

fn slope(
    windows: &[WindowStat],
    statistic: fn(&WindowStat) -> f64,
    relative: bool,
    confidence: f64,
    worth: f64,
) -> Result<Option<Slope>, StatsError> {
    let begin = windows[0].at_s;
    let hours: Vec<f64> = windows.iter().map(|w| (w.at_s - begin) / 3600.0).collect();
    let values: Vec<f64> = windows.iter().map(statistic).collect();
    if values.iter().any(|v| v.is_infinite()) {
        return Ok(None);
    }
    let line = theil_sen_dependent(&hours, &values, confidence, worth)?;
    // a line that starts at or below 0 has no relative slope: measure it against the median then
    let start = if 0.0 < line.at(0.0) { line.at(0.0) } else { median(&values) };
    let unit = if relative && 0.0 < start { start } else { 1.0 };
    let interval = line.interval.map(|s| s / unit);
    let per_hour = line.slope / unit;
    Ok(Some(Slope {
        per_hour,
        interval,
        p: mann_kendall(&values)?.discounted(worth).p,
        start: line.at(0.0),
        alarm: 0.0 < interval.low && ALARM_PER_HOUR < per_hour,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    /// Two hours at 2/s, log-normal latencies of log-sd 0.3, AR(1) `phi`, median growing by `leak` an hour.
    fn soak(leak: f64, phi: f64, seed: u64) -> Degradation {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut state = 0.0;
        let requests: Vec<(f64, f64)> = (0..14_400)
            .map(|i| {
                let fresh: f64 = StandardNormal.sample(&mut rng);
                state = phi * state + (1.0 - phi * phi).sqrt() * fresh;
                let at = f64::from(i) * 0.5;
                (at, 0.5 * (1.0 + leak * at / 3600.0) * (0.3 * state).exp())
            })
            .collect();
        degradation(&requests, 0.95).unwrap()
    }

    #[test]
    fn a_leak_of_two_per_cent_an_hour_is_found_within_two_hours() {
        let found = (0..100).filter(|seed| soak(0.02, 0.0, *seed).median.is_some_and(|m| m.alarm)).count();
        assert!(93 <= found, "{found} of 100");
        let one = soak(0.05, 0.0, 1).median.unwrap();
        assert!(one.interval.contains(0.05) && one.p < 1e-6, "{one:?}");
    }

    #[test]
    fn a_flat_run_rarely_alarms() {
        for phi in [0.0, 0.9] {
            let alarms = (0..200).filter(|seed| soak(0.0, phi, 1000 + seed).median.unwrap().alarm).count();
            // one-sided 2.5 % of 200, and two standard errors; slopes below 1 % do not count either
            assert!(alarms <= 10, "phi {phi}: {alarms} of 200");
        }
    }

    #[test]
    fn dependent_requests_get_larger_windows() {
        let (free, tied) = (soak(0.0, 0.0, 5), soak(0.0, 0.995, 5));
        assert_eq!(free.window, 200);
        assert!(200 < tied.window && (tied.lag1 < LAG1_MAX || 1.0 < tied.dependence), "{}", tied.window);
    }

    #[test]
    fn growing_failures_alarm_where_latency_has_no_slope_any_more() {
        let requests: Vec<(f64, f64)> =
            (0..8000).map(|i| (f64::from(i), if i % 100 < i / 100 { f64::INFINITY } else { 1.0 })).collect();
        let d = degradation(&requests, 0.95).unwrap();
        assert!(d.failed.alarm && d.alarm() && d.p95.is_none(), "{d:?}");
        assert!(matches!(degradation(&requests[..1999], 0.95), Err(StatsError::TooFew { needed: 2000, .. })));
    }
}
