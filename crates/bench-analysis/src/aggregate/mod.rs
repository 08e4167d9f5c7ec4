//! Several runs of one thing: digests of runs, and what holds over them. The run is the unit.
//!
//! Pooling the requests of all runs covers 33 to 86 % where 95 is claimed, as requests of one run share what was special about
//! it. Statistics of a run are taken on the log scale, and t with r − 1 degrees of freedom says how sure their mean is. Below
//! [`LEAST_RUNS`](llms_core::bench::aggregate::LEAST_RUNS) runs the numbers stand without an interval, and the reason with them.
//! Distributions are merged, never percentiles averaged: the merged sketch is that of all requests together, to the last count.

mod combine;
mod digest;

use std::collections::{BTreeMap, BTreeSet};

use llms_core::bench::{
    AggregateOptions, RecordSource, ResultAggregator, RunDigest, RunManifest, TargetAggregate,
};
use llms_core::error::{Error, ErrorCode, Result};

use crate::Analyzer;

pub(crate) use digest::digest;

/// Puts runs together; judges each with the analyzer's prices and thresholds.
#[derive(Clone, Debug, Default)]
pub struct Aggregator {
    analyzer: Analyzer,
}

impl Aggregator {
    /// With this analyzer's prices and limits of validity.
    pub fn new(analyzer: Analyzer) -> Self {
        Self { analyzer }
    }
}

impl ResultAggregator for Aggregator {
    fn digest(&self, manifest: &RunManifest, records: &dyn RecordSource) -> Result<Vec<RunDigest>> {
        self.analyzer.digest_from(manifest, records)
    }

    fn aggregate(&self, digests: &[RunDigest], options: &AggregateOptions) -> Result<Vec<TargetAggregate>> {
        options.check()?;
        if digests.is_empty() {
            return Err(wrong("expected at least one run to aggregate, found none".to_owned()));
        }
        let mut targets: BTreeMap<&str, Vec<&RunDigest>> = BTreeMap::new();
        for digest in digests {
            targets.entry(&digest.target).or_default().push(digest);
        }
        targets.into_iter().map(|(name, runs)| one_target(name, runs, options)).collect()
    }
}

fn one_target(name: &str, mut runs: Vec<&RunDigest>, options: &AggregateOptions) -> Result<TargetAggregate> {
    runs.sort_by(|a, b| (a.started_at, &a.run_id).cmp(&(b.started_at, &b.run_id)));
    let mut seen = BTreeSet::new();
    if let Some(twice) = runs.iter().find(|r| !seen.insert(&r.run_id)) {
        return Err(wrong(format!("expected each run once, found {} twice for {name}", twice.run_id)));
    }
    for (what, of) in
        [("model", (|r| &r.model) as fn(&RunDigest) -> &String), ("scenario", |r: &RunDigest| &r.scenario)]
    {
        let kinds: BTreeSet<&String> = runs.iter().map(|r| of(r)).collect();
        if 1 < kinds.len() {
            let list: Vec<&str> = kinds.into_iter().map(String::as_str).collect();
            return Err(wrong(format!(
                "expected runs of one {what} for {name}, found {}: aggregate them apart",
                list.join(", ")
            )));
        }
    }
    Ok(combine::target(name, &runs, options))
}

fn wrong(message: String) -> Error {
    Error::new("aggregate", ErrorCode::InvalidInput, message)
}
