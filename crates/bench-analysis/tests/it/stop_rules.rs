//! Stop rules: they stop when they should, and almost never when they should not, however often they are asked.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic here is the report, the figures are for the reader

use crate::support;

use bench_analysis::stats::distribution::t_quantile;
use bench_analysis::stats::queueing::fifo_waits;
use bench_analysis::stop::{
    AnyOf, ErrorRateRule, LookError, PrecisionOptions, PrecisionRule, SaturationOptions, SaturationRule,
    declared_looks,
};
use llms_core::bench::policy::{StopReason, StopRule};
use llms_core::bench::{Origin, RequestRecord, RunPhase};
use llms_core::error::ErrorCode;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, LogNormal, StandardNormal};
use support::{answered, at_ms, each_seed, failed, record};

fn ok(i: u64, ttft: f64) -> RequestRecord {
    answered(record(&format!("{i}"), 0, i, at_ms(i as f64 * 10.0)), ttft, 5.0, 3)
}

fn bad(i: u64) -> RequestRecord {
    failed(record(&format!("{i}"), 0, i, at_ms(i as f64 * 10.0)), 30.0, ErrorCode::Overloaded)
}

/// One finished request as the saturation rule sees it: (seconds, in flight after it, seconds to the first token).
type Point = (f64, f64, f64);

/// A queue with `servers` servers of mean service time 1 at utilisation `rho`, from empty.
fn queue(rho: f64, servers: usize, n: usize, seed: u64) -> Vec<Point> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |mean: f64| -> u64 {
        let x: f64 = Exp1.sample(&mut rng);
        (x * mean * 1e6) as u64
    };
    let mut at = 0;
    let arrivals: Vec<u64> = (0..n)
        .map(|_| {
            at += draw(1.0 / (rho * servers as f64));
            at
        })
        .collect();
    let service: Vec<u64> = (0..n).map(|_| draw(1.0)).collect();
    let waits = fifo_waits(&arrivals, &service, servers).unwrap();
    let mut ends: Vec<(u64, u64)> = (0..n).map(|i| (arrivals[i] + waits[i] + service[i], waits[i])).collect();
    ends.sort_unstable();
    // after the last arrival the queue only empties: that is no run any more
    let last = arrivals[n - 1];
    ends.iter()
        .enumerate()
        .take_while(|(_, (end, _))| *end <= last)
        .map(|(done, (end, wait))| {
            let arrived = arrivals.partition_point(|a| a <= end);
            (*end as f64 / 1e6, (arrived - done - 1) as f64, *wait as f64 / 1e6)
        })
        .collect()
}

fn stopped_at(points: &[Point]) -> Option<u64> {
    let mut rule = SaturationRule::new(SaturationOptions::default()).unwrap();
    points.iter().find_map(|(at, in_flight, ttft)| rule.point(*at, *in_flight, *ttft)).map(|s| s.requests)
}

#[test]
fn a_server_that_keeps_up_is_rarely_stopped() {
    for (rho, servers) in [(0.5, 1), (0.8, 1), (0.8, 8), (0.95, 8)] {
        let stopped = each_seed(1..=300, |seed| stopped_at(&queue(rho, servers, 6000, seed)).is_some());
        let alarms = stopped.iter().filter(|s| **s).count();
        println!("utilisation {rho} on {servers}: {alarms} of 300 runs stopped");
        // 5 % of whole runs with all their looks
        assert!(alarms <= 15, "utilisation {rho} on {servers}: {alarms} of 300");
    }
}

#[test]
fn a_server_that_cannot_keep_up_is_stopped() {
    for (rho, at_least) in [(1.1, 70), (1.3, 98), (2.0, 100)] {
        let mut found: Vec<u64> =
            each_seed(1..=100, |seed| stopped_at(&queue(rho, 8, 6000, seed))).into_iter().flatten().collect();
        found.sort_unstable();
        println!(
            "overload {rho}: {} of 100 stopped, median after {:?}",
            found.len(),
            found.get(found.len() / 2)
        );
        assert!(at_least <= found.len(), "overload {rho}: {} of 100", found.len());
    }
}

