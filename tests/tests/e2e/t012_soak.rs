//! Sustained load and stress: on simulated time against a server that leaks, holds still, piles up or is known to fail.

use std::{sync::Arc, time::Duration};

use bench_analysis::{
    Analyzer,
    soak::{
        SoakAnalysis, SoakLog, SoakOptions,
        client::Culprit,
        ladder::{FailureMode, Ladder, LadderOptions, RungPlan},
    },
    stats::budget::{BURN_PAIRS, BurnPair},
};
use bench_mock::{Capacity, Dist, MockModel, Preset, Profile};
use bench_runner::{
    Runner,
    soak::{Burst, sustain},
    stress::{Climb, Rung, StressPlan, climb},
};
use llms_core::{
    CallContext, ChatModel as _,
    bench::{Arrivals, Load, NullSink, RecordSink, Scenario, Seeds, Target, TargetInfo},
    time::VirtualClock,
};

fn target(profile: Profile) -> Target {
    let model = MockModel::builder().profile(profile).truth_capacity(0).build().unwrap();
    let info = TargetInfo {
        name: "mock".to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    Target { info, model: Some(Arc::new(model)) }
}

/// Answers of three tokens; half a second to the first, log-normal.
fn noisy(drift_per_hour: f64, seed: u64) -> Profile {
    Profile {
        seed,
        ttft_ms: Dist::log_normal(500.0, 0.4),
        gap_ms: Dist::constant(20.0),
        output_tokens: Dist::constant(3.0),
        drift_per_hour,
        end_gap: false,
        capacity: Capacity::default(),
        ..Preset::VeryFast.profile().quiet()
    }
}

/// One server, 100 ms a request: ten a second and no more.
fn ten_a_second(queue: u32) -> Profile {
    Profile {
        ttft_ms: Dist::constant(100.0),
        gap_ms: Dist::constant(0.0),
        output_tokens: Dist::constant(1.0),
        end_gap: false,
        capacity: Capacity { slots: Some(1), queue },
        ..Preset::VeryFast.profile().quiet()
    }
}

fn scenario(load: Load, duration: Duration, seed: u64) -> Scenario {
    let mut scenario = Scenario::new("soak", ["hello"]);
    scenario.load = load;
    (scenario.requests, scenario.duration) = (None, Some(duration));
    scenario.timeout = Duration::from_secs(600);
    scenario.drain = Duration::from_secs(3600);
    scenario.warmup.requests = 0;
    scenario.seeds = Seeds::from_one(seed);
    scenario
}

fn options() -> SoakOptions {
    SoakOptions { confidence: 0.95, budget: None, pairs: BURN_PAIRS.to_vec(), burst: None }
}

fn soak(profile: Profile, scenario: &Scenario, options: &SoakOptions) -> SoakAnalysis {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let mut log = SoakLog::new(scenario);
    let target = target(profile);
    let manifest = clock
        .block_on(async {
            let outlet = (Runner::builder(), Box::new(NullSink) as Box<dyn RecordSink>);
            sustain(&target, scenario, outlet, &mut log, &ctx).await
        })
        .unwrap();
    log.judge(&manifest, options).unwrap()
}

fn hours(hours: f64) -> Duration {
    Duration::from_secs_f64(hours * 3600.0)
}

#[test]
fn a_leak_is_found_within_two_hours_and_blamed_on_the_service() {
    let (mut found, mut held) = (0, 0);
    for seed in 0..10 {
        let scenario = scenario(Load::poisson(2.0), hours(2.0), seed);
        let analysis = soak(noisy(0.03, seed), &scenario, &options());
        found += u32::from(analysis.degrades());
        if analysis.degrades() {
            assert_eq!(analysis.culprit, Culprit::Service);
        }
        let ttft = analysis.slopes.iter().find(|s| s.metric == "ttft").unwrap();
        let slope = ttft.median.value().unwrap();
        held += u32::from(slope.low <= 0.03 && 0.03 <= slope.high);
        assert!((analysis.window_s - 7200.0).abs() < 1e-6 && analysis.curve.len() == 20);
    }
    assert!(found >= 9, "{found} of 10 leaks found");
    // An interval of 95 % that holds the truth less than eight times in ten is none: that happens once in ninety.
    assert!(held >= 8, "the true slope lies in {held} of 10 intervals");
}

#[test]
fn a_flat_server_alarms_in_one_run_of_twenty_at_most() {
    let alarms = (100..140)
        .filter(|seed| {
            let scenario = scenario(Load::poisson(2.0), hours(1.0), *seed);
            let analysis = soak(noisy(0.0, *seed), &scenario, &options());
            assert!(analysis.decided() && analysis.failed == 0);
            assert_eq!(analysis.degrades(), analysis.culprit != Culprit::Nobody);
            analysis.degrades()
        })
        .count();
    assert!(alarms <= 2, "{alarms} of 40");
}

#[test]
fn a_short_run_has_a_curve_and_no_slope() {
    let analysis = soak(noisy(0.0, 1), &scenario(Load::closed(4), hours(0.02), 1), &options());
    assert!(!analysis.decided() && !analysis.degrades());
    assert!(analysis.failing.reason().unwrap().contains("2000"), "{:?}", analysis.failing);
    assert_eq!(analysis.curve.iter().map(|s| s.requests).sum::<u64>(), analysis.requests);
}

#[test]
fn a_budget_burns_when_answers_come_too_late() {
    let mut scenario = scenario(Load::open(5.0, Arrivals::Constant), hours(0.5), 3);
    scenario.slo = vec!["e2e:2000".parse().unwrap()];
    let pairs = vec![
        BurnPair { long_s: 600.0, short_s: 60.0, burn: 6.0 },
        BurnPair { long_s: 7200.0, short_s: 60.0, burn: 6.0 },
    ];
    let asked = SoakOptions { budget: Some(0.99), pairs, ..options() };
    let well = soak(ten_a_second(10_000), &scenario, &asked).budget.unwrap();
    assert_eq!((well.bad, well.total, well.alarm()), (0, 9000, false));
    assert!(well.left_low > 0.9 && well.pairs[1].too_short);
    // two minutes at twice what the server can do: a backlog of 1200 that takes four more to drain
    let burst = Burst { rate: 20.0, at: Duration::from_secs(600), length: Duration::from_secs(120) };
    scenario.load = burst.within(&scenario.load).unwrap();
    let asked = SoakOptions { burst: Some((600.0, 720.0)), ..asked };
    let ill = soak(ten_a_second(10_000), &scenario, &asked);
    let budget = ill.budget.unwrap();
    assert!(budget.alarm() && budget.bad > 1000, "{budget:?}");
    let at = budget.pairs[0].at_s.unwrap();
    assert!((600.0..1000.0).contains(&at), "{at}");
    assert_eq!(budget.pairs[1].at_s, None);
    // 1200 waiting at the end, ten served and five more coming each second
    let felt = ill.burst.unwrap();
    let felt = felt.value().unwrap();
    assert!((felt.recovered_s.unwrap() - 240.0).abs() <= felt.window_s, "{felt:?}");
    assert_eq!(felt.relapses, 0);
}

/// Climbs; baseline and rungs with windows of two seconds.
fn stress(profile: Profile, plan: &StressPlan, share: f64, slo: &[&str]) -> Ladder {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let mut scenario = scenario(Load::open(1.0, Arrivals::Constant), hours(1.0), 5);
    scenario.slo = slo.iter().map(|s| s.parse().unwrap()).collect();
    let target = target(profile);
    let analyzer = Analyzer::new();
    let mut ladder = Ladder::new(LadderOptions { share, confidence: 0.95, window_s: 2.0 });
    let whole = clock.block_on(async {
        let step = |_: &Rung| (Runner::builder(), Box::new(NullSink) as Box<dyn RecordSink>);
        let judge = |rung: &Rung, run| {
            let plan = RungPlan {
                number: rung.number,
                rate: rung.rate,
                hold_s: rung.hold.as_secs_f64(),
                base_rate: rung.base_rate,
                recover_s: rung.recover.as_secs_f64(),
                not_at_rest: rung.not_at_rest,
            };
            ladder.add(plan, run, &analyzer).map(|_| Climb::On)
        };
        climb(&target, &scenario, plan, step, judge, &ctx).await
    });
    assert!(whole.unwrap());
    ladder
}

fn plan(rates: &[f64], recover: u64) -> StressPlan {
    StressPlan {
        rates: rates.to_vec(),
        base_rate: 2.0,
        hold: Duration::from_secs(30),
        recover: Duration::from_secs(recover),
        rest: Duration::from_secs(60),
    }
}

#[test]
fn a_ladder_finds_the_step_above_the_capacity_and_how_long_its_backlog_lasts() {
    let ladder = stress(ten_a_second(10_000), &plan(&[4.0, 8.0, 20.0], 60), 0.99, &[]);
    assert_eq!(ladder.first_failing().map(|r| r.plan.rate), Some(20.0), "{ladder:?}");
    assert_eq!(ladder.highest_held(), Some(8.0));
    assert!(!ladder.collapsed());
    let rung = &ladder.rungs[2];
    assert_eq!(rung.failure, Some(FailureMode::Latency));
    assert_eq!(rung.requests, 600);
    // 300 waiting when the load drops, ten served and two more coming each second: 37.5 s
    let felt = rung.recovery.value().unwrap();
    assert!((felt.recovered_s.unwrap() - 37.5).abs() <= felt.window_s, "{felt:?}");
    let held = ladder.rungs[1].recovery.value().unwrap();
    assert_eq!(held.recovered_s, Some(0.0));
    let achieved = rung.achieved.value().unwrap().value.value.unwrap();
    assert!((achieved - 10.0).abs() < 0.2, "{achieved}");
}

#[test]
fn what_does_not_recover_in_time_is_censored_and_a_draining_backlog_is_no_collapse() {
    let ladder = stress(ten_a_second(10_000), &plan(&[40.0], 40), 0.99, &["e2e:1000"]);
    let rung = &ladder.rungs[0];
    let felt = rung.recovery.value().unwrap();
    assert_eq!((felt.recovered_s, felt.watched_s), (None, 40.0));
    assert_eq!(rung.good_after, Some(0.0));
    assert!(!rung.collapsed, "latency falls: it only needs longer");
}

#[test]
fn refusals_are_named_and_end_with_the_load() {
    let ladder = stress(ten_a_second(2), &plan(&[8.0, 40.0], 20), 0.99, &[]);
    let rung = ladder.first_failing().unwrap();
    assert_eq!((rung.plan.rate, rung.failure), (40.0, Some(FailureMode::ServerError)), "{rung:?}");
    assert!(rung.errors[0].count > 500 && rung.good > 250, "{:?}", rung.errors);
    assert!(rung.recovery.value().unwrap().recovered_s.unwrap() <= 2.0 && !rung.collapsed);
    assert!(rung.good_after.unwrap() > 0.99);
}

#[test]
fn a_wrong_ladder_is_refused() {
    for wrong in [
        plan(&[], 10),
        plan(&[f64::NAN], 10),
        plan(&[1.0], 0),
        StressPlan { base_rate: 0.0, ..plan(&[1.0], 10) },
    ] {
        assert!(wrong.validate().is_err(), "{wrong:?}");
    }
    let burst = Burst { rate: 9.0, at: Duration::from_secs(1), length: Duration::from_secs(1) };
    assert!(burst.within(&Load::closed(1)).is_err());
    let twice = burst.within(&burst.within(&Load::poisson(1.0)).unwrap());
    assert!(twice.is_err());
}
