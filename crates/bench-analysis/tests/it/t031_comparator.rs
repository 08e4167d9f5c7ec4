//! T031: the comparison in depth. How sure a rank is, who is beaten in everything, tails, gates with three outcomes, what
//! equals look like; ties are ties, and a target that fails never wins.

#![allow(clippy::unwrap_used)] // a panic here is the report

use crate::support;

use bench_analysis::Analyzer;
use bench_analysis::cost::{PriceTable, Prices};
use llms_core::bench::{
    ComparisonStudy, GateOutcome, PerformanceAnalyzer, ProviderComparator, RequestRecord, RunResult,
    StudyOptions, Verdict,
};
use llms_core::error::ErrorCode;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};
use support::{answered, at_ms, each_seed, failed, record, run};

/// Interleaved blocks: TTFT log-normal around `median[i]` ms, 20 tokens 10 ms apart, prompts that differ.
fn blocks(median: &[f64], n: u64, seed: u64) -> Vec<RequestRecord> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (noise, prompts) = (LogNormal::new(0.0, 0.3).unwrap(), LogNormal::new(0.0, 0.5).unwrap());
    let mut records = Vec::new();
    for block in 0..n {
        let prompt: f64 = prompts.sample(&mut rng);
        for (target, median) in median.iter().enumerate() {
            let at = at_ms(block as f64 * 1000.0 + target as f64);
            let r = record(&format!("{block}-{target}"), target as u32, block, at);
            records.push(answered(r, median * prompt * noise.sample(&mut rng), 10.0, 20));
        }
    }
    records
}

fn options() -> StudyOptions {
    StudyOptions { resamples: 1000, ..StudyOptions::default() }
}

fn study_of(run: &RunResult) -> ComparisonStudy {
    Analyzer::new().study(run, &options()).unwrap()
}

fn study(targets: &[&str], records: Vec<RequestRecord>) -> ComparisonStudy {
    study_of(&run(targets, records))
}

#[test]
fn ranks_come_with_their_chance_and_equals_share_the_first_place() {
    let s = study(&["one", "slow", "two"], blocks(&[100.0, 200.0, 100.0], 300, 1));
    assert_eq!((s.blocks, s.resamples), (300, 1000));
    for (category, places) in &s.standings {
        let sum: f64 = places.iter().map(|p| p.p_first).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{category}: {sum}");
        for p in places {
            assert!(p.rank_low <= p.rank && p.rank <= p.rank_high, "{category}: {p:?}");
        }
    }
    let ttft = &s.standings["ttft"];
    let names: Vec<&str> = ttft.iter().map(|p| p.target.as_str()).collect();
    assert_eq!(names, ["one", "slow", "two"], "in the order of the run");
    assert_eq!((ttft[1].rank_low, ttft[1].rank_high, ttft[1].p_first), (3, 3, 0.0));
    for equal in [&ttft[0], &ttft[2]] {
        assert!((0.02..0.98).contains(&equal.p_first), "{equal:?}");
        assert_eq!((equal.rank_low, equal.rank_high), (1, 2));
    }
    // nobody failed: all are first in reliability, and share it
    for place in &s.standings["reliability"] {
        assert_eq!((place.rank, place.value.value), (1, Some(0.0)));
        assert!((place.p_first - 1.0 / 3.0).abs() < 1e-9);
    }
    assert!(!s.standings.contains_key("cost"), "nobody has a price");
}

