//! From a statistic to what a reader sees: [`Estimate`]s with their method, or the sentence why there is none.

use llms_core::bench::{Bounded, Estimate, Measured, QuantileEstimate};

use crate::clusters::clusters;
use crate::stats::dependence::{batch_means, ljung_box, quantile_estimate_sorted};
use crate::stats::interval::{Interval, StatsError};
use crate::stats::mean::{studentized_bootstrap, t_interval};
use crate::stats::order_interval::{quantile_estimate, quantile_ranks, smallest_n_two_sided};
use crate::stats::quantile::{QuantileType, Sample};
use crate::stats::summary::midranks;

/// The percentiles every summary has.
pub const LEVELS: [f64; 5] = [0.5, 0.9, 0.95, 0.99, 0.999];

/// Resamples of a studentised bootstrap.
const RESAMPLES: usize = 999;
/// Above this many values the t interval is as good as a bootstrap, whatever the skew of latencies.
const BOOTSTRAP_UP_TO: usize = 1000;
/// Lags looked at, and the level, when values are checked for dependence.
const DEPENDENCE_LAGS: usize = 10;
const DEPENDENCE_LEVEL: f64 = 0.01;
/// Batches for the mean of dependent values.
const BATCHES: usize = 20;
/// Below this effective number the dependence itself is known too badly, and only further runs say how far to trust an interval.
const RUNS_BELOW: f64 = 200.0;
/// Fewest values (or clusters of values) for the interval of a mean: with two to four, t reaches so far that it says nothing.
pub(crate) const MEAN_LEAST: u64 = 5;

/// What every estimate of a run shares.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// confidence of intervals
    pub confidence: f64,
    /// what is known of a +∞, seconds
    pub limit: f64,
    /// seed of bootstraps
    pub seed: u64,
}

impl Setting {
    /// An estimate with both limits.
    pub fn estimate(&self, value: f64, interval: Interval, n: u64, method: impl Into<String>) -> Estimate {
        Estimate {
            value: Bounded::from_f64(value, self.limit),
            low: Some(Bounded::from_f64(interval.low, self.limit)),
            high: Some(Bounded::from_f64(interval.high, self.limit)),
            confidence: self.confidence,
            n,
            ess: None,
            method: method.into(),
            note: None,
        }
    }

    /// The mean of `n` values from `units` independent ones (values or clusters), of which `least` is the smallest: a point
    /// below [`MEAN_LEAST`] units. The mean of values of 0 or more is never below 0.
    pub(crate) fn mean(
        &self,
        (value, interval): (f64, Interval),
        (n, units): (u64, u64),
        least: f64,
        method: impl Into<String>,
    ) -> Estimate {
        if units < MEAN_LEAST {
            let why = format!("n too small: an interval for a mean needs {MEAN_LEAST} values, have {units}");
            return self.point(value, n, "mean", why);
        }
        let low = if 0.0 <= least { interval.low.max(0.0) } else { interval.low };
        self.estimate(value, Interval::new(low, interval.high), n, method)
    }

    /// An estimate without an interval, and why.
    pub fn point(&self, value: f64, n: u64, method: impl Into<String>, why: impl Into<String>) -> Estimate {
        Estimate {
            value: Bounded::from_f64(value, self.limit),
            low: None,
            high: None,
            confidence: self.confidence,
            n,
            ess: None,
            method: method.into(),
            note: Some(why.into()),
        }
    }
}

/// `p99`, `p99.9`.
pub fn level_name(p: f64) -> String {
    format!("p{}", (p * 1e6).round() / 1e4)
}

/// The sentence for a sample that is too small for its percentile.
pub(crate) fn too_small(p: f64, confidence: f64, have: usize) -> String {
    let needed = smallest_n_two_sided(p, confidence).unwrap_or(u64::MAX);
    format!(
        "n too small: {} needs {needed} values for a {} % interval, have {have}",
        level_name(p),
        confidence * 100.0
    )
}

/// Whether values in time order depend on their neighbours: Ljung–Box on their ranks, 10 lags, p < 0.01.
pub fn is_dependent(in_time_order: &[f64]) -> bool {
    if in_time_order.len() < 5 * DEPENDENCE_LAGS {
        return false;
    }
    let (ranks, _) = midranks(in_time_order);
    ljung_box(&ranks, DEPENDENCE_LAGS).is_ok_and(|(_, p)| p < DEPENDENCE_LEVEL)
}

/// One sample in time order, `+∞` for failures, ready for several quantiles.
pub struct Series<'a> {
    values: &'a [f64],
    sample: Option<Sample>,
    dependent: bool,
}

