//! Which target is better, by how much, how sure: pairs over interleaved blocks, a verdict for each, tiers and winners.
//!
//! The verdict of a pair rests on the signed-rank test of log ratios with failed sides at +∞, adjusted by Holm over every
//! metric and pair that is tested; success is compared by McNemar's exact test on the same prompts. Targets that share no block
//! are compared as two samples (Brunner–Munzel). The study goes further when asked: how sure ranks are, the Pareto front,
//! tails, gates, the noise floor.

mod blocks;
mod evidence;
mod gates;
mod pairs;
mod ranking;
mod resample;
mod study;
mod unpaired;

use llms_core::bench::{Comparison, RunManifest, TargetAnalysis};

use crate::estimate::Setting;
use crate::population::Population;

pub(crate) use study::study;

pub use pairs::{METRIC_COST, METRIC_SUCCESS, PairedValues, difference, log_ratio, paired_values};

/// What the comparison needs of one target.
#[derive(Debug)]
pub struct Side<'a> {
    /// its measured requests
    pub population: &'a Population,
    /// its answers have a price
    pub priced: bool,
    /// what has been said about it alone
    pub analysis: &'a TargetAnalysis,
}

/// Compares all targets of a run; `None` below two.
pub fn compare(manifest: &RunManifest, sides: &[Side<'_>], setting: &Setting) -> Option<Comparison> {
    if sides.len() < 2 {
        return None;
    }
    let family = pairs::family(manifest, sides);
    let tested = pairs::test_all(sides, &family, setting);
    let standing = ranking::Standing::new(sides, &tested.pairs);
    Some(Comparison {
        family: family.iter().map(|m| (*m).to_owned()).collect(),
        family_size: tested.family_size,
        rankings: standing.rankings(),
        performance_matrix: standing.matrix(),
        winner_by_category: standing.winners(),
        overall_winner: standing.overall_winner(),
        overall_scores: standing.scores(),
        pairs: tested.pairs,
    })
}
