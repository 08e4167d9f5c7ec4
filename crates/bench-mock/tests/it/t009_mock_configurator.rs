//! T009, spec 2.6: the configurator's contract, and that what it sets is what a mock measurably does.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::{collections::BTreeMap, time::Duration};

use bench_mock::{Aspects, Configurator, Dist, MockModel, Profile};
use common::{context, kolmogorov, ms, stream, token_times};
use llms_core::{
    ErrorCode,
    bench::{MockConfiguration, MockConfigurator},
    config::ConfigErrors,
    time::{Clock, VirtualClock},
};

#[track_caller]
fn check(result: Result<(), ConfigErrors>, wrong: &[&str]) {
    let errors = result.err().map_or_else(Vec::new, |e| e.errors);
    let fields: Vec<_> = errors.into_iter().map(|e| e.field).collect();
    assert_eq!(fields, wrong);
}

// A negative base latency and negative sizes cannot be written down: `Duration` and `u64` have none.

#[test]
fn latency_is_checked() {
    let c = Configurator::default();
    check(c.configure_latency(Duration::ZERO, 0.0), &[]);
    check(c.configure_latency(ms(100), 1.0), &[]);
    for variability in [-0.1, 1.1, f64::NAN] {
        check(c.configure_latency(ms(100), variability), &["latency_variability"]);
    }
}

#[test]
fn error_injection_is_checked() {
    let c = Configurator::default();
    check(c.configure_error_injection(0.0, &[]), &[]);
    check(c.configure_error_injection(1.0, &[ErrorCode::Timeout, ErrorCode::RateLimit]), &[]);
    for rate in [-0.1, 1.1, f64::NAN] {
        check(c.configure_error_injection(rate, &[ErrorCode::Timeout]), &["error_injection_rate"]);
    }
    check(c.configure_error_injection(0.1, &[]), &["error_types"]);
    check(c.configure_error_injection(0.1, &[ErrorCode::Cancelled]), &["error_types"]);
    for name in ["timeout", "rate_limit", "network_error", "authentication_error", "quota_exceeded"] {
        let code = *ErrorCode::ALL.iter().find(|c| c.as_str() == name).unwrap();
        check(c.configure_error_injection(0.1, &[code]), &[]);
    }
}

#[test]
fn token_generation_is_checked() {
    let c = Configurator::default();
    check(c.configure_token_generation(1.0, 0.0), &[]);
    check(c.configure_token_generation(0.5, 1.0), &[]);
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        check(c.configure_token_generation(rate, 0.1), &["token_generation_rate"]);
    }
    check(c.configure_token_generation(-1.0, -0.1), &["token_generation_rate", "token_variability"]);
}

#[test]
fn memory_is_checked() {
    let c = Configurator::default();
    check(c.configure_memory_usage(0, 0.0), &[]);
    check(c.configure_memory_usage(1_000_000, 0.5), &[]);
    check(c.configure_memory_usage(1_000_000, -0.5), &["streaming_memory_multiplier"]);
    check(c.configure_memory_usage(u64::MAX, 1.0), &["memory_usage_bytes"]);
}

#[test]
fn a_refused_setting_changes_nothing_and_reset_restores_the_defaults() {
    let c = Configurator::default();
    assert_eq!(c.configuration(), MockConfiguration::default());
    c.configure_latency(ms(30), 0.5).unwrap();
    c.configure_latency(ms(70), 2.0).unwrap_err();
    assert_eq!((c.configuration().simulated_latency, c.configuration().latency_variability), (ms(30), 0.5));
    assert_eq!(c.handle().get().true_ttft_median(), ms(30));
    c.configure_error_injection(0.5, &[ErrorCode::Timeout]).unwrap();
    c.configure_token_generation(7.0, 0.0).unwrap();
    c.configure_memory_usage(5, 1.0).unwrap();
    c.reset_to_defaults();
    assert_eq!(c.configuration(), MockConfiguration::default());
    let profile = c.handle().get();
    assert_eq!(profile.true_ttft_median(), ms(100));
    assert_eq!(profile.gap_ms, Dist::log_normal(20.0, 0.1));
    assert_eq!((profile.memory.bytes, profile.memory.streaming_factor), (1_000_000, 1.2));
    assert!(profile.faults.is_empty());
}

