//! T012, the plan of a load: its laws under any rate over time, its ramp-up, and what the run makes of them.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use std::time::Duration;

use bench_runner::{Schedule, rate::RateProfile};
use common::*;
use llms_core::bench::{Arrivals, Curve, Load, RatePiece, RunPhase, Scenario, Seeds, ThinkLaw};
use proptest::prelude::*;

const GAMMA: fn(f64) -> Arrivals = |burstiness| Arrivals::Gamma { burstiness };

fn loaded(load: Load, seed: u64, duration: Option<Duration>) -> Scenario {
    Scenario { load, requests: None, duration, seeds: Seeds::from_one(seed), ..scenario(&["a", "b", "c"], 1) }
}

/// Offsets of one target's sends, seconds of the plan.
fn times(plan: &Schedule, target: u32) -> Vec<f64> {
    plan.sends().filter(|s| s.target == target).map(|s| s.offset.as_secs_f64()).collect()
}

/// Every shape at once: step, linear ramp, exponential ramp, burst, pause.
fn shapes() -> Vec<RatePiece> {
    vec![
        RatePiece::step(20 * SECOND, 20.0),
        RatePiece::ramp(30 * SECOND, 20.0, 80.0, Curve::Linear),
        RatePiece::ramp(30 * SECOND, 80.0, 5.0, Curve::Exponential),
        RatePiece::step(2 * SECOND, 400.0),
        RatePiece::step(10 * SECOND, 0.0),
        RatePiece::step(20 * SECOND, 20.0),
    ]
}

/// Numerical integral of the rate, by Simpson's rule on small steps.
fn integral(profile: &RateProfile, from: f64, to: f64) -> f64 {
    let n = 2_000;
    let h = (to - from) / f64::from(n);
    (0..n)
        .map(|i| {
            let a = from + h * f64::from(i);
            // The rate holds its start, so the right end is read just inside.
            (profile.rate(a) + 4.0 * profile.rate(a + h / 2.0) + profile.rate(a + h * 0.999_999)) * h / 6.0
        })
        .sum()
}

#[test]
fn the_cumulative_rate_is_the_integral_of_the_rate_and_its_inverse_undoes_it() {
    let profile = RateProfile::new(10 * SECOND, &shapes(), 30.0);
    // Ramp-up 100; then 400, 1500, (80−5)·30/ln 16 = 811.5…, 800, 0, 400.
    let exponential = 75.0 * 30.0 / 16_f64.ln();
    let borders = [10.0, 30.0, 60.0, 90.0, 92.0, 102.0, 122.0, 132.0];
    let counts = [100.0, 400.0, 1500.0, exponential, 800.0, 0.0, 400.0, 300.0];
    let (mut sum, mut start) = (0.0, 0.0);
    for (border, count) in borders.into_iter().zip(counts) {
        assert!((integral(&profile, start, border) - count).abs() < 1e-2, "{start}..{border}");
        sum += count;
        assert!((profile.cumulative(border) - sum).abs() < 1e-9, "at {border}");
        start = border;
    }
    for i in 1..=12_200 {
        let t = f64::from(i) * 0.01;
        if (92.0..=102.0).contains(&t) {
            continue;
        }
        let back = profile.inverse_ns(profile.cumulative(t)).unwrap() / 1e9;
        assert!((back - t).abs() < 1e-6, "{t} came back as {back}");
    }
    let pause = profile.cumulative(95.0);
    assert_eq!(profile.inverse_ns(pause), Some(102e9), "what falls into a pause comes after it");
    assert_eq!(RateProfile::new(Duration::ZERO, &[RatePiece::step(SECOND, 5.0)], 0.0).inverse_ns(5.0), None);
}

