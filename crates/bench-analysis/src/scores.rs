//! The contract's scores, issues and insights of results. Formulas are in [`Scores`]; limits of issues are the contract's alarm
//! limits. Verdicts come from [`compare`](crate::compare), never from here.

use llms_core::bench::{
    BenchmarkResult, Estimate, Measured, OptimizationRecommendation, PerformanceAnalysis, PerformanceIssue,
    Priority, ResultAnalyzer, Scores, Severity,
};
use llms_core::error::{Error, ErrorCode, Result};
use rust_decimal::prelude::ToPrimitive;

use crate::estimate::{Series, Setting};
use crate::stats::proportion::wilson;

/// Mean latency that gives half of the points, seconds.
const HALF_LATENCY: f64 = 1.0;
/// Answers per second that give half of the points.
const HALF_RATE: f64 = 10.0;
/// Dollars per complete answer that give half of the points.
const HALF_COST: f64 = 0.01;
/// Alarm limits: p95 in seconds, share of failures, dollars per output token, bytes.
const P95: f64 = 2.0;
const ERRORS: f64 = 0.01;
const PER_TOKEN: f64 = 1e-4;
const MEMORY: f64 = 1e8;

/// Options of [`Results`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResultOptions {
    /// fewest results for a statistic over them, at least 1
    pub min_sample_size: u64,
    /// confidence of intervals, 0.5–0.99
    pub confidence: f64,
}

impl Default for ResultOptions {
    fn default() -> Self {
        Self { min_sample_size: 3, confidence: 0.95 }
    }
}

/// The contract's analyzer of results.
#[derive(Clone, Copy, Debug, Default)]
pub struct Results {
    options: ResultOptions,
}

impl Results {
    /// With these options.
    ///
    /// # Errors
    /// `invalid_config` for a sample size of 0 or a confidence outside 0.5–0.99.
    pub fn new(options: ResultOptions) -> Result<Self> {
        let wrong = |message| Err(Error::new("results.configure", ErrorCode::InvalidConfig, message));
        if options.min_sample_size == 0 {
            return wrong("expected a smallest sample of at least 1, found 0".to_owned());
        }
        if !(0.5..=0.99).contains(&options.confidence) {
            return wrong(format!("expected a confidence from 0.5 to 0.99, found {}", options.confidence));
        }
        Ok(Self { options })
    }
}

/// The scores of one result.
pub fn scores(r: &BenchmarkResult) -> Scores {
    let share = r.successful_ops as f64 / r.operation_count.max(1) as f64;
    let none = r.successful_ops == 0;
    let unless_none = |x: Option<f64>| if none { Some(0.0) } else { x };
    let latency = unless_none(r.latency_metrics.mean.map(|m| 100.0 * share / (1.0 + m / HALF_LATENCY)));
    let throughput = unless_none(r.throughput_rps.map(|x| 100.0 * x / (x + HALF_RATE)));
    let cost = r.cost_analysis.as_ref();
    let cost_efficiency = match cost {
        Some(_) if none => Some(0.0),
        Some(c) => c.cost_per_operation.and_then(|d| d.to_f64()).map(|d| 100.0 / (1.0 + d / HALF_COST)),
        None => None,
    };
    let known: Vec<f64> = [latency, throughput, cost_efficiency].into_iter().flatten().collect();
    let overall =
        unless_none((!known.is_empty()).then(|| share * known.iter().sum::<f64>() / known.len() as f64));
    Scores { overall, latency, throughput, cost_efficiency, reliability: Some(100.0 * share) }
}

fn weighted(results: &[BenchmarkResult], of: fn(&Scores) -> Option<f64>) -> Option<f64> {
    let (sum, weight) = results
        .iter()
        .filter_map(|r| Some((of(&scores(r))?, r.operation_count as f64)))
        .fold((0.0, 0.0), |(s, w), (x, n)| (s + x * n, w + n));
    (0.0 < weight).then(|| (sum / weight).clamp(0.0, 100.0))
}

