//! Capacity: the search certifies a rate that really holds, on simulated time against a queue whose law is known.

use std::sync::Arc;

use bench_analysis::{
    search::{CapacityOptions, CapacitySearch},
    throughput::SloJudge,
};
use bench_mock::{Capacity as Slots, Dist, MockModel, Preset, Profile};
use bench_runner::{Capacity, CapacityLimits, Runner, search_capacity};
use llms_core::{
    CallContext, ChatModel as _,
    bench::{
        Arrivals, BenchmarkRunner as _, Load, NullSink, RecordSink, RequestJudge as _, Scenario,
        SearchFailure, SearchStep, Seeds, StepEnd, Target, TargetInfo,
    },
    time::VirtualClock,
};

/// One server, 10 ms for each request: M/D/1.
fn server() -> Target {
    let profile = Profile {
        ttft_ms: Dist::constant(10.0),
        gap_ms: Dist::constant(0.0),
        output_tokens: Dist::constant(1.0),
        end_gap: false,
        capacity: Slots { slots: Some(1), ..Slots::default() },
        ..Preset::VeryFast.profile().quiet()
    };
    let model = MockModel::new(profile).unwrap();
    let info = TargetInfo {
        name: "queue".to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    Target { info, model: Some(Arc::new(model)) }
}

fn scenario() -> Scenario {
    let mut scenario = Scenario::new("capacity", ["hello"]);
    scenario.load = Load::poisson(1.0);
    scenario.slo = vec!["e2e:p95<50ms".parse().unwrap()];
    scenario.seeds = Seeds::from_one(7);
    scenario
}

fn options() -> CapacityOptions {
    CapacityOptions {
        target: 0.95,
        margin: 0.02,
        rate_min: 10.0,
        rate_start: 30.0,
        rate_max: 500.0,
        requests_max: 6000,
        resolution: 0.05,
        settle: 100,
        seed: 3,
        ..CapacityOptions::default()
    }
}

fn search(options: CapacityOptions, limits: CapacityLimits, prepare: impl FnOnce(&CallContext)) -> Capacity {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let (target, scenario) = (server(), scenario());
    let mut policy = CapacitySearch::new(options).unwrap();
    let judge = Arc::new(SloJudge::new(&scenario));
    clock.block_on(async {
        prepare(&ctx);
        let step = |_| (Runner::builder(), Box::new(NullSink) as Box<dyn RecordSink>);
        search_capacity(&target, &scenario, limits, (&mut policy, judge), step, &ctx).await.unwrap()
    })
}

/// Share of good requests of a long run at one rate.
fn attainment(rate: f64) -> f64 {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let scenario = Scenario {
        load: Load::open(rate, Arrivals::Poisson),
        requests: Some(30_000),
        seeds: Seeds::from_one(99),
        ..scenario()
    };
    let run = clock
        .block_on(async { Runner::new().run(&[server()], &scenario, &mut NullSink, &ctx).await })
        .unwrap();
    let judge = SloJudge::new(&scenario);
    let good = run.measured(0).filter(|r| judge.is_good(r)).count();
    good as f64 / run.measured(0).count() as f64
}

#[test]
fn the_certified_rate_holds_and_the_failing_one_does_not() {
    let found = search(options(), CapacityLimits::default(), |_| {});
    let SearchStep::Certified(answer) = &found.answer else { panic!("{found:?}") };
    assert!(attainment(answer.low) > 0.95 - 0.02, "{answer:?}");
    let high = answer.high.unwrap();
    assert!(answer.low < high && attainment(high) < 0.955, "{answer:?}");
    assert_eq!(found.steps.len(), found.runs.len());
    // It looked on both sides, and asked the answer once more.
    let last = found.steps.last().unwrap();
    assert_eq!((last.probe.purpose.as_str(), last.verdict.as_str()), ("confirm", "pass"));
    assert!((last.probe.rate - answer.low).abs() < 1e-9);
    // Steps far from the limit end long before their requests are used up.
    assert!(found.steps.iter().any(|s| s.requests < 2000), "{:?}", found.steps);
}

#[test]
fn a_step_without_time_is_undecided_and_certifies_nothing() {
    let limits = CapacityLimits { step_time: std::time::Duration::from_secs(1), ..CapacityLimits::default() };
    let found = search(options(), limits, |_| {});
    let SearchStep::NotCertified(why) = &found.answer else { panic!("{found:?}") };
    assert!(matches!(why.reason, SearchFailure::LowestRateUndecided { .. }), "{why:?}");
    assert!(found.steps.iter().all(|s| s.ended == Some(StepEnd::TimeLimit)), "{:?}", found.steps);
}

#[test]
fn an_interrupted_search_keeps_its_steps() {
    let found = search(options(), CapacityLimits::default(), |ctx| {
        let ctx = ctx.clone();
        tokio::spawn(async move {
            ctx.clock.sleep_until(ctx.now() + std::time::Duration::from_secs(40)).await;
            ctx.cancel.cancel();
        });
    });
    let SearchStep::NotCertified(why) = &found.answer else { panic!("{found:?}") };
    assert_eq!(why.reason, SearchFailure::Interrupted);
    assert!(!found.steps.is_empty());
}
