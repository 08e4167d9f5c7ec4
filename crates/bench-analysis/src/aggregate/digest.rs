//! From a run to what takes part of it: the statistics of each metric and a sketch of its distribution.

use std::collections::BTreeMap;

use llms_core::bench::{
    Bounded, Estimate, Grid, Hdr, Level, Measured, MetricDigest, RunDigest, RunManifest, RunQuantile,
    TargetAnalysis,
};
use rust_decimal::prelude::ToPrimitive;

use crate::estimate::{LEVELS, is_dependent};
use crate::population::Population;
use crate::stats::dependence::effective_size;
use crate::stats::order_interval::smallest_n_two_sided;
use crate::stats::quantile::{QuantileType, Sample};
use crate::stats::summary::{mean, variance};
use crate::summary::{Values, values};

/// Metrics that are followed over runs: what a user waits for, and the longest silence.
const METRICS: [&str; 6] = ["ttft", "ttfat", "e2e", "tpot", "tpot_adj", "max_gap"];

/// The digest of one target.
pub(crate) fn digest(
    manifest: &RunManifest,
    index: usize,
    population: &Population,
    analysis: &TargetAnalysis,
    level: Level,
) -> RunDigest {
    let info = &manifest.targets[index];
    let metrics = METRICS.iter().filter_map(|&name| {
        let values = values(population, name, population.headline);
        (!values.all.is_empty()).then(|| (name.to_owned(), metric(&values)))
    });
    let model = &info.model;
    RunDigest {
        run_id: manifest.run_id.clone(),
        started_at: manifest.started_at,
        target: info.name.clone(),
        model: match info.stable_endpoint() {
            Some(endpoint) => format!("{}:{} at {endpoint}", model.provider, model.model),
            None => format!("{}:{}", model.provider, model.model),
        },
        scenario: manifest.hashes.scenario.clone(),
        level,
        ok: analysis.ok,
        failed: population.ranked_failures(),
        metrics: metrics.collect(),
        rates: rates(analysis),
    }
}

fn metric(values: &Values) -> MetricDigest {
    let x = &values.success;
    let positive = !x.is_empty() && x.iter().all(|v| 0.0 < *v);
    let logs: Vec<f64> = if positive { x.iter().map(|v| v.ln()).collect() } else { Vec::new() };
    let mut sketch = Hdr::new(Grid::THREE);
    for v in x {
        sketch.add((v * 1e9).round().max(0.0) as u64);
    }
    let sample = Sample::new(&values.all[..]).ok();
    let quantile = |p: f64| {
        let carried = smallest_n_two_sided(p, 0.95).is_ok_and(|least| least <= values.all.len() as u64);
        let value = sample.as_ref().filter(|_| carried).and_then(|s| s.quantile(p, QuantileType::Type7).ok());
        RunQuantile { p, value: value.map_or_else(Bounded::default, |v| Bounded::from_f64(v, f64::MAX)) }
    };
    MetricDigest {
        n: x.len() as u64,
        failed: (values.all.len() - x.len()) as u64,
        ess: if is_dependent(&logs) {
            effective_size(&logs).ok().map(|e| e.ess.min(x.len() as f64))
        } else {
            None
        },
        mean: (!x.is_empty()).then(|| mean(x)),
        log_mean: (!logs.is_empty()).then(|| mean(&logs)),
        log_variance: variance(&logs),
        quantiles: LEVELS.map(quantile).into(),
        sketch,
    }
}

fn rates(analysis: &TargetAnalysis) -> BTreeMap<String, f64> {
    let value = |m: &Measured<Estimate>| m.value().and_then(|e| e.value.value);
    let t = &analysis.throughput;
    let cost = analysis.cost.value().and_then(|c| c.per_success_usd?.to_f64());
    let known = [
        ("requests_per_s", value(&t.requests)),
        ("tokens_per_s", value(&t.output_tokens)),
        ("goodput_per_s", value(&t.goodput)),
        ("cost_per_success_usd", cost),
    ];
    known.into_iter().filter_map(|(name, v)| Some((name.to_owned(), v?))).collect()
}