#[test]
fn a_target_that_fails_is_never_first_nor_on_the_front_nor_through_a_gate() {
    let mut records = blocks(&[50.0, 100.0], 200, 2);
    for r in records.iter_mut().filter(|r| r.target == 0) {
        *r = failed(r.clone(), 1.0, ErrorCode::Authentication);
    }
    let run = run(&["broken", "works"], records);
    let s = study_of(&run);
    for (category, places) in &s.standings {
        assert_eq!((places[0].p_first, places[1].p_first), (0.0, 1.0), "{category}");
        assert_eq!((places[0].rank, places[1].rank), (2, 1), "{category}");
    }
    assert_eq!((s.front.points[0].on_front, s.front.points[0].p_on_front), (false, 0.0));
    assert_eq!((s.front.points[1].on_front, s.front.points[1].p_on_front), (true, 1.0));
    for pair in &s.pairs {
        assert_ne!(pair.a_no_worse.outcome, GateOutcome::Pass, "{pair:?}");
        assert_ne!(pair.equivalent.outcome, GateOutcome::Pass);
    }
    let c = ProviderComparator::compare(&Analyzer::new(), &run).unwrap();
    assert_eq!(c.overall_winner.as_deref(), Some("works"));
    assert!(c.winner_by_category.values().all(|w| !w.targets.contains(&"broken".to_owned())));
    assert_eq!(c.rankings.last().unwrap().target, "broken");
}

#[test]
fn faster_by_failing_is_worse() {
    // a answers twice as fast and fails one time in five
    let mut records = blocks(&[50.0, 100.0], 300, 3);
    for r in records.iter_mut().filter(|r| r.target == 0 && r.block % 5 == 0) {
        *r = failed(r.clone(), 1.0, ErrorCode::Overloaded);
    }
    let s = study(&["hasty", "steady"], records);
    let e2e = s.pairs.iter().find(|p| p.metric == "e2e").unwrap();
    assert_eq!(e2e.a_no_worse.outcome, GateOutcome::Fail);
    assert!(e2e.a_no_worse.why.contains("fails more"), "{}", e2e.a_no_worse.why);
    let reliability = &s.standings["reliability"];
    assert_eq!((reliability[0].p_first, reliability[1].p_first), (0.0, 1.0));
    // p95 with failures at +∞ lies among them
    let tail = &s.standings["tail"];
    assert_eq!((tail[0].value.value, tail[0].rank), (None, 2));
    assert!(e2e.tails.iter().all(|t| t.ratio.value().is_none()), "no ratio to infinity");
}

#[test]
fn three_outcomes_and_how_many_blocks_it_takes() {
    let equal = study(&["a", "b"], blocks(&[100.0, 100.0], 800, 4));
    let few = study(&["a", "b"], blocks(&[100.0, 100.0], 12, 4));
    let slower = study(&["a", "b"], blocks(&[200.0, 100.0], 200, 4));
    let ttft = |s: &ComparisonStudy| s.pairs.iter().find(|p| p.metric == "ttft").unwrap().clone();
    let outcomes = |s: &ComparisonStudy| {
        let p = ttft(s);
        [p.a_no_worse, p.b_no_worse, p.equivalent].map(|g| g.outcome)
    };
    use GateOutcome::{Fail, Inconclusive, Pass};
    assert_eq!(outcomes(&equal), [Pass, Pass, Pass], "{:?}", ttft(&equal));
    assert_eq!(outcomes(&few), [Inconclusive; 3], "{:?}", ttft(&few));
    assert_eq!(outcomes(&slower), [Fail, Pass, Fail], "{:?}", ttft(&slower));
    let run = run(&["a", "b"], blocks(&[100.0, 100.0], 100, 4));
    let needed = |wanted| {
        let s = Analyzer::new().study(&run, &StudyOptions { wanted, ..options() }).unwrap();
        ttft(&s).blocks_needed.unwrap()
    };
    // three metrics of a family without failures: sd .3√2, α .05/3
    let by_hand = ((2.3940_f64 + 0.8416) * 0.3 * 2.0_f64.sqrt() / 1.05_f64.ln()).powi(2) / 0.9549;
    assert!((needed(1.05) as f64 / by_hand - 1.0).abs() < 0.3, "{} against {by_hand}", needed(1.05));
    assert!(needed(1.2) < needed(1.1) && needed(1.1) < needed(1.05));
}