impl ResultAnalyzer for Results {
    fn analyze_results(&self, results: &[BenchmarkResult]) -> Result<PerformanceAnalysis> {
        let wrong = |message| Error::new("results.analyze", ErrorCode::InvalidInput, message);
        let Some(latest) = results.iter().map(|r| r.timestamp).max() else {
            return Err(wrong("expected at least one result, found none".to_owned()));
        };
        for r in results {
            r.validate().map_err(|e| wrong(format!("result {}: {e}", r.benchmark_id)))?;
        }
        let mut issues: Vec<PerformanceIssue> =
            results.iter().flat_map(|r| issues(r, self.options.confidence)).collect();
        issues.sort_by_key(|i| std::cmp::Reverse(i.severity));
        let ids: Vec<&str> = results.iter().map(|r| r.benchmark_id.as_str()).collect();
        let mut analysis = PerformanceAnalysis {
            analysis_id: format!("analysis of {}", ids.join(", ")),
            created_at: latest,
            results_analyzed: results.len() as u64,
            scores: Scores {
                overall: weighted(results, |s| s.overall),
                latency: weighted(results, |s| s.latency),
                throughput: weighted(results, |s| s.throughput),
                cost_efficiency: weighted(results, |s| s.cost_efficiency),
                reliability: weighted(results, |s| s.reliability),
            },
            key_insights: insights(results),
            performance_issues: issues,
            recommendations: Vec::new(),
            mean_latency: self.mean_latency(results),
        };
        analysis.recommendations = self.recommend(&analysis);
        Ok(analysis)
    }

    fn recommend(&self, analysis: &PerformanceAnalysis) -> Vec<OptimizationRecommendation> {
        let mut found: Vec<OptimizationRecommendation> = Vec::new();
        for issue in &analysis.performance_issues {
            if found.iter().any(|r| r.category == issue.category) {
                continue;
            }
            let (title, implementation, effect, effort) = match issue.category.as_str() {
                "latency" => (
                    "bring the slow answers down",
                    "find the load from which latency grows (llms-bench stress), cap requests in flight below it, shorten answers",
                    "p95 below 2 s",
                    "medium: a load test and a setting",
                ),
                "reliability" => (
                    "cure the most frequent failure",
                    "look at the failures by code in the report; each names its next step",
                    "failures below 1 %",
                    "medium: depends on the cause",
                ),
                "cost" => (
                    "pay less for each token",
                    "llms-bench tokens shows what the money goes into and what would save it",
                    "less than 0.0001 $ per output token",
                    "medium: a change of prompts, model or caching",
                ),
                _ => (
                    "hold less in memory",
                    "stream answers and records instead of keeping them",
                    "a peak below 100 MB",
                    "high: a change of code",
                ),
            };
            found.push(OptimizationRecommendation {
                priority: match issue.severity {
                    Severity::Low => Priority::Low,
                    Severity::Medium => Priority::Medium,
                    Severity::High | Severity::Critical => Priority::High,
                },
                category: issue.category.clone(),
                title: title.to_owned(),
                description: format!("{}: {}", issue.description, issue.evidence.join("; ")),
                implementation: implementation.to_owned(),
                expected_impact: effect.to_owned(),
                estimated_effort: effort.to_owned(),
            });
        }
        found
    }
}

impl Results {
    /// The result is the unit: requests of one run are not independent of each other.
    fn mean_latency(&self, results: &[BenchmarkResult]) -> Measured<Estimate> {
        let means: Vec<f64> = results.iter().filter_map(|r| r.latency_metrics.mean).collect();
        if (means.len() as u64) < self.options.min_sample_size {
            return Measured::absent(format!(
                "n too small: {} results with a latency, {} asked for",
                means.len(),
                self.options.min_sample_size
            ));
        }
        let setting = Setting { confidence: self.options.confidence, limit: f64::INFINITY, seed: 0 };
        Series::new(&means).mean(&setting)
    }
}

