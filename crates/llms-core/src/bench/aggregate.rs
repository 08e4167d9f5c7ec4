//! Several runs of one thing: what holds over runs, not only within one.
//!
//! A run is kept as a [`RunDigest`]: its statistics, and sketches of its distributions, which merge to exactly what all its
//! requests together would have given. Intervals rest on the run as the unit; percentiles are never averaged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    analysis::{Bounded, Estimate, Measured},
    result::{RunManifest, RunResult},
    sketch::Hdr,
    traits::RecordSource,
    validity::Level,
};
use crate::error::{Error, ErrorCode, Result};

/// Fewest runs for any claim.
pub const LEAST_RUNS: u64 = 5;

/// How runs are put together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AggregateOptions {
    /// Confidence of intervals, 0.5 to 0.99.
    pub confidence: f64,
    /// What starting a run costs, in requests: for the best number of requests a run.
    pub start_cost: f64,
    /// Take runs that judged themselves INVALID too.
    pub include_invalid: bool,
}

impl Default for AggregateOptions {
    fn default() -> Self {
        Self { confidence: 0.95, start_cost: 10.0, include_invalid: false }
    }
}

impl AggregateOptions {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// `invalid_config` naming the field and its range.
    pub fn check(&self) -> Result<()> {
        let wrong =
            |message: String| Err(Error::new("aggregate.configure", ErrorCode::InvalidConfig, message));
        if !(0.5..=0.99).contains(&self.confidence) {
            return wrong(format!("expected a confidence from 0.5 to 0.99, found {}", self.confidence));
        }
        if !(0.0 < self.start_cost && self.start_cost.is_finite()) {
            return wrong(format!("expected a start cost above 0 requests, found {}", self.start_cost));
        }
        Ok(())
    }
}

/// One quantile of one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunQuantile {
    /// Level, in (0, 1).
    pub p: f64,
    /// With failures at +∞; neither number nor bound where the run has too few requests for it.
    pub value: Bounded,
}

/// One metric of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricDigest {
    /// Successes with a value.
    pub n: u64,
    /// Failed requests that rank as +∞ here.
    pub failed: u64,
    /// Independent requests that these are worth, where dependence was found.
    pub ess: Option<f64>,
    /// Mean over successes, seconds.
    pub mean: Option<f64>,
    /// Mean of the natural logarithms over successes.
    pub log_mean: Option<f64>,
    /// Their variance, n − 1; `None` below two.
    pub log_variance: Option<f64>,
    /// Quantiles.
    pub quantiles: Vec<RunQuantile>,
    /// Successes in nanoseconds, three significant figures.
    pub sketch: Hdr,
}

/// What of one target of one run takes part when runs are put together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunDigest {
    /// The run.
    pub run_id: String,
    /// Wall clock at its start.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Name of the target.
    pub target: String,
    /// Provider, model and address: runs of others do not go together.
    pub model: String,
    /// Hash of the scenario, as the run has it: likewise.
    pub scenario: String,
    /// The run's verdict on itself.
    pub level: Level,
    /// Complete answers.
    pub ok: u64,
    /// Failures, those cut off at the end of the drain included.
    pub failed: u64,
    /// By metric name, headline origin.
    pub metrics: BTreeMap<String, MetricDigest>,
    /// `requests_per_s`, `tokens_per_s`, `goodput_per_s`, `cost_per_success_usd`, as far as known.
    pub rates: BTreeMap<String, f64>,
}

/// All values of several runs, exactly as if they had been one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MergedDistribution {
    /// Successes in nanoseconds.
    pub sketch: Hdr,
    /// Failures, which rank above all of them.
    pub failed: u64,
}

impl MergedDistribution {
    /// The quantile of type 1 in seconds, +∞ where it lies among the failures; `None` without values.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let n = self.sketch.len() + self.failed;
        let rank = ((p * n as f64).ceil() as u64).clamp(1, n.max(1));
        if n == 0 {
            return None;
        }
        Some(self.sketch.at_rank(rank).map_or(f64::INFINITY, |ns| ns as f64 / 1e9))
    }
}

/// Where the spread of a metric comes from, on the log scale.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct VarianceComponents {
    /// S₁²: within runs.
    pub within: f64,
    /// S₂²: of the run means.
    pub of_means: f64,
    /// T₂² = S₂² − S₁²/m, m the (effective) requests a run; at or below 0 none can be seen.
    pub between: f64,
    /// Share of the variance of one request that lies between runs.
    pub intraclass: f64,
    /// Requests a run that give most precision for the time: more runs beat longer ones beyond it. `None` when runs do not
    /// differ: then one long run is as good.
    pub best_requests: Option<u64>,
}

