//! How many requests a precision needs, and whether the plan has them.

use bench_analysis::stats::plan::{Pilot, plan_quantile};
use llms_core::bench::{Scenario, metric};
use serde::Serialize;

use super::pilot::Pilots;
use crate::limit_args::Precision;

/// Quantiles that are told about when no wish is given.
const QUANTILES: [f64; 3] = [0.5, 0.95, 0.99];
/// Half the interval over the value, then.
const RELATIVE: f64 = 0.05;
/// Confidence of every interval.
const CONFIDENCE: f64 = 0.95;
/// Standard deviation of the logarithm of latencies, where nothing is known.
const SPREAD: f64 = 0.5;

/// Requests for one quantile.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SampleSize {
    pub(super) metric: String,
    pub(super) quantile: f64,
    /// Half the interval over the value.
    pub(super) relative: f64,
    confidence: f64,
    /// Requests of one target for that; absent where the pilot does not tell.
    pub(super) requests: Option<u64>,
    /// Fewest requests for any interval at all.
    pub(super) floor: Option<u64>,
    /// Seconds of window at the planned rate.
    pub(super) window_s: Option<f64>,
    /// Whether the plan has as many.
    pub(super) enough: Option<bool>,
    /// Why there is no number.
    pub(super) absent: Option<String>,
}

/// The sizes for a wish, or for the usual quantiles of the headline.
pub(super) fn sizes(
    wish: Option<&Precision>,
    scenario: &Scenario,
    pilots: &Pilots,
    planned: Option<u64>,
) -> Vec<SampleSize> {
    let headline = if scenario.streaming { "ttft" } else { "e2e" };
    let wishes: Vec<Precision> = match wish {
        Some(wish) => vec![wish.clone()],
        None => QUANTILES
            .iter()
            .map(|q| Precision { metric: headline.to_owned(), quantile: *q, relative: RELATIVE })
            .collect(),
    };
    let origin = scenario.load.headline_origin();
    let rate = scenario.duration.zip(planned).map(|(d, n)| n as f64 / d.as_secs_f64());
    wishes
        .into_iter()
        .map(|wish| {
            debug_assert!(metric::find(&wish.metric).is_some());
            let known = match pilots.values(&wish.metric, origin) {
                None => Pilot::log_normal(wish.quantile, SPREAD, 1.0),
                Some(values) => Pilot::from_latencies(&values, wish.quantile),
            };
            let plan = known.and_then(|p| plan_quantile(wish.quantile, wish.relative, CONFIDENCE, &p));
            let (plan, absent) = match plan {
                Ok(plan) => (Some(plan), None),
                Err(e) => (None, Some(format!("the pilot does not tell: {e}"))),
            };
            SampleSize {
                metric: wish.metric,
                quantile: wish.quantile,
                relative: wish.relative,
                confidence: CONFIDENCE,
                requests: plan.map(|p| p.requests),
                floor: plan.map(|p| p.floor),
                window_s: plan.zip(rate).map(|(p, rate)| p.duration_s(rate)),
                enough: plan.zip(planned).map(|(p, n)| p.requests <= n),
                absent,
            }
        })
        .collect()
}
