//! The plan, tested as data: its laws, its order, its limits.

#![allow(clippy::duration_suboptimal_units, reason = "nanoseconds are what the plan counts in")]

use crate::common;

use std::time::Duration;

use bench_runner::Schedule;
use common::*;
use llms_core::bench::{Arrivals, Load, Scenario, Seeds};
use proptest::prelude::*;

fn open(rate: f64, arrivals: Arrivals, seed: u64, duration: Duration) -> Scenario {
    Scenario {
        load: Load::open(rate, arrivals),
        requests: None,
        duration: Some(duration),
        seeds: Seeds::from_one(seed),
        ..scenario(&["a", "b", "c"], 1)
    }
}

fn arrivals_of(plan: &Schedule, target: u32) -> Vec<f64> {
    plan.sends().filter(|s| s.target == target).map(|s| s.offset.as_secs_f64()).collect()
}

/// Kolmogorov–Smirnov distance of `sample` from the exponential law of `rate`.
fn ks_exponential(sample: &mut [f64], rate: f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let n = sample.len() as f64;
    sample
        .iter()
        .enumerate()
        .map(|(i, x)| {
            let cdf = 1.0 - (-rate * x).exp();
            (cdf - i as f64 / n).max((i as f64 + 1.0) / n - cdf)
        })
        .fold(0.0, f64::max)
}

/// Each of four interleaved targets sees a Poisson process of the full rate: exponential gaps, counts whose
/// variance is their mean, no correlation between neighbouring gaps.
#[test]
fn every_target_sees_a_poisson_process() {
    let rate = 25.0;
    let plan = Schedule::new(&open(rate, Arrivals::Poisson, 42, 800 * SECOND), 4);
    for target in 0..4 {
        let times = arrivals_of(&plan, target);
        let mut gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let n = gaps.len() as f64;
        assert!((n - 20_000.0).abs() < 4.0 * 20_000_f64.sqrt(), "target {target}: {n} gaps");
        let mean = gaps.iter().sum::<f64>() / n;
        let var = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let lag1 = gaps.windows(2).map(|w| (w[0] - mean) * (w[1] - mean)).sum::<f64>() / (n * var);
        assert!((mean * rate - 1.0).abs() < 4.0 / n.sqrt(), "target {target}: mean {mean}");
        // The coefficient of variation of an exponential sample has sd 1/√n.
        assert!((var.sqrt() / mean - 1.0).abs() < 4.0 / n.sqrt(), "target {target}: cv");
        assert!(lag1.abs() < 4.0 / n.sqrt(), "target {target}: lag-1 correlation {lag1}");
        let d = ks_exponential(&mut gaps, rate);
        assert!(d < 1.63 / n.sqrt(), "target {target}: KS distance {d}, 1 % limit {}", 1.63 / n.sqrt());
        let mut bins = vec![0_f64; 799];
        for t in times.iter().filter(|t| **t < 799.0) {
            bins[*t as usize] += 1.0;
        }
        let mean = bins.iter().sum::<f64>() / 799.0;
        let dispersion = bins.iter().map(|b| (b - mean).powi(2)).sum::<f64>() / 798.0 / mean;
        assert!(
            (dispersion - 1.0).abs() < 4.0 * (2.0 / 798_f64).sqrt(),
            "target {target}: dispersion {dispersion}"
        );
    }
}

/// 200 seeds, unselected: the 5 % KS test may reject about 5 % of them.
#[test]
fn the_arrival_law_holds_over_many_seeds() {
    let rejected = (1..=200)
        .filter(|&seed| {
            let plan = Schedule::new(&open(50.0, Arrivals::Poisson, seed, 20 * SECOND), 3);
            let times = arrivals_of(&plan, (seed % 3) as u32);
            let mut gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
            let n = (gaps.len() as f64).sqrt();
            ks_exponential(&mut gaps, 50.0) > 1.358 / n
        })
        .count();
    assert!((2..=22).contains(&rejected), "{rejected} of 200 rejected, expected about 10");
}

#[test]
fn constant_arrivals_stay_exactly_constant_on_every_target() {
    let plan = Schedule::new(&open(8.0, Arrivals::Constant, 1, 10 * SECOND), 4);
    assert_eq!(plan.planned(), Some(80));
    let sends: Vec<_> = plan.sends().collect();
    assert_eq!(sends.len(), 320);
    for (i, send) in sends.iter().enumerate() {
        let step = Duration::from_nanos(31_250_000);
        assert_eq!((send.offset, send.target), (step * i as u32, (i % 4) as u32));
    }
}