/// Counts in 2-second bins against Λ, over many seeds: mean Λ(bin), and the sum of squared deviations in units of the
/// law's own variance is a χ² of about its mean.
#[track_caller]
fn check_counts(law: Arrivals, cv2: f64) {
    let load = Load::open(30.0, law).ramped(10 * SECOND).shaped(shapes());
    let profile = RateProfile::new(10 * SECOND, &shapes(), 30.0);
    let (seeds, bins) = (60_u32, 65);
    let mut counts = vec![Vec::new(); bins];
    for seed in 0..seeds {
        let plan = Schedule::new(&loaded(load.clone(), u64::from(seed), Some(120 * SECOND)), 3);
        let mut of = vec![0_f64; bins];
        for t in times(&plan, seed % 3) {
            of[(t / 2.0) as usize] += 1.0;
        }
        for (bin, n) in counts.iter_mut().zip(of) {
            bin.push(n);
        }
    }
    let mut chi2 = 0.0;
    let mut cells = 0.0;
    for (i, counts) in counts.iter().enumerate().take(bins - 1) {
        let (a, b) = (2.0 * i as f64, 2.0 * i as f64 + 2.0);
        let expected = profile.cumulative(b) - profile.cumulative(a);
        let n = f64::from(seeds);
        let mean = counts.iter().sum::<f64>() / n;
        // Exact for Poisson; for Gamma the variance of a count is cv²Λ for long stretches, at most max(1, cv²)Λ + 1.
        let variance = cv2.max(1.0) * expected + 1.0;
        assert!(
            (mean - expected).abs() < 4.5 * (variance / n).sqrt(),
            "{law:?}: {mean} arrivals in {a}..{b} s, expected {expected}"
        );
        if expected > 20.0 && cv2 == 1.0 {
            chi2 += counts.iter().map(|c| (c - expected).powi(2) / expected).sum::<f64>();
            cells += n;
        }
    }
    if cells > 0.0 {
        assert!((chi2 - cells).abs() < 4.0 * (2.0 * cells).sqrt(), "χ² {chi2} over {cells} cells");
    }
}

#[test]
fn counts_follow_the_rate_whatever_the_law() {
    check_counts(Arrivals::Poisson, 1.0);
    check_counts(GAMMA(0.25), 4.0);
    check_counts(GAMMA(1.0), 1.0);
    check_counts(GAMMA(8.0), 0.125);
    check_counts(Arrivals::Constant, 0.0);
}

/// Gamma gaps of every target: mean 1/rate, cv² = 1/k, independent of each other.
#[test]
fn gamma_arrivals_have_the_burstiness_they_were_given_on_every_target() {
    for k in [0.2, 0.5, 1.0, 4.0, 25.0] {
        let plan = Schedule::new(&loaded(Load::open(50.0, GAMMA(k)), 7, Some(800 * SECOND)), 4);
        for target in 0..4 {
            let times = times(&plan, target);
            let gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
            let n = gaps.len() as f64;
            let mean = gaps.iter().sum::<f64>() / n;
            let var = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let lag1 = gaps.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>() / (n * var);
            let cv2 = var / (mean * mean);
            assert!((mean * 50.0 - 1.0).abs() < 4.5 / (k * n).sqrt(), "k {k}: mean {mean}");
            // Delta method for the squared cv of a Gamma sample: se ≈ cv² √((2 + 2/k) / n).
            let se = (2.0 + 2.0 / k).sqrt() / (k * n.sqrt());
            assert!((cv2 - 1.0 / k).abs() < 4.5 * se, "k {k}, target {target}: cv² {cv2}");
            assert!(lag1.abs() < 4.5 / n.sqrt(), "k {k}: lag-1 correlation {lag1}");
        }
    }
}

/// The fixed phase: each target sees the same process, shifted; gap by gap equal.
#[test]
fn targets_share_gamma_arrivals_by_a_fixed_phase() {
    let plan = Schedule::new(&loaded(Load::open(10.0, GAMMA(0.5)), 3, Some(60 * SECOND)), 5);
    let first = times(&plan, 0);
    for target in 1..5 {
        let shifted = times(&plan, target);
        assert_eq!(shifted.len(), first.len());
        for (a, b) in first.iter().zip(&shifted) {
            assert!((b - a - f64::from(target) / 50.0).abs() < 2e-9);
        }
    }
}

#[test]
fn constant_arrivals_under_any_rate_have_equal_shares_of_it_between_them() {
    let load = Load::open(30.0, Arrivals::Constant).ramped(10 * SECOND).shaped(shapes());
    let profile = RateProfile::new(10 * SECOND, &shapes(), 30.0);
    let plan = Schedule::new(&loaded(load, 1, Some(150 * SECOND)), 2);
    for target in 0..2 {
        let times = times(&plan, target);
        assert!(times.len() > 3_500);
        for (i, w) in times.windows(2).enumerate() {
            let share = profile.cumulative(w[1]) - profile.cumulative(w[0]);
            // Times are whole nanoseconds and the rate is 400/s at most: 1e-9 · 400 · 2 roundings.
            assert!((share - 1.0).abs() < 2e-6, "target {target}, gap {i}: {share}");
        }
    }
}