/// GuideLLM's test of one slope: least squares, accepted when the margin of error is below twice the slope.
fn least_squares_accepts(x: &[f64], y: &[f64], margin_over_slope: f64) -> bool {
    let n = x.len() as f64;
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let sxx: f64 = x.iter().map(|x| (x - mx).powi(2)).sum();
    let slope = x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / sxx;
    let rest: f64 = x.iter().zip(y).map(|(x, y)| (y - my - slope * (x - mx)).powi(2)).sum();
    let margin = t_quantile(0.975, n - 2.0) * (rest / (n - 2.0) / sxx).sqrt();
    0.0 < slope && margin / slope < margin_over_slope
}

/// The published defect and ours beside it: two correlated series without a trend, one check each.
#[test]
fn the_slope_test_is_a_real_one() {
    let n = 40;
    let shares = each_seed(1..=4000, |seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut pair = || {
            let (common, own): (f64, f64) =
                (StandardNormal.sample(&mut rng), StandardNormal.sample(&mut rng));
            (common, 0.8 * common + 0.6 * own)
        };
        let (a, b): (Vec<f64>, Vec<f64>) = (0..n).map(|_| pair()).unzip();
        let x: Vec<f64> = (0..n).map(f64::from).collect();
        let theirs = least_squares_accepts(&x, &a, 2.0) && least_squares_accepts(&x, &b, 2.0);
        // the same data to our rule, one look at windows of one request
        let mut rule =
            SaturationRule::new(SaturationOptions { window: 1, alpha: 0.05, excess_min: 0.0 }).unwrap();
        let ours = (0..n as usize).any(|i| rule.point(x[i], 100.0 + a[i], 100.0 + b[i]).is_some());
        (theirs, ours)
    });
    let count = |f: fn(&(bool, bool)) -> bool| shares.iter().filter(|s| f(s)).count() as f64 / 4000.0;
    let (theirs, ours) = (count(|s| s.0), count(|s| s.1));
    println!("two correlated series without trend: half the critical value {theirs:.3}, ours {ours:.3}");
    assert!(0.06 < theirs, "{theirs}");
    assert!(ours <= 0.025, "{ours}");
}

#[test]
fn closed_loop_never_counts_as_saturated() {
    let points: Vec<Point> = (0..5000).map(|i| (f64::from(i), 63.0, f64::from(i) * 0.01)).collect();
    assert_eq!(stopped_at(&points), None);
}

