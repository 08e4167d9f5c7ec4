//! What a run's records say: estimates with intervals, and the reason where there is none.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    comparison::Comparison,
    metric::Origin,
    record::ErrorRecord,
    result::{RunManifest, SCHEMA_VERSION},
    validity::Validity,
};
use crate::error::{CallPhase, ErrorCode};

/// A number that may be +∞ because failures rank there: `{ "value": 0.2, "bound": null }`, or
/// `{ "value": null, "bound": { "above": 30.0 } }` for "more than the timeout".
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounded {
    /// The number when finite.
    pub value: Option<f64>,
    /// What is known when it is not.
    pub bound: Option<Bound>,
}

/// A one-sided statement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// More than this (the timeout that the failed requests met, or the longest wait seen).
    Above(f64),
}

impl Bounded {
    /// A finite number.
    pub const fn finite(value: f64) -> Self {
        Self { value: Some(value), bound: None }
    }

    /// +∞, known to be above `limit`.
    pub const fn above(limit: f64) -> Self {
        Self { value: None, bound: Some(Bound::Above(limit)) }
    }

    /// `x`, with +∞ stated as "above `limit`". NaN is a bug of the caller and reads as unknown.
    pub fn from_f64(x: f64, limit: f64) -> Self {
        if x.is_nan() {
            Self::default()
        } else if x.is_infinite() {
            Self::above(limit)
        } else {
            Self::finite(x)
        }
    }

    /// For ranking: the number, or +∞ when only bounded; `None` when unknown.
    pub fn as_f64(self) -> Option<f64> {
        self.value.or(self.bound.map(|_| f64::INFINITY))
    }
}

/// A statistic with its interval and the data behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Point estimate.
    pub value: Bounded,
    /// Lower end of the interval; `None` when the data cannot carry one.
    pub low: Option<Bounded>,
    /// Upper end.
    pub high: Option<Bounded>,
    /// Nominal confidence of the interval, e.g. 0.95.
    pub confidence: f64,
    /// Number of observations.
    pub n: u64,
    /// Effective number of independent observations, where dependence was assessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ess: Option<f64>,
    /// How it was computed: `order-statistic, type 7`, `paired log-ratio t`, `Wilson`, …
    pub method: String,
    /// Why there is no interval, or what to keep in mind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A measurement, or the reason there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Measured<T> {
    /// Measured.
    Value(T),
    /// Not measured.
    Absent {
        /// Why, for the reader.
        absent: String,
    },
}

impl<T> Measured<T> {
    /// Not measured because of `reason`.
    pub fn absent(reason: impl Into<String>) -> Self {
        Self::Absent { absent: reason.into() }
    }

    /// The measurement, if there is one.
    pub fn value(&self) -> Option<&T> {
        match self {
            Self::Value(v) => Some(v),
            Self::Absent { .. } => None,
        }
    }

    /// The reason, if there is none.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Value(_) => None,
            Self::Absent { absent } => Some(absent),
        }
    }
}

/// A quantile of one metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantileEstimate {
    /// In (0, 1).
    pub p: f64,
    /// With failures at +∞: what verdicts and gates use.
    pub all: Measured<Estimate>,
    /// Over successes only; never shown without the failure share.
    pub success: Measured<Estimate>,
}

/// One metric of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// Name in the metric table, with `_service` or `_response` when it is not the headline origin.
    pub metric: String,
    /// Unit of all numbers here.
    pub unit: String,
    /// Values measured.
    pub n: u64,
    /// Failed requests that rank as +∞ here (0 for metrics that are defined on successes only).
    pub n_failed: u64,
    /// Over successes.
    pub mean: Measured<Estimate>,
    /// Over successes; `None` below 2 values.
    pub sd: Option<f64>,
    /// Smallest value.
    pub min: Option<f64>,
    /// Largest value.
    pub max: Option<f64>,
    /// p50, p90, p95, p99, p99.9.
    pub quantiles: Vec<QuantileEstimate>,
}

impl MetricSummary {
    /// The quantile at `p`.
    pub fn quantile(&self, p: f64) -> Option<&QuantileEstimate> {
        self.quantiles.iter().find(|q| (q.p - p).abs() < 1e-12)
    }
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorGroup {
    /// The stable cause.
    pub code: ErrorCode,
    /// Where in the call.
    pub phase: Option<CallPhase>,
    /// HTTP status.
    pub status: Option<u16>,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub sample: ErrorRecord,
    /// What to do about it.
    pub advice: String,
}

/// Rates over the measured window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Length of the window, seconds.
    pub window_s: f64,
    /// Complete answers per second.
    pub requests: Measured<Estimate>,
    /// Output tokens per second.
    pub output_tokens: Measured<Estimate>,
    /// Requests scheduled per second; open loop only.
    pub offered: Measured<f64>,
    /// Time-averaged requests in flight.
    pub mean_in_flight: Measured<f64>,
    /// SLO-good requests per second.
    pub goodput: Measured<Estimate>,
    /// Share of scheduled requests that met every SLO.
    pub slo_attainment: Measured<Estimate>,
}