impl<'a> Series<'a> {
    /// Sorts once and looks for dependence once. Without values every quantile is absent.
    pub fn new(in_time_order: &'a [f64]) -> Self {
        Self {
            values: in_time_order,
            sample: Sample::new(in_time_order).ok(),
            dependent: is_dependent(in_time_order),
        }
    }

    /// The quantile with its exact order-statistic interval, at the effective sample size where values depend on one
    /// another; absent with the needed n where the sample cannot carry it.
    pub fn quantile(&self, p: f64, setting: &Setting) -> Measured<Estimate> {
        let n = self.values.len();
        let Some(sample) = &self.sample else { return Measured::absent("no values") };
        let independent = match quantile_estimate(sample, p, setting.confidence) {
            Ok(e) => e,
            Err(StatsError::TooFew { .. }) => return Measured::absent(too_small(p, setting.confidence, n)),
            Err(e) => return Measured::absent(e.to_string()),
        };
        if !self.dependent {
            let method = method_name(independent.value, sample, p, "order statistics");
            return Measured::Value(setting.estimate(
                independent.value,
                independent.interval,
                n as u64,
                method,
            ));
        }
        match quantile_estimate_sorted(self.values, sample, p, setting.confidence) {
            Ok(e) => {
                let method = method_name(independent.value, sample, p, "order statistics at the effective n");
                let mut estimate = setting.estimate(independent.value, e.interval, n as u64, method);
                estimate.ess = Some(e.ess.min(n as f64));
                if e.ess < RUNS_BELOW {
                    let worth = e.ess.floor();
                    estimate.note = Some(format!(
                        "worth {worth} independent requests: repeat the run before a decision rests on it"
                    ));
                }
                Measured::Value(estimate)
            }
            Err(e) => {
                let why = format!("requests depend on one another: {e}");
                let method = method_name(independent.value, sample, p, "no interval");
                let mut estimate = setting.point(independent.value, n as u64, method, why);
                if let StatsError::TooFew { have, .. } = e {
                    estimate.ess = Some(have as f64);
                }
                Measured::Value(estimate)
            }
        }
    }

    /// Mean of finite values: batch means where they depend on one another, studentised bootstrap up to 1000 values, t above.
    pub fn mean(&self, setting: &Setting) -> Measured<Estimate> {
        let x = self.values;
        let n = x.len() as u64;
        if x.is_empty() {
            return Measured::absent("no values");
        }
        if n == 1 {
            return Measured::Value(setting.point(x[0], 1, "mean", "one value has no spread"));
        }
        let least = x.iter().copied().fold(f64::INFINITY, f64::min);
        let found =
            |value, interval, method| Measured::Value(setting.mean((value, interval), (n, n), least, method));
        if self.dependent
            && let Ok(b) = batch_means(x, BATCHES, setting.confidence)
        {
            let mean = crate::stats::summary::mean(x);
            return found(mean, b.interval.map(|v| v + (mean - b.mean)), "batch means, 20 batches");
        }
        if x.len() <= BOOTSTRAP_UP_TO
            && let Ok(b) = studentized_bootstrap(x, setting.confidence, RESAMPLES, setting.seed)
        {
            return found(b.mean, b.interval, "studentised bootstrap");
        }
        match t_interval(x, setting.confidence) {
            Ok(t) => found(t.mean, t.interval, "t"),
            Err(e) => Measured::absent(e.to_string()),
        }
    }
}

fn method_name(value: f64, sample: &Sample, p: f64, interval: &str) -> String {
    // type 1 stands in where type 7 would have interpolated across a failure
    let type7_touches_infinity = {
        let h = (sample.len() as f64 - 1.0) * p + 1.0;
        sample.order_statistic(h.floor() as usize + 1).is_infinite() && h.fract() != 0.0
    };
    let kind = if value.is_infinite() || type7_touches_infinity { 1 } else { 7 };
    format!("{interval}, type {kind}")
}

/// All [`LEVELS`], with failures at +∞ and over successes.
///
/// `all`: in time order with `+∞`; `success`: the finite ones in the same order.
pub fn quantiles(all: &[f64], success: &[f64], setting: &Setting) -> Vec<QuantileEstimate> {
    let success_series = Series::new(success);
    let all_series = (all.len() != success.len()).then(|| Series::new(all));
    LEVELS
        .iter()
        .map(|&p| {
            let success = success_series.quantile(p, setting);
            let all = all_series.as_ref().map_or_else(|| success.clone(), |s| s.quantile(p, setting));
            QuantileEstimate { p, all, success }
        })
        .collect()
}

