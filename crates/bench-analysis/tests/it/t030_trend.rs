//! T030: slopes, steps and flat noise judged rightly, in the terms of each metric; nothing alarms across a declared change.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic here is the report

use bench_analysis::trend::confirm::confirm;
use bench_analysis::{Analyzer, Trends};
use llms_core::bench::{
    Annotation, AnnotationKind, Bounded, ChangeStatus, Confirmation, Estimate, Fingerprint, Level, PairUnit,
    PerformanceAnalyzer as _, RunPoint, Summarizer as _, TrendAnalysis, TrendAnalyzer as _, TrendDirection,
    TrendInput, TrendOptions, TrendSeries,
};
use llms_core::error::ErrorCode;
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use time::{Duration, OffsetDateTime};

use crate::support::{self, each_seed};

fn day(i: usize) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::days(20_000 + i as i64)
}

pub(crate) fn estimate(value: f64, relative_width: Option<f64>) -> Estimate {
    Estimate {
        value: Bounded::finite(value),
        low: relative_width.map(|w| Bounded::finite(value / (1.0 + w))),
        high: relative_width.map(|w| Bounded::finite(value * (1.0 + w))),
        confidence: 0.95,
        n: 400,
        ess: None,
        method: "order-statistic, type 7".to_owned(),
        note: None,
    }
}

fn point(i: usize, value: f64) -> RunPoint {
    RunPoint {
        run_id: format!("r{i:04}"),
        at: day(i),
        estimate: estimate(value, Some(0.03)),
        validity: Level::Valid,
        fingerprint: Fingerprint { model: "openai:m".to_owned(), ..Fingerprint::default() },
    }
}

pub(crate) fn series(metric: &str, values: &[f64]) -> TrendSeries {
    TrendSeries {
        target: "openai".to_owned(),
        metric: metric.to_owned(),
        statistic: "p50".to_owned(),
        points: values.iter().enumerate().map(|(i, v)| point(i, *v)).collect(),
    }
}

fn analyze(series: Vec<TrendSeries>, annotations: Vec<Annotation>) -> TrendAnalysis {
    Trends::new().analyze(&TrendInput { series, annotations }).unwrap()
}

fn one(metric: &str, values: &[f64]) -> TrendAnalysis {
    analyze(vec![series(metric, values)], Vec::new())
}

/// `n` runs about 0.1 s with coefficient of variation `cv`.
pub(crate) fn noise(n: usize, cv: f64, seed: u64) -> Vec<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n)
        .map(|_| {
            let e: f64 = StandardNormal.sample(&mut rng);
            0.1 * (1.0 + cv * e)
        })
        .collect()
}

fn stepped(n: usize, at: usize, factor: f64, seed: u64) -> Vec<f64> {
    noise(n, 0.05, seed).into_iter().enumerate().map(|(i, v)| if i < at { v } else { factor * v }).collect()
}

fn supported(a: &TrendAnalysis) -> usize {
    a.metrics.iter().flat_map(|m| &m.changes).filter(|c| c.status == ChangeStatus::Supported).count()
}

fn annotation(i: usize, kind: AnnotationKind) -> Annotation {
    Annotation { at: day(i), kind, text: "announced".to_owned(), target: None }
}

#[test]
fn a_known_slope_is_found_with_its_size() {
    let covered = each_seed(1..=100, |seed| {
        let rising: Vec<f64> = noise(40, 0.02, seed)
            .into_iter()
            .enumerate()
            .map(|(i, v)| v * 1.005_f64.powi(i as i32))
            .collect();
        let a = one("e2e", &rising);
        let m = &a.metrics[0];
        assert_eq!(m.direction, TrendDirection::Worse, "seed {seed}: {}", m.summary);
        if 0 < supported(&a) {
            return (0, 1);
        }
        let slope = m.slope.value().unwrap();
        assert!(slope.p < 1e-4 && slope.p <= slope.p_adjusted && slope.n == 40);
        let per_day = slope.per_day.value().unwrap();
        assert!(
            (per_day.value.value.unwrap() - slope.per_run.value.value.unwrap()).abs() < 1e-9,
            "a run a day"
        );
        let limits = (slope.per_run.low.unwrap().value.unwrap(), slope.per_run.high.unwrap().value.unwrap());
        (u64::from(limits.0 <= 0.005 && 0.005 <= limits.1), 0)
    });
    let (covered, staircases) = covered.iter().fold((0, 0), |s, c| (s.0 + c.0, s.1 + c.1));
    println!("the true slope lies inside {covered} of 100 intervals; {staircases} staircases");
    assert!(88 <= covered && staircases <= 3, "{covered} {staircases}");
}

