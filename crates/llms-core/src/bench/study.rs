//! A comparison in depth: ranks with their uncertainty, the front nobody beats, tails, gates, and what equals look like.
//!
//! [`Comparison`](super::Comparison) says which target is better; this says how sure a rank is and what a decision may rest on.
//! It takes a bootstrap over blocks, so it is made when asked for and not with every analysis.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::analysis::{Bounded, Estimate, Measured};
use crate::error::{Error, ErrorCode, Result};

/// What a study is asked.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StudyOptions {
    /// Gates: a ratio up to this is acceptable; above 1, e.g. 1.1 for "at most 10 % slower".
    pub margin: f64,
    /// A ratio that one would like to see if it were there; above 1.
    pub wanted: f64,
    /// Chance with which it should be seen, in (0, 1).
    pub power: f64,
    /// Resamples of the blocks, 100 to 100,000.
    pub resamples: u32,
}

impl Default for StudyOptions {
    fn default() -> Self {
        Self { margin: 1.1, wanted: 1.05, power: 0.8, resamples: 2000 }
    }
}

impl StudyOptions {
    /// Refuses what makes no sense.
    ///
    /// # Errors
    /// `invalid_config` naming the field and its range.
    pub fn check(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::new("study.configure", ErrorCode::InvalidConfig, message));
        for (name, ratio) in [("margin", self.margin), ("wanted", self.wanted)] {
            if !(1.0 < ratio && ratio.is_finite()) {
                return wrong(format!("expected {name} as a ratio above 1 (1.1 for 10 %), found {ratio}"));
            }
        }
        if !(0.0 < self.power && self.power < 1.0) {
            return wrong(format!("expected a power inside (0, 1), found {}", self.power));
        }
        if !(100..=100_000).contains(&self.resamples) {
            return wrong(format!("expected 100 to 100000 resamples, found {}", self.resamples));
        }
        Ok(())
    }
}

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// The interval lies within what is allowed.
    Pass,
    /// More data are needed. Never read as a pass.
    Inconclusive,
    /// The interval lies outside, or success is significantly worse.
    Fail,
}

/// One gate and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    /// What it came to.
    pub outcome: GateOutcome,
    /// Why, in words.
    pub why: String,
}

/// The same quantile of two targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TailRatio {
    /// Level, in (0, 1).
    pub p: f64,
    /// Ratio a/b of the quantiles.
    pub ratio: Measured<Estimate>,
}

/// Two targets as if their requests were no pairs: for effect sizes, and for verdicts where no block holds both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnpairedEvidence {
    /// P(a < b) + ½ P(a = b): the chance that a request of a is the faster one; failures last.
    pub p_less: f64,
    /// Brunner–Munzel p of "neither tends to larger values"; `None` where the two do not overlap.
    pub p_value: Option<f64>,
    /// Cliff's delta P(a > b) − P(a < b), in [−1, 1].
    pub cliff: Measured<Estimate>,
    /// exp of the Hodges–Lehmann shift of logarithms, over successes.
    pub ratio: Measured<Estimate>,
}

/// A pair of targets in one metric, beyond its verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairStudy {
    /// Name of the first target.
    pub a: String,
    /// Name of the second target.
    pub b: String,
    /// Name in the metric table.
    pub metric: String,
    /// p of the verdict's test, adjusted by Benjamini–Hochberg over the table: at most 5 % of those below 0.05 are false.
    pub q_value: Option<f64>,
    /// Ratio of p95 and p99, failures at +∞: absent where they reach it.
    pub tails: Vec<TailRatio>,
    /// Unpaired view.
    pub unpaired: Measured<UnpairedEvidence>,
    /// "a is at most `margin` times b".
    pub a_no_worse: GateResult,
    /// "b is at most `margin` times a".
    pub b_no_worse: GateResult,
    /// "a and b are the same within `margin`".
    pub equivalent: GateResult,
    /// Blocks that show a ratio of `wanted` with chance `power`, at this run's spread, dependence and family.
    pub blocks_needed: Option<u64>,
}

/// Where a target stands in one category over all resamples of the blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RankEstimate {
    /// Name of the target.
    pub target: String,
    /// Its value; above the timeout where failures outweigh.
    pub value: Bounded,
    /// Rank by that value, from 1, equals share one.
    pub rank: u32,
    /// 95 % of its ranks lie from here
    pub rank_low: u32,
    /// to here.
    pub rank_high: u32,
    /// Chance to be first; ties divide it, so that it adds up to 1 over the targets (to 0 when none has a success).
    pub p_first: f64,
}

/// One target among offers that differ in cost, tail and goodput.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrontPoint {
    /// Name of the target.
    pub target: String,
    /// US dollars per complete answer, all spend included.
    pub cost_per_success: Option<f64>,
    /// p95 of the latency with failures at +∞, seconds.
    pub p95: Bounded,
    /// SLO-good answers per second; complete ones where there is no SLO.
    pub goodput: f64,
    /// No other target is at least as good in everything and better in something. A target without success never is.
    pub on_front: bool,
    /// Share of the resamples in which it is.
    pub p_on_front: f64,
}

/// The Pareto front.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Front {
    /// Coordinates it was made of: `cost`, `p95`, `goodput`; cost only where every target has one.
    pub coordinates: Vec<String>,
    /// In the order of the run's targets.
    pub points: Vec<FrontPoint>,
}

/// What the same endpoint under two names shows: differences of this size are noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseFloor {
    /// One name.
    pub a: String,
    /// The other.
    pub b: String,
    /// Name in the metric table.
    pub metric: String,
    /// Ratio of the two.
    pub ratio: Measured<Estimate>,
    /// The comparison called them different: a false alarm.
    pub alarm: bool,
}

/// The study of a run with two targets or more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonStudy {
    /// What was asked.
    pub options: StudyOptions,
    /// Confidence of every interval unless it says otherwise; gates rest on two one-sided 5 % limits.
    pub confidence: f64,
    /// Blocks that were resampled.
    pub blocks: u64,
    /// Resamples done: fewer than asked for where there are very many blocks.
    pub resamples: u32,
    /// Pairs in the order of the comparison, without success (a share has no ratio).
    pub pairs: Vec<PairStudy>,
    /// Category (`latency`, `tail`, `ttft`, `reliability`, `cost`) → targets in the run's order.
    pub standings: BTreeMap<String, Vec<RankEstimate>>,
    /// Who offers something that nobody beats.
    pub front: Front,
    /// Targets that are one endpoint, if any.
    pub noise_floor: Vec<NoiseFloor>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_have_ranges_and_survive_their_file() {
        let good = StudyOptions::default();
        good.check().unwrap();
        assert_eq!(
            serde_json::from_str::<StudyOptions>(&serde_json::to_string(&good).unwrap()).unwrap(),
            good
        );
        assert_eq!(serde_json::from_str::<StudyOptions>("{}").unwrap(), good);
        for (wrong, named) in [
            (StudyOptions { margin: 1.0, ..good }, "margin"),
            (StudyOptions { wanted: f64::NAN, ..good }, "wanted"),
            (StudyOptions { power: 1.0, ..good }, "power"),
            (StudyOptions { resamples: 5, ..good }, "resamples"),
        ] {
            assert!(wrong.check().unwrap_err().to_string().contains(named), "{named}");
        }
    }
}