#[test]
fn the_front_holds_who_is_cheap_or_fast_and_nobody_beaten_in_both() {
    let prices = r#"{"schema":1,"source":"test","date":"2026-01-01","models":[
        {"provider":"dear","model":"m","input":"1","output":"30"},
        {"provider":"cheap","model":"m","input":"1","output":"1"},
        {"provider":"beaten","model":"m","input":"1","output":"40"}]}"#;
    let table = PriceTable::parse(prices).unwrap();
    let run = run(&["dear", "cheap", "beaten"], blocks(&[100.0, 400.0, 300.0], 200, 5));
    let analyzer = Analyzer::new().with_prices(Prices::none().with(table));
    let s = analyzer.study(&run, &options()).unwrap();
    assert_eq!(s.front.coordinates, ["cost", "p95", "goodput"]);
    let on: Vec<(bool, bool)> = s.front.points.iter().map(|p| (p.on_front, 0.9 < p.p_on_front)).collect();
    assert_eq!(on, [(true, true), (true, true), (false, false)], "{:?}", s.front);
    assert_eq!(s.front.points[2].p_on_front, 0.0);
    assert!(s.front.points.iter().all(|p| 0.0 < p.goodput && p.cost_per_success.is_some()));
    let cost = &s.standings["cost"];
    assert_eq!(cost.iter().map(|p| p.rank).collect::<Vec<_>>(), [2, 1, 3]);
}

#[test]
fn equals_under_two_names_are_the_noise_floor_and_rarely_alarm() {
    let alarms = each_seed(1..=20, |seed| {
        let mut run = run(&["a", "again"], blocks(&[100.0, 100.0], 100, seed));
        let model = run.manifest.targets[0].model.clone();
        run.manifest.targets[1].model = model;
        let s = study_of(&run);
        let metrics: Vec<&str> = s.noise_floor.iter().map(|f| f.metric.as_str()).collect();
        assert_eq!(metrics, ["ttft", "e2e", "tpot"]);
        let ratio = s.noise_floor[0].ratio.value().unwrap();
        assert!((0.8..1.25).contains(&ratio.value.value.unwrap()));
        s.noise_floor.iter().any(|f| f.alarm)
    });
    let alarms = alarms.into_iter().filter(|a| *a).count();
    assert!(alarms <= 3, "{alarms} of 20 A/A runs alarmed");
    // other models have no noise floor
    assert!(study(&["a", "b"], blocks(&[100.0, 100.0], 50, 1)).noise_floor.is_empty());
}

#[test]
fn targets_without_a_common_block_are_compared_as_two_samples() {
    let apart = |medians: [f64; 2]| {
        let mut records = blocks(&medians, 200, 6);
        for r in records.iter_mut().filter(|r| r.target == 1) {
            r.block += 10_000;
        }
        let run = run(&["a", "b"], records);
        (Analyzer::new().analyze(&run).unwrap().comparison.unwrap(), study_of(&run))
    };
    let (c, s) = apart([100.0, 200.0]);
    let ttft = c.pairs.iter().find(|p| p.metric == "ttft").unwrap();
    assert_eq!(ttft.verdict, Verdict::Better);
    assert_eq!(ttft.n_pairs, 0);
    assert!(ttft.note.as_deref().unwrap().contains("two samples"));
    let ratio = ttft.ratio_robust.value().unwrap();
    assert!(ratio.low.unwrap().value.unwrap() < 0.5 && 0.5 < ratio.high.unwrap().value.unwrap());
    let unpaired = s.pairs[0].unpaired.value().unwrap().clone();
    assert!(0.8 < unpaired.p_less && unpaired.p_value.unwrap() < 1e-6);
    let cliff = unpaired.cliff.value().unwrap();
    assert!((cliff.value.value.unwrap() - (1.0 - 2.0 * unpaired.p_less)).abs() < 1e-12);
    assert_eq!(s.pairs[0].a_no_worse.outcome, GateOutcome::Inconclusive, "gates need pairs");
    let (c, _) = apart([100.0, 100.0]);
    let ttft = c.pairs.iter().find(|p| p.metric == "ttft").unwrap();
    assert!(matches!(ttft.verdict, Verdict::NoDetectableDifference { .. }));
    assert_eq!(c.overall_winner, None);
}