#[test]
fn flat_noise_moves_no_more_often_than_stated() {
    for (n, histories) in [(12, 400), (30, 400), (60, 200)] {
        let moved = each_seed(1..=histories, |seed| {
            let a = one("ttft", &noise(n, 0.05, 7000 + seed));
            let m = &a.metrics[0];
            let says = matches!(m.direction, TrendDirection::Better | TrendDirection::Worse);
            (u64::from(says), u64::from(m.slope.value().is_some_and(|s| s.p < 0.05)), supported(&a) as u64)
        });
        let sum = |f: fn(&(u64, u64, u64)) -> u64| moved.iter().map(f).sum::<u64>() as f64 / histories as f64;
        let (says, slopes, steps) = (sum(|m| m.0), sum(|m| m.1), sum(|m| m.2));
        println!("n {n}: {says:.3} moved, slope p < 0.05 in {slopes:.3}, changes per history {steps:.3}");
        let above = |level: f64| level + 3.0 * (level * (1.0 - level) / histories as f64).sqrt();
        assert!(slopes <= above(0.05) && says <= above(0.05) && steps <= above(0.01), "n {n}");
    }
}

#[test]
fn a_step_of_ten_per_cent_is_found_where_it_is() {
    let found = each_seed(1..=200, |seed| {
        let a = one("e2e", &stepped(50, 40, 1.1, 900 + seed));
        let m = &a.metrics[0];
        let Some(c) = m.changes.iter().find(|c| c.status == ChangeStatus::Supported) else {
            return (0, 0, 0);
        };
        assert_eq!((m.direction, c.direction), (TrendDirection::Worse, TrendDirection::Worse), "seed {seed}");
        assert!(0.9 < m.confidence.unwrap() && c.p.is_none_or(|p| p < 0.01));
        let limits = (c.effect.low.unwrap().value.unwrap(), c.effect.high.unwrap().value.unwrap());
        let near = (37..=43).any(|i| c.run_id == format!("r{i:04}"));
        (1, u64::from(near), u64::from(limits.0 <= 1.1 && 1.1 <= limits.1))
    });
    let sum = found.iter().fold((0, 0, 0), |s, f| (s.0 + f.0, s.1 + f.1, s.2 + f.2));
    println!("of 200 steps {} found, {} within three runs, {} effects held", sum.0, sum.1, sum.2);
    assert!(
        160 <= sum.0 && 0.9 * f64::from(sum.0) <= sum.1 as f64 && 0.85 * f64::from(sum.0) <= sum.2 as f64
    );
}

#[test]
fn better_and_worse_are_those_of_the_metric() {
    let up: Vec<f64> = stepped(40, 20, 1.5, 3);
    let down: Vec<f64> = stepped(40, 20, 0.6, 3);
    for (metric, rise, fall) in [
        ("e2e", TrendDirection::Worse, TrendDirection::Better),
        ("ttft", TrendDirection::Worse, TrendDirection::Better),
        ("tpot", TrendDirection::Worse, TrendDirection::Better),
        ("error_rate", TrendDirection::Worse, TrendDirection::Better),
        ("cost", TrendDirection::Worse, TrendDirection::Better),
        ("throughput", TrendDirection::Better, TrendDirection::Worse),
        ("goodput", TrendDirection::Better, TrendDirection::Worse),
        ("slo_attainment", TrendDirection::Better, TrendDirection::Worse),
        ("decode_rate", TrendDirection::Better, TrendDirection::Worse),
        ("output_tokens", TrendDirection::Changed, TrendDirection::Changed),
    ] {
        for (values, expected) in [(&up, rise), (&down, fall)] {
            let a = one(metric, values);
            assert_eq!(a.metrics[0].direction, expected, "{metric}: {}", a.trend_summary);
        }
    }
    let both =
        analyze(vec![series("e2e", &down), series("error_rate", &up), series("cost", &down)], Vec::new());
    assert_eq!(
        (both.latency_trend, both.error_rate_trend, both.cost_trend, both.throughput_trend, both.verdict),
        (
            Some(TrendDirection::Better),
            Some(TrendDirection::Worse),
            Some(TrendDirection::Better),
            None,
            TrendDirection::Worse
        )
    );
    assert!((0.9..=1.0).contains(&both.confidence_level) && both.data_points == 40);
}

