//! T010 and T031: what a run's analysis says about its targets, one by one and against each other.

#![allow(clippy::unwrap_used)] // a panic here is the report

use crate::support;

use bench_analysis::Analyzer;
use bench_analysis::cost::{PriceTable, Prices};
use llms_core::bench::{
    Analysis, Bound, Estimate, Level, Load, Measured, PerformanceAnalyzer, ProviderComparator, RecordOutcome,
    RequestRecord, RunPhase, Verdict,
};
use llms_core::error::ErrorCode;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};
use support::{answered, at_ms, failed, record, run};

/// `n` interleaved blocks; target i has TTFT log-normal around `median[i]` ms, 20 tokens 10 ms apart.
fn blocks(median: &[f64], n: u64, seed: u64) -> Vec<RequestRecord> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let noise = LogNormal::new(0.0, 0.3).unwrap();
    let mut records = Vec::new();
    for block in 0..n {
        // hard and easy prompts for everybody
        let prompt: f64 = LogNormal::new(0.0, 0.5).unwrap().sample(&mut rng);
        for (target, median) in median.iter().enumerate() {
            let id = format!("{block}-{target}");
            let r = record(&id, target as u32, block, at_ms(block as f64 * 100.0 + target as f64));
            records.push(answered(
                r,
                median * prompt * noise.sample(&mut rng),
                10.0 * noise.sample(&mut rng),
                20,
            ));
        }
    }
    records
}

fn analyze(targets: &[&str], records: Vec<RequestRecord>) -> Analysis {
    Analyzer::new().analyze(&run(targets, records)).unwrap()
}

fn verdict<'a>(analysis: &'a Analysis, a: &str, b: &str, metric: &str) -> &'a Verdict {
    let pairs = &analysis.comparison.as_ref().unwrap().pairs;
    &pairs.iter().find(|p| p.a == a && p.b == b && p.metric == metric).unwrap().verdict
}

#[test]
fn a_clear_difference_is_seen_through_prompts_that_differ_more() {
    let a = analyze(&["fast", "slow"], blocks(&[100.0, 130.0], 400, 1));
    assert_eq!(*verdict(&a, "fast", "slow", "ttft"), Verdict::Better);
    let c = a.comparison.unwrap();
    let pair = c.pairs.iter().find(|p| p.metric == "ttft").unwrap();
    let ratio = pair.ratio.value().unwrap();
    let (value, low) = (ratio.value.value.unwrap().ln(), ratio.low.unwrap().value.unwrap().ln());
    let se = (value - low) / 1.966;
    assert!((value - (100.0_f64 / 130.0).ln()).abs() < 3.5 * se, "{value} ± {se}");
    assert!(pair.p_value.unwrap() <= pair.p_adjusted.unwrap());
    assert_eq!(c.overall_winner.as_deref(), Some("fast"));
    assert_eq!(c.winner_by_category["lowest_ttft"].targets, ["fast"]);
    assert_eq!(
        c.rankings.iter().map(|r| (r.target.as_str(), r.rank)).collect::<Vec<_>>(),
        [("fast", 1), ("slow", 2)]
    );
}

#[test]
fn equal_targets_tie_and_the_run_says_what_it_could_have_seen() {
    let a = analyze(&["one", "two", "three"], blocks(&[100.0, 100.0, 200.0], 400, 2));
    let Verdict::NoDetectableDifference { smallest_detectable: Some(least) } =
        verdict(&a, "one", "two", "ttft")
    else {
        panic!("{:?}", verdict(&a, "one", "two", "ttft"));
    };
    assert!((0.02..0.2).contains(least), "{least}");
    let c = a.comparison.unwrap();
    assert_eq!(c.overall_winner, None);
    let first = &c.winner_by_category["fastest"];
    assert_eq!(first.targets.len(), 2);
    assert!(first.note.as_deref().unwrap().contains("cannot be told apart"));
    let tiers: Vec<_> = c.rankings.iter().map(|r| (r.tier, r.rank)).collect();
    assert_eq!(tiers, [(1, 1), (1, 1), (2, 3)]);
}

