//! Speed of the permutation test behind a change point, 9999 permutations, and of the whole recipe on one history.
//!
//! `stable` stops drawing after 600 permutations as extreme; `stepped` draws them all: the dearest case.

use bench_analysis::stats::change::history::{Recipe, history};
use bench_analysis::stats::change::rank_scan::{RESAMPLES, SEGMENT_MIN, test};
use criterion::{Criterion, criterion_group, criterion_main};

/// Logs about 0 with a step of `height` deviations at two thirds.
fn runs(n: usize, height: f64) -> Vec<f64> {
    let noise = |i: usize| ((i * 7919) % 1009) as f64 / 1009.0 - 0.5;
    (0..n).map(|i| noise(i) + if i < 2 * n / 3 { 0.0 } else { height }).collect()
}

fn change(c: &mut Criterion) {
    for n in [100, 1000] {
        for (case, height) in [("stable", 0.0), ("stepped", 1.0)] {
            let x = runs(n, height);
            c.bench_function(&format!("rank_scan/{case}/{n}"), |b| {
                b.iter(|| test(&x, SEGMENT_MIN, RESAMPLES, 1).expect("finite values"));
            });
        }
        let x = runs(n, 1.0);
        c.bench_function(&format!("history/stepped/{n}"), |b| {
            b.iter(|| history(&x, &Recipe::new(0.05, 1)).expect("finite values"));
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = change
}
criterion_main!(benches);
