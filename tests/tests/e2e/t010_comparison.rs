//! T010: distinct vendors come out in their known order, and nobody's failure costs the others anything.

use std::{collections::BTreeMap, sync::Arc};

use bench_mock::{FaultKind, FaultRule, Preset, Profile, server::Protocol, server::ServerConfig};
use bench_runner::Runner;
use llms_bench::simulated::{REQUESTS, default_scenario};
use llms_core::{
    CallContext, ErrorCode,
    bench::{BenchmarkRunner as _, Measured, NullSink, RunResult, Seeds, TargetAnalysis},
    time::{Timestamp, VirtualClock},
};

use crate::support::{
    comparison, direct, judge, ranked, run, scenario, simulate, simulated, steady, targets,
};

const REQUESTS_EACH: u64 = 100;
/// Neither the order of the protocols nor of the targets; milliseconds to the first token.
const ORDER: [(&str, Protocol, f64); 4] = [
    ("ollama", Protocol::Ollama, 10.0),
    ("bedrock", Protocol::Bedrock, 30.0),
    ("openai", Protocol::OpenAi, 60.0),
    ("anthropic", Protocol::Anthropic, 120.0),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_vendors_over_http_in_their_known_order_and_a_fifth_that_always_fails() {
    let mut config = ServerConfig::default()
        .with_model("broken", steady(1.0).with_fault(FaultRule::always(FaultKind::Server)));
    for (_, protocol, ttft) in ORDER {
        config = config.with_profile(protocol, steady(ttft));
    }
    let server = config.start().unwrap();
    let named = [
        ("anthropic", Protocol::Anthropic, "a"),
        ("broken", Protocol::OpenAi, "broken"),
        ("openai", Protocol::OpenAi, "o"),
        ("bedrock", Protocol::Bedrock, "b"),
        ("ollama", Protocol::Ollama, "l"),
    ];
    let run = run(&targets(&server, &named, &direct()).await, &scenario(REQUESTS_EACH, 24)).await;

    assert!(run.manifest.complete && !run.manifest.interrupted);
    is_interleaved(&run, named.len());
    let analysis = judge(&run);
    for (name, _, ttft) in ORDER {
        let target = analysis.targets.iter().find(|t| t.target == name).unwrap();
        assert_eq!((target.scheduled, target.ok, target.failed), (REQUESTS_EACH, REQUESTS_EACH, 0), "{name}");
        assert!(target.metrics["ttft"].min.unwrap() >= ttft / 1e3, "{name} answered before it did");
    }
    let broken = analysis.targets.iter().find(|t| t.target == "broken").unwrap();
    assert_eq!((broken.scheduled, broken.ok, broken.failed), (REQUESTS_EACH, 0, REQUESTS_EACH));
    assert_eq!((broken.errors.len(), broken.errors[0].code), (1, ErrorCode::Internal));

    let c = analysis.comparison.unwrap();
    assert_eq!(
        ranked(&c),
        [("ollama", 1), ("bedrock", 2), ("openai", 3), ("anthropic", 4), ("broken", 5)],
        "{:#?}",
        c.rankings
    );
    assert_eq!(c.overall_winner.as_deref(), Some("ollama"));
    for category in ["fastest", "lowest_ttft"] {
        assert_eq!(c.winner_by_category[category].targets, ["ollama"], "{category}");
    }
    assert!(c.winner_by_category.values().all(|w| !w.targets.contains(&"broken".to_owned())));
    assert_eq!(c.performance_matrix.len(), named.len());
}

/// Every block asks every target the same prompt, one after the other, in an order of its own.
fn is_interleaved(run: &RunResult, n_targets: usize) {
    let mut blocks: BTreeMap<u64, Vec<_>> = BTreeMap::new();
    for record in &run.records {
        blocks.entry(record.block).or_default().push(record);
    }
    assert_eq!(blocks.len() as u64, REQUESTS_EACH);
    let mut orders = BTreeMap::new();
    for (block, mut records) in blocks {
        records.sort_by_key(|r| r.sent);
        let positions: Vec<u32> = records.iter().map(|r| r.position).collect();
        assert_eq!(positions, (0..n_targets as u32).collect::<Vec<_>>(), "block {block}");
        assert!(records.iter().all(|r| r.prompt == records[0].prompt), "block {block}");
        *orders.entry(records.iter().map(|r| r.target).collect::<Vec<_>>()).or_insert(0) += 1;
    }
    assert!(orders.keys().any(|o| o != orders.keys().next().unwrap()), "the order never changes");
    for target in 0..n_targets as u32 {
        assert!(orders.keys().any(|o| o[0] == target), "target {target} is never asked first");
    }
}

/// The presets as the default comparison plays them, faults and all, in process.
fn look_alikes() -> [(&'static str, Profile); 4] {
    [Preset::OpenAi, Preset::Anthropic, Preset::Bedrock, Preset::Ollama].map(|preset| {
        let mut profile = preset.profile().with_output_tokens(16);
        for fault in &mut profile.faults {
            fault.pause_ms = Some(2_000.0);
        }
        (preset.as_str(), profile)
    })
}

#[test]
fn a_full_comparison_of_realistic_vendors_takes_less_than_30_s() {
    let mut scenario = default_scenario();
    scenario.seeds = Seeds { nonce: Some(7), ..Seeds::from_one(7) };
    let run = simulate(&simulated(look_alikes()), &scenario);
    let took = run.manifest.window.unwrap().drained.since(run.manifest.started).unwrap();
    assert!(took.as_secs() < 30, "{took:?}");
    let analysis = judge(&run);
    for target in &analysis.targets {
        assert_eq!(target.ok + target.failed, REQUESTS, "{}", target.target);
        has_intervals(target);
    }
    // Uniform over the providers: the same metrics for each.
    let metrics = |t: &TargetAnalysis| t.metrics.keys().cloned().collect::<Vec<_>>();
    assert!(analysis.targets.windows(2).all(|w| metrics(&w[0]) == metrics(&w[1])));
}

/// 95 % intervals on everything that was measured; percentiles where n carries them, else the reason.
fn has_intervals(target: &TargetAnalysis) {
    let name = &target.target;
    for metric in ["ttft", "e2e", "tpot", "icl"] {
        let summary = &target.metrics[metric];
        let mean = summary.mean.value().unwrap();
        assert!(mean.low.is_some() && mean.high.is_some(), "{name} mean {metric}: {mean:?}");
        for p in [0.5, 0.95, 0.99] {
            let e = summary.quantile(p).unwrap().success.value().unwrap();
            assert_eq!(e.confidence, 0.95);
            let (low, high) = (e.low.unwrap().as_f64().unwrap(), e.high.unwrap().as_f64().unwrap());
            assert!((low..=high).contains(&e.value.as_f64().unwrap()), "{name} {metric} p{p}: {e:?}");
        }
        if metric != "icl" {
            let p999 = &summary.quantile(0.999).unwrap().all;
            assert!(p999.reason().is_some_and(|r| r.contains("n too small")), "{name} {metric}: {p999:?}");
        }
    }
    for rate in [&target.error_rate, &target.throughput.requests, &target.throughput.output_tokens] {
        let Measured::Value(e) = rate else { panic!("{name}: {rate:?}") };
        assert!(e.low.is_some() && e.high.is_some(), "{name}: {e:?}");
    }
}

#[test]
fn five_comparisons_of_four_vendors_at_once() {
    const RUNS: u64 = 5;
    let profiles = [("a", 100.0), ("b", 200.0), ("c", 400.0), ("d", 800.0)];
    let models = simulated(profiles.map(|(name, ttft)| (name, steady(ttft))));
    let clock = VirtualClock::new();
    let runner = Runner::new();
    let runs: Vec<RunResult> = clock.block_on(async {
        let mut tasks = Vec::new();
        for seed in 1..=RUNS {
            let (runner, models, clock) = (runner.clone(), models.clone(), Arc::new(clock.clone()));
            let mut scenario = scenario(40, 4);
            scenario.seeds = Seeds { nonce: Some(seed), ..Seeds::from_one(seed) };
            tasks.push(tokio::spawn(async move {
                let ctx = CallContext::with_clock(clock);
                runner.run(&models, &scenario, &mut NullSink, &ctx).await.unwrap()
            }));
        }
        let mut runs = Vec::new();
        for task in tasks {
            runs.push(task.await.unwrap());
        }
        runs
    });
    assert!(llms_core::time::Clock::now(&clock) < Timestamp::from_nanos(30_000_000_000));
    for run in &runs {
        assert_eq!(run.records.len(), 160);
        assert!(run.records.iter().all(|r| r.is_ok() && r.request_id.starts_with(&run.manifest.run_id)));
        assert_eq!(ranked(&comparison(run)), [("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    }
    let ids: std::collections::BTreeSet<_> =
        runs.iter().flat_map(|r| &r.records).map(|r| r.request_id.clone()).collect();
    assert_eq!(ids.len() as u64, RUNS * 160, "nothing is lost and nothing counted twice");
}