/// Quantiles of values that come in clusters (the gaps of a request): interval at the effective n of the clusters.
///
/// `pooled`: the values, one cluster behind the other; `lengths`: how many each has, none of them 0. Variance of the share
/// below the quantile from the clusters (Woodruff 1952), `nₑ = p(1−p)/var`, then exact order-statistic ranks for nₑ. No
/// interval below 20 clusters.
pub fn clustered_quantiles(pooled: &[f64], lengths: &[u32], setting: &Setting) -> Vec<QuantileEstimate> {
    let sample = Sample::new(pooled);
    LEVELS
        .iter()
        .map(|&p| {
            let one = match &sample {
                Ok(s) => clustered_quantile(pooled, lengths, s, p, setting),
                Err(_) => Measured::absent("no values"),
            };
            QuantileEstimate { p, all: one.clone(), success: one }
        })
        .collect()
}

fn clustered_quantile(
    pooled: &[f64],
    lengths: &[u32],
    sample: &Sample,
    p: f64,
    setting: &Setting,
) -> Measured<Estimate> {
    let n = sample.len();
    if (n as u64) < smallest_n_two_sided(p, setting.confidence).unwrap_or(u64::MAX) {
        return Measured::absent(too_small(p, setting.confidence, n));
    }
    let value = match sample.quantile(p, QuantileType::Type7) {
        Ok(v) => v,
        Err(e) => return Measured::absent(e.to_string()),
    };
    let n_f = n as f64;
    let share = sample.values().partition_point(|v| *v <= value) as f64 / n_f;
    let residuals: f64 = clusters(pooled, lengths)
        .map(|c| {
            let below = c.iter().filter(|v| **v <= value).count() as f64;
            (below - share * c.len() as f64).powi(2)
        })
        .sum();
    let bounds = |low: f64, high: f64| {
        (sample.order_statistic(low as usize), sample.order_statistic((high as usize).min(n)))
    };
    interval_of_clusters(value, (p, share, n_f), (lengths.len(), residuals), "type 7", setting, bounds)
}

/// The estimate of a pooled quantile: `of` its level, the share of values up to it and their number; `clusters` how many
/// there are and `Σ (B − s n)²` over them; `bounds` the values of two ranks.
pub(crate) fn interval_of_clusters(
    value: f64,
    of: (f64, f64, f64),
    clusters: (usize, f64),
    kind: &str,
    setting: &Setting,
    bounds: impl Fn(f64, f64) -> (f64, f64),
) -> Measured<Estimate> {
    const LEAST_CLUSTERS: usize = 20;
    let ((p, share, n), (filled, residuals)) = (of, clusters);
    let plain = |why| Measured::Value(setting.point(value, n as u64, format!("pooled, {kind}"), why));
    if filled < LEAST_CLUSTERS {
        return plain(format!(
            "gaps of one request depend on one another: {filled} requests, {LEAST_CLUSTERS} needed"
        ));
    }
    let k = filled as f64;
    let variance = k / (k - 1.0) * residuals / (n * n);
    let effective = if variance <= 0.0 { n } else { (share * (1.0 - share) / variance).min(n) };
    let ranks = quantile_ranks((effective.floor() as usize).max(1), p, setting.confidence);
    let Some((Some(low), Some(high))) = ranks.ok().map(|r| (r.lower, r.upper)) else {
        let why = format!("gaps of one request depend on one another: worth {effective:.0} independent ones");
        let mut estimate = setting.point(value, n as u64, format!("pooled, {kind}"), why);
        estimate.ess = Some(effective);
        return Measured::Value(estimate);
    };
    let scale = n / effective.floor();
    let (low, high) = bounds(((low - 1) as f64 * scale).floor() + 1.0, (high as f64 * scale).ceil());
    let interval = Interval::new(low.min(value), high.max(value));
    let method = format!("order statistics at the effective n, requests as clusters, {kind}");
    let mut estimate = setting.estimate(value, interval, n as u64, method);
    estimate.ess = Some(effective);
    Measured::Value(estimate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_of_few_values_and_of_values_that_are_never_negative() {
        let setting = Setting { confidence: 0.95, limit: 60.0, seed: 1 };
        let mean = |x: &[f64]| match Series::new(x).mean(&setting) {
            Measured::Value(e) => (e.low.and_then(|b| b.value), e.note),
            Measured::Absent { absent } => panic!("{absent}"),
        };
        let (low, note) = mean(&[0.1, 0.2, 0.9, 0.3]);
        assert_eq!(low, None);
        assert!(note.unwrap().contains("needs 5 values, have 4"));
        // t would reach below 0 here.
        let skewed = [0.001, 0.001, 0.002, 0.001, 9.0];
        let reaches = t_interval(&skewed, 0.95).unwrap().interval.low;
        assert!(reaches < 0.0);
        assert!(mean(&skewed).0.unwrap() >= 0.0);
        let (low, _) = mean(&[-3.0, -1.0, -2.0, -2.5, -1.5, -2.2]);
        assert!(low.unwrap() < 0.0, "what may be negative is");
    }
}
