//! Which target is better, by how much, how sure. Both views of the contract.

use std::collections::BTreeMap;

use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{
    analysis::{Estimate, Measured, TargetAnalysis},
    result::RunManifest,
};

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

/// The contract's `ProviderComparison`, in both views it asks for: rankings, matrix and winners by category, and the flat one
/// of the quickstart. Where several cannot be told apart, or nobody qualifies, a winner is absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProviderComparison {
    /// The run compared.
    pub comparison_id: String,
    /// When that run began: the same run gives the same document.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Best first.
    pub provider_rankings: Vec<Ranking>,
    /// Provider → category → value; absent is null.
    pub performance_matrix: BTreeMap<String, BTreeMap<String, Option<f64>>>,
    /// Category → the one winner, if there is one.
    pub winner_by_category: BTreeMap<String, Option<String>>,
    /// The best overall; `None` when tied.
    pub overall_winner: Option<String>,
    /// Provider → score, 0 to 100.
    pub overall_scores: BTreeMap<String, Option<f64>>,
    /// Alone in the first tier by E2E latency.
    pub fastest_provider: Option<String>,
    /// The least median E2E latency, seconds; of several that tie, their best.
    pub best_latency: Option<f64>,
    /// Alone in the first tier by cost.
    pub most_cost_effective: Option<String>,
    /// The least cost of an output token, US dollars.
    pub best_cost_per_token: Option<f64>,
    /// Alone in the first tier by success.
    pub most_reliable: Option<String>,
    /// The greatest share of complete answers, 0 to 1.
    pub best_success_rate: Option<f64>,
}

impl Comparison {
    /// The contract's document about the run of `manifest`, of which `targets` is what has been said one by one.
    pub fn contract(&self, manifest: &RunManifest, targets: &[TargetAnalysis]) -> ProviderComparison {
        let alone = |category: &str| match self.winner_by_category.get(category)?.targets.as_slice() {
            [one] => Some(one.clone()),
            _ => None,
        };
        let value = |category: &str| self.winner_by_category.get(category).and_then(|w| w.value);
        let cost_per_token =
            |t: &TargetAnalysis| Some(t.cost.value()?.per_million_output_usd?.to_f64()? / 1e6);
        ProviderComparison {
            comparison_id: manifest.run_id.clone(),
            created_at: manifest.started_at,
            provider_rankings: self.rankings.clone(),
            performance_matrix: self.performance_matrix.clone(),
            winner_by_category: self.winner_by_category.keys().map(|c| (c.clone(), alone(c))).collect(),
            overall_winner: self.overall_winner.clone(),
            overall_scores: self.overall_scores.clone(),
            fastest_provider: alone("fastest"),
            best_latency: value("fastest"),
            most_cost_effective: alone("most_cost_effective"),
            best_cost_per_token: targets
                .iter()
                .filter(|t| 0 < t.ok)
                .filter_map(cost_per_token)
                .reduce(f64::min),
            most_reliable: alone("most_reliable"),
            best_success_rate: value("most_reliable"),
        }
    }
}