/// A quantile over runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantileAggregate {
    /// Level, in (0, 1).
    pub p: f64,
    /// What a run of this kind shows: geometric mean of the runs' quantiles, t(r − 1) on logs.
    pub of_runs: Measured<Estimate>,
    /// The quantile of all requests together, from merged sketches; no interval (requests of a run are no sample of runs).
    pub pooled: Measured<Bounded>,
}

/// One metric over runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricAggregate {
    /// Unit of all numbers here.
    pub unit: String,
    /// Geometric mean of the runs' means, t(r − 1) on logs.
    pub mean: Measured<Estimate>,
    /// p50, p90, p95, p99, p99.9.
    pub quantiles: Vec<QuantileAggregate>,
    /// Where the spread comes from.
    pub variance: Measured<VarianceComponents>,
    /// All requests of all runs.
    pub merged: MergedDistribution,
}

/// A run that stands out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OutlierRun {
    /// The run.
    pub run_id: String,
    /// In what.
    pub metric: String,
    /// Its log median's distance from the median of runs, in robust standard deviations.
    pub distance: f64,
}

/// A run that took no part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The run.
    pub run_id: String,
    /// Why.
    pub why: String,
}

/// One target over several runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetAggregate {
    /// Name of the target.
    pub target: String,
    /// Runs that took part, in the order of their start.
    pub runs: Vec<String>,
    /// Runs that did not.
    pub left_out: Vec<LeftOut>,
    /// Share of failures: mean of the runs' shares, t(r − 1).
    pub error_rate: Measured<Estimate>,
    /// By metric name.
    pub metrics: BTreeMap<String, MetricAggregate>,
    /// As in [`RunDigest::rates`]: geometric mean, t(r − 1) on logs.
    pub rates: BTreeMap<String, Measured<Estimate>>,
    /// Runs that stand out. They took part: see `policy`.
    pub outliers: Vec<OutlierRun>,
    /// What is done about outliers, in words.
    pub policy: String,
}

/// Puts runs together. Pure: the same digests give the same aggregate, in whatever order they come.
pub trait ResultAggregator: Send + Sync {
    /// What of a run takes part, one digest a target on which something was measured; records are read once or twice and not kept.
    ///
    /// # Errors
    /// `invalid_input` when the records do not fit the manifest; errors of `records`.
    fn digest(&self, manifest: &RunManifest, records: &dyn RecordSource) -> Result<Vec<RunDigest>>;

    /// The targets of these digests, by name.
    ///
    /// # Errors
    /// `invalid_input` without digests, for a run that comes twice, and when digests of one target are of different models or
    /// scenarios; `invalid_config` for options outside their ranges.
    fn aggregate(&self, digests: &[RunDigest], options: &AggregateOptions) -> Result<Vec<TargetAggregate>>;

    /// Both steps, for runs in memory.
    ///
    /// # Errors
    /// As the two.
    fn aggregate_runs(&self, runs: &[RunResult], options: &AggregateOptions) -> Result<Vec<TargetAggregate>> {
        let mut digests = Vec::new();
        for run in runs {
            digests.extend(self.digest(&run.manifest, &run.records)?);
        }
        self.aggregate(&digests, options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Grid;

    #[test]
    fn failures_rank_above_all_and_options_have_ranges() {
        let mut sketch = Hdr::new(Grid::THREE);
        (1..=9).for_each(|ms| sketch.add(ms * 1_000_000));
        let merged = MergedDistribution { sketch, failed: 1 };
        assert!((merged.quantile(0.5).unwrap() / 5e-3 - 1.0).abs() < 1e-3);
        assert!(merged.quantile(0.9).unwrap().is_finite() && merged.quantile(0.91) == Some(f64::INFINITY));
        let empty = MergedDistribution { sketch: Hdr::new(Grid::THREE), failed: 0 };
        assert_eq!(empty.quantile(0.5), None);
        let good = AggregateOptions::default();
        good.check().unwrap();
        assert!(AggregateOptions { confidence: 1.0, ..good }.check().is_err());
        assert!(AggregateOptions { start_cost: 0.0, ..good }.check().is_err());
    }
}