#[test]
fn a_target_that_fails_never_wins_however_fast_it_fails() {
    let mut records = blocks(&[100.0, 200.0], 200, 3);
    for r in records.iter_mut().filter(|r| r.target == 0) {
        *r = failed(r.clone(), 1.0, ErrorCode::Authentication);
    }
    let a = analyze(&["broken", "works"], records);
    assert_eq!(*verdict(&a, "broken", "works", "e2e"), Verdict::Worse);
    assert_eq!(*verdict(&a, "broken", "works", "error_rate"), Verdict::Worse);
    let broken = &a.targets[0];
    assert_eq!((broken.ok, broken.failed), (0, 200));
    assert_eq!(broken.errors.len(), 1);
    assert_eq!((broken.errors[0].count, broken.errors[0].code), (200, ErrorCode::Authentication));
    let p50 = broken.metrics["e2e"].quantile(0.5).unwrap();
    let value = p50.all.value().unwrap().value;
    assert_eq!((value.value, value.bound), (None, Some(Bound::Above(60.0))));
    assert!(p50.success.value().is_none());
    let c = a.comparison.unwrap();
    assert_eq!(c.overall_winner.as_deref(), Some("works"));
    for (category, winner) in &c.winner_by_category {
        assert!(!winner.targets.contains(&"broken".to_owned()), "{category}");
    }
    assert_eq!(c.rankings[1].target, "broken");
    assert_eq!(c.overall_scores["broken"], Some(0.0));
}

#[test]
fn failures_stand_at_infinity_beside_the_successes() {
    let mut records = blocks(&[100.0], 1000, 4);
    for r in records.iter_mut().filter(|r| r.block % 50 == 0) {
        *r = failed(r.clone(), 5.0, ErrorCode::Timeout);
    }
    let a = analyze(&["t"], records);
    assert!(a.comparison.is_none());
    let ttft = &a.targets[0].metrics["ttft"];
    assert_eq!((ttft.n, ttft.n_failed), (980, 20));
    let at = |p: f64| ttft.quantile(p).unwrap();
    assert!(at(0.5).all.value().unwrap().value.value.is_some());
    assert!(at(0.99).all.value().unwrap().value.value.is_none(), "2 % failed: p99 is above the timeout");
    assert!(at(0.99).success.value().unwrap().value.value.is_some());
    assert!(at(0.999).all.reason().unwrap().contains("needs 3688"), "{:?}", at(0.999).all);
    let rate = a.targets[0].error_rate.value().unwrap();
    assert!((rate.value.value.unwrap() - 0.02).abs() < 1e-12 && rate.method == "Wilson");
}

#[test]
fn small_samples_refuse_their_percentiles_by_name() {
    let a = analyze(&["t"], blocks(&[100.0], 40, 5));
    let e2e = &a.targets[0].metrics["e2e"];
    assert!(e2e.quantile(0.5).unwrap().all.value().is_some());
    let why = e2e.quantile(0.99).unwrap().all.reason().unwrap();
    assert_eq!(why, "n too small: p99 needs 368 values for a 95 % interval, have 40");
    assert!(a.not_measured.iter().any(|l| l.contains("p99 needs 368")), "{:?}", a.not_measured);
}

#[test]
fn failed_pairs_are_counted_and_both_failed_left_out() {
    let mut records = blocks(&[100.0, 100.0], 100, 6);
    for r in &mut records {
        let fails = match r.target {
            0 => r.block % 10 < 3,
            _ => r.block % 10 == 0 || r.block == 99,
        };
        if fails {
            *r = failed(r.clone(), 5.0, ErrorCode::Internal);
        }
    }
    let a = analyze(&["a", "b"], records);
    let c = a.comparison.unwrap();
    let pair = c.pairs.iter().find(|p| p.metric == "e2e").unwrap();
    assert_eq!((pair.n_pairs, pair.only_a_failed, pair.only_b_failed, pair.both_failed), (69, 20, 1, 10));
    assert_eq!(pair.ratio.value().unwrap().n, 69);
    assert_eq!(pair.ratio_robust.value().unwrap().n, 90);
    assert!(pair.p_success.unwrap() < 1e-4);
    assert_eq!(pair.verdict, Verdict::Worse, "a failed on a fifth of the prompts");
}