#[test]
fn steady_is_said_only_when_the_interval_says_so() {
    let calm = one("e2e", &noise(60, 0.02, 5));
    assert_eq!(calm.metrics[0].direction, TrendDirection::Steady, "{}", calm.trend_summary);
    assert!(0.9 < calm.confidence_level);
    let wild = one("e2e", &noise(8, 0.4, 5));
    assert_eq!(
        (wild.metrics[0].direction, wild.verdict),
        (TrendDirection::Undecided, TrendDirection::Undecided)
    );
    assert!(wild.metrics[0].confidence.is_none() && 0.1 < wild.metrics[0].smallest_detectable.unwrap());
}

#[test]
fn one_wild_run_never_alarms_alone() {
    // of nearly equal values, at every place: never
    for place in 0..40 {
        let mut values: Vec<f64> = (0..40).map(|i| 0.1 + 1e-5 * f64::from((i * 37) % 11)).collect();
        values[place] *= 10.0;
        let a = one("e2e", &values);
        assert_eq!(supported(&a), 0, "at {place}: {:?}", a.metrics[0].changes);
        assert_ne!(a.verdict, TrendDirection::Worse, "at {place}");
    }
    // of noise: no more often than without it
    let alarms: usize = each_seed(1..=300, |seed| {
        let mut values = noise(40, 0.05, 300 + seed);
        values[(seed as usize * 7) % 40] *= 10.0;
        usize::from(0 < supported(&one("e2e", &values)))
    })
    .iter()
    .sum();
    println!("{alarms} of 300 noisy histories with one tenfold run alarm");
    assert!(alarms <= 8, "{alarms}");
}

#[test]
fn nothing_alarms_across_a_declared_change() {
    let mut elsewhere = 0;
    for seed in 1..=30 {
        let values = stepped(60, 30, 1.4, seed);
        let plain = one("e2e", &values);
        assert!(0 < supported(&plain), "seed {seed}: {plain:#?}");
        let announced =
            analyze(vec![series("e2e", &values)], vec![annotation(30, AnnotationKind::ProviderRelease)]);
        let m = &announced.metrics[0];
        assert!(m.changes.iter().all(|c| c.run_id != "r0030"), "seed {seed}");
        elsewhere += supported(&announced);
        assert!(m.watch.is_empty() || m.watch.iter().all(|w| w.since_run != "r0030"), "{:?}", m.watch);
        assert!(supported(&announced) > 0 || announced.verdict != TrendDirection::Worse, "seed {seed}");
        let effect = m.declared[0].effect.value().unwrap();
        assert!((effect.value.value.unwrap() - 1.4).abs() < 0.1, "{effect:?}");
        assert_eq!(m.segments.len(), 2 + supported(&announced));
    }
    // sixty stable stretches at one in a hundred
    assert!(elsewhere <= 3, "{elsewhere}");
    // a price touches money only; one before the first run touches nothing
    let values = stepped(60, 30, 1.4, 1);
    let price = vec![annotation(30, AnnotationKind::Price), annotation(0, AnnotationKind::Other)];
    let a = analyze(vec![series("e2e", &values), series("cost", &values)], price);
    assert_eq!((a.metrics[0].direction, supported(&a)), (TrendDirection::Worse, 1));
    assert_eq!((a.metrics[0].declared.len(), a.metrics[1].declared.len()), (0, 1));
}