fn severity(times: f64) -> Severity {
    match times {
        t if t <= 2.0 => Severity::Low,
        t if t <= 5.0 => Severity::Medium,
        t if t <= 20.0 => Severity::High,
        _ => Severity::Critical,
    }
}

fn issues(r: &BenchmarkResult, confidence: f64) -> Vec<PerformanceIssue> {
    let who = format!("{}:{} in {}", r.provider_name, r.model_name, r.benchmark_id);
    let mut found = Vec::new();
    let mut add = |times: f64, category: &str, description: &str, impact: &str, evidence: String| {
        found.push(PerformanceIssue {
            severity: severity(times),
            category: category.to_owned(),
            description: description.to_owned(),
            impact: impact.to_owned(),
            evidence: vec![format!("{who}: {evidence}")],
        });
    };
    if let Some(p95) = r.latency_metrics.p95.filter(|p| P95 < *p) {
        let n = r.latency_metrics.n;
        add(
            p95 / P95,
            "latency",
            "slow answers",
            "one user in twenty waits longer than this",
            format!("p95 {p95:.3} s above {P95} s, n = {n}"),
        );
    }
    // beyond doubt, not by one failure among few
    if let Ok(low) = wilson(r.failed_ops, r.operation_count, confidence).map(|i| i.low)
        && ERRORS < low
    {
        let rate = r.failed_ops as f64 / r.operation_count as f64;
        let times = if r.successful_ops == 0 { f64::INFINITY } else { rate / ERRORS };
        add(
            times,
            "reliability",
            "failed requests",
            "users get no answer, and what was spent on them is lost",
            format!(
                "{} of {} failed ({:.1} %, at least {:.1} %)",
                r.failed_ops,
                r.operation_count,
                100.0 * rate,
                100.0 * low
            ),
        );
    }
    let per_token = r
        .cost_analysis
        .as_ref()
        .and_then(|c| c.cost_per_million_output_tokens)
        .and_then(|d| d.to_f64())
        .map(|d| d / 1e6);
    if let Some(usd) = per_token.filter(|c| PER_TOKEN < *c) {
        add(
            usd / PER_TOKEN,
            "cost",
            "dear tokens",
            "the bill grows faster than the use",
            format!("{usd:.6} $ per output token above {PER_TOKEN} $"),
        );
    }
    if let Some(bytes) =
        r.memory_usage.as_ref().and_then(|m| m.peak_usage_bytes).map(|b| b as f64).filter(|b| MEMORY < *b)
    {
        add(
            bytes / MEMORY,
            "memory",
            "a large client",
            "the client itself may become what is measured",
            format!("peak {:.0} MB above {:.0} MB", bytes / 1e6, MEMORY / 1e6),
        );
    }
    found
}

/// What the results say side by side. A result without a success is never called fast or cheap.
fn insights(results: &[BenchmarkResult]) -> Vec<String> {
    let name = |r: &BenchmarkResult| format!("{}:{}", r.provider_name, r.model_name);
    let answering = || results.iter().filter(|r| 0 < r.successful_ops);
    let mut lines = Vec::new();
    let ok: u64 = results.iter().map(|r| r.successful_ops).sum();
    let all: u64 = results.iter().map(|r| r.operation_count).sum();
    lines.push(format!("{ok} of {all} requests succeeded in {} results", results.len()));
    let fastest =
        answering().filter_map(|r| Some((r, r.latency_metrics.mean?))).min_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((r, mean)) = fastest {
        lines.push(format!("least mean latency: {} with {mean:.3} s", name(r)));
    }
    let cheapest = answering()
        .filter_map(|r| Some((r, r.cost_analysis.as_ref()?.cost_per_operation?)))
        .min_by(|a, b| a.1.cmp(&b.1));
    if let Some((r, usd)) = cheapest {
        lines.push(format!("least cost per complete answer: {} with {usd} $", name(r)));
    }
    lines.extend(
        results.iter().filter(|r| r.successful_ops == 0).map(|r| format!("{} never answered", name(r))),
    );
    lines
}
