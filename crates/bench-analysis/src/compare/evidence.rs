//! What stands behind a verdict of [`pairs`](super::pairs): the smallest difference its test could have seen, and the
//! sentence for a reader to whom the ratio shown seems to say something else. Decides nothing.

use llms_core::bench::{Bounded, Estimate, Measured, PairComparison, Verdict};

use crate::stats::power::smallest_detectable_ratio;
use crate::stats::signed_rank::smallest_detectable_shift;

/// Power at which "the smallest difference this run could see" is stated.
const POWER: f64 = 0.8;
/// Efficiency of the signed-rank test relative to t under normal log ratios: 3/π.
pub(super) const RANK_EFFICIENCY: f64 = 3.0 / std::f64::consts::PI;

/// What the smallest detectable difference is computed from.
pub(super) enum Spread {
    Unknown,
    /// standard deviation of the log ratios of pairs that all succeeded, and their effective number
    LogRatios {
        sd: f64,
        n: f64,
    },
    /// log ratios of which some are infinite: only the rank test itself can say what it sees
    Ranks {
        effects: Vec<f64>,
        tau: f64,
    },
}

impl Spread {
    /// As a relative difference, e.g. 0.04, in a test at `alpha`.
    pub(super) fn smallest_detectable(&self, alpha: f64) -> Option<f64> {
        match self {
            Self::Unknown => None,
            Self::LogRatios { sd, n } => {
                let n = (n * RANK_EFFICIENCY) as usize;
                smallest_detectable_ratio(*sd, n, alpha, POWER).ok().map(|r| r - 1.0)
            }
            Self::Ranks { effects, tau } => {
                smallest_detectable_shift(effects, alpha, POWER, *tau).ok()?.map(f64::exp_m1)
            }
        }
    }
}

/// Where an interval of a ratio lies: below 1 (a is better), above 1, or neither.
fn side_of_one(ratio: &Measured<Estimate>) -> i8 {
    let limit = |b: Option<Bounded>| b.and_then(Bounded::as_f64);
    match ratio.value().map(|e| (limit(e.low), limit(e.high))) {
        Some((_, Some(high))) if high < 1.0 => -1,
        Some((Some(low), _)) if 1.0 < low => 1,
        _ => 0,
    }
}

/// Why the verdict is not what a shown interval of the ratio seems to say; `None` where they agree.
pub(super) fn why_at_odds(
    row: &PairComparison,
    one_sided: usize,
    tau: f64,
    alpha: f64,
    family_size: usize,
) -> Option<String> {
    let verdict = match row.verdict {
        Verdict::Better => -1,
        Verdict::Worse => 1,
        Verdict::NoDetectableDifference { .. } => 0,
        Verdict::NotComparable { .. } => return None,
    };
    let agrees = |ratio: &Measured<Estimate>| ratio.value().is_none() || side_of_one(ratio) == verdict;
    if agrees(&row.ratio) && agrees(&row.ratio_robust) {
        return None;
    }
    let mut why = Vec::new();
    if 0 < one_sided {
        why.push(format!(
            "failures decide: {} alone failed in {} pairs, {} alone in {}; they rank above every latency",
            row.a, row.only_a_failed, row.b, row.only_b_failed
        ));
    }
    if 1.0 < tau {
        let n = row.n_pairs as f64 + one_sided as f64;
        why.push(format!("n effective {:.0} of {n}: pairs depend on their neighbours", n / tau));
    }
    if let (0, Some(p), Some(adjusted)) = (verdict, row.p_value, row.p_adjusted)
        && p < alpha
    {
        why.push(format!(
            "not beyond chance over the family of {family_size} tests: p {p:.3}, adjusted {adjusted:.3}"
        ));
    }
    if why.is_empty() {
        why.push(
            "the verdict rests on the ranks of the ratios, which outliers and skew do not move".to_owned(),
        );
    }
    Some(why.join("; "))
}
