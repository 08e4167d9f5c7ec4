//! T010: 200 runs of four simulated vendors on virtual time, seeds 1 to 200 as they come, through the real runner.
//!
//! The vendors have their faults (1 to 2 % of the requests of two of them), so success-only medians and ratios are what is known.
//! The targets must come out in their known order, the 95 % intervals must hold the configured values in 93 to 97 % of the
//! cases, and two identical targets may be called different in at most 16 of 200 runs.

#![allow(clippy::unwrap_used)] // a panic here is the report

use crate::support;

use std::sync::Arc;

use bench_analysis::Analyzer;
use bench_mock::{Memory, MockModel, Preset, Profile};
use bench_runner::Runner;
use llms_core::bench::{
    Analysis, BenchmarkRunner as _, Load, NullSink, PerformanceAnalyzer as _, RunResult, Scenario, Seeds,
    Target, TargetInfo, Verdict, Warmup,
};
use llms_core::time::VirtualClock;
use llms_core::{CallContext, ChatModel as _};
use support::{Coverage, each_seed};

const RUNS: u64 = 200;
const REQUESTS: u64 = 400;
const TOKENS: u32 = 8;

fn target(name: &str, profile: Profile) -> Target {
    let model = MockModel::builder().profile(profile).truth_capacity(0).build().unwrap();
    let info = TargetInfo {
        name: name.to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    Target { info, model: Some(Arc::new(model)) }
}

/// One run on virtual time: closed loop of eight users, interleaved, every seed from one number.
fn simulate(profiles: &[(&str, Profile)], seed: u64) -> RunResult {
    let targets: Vec<Target> = (0_u64..)
        .zip(profiles)
        .map(|(i, (name, profile))| {
            // memory is simulated by really writing to it, which no stamp on virtual time could show
            let profile = Profile { memory: Memory::default(), ..profile.clone() };
            target(name, profile.with_output_tokens(TOKENS).with_seed(seed * 16 + i))
        })
        .collect();
    let scenario = Scenario {
        requests: Some(REQUESTS),
        warmup: Warmup { requests: 2, prompts: Vec::new() },
        load: Load::closed(8),
        seeds: Seeds { nonce: Some(seed), ..Seeds::from_one(seed) },
        ..Scenario::new("simulation", ["What is 2+2?", "Name a colour.", "Say hello."])
    };
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    clock.block_on(async { Runner::new().run(&targets, &scenario, &mut NullSink, &ctx).await }).unwrap()
}

fn analyze(profiles: &[(&str, Profile)], seed: u64) -> Analysis {
    Analyzer::new().analyze(&simulate(profiles, seed)).unwrap()
}

fn four() -> [(&'static str, Profile); 4] {
    // in the order of their time to the first token
    [Preset::Anthropic, Preset::OpenAi, Preset::Bedrock, Preset::Ollama].map(|p| (p.as_str(), p.profile()))
}

/// Median end-to-end latency in seconds by construction: gaps average out over an answer.
fn e2e_median(profile: &Profile) -> f64 {
    profile.true_ttft_median().as_secs_f64() + f64::from(TOKENS - 1) * profile.true_gap_mean().as_secs_f64()
}

#[derive(Default)]
struct Tally {
    ttft_median: Coverage,
    ttft_mean: Coverage,
    tpot_mean: Coverage,
    error_rate: Coverage,
    ratio: Coverage,
    ratio_robust: Coverage,
    order: u64,
}

#[test]
fn four_targets_in_their_known_order_with_intervals_that_hold() {
    let profiles = four();
    let mut by_e2e: Vec<&(&str, Profile)> = profiles.iter().collect();
    by_e2e.sort_by(|a, b| e2e_median(&a.1).total_cmp(&e2e_median(&b.1)));
    let expected: Vec<&str> = by_e2e.iter().map(|(name, _)| *name).collect();
    let mut tally = Tally::default();
    for a in each_seed(1..=RUNS, |seed| analyze(&profiles, seed)) {
        for (t, (_, profile)) in a.targets.iter().zip(&profiles) {
            let ttft = &t.metrics["ttft"];
            tally
                .ttft_median
                .add(&ttft.quantile(0.5).unwrap().success, profile.true_ttft_median().as_secs_f64());
            tally.ttft_mean.add(&ttft.mean, profile.true_ttft_mean().as_secs_f64());
            tally.tpot_mean.add(&t.metrics["tpot"].mean, profile.true_gap_mean().as_secs_f64());
            if 0.0 < profile.true_error_rate() {
                tally.error_rate.add(&t.error_rate, profile.true_error_rate());
            }
        }
        let c = a.comparison.unwrap();
        let median = |name: &str| {
            profiles.iter().find(|(n, _)| *n == name).unwrap().1.true_ttft_median().as_secs_f64()
        };
        for pair in c.pairs.iter().filter(|p| p.metric == "ttft") {
            let truth = median(&pair.a) / median(&pair.b);
            tally.ratio.add(&pair.ratio, truth);
            // failures shift the pseudo-median, as they should: its truth is the ratio only where nobody fails
            if [&pair.a, &pair.b].iter().all(|n| ["bedrock", "ollama"].contains(&n.as_str())) {
                tally.ratio_robust.add(&pair.ratio_robust, truth);
            }
        }
        let ranked: Vec<&str> = c.rankings.iter().map(|r| r.target.as_str()).collect();
        let first_token = &c.winner_by_category["lowest_ttft"].targets;
        tally.order += u64::from(ranked == expected && first_token == &["anthropic"]);
    }
    println!("order as known: {} of {RUNS}: {expected:?}", tally.order);
    tally.ttft_median.check("TTFT median", RUNS * 4, 93.0, 97.0);
    tally.ttft_mean.check("TTFT mean", RUNS * 4, 93.0, 97.0);
    tally.tpot_mean.check("TPOT mean", RUNS * 4, 93.0, 97.0);
    tally.ratio.check("TTFT ratio, t", RUNS * 6, 93.0, 97.0);
    // ± 3 binomial standard errors of 200 runs
    tally.ratio_robust.check("TTFT ratio, Hodges-Lehmann, no failures", RUNS, 90.4, 99.6);
    // − 3 binomial standard errors of 400 runs; Wilson's interval covers more than it says at some rates
    tally.error_rate.check("error rate", RUNS * 2, 91.7, 99.0);
    assert_eq!(tally.order, RUNS, "the known order is {expected:?}");
}

#[test]
fn two_identical_targets_are_rarely_called_different() {
    let twins = [("one", Preset::OpenAi.profile()), ("two", Preset::OpenAi.profile())];
    let wrong = each_seed(1..=RUNS, |seed| {
        let c = analyze(&twins, seed).comparison.unwrap();
        u64::from(c.pairs.iter().any(|p| matches!(p.verdict, Verdict::Better | Verdict::Worse)))
    });
    let wrong: u64 = wrong.into_iter().sum();
    println!("false verdicts: {wrong} of {RUNS} runs");
    assert!(wrong <= 16, "{wrong} of {RUNS} runs with a false verdict");
}

#[test]
fn the_same_seed_gives_the_same_verdict_to_the_byte() {
    let bytes = || serde_json::to_vec(&analyze(&four(), 7)).unwrap();
    assert_eq!(bytes(), bytes());
}
