//! T012: the load rows of the contract (spec 1.3) on simulated time, against models whose delays are known.
//!
//! Memory of a run is T037's; the same loads over sockets are `cargo xtask validate`'s.

use std::{sync::Arc, time::Duration};

use bench_analysis::Analyzer;
use bench_mock::{FaultKind, FaultRule, MockModel, Preset, Profile};
use bench_runner::LoadTests;
use llms_core::{
    CallContext, ChatModel as _, ErrorCode,
    bench::{Arrivals, LoadTestConfig, LoadTestResult, LoadTester as _, Target, TargetInfo},
    time::{Clock as _, VirtualClock},
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A model that answers after `latency`, whole.
fn after(latency: Duration) -> Profile {
    Preset::VeryFast.profile().quiet().with_latency(latency, 0.0).with_output_tokens(1).with_seed(7)
}

fn target(name: &str, profile: Profile) -> (MockModel, Target) {
    let model = MockModel::new(profile).unwrap();
    let info = TargetInfo {
        name: name.to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    (model.clone(), Target { info, model: Some(Arc::new(model)) })
}

fn load(rate: f64, duration: Duration, cap: u32, ramp_up: Duration) -> LoadTestConfig {
    LoadTestConfig {
        max_concurrency: cap,
        ramp_up,
        seed: 11,
        ..LoadTestConfig::new(rate, duration, "simple")
    }
}

fn tester() -> LoadTests {
    LoadTests::new(Arc::new(Analyzer::new()))
}

/// The result, and how long the test took.
fn test(profile: Profile, config: &LoadTestConfig) -> (LoadTestResult, Duration) {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let (model, target) = target("mock", profile);
    let result = clock.block_on(tester().run_load_test(&target, config, &ctx)).unwrap();
    whole(&result);
    // What the model saw is what was sent, ramp-up and warm-up included.
    assert!(result.planned_ops - result.unsent_ops <= model.truth().len() as u64, "{result:?}");
    (result, Duration::from_nanos(clock.now().as_nanos()))
}

/// Every arrival of the plan is accounted for, and the curves hold every end.
#[track_caller]
fn whole(r: &LoadTestResult) {
    assert_eq!(r.planned_ops, r.total_ops() + r.censored_ops + r.unsent_ops, "{r:?}");
    let width = r.throughput_curve.get(1).map_or(1.0, |p| p.at_s);
    let answers: f64 = r.throughput_curve.iter().map(|p| p.rps * width).sum();
    let errors: u64 = r.error_rate_over_time.iter().map(|p| p.error_count).sum();
    assert_eq!((answers.round() as u64, errors), (r.successful_ops, r.failed_ops + r.timeout_ops), "{r:?}");
    for p in &r.error_rate_over_time {
        assert!(p.error_rate.is_none_or(|e| (0.0..=1.0).contains(&e)), "{p:?}");
        assert_eq!(p.error_types.values().sum::<u64>(), p.error_count);
    }
}

#[test]
fn sustained() {
    let (r, _) = test(after(MS * 100), &load(20.0, SECOND * 5, 10, SECOND));
    assert!(50 <= r.successful_ops && r.failed_ops == 0, "{r:?}");
    assert!((r.latency_metrics.p50.unwrap() - 0.1).abs() < 0.005, "{r:?}");
    let (r, _) = test(after(MS * 100), &load(25.0, SECOND * 5, 10, Duration::ZERO));
    assert!(100 <= r.successful_ops, "{r:?}");
}

#[test]
fn stress() {
    // 50 in flight at 200 ms carry 250/s.
    let (r, _) = test(after(MS * 200), &load(100.0, SECOND * 3, 50, MS * 500));
    assert!(100 <= r.successful_ops && r.error_rate().unwrap() <= 0.5, "{r:?}");
    assert!(20.0 <= r.actual_rps.unwrap(), "{r:?}");
}

#[test]
fn beyond_what_the_cap_carries_the_wait_shows() {
    // 5 in flight at 200 ms carry 25/s; 50/s are offered: at the end of the window the queue is 2 s long.
    let (r, took) = test(after(MS * 200), &load(50.0, SECOND * 4, 5, Duration::ZERO));
    let l = &r.latency_metrics;
    assert!((1.0..3.0).contains(&l.p50.unwrap()) && l.p95.unwrap() > 3.0, "{l:?}");
    let busy = r.throughput_curve.iter().filter(|p| p.concurrency > 4.9).count();
    assert!(busy >= 3 && SECOND * 7 < took, "{took:?} {:?}", r.throughput_curve);
}

#[test]
fn injected_errors_are_found_at_their_rate() {
    // 2000 requests: 0.05 are seven standard errors.
    let profile = after(MS * 50).with_fault(FaultRule::share(FaultKind::Server, 0.1));
    let (r, _) = test(profile, &load(50.0, SECOND * 40, 20, Duration::ZERO));
    let rate = r.error_rate().unwrap();
    assert!((rate - 0.1).abs() <= 0.05, "{rate}");
    assert!(!r.error_rate_over_time.is_empty());
}

#[test]
fn overhead() {
    for ramp_up in [Duration::ZERO, MS * 500] {
        let (r, took) = test(after(MS * 10), &load(50.0, SECOND * 2, 10, ramp_up));
        assert!(took < SECOND * 2 + ramp_up + MS * 500, "{took:?}");
        assert!(0.7 * 2.0 * 50.0 <= r.successful_ops as f64, "{r:?}");
    }
}

#[test]
fn tests_at_once_do_not_meet() {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let targets: Vec<Target> = [20, 60, 100].map(|ms| target(&ms.to_string(), after(MS * ms)).1).into();
    let tests = tester();
    let config = load(20.0, SECOND * 2, 10, MS * 100);
    let one = |t| tests.run_load_test(t, &config, &ctx);
    let (a, b, c) =
        clock.block_on(async { tokio::join!(one(&targets[0]), one(&targets[1]), one(&targets[2])) });
    for (r, latency) in [(a, 0.02), (b, 0.06), (c, 0.1)] {
        let r = r.unwrap();
        whole(&r);
        assert!(20 < r.successful_ops && 10.0 <= r.actual_rps.unwrap(), "{r:?}");
        assert!((r.latency_metrics.p50.unwrap() - latency).abs() < 0.003, "{r:?}");
    }
    assert!(clock.now().as_nanos() < 2 * (SECOND * 2 + MS * 100 + SECOND).as_nanos() as u64);
}

#[test]
fn bursts_and_ramps() {
    let config = LoadTestConfig { window: MS * 250, ..load(100.0, SECOND, 100, MS * 100) };
    let (burst, _) = test(after(MS * 20), &config);
    assert!(50.0 <= burst.actual_rps.unwrap(), "{burst:?}");
    assert!(4 <= burst.throughput_curve.len());
    let (gradual, _) = test(after(MS * 100), &load(30.0, SECOND * 4, 50, SECOND * 2));
    assert!(gradual.error_rate().unwrap() <= 0.05, "{gradual:?}");
    // The ramp-up lies before the window: its first second is as busy as the others.
    let first = gradual.throughput_curve[0].concurrency;
    assert!((first - 3.0).abs() < 1.5, "30/s at 100 ms: 3 in flight, found {first}");
}

#[test]
fn several_providers_and_one_that_fails_after_a_while() {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let tests = tester();
    let config = load(15.0, SECOND * 4, 50, Duration::ZERO);
    let failing = FaultRule { after_s: Some(2.0), ..FaultRule::share(FaultKind::Overloaded, 1.0) };
    let targets: Vec<Target> = [
        ("fast", after(MS * 50)),
        ("medium", after(MS * 150)),
        ("slow", after(MS * 400)),
        ("failing", after(MS * 50).with_fault(failing)),
    ]
    .map(|(name, profile)| target(name, profile).1)
    .into();
    let one = |i: usize| tests.run_load_test(&targets[i], &config, &ctx);
    let (a, b, c, d) = clock.block_on(async { tokio::join!(one(0), one(1), one(2), one(3)) });
    let found = [a, b, c, d].map(Result::unwrap);
    found.iter().for_each(whole);
    let ok: u64 = found[..3].iter().map(|r| r.successful_ops).sum();
    let all: u64 = found[..3].iter().map(|r| r.planned_ops).sum();
    assert!(0.8 <= ok as f64 / all as f64, "{ok} of {all}");
    let rates: Vec<f64> = found[3].error_rate_over_time[..4].iter().map(|p| p.error_rate.unwrap()).collect();
    // It fails 2 s after its first request, which was one of the warm-up.
    assert!(rates[0] == 0.0 && rates[1] < 0.3 && rates[2..] == [1.0, 1.0], "{rates:?}");
    let last = &found[3].error_rate_over_time[3];
    assert_eq!(last.error_types.keys().collect::<Vec<_>>(), [&ErrorCode::Overloaded], "{last:?}");
    assert!(found[..3].iter().all(|r| r.error_rate() == Some(0.0)));
}

#[test]
fn time_limits_are_told_from_failures_and_nothing_is_lost() {
    let hang = FaultRule { pause_ms: Some(600_000.0), ..FaultRule::share(FaultKind::Timeout, 0.3) };
    let (r, _) = test(after(MS * 20).with_fault(hang), &load(20.0, SECOND * 3, 50, Duration::ZERO));
    assert!(10 < r.timeout_ops && r.failed_ops == 0 && r.censored_ops == 0, "{r:?}");
}

#[test]
fn what_cannot_be_offered_is_refused_by_name() {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let (model, target) = target("mock", after(MS));
    let good = load(20.0, SECOND, 10, Duration::ZERO);
    let cases = [
        (LoadTestConfig { duration: Duration::ZERO, ..good.clone() }, "duration"),
        (LoadTestConfig { target_rps: 0.5, ..good.clone() }, "target_rps"),
        (LoadTestConfig { target_rps: f64::NAN, ..good.clone() }, "target_rps"),
        (LoadTestConfig { max_concurrency: 0, ..good.clone() }, "max_concurrency"),
        (LoadTestConfig { max_concurrency: 1001, ..good.clone() }, "max_concurrency"),
        (LoadTestConfig { window: Duration::ZERO, ..good.clone() }, "window"),
        (LoadTestConfig { scenario_name: "nobody's".to_owned(), ..good.clone() }, "`nobody's`"),
        (LoadTestConfig { arrivals: Arrivals::Gamma { burstiness: -1.0 }, ..good }, "burstiness"),
    ];
    for (config, says) in cases {
        let e = clock.block_on(tester().run_load_test(&target, &config, &ctx)).unwrap_err();
        let code = if says == "`nobody's`" { ErrorCode::NotFound } else { ErrorCode::InvalidConfig };
        assert!(e.code() == code && e.to_string().contains(says), "{says}: {e}");
    }
    assert!(model.truth().is_empty(), "nothing was sent");
}
