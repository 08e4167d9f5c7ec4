//! T032: several runs. The run is the unit, distributions are merged and never percentiles averaged, too few runs make no
//! claim, and what is done about outliers is said.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic here is the report

use crate::support;

use bench_analysis::stats::distribution::t_quantile;
use bench_analysis::stats::runs::run_variance;
use bench_analysis::{Aggregator, Analyzer};
use llms_core::bench::{
    AggregateOptions, Estimate, Measured, RequestRecord, ResultAggregator, RunResult, TargetAggregate,
};
use llms_core::error::ErrorCode;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal, StandardNormal};
use support::{Coverage, answered, at_ms, each_seed, failed, record, run};

/// `n` answers about `median` ms, as a run of its own.
fn one(id: &str, median: f64, n: u64, seed: u64) -> RunResult {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let noise = LogNormal::new(0.0, 0.3).unwrap();
    let records: Vec<RequestRecord> = (0..n)
        .map(|i| {
            let r = record(&format!("{id}-{i}"), 0, i, at_ms(i as f64 * 500.0));
            answered(r, median * noise.sample(&mut rng), 10.0, 5)
        })
        .collect();
    let mut result = run(&["t"], records);
    result.manifest.run_id = id.into();
    result.manifest.build.profile = "release".into();
    result
}

/// Runs whose level differs by `between` on the log scale.
fn several(runs: u64, n: u64, between: f64, seed: u64) -> Vec<RunResult> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..runs)
        .map(|i| {
            let level: f64 = StandardNormal.sample(&mut rng);
            one(&format!("run-{i}"), 200.0 * (between * level).exp(), n, seed * 1000 + i)
        })
        .collect()
}