#[test]
fn the_same_seed_gives_the_same_p_and_order_of_input_does_not_matter() {
    let values = stepped(50, 35, 1.08, 11);
    let first = one("e2e", &values);
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&one("e2e", &values)).unwrap());
    let mut mixed = series("e2e", &values);
    mixed.points.shuffle(&mut ChaCha8Rng::seed_from_u64(1));
    let before = mixed.clone();
    let input = TrendInput { series: vec![mixed], annotations: Vec::new() };
    assert_eq!(Trends::new().analyze(&input).unwrap(), first);
    assert_eq!(input.series[0], before, "the caller's list stays as it is");
    let other = Trends::with_options(TrendOptions { seed: 2, ..TrendOptions::default() }).unwrap();
    let p = |a: &TrendAnalysis| a.metrics[0].changes[0].p.unwrap();
    assert!((p(&other.analyze(&input).unwrap()) - p(&first)).abs() < 0.01);
    // and it survives being written
    let text = serde_json::to_string(&first).unwrap();
    assert_eq!(serde_json::from_str::<TrendAnalysis>(&text).unwrap(), first);
}

#[test]
fn shuffling_a_stable_history_leaves_the_alarm_rate() {
    let alarms = each_seed(1..=400, |seed| {
        let mut values = noise(50, 0.05, 40_000 + seed);
        let alarm = |v: &[f64]| usize::from(one("e2e", v).metrics[0].changes.iter().any(|c| c.p.is_some()));
        let before = alarm(&values);
        values.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        (before, alarm(&values))
    });
    let (before, after) = alarms.iter().fold((0_usize, 0_usize), |s, a| (s.0 + a.0, s.1 + a.1));
    println!("candidates in {before} of 400 histories, {after} after shuffling");
    // p < 0.05 and at least 5 %: 33 is 5 % and three standard errors
    assert!(before <= 33 && after <= 33, "{before} {after}");
}

#[test]
fn only_comparable_runs_are_held_against_each_other() {
    let mut s = series("e2e", &stepped(40, 20, 2.0, 2));
    for p in &mut s.points[..20] {
        p.fingerprint.client = Some("old laptop".to_owned());
    }
    s.points[25].validity = Level::Invalid;
    s.points[26].estimate.value = Bounded::default();
    let a = analyze(vec![s.clone()], Vec::new());
    let m = &a.metrics[0];
    assert_eq!((m.data_points, supported(&a), m.not_compared.len()), (18, 0, 22));
    assert!(m.not_compared.iter().any(|n| n.run_id == "r0003" && n.reason.contains("client machine")));
    assert!(m.not_compared.iter().any(|n| n.run_id == "r0025" && n.reason.contains("INVALID")));
    assert!(a.not_compared.iter().any(|n| n.run_id == "r0026" && n.reason.contains("measured")));
    for p in &mut s.points[..38] {
        p.fingerprint.endpoint = Some("eu".to_owned());
    }
    let error = Trends::new().analyze(&TrendInput { series: vec![s], annotations: Vec::new() }).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
}

#[test]
fn fewer_than_three_runs_are_refused_and_three_have_no_slope_yet() {
    for n in [0, 1, 2] {
        let input = TrendInput { series: vec![series("e2e", &noise(n, 0.05, 1))], annotations: Vec::new() };
        assert_eq!(Trends::new().analyze(&input).unwrap_err().code(), ErrorCode::InvalidInput, "{n} runs");
    }
    let three = one("e2e", &noise(3, 0.05, 1));
    assert!(three.metrics[0].slope.reason().unwrap().contains("needs 4 runs"));
    assert_eq!((three.verdict, three.data_points), (TrendDirection::Undecided, 3));
    assert!(Trends::with_options(TrendOptions { confidence: 0.3, ..TrendOptions::default() }).is_err());
}

