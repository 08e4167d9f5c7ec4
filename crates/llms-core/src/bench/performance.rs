//! The contract's overview of results: scores from 0 to 100, issues, insights. For people; no verdict ever rests on a score.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    analysis::{Estimate, Measured},
    optimize::Priority,
    summary::BenchmarkResult,
};
use crate::error::Result;

/// Scores, 0–100, higher is better; `None` where what they are made of was not measured. With e the share of failures:
///
/// | Score | Formula |
/// |---|---|
/// | reliability | 100 (1 − e) |
/// | latency | 100 (1 − e) / (1 + mean E2E of answers / 1 s) |
/// | throughput | 100 x / (x + 10), x = complete answers per second |
/// | cost efficiency | 100 / (1 + dollars per complete answer / 0.01), failed spend included; 0 when nothing succeeded |
/// | overall | (1 − e) × mean of latency, throughput and cost efficiency, as far as known; 0 when nothing succeeded |
///
/// Each falls when what it is made of gets worse, and never rises with more failures. Of several results: the mean weighted by
/// operations, over those that have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Everything.
    pub overall: Option<f64>,
    /// How soon.
    pub latency: Option<f64>,
    /// How much.
    pub throughput: Option<f64>,
    /// For how little.
    pub cost_efficiency: Option<f64>,
    /// How surely.
    pub reliability: Option<f64>,
}

/// How bad an issue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Up to twice the limit.
    Low,
    /// Up to five times.
    Medium,
    /// Up to twenty times.
    High,
    /// Beyond.
    Critical,
}

/// Something beyond its limit. All fields are filled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerformanceIssue {
    /// How bad.
    pub severity: Severity,
    /// `latency`, `reliability`, `cost`, `memory`.
    pub category: String,
    /// What it is.
    pub description: String,
    /// What it does to users.
    pub impact: String,
    /// The numbers, at least one.
    pub evidence: Vec<String>,
}

/// What to do about an issue. All fields are filled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizationRecommendation {
    /// How much it matters.
    pub priority: Priority,
    /// Category of the issue.
    pub category: String,
    /// One line.
    pub title: String,
    /// Why.
    pub description: String,
    /// How.
    pub implementation: String,
    /// What it should bring.
    pub expected_impact: String,
    /// Work it takes, in words.
    pub estimated_effort: String,
}

/// The contract's analysis of a list of results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerformanceAnalysis {
    /// Made of the ids of the results.
    pub analysis_id: String,
    /// Start of the latest result: an analysis has no clock.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// At least 1.
    pub results_analyzed: u64,
    /// 0–100.
    pub scores: Scores,
    /// Facts in sentences; may be empty.
    pub key_insights: Vec<String>,
    /// Worst first; may be empty.
    pub performance_issues: Vec<PerformanceIssue>,
    /// One for each kind of issue; may be empty.
    pub recommendations: Vec<OptimizationRecommendation>,
    /// Mean over results of their mean latency, seconds, the result as the unit; absent below the smallest sample.
    pub mean_latency: Measured<Estimate>,
}

/// Looks at results instead of records.
pub trait ResultAnalyzer: Send + Sync {
    /// Scores, issues and insights of results, in any order.
    ///
    /// # Errors
    /// `invalid_input` for an empty list, or a result that breaks its own rules.
    fn analyze_results(&self, results: &[BenchmarkResult]) -> Result<PerformanceAnalysis>;

    /// What to do about the issues of an analysis.
    fn recommend(&self, analysis: &PerformanceAnalysis) -> Vec<OptimizationRecommendation>;
}
