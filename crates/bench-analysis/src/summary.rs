//! One target's metrics: from its requests to a [`MetricSummary`] for each row of the metric table that has values.

use std::collections::BTreeMap;

use llms_core::bench::{MetricDef, MetricSummary, Origin, metric};

use crate::cutoff::count_the_cut_off;
use crate::estimate::{Series, Setting, quantiles};
use crate::population::{Population, Standing};
use crate::stats::summary::variance;

/// Latencies that a user waits for: a failed request ranks as +∞ in them. Other metrics are defined on successes only.
pub const RANKS_FAILURES: [&str; 5] = ["ttft", "ttfat", "e2e", "tpot", "tpot_adj"];

/// Facts about the client: they count failed requests too.
const OF_ALL_REQUESTS: [&str; 2] = ["cap_wait", "send_lag"];

/// Values of one metric in the order of the schedule: with failures at +∞, and of successes alone.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Values {
    /// with `+∞`
    pub all: Vec<f64>,
    /// finite ones
    pub success: Vec<f64>,
}

/// Collects a per-request metric over a population.
pub fn values(population: &Population, name: &str, origin: Origin) -> Values {
    let ranks = RANKS_FAILURES.contains(&name);
    let everybody = OF_ALL_REQUESTS.contains(&name);
    let mut values = Values::default();
    for request in population.rows.iter() {
        match population.standing(&request) {
            Standing::Ok => {
                if let Some(v) = request.value(name, origin) {
                    values.all.push(v);
                    values.success.push(v);
                }
            }
            Standing::Failed if ranks => values.all.push(f64::INFINITY),
            Standing::Failed | Standing::Unknown if everybody => {
                if let Some(v) = request.value(name, origin) {
                    values.all.push(v);
                    values.success.push(v);
                }
            }
            Standing::Failed | Standing::Unknown => {}
        }
    }
    // a stream metric that no success has (not streamed, tokens unknown) says nothing about failures either
    if values.success.is_empty() && 0 < population.counts().0 {
        values.all.clear();
    }
    values
}

/// Summary of values of one unit.
pub fn summarize(name: String, unit: &str, values: &Values, setting: &Setting) -> MetricSummary {
    let x = &values.success;
    MetricSummary {
        metric: name,
        unit: unit.to_owned(),
        n: x.len() as u64,
        n_failed: (values.all.len() - x.len()) as u64,
        mean: Series::new(x).mean(setting),
        sd: variance(x).map(f64::sqrt),
        min: x.iter().copied().reduce(f64::min),
        max: x.iter().copied().reduce(f64::max),
        quantiles: quantiles(&values.all, x, setting),
    }
}

/// Every metric of the table that this target has, and a line for each that it lacks.
///
/// `costs`: dollars of each successful request that could be priced, in order. Metrics with an origin appear under their
/// bare name for the headline origin; under open loop the other origin stands beside, with its suffix.
pub fn metrics(
    population: &Population,
    costs: &[f64],
    both_origins: bool,
    setting: &Setting,
) -> (BTreeMap<String, MetricSummary>, Vec<(&'static MetricDef, &'static str)>) {
    let mut found = BTreeMap::new();
    let mut absent = Vec::new();
    for def in metric::METRICS.iter().filter(|m| m.per_request) {
        let summary = match def.name {
            "icl" => population.tally.icl.summary(def, setting),
            "itl" => population.tally.itl.summary(def, setting),
            "cost" => {
                let values = Values { all: costs.to_vec(), success: costs.to_vec() };
                (!costs.is_empty()).then(|| summarize(def.name.to_owned(), def.unit, &values, setting))
            }
            name => {
                let headline = values(population, name, population.headline);
                let other = match population.headline {
                    Origin::Service => (Origin::Response, "response"),
                    Origin::Response => (Origin::Service, "service"),
                };
                if def.has_origin && both_origins {
                    let beside = values(population, name, other.0);
                    if !beside.all.is_empty() {
                        let long = format!("{name}_{}", other.1);
                        let mut one = summarize(long.clone(), def.unit, &beside, setting);
                        count_the_cut_off(&mut one, population, name, other.0, setting);
                        found.insert(long, one);
                    }
                }
                (!headline.all.is_empty()).then(|| {
                    let mut one = summarize(name.to_owned(), def.unit, &headline, setting);
                    count_the_cut_off(&mut one, population, name, population.headline, setting);
                    one
                })
            }
        };
        match summary {
            Some(s) => {
                found.insert(def.name.to_owned(), s);
            }
            None => absent.push((def, def.absent)),
        }
    }
    (found, absent)
}