fn aggregate(runs: &[RunResult]) -> TargetAggregate {
    let mut all = Aggregator::default().aggregate_runs(runs, &AggregateOptions::default()).unwrap();
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn value(m: &Measured<Estimate>) -> &Estimate {
    m.value().unwrap()
}

fn seconds(r: &RequestRecord) -> f64 {
    let first = r.first_token().unwrap().stamp.arrival();
    first.since(r.sent.unwrap()).unwrap().as_secs_f64()
}

#[test]
fn merged_histograms_are_the_histogram_of_merged_samples() {
    let mut runs = several(4, 150, 0.3, 1);
    for r in runs[1].records.iter_mut().take(7) {
        *r = failed(r.clone(), 3.0, ErrorCode::Timeout);
    }
    let merged = &aggregate(&runs).metrics["ttft"].merged;
    let mut together = runs[0].clone();
    together.records = runs.iter().flat_map(|r| r.records.clone()).collect();
    for (i, r) in together.records.iter_mut().enumerate() {
        r.block = i as u64;
    }
    let pooled = Aggregator::default().digest(&together.manifest, &together.records).unwrap();
    let pooled = &pooled[0].metrics["ttft"];
    assert_eq!(merged.sketch, pooled.sketch, "count for count");
    assert_eq!((merged.failed, merged.sketch.len()), (7, 593));
    // and its quantiles are those of all requests, not means of the runs' quantiles
    let mut all: Vec<f64> = runs.iter().flat_map(|r| &r.records).filter(|r| r.is_ok()).map(seconds).collect();
    all.sort_unstable_by(f64::total_cmp);
    for p in [0.5_f64, 0.9, 0.95, 0.98] {
        let exact = all[((600.0 * p).ceil() as usize) - 1];
        let found = merged.quantile(p).unwrap();
        assert!(exact <= found * (1.0 + 1e-9) && found <= exact * 1.001, "p{p}: {found} for {exact}");
    }
    assert_eq!(merged.quantile(0.99), Some(f64::INFINITY), "7 of 600 failed");
}

#[test]
fn too_few_runs_make_no_claim() {
    for n in [1, 4] {
        let a = aggregate(&several(n, 100, 0.1, 2));
        let mean = value(&a.metrics["ttft"].mean);
        assert_eq!((mean.low, mean.high, mean.n), (None, None, n));
        let note = mean.note.as_deref().unwrap();
        assert!(note.contains(&format!("no claim below 5 runs, have {n}")), "{note}");
        assert!(value(&a.error_rate).low.is_none());
    }
    let a = aggregate(&several(5, 100, 0.1, 2));
    assert!(value(&a.metrics["ttft"].mean).low.is_some());
}

#[test]
fn the_interval_is_t_on_the_logs_of_runs() {
    let runs = several(6, 101, 0.2, 3);
    let logs: Vec<f64> = runs
        .iter()
        .map(|r| {
            let mut x: Vec<f64> = r.records.iter().map(seconds).collect();
            x.sort_unstable_by(f64::total_cmp);
            x[50].ln()
        })
        .collect();
    let centre = logs.iter().sum::<f64>() / 6.0;
    let sd = (logs.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / 5.0).sqrt();
    let reach = t_quantile(0.975, 5.0) * sd / 6.0_f64.sqrt();
    let a = aggregate(&runs);
    let median = value(&a.metrics["ttft"].quantiles[0].of_runs).clone();
    for (found, expected) in [
        (median.value, centre.exp()),
        (median.low.unwrap(), (centre - reach).exp()),
        (median.high.unwrap(), (centre + reach).exp()),
    ] {
        assert!((found.value.unwrap() / expected - 1.0).abs() < 1e-9, "{found:?} {expected}");
    }
    // p99 of 101 requests is their maximum: no run has one, so there is none over runs
    assert!(a.metrics["ttft"].quantiles[3].of_runs.reason().unwrap().contains("no run has p99"));
    assert!(a.metrics["ttft"].quantiles[3].pooled.value().is_some(), "606 requests have");
}

#[test]
fn variance_components_are_those_of_kalibera_and_jones() {
    let runs = several(8, 60, 0.2, 4);
    let logs: Vec<Vec<f64>> =
        runs.iter().map(|r| r.records.iter().map(|r| seconds(r).ln()).collect()).collect();
    let expected = run_variance(&logs, 10.0, 0.95).unwrap();
    let a = aggregate(&runs);
    let found = a.metrics["ttft"].variance.value().unwrap();
    for (got, want) in [
        (found.within, expected.within),
        (found.of_means, expected.of_means),
        (found.between, expected.between),
    ] {
        assert!((got / want - 1.0).abs() < 1e-6, "{got} {want}");
    }
    assert_eq!(found.best_requests, expected.best_requests);
    // .2 between, .3 within: √(10 · .09/.04) is 15 requests a run
    assert!((5..60).contains(&found.best_requests.unwrap()), "{found:?}");
    let many = AggregateOptions { start_cost: 1000.0, ..AggregateOptions::default() };
    let dear = &Aggregator::default().aggregate_runs(&runs, &many).unwrap()[0];
    let dear = dear.metrics["ttft"].variance.value().unwrap().best_requests;
    assert!(found.best_requests < dear, "a dear start asks for longer runs");
}

#[test]
fn a_run_that_stands_out_is_named_and_takes_part() {
    let mut runs = several(9, 80, 0.02, 5);
    runs.push(one("slow-day", 600.0, 80, 77));
    let a = aggregate(&runs);
    let named: Vec<&str> =
        a.outliers.iter().filter(|o| o.metric == "ttft").map(|o| o.run_id.as_str()).collect();
    assert_eq!(named, ["slow-day"]);
    assert_eq!(a.runs.len(), 10);
    assert!(a.left_out.is_empty());
    assert!(a.policy.contains("no request and no run is left out"), "{}", a.policy);
    let without = aggregate(&runs[..9]);
    let mean = |a: &TargetAggregate| value(&a.metrics["ttft"].mean).value.value.unwrap();
    assert!(mean(&without) * 1.05 < mean(&a), "it counts");
    assert!(without.outliers.is_empty());
}

#[test]
fn invalid_runs_take_no_part_unless_asked() {
    let mut runs = several(6, 80, 0.05, 6);
    runs[2].manifest.build.profile = "debug".into();
    let a = aggregate(&runs);
    assert_eq!((a.runs.len(), a.left_out.len()), (5, 1));
    assert_eq!(a.left_out[0].run_id, "run-2");
    assert!(a.left_out[0].why.contains("INVALID"));
    let all = AggregateOptions { include_invalid: true, ..AggregateOptions::default() };
    assert_eq!(Aggregator::default().aggregate_runs(&runs, &all).unwrap()[0].runs.len(), 6);
}

#[test]
fn only_runs_of_one_thing_go_together() {
    let aggregator = Aggregator::new(Analyzer::new());
    let options = AggregateOptions::default();
    #[track_caller]
    fn refused(result: llms_core::error::Result<Vec<TargetAggregate>>, why: &str) {
        let e = result.unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidInput);
        assert!(e.to_string().contains(why), "{e}");
    }
    refused(aggregator.aggregate_runs(&[], &options), "at least one run");
    let runs = several(2, 40, 0.0, 7);
    refused(aggregator.aggregate_runs(&[runs[0].clone(), runs[0].clone()], &options), "twice");
    let mut other = runs.clone();
    other[1].manifest.hashes.scenario = "another".into();
    refused(aggregator.aggregate_runs(&other, &options), "one scenario");
    let mut other = runs.clone();
    other[1].manifest.targets[0].model.model = "m-2".into();
    refused(aggregator.aggregate_runs(&other, &options), "one model");
    // the order in which they come does not matter
    let digests: Vec<_> =
        runs.iter().flat_map(|r| aggregator.digest(&r.manifest, &r.records).unwrap()).collect();
    let back: Vec<_> = digests.iter().rev().cloned().collect();
    assert_eq!(
        aggregator.aggregate(&digests, &options).unwrap(),
        aggregator.aggregate(&back, &options).unwrap()
    );
    // and a digest survives its file
    let text = serde_json::to_string(&digests).unwrap();
    assert_eq!(serde_json::from_str::<Vec<llms_core::bench::RunDigest>>(&text).unwrap(), digests);
}