#[test]
fn one_outage_is_one_event_not_thirty() {
    let mut records = blocks(&[100.0, 100.0], 100, 6);
    for r in records.iter_mut().filter(|r| r.target == 0 && r.block < 20) {
        *r = failed(r.clone(), 5.0, ErrorCode::Internal);
    }
    let a = analyze(&["a", "b"], records);
    let c = a.comparison.unwrap();
    let pair = c.pairs.iter().find(|p| p.metric == "e2e").unwrap();
    let robust = pair.ratio_robust.value().unwrap();
    assert!(robust.ess.unwrap() < 50.0, "neighbours fail together: {:?}", robust.ess);
    assert!(robust.note.is_some());
}

#[test]
fn warm_up_counts_nowhere_and_an_interrupted_request_is_unknown() {
    let mut records = blocks(&[100.0], 50, 7);
    records[0].phase = RunPhase::Warmup;
    records[49].outcome = RecordOutcome::Censored;
    let mut r = run(&["t"], records);
    r.manifest.interrupted = true;
    r.manifest.complete = false;
    let a = Analyzer::new().analyze(&r).unwrap();
    let t = &a.targets[0];
    assert_eq!((t.scheduled, t.ok, t.censored, t.warmup), (49, 48, 1, 1));
    assert_eq!(t.metrics["e2e"].n_failed, 0);
    assert_eq!(a.validity.level, Level::Suspect);
    // the same request, given up after the drain, waited longer than anybody allowed
    r.manifest.interrupted = false;
    r.manifest.complete = true;
    assert_eq!(Analyzer::new().analyze(&r).unwrap().targets[0].metrics["e2e"].n_failed, 1);
}

#[test]
fn open_loop_shows_both_origins_and_its_headline_counts_from_the_schedule() {
    let mut records = blocks(&[100.0], 50, 8);
    for r in &mut records {
        r.scheduled = at_ms(r.scheduled.as_nanos() as f64 / 1e6 - 50.0 + 60.0);
        r.released = r.scheduled;
        r.sent = Some(at_ms(r.scheduled.as_nanos() as f64 / 1e6 + 7.0));
        *r = answered(r.clone(), 100.0, 10.0, 5);
    }
    let mut r = run(&["t"], records);
    r.manifest.scenario.load = Load::poisson(10.0);
    let a = Analyzer::new().analyze(&r).unwrap();
    let median = |name: &str| {
        a.targets[0].metrics[name].quantile(0.5).unwrap().all.value().unwrap().value.value.unwrap()
    };
    assert!((median("ttft") - 0.107).abs() < 1e-9 && (median("ttft_service") - 0.100).abs() < 1e-9);
    // 7 ms of the client's own lateness against a limit of 2.1 ms
    assert_eq!(a.validity.level, Level::Invalid);
    assert!(a.validity.findings.iter().any(|f| f.signal == "send_lag"));
    assert!(a.targets[0].throughput.offered.value().is_some());
}

#[test]
fn cost_needs_a_price_and_usage_and_is_never_zero_by_default() {
    let prices = |json: &str| Prices::none().with(PriceTable::parse(json).unwrap());
    let r = run(&["a", "b"], blocks(&[100.0, 100.0], 60, 9));
    let a = Analyzer::new().with_prices(prices(
        r#"{"schema":1,"source":"test","date":"2026-10-01","models":[{"provider":"a","model":"m","input":"1","output":"10"}]}"#,
    ));
    let a = a.analyze(&r).unwrap();
    let cost = a.targets[0].cost.value().unwrap();
    // 20 in, 20 out: 20e-6 × 1 + 20e-6 × 10 dollars
    assert_eq!(cost.per_success_usd.unwrap().to_string(), "0.00022");
    assert_eq!(cost.total_usd.to_string(), "0.0132");
    assert_eq!(cost.price_date, "2026-10-01");
    assert!(a.targets[1].cost.reason().unwrap().contains("no price for b:m"));
    let c = a.comparison.unwrap();
    assert_eq!(c.winner_by_category["most_cost_effective"].targets, ["a"]);
    assert!(c.winner_by_category["most_cost_effective"].note.is_some());
    assert_eq!(c.performance_matrix["b"]["cost"], None);
}

#[test]
fn a_debug_build_and_merged_reads_invalidate() {
    let mut records = blocks(&[100.0], 50, 10);
    for r in &mut records {
        r.chunks[3].stamp.read = 2;
    }
    let mut r = run(&["t"], records);
    r.manifest.build.profile = "debug".to_owned();
    let a = Analyzer::new().analyze(&r).unwrap();
    let signals: Vec<&str> =
        a.validity.findings.iter().filter(|f| f.level == Level::Invalid).map(|f| f.signal.as_str()).collect();
    assert_eq!(signals, ["debug_build", "merged_reads"]);
    assert!((a.targets[0].merged_gap_share.unwrap() - 1.0 / 19.0).abs() < 1e-12);
}

