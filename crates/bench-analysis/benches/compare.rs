//! What a comparison costs: rank intervals and bootstraps at n = 1000, and the whole study of four targets.
#![allow(missing_docs, reason = "a benchmark")]

use std::hint::black_box;

use bench_analysis::Analyzer;
use bench_analysis::simulate::{Draw, Process, interleaved};
use bench_analysis::stats::mean::studentized_bootstrap;
use bench_analysis::stats::signed_rank::signed_rank;
use bench_analysis::stats::two_sample::{brunner_munzel, cliff_delta, hodges_lehmann};
use criterion::{Criterion, criterion_group, criterion_main};
use llms_core::bench::{PerformanceAnalyzer as _, ProviderComparator as _, StudyOptions};

const N: usize = 1000;

fn ranks(c: &mut Criterion) {
    let mut draw = Draw::new(1, 0);
    let x = Process::LogNormal(0.5).draw(N, &mut draw);
    let y = Process::LogNormal(0.5).draw(N, &mut draw);
    let d: Vec<f64> = x.iter().zip(&y).map(|(x, y)| (x / y).ln()).collect();
    c.bench_function("signed rank and Hodges–Lehmann, 1000 pairs", |b| {
        b.iter(|| signed_rank(black_box(&d), 0.95));
    });
    c.bench_function("Hodges–Lehmann shift, 1000 and 1000", |b| {
        b.iter(|| hodges_lehmann(black_box(&x), &y, 0.95));
    });
    c.bench_function("Brunner–Munzel, 1000 and 1000", |b| b.iter(|| brunner_munzel(black_box(&x), &y)));
    c.bench_function("Cliff's delta, 1000 and 1000", |b| b.iter(|| cliff_delta(black_box(&x), &y, 0.95)));
    c.bench_function("studentised bootstrap of a mean, 1000 values, 999 resamples", |b| {
        b.iter(|| studentized_bootstrap(black_box(&x), 0.95, 999, 1));
    });
}

fn runs(c: &mut Criterion) {
    let mut draw = Draw::new(2, 0);
    let columns: Vec<Vec<f64>> = (0..4).map(|_| Process::LogNormal(0.5).draw(N, &mut draw)).collect();
    let blocks: Vec<Vec<Option<f64>>> =
        (0..N).map(|i| columns.iter().map(|c| Some(c[i])).collect()).collect();
    let run = interleaved(&blocks, 1);
    let analyzer = Analyzer::new();
    c.bench_function("analysis, 4 targets, 1000 blocks", |b| b.iter(|| analyzer.analyze(black_box(&run))));
    let options = StudyOptions::default();
    c.bench_function("study, 4 targets, 1000 blocks, 2000 resamples", |b| {
        b.iter(|| analyzer.study(black_box(&run), &options));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = ranks, runs
}
criterion_main!(benches);