#[test]
fn all_settings_at_once_are_checked_at_once() {
    let c = Configurator::default();
    let bad = MockConfiguration {
        latency_variability: -1.0,
        error_injection_rate: 0.5,
        token_generation_rate: 0.0,
        concurrency_limit: Some(0),
        ..MockConfiguration::default()
    };
    check(
        c.configure(bad),
        &["latency_variability", "token_generation_rate", "error_types", "concurrency_limit"],
    );
}

/// Sent to first token in ms, gaps in ms, and error codes of `n` requests one after the other.
fn observe(model: &MockModel, n: usize) -> (Vec<f64>, Vec<f64>, BTreeMap<ErrorCode, usize>) {
    let clock = VirtualClock::new();
    let (mut ttft, mut gaps, mut errors) = (Vec::new(), Vec::new(), BTreeMap::new());
    clock.block_on(async {
        for i in 0..n {
            let sent = clock.now();
            let ctx = context(&clock, &format!("r-{i}"));
            let (events, end) = stream(model, &"hello".into(), &ctx).await;
            let times = token_times(&events);
            ttft.extend(times.first().map(|t| t.since(sent).unwrap().as_secs_f64() * 1e3));
            gaps.extend(times.windows(2).map(|w| w[1].since(w[0]).unwrap().as_secs_f64() * 1e3));
            if let Err(e) = end {
                *errors.entry(e.code()).or_default() += 1;
            }
        }
    });
    (ttft, gaps, errors)
}

#[test]
fn a_mock_has_the_set_latency_rate_and_error_share() {
    let c = Configurator::new(Profile::default().with_output_tokens(4), Aspects::default()).unwrap();
    c.configure_memory_usage(0, 1.0).unwrap();
    let model = c.model();
    let (ttft, gaps, errors) = observe(&model, 2_000);
    assert!(kolmogorov(&ttft, |x| Dist::log_normal(100.0, 0.1).cdf(x)) < 1.95);
    assert!(kolmogorov(&gaps, |x| Dist::log_normal(20.0, 0.1).cdf(x)) < 1.95);
    assert!(errors.is_empty());

    // Live, on the model already built.
    c.configure_latency(ms(250), 0.4).unwrap();
    c.configure_token_generation(200.0, 0.3).unwrap();
    c.configure_error_injection(0.2, &[ErrorCode::RateLimit, ErrorCode::Internal]).unwrap();
    let (ttft, gaps, errors) = observe(&model, 4_000);
    assert!(kolmogorov(&ttft, |x| Dist::log_normal(250.0, 0.4).cdf(x)) < 1.95);
    assert!(kolmogorov(&gaps, |x| Dist::log_normal(5.0, 0.3).cdf(x)) < 1.95);
    for code in [ErrorCode::RateLimit, ErrorCode::Internal] {
        // 10 % each; four standard deviations are 1.9 points.
        let share = errors[&code] as f64 / 4_000.0;
        assert!((share - 0.1).abs() < 0.019, "{code}: {share}");
    }
    assert_eq!(errors.len(), 2);
}

#[test]
fn every_mock_of_one_configurator_inherits_its_settings() {
    let c = Configurator::new(Profile::default().with_output_tokens(1), Aspects::default()).unwrap();
    c.configure_memory_usage(0, 1.0).unwrap();
    let (before, later) = (c.model(), {
        c.configure_latency(ms(40), 0.0).unwrap();
        c.model()
    });
    for model in [&before, &later] {
        assert_eq!(observe(model, 3).0, [40.0; 3]);
    }
    c.configure_latency(ms(60), 0.0).unwrap();
    for model in [&before, &later] {
        assert_eq!(observe(model, 3).0, [60.0; 3]);
    }
    assert_eq!((before.calls(), later.calls()), (6, 6));
}