#[test]
fn an_unavailable_target_is_said_and_does_not_hide_the_others() {
    let mut r = run(&["up", "down"], blocks(&[100.0], 60, 11));
    r.manifest.targets[1].unavailable = Some("connection refused".to_owned());
    let a = Analyzer::new().analyze(&r).unwrap();
    assert_eq!(a.targets[1].unavailable.as_deref(), Some("connection refused"));
    let c = a.comparison.unwrap();
    assert!(
        matches!(&c.pairs[0].verdict, Verdict::NotComparable { reason } if reason.contains("connection refused"))
    );
    assert_eq!(c.overall_winner.as_deref(), Some("up"));
    assert_eq!(c.rankings.last().unwrap().target, "down");
    assert!(
        a.not_measured.iter().any(|l| l == "down: everything: connection refused"),
        "{:?}",
        a.not_measured
    );
}

#[test]
fn nothing_to_judge_is_an_error() {
    assert_eq!(Analyzer::new().analyze(&run(&["t"], vec![])).unwrap_err().code(), ErrorCode::InvalidInput);
    assert_eq!(
        Analyzer::new().compare(&run(&["t"], blocks(&[1.0], 9, 1))).unwrap_err().code(),
        ErrorCode::InvalidInput
    );
    let stray = run(&["t"], vec![record("x", 3, 0, at_ms(1.0))]);
    assert!(Analyzer::new().analyze(&stray).unwrap_err().message().contains("target number 3"));
}

/// Limits of a ratio's interval, where there is one.
fn limits(ratio: &Measured<Estimate>) -> Option<(f64, f64)> {
    let e = ratio.value()?;
    Some((e.low?.as_f64()?, e.high?.as_f64()?))
}

#[test]
fn a_verdict_at_odds_with_a_shown_ratio_says_why() {
    let (mut decided, mut tests) = (0, 0);
    for percent in [2_u32, 5, 10, 15, 20, 30, 40] {
        let mut rng = ChaCha8Rng::seed_from_u64(u64::from(percent));
        let mut records = blocks(&[100.0, 115.0], 200, 20 + u64::from(percent));
        for r in records.iter_mut().filter(|r| r.target == 0) {
            if rng.random_ratio(percent, 100) {
                *r = failed(r.clone(), 5.0, ErrorCode::Internal);
            }
        }
        let c = analyze(&["quick", "steady"], records).comparison.unwrap();
        for pair in c.pairs.iter().filter(|p| p.metric != "error_rate") {
            tests += 1;
            let side = match pair.verdict {
                Verdict::Better => -1,
                Verdict::Worse => 1,
                _ => 0,
            };
            for ratio in [&pair.ratio, &pair.ratio_robust] {
                let (low, high) = limits(ratio).unwrap();
                let shown = if high < 1.0 { -1 } else { i32::from(1.0 < low) };
                assert!(shown == side || pair.note.is_some(), "{percent} %: {pair:#?}");
                let estimate = ratio.value().unwrap();
                assert!(estimate.note.is_some() && estimate.ess.is_some(), "failures are in the note");
            }
            // what the run could have seen is not smaller than the effect that it did not see
            let robust = pair.ratio_robust.value().unwrap().value.value;
            if let (Verdict::NoDetectableDifference { smallest_detectable: Some(least) }, Some(effect)) =
                (&pair.verdict, robust)
            {
                assert!(effect.ln().abs() <= least.ln_1p(), "{percent} %: {pair:#?}");
            }
            let note = pair.note.as_deref().unwrap_or_default();
            decided += i32::from(note.starts_with("failures decide: quick alone failed in"));
        }
    }
    assert!(3 < decided && decided < tests, "{decided} of {tests}");
}