#[test]
fn pieces_begin_where_the_one_before_ends() {
    let pieces = [
        RatePiece::step(10 * SECOND, 2.0),
        RatePiece::step(5 * SECOND, 0.0),
        RatePiece::step(SECOND, 100.0),
        RatePiece::ramp(10 * SECOND, 0.0, 2.0, Curve::Linear),
    ];
    let plan = Schedule::new(&loaded(Load::open(0.0, Arrivals::Constant).shaped(pieces), 1, None), 1);
    let times = times(&plan, 0);
    let within = |a: f64, b: f64| times.iter().filter(|t| a <= **t && **t < b).count();
    assert_eq!(
        [within(0.0, 10.0), within(10.0, 15.0), within(15.0, 16.0), within(16.0, 26.0), within(26.0, 1e9)],
        [20, 0, 100, 10, 0]
    );
    assert_eq!((times[20], times[120]), (15.0, 16.0), "the first after the pause and the first of the ramp");
    assert_eq!(plan.end(), Some(26 * SECOND), "the profile alone says how long the window is");
}

#[test]
fn a_rate_that_ends_ends_the_plan() {
    let pieces = [RatePiece::step(10 * SECOND, 2.0)];
    let base = loaded(Load::open(0.0, Arrivals::Constant).shaped(pieces), 1, None);
    let plan = Schedule::new(&Scenario { requests: Some(100), ..base.clone() }, 1);
    assert_eq!(plan.planned(), Some(20), "no more come, however many are asked for");
    assert_eq!(plan.end(), Some(9500 * MS + Duration::from_nanos(1)));
    let plan = Schedule::new(&Scenario { duration: Some(60 * SECOND), ..base }, 1);
    assert_eq!((plan.planned(), plan.end()), (Some(20), Some(60 * SECOND)));
}

#[test]
fn the_ramp_up_lies_before_the_window_and_on_top_of_it() {
    let load = Load::open(20.0, Arrivals::Constant).ramped(4 * SECOND);
    let plan = Schedule::new(&loaded(load, 1, Some(5 * SECOND)), 2);
    // ½ · 20/s · 4 s before, 20/s · 5 s in the window.
    assert_eq!((plan.ramp_up_blocks(), plan.planned(), plan.end()), (40, Some(100), Some(5 * SECOND)));
    let sends: Vec<_> = plan.sends().collect();
    assert_eq!(sends.len(), 280);
    for s in &sends {
        let expected = if s.block < 40 { RunPhase::RampUp } else { RunPhase::Measured };
        assert_eq!(s.phase, expected);
        assert_eq!(s.offset >= 4 * SECOND, s.phase == RunPhase::Measured, "{s:?}");
    }
    assert!(sends.iter().all(|s| s.offset < 9 * SECOND));
    let counted = Load::open(20.0, Arrivals::Poisson).ramped(4 * SECOND);
    let plan = Schedule::new(&Scenario { requests: Some(50), ..loaded(counted, 1, None) }, 2);
    assert_eq!(plan.planned(), Some(50), "the ramp-up does not use up the requests of the window");
    assert_eq!(plan.sends().filter(|s| s.phase == RunPhase::Measured).count(), 100);
}

#[test]
fn a_run_ramps_up_then_measures_the_whole_window() {
    let model = Scripted::new("m", |_, _| after(30 * MS));
    let load = Load::open(20.0, Arrivals::Constant).ramped(4 * SECOND);
    let result = simulate(&[target(&model)], &loaded(load, 1, Some(5 * SECOND))).unwrap();
    let window = result.manifest.window.unwrap();
    assert_eq!(window.end.since(window.start), Some(5 * SECOND), "nothing is taken out of the duration");
    assert_eq!(result.manifest.planned, [100]);
    assert_eq!(result.measured(0).count(), 100);
    let ramp: Vec<_> = result.records.iter().filter(|r| r.phase == RunPhase::RampUp).collect();
    assert_eq!(ramp.len(), 40);
    assert!(ramp.iter().all(|r| r.scheduled < window.start && r.is_ok()));
    assert!(result.measured(0).all(|r| window.start <= r.scheduled && r.scheduled < window.end));
    assert_eq!(result.records.len(), 140);
    let ids: std::collections::BTreeSet<_> = result.records.iter().map(|r| r.request_id.clone()).collect();
    assert_eq!(ids.len(), 140, "ids stay unique through both parts");
}

