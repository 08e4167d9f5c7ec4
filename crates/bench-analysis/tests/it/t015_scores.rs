//! T015: scores by published formulas: from 0 to 100, monotone, failures penalised; issues with evidence.

use bench_analysis::{Results, scores};
use llms_core::bench::{
    BenchmarkResult, CostAnalysis, EnvironmentInfo, LatencyMetrics, ResultAnalyzer, Scores, Severity,
};
use proptest::prelude::*;
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

/// A result of so many answers and failures with this mean latency, rate and cost per answer.
pub(crate) fn result(ok: u64, failed: u64, mean: f64, rate: f64, usd: Option<f64>) -> BenchmarkResult {
    let mean = (0 < ok).then_some(mean);
    BenchmarkResult {
        benchmark_id: "run".into(),
        test_name: "t".into(),
        provider_name: "a".into(),
        model_name: "m".into(),
        timestamp: time::OffsetDateTime::UNIX_EPOCH,
        duration_s: 10.0,
        latency_metrics: LatencyMetrics {
            n: ok,
            mean,
            p50: mean,
            p95: mean.map(|m| m * 2.0),
            min: mean,
            max: mean.map(|m| m * 3.0),
            ..LatencyMetrics::default()
        },
        throughput_rps: Some(if ok == 0 { 0.0 } else { rate }),
        error_rate: Some(failed as f64 / (ok + failed) as f64),
        memory_usage: None,
        token_usage: None,
        cost_analysis: usd.map(|usd| CostAnalysis {
            total_cost_usd: Decimal::from_f64(usd * ok as f64).unwrap(),
            cost_per_operation: (0 < ok).then(|| Decimal::from_f64(usd).unwrap()),
            cost_per_million_output_tokens: (0 < ok).then(|| Decimal::from_f64(usd * 1e4).unwrap()),
            price_source: "test".into(),
        }),
        operation_count: ok + failed,
        concurrency_level: Some(1),
        successful_ops: ok,
        failed_ops: failed,
        scenario_name: "s".into(),
        configuration_hash: String::new(),
        environment: EnvironmentInfo::default(),
        additional_metrics: std::collections::BTreeMap::default(),
        tags: std::collections::BTreeMap::default(),
    }
}

fn all(s: &Scores) -> [Option<f64>; 5] {
    [s.overall, s.latency, s.throughput, s.cost_efficiency, s.reliability]
}

#[track_caller]
fn never_better(worse: &Scores, better: &Scores) {
    for (w, b) in all(worse).into_iter().zip(all(better)) {
        assert!(w.zip(b).is_none_or(|(w, b)| w <= b + 1e-9), "{worse:?} against {better:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn scores_are_bounded_and_monotone(
        ok in 0_u64..500, failed in 0_u64..500, mean in 0.0..100.0_f64, rate in 0.0..1000.0_f64,
        usd in proptest::option::of(0.0..10.0_f64), worse in 0.0..10.0_f64, lost in 0_u64..500,
    ) {
        prop_assume!(0 < ok + failed);
        let base = scores(&result(ok, failed, mean, rate, usd));
        for s in all(&base).into_iter().flatten() {
            prop_assert!((0.0..=100.0).contains(&s), "{:?}", base);
        }
        never_better(&scores(&result(ok, failed, mean + worse, rate, usd)), &base);
        never_better(&scores(&result(ok, failed, mean, rate / (1.0 + worse), usd)), &base);
        never_better(&scores(&result(ok, failed, mean, rate, usd.map(|c| c + worse))), &base);
        let lost = lost.min(ok);
        never_better(&scores(&result(ok - lost, failed + lost, mean, rate, usd)), &base);
    }
}

#[test]
fn scores_are_what_their_formulas_say() {
    let s = scores(&result(90, 10, 1.0, 10.0, Some(0.01)));
    let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-9, "{a:?}, expected {b}");
    close(s.reliability, 90.0);
    close(s.latency, 45.0);
    close(s.throughput, 50.0);
    close(s.cost_efficiency, 50.0);
    close(s.overall, 0.9 * (45.0 + 50.0 + 50.0) / 3.0);
    let unpriced = scores(&result(90, 10, 1.0, 10.0, None));
    assert_eq!(unpriced.cost_efficiency, None, "no price is no score, not 50");
    close(unpriced.overall, 0.9 * 47.5);
}

#[test]
fn who_never_answered_scores_nothing_and_is_never_called_fast() {
    let dead = result(0, 50, 0.0, 0.0, Some(0.0));
    assert_eq!(all(&scores(&dead)), [Some(0.0); 5]);
    let alive = BenchmarkResult { provider_name: "slow".into(), ..result(50, 0, 30.0, 0.1, Some(5.0)) };
    let found = Results::default().analyze_results(&[dead, alive]).unwrap();
    for line in found.key_insights.iter().filter(|l| l.starts_with("least")) {
        assert!(line.contains("slow"), "{line}");
    }
    assert!(found.key_insights.iter().any(|l| l.contains("never answered")));
    let worst = &found.performance_issues[0];
    assert_eq!((worst.severity, worst.category.as_str()), (Severity::Critical, "reliability"));
}

#[test]
fn issues_have_evidence_and_grow_with_their_cause() {
    let severities =
        [(1.5, Severity::Low), (4.0, Severity::Medium), (15.0, Severity::High), (30.0, Severity::Critical)];
    for (mean, expected) in severities {
        let found = Results::default().analyze_results(&[result(100, 0, mean, 1.0, None)]).unwrap();
        let [issue] = &found.performance_issues[..] else { panic!("{mean}: {found:?}") };
        assert_eq!((issue.category.as_str(), issue.severity), ("latency", expected), "{mean}");
        assert!(!issue.evidence.is_empty() && !issue.impact.is_empty());
    }
    // one failure among thirty is no proof of more than 1 %
    let few = Results::default().analyze_results(&[result(29, 1, 0.1, 1.0, None)]).unwrap();
    assert!(few.performance_issues.is_empty(), "{few:?}");
}
