//! T006: the contract of the analyzer of results: known answers, refusals, and nothing turned round.

use bench_analysis::stats::{QuantileType, Sample};
use bench_analysis::{ResultOptions, Results};
use llms_core::bench::{BenchmarkResult, PerformanceAnalysis, ResultAnalyzer};

use crate::t015_scores::result;

#[test]
fn known_percentiles() {
    let ms: Vec<f64> = (1..=10).map(|i| f64::from(i) * 10.0).collect();
    let sample = Sample::new(&ms[..]).unwrap();
    let p50 = sample.quantile(0.5, QuantileType::Type7).unwrap();
    let p95 = sample.quantile(0.95, QuantileType::Type7).unwrap();
    assert!(40.0 < p50 && p50 <= 60.0 && 90.0 < p95, "{p50} {p95}");
}

#[test]
fn an_empty_list_is_refused_and_so_is_a_broken_result() {
    let message = Results::default().analyze_results(&[]).unwrap_err().message().to_owned();
    assert!(message.contains("at least one result"), "{message}");
    let broken = BenchmarkResult { operation_count: 7, ..result(5, 0, 1.0, 1.0, None) };
    let message = Results::default().analyze_results(&[broken]).unwrap_err().message().to_owned();
    assert!(message.contains("operation_count"), "{message}");
}

#[test]
fn options_are_checked() {
    for (n, confidence) in [(0, 0.95), (3, 0.4), (3, 0.995), (3, f64::NAN)] {
        Results::new(ResultOptions { min_sample_size: n, confidence }).unwrap_err();
    }
}

#[test]
fn lists_and_scores_are_there_and_bounded() {
    let found = Results::default().analyze_results(&[result(10, 0, 0.5, 5.0, Some(0.001))]).unwrap();
    let s = found.scores;
    for score in [s.overall, s.latency, s.throughput, s.cost_efficiency, s.reliability] {
        assert!((0.0..=100.0).contains(&score.unwrap()), "{s:?}");
    }
    assert_eq!(found.results_analyzed, 1);
    assert!(found.performance_issues.is_empty() && found.recommendations.is_empty());
    assert!(!found.key_insights.is_empty());
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<PerformanceAnalysis>(&json).unwrap(), found);
}

#[test]
fn a_statistic_needs_its_sample() {
    let results = |n: u32| -> Vec<BenchmarkResult> {
        (0..n).map(|i| result(10, 0, 0.1 + 0.01 * f64::from(i), 5.0, None)).collect()
    };
    let few = Results::default().analyze_results(&results(2)).unwrap();
    assert!(few.mean_latency.reason().unwrap().contains("2 results"), "{:?}", few.mean_latency);
    let twenty = Results::default().analyze_results(&results(20)).unwrap();
    let e = twenty.mean_latency.value().unwrap();
    let (low, high) = (e.low.unwrap().value.unwrap(), e.high.unwrap().value.unwrap());
    assert!(0.0 < low && low < e.value.value.unwrap() && e.value.value.unwrap() < high);
    assert!((e.value.value.unwrap() - 0.195).abs() < 1e-12);
}

#[test]
fn more_is_not_better_for_latency_cost_and_errors() {
    let overall = |r: BenchmarkResult| Results::default().analyze_results(&[r]).unwrap().scores;
    let base = overall(result(100, 0, 0.5, 5.0, Some(0.001)));
    let slow = overall(result(100, 0, 5.0, 5.0, Some(0.001)));
    let dear = overall(result(100, 0, 0.5, 5.0, Some(0.1)));
    let broken = overall(result(60, 40, 0.5, 5.0, Some(0.001)));
    assert!(slow.latency < base.latency && slow.overall < base.overall);
    assert!(dear.cost_efficiency < base.cost_efficiency && dear.overall < base.overall);
    assert!(broken.reliability < base.reliability && broken.overall < base.overall);
    assert!(broken.latency < base.latency, "failures are no fast answers");
}

#[test]
fn the_callers_list_keeps_its_order_and_the_order_changes_nothing() {
    let mut late = result(10, 0, 0.5, 5.0, None);
    late.timestamp += time::Duration::hours(1);
    let list = vec![late, result(20, 2, 2.5, 5.0, None)];
    let copy = list.clone();
    let found = Results::default().analyze_results(&list).unwrap();
    assert_eq!(list, copy);
    let turned: Vec<BenchmarkResult> = list.iter().rev().cloned().collect();
    let again = Results::default().analyze_results(&turned).unwrap();
    assert_eq!((found.scores, found.created_at), (again.scores, again.created_at));
    assert_eq!(found.performance_issues, again.performance_issues);
}

#[test]
fn recommendations_fill_every_field() {
    let found = Results::default().analyze_results(&[result(60, 40, 5.0, 5.0, Some(5.0))]).unwrap();
    let categories: Vec<&str> = found.recommendations.iter().map(|r| r.category.as_str()).collect();
    assert!(["reliability", "latency", "cost"].iter().all(|c| categories.contains(c)), "{categories:?}");
    for r in &found.recommendations {
        let texts = [&r.title, &r.description, &r.implementation, &r.expected_impact, &r.estimated_effort];
        assert!(texts.iter().all(|t| !t.trim().is_empty()), "{r:?}");
    }
}