#[test]
fn intervals_over_runs_hold_what_a_further_run_would_show() {
    const SETS: u64 = 300;
    let (mut median, mut mean, mut pooled) = (Coverage::default(), Coverage::default(), 0);
    for (a, within) in each_seed(1..=SETS, |seed| {
        let runs = several(5, 80, 0.1, seed);
        let mut together = runs[0].clone();
        together.records = runs.iter().flat_map(|r| r.records.clone()).collect();
        for (i, r) in together.records.iter_mut().enumerate() {
            r.block = i as u64;
            r.scheduled = at_ms(i as f64 * 500.0);
        }
        let naive = {
            let mut x: Vec<f64> = together.records.iter().map(|r| seconds(r).ln()).collect();
            let n = x.len() as f64;
            let centre = x.iter().sum::<f64>() / n;
            let sd = (x.drain(..).map(|v| (v - centre).powi(2)).sum::<f64>() / n).sqrt();
            (centre - 0.2_f64.ln()).abs() <= 1.96 * sd / n.sqrt()
        };
        (aggregate(&runs), naive)
    }) {
        let ttft = &a.metrics["ttft"];
        median.add(&ttft.quantiles[0].of_runs, 0.2);
        mean.add(&ttft.mean, 0.2 * (0.3_f64 * 0.3 / 2.0).exp());
        pooled += u64::from(within);
    }
    // ± 3 binomial standard errors of 300 sets
    median.check("median over 5 runs", SETS, 91.2, 98.8);
    mean.check("mean over 5 runs", SETS, 91.2, 98.8);
    println!("pooling all requests: {pooled} of {SETS}");
    assert!(pooled < SETS * 7 / 10, "pooling would have claimed too much: {pooled} of {SETS}");
}