#[test]
fn saturation_reads_records_and_names_the_excess() {
    let mut rule = SaturationRule::new(SaturationOptions::default()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    // 100/s arrive, 80/s complete
    let reason = (0..2000_u64).find_map(|i| {
        let end = i as f64 * 12.5;
        let scheduled = i as f64 * 10.0;
        let noise: f64 = rng.random::<f64>() * 20.0;
        let r = answered(record(&format!("{i}"), 0, i, at_ms(scheduled)), end - scheduled + noise, 1.0, 2);
        rule.observe(&r, (end / 10.0) as u64 - i)
    });
    let Some(StopReason::OverSaturated(s)) = reason else { panic!("{reason:?}") };
    assert!((s.excess - 0.25).abs() < 0.02 && (s.in_flight_per_s - 20.0).abs() < 1.0, "{s:?}");
    assert!(0.0 < s.ttft_per_s_low && s.ttft_p < s.alpha, "{s:?}");
    // once given, the reason stays
    assert!(rule.observe(&ok(1, 1.0), 0).is_some());
}

#[test]
fn error_rate_stops_soon_when_all_fails_and_rarely_when_within_the_limit() {
    let mut rule = ErrorRateRule::new(0.5, 0.99).unwrap();
    let stop = (0..100).find(|i| rule.observe(&bad(*i), 0).is_some()).unwrap();
    assert!((5..20).contains(&stop), "{stop}");

    // exactly at the limit, asked after each of 3,000 requests
    let stopped = each_seed(1..=400, |seed| {
        let mut rule = ErrorRateRule::new(0.1, 0.95).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (good, poor) = (ok(1, 5.0), bad(2));
        (0..3000).any(|_| rule.observe(if rng.random::<f64>() < 0.1 { &poor } else { &good }, 0).is_some())
    });
    let alarms = stopped.iter().filter(|s| **s).count();
    println!("at the limit: {alarms} of 400 runs stopped");
    assert!(alarms <= 20, "{alarms} of 400");

    let mut none_allowed = ErrorRateRule::new(0.0, 0.95).unwrap();
    assert_eq!(none_allowed.observe(&ok(1, 5.0), 0), None);
    let mut warm = bad(2);
    warm.phase = RunPhase::Warmup;
    assert_eq!(none_allowed.observe(&warm, 0), None, "warm-up does not count");
    assert!(matches!(none_allowed.observe(&bad(3), 0), Some(StopReason::ErrorRate(s)) if s.failed == 1));
    assert!(ErrorRateRule::new(1.0, 0.95).is_err());
}

fn precision(relative: f64, looks: Vec<u64>) -> PrecisionOptions {
    PrecisionOptions {
        metric: "ttft".to_owned(),
        origin: Origin::Service,
        streamed: true,
        quantile: 0.9,
        relative,
        confidence: 0.95,
        looks,
    }
}

#[test]
fn precision_stops_at_declared_looks_only_and_refuses_to_peek() {
    let looks = declared_looks(200, 6400, 6);
    assert_eq!(looks, [200, 400, 800, 1600, 3200, 6400]);
    let mut rule = PrecisionRule::new(precision(0.05, looks.clone())).unwrap();
    let law = LogNormal::new(5.0, 0.4).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut stop = None;
    for i in 0..6400_u64 {
        if i == 150 {
            assert_eq!(rule.look(), Err(LookError::Undeclared { seen: 150, next: Some(200) }));
        }
        if let Some(StopReason::Precision(s)) = rule.observe(&ok(i, law.sample(&mut rng)), 0) {
            stop = Some(s);
            break;
        }
    }
    let s = stop.unwrap();
    assert!(looks.contains(&s.requests) && s.relative <= 0.05 && s.looks == 6, "{s:?}");
    assert!(s.low <= s.value && s.value <= s.high);
    let text = StopReason::Precision(s).to_string();
    assert!(text.contains("ttft p90"), "{text}");
    assert!(PrecisionRule::new(precision(0.05, vec![10])).is_err(), "no look could carry it");
    assert!(PrecisionRule::new(precision(0.05, vec![400, 200])).is_err());
    let nonsense = PrecisionOptions { metric: "speed".to_owned(), ..precision(0.05, vec![1000]) };
    assert!(PrecisionRule::new(nonsense).is_err());
}

/// The interval of the look that stopped holds the truth as often as stated, although the run chose when to stop.
#[test]
fn stopping_by_precision_keeps_the_coverage() {
    let truth = (5.0 + 0.4 * 1.2815515655446004_f64).exp() / 1e3;
    let held = each_seed(1..=400, |seed| {
        let mut rule = PrecisionRule::new(precision(0.06, declared_looks(200, 6400, 6))).unwrap();
        let law = LogNormal::new(5.0, 0.4).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..6400).find_map(|i| rule.observe(&ok(i, law.sample(&mut rng)), 0)).map(|reason| {
            let StopReason::Precision(s) = reason else { panic!("{reason:?}") };
            s.low <= truth && truth <= s.high
        })
    });
    let stopped = held.iter().flatten().count();
    let good = held.iter().flatten().filter(|h| **h).count();
    println!("{stopped} of 400 stopped, {good} hold the truth");
    assert!(390 <= stopped && 0.95 * stopped as f64 <= good as f64, "{good} of {stopped}");
}

#[test]
fn of_several_rules_the_first_reason_stands() {
    let rules: Vec<Box<dyn StopRule>> = vec![
        Box::new(SaturationRule::new(SaturationOptions::default()).unwrap()),
        Box::new(ErrorRateRule::new(0.0, 0.95).unwrap()),
        Box::new(PrecisionRule::new(precision(0.5, declared_looks(200, 800, 3))).unwrap()),
    ];
    let mut any = AnyOf::new(rules);
    assert_eq!(any.observe(&ok(1, 5.0), 1), None);
    assert!(matches!(any.observe(&bad(2), 1), Some(StopReason::ErrorRate(_))));
    assert!(matches!(any.observe(&ok(3, 5.0), 1), Some(StopReason::ErrorRate(_))));
}