#[test]
fn users_join_one_by_one_before_the_window() {
    let model = Scripted::new("m", |_, _| after(100 * MS));
    let load = Load::closed(10).ramped(2 * SECOND);
    let base = Scenario { load, ..scenario(&["q"], 200) };
    let result = simulate(&[target(&model)], &base).unwrap();
    let window = result.manifest.window.unwrap();
    let begun = window.start.as_nanos() - 2_000_000_000;
    let mut ramp: Vec<_> = result.records.iter().filter(|r| r.phase == RunPhase::RampUp).collect();
    ramp.sort_by_key(|r| r.scheduled);
    // After k × 200 ms there are k + 1 users, each with a request every 100 ms: 2 · (1 + … + 10).
    assert_eq!(ramp.len(), 110);
    for step in 0..10 {
        let at = |ns: u64| u128::from(ns - begun) / 200_000_000;
        let n = ramp.iter().filter(|r| at(r.scheduled.as_nanos()) == step).count();
        assert_eq!(n as u128, 2 * (step + 1), "users in step {step}");
    }
    assert_eq!(result.measured(0).count(), 200, "the ramp-up does not use up the requests of the window");
    assert!(result.measured(0).all(|r| r.scheduled >= window.start));
    let timed = Scenario { requests: None, duration: Some(3 * SECOND), ..base };
    let result = simulate(&[target(&model)], &timed).unwrap();
    let window = result.manifest.window.unwrap();
    assert_eq!(window.end.since(window.start), Some(3 * SECOND));
    assert_eq!(result.measured(0).count(), 300);
}

#[test]
fn users_think_as_long_as_their_law_says() {
    let pauses = |law, seed: u64| -> Vec<f64> {
        let model = Scripted::new("m", |_, _| after(10 * MS));
        let load = Load::closed(1).thinking(200 * MS, law);
        let base = scenario(&["q"], 4_001);
        let scenario = Scenario { load, seeds: Seeds { arrivals: Some(seed), ..base.seeds.clone() }, ..base };
        let mut records = simulate(&[target(&model)], &scenario).unwrap().records;
        records.sort_by_key(|r| r.scheduled);
        let between =
            |w: &[llms_core::bench::RequestRecord]| w[1].scheduled.since(w[0].end.unwrap()).unwrap();
        records.windows(2).map(|w| between(w).as_secs_f64()).collect()
    };
    assert!(pauses(ThinkLaw::Constant, 1).iter().all(|p| (p - 0.2).abs() < 1e-9));
    let drawn = pauses(ThinkLaw::Exponential, 1);
    let n = drawn.len() as f64;
    let mean = drawn.iter().sum::<f64>() / n;
    let sd = (drawn.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / n).sqrt();
    assert!((mean - 0.2).abs() < 4.0 * 0.2 / n.sqrt(), "mean {mean}");
    assert!((sd / mean - 1.0).abs() < 4.0 / n.sqrt() * 1.5, "cv {}", sd / mean);
    assert_eq!(drawn, pauses(ThinkLaw::Exponential, 1), "the same seed, the same pauses");
    assert_ne!(drawn, pauses(ThinkLaw::Exponential, 2));
}

#[track_caller]
fn refuses(load: Load, expected: &str) {
    let e = loaded(load, 1, Some(SECOND)).validate().unwrap_err().to_string();
    assert!(e.contains(expected), "expected `{expected}` in: {e}");
}

#[test]
fn what_cannot_be_offered_is_refused_by_name() {
    refuses(
        Load::open(5.0, GAMMA(0.0)),
        "load.arrivals.gamma.burstiness: expected a shape from 0.01 to 1000",
    );
    refuses(Load::open(0.0, Arrivals::Poisson), "load.rate: expected requests per second above 0");
    refuses(
        Load::poisson(5.0).shaped([RatePiece::step(Duration::ZERO, 1.0)]),
        "load.profile[0].duration: expected a duration above 0 s",
    );
    refuses(
        Load::poisson(5.0).shaped([RatePiece::ramp(SECOND, 0.0, 5.0, Curve::Exponential)]),
        "load.profile[0].from: expected requests per second above 0, as an exponential never gets to 0",
    );
    refuses(
        Load::poisson(0.0).shaped([RatePiece::step(SECOND, 0.0)]),
        "load.profile: expected a rate above 0",
    );
    refuses(
        Load::poisson(1.0).shaped([RatePiece::step(SECOND, 0.0)]).ramped(SECOND),
        "load.ramp_up: expected a first rate above 0",
    );
    let long = loaded(Load::poisson(1e5).ramped(1_000 * SECOND), 1, Some(SECOND));
    assert!(long.validate().unwrap_err().to_string().contains("at most 10000000 arrivals"));
}