#[test]
fn what_is_switched_off_has_no_effect() {
    let off = Aspects { latency: false, errors: false, memory: false };
    let c = Configurator::new(Profile::default(), off).unwrap();
    c.configure_error_injection(1.0, &[ErrorCode::Timeout]).unwrap();
    c.configure_memory_usage(1_000_000, 2.0).unwrap();
    let model = c.model();
    let (ttft, gaps, errors) = observe(&model, 10);
    assert!(ttft.iter().chain(&gaps).all(|x| *x == 0.0) && errors.is_empty());
    assert_eq!(c.handle().get().memory.bytes, 0);
    assert_eq!(c.configuration().error_injection_rate, 1.0, "it is remembered");
}

#[test]
fn switches_can_be_thrown_while_it_runs() {
    let c = Configurator::new(Profile::default().with_output_tokens(2), Aspects::default()).unwrap();
    c.configure_latency(ms(80), 0.0).unwrap();
    c.configure_error_injection(1.0, &[ErrorCode::Internal]).unwrap();
    c.configure_memory_usage(4_096, 1.0).unwrap();
    let model = c.model();
    assert_eq!(observe(&model, 2).2, BTreeMap::from([(ErrorCode::Internal, 2)]));
    c.set_aspects(Aspects { errors: false, memory: false, ..Aspects::default() }).unwrap();
    let (ttft, _, errors) = observe(&model, 2);
    assert_eq!((ttft, errors.len(), c.handle().get().memory.bytes), (vec![80.0; 2], 0, 0));
    c.set_aspects(Aspects { latency: false, errors: false, memory: true }).unwrap();
    let (ttft, gaps, _) = observe(&model, 2);
    assert_eq!((ttft, gaps), (vec![0.0; 2], vec![0.0; 2]));
    assert_eq!((c.handle().get().memory.bytes, c.aspects().latency), (4_096, false));
    c.set_aspects(Aspects::default()).unwrap();
    assert_eq!(observe(&model, 1).2.len(), 1, "the settings were remembered");
}

#[test]
fn memory_is_really_held_while_a_request_is_served() {
    let c = Configurator::default();
    c.configure_memory_usage(3_000_000, 1.5).unwrap();
    let (model, clock) = (c.model(), VirtualClock::new());
    clock.block_on(async {
        let call = tokio::spawn({
            let (model, ctx) = (model.clone(), context(&clock, "a"));
            async move { stream(&model, &"hello".into(), &ctx).await.1 }
        });
        clock.sleep_until(common::at(10)).await;
        assert_eq!(model.held_bytes(), 4_500_000);
        call.await.unwrap().unwrap();
        assert_eq!(model.held_bytes(), 0);
    });
}

#[test]
fn a_limit_of_one_makes_the_second_request_wait() {
    let c = Configurator::new(common::exact(), Aspects::default()).unwrap();
    let limited = MockConfiguration {
        simulated_latency: ms(100),
        latency_variability: 0.0,
        token_generation_rate: 100.0,
        token_variability: 0.0,
        memory_usage_bytes: 0,
        concurrency_limit: Some(1),
        ..MockConfiguration::default()
    };
    c.configure(limited).unwrap();
    let (model, clock) = (c.model(), VirtualClock::new());
    let ends = clock.block_on(async {
        let (a, b) = (context(&clock, "a"), context(&clock, "b"));
        let request = "hello".into();
        let both =
            futures_util::future::join(stream(&model, &request, &a), stream(&model, &request, &b)).await;
        [both.0.0, both.1.0].map(|events| *token_times(&events).last().unwrap())
    });
    assert_eq!(ends, [common::at(140), common::at(280)]);
}
