//! What a long run says, as plain data: slopes, curve, error budget.

use llms_core::bench::{Bounded, Measured, Validity};
use serde::Serialize;

use super::{
    client::{ClientAgeing, Culprit},
    recovery::RecoveryTime,
};
use crate::stats::degradation::{self, Degradation};

/// The slope of one statistic over the windows of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SlopeFound {
    /// Change per hour, relative to the level at the start; of the failing share in points (1 = 100 %).
    pub per_hour: f64,
    /// Lower limit of that.
    pub low: f64,
    /// Upper limit of that.
    pub high: f64,
    /// Mann–Kendall, two-sided p.
    pub p: f64,
    /// Level at the first window, seconds (a share for failures).
    pub start: f64,
    /// The interval lies above 0 and the slope above 1 % (one point) an hour.
    pub alarm: bool,
}

impl From<degradation::Slope> for SlopeFound {
    fn from(s: degradation::Slope) -> Self {
        let (low, high) = (s.interval.low, s.interval.high);
        Self { per_hour: s.per_hour, low, high, p: s.p, start: s.start, alarm: s.alarm }
    }
}

/// One window of equal request count.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WindowFound {
    /// Middle of its requests, seconds from the start of the window of measurement.
    pub at_s: f64,
    /// Median, seconds.
    pub median: Bounded,
    /// 95th percentile, seconds.
    pub p95: Bounded,
    /// Share of its requests that failed.
    pub failed: f64,
}

/// Slopes of one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricSlopes {
    /// Bare name in the metric table.
    pub metric: &'static str,
    /// Requests in a window.
    pub window: usize,
    /// Lag-1 autocorrelation of the windows without their trend.
    pub lag1: f64,
    /// Windows for each independent one; the limits are widened by it.
    pub dependence: f64,
    /// Of the window medians.
    pub median: Measured<SlopeFound>,
    /// Of the windows' 95th percentiles.
    pub p95: Measured<SlopeFound>,
    /// The windows.
    pub windows: Vec<WindowFound>,
}

impl MetricSlopes {
    /// Whether one of the two alarms.
    pub fn alarm(&self) -> bool {
        [&self.median, &self.p95].iter().any(|s| s.value().is_some_and(|s| s.alarm))
    }
}

/// A slice of the run's time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// Begin, seconds from the start of the window.
    pub from_s: f64,
    /// End.
    pub to_s: f64,
    /// Requests scheduled in it (of those kept).
    pub requests: u64,
    /// Of them failed.
    pub failed: u64,
    /// Median time to first token, seconds; `None` without requests.
    pub ttft_p50: Option<Bounded>,
    /// Median end-to-end time, seconds.
    pub e2e_p50: Option<Bounded>,
    /// 95th percentile of it.
    pub e2e_p95: Option<Bounded>,
}

/// An alarm of a pair of windows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Burn {
    /// Long window, seconds.
    pub long_s: f64,
    /// Short window, seconds.
    pub short_s: f64,
    /// Rate above which both alarm.
    pub limit: f64,
    /// When, seconds from the start of the window; `None`: it did not alarm.
    pub at_s: Option<f64>,
    /// The run is shorter than the long window: the pair could not be asked.
    pub too_short: bool,
}

/// What the run used of its error budget.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BudgetFound {
    /// Share of requests that must be good.
    pub objective: f64,
    /// Requests that were not.
    pub bad: u64,
    /// Requests that count.
    pub total: u64,
    /// Bad share over the share allowed: 1 spends the budget exactly.
    pub burn: f64,
    /// Share of the budget left; below 0 when overspent.
    pub left: f64,
    /// Limits of that, Clopper–Pearson.
    pub left_low: f64,
    /// Upper limit.
    pub left_high: f64,
    /// One for each pair.
    pub pairs: Vec<Burn>,
}

impl BudgetFound {
    /// A pair alarmed, or the budget is spent for sure.
    pub fn alarm(&self) -> bool {
        self.left_high < 0.0 || self.pairs.iter().any(|p| p.at_s.is_some())
    }
}

/// What a long run says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SoakAnalysis {
    /// Requests scheduled in the window.
    pub requests: u64,
    /// Complete answers.
    pub ok: u64,
    /// Errors.
    pub failed: u64,
    /// In flight at the end.
    pub censored: u64,
    /// Slopes, curve and burn rates rest on one in so many requests; 1: on all.
    pub one_in: u64,
    /// Length of the window, seconds.
    pub window_s: f64,
    /// Confidence: that of each interval, and that of the lower limits of all slopes together.
    pub confidence: f64,
    /// Slopes of time to first token, end to end and pace.
    pub slopes: Vec<MetricSlopes>,
    /// Slope of the failing share, points per hour.
    pub failing: Measured<SlopeFound>,
    /// The run in slices of equal time.
    pub curve: Vec<Slice>,
    /// The error budget, where one was given.
    pub budget: Option<BudgetFound>,
    /// How long a burst was felt, where there was one.
    pub burst: Option<Measured<RecoveryTime>>,
    /// How the process that measured aged.
    pub client: ClientAgeing,
    /// Who aged, when something did.
    pub culprit: Culprit,
    /// Whether the numbers can be trusted.
    pub validity: Validity,
    /// What could not be measured.
    pub not_measured: Vec<String>,
}

impl SoakAnalysis {
    /// Whether latency or failures get worse.
    pub fn degrades(&self) -> bool {
        self.failing.value().is_some_and(|s| s.alarm) || self.slopes.iter().any(MetricSlopes::alarm)
    }

    /// Whether there was enough for a slope at all.
    pub fn decided(&self) -> bool {
        self.failing.value().is_some()
    }
}

impl MetricSlopes {
    /// The steepest alarming slope, seconds per hour.
    pub(super) fn steepest(&self) -> Option<f64> {
        [&self.median, &self.p95]
            .into_iter()
            .filter_map(Measured::value)
            .filter(|s| s.alarm)
            .map(|s| s.per_hour * s.start.abs())
            .reduce(f64::max)
    }
}

/// The slopes of one metric as they are shown; failed windows rank above `limit` seconds.
pub(super) fn found(metric: &'static str, d: &Degradation, limit: f64) -> MetricSlopes {
    let slope = |s: Option<degradation::Slope>, what: &str| {
        s.map_or_else(
            || Measured::absent(format!("in some windows too many requests failed for a {what}")),
            |s| Measured::Value(s.into()),
        )
    };
    MetricSlopes {
        metric,
        window: d.window,
        lag1: d.lag1,
        dependence: d.dependence,
        median: slope(d.median, "median"),
        p95: slope(d.p95, "95th percentile"),
        windows: d
            .windows
            .iter()
            .map(|w| WindowFound {
                at_s: w.at_s,
                median: Bounded::from_f64(w.median, limit),
                p95: Bounded::from_f64(w.p95, limit),
                failed: w.failed,
            })
            .collect(),
    }
}
