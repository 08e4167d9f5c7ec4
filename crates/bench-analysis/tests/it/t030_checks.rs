//! T030, checks against a baseline: three outcomes, never a pass for what cannot be compared or was not seen.

use bench_analysis::Trends;
use llms_core::bench::{Bounded, RegressionOutcome, TrendAnalyzer, TrendSeries};

use crate::{
    support::each_seed,
    t030_trend::{estimate, noise, series},
};

#[track_caller]
fn checked(metric: &str, baseline: &[f64], current: &[f64], expected: RegressionOutcome) {
    let now = series(metric, current);
    let checks = Trends::new().check(&[series(metric, baseline)], &[now]).unwrap();
    assert_eq!(checks[0].outcome, expected, "{:?}", checks[0]);
}

#[test]
fn a_check_against_a_baseline_has_three_outcomes() {
    use RegressionOutcome::{Fail, Inconclusive, Pass};
    let base = noise(10, 0.03, 1);
    let scaled = |f: f64| -> Vec<f64> { noise(6, 0.03, 2).into_iter().map(|v| f * v).collect() };
    checked("e2e", &base, &scaled(1.0), Pass);
    checked("e2e", &base, &scaled(1.3), Fail);
    checked("e2e", &base, &scaled(1.1), Inconclusive);
    checked("e2e", &base, &scaled(0.5), Pass);
    checked("throughput", &base, &scaled(0.5), Fail);
    checked("throughput", &base, &scaled(1.3), Pass);
    // neither direction of a token count is good: outside the margin is outside
    checked("output_tokens", &base, &scaled(1.4), Fail);
    checked("output_tokens", &base, &scaled(1.0), Pass);
    // one run against ten, and one against one by the runs' own intervals
    checked("e2e", &base, &[0.1], Pass);
    checked("e2e", &base, &[0.15], Fail);
    checked("e2e", &[0.1], &[0.1], Pass);
    checked("e2e", &[0.1], &[0.2], Fail);
    checked("e2e", &[0.1], &[0.11], Inconclusive);
    // shares by difference: one point is allowed
    checked("error_rate", &[0.01, 0.011, 0.009, 0.01, 0.01], &[0.011, 0.01, 0.0095], Pass);
    checked("error_rate", &[0.01, 0.011, 0.009, 0.01, 0.01], &[0.08, 0.085, 0.082], Fail);
}

#[test]
fn what_cannot_be_compared_never_passes() {
    let base = series("e2e", &noise(10, 0.03, 1));
    let mut elsewhere = series("e2e", &noise(5, 0.03, 2));
    for p in &mut elsewhere.points {
        p.fingerprint.prompt_set_hash = "other".to_owned();
    }
    let trends = Trends::new();
    let other = &trends.check(std::slice::from_ref(&base), &[elsewhere]).unwrap()[0];
    assert_eq!((other.outcome, other.not_compared.len()), (RegressionOutcome::Inconclusive, 10));
    let missing = &trends.check(&[], std::slice::from_ref(&base)).unwrap()[0];
    assert_eq!((missing.outcome, missing.baseline_runs), (RegressionOutcome::Inconclusive, 0));
    let mut bare = series("e2e", &[0.1]);
    bare.points[0].estimate = estimate(0.1, None);
    let without = &trends.check(std::slice::from_ref(&bare), std::slice::from_ref(&bare)).unwrap()[0];
    assert_eq!(without.outcome, RegressionOutcome::Inconclusive);
    // a current run that failed beyond its limit is no pass, whatever the interval
    let mut failing = series("e2e", &noise(3, 0.03, 2));
    failing.points[2].estimate.value = Bounded::above(0.09);
    assert_ne!(trends.check(&[base], &[failing]).unwrap()[0].outcome, RegressionOutcome::Pass);
    assert!(trends.check(&[], &[]).is_err());
}

#[test]
fn checks_of_equals_fail_no_more_often_than_stated() {
    // ten series a check, none worse by the margin: at most 5 % of checks may hold a failure
    let wrong: usize = each_seed(1..=300, |seed| {
        let side = |from: u64, n: usize| -> Vec<TrendSeries> {
            (0..10)
                .map(|i| TrendSeries {
                    target: format!("t{i}"),
                    ..series("e2e", &noise(n, 0.05, seed * 1000 + from + i))
                })
                .collect()
        };
        let checks = Trends::new().check(&side(0, 8), &side(500, 4)).unwrap();
        usize::from(checks.iter().any(|c| c.outcome == RegressionOutcome::Fail))
    })
    .iter()
    .sum();
    println!("{wrong} of 300 checks of equals fail");
    assert!(wrong <= 5, "{wrong}");
}

/// Runs without a failure do not vary; what they prove is what their requests prove.
#[test]
fn no_failure_among_few_requests_is_no_proof() {
    use RegressionOutcome::{Inconclusive, Pass};
    for (upper, expected) in [(0.088, Inconclusive), (0.0004, Pass)] {
        let runs = |n: usize| {
            let mut s = series("error_rate", &vec![0.0; n]);
            for p in &mut s.points {
                (p.estimate.low, p.estimate.high) =
                    (Some(Bounded::finite(0.0)), Some(Bounded::finite(upper)));
            }
            s
        };
        for current in [1, 3] {
            let checks = Trends::new().check(&[runs(5)], &[runs(current)]).unwrap();
            assert_eq!(checks[0].outcome, expected, "{:?}", checks[0]);
            assert!(0.0 < checks[0].effect.value().unwrap().high.unwrap().value.unwrap());
        }
    }
}