/// What a run of one target takes, as records, judged by the analyzer: the way a history is really filled.
#[test]
fn series_come_from_analyses_and_from_summaries() {
    let runs: Vec<_> = (0..14_u32)
        .map(|i| {
            let ttft = if i < 7 { 100.0 } else { 160.0 };
            let records = (0..90_u32)
                .map(|j| {
                    let at = support::at_ms(f64::from(j) * 1000.0);
                    let jitter = f64::from((j * 37 + i * 11) % 23);
                    let r = support::record(&format!("{i}-{j}"), 0, u64::from(j), at);
                    support::answered(r, ttft + jitter, 10.0, 5)
                })
                .collect();
            let mut run = support::run(&["a"], records);
            run.manifest.run_id = format!("r{i:04}");
            run.manifest.started_at = day(i as usize);
            run
        })
        .collect();
    let analyzer = Analyzer::new();
    let judged: Vec<_> = runs.iter().map(|r| analyzer.analyze(r).unwrap()).collect();
    let pairs: Vec<_> = runs.iter().map(|r| &r.manifest).zip(&judged).collect();
    let series = Trends::new().series(&pairs);
    let has =
        |m: &str, s: &str| series.iter().any(|x| x.metric == m && x.statistic == s && x.points.len() == 14);
    assert!(
        has("ttft", "p50") && has("e2e", "p95") && has("error_rate", "value") && has("throughput", "value")
    );
    let a = Trends::new().analyze(&TrendInput { series, annotations: Vec::new() }).unwrap();
    let ttft = a.metrics.iter().find(|m| m.metric == "ttft" && m.statistic == "p50").unwrap();
    assert_eq!((ttft.direction, ttft.data_points), (TrendDirection::Worse, 14), "{}", a.trend_summary);
    assert!(ttft.changes.iter().any(|c| c.run_id == "r0007"), "{:?}", ttft.changes);
    assert_eq!((a.verdict, a.latency_trend), (TrendDirection::Worse, Some(TrendDirection::Worse)));
    // the contract's list of results, in any order; too few are an error
    let mut results: Vec<_> = runs.iter().flat_map(|r| analyzer.summarize(r).unwrap()).collect();
    results.reverse();
    let from_results = Trends::new().of_results(&results).unwrap();
    assert_eq!((from_results.data_points, from_results.latency_trend), (14, Some(TrendDirection::Worse)));
    assert_eq!(Trends::new().of_results(&results[..2]).unwrap_err().code(), ErrorCode::InvalidInput);
}

#[test]
fn a_drifting_environment_is_named_and_its_changes_want_confirmation() {
    let drifting = each_seed(1..=60, |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut at = 0.0;
        let values: Vec<f64> = (0..80)
            .map(|_| {
                let e: f64 = StandardNormal.sample(&mut rng);
                at = 0.7 * at + e;
                0.1 * (0.05 * at).exp()
            })
            .collect();
        let a = one("e2e", &values);
        (usize::from(a.drifting), usize::from(0 < supported(&a)))
    });
    let (named, alarms) = drifting.iter().fold((0, 0), |s, d| (s.0 + d.0, s.1 + d.1));
    println!("of 60 histories with memory 0.7: {named} named drifting, {alarms} alarm");
    assert!(54 <= named && alarms <= 8, "{named} {alarms}");
}

#[test]
fn failures_beyond_the_limit_are_worse_and_say_that_they_are_a_lower_limit() {
    let mut s = series("e2e", &noise(40, 0.05, 8));
    for p in &mut s.points[28..] {
        p.estimate.value = Bounded::above(30.0);
    }
    let a = analyze(vec![s], Vec::new());
    assert_eq!(a.verdict, TrendDirection::Worse);
    let change = a.metrics[0].changes.iter().find(|c| c.status == ChangeStatus::Supported).unwrap();
    assert_eq!(change.run_id, "r0028");
    assert!(change.effect.note.as_deref().unwrap().contains("lower limit"), "{:?}", change.effect);
}

#[test]
fn the_watch_raises_a_step_within_few_runs() {
    let a = one("e2e", &stepped(80, 50, 1.3, 4));
    let alarm = &a.metrics[0].watch[0];
    assert!(("r0050".."r0060").contains(&alarm.raised_by.as_str()), "{alarm:?}");
    assert!(alarm.limit < alarm.z);
}

