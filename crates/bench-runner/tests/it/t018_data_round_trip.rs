//! T018: scenarios survive JSON and TOML, and files with missing fields load with defaults.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use std::time::Duration;

use bench_runner::{
    ScenarioRegistry,
    workload::{from_json, from_toml},
};
use common::*;
use llms_core::bench::{
    Arrivals, Curve, Load, Order, Prompt, RatePiece, RunResult, Scenario, Seeds, ThinkLaw, Warmup,
};
use proptest::prelude::*;

#[track_caller]
fn check(scenario: &Scenario) {
    let json = serde_json::to_string(scenario).unwrap();
    assert_eq!(&from_json(&json).unwrap(), scenario, "JSON: {json}");
    let toml = toml::to_string(scenario).unwrap();
    assert_eq!(&from_toml(&toml).unwrap(), scenario, "TOML:\n{toml}");
}

#[test]
fn built_in_scenarios_round_trip() {
    for scenario in ScenarioRegistry::builtin().iter() {
        check(scenario);
    }
}

#[test]
fn missing_fields_get_defaults() {
    let small = from_json(r#"{"name": "s", "prompts": ["hello"], "requests": 3}"#).unwrap();
    assert_eq!(small, Scenario { requests: Some(3), ..Scenario::new("s", ["hello"]) });
}

#[test]
fn a_run_round_trips_through_json() {
    let model = Scripted::new("m", |n, _| match n % 3 {
        0 => Answer::Fail(MS, llms_core::ErrorCode::RateLimit),
        _ => Answer::Tokens { first: MS, gap: MS, n: 3 },
    });
    let run = simulate(&[target(&model)], &scenario(&["a", "b"], 9)).unwrap();
    let json = serde_json::to_string(&run).unwrap();
    assert_eq!(serde_json::from_str::<RunResult>(&json).unwrap(), run);
}

fn pieces() -> impl Strategy<Value = RatePiece> {
    (1..90_000_u64, 0.01..1e3, proptest::option::of(0.01..1e3), any::<bool>()).prop_map(
        |(ms, from, to, exponential)| RatePiece {
            duration: Duration::from_millis(ms),
            from,
            to,
            curve: if exponential { Curve::Exponential } else { Curve::Linear },
        },
    )
}

fn loads() -> impl Strategy<Value = Load> {
    let laws = prop_oneof![
        Just(Arrivals::Poisson),
        Just(Arrivals::Constant),
        (0.01..1000.0).prop_map(|burstiness| Arrivals::Gamma { burstiness }),
    ];
    let ramps = (0..5_000_u64).prop_map(Duration::from_millis);
    prop_oneof![
        (1..=10_000_u32, 0..5_000_u64, any::<bool>(), ramps.clone()).prop_map(
            |(concurrency, ms, exponential, ramp_up)| {
                let law = if exponential { ThinkLaw::Exponential } else { ThinkLaw::Constant };
                Load::closed(concurrency).thinking(Duration::from_millis(ms), law).ramped(ramp_up)
            }
        ),
        (
            0.01..1e4,
            laws,
            proptest::option::of(1..1_000_u32),
            ramps,
            proptest::collection::vec(pieces(), 0..4)
        )
            .prop_map(|(rate, law, cap, ramp_up, profile)| {
                Load::open(rate, law).capped(cap).ramped(ramp_up).shaped(profile)
            }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_scenario_round_trips(
        name in "[a-z][a-z0-9 -]{0,20}",
        texts in proptest::collection::vec("\\PC*[a-z]\\PC*", 1..5),
        load in loads(),
        requests in proptest::option::of(1..1_000_000_u64),
        duration_ms in 1..100_000_u64,
        seeds in proptest::option::of(0..(1_u64 << 53)),
        (streaming, cache_bust, sequential) in any::<(bool, bool, bool)>(),
        warmup in 0..100_u32,
        system in proptest::option::of("\\PC+"),
    ) {
        check(&Scenario {
            prompts: texts.iter().map(|t| Prompt::new("", t.as_str())).collect(),
            load,
            requests,
            duration: Some(Duration::from_millis(duration_ms)),
            streaming,
            cache_bust,
            order: if sequential { Order::Sequential } else { Order::Interleaved },
            warmup: Warmup { requests: warmup, prompts: Vec::new() },
            seeds: seeds.map(Seeds::from_one).unwrap_or_default(),
            system,
            ..Scenario::new(name, [""; 0])
        }.with_ids());
    }
}
