//! Budgets and stop rules on simulated time: nothing is sent that could pass a limit, and what is in flight is waited for.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use std::sync::Arc;

use bench_mock::{Dist, MockModel, Preset, Profile};
use bench_runner::{Runner, RunnerBuilder};
use common::*;
use llms_core::{
    ChatModel as _, Usage,
    bench::{
        Budget, CostMeter, ErrorRateStop, Load, RequestRecord, RunPhase, RunResult, Scenario, StopReason,
        StopRule, Target, TargetInfo,
    },
};
use rust_decimal::Decimal;

/// Ten tokens an answer, 50 ms and 10 ms a token.
fn model(profile: impl FnOnce(Profile) -> Profile) -> Target {
    let plain = Profile {
        ttft_ms: Dist::constant(50.0),
        gap_ms: Dist::constant(10.0),
        output_tokens: Dist::constant(10.0),
        ..Preset::VeryFast.profile().quiet()
    };
    let model = MockModel::new(profile(plain)).unwrap();
    let info = TargetInfo {
        name: "m".to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    Target { info, model: Some(Arc::new(model)) }
}

/// A tenth of a cent a token.
struct Flat;

impl CostMeter for Flat {
    fn worst_case(&self, _: u32, input: u64, output: u64) -> Option<Decimal> {
        Some(Decimal::new((input + output) as i64, 3))
    }

    fn settled(&self, _: u32, usage: &Usage) -> Option<Decimal> {
        Some(Decimal::new((usage.input_tokens? + usage.output_tokens?) as i64, 3))
    }
}

fn asked(load: Load) -> Scenario {
    let mut scenario = Scenario { load, ..scenario(&["hello"], 10_000) };
    scenario.options.max_tokens = Some(100);
    scenario.warmup.requests = 0;
    scenario
}

fn run(builder: RunnerBuilder, target: Target, scenario: &Scenario) -> RunResult {
    simulate_with(&builder.build(), &[target], scenario, &mut llms_core::bench::NullSink, |_| {}).unwrap()
}

fn used(run: &RunResult) -> u64 {
    let of =
        |r: &RequestRecord| r.tokens.usage.map_or(0, |u| u.input_tokens.unwrap() + u.output_tokens.unwrap());
    run.records.iter().map(of).sum()
}

fn ended_by(run: &RunResult, says: &str) {
    let why = run.manifest.stopped.as_deref().unwrap_or_default();
    assert!(why.contains(says), "{why}");
    assert!(!run.manifest.complete && !run.manifest.interrupted);
    // What was in flight came to its end.
    assert!(run.records.iter().all(RequestRecord::is_ok), "{:?}", run.records.iter().find(|r| !r.is_ok()));
}

#[test]
fn tokens_are_never_overspent_and_nearly_all_are_used() {
    for load in [Load::closed(1), Load::closed(16), Load::poisson(200.0)] {
        let budget = Budget { tokens: Some(5_000), ..Budget::default() };
        let run = run(Runner::builder().budget(budget), model(|p| p), &asked(load.clone()));
        ended_by(&run, "5000 tokens is used up");
        let used = used(&run);
        assert_eq!(run.manifest.facts["spent_tokens"], used.to_string());
        // The last request that did not fit could have taken about 170.
        assert!((4_800..=5_000).contains(&used), "{load:?}: {used}");
    }
}

#[test]
fn dollars_in_the_same_way() {
    let budget = Budget { usd: Some((Decimal::new(5, 0), Arc::new(Flat))), ..Budget::default() };
    let run = run(Runner::builder().budget(budget), model(|p| p), &asked(Load::closed(8)));
    ended_by(&run, "$5 is used up");
    let spent: Decimal = run.manifest.facts["spent_usd"].parse().unwrap();
    assert!(spent <= Decimal::new(5, 0) && spent > Decimal::new(48, 1), "{spent}");
    assert_eq!(spent, Decimal::new(used(&run) as i64, 3));
}

#[test]
fn an_answer_without_usage_keeps_its_worst_case_spent() {
    let budget = Budget { tokens: Some(5_000), ..Budget::default() };
    let silent = model(|p| Profile { usage: false, ..p });
    let run = run(Runner::builder().budget(budget), silent, &asked(Load::closed(4)));
    ended_by(&run, "used up");
    let spent: u64 = run.manifest.facts["spent_tokens"].parse().unwrap();
    assert!(spent <= 5_000, "{spent}");
    assert!((20..=40).contains(&run.records.len()), "{}", run.records.len());
}

#[test]
fn what_has_no_worst_case_is_never_sent() {
    let budget = Budget { tokens: Some(5_000), ..Budget::default() };
    let mut scenario = asked(Load::closed(4));
    scenario.options.max_tokens = None;
    let run = run(Runner::builder().budget(budget), model(|p| p), &scenario);
    assert!(run.records.is_empty());
    assert!(run.manifest.stopped.as_deref().unwrap().contains("--max-tokens"), "{:?}", run.manifest.stopped);
}

/// Has seen enough after a number of requests.
#[derive(Debug)]
struct After(u64);

impl StopRule for After {
    fn observe(&mut self, record: &RequestRecord, _in_flight: u64) -> Option<StopReason> {
        self.0 = self.0.saturating_sub(u64::from(record.phase == RunPhase::Measured));
        let stop = ErrorRateStop { requests: 30, failed: 30, low: 0.9, allowed: 0.5, confidence: 0.95 };
        (self.0 == 0).then_some(StopReason::ErrorRate(stop))
    }
}

#[test]
fn a_rule_ends_the_sending_and_each_run_has_rules_of_its_own() {
    let builder = Runner::builder().stop_rules(|| vec![Box::new(After(30))]);
    let runner = builder.build();
    for _ in 0..2 {
        let scenario = asked(Load::closed(4));
        let sink = &mut llms_core::bench::NullSink;
        let run = simulate_with(&runner, &[model(|p| p)], &scenario, sink, |_| {}).unwrap();
        ended_by(&run, "30 of 30 requests failed");
        assert!((30..=38).contains(&run.records.len()), "{}", run.records.len());
    }
}

#[test]
fn without_a_limit_nothing_is_said() {
    let mut scenario = asked(Load::closed(2));
    scenario.requests = Some(20);
    let run = run(Runner::builder(), model(|p| p), &scenario);
    assert!(run.manifest.complete && run.manifest.stopped.is_none());
    assert!(!run.manifest.facts.contains_key("spent_tokens"));
}