/// One SLO of the scenario, judged on one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The SLO as it is written: `ttft:p99<500ms`, `ttft:200`.
    pub slo: String,
    /// Share of requests that must meet the limit; `None` for a limit without a share.
    pub wanted: Option<f64>,
    /// Share of the requests scheduled in the window that ended well and met this one limit, with an exact interval.
    pub attained: Measured<Estimate>,
    /// Whether the objective was reached, beyond chance.
    pub verdict: ObjectiveVerdict,
}

/// What the interval of the attained share says about the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectiveVerdict {
    /// The whole interval is at or above the wanted share. A share of 1 can only be missed: no sample proves it.
    Met,
    /// The whole interval is below the wanted share.
    Missed,
    /// The interval holds the wanted share, or nothing was measured: more requests are needed.
    Undecided,
    /// No share was asked for: the limit counts for goodput only.
    NotJudged,
}

/// Tokens of one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenSummary {
    /// Requests whose usage was reported.
    pub reported: u64,
    /// Requests that ended well without usage.
    pub unreported: u64,
    /// Sums over reported usage.
    pub input_tokens: Option<u64>,
    /// Generated tokens.
    pub output_tokens: Option<u64>,
    /// Read from the provider's cache.
    pub cache_read_tokens: Option<u64>,
    /// Written to the provider's cache.
    pub cache_write_tokens: Option<u64>,
    /// Spent on reasoning.
    pub reasoning_tokens: Option<u64>,
}

/// What a target cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostSummary {
    /// US dollars of the measured requests.
    pub total_usd: Decimal,
    /// US dollars per complete answer; failed requests' spend included.
    pub per_success_usd: Option<Decimal>,
    /// US dollars per million output tokens, all spend included.
    pub per_million_output_usd: Option<Decimal>,
    /// Mean per request with interval.
    pub per_request: Measured<Estimate>,
    /// Where the price comes from.
    pub price_source: String,
    /// Date of the price, ISO 8601.
    pub price_date: String,
}

/// Everything about one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetAnalysis {
    /// Name of the target.
    pub target: String,
    /// Answers come from a simulation.
    pub simulated: bool,
    /// Why nothing was measured, when nothing was.
    pub unavailable: Option<String>,
    /// Requests scheduled in the measured window.
    pub scheduled: u64,
    /// Complete answers.
    pub ok: u64,
    /// Errors.
    pub failed: u64,
    /// Unknown: in flight at the end.
    pub censored: u64,
    /// Requests outside the window.
    pub warmup: u64,
    /// failed / (ok + failed).
    pub error_rate: Measured<Estimate>,
    /// Failures by code, phase and status, most frequent first.
    pub errors: Vec<ErrorGroup>,
    /// By metric name; both origins where they differ.
    pub metrics: BTreeMap<String, MetricSummary>,
    /// Rates over the window.
    pub throughput: Throughput,
    /// One for each SLO of the scenario, in its order.
    #[serde(default)]
    pub objectives: Vec<Objective>,
    /// Token sums.
    pub tokens: TokenSummary,
    /// Money.
    pub cost: Measured<CostSummary>,
    /// How answers ended, by reason.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Requests on connections opened for them.
    pub connections_opened: Option<u64>,
    /// Requests sent twice after their reused connection had died silently.
    pub resent: u64,
    /// Models that answered, by name.
    pub models: BTreeMap<String, u64>,
    /// Share of chunk gaps that lie inside one read and are therefore unknown.
    pub merged_gap_share: Option<f64>,
    /// Means of numbers the server reported about itself.
    pub reported: BTreeMap<String, f64>,
}

/// The judgement of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Version of this document.
    pub schema_version: u32,
    /// The run judged.
    pub run_id: String,
    /// Where a bare latency name starts.
    pub headline_origin: Origin,
    /// Confidence of every interval unless it says otherwise.
    pub confidence: f64,
    /// In the order of the run's targets.
    pub targets: Vec<TargetAnalysis>,
    /// Pairs, ranking, winners; `None` for a single target.
    pub comparison: Option<Comparison>,
    /// Whether the numbers can be trusted.
    pub validity: Validity,
    /// What could not be measured, and why.
    pub not_measured: Vec<String>,
}

impl Analysis {
    /// An analysis of `manifest` without content, for implementations to fill.
    pub fn empty(manifest: &RunManifest) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            run_id: manifest.run_id.clone(),
            headline_origin: manifest.scenario.load.headline_origin(),
            confidence: 0.95,
            targets: Vec::new(),
            comparison: None,
            validity: Validity::default(),
            not_measured: Vec::new(),
        }
    }
}