#[test]
fn no_error_adds_up_over_a_day() {
    let plan = Schedule::new(&open(3.0, Arrivals::Constant, 1, Duration::from_secs(86_400)), 1);
    assert_eq!(plan.planned(), Some(259_200));
    assert_eq!(plan.sends().last().unwrap().offset, Duration::from_nanos(86_399_666_666_667));
}

#[test]
fn windows_end_where_they_should() {
    let limited = |arrivals, requests: u64, duration| {
        let scenario = Scenario { requests: Some(requests), duration, ..open(100.0, arrivals, 5, SECOND) };
        Schedule::new(&scenario, 1)
    };
    let plan = limited(Arrivals::Constant, 50, None);
    assert_eq!((plan.planned(), plan.end()), (Some(50), Some(500 * MS)));
    let plan = limited(Arrivals::Constant, 50, Some(200 * MS));
    assert_eq!((plan.planned(), plan.end()), (Some(20), Some(200 * MS)));
    let plan = limited(Arrivals::Constant, 50, Some(2 * SECOND));
    assert_eq!((plan.planned(), plan.end()), (Some(50), Some(500 * MS)));
    let plan = limited(Arrivals::Poisson, 50, None);
    let longer = limited(Arrivals::Poisson, 51, None);
    assert_eq!(plan.end(), longer.sends().last().map(|s| s.offset), "where the next arrival would have come");
    let closed = Schedule::new(&scenario(&["a"], 7), 2);
    assert_eq!((closed.planned(), closed.end(), closed.sends().count()), (Some(7), None, 0));
    let timed = Scenario { requests: None, duration: Some(SECOND), ..scenario(&["a"], 1) };
    let closed = Schedule::new(&timed, 2);
    assert_eq!((closed.planned(), closed.end()), (None, Some(SECOND)));
    assert_eq!(closed.blocks().take(100_000).count(), 100_000);
}

#[test]
fn the_plan_is_hashed() {
    let base = open(20.0, Arrivals::Poisson, 1, 10 * SECOND);
    let hash = |s: &Scenario, targets| Schedule::new(s, targets).hash();
    let same = hash(&base, 2);
    assert_eq!(hash(&base.clone(), 2), same);
    assert_ne!(hash(&base, 3), same);
    for seeds in [
        Seeds { arrivals: Some(2), ..Seeds::from_one(1) },
        Seeds { prompts: Some(2), ..Seeds::from_one(1) },
        Seeds { order: Some(2), ..Seeds::from_one(1) },
    ] {
        assert_ne!(hash(&Scenario { seeds, ..base.clone() }, 2), same);
    }
    let bootstrap = Seeds { bootstrap: Some(2), ..Seeds::from_one(1) };
    assert_eq!(hash(&Scenario { seeds: bootstrap, ..base }, 2), same, "no part of the plan");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever the load: sends come in order, lie in the window, blocks are whole, and the plan repeats.
    #[test]
    fn every_open_plan_is_well_formed(
        rate in 0.5..500.0_f64,
        poisson in any::<bool>(),
        targets in 1..7_u32,
        seed in any::<u64>(),
        requests in proptest::option::of(1..300_u64),
        ms in 10..5_000_u64,
    ) {
        let law = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
        let scenario = Scenario { requests, ..open(rate, law, seed, Duration::from_millis(ms)) };
        let plan = Schedule::new(&scenario, targets);
        let sends: Vec<_> = plan.sends().collect();
        let (planned, end) = (plan.planned().unwrap(), plan.end().unwrap());
        prop_assert_eq!(sends.len() as u64, planned * u64::from(targets));
        prop_assert!(requests.is_none_or(|n| planned <= n));
        prop_assert!(sends.windows(2).all(|w| w[0].offset <= w[1].offset));
        prop_assert!(sends.iter().all(|s| s.offset < end));
        for block in 0..planned {
            let mut of: Vec<_> = sends.iter().filter(|s| s.block == block).collect();
            prop_assert!(of.iter().all(|s| s.prompt == of[0].prompt));
            of.sort_by_key(|s| s.target);
            prop_assert_eq!(of.iter().map(|s| s.target).collect::<Vec<_>>(), (0..targets).collect::<Vec<_>>());
            of.sort_by_key(|s| s.position);
            prop_assert_eq!(of.iter().map(|s| s.position).collect::<Vec<_>>(), (0..targets).collect::<Vec<_>>());
            prop_assert!(of.windows(2).all(|w| w[0].offset <= w[1].offset));
        }
        prop_assert_eq!(plan.sends().collect::<Vec<_>>(), sends);
    }
}
