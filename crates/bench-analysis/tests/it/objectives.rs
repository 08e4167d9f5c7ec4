//! SLOs with a share: met, missed or undecided, each with failures among the bad.

#![allow(clippy::unwrap_used)] // a panic here is the report

use crate::support;

use bench_analysis::{Analyzer, SloJudge};
use llms_core::bench::{
    Objective, ObjectiveVerdict, PerformanceAnalyzer, RecordOutcome, RequestJudge, RunResult, slo::parse_list,
};
use llms_core::error::ErrorCode;
use support::{answered, at_ms, failed, record, run};

/// `n` requests of which the first `slow` need 600 ms to their first token instead of 100, and the next `failing` fail.
fn served(n: u64, slow: u64, failing: u64) -> RunResult {
    let one = |block: u64| {
        let r = record(&block.to_string(), 0, block, at_ms(block as f64 * 50.0));
        if (slow..slow + failing).contains(&block) {
            failed(r, 10.0, ErrorCode::Timeout)
        } else {
            answered(r, if block < slow { 600.0 } else { 100.0 }, 10.0, 5)
        }
    };
    run(&["t"], (0..n).map(one).collect())
}

fn judge(mut r: RunResult, slo: &str) -> Vec<Objective> {
    r.manifest.scenario.slo = parse_list(slo).unwrap();
    Analyzer::new().analyze(&r).unwrap().targets.remove(0).objectives
}

#[track_caller]
fn check(what: (u64, u64, u64), slo: &str, attained: f64, verdict: ObjectiveVerdict) {
    let objectives = judge(served(what.0, what.1, what.2), slo);
    let [objective] = objectives.as_slice() else { panic!("one for each SLO: {objectives:?}") };
    let estimate = objective.attained.value().unwrap();
    assert!((estimate.value.value.unwrap() - attained).abs() < 1e-12, "{objective:?}");
    assert_eq!((estimate.n, estimate.method.as_str()), (what.0, "Clopper–Pearson"));
    assert_eq!((objective.slo.as_str(), objective.verdict), (slo, verdict), "{objective:?}");
}

#[test]
fn the_exact_interval_decides_and_a_failure_is_bad() {
    use ObjectiveVerdict::{Met, Missed, NotJudged, Undecided};
    // all of n good: low = 0.025^(1/n), which passes 0.99 at n = 368
    check((368, 0, 0), "ttft:p99<500ms", 1.0, Met);
    check((367, 0, 0), "ttft:p99<500ms", 1.0, Undecided);
    check((400, 2, 0), "ttft:p99<500ms", 0.995, Undecided);
    check((400, 20, 0), "ttft:p99<500ms", 0.95, Missed);
    check((400, 0, 20), "ttft:p99<500ms", 0.95, Missed);
    check((400, 10, 10), "ttft:p99<500ms", 0.95, Missed);
    check((400, 10, 10), "ttft:p90<500ms", 0.95, Met);
    check((400, 0, 400), "ttft:p90<500ms", 0.0, Missed);
    // a sample can break "all of them" and never prove it
    check((400, 1, 0), "ttft:p100<500ms", 0.9975, Missed);
    check((400, 0, 0), "ttft:p100<500ms", 1.0, Undecided);
    check((400, 20, 0), "ttft:500", 0.95, NotJudged);
}

#[test]
fn each_objective_stands_alone() {
    let found = judge(served(400, 20, 0), "ttft:p90<500ms e2e:p99<200ms tpot:50");
    let of = |o: &Objective| (o.slo.clone(), o.wanted, o.verdict);
    let [first, second, third] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(of(first), ("ttft:p90<500ms".to_owned(), Some(0.9), ObjectiveVerdict::Met));
    assert_eq!(of(second), ("e2e:p99<200ms".to_owned(), Some(0.99), ObjectiveVerdict::Missed));
    assert_eq!(of(third), ("tpot:50".to_owned(), None, ObjectiveVerdict::NotJudged));
    assert!(judge(served(20, 0, 0), "").is_empty());
}

#[test]
fn what_the_user_cut_off_is_neither_good_nor_bad() {
    let mut r = served(400, 0, 0);
    for record in &mut r.records[390..] {
        record.outcome = RecordOutcome::Censored;
    }
    let attained = |r: &RunResult| {
        let o = judge(r.clone(), "ttft:p90<500ms").remove(0);
        (o.attained.value().unwrap().n, o.attained.value().unwrap().value.value.unwrap())
    };
    assert_eq!(attained(&r), (400, 0.975), "given up after the drain: bad");
    r.manifest.interrupted = true;
    assert_eq!(attained(&r), (390, 1.0));
}

/// A search judges requests one by one as the report of its run does afterwards.
#[test]
fn one_by_one_as_in_the_report() {
    let mut r = served(200, 15, 5);
    r.manifest.scenario.slo = parse_list("ttft:500").unwrap();
    let judge = SloJudge::new(&r.manifest.scenario);
    let good = r.records.iter().filter(|record| judge.is_good(record)).count();
    assert_eq!(good, 180);
    let analysis = Analyzer::new().analyze(&r).unwrap();
    let attainment = analysis.targets[0].throughput.slo_attainment.value().unwrap();
    assert_eq!(attainment.value.value, Some(good as f64 / 200.0));
}