#[test]
fn scenario_files_say_it_in_few_words() {
    let s = bench_runner::workload::from_toml(
        r#"
        name = "burst"
        prompts = ["a"]
        [load]
        mode = "open"
        arrivals = { gamma = { burstiness = 0.5 } }
        ramp_up = "10s"
        profile = [
          { duration = "30s", from = 5 },
          { duration = "1m", from = 5, to = 50, curve = "exponential" },
        ]
        "#,
    )
    .unwrap();
    let pieces =
        [RatePiece::step(30 * SECOND, 5.0), RatePiece::ramp(60 * SECOND, 5.0, 50.0, Curve::Exponential)];
    assert_eq!(s.load, Load::open(0.0, GAMMA(0.5)).ramped(10 * SECOND).shaped(pieces));
    assert_eq!(bench_runner::workload::resolve(&s).duration, Some(90 * SECOND));
    let closed = "name = \"c\"\nprompts = [\"a\"]\nrequests = 5\n[load]\nmode = \"closed\"\nconcurrency = 4\n\
                  think_time = \"2s\"\nthink_law = \"exponential\"\nramp_up = 1\n";
    let s = bench_runner::workload::from_toml(closed).unwrap();
    assert_eq!(s.load, Load::closed(4).thinking(2 * SECOND, ThinkLaw::Exponential).ramped(SECOND));
}

/// Files of older runs know none of the new fields, and scenarios that do not use them are written as before.
#[test]
fn loads_of_older_files_still_read() {
    for old in [
        r#"{"mode":"closed","concurrency":3,"think_time":0.5}"#,
        r#"{"mode":"open","rate":12.5,"arrivals":"constant","max_concurrency":64}"#,
        r#"{"mode":"open","rate":1.0,"arrivals":"poisson","max_concurrency":null}"#,
    ] {
        let load: Load = serde_json::from_str(old).unwrap();
        assert_eq!(serde_json::to_string(&load).unwrap(), old);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// Whatever the shape: sends come in order, ramp-up before window, blocks are whole, and the plan repeats.
    #[test]
    fn every_shaped_plan_is_well_formed(
        rate in 1.0..200.0_f64,
        law in prop_oneof![
            Just(Arrivals::Poisson),
            Just(Arrivals::Constant),
            (0.05..20.0).prop_map(GAMMA),
        ],
        ramp_ms in prop_oneof![Just(0_u64), 1..3_000_u64],
        pieces in proptest::collection::vec((10..2_000_u64, 1.0..300.0_f64, 1.0..300.0_f64, any::<bool>()), 0..4),
        targets in 1..5_u32,
        seed in any::<u64>(),
        ms in 10..4_000_u64,
        requests in proptest::option::of(1..200_u64),
    ) {
        let pieces: Vec<RatePiece> = pieces
            .into_iter()
            .map(|(ms, from, to, exponential)| {
                let curve = if exponential { Curve::Exponential } else { Curve::Linear };
                RatePiece::ramp(Duration::from_millis(ms), from, to, curve)
            })
            .collect();
        let ramp = Duration::from_millis(ramp_ms);
        let load = Load::open(rate, law).ramped(ramp).shaped(pieces);
        let scenario = Scenario { requests, ..loaded(load, seed, Some(Duration::from_millis(ms))) };
        scenario.validate().unwrap();
        let plan = Schedule::new(&scenario, targets);
        let sends: Vec<_> = plan.sends().collect();
        let (planned, end) = (plan.planned().unwrap(), plan.end().unwrap());
        let measured = sends.iter().filter(|s| s.phase == RunPhase::Measured).count() as u64;
        prop_assert_eq!(measured, planned * u64::from(targets));
        prop_assert_eq!(sends.len() as u64, (planned + plan.ramp_up_blocks()) * u64::from(targets));
        prop_assert!(sends.windows(2).all(|w| w[0].offset <= w[1].offset));
        for s in &sends {
            prop_assert!(s.phase == RunPhase::RampUp || (ramp <= s.offset && s.offset < ramp + end), "{:?}", s);
        }
        for block in 0..planned + plan.ramp_up_blocks() {
            let mut of: Vec<u32> = sends.iter().filter(|s| s.block == block).map(|s| s.target).collect();
            of.sort_unstable();
            prop_assert_eq!(of, (0..targets).collect::<Vec<_>>());
        }
        prop_assert_eq!(plan.sends().collect::<Vec<_>>(), sends);
    }
}