#[test]
fn a_candidate_comes_with_a_plan_and_the_plan_reads_its_result() {
    let a = one("e2e", &stepped(50, 40, 1.2, 21));
    let change = a.metrics[0].changes.iter().rfind(|c| c.status == ChangeStatus::Supported).unwrap();
    let plan = change.confirmation.value().unwrap();
    assert_eq!((plan.of, plan.current_run.as_str()), (PairUnit::Requests, "r0049"));
    // half of the 20 % on the log scale, and a pair's deviation from a median's interval of 3 % at n = 400
    assert!((plan.margin - 1.2_f64.sqrt()).abs() < 0.02, "{plan:?}");
    let sd = 2.0_f64.sqrt() * (1.03_f64.ln() / 1.959964) * 20.0 / 1.2533;
    assert!((plan.sd - sd).abs() < 0.01 * sd, "{} {sd}", plan.sd);
    let pairs = ((1.644854 + 1.281552) * sd / plan.margin.ln()).powi(2).ceil() as u64;
    assert_eq!(plan.pairs, pairs.max(5));
    assert!((plan.false_alarm_rate - 0.0005).abs() < 1e-12 && plan.how.contains("r0039"));
    let effect = |low: f64, high: f64| Estimate {
        low: Some(Bounded::finite(low)),
        high: Some(Bounded::finite(high)),
        ..estimate(f64::midpoint(low, high), None)
    };
    assert_eq!(confirm(plan, true, &effect(1.12, 1.3)), Confirmation::Confirmed);
    assert_eq!(confirm(plan, true, &effect(0.97, 1.03)), Confirmation::Refuted);
    assert_eq!(confirm(plan, true, &effect(0.97, 1.3)), Confirmation::Inconclusive);
    assert_eq!(
        confirm(plan, true, &estimate(2.0, None)),
        Confirmation::Inconclusive,
        "no interval, no answer"
    );
    assert_eq!(confirm(plan, false, &effect(0.7, 0.9)), Confirmation::Confirmed);
    // a rate has no pairs of requests: whole runs
    let rate = one("throughput", &stepped(50, 40, 0.7, 21));
    let plan = rate.metrics[0].changes.last().unwrap().confirmation.value().unwrap().clone();
    assert_eq!(plan.of, PairUnit::Runs);
    // an earlier level cannot be run again
    let passed = one("e2e", &[stepped(40, 20, 1.5, 1), noise(20, 0.05, 2)].concat());
    assert!(passed.metrics[0].changes[0].confirmation.reason().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn another_unit_changes_no_verdict(
        values in prop::collection::vec(0.01..10.0_f64, 4..60), factor in 0.001..1000.0_f64,
    ) {
        let scaled: Vec<f64> = values.iter().map(|v| v * factor).collect();
        let (a, b) = (one("e2e", &values), one("e2e", &scaled));
        prop_assert_eq!(a.verdict, b.verdict);
        let places = |a: &TrendAnalysis| {
            a.metrics[0].changes.iter().map(|c| (c.run_id.clone(), c.p.map(f64::to_bits))).collect::<Vec<_>>()
        };
        prop_assert_eq!(places(&a), places(&b));
    }

    #[test]
    fn any_history_is_judged_within_its_bounds(
        values in prop::collection::vec(prop_oneof![0.0..5.0_f64, Just(0.0), Just(1.0), Just(f64::INFINITY)], 3..50),
        seed in 0_u64..1000,
    ) {
        for metric in ["e2e", "error_rate", "throughput"] {
            let mut s = series(metric, &values);
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for p in &mut s.points {
                if p.estimate.value.value.is_some_and(f64::is_infinite) {
                    p.estimate.value = Bounded::above(60.0);
                }
                if rng.random_range(0..20) == 0 {
                    p.validity = Level::Invalid;
                }
            }
            let input = TrendInput {
                series: vec![s],
                annotations: vec![annotation(seed as usize % 60, AnnotationKind::ClientUpgrade)],
            };
            let Ok(a) = Trends::new().analyze(&input) else { continue };
            prop_assert!((0.0..=1.0).contains(&a.confidence_level));
            let m = &a.metrics[0];
            prop_assert!(m.confidence.is_none_or(|c| (0.0..=1.0).contains(&c)));
            for c in &m.changes {
                prop_assert!(c.p.is_none_or(|p| 0.0 < p && p <= 1.0));
                let v = c.effect.value.value.unwrap();
                prop_assert!(c.effect.low.is_none_or(|l| l.value.unwrap() <= v));
                prop_assert!(c.effect.high.is_none_or(|h| v <= h.value.unwrap()));
            }
            prop_assert!(serde_json::to_string(&a).is_ok());
        }
    }
}
