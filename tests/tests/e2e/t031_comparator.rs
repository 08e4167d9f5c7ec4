//! T031: interleaved runs, intervals for every pair, ties reported as ties, a failed provider never the best.
//! On simulated time: each verdict repeats.

use bench_analysis::Analyzer;
use bench_mock::{FaultKind, FaultRule, Preset, Profile};
use llms_core::bench::{Bound, Order, ProviderComparator as _, Scenario, Seeds, Verdict};

use crate::support::{comparison, judge, ranked, scenario, simulate, simulated, steady, unavailable};

/// Varied as real answers are: median `ttft_ms`, 90 % within ± 30 %.
fn varied(ttft_ms: u64, seed: u64) -> Profile {
    Profile::named("varied")
        .with_latency(std::time::Duration::from_millis(ttft_ms), 0.3)
        .with_token_rate(100.0, 0.2)
        .with_output_tokens(8)
        .with_seed(seed)
}

fn seeded(n: u64, seed: u64) -> Scenario {
    Scenario { seeds: Seeds { nonce: Some(seed), ..Seeds::from_one(seed) }, ..scenario(n, 8) }
}

#[test]
fn every_pair_has_an_interval_about_the_true_ratio() {
    let truth = [("a", 100), ("b", 200), ("c", 300), ("d", 600)];
    let models = simulated((1..).zip(truth).map(|(seed, (name, ttft))| (name, varied(ttft, seed))));
    let c = comparison(&simulate(&models, &seeded(300, 1)));
    let median = |name: &str| truth.iter().find(|(n, _)| *n == name).unwrap().1 as f64;
    assert_eq!(c.pairs.len(), 6 * c.family.len(), "each of six pairs in each metric of {:?}", c.family);
    for pair in c.pairs.iter().filter(|p| p.metric == "ttft") {
        let truth = median(&pair.a) / median(&pair.b);
        assert_eq!((pair.n_pairs, pair.both_failed), (300, 0));
        for e in [&pair.ratio, &pair.ratio_robust].map(|e| e.value().unwrap()) {
            let [low, value, high] =
                [e.low.unwrap(), e.value, e.high.unwrap()].map(|b| b.value.expect("finite"));
            assert!(low < value && value < high, "{pair:?}");
            // A 95 % interval may miss the truth, though not by much.
            assert!(low * 0.95 < truth && truth < high * 1.05, "{} {}: {e:?}", pair.a, pair.b);
        }
        assert_eq!(pair.verdict, Verdict::Better, "a before b before c before d");
        assert!(pair.p_adjusted.unwrap() >= pair.p_value.unwrap());
    }
    assert_eq!(ranked(&c), [("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
}

#[test]
fn two_that_are_the_same_tie_and_say_so() {
    const RUNS: u64 = 20;
    let mut ties = 0;
    for seed in 1..=RUNS {
        let twins = simulated([
            ("one", varied(200, seed * 2)),
            ("two", varied(200, seed * 2 + 1)),
            ("slow", varied(400, 99)),
        ]);
        let c = comparison(&simulate(&twins, &seeded(100, seed)));
        let between = |p: &&llms_core::bench::PairComparison| p.a == "one" && p.b == "two";
        let told_apart = |v: &Verdict| matches!(v, Verdict::Better | Verdict::Worse);
        if c.pairs.iter().filter(between).any(|p| told_apart(&p.verdict)) {
            continue;
        }
        ties += 1;
        for pair in c.pairs.iter().filter(between).filter(|p| ["ttft", "e2e"].contains(&p.metric.as_str())) {
            let Verdict::NoDetectableDifference { smallest_detectable: Some(least) } = pair.verdict else {
                panic!("{pair:?}");
            };
            assert!(0.0 < least && least < 0.5, "{pair:?}");
        }
        let tiers: Vec<u32> = c.rankings.iter().map(|r| r.tier).collect();
        let ranks: Vec<u32> = c.rankings.iter().map(|r| r.rank).collect();
        assert_eq!((tiers, ranks), (vec![1, 1, 2], vec![1, 1, 3]));
        assert_eq!(c.rankings[2].target, "slow");
        let fastest = &c.winner_by_category["fastest"];
        assert_eq!(fastest.targets.len(), 2, "{fastest:?}");
        assert!(fastest.note.is_some());
        assert_eq!(c.overall_winner, None);
    }
    // At 5 % a run: more than three false verdicts in twenty runs come once in 60 such tests.
    assert!(ties >= RUNS - 3, "{ties} of {RUNS} pairs of twins tied");
}

#[test]
fn drift_hits_interleaved_targets_alike_and_a_sequential_order_is_told() {
    let drifting = |seed| Profile { drift_per_hour: 60.0, ..varied(200, seed) };
    let twins = simulated([("one", drifting(1)), ("two", drifting(2))]);
    let mut scenario = seeded(300, 3);
    let run = simulate(&twins, &scenario);
    let ttft = |target| {
        let of = |half: fn(&u64) -> bool| {
            let some: Vec<f64> = run
                .measured(target)
                .filter(|r| half(&r.block))
                .map(|r| r.first_token().unwrap().stamp.user.since(r.sent.unwrap()).unwrap().as_secs_f64())
                .collect();
            some.iter().sum::<f64>() / some.len() as f64
        };
        (of(|b| *b < 150), of(|b| *b >= 150))
    };
    let (early, late) = ttft(0);
    assert!(late > early * 1.05, "the vendor became slower: {early} {late}");
    let c = comparison(&run);
    assert!(
        c.pairs.iter().all(|p| matches!(p.verdict, Verdict::NoDetectableDifference { .. })),
        "{:#?}",
        c.pairs
    );
    scenario.order = Order::Sequential;
    let analysis = judge(&simulate(&twins, &scenario));
    assert!(
        analysis.validity.findings.iter().any(|f| f.signal == "sequential_order"),
        "{:?}",
        analysis.validity
    );
}

#[test]
fn a_provider_that_fails_is_never_the_best() {
    let refusing = |share| steady(100.0).with_fault(FaultRule::share(FaultKind::Server, share));
    let mut models = simulated([
        // Refused within 5 ms: the quickest of all if failures counted as answers.
        ("dead", refusing(1.0)),
        ("flaky", Profile { ttft_ms: bench_mock::Dist::constant(80.0), ..refusing(0.6) }),
        ("sound", steady(100.0)),
        ("slow", steady(300.0)),
    ]);
    models.push(unavailable("gone", "connection refused"));
    let run = simulate(&models, &seeded(200, 5));
    let analysis = judge(&run);
    let c = analysis.comparison.as_ref().unwrap();
    assert_eq!(c.rankings.len(), 5, "everybody is listed");
    assert_eq!(c.overall_winner.as_deref(), Some("sound"), "{:#?}", c.rankings);
    assert_eq!(c.rankings[0].target, "sound");
    let place = |name: &str| c.rankings.iter().position(|r| r.target == name).unwrap();
    assert!(place("dead") > place("slow") && place("gone") > place("slow"), "{:#?}", c.rankings);
    for name in ["dead", "gone"] {
        let ranking = &c.rankings[place(name)];
        assert_eq!((ranking.latency_rank, ranking.cost_rank), (None, None), "{name}");
        assert!(c.winner_by_category.values().all(|w| w.targets.iter().all(|t| t != name)), "{name}");
        assert_eq!(c.performance_matrix[name]["latency"], None, "{name}");
    }
    assert_eq!(c.overall_scores["dead"], Some(0.0));
    assert_eq!(c.performance_matrix["dead"]["reliability"], Some(0.0));
    // More than half of its answers never came: its median is beyond every wait, whatever the others took.
    let flaky = analysis.targets.iter().find(|t| t.target == "flaky").unwrap();
    let median = flaky.metrics["e2e"].quantile(0.5).unwrap().all.value().unwrap().value;
    assert_eq!((median.value, median.bound), (None, Some(Bound::Above(60.0))));
    let reliable = &c.winner_by_category["most_reliable"].targets;
    assert!(
        !reliable.contains(&"flaky".to_owned()) && reliable.contains(&"sound".to_owned()),
        "{reliable:?}"
    );
    for pair in c.pairs.iter().filter(|p| p.a == "gone" || p.b == "gone") {
        let Verdict::NotComparable { reason } = &pair.verdict else { panic!("{pair:?}") };
        assert!(reason.contains("connection refused") || reason.contains("failed"), "{reason}");
    }
}

#[test]
fn both_views_of_the_contract() {
    let models = simulated([
        ("quick", Preset::VeryFast.profile().with_output_tokens(8)),
        ("steady", steady(50.0)),
        ("slow", steady(200.0)),
    ]);
    let c = Analyzer::new().compare(&simulate(&models, &seeded(120, 2))).unwrap();
    // The entity's view: rankings, matrix, winners.
    for r in &c.rankings {
        assert!(r.rank >= 1 && r.tier >= 1 && r.latency_rank.is_some() && r.reliability_rank.is_some());
        assert!((0.0..=100.0).contains(&r.overall_score.unwrap()));
        assert_eq!(r.overall_score, c.overall_scores[&r.target]);
    }
    for row in c.performance_matrix.values() {
        let categories: Vec<&str> = row.keys().map(String::as_str).collect();
        assert_eq!(categories, ["cost", "latency", "reliability", "throughput"]);
        assert_eq!(row["cost"], None, "no price, no cost");
        assert!(row["latency"].unwrap() > 0.0 && row["throughput"].unwrap() > 0.0);
        assert_eq!(row["reliability"], Some(1.0));
    }
    let winners: Vec<&str> = c.winner_by_category.keys().map(String::as_str).collect();
    assert_eq!(winners, ["fastest", "lowest_ttft", "most_cost_effective", "most_reliable"]);
    assert_eq!(c.overall_winner.as_deref(), Some("quick"));
    // The quickstart's view: scores by name; fastest, cheapest, most reliable with their values.
    let scores: Vec<f64> = ["quick", "steady", "slow"].map(|n| c.overall_scores[n].unwrap()).to_vec();
    assert!(scores[0] > scores[1] && scores[1] > scores[2], "{scores:?}");
    let fastest = &c.winner_by_category["fastest"];
    assert_eq!((fastest.targets.as_slice(), fastest.unit.as_str()), (&["quick".to_owned()][..], "s"));
    assert_eq!(fastest.value, c.performance_matrix["quick"]["latency"]);
    let cheapest = &c.winner_by_category["most_cost_effective"];
    assert!(cheapest.targets.is_empty() && cheapest.note.is_some(), "unknown is no winner: {cheapest:?}");
    assert_eq!(c.winner_by_category["most_reliable"].targets.len(), 3, "nobody failed");
    // Fewer than two cannot be compared.
    let alone = simulate(&simulated([("alone", steady(10.0))]), &seeded(20, 1));
    assert_eq!(Analyzer::new().compare(&alone).unwrap_err().code(), llms_core::ErrorCode::InvalidInput);
}
