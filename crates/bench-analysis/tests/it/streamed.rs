//! Records read one by one, from wherever they lie, give the same analysis as a run in memory; and beyond the number of gaps
//! that are kept exactly, the grid says the same within its error.

use std::cell::Cell;

use bench_analysis::Analyzer;
use bench_analysis::clusters::Clusters;
use bench_analysis::estimate::Setting;
use llms_core::bench::metric::METRICS;
use llms_core::bench::{
    Estimate, Load, Measured, MetricSummary, Order, PerformanceAnalyzer as _, RecordOutcome, RecordSource,
    RequestRecord, RunPhase, RunResult,
};
use llms_core::error::{ErrorCode, Result};
use llms_core::observe::Reported;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::support::{answered, at_ms, failed, record, run};

/// Hands out a copy of each record and forgets it, as a file would.
struct OneByOne<'a> {
    records: &'a [RequestRecord],
    read: Cell<u32>,
}

impl RecordSource for OneByOne<'_> {
    fn each(&self, take: &mut dyn FnMut(&RequestRecord) -> Result<()>) -> Result<()> {
        self.read.set(self.read.get() + 1);
        self.records.iter().cloned().try_for_each(|r| take(&r))
    }
}

/// Two targets with failures, reasoning, versions, tokens in chunks and a warm-up; the records in the order they ended.
fn mixed(seed: u64, requests: u64) -> RunResult {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut records = Vec::new();
    for block in 0..requests {
        for target in 0..2 {
            let id = format!("r{block}-{target}");
            let start = block as f64 * 7.0 + random.random_range(0.0..3.0);
            let mut r = record(&id, target, block, at_ms(start));
            r.phase = if block < 3 { RunPhase::Warmup } else { RunPhase::Measured };
            if random.random_bool(0.1) {
                r = failed(r, 20.0, if block % 2 == 0 { ErrorCode::RateLimit } else { ErrorCode::Timeout });
            } else {
                let gap = random.random_range(1.0..9.0);
                r = answered(r, random.random_range(50.0..300.0), gap, random.random_range(1..30));
                if target == 0 {
                    r.chunks.iter_mut().for_each(|c| c.tokens = Some(random.random_range(1..3)));
                }
                r.model = Some(format!("m{target}"));
                let version = if block < requests / 2 { "v1" } else { "v2" };
                r.reported.insert("server.version".to_owned(), Reported::Text(version.to_owned()));
                r.reported.insert("queue_ms".to_owned(), Reported::Number(block as f64));
            }
            records.push(r);
        }
    }
    records.sort_by_key(|r| r.end);
    let mut run = run(&["a", "b"], records);
    run.manifest.scenario.slo = vec!["ttft:p90<200ms".parse().unwrap(), "icl:20".parse().unwrap()];
    run
}

#[track_caller]
fn check(run: &RunResult, passes: u32) {
    let source = OneByOne { records: &run.records, read: Cell::new(0) };
    let streamed = Analyzer::new().analyze_from(&run.manifest, &source).unwrap();
    let whole = Analyzer::new().analyze(run).unwrap();
    assert_eq!(serde_json::to_value(&streamed).unwrap(), serde_json::to_value(&whole).unwrap());
    assert_eq!(source.read.get(), passes, "times the records were read");
    assert_eq!(whole.targets[0].metrics["e2e"].n, whole.targets[0].ok);
    assert!(whole.validity.findings.iter().any(|f| f.measured.contains("changed from v1 to v2")));
}

#[test]
fn a_run_in_memory_and_one_read_record_by_record_give_the_same_analysis() {
    let plain = mixed(1, 300);
    check(&plain, 1);
    let mut open = mixed(2, 300);
    open.manifest.scenario.load = Load::poisson(100.0);
    check(&open, 1);
    // The window, or the part of it that is each target's, must be found first.
    let mut cut_off = mixed(3, 120);
    (cut_off.manifest.window, cut_off.manifest.complete) = (None, false);
    cut_off.records.last_mut().unwrap().outcome = RecordOutcome::Censored;
    check(&cut_off, 2);
    let mut sequential = mixed(4, 120);
    sequential.manifest.scenario.order = Order::Sequential;
    check(&sequential, 2);
}

fn estimate(m: &Measured<Estimate>) -> (f64, f64, f64) {
    let e = m.value().unwrap();
    let f = |b: llms_core::bench::Bounded| b.as_f64().unwrap();
    (f(e.value), f(e.low.unwrap()), f(e.high.unwrap()))
}

#[track_caller]
fn close(what: &str, a: f64, b: f64, within: f64) {
    assert!((a - b).abs() <= within * b.abs(), "{what}: {a} on the grid, {b} exactly");
}

#[test]
fn the_grid_says_what_exact_values_say_within_its_error() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let (mut exact, mut grid) = (Clusters::exact_up_to(1 << 20), Clusters::exact_up_to(1000));
    for _ in 0..2000 {
        // gaps of one answer share its pace
        let pace: f64 = random.random_range(0.005..0.05);
        let n = random.random_range(1..60);
        let mut cluster: Vec<(f64, u64)> =
            (0..n).map(|_| (pace * random.random_range(0.5..2.0), random.random_range(1..4))).collect();
        exact.add(&mut cluster.clone());
        grid.add(&mut cluster);
    }
    let setting = Setting { confidence: 0.95, limit: 60.0, seed: 1 };
    let def = METRICS.iter().find(|m| m.name == "icl").unwrap();
    let summary = |c: &Clusters| -> MetricSummary { c.summary(def, &setting).unwrap() };
    let (e, g) = (summary(&exact), summary(&grid));
    assert_eq!((e.n, e.min, e.max), (g.n, g.min, g.max));
    close("sd", g.sd.unwrap(), e.sd.unwrap(), 1e-9);
    close("median", grid.median().unwrap(), exact.median().unwrap(), 2e-3);
    let (a, b) = (estimate(&g.mean), estimate(&e.mean));
    for (what, a, b) in [("mean", a.0, b.0), ("mean, low", a.1, b.1), ("mean, high", a.2, b.2)] {
        close(what, a, b, 1e-9);
    }
    for (g, e) in g.quantiles.iter().zip(&e.quantiles) {
        let (a, b) = (estimate(&g.all), estimate(&e.all));
        // type 1 against type 7, and a step of the grid
        close(&format!("p{}", g.p), a.0, b.0, 2e-3);
        close(&format!("p{}, low", g.p), a.1, b.1, 4e-3);
        close(&format!("p{}, high", g.p), a.2, b.2, 4e-3);
        let (g, e) = (g.all.value().unwrap(), e.all.value().unwrap());
        close("effective n", g.ess.unwrap(), e.ess.unwrap(), 2e-2);
        assert!(g.method.contains("HDR") && !e.method.contains("HDR"), "{}", g.method);
    }
}