#[test]
fn a_run_cut_off_takes_its_window_from_its_records() {
    let mut r = run(&["t"], blocks(&[100.0], 60, 15));
    r.manifest.window = None;
    r.manifest.complete = false;
    let a = Analyzer::new().analyze(&r).unwrap();
    let t = &a.targets[0].throughput;
    let last = r.records.iter().filter_map(|r| r.end).max().unwrap();
    assert!((t.window_s - last.as_nanos() as f64 / 1e9).abs() < 1e-6, "from the first schedule, 0");
    let answers = t.requests.value().unwrap();
    assert_eq!(answers.n, 60, "the last answer is inside");
    assert!(a.not_measured.contains(&"window derived from records: the run was cut off".to_owned()));
    r.records.iter_mut().for_each(|r| r.end = None);
    assert!(Analyzer::new().analyze(&r).unwrap().targets[0].throughput.requests.value().is_none());
}

#[test]
fn damaged_records_are_blamed_before_the_run() {
    let mut r = run(&["t"], vec![]);
    let message =
        |r: &llms_core::bench::RunResult| Analyzer::new().analyze(r).unwrap_err().message().to_owned();
    assert!(message(&r).contains("ended before its measured window"));
    r.manifest.facts.insert("records_tail".to_owned(), "the end is missing".to_owned());
    assert!(message(&r).ends_with("the record file is damaged: the end is missing"), "{}", message(&r));
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let r = run(&["a", "b"], blocks(&[100.0, 110.0], 100, 12));
    let bytes = || serde_json::to_vec(&Analyzer::new().analyze(&r).unwrap()).unwrap();
    assert_eq!(bytes(), bytes());
}

#[test]
fn a_free_target_is_cheaper_without_a_ratio() {
    let json = r#"{"schema":1,"source":"test","date":"2026-10-01","models":[
        {"provider":"free","model":"m","input":"0","output":"0"},
        {"provider":"cheap","model":"m","input":"1","output":"2"},
        {"provider":"dear","model":"m","input":"3","output":"9"}]}"#;
    let prices = Prices::none().with(PriceTable::parse(json).unwrap());
    let r = run(&["free", "cheap", "dear"], blocks(&[100.0, 100.0, 100.0], 60, 13));
    let a = Analyzer::new().with_prices(prices).analyze(&r).unwrap();
    assert_eq!(*verdict(&a, "free", "cheap", "cost"), Verdict::Better);
    let c = a.comparison.unwrap();
    let pair = c.pairs.iter().find(|p| p.a == "free" && p.metric == "cost").unwrap();
    assert!(pair.ratio.reason().unwrap().contains("one side is free of charge"));
    assert!(pair.note.as_deref().unwrap().contains("one side is free of charge"));
    assert_eq!(c.winner_by_category["most_cost_effective"].targets, ["free"]);
    let ranks: Vec<_> = c.rankings.iter().map(|r| (r.target.as_str(), r.cost_rank)).collect();
    for (target, rank) in [("free", 1), ("cheap", 2), ("dear", 3)] {
        assert!(ranks.contains(&(target, Some(rank))), "{ranks:?}");
    }
}

#[test]
fn goodput_counts_every_limit_over_what_was_scheduled() {
    let mut records = blocks(&[100.0], 100, 14);
    for (i, r) in records.iter_mut().enumerate() {
        *r = answered(r.clone(), if i < 30 { 300.0 } else { 100.0 }, 10.0, if i == 99 { 1 } else { 20 });
    }
    records[50] = failed(records[50].clone(), 1.0, ErrorCode::RateLimit);
    // one chunk 40 ms late breaks a limit on gaps, not one on the pace
    let late = records[60].chunks[5].stamp.user;
    for c in &mut records[60].chunks[5..] {
        c.stamp.user = c.stamp.user + std::time::Duration::from_millis(40);
    }
    assert!(late < records[60].chunks[5].stamp.user);
    records[60].end = records[60].chunks.last().map(|c| c.stamp.user);
    let mut r = run(&["t"], records);
    let attained = |r: &llms_core::bench::RunResult| {
        let a = Analyzer::new().analyze(r).unwrap();
        a.targets[0].throughput.slo_attainment.value().unwrap().value.value.unwrap()
    };
    for (slo, expected) in [
        ("ttft:200", 0.69),
        ("ttft:200 tpot:15", 0.69), // the one-token answer has no pace to break
        ("ttft:200 icl:45", 0.68),
        ("ttft:p99<200ms e2e:5", 0.0),
    ] {
        r.manifest.scenario.slo = llms_core::bench::slo::parse_list(slo).unwrap();
        assert!((attained(&r) - expected).abs() < 1e-12, "{slo}: {}", attained(&r));
    }
}
