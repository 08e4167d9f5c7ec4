//! What is in flight when a run ends: cut off by the user it counts at its age, after the drain it ranks last; and whether the
//! books balance (Little's law).

#![allow(clippy::unwrap_used)] // a panic here is the report

use crate::support;

use bench_analysis::Analyzer;
use llms_core::bench::{Analysis, PerformanceAnalyzer, RecordOutcome, RequestRecord};
use llms_core::error::ErrorCode;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};
use support::{answered, at_ms, failed, record, run};

const N: u64 = 400;

/// Requests 10 ms apart about 1 s long; at 4 s the user ends the run, and a fifth is in flight.
fn cut_off() -> Vec<RequestRecord> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let noise = LogNormal::new(0.0, 0.5).unwrap();
    (0..N)
        .map(|i| {
            let r = record(&format!("{i}"), 0, i, at_ms(i as f64 * 10.0));
            let mut r = answered(r, 1000.0 * noise.sample(&mut rng), 0.0, 1);
            if at_ms(4000.0) < r.end.unwrap() {
                r.chunks.clear();
                r.end = Some(at_ms(4000.0));
                r.outcome = RecordOutcome::Censored;
            }
            r
        })
        .collect()
}

fn analyze(records: Vec<RequestRecord>, interrupted: bool) -> Analysis {
    let mut run = run(&["t"], records);
    run.manifest.interrupted = interrupted;
    Analyzer::new().analyze(&run).unwrap()
}

#[test]
fn leaving_the_slow_out_flatters_and_their_age_corrects_it() {
    let a = analyze(cut_off(), true);
    let t = &a.targets[0];
    assert!((60..140).contains(&t.censored), "{}", t.censored);
    for metric in ["ttft", "e2e"] {
        let p50 = t.metrics[metric].quantile(0.5).unwrap();
        let all = p50.all.value().unwrap();
        let value = all.value.value.unwrap();
        assert!(all.method.contains("Kaplan–Meier"), "{}", all.method);
        assert!(all.note.as_deref().unwrap().contains(&format!("{} requests were in flight", t.censored)));
        assert_eq!(all.n, N);
        let (low, high) = (all.low.unwrap().value.unwrap(), all.high.unwrap().value.unwrap());
        assert!(low <= value && value <= high && low < 1.0 && 1.0 < high, "{low} {value} {high}");
        let flattering = p50.success.value().unwrap().value.value.unwrap();
        assert!(flattering < value, "{flattering} {value}");
    }
}

#[test]
fn failures_stay_last_and_what_was_never_seen_is_not_made_up() {
    let mut records = cut_off();
    for r in records.iter_mut().filter(|r| r.block % 4 == 0) {
        *r = failed(r.clone(), 5.0, ErrorCode::Internal);
    }
    let a = analyze(records, true);
    let p90 = a.targets[0].metrics["e2e"].quantile(0.9).unwrap().all.value().unwrap();
    assert_eq!(p90.value.value, None, "a quarter failed: no p90");
    assert!(p90.value.bound.is_some());
}

#[test]
fn after_the_drain_they_rank_last_as_ever() {
    let a = analyze(cut_off(), false);
    let p99 = a.targets[0].metrics["e2e"].quantile(0.99).unwrap().all.value().unwrap();
    assert_eq!((p99.value.value, p99.method.contains("Kaplan")), (None, false));
}

#[test]
fn the_books_balance_in_a_steady_run_and_not_where_the_queue_grows() {
    let steady = |grow: f64| -> Vec<RequestRecord> {
        (0..2000)
            .map(|i| {
                let r = record(&format!("{i}"), 0, i, at_ms(i as f64 * 100.0));
                answered(r, 500.0 + grow * i as f64, 0.0, 1)
            })
            .collect()
    };
    let signal = |a: &Analysis| {
        let found = a.validity.findings.iter().any(|f| f.signal == "littles_law");
        (a.validity.checked.contains(&"littles_law".to_owned()), found)
    };
    assert_eq!(signal(&analyze(steady(0.0), false)), (true, false));
    let growing = analyze(steady(2.5), false);
    assert_eq!(signal(&growing), (false, true), "{:?}", growing.validity.findings);
    // too short a window says nothing
    let short: Vec<_> = steady(0.0).into_iter().take(60).collect();
    assert_eq!(signal(&analyze(short, false)), (false, false));
}