#[test]
fn tails_and_tables_of_many_tests() {
    let s = study(&["a", "b", "c"], blocks(&[100.0, 150.0, 100.0], 600, 7));
    let run = run(&["a", "b", "c"], blocks(&[100.0, 150.0, 100.0], 600, 7));
    let c = Analyzer::new().analyze(&run).unwrap().comparison.unwrap();
    for pair in &s.pairs {
        let same = |p: &&llms_core::bench::PairComparison| {
            (&p.a, &p.b, &p.metric) == (&pair.a, &pair.b, &pair.metric)
        };
        let verdict = c.pairs.iter().find(same).unwrap();
        // Benjamini–Hochberg never asks more than Holm
        assert!(verdict.p_value <= pair.q_value && pair.q_value <= verdict.p_adjusted, "{pair:?}");
    }
    let ttft = s.pairs.iter().find(|p| p.metric == "ttft" && p.a == "a" && p.b == "b").unwrap();
    for tail in &ttft.tails {
        let ratio = tail.ratio.value().unwrap();
        let (low, high) = (ratio.low.unwrap().value.unwrap(), ratio.high.unwrap().value.unwrap());
        assert!(low < 1.0 / 1.5 && 1.0 / 1.5 < high && low < high, "p{}: {low} to {high}", tail.p);
    }
}

#[test]
fn the_same_seed_gives_the_same_study_and_nonsense_is_refused() {
    let run = run(&["a", "b"], blocks(&[100.0, 110.0], 150, 8));
    let text = || serde_json::to_string(&study_of(&run)).unwrap();
    let first = text();
    assert_eq!(first, text());
    assert_eq!(serde_json::from_str::<ComparisonStudy>(&first).unwrap(), study_of(&run));
    let refused = |o: StudyOptions| Analyzer::new().study(&run, &o).unwrap_err().code();
    assert_eq!(refused(StudyOptions { margin: 0.9, ..options() }), ErrorCode::InvalidConfig);
    let alone = support::run(&["a"], blocks(&[100.0], 20, 1));
    assert_eq!(Analyzer::new().study(&alone, &options()).unwrap_err().code(), ErrorCode::InvalidInput);
}

#[test]
fn the_contract_has_both_its_views() {
    let prices = r#"{"schema":1,"source":"test","date":"2026-01-01","models":[
        {"provider":"quick","model":"m","input":"0","output":"30"},
        {"provider":"cheap","model":"m","input":"0","output":"2"}]}"#;
    let analyzer = Analyzer::new().with_prices(Prices::none().with(PriceTable::parse(prices).unwrap()));
    let run = run(&["quick", "cheap"], blocks(&[100.0, 300.0], 200, 9));
    let analysis = analyzer.analyze(&run).unwrap();
    let c = analysis.comparison.as_ref().unwrap();
    let view = c.contract(&run.manifest, &analysis.targets);
    assert_eq!(view.comparison_id, run.manifest.run_id);
    assert_eq!(view.fastest_provider.as_deref(), Some("quick"));
    assert_eq!(view.most_cost_effective.as_deref(), Some("cheap"));
    // both answer always: a tie, and nobody alone
    assert_eq!((view.most_reliable.as_deref(), view.best_success_rate), (None, Some(1.0)));
    assert!((view.best_cost_per_token.unwrap() - 2e-6).abs() < 1e-12);
    assert_eq!(view.best_latency, c.winner_by_category["fastest"].value);
    assert_eq!(view.provider_rankings.len(), 2);
    for r in &view.provider_rankings {
        assert!(1 <= r.rank && (0.0..=100.0).contains(&r.overall_score.unwrap()), "{r:?}");
        assert!(r.latency_rank.is_some() && r.cost_rank.is_some() && r.reliability_rank == Some(1));
    }
    assert_eq!(view.winner_by_category["fastest"].as_deref(), Some("quick"));
    assert!(
        ["latency", "throughput", "cost", "reliability"]
            .iter()
            .all(|k| view.performance_matrix["quick"][*k].is_some())
    );
    let text = serde_json::to_string(&view).unwrap();
    assert_eq!(serde_json::from_str::<llms_core::bench::ProviderComparison>(&text).unwrap(), view);
}
