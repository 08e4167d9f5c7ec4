//! Which target is better, by how much, how sure. Both views of the contract.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::{Estimate, Measured};

/// What a pair of targets shows in one metric. "Faster" reads as "better" where less is better.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// `a` is better than `b`, beyond chance over the whole family.
    Better,
    /// `a` is worse than `b`, beyond chance over the whole family.
    Worse,
    /// No difference was detected. Not the same as "equal".
    NoDetectableDifference {
        /// The smallest relative difference this run had a power of 0.8 to see, e.g. 0.04, by the test and at the
        /// effective n of the verdict; `None` when the spread could not be estimated or no difference could be seen.
        smallest_detectable: Option<f64>,
    },
    /// The data cannot carry a comparison.
    NotComparable {
        /// Why.
        reason: String,
    },
}

/// Two targets in one metric, over blocks in which both were asked the same prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairComparison {
    /// Name of the first target.
    pub a: String,
    /// Name of the second target.
    pub b: String,
    /// Name in the metric table.
    pub metric: String,
    /// Pairs in which both succeeded.
    pub n_pairs: u64,
    /// Pairs in which only `a` failed.
    pub only_a_failed: u64,
    /// Pairs in which only `b` failed.
    pub only_b_failed: u64,
    /// Pairs in which both failed: left out of everything.
    pub both_failed: u64,
    /// Ratio a/b: exp of the mean log ratio with t interval, over pairs where both succeeded.
    pub ratio: Measured<Estimate>,
    /// Ratio a/b by Hodges–Lehmann with Wilcoxon interval, the failed side at +∞, at the effective n: what the verdict
    /// rests on.
    pub ratio_robust: Measured<Estimate>,
    /// p of the test the verdict rests on, unadjusted.
    pub p_value: Option<f64>,
    /// The same, Holm-adjusted over all pairs and metrics of the family.
    pub p_adjusted: Option<f64>,
    /// Exact McNemar p on success.
    pub p_success: Option<f64>,
    /// The verdict, family-adjusted.
    pub verdict: Verdict,
    /// Why the verdict and a ratio shown seem to disagree, or why there is no ratio.
    #[serde(default)]
    pub note: Option<String>,
}

/// Rank of one target. Targets that cannot be told apart share a tier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ranking {
    /// Name of the target.
    pub target: String,
    /// From 1; tied targets have the same tier.
    pub tier: u32,
    /// From 1, with ties (1, 1, 3).
    pub rank: u32,
    /// Rank by latency (headline E2E).
    pub latency_rank: Option<u32>,
    /// Rank by cost per complete answer.
    pub cost_rank: Option<u32>,
    /// Rank by success.
    pub reliability_rank: Option<u32>,
    /// 0–100, published formula, failures penalised; no verdict rests on it.
    pub overall_score: Option<f64>,
}

/// The best in a category, if there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Winner {
    /// The best, or several that cannot be told apart; empty when nobody qualifies.
    pub targets: Vec<String>,
    /// Its value.
    pub value: Option<f64>,
    /// Unit of the value.
    pub unit: String,
    /// Why it is empty or shared.
    pub note: Option<String>,
}

/// The comparison of all targets of a run: the contract's `ProviderComparison`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Metrics of the family the verdicts are adjusted over.
    pub family: Vec<String>,
    /// Number of tests in the family.
    pub family_size: u64,
    /// Every pair in every metric of the family.
    pub pairs: Vec<PairComparison>,
    /// Best first. A target with no success is last and never a winner.
    pub rankings: Vec<Ranking>,
    /// Target → category (`latency`, `throughput`, `cost`, `reliability`) → value; absent is null.
    pub performance_matrix: BTreeMap<String, BTreeMap<String, Option<f64>>>,
    /// Category (`fastest`, `lowest_ttft`, `most_cost_effective`, `most_reliable`) → winner.
    pub winner_by_category: BTreeMap<String, Winner>,
    /// The best overall; `None` when tied.
    pub overall_winner: Option<String>,
    /// Overall scores by target: the quickstart's view.
    pub overall_scores: BTreeMap<String, Option<f64>>,
}
