//! The study of a comparison: everything of [`ComparisonStudy`], put together.

use llms_core::bench::{
    Bounded, Comparison, ComparisonStudy, Front, FrontPoint, GateOutcome, GateResult, Measured, NoiseFloor,
    PairComparison, PairStudy, RankEstimate, RunManifest, StudyOptions, Verdict,
};

use super::blocks::Blocks;
use super::evidence::RANK_EFFICIENCY;
use super::gates::gates;
use super::pairs::{METRIC_COST, METRIC_SUCCESS, metric_pairs};
use super::resample::{Category, Resampled, resample};
use super::{Side, unpaired};
use crate::estimate::Setting;
use crate::stats::interval::StatsError;
use crate::stats::multiple::benjamini_hochberg;
use crate::stats::paired::paired_ratio;
use crate::stats::power::difference_pairs;

/// Everything of the study. `comparison` is that of the same sides.
pub(crate) fn study(
    manifest: &RunManifest,
    sides: &[Side<'_>],
    comparison: &Comparison,
    options: &StudyOptions,
    setting: &Setting,
) -> ComparisonStudy {
    let blocks = Blocks::of(sides, &manifest.scenario.slo);
    let resampled = resample(&blocks, options.resamples, setting.seed);
    let tested: Vec<&PairComparison> = comparison.pairs.iter().collect();
    let raw: Vec<f64> = tested.iter().filter_map(|p| p.p_value).collect();
    let mut q = benjamini_hochberg(&raw).into_iter();
    let pairs = tested.iter().filter_map(|p| {
        let q_value = p.p_value.and_then(|_| q.next());
        let side = |name: &str| sides.iter().find(|s| s.analysis.target == name);
        let (a, b) = side(&p.a).zip(side(&p.b))?;
        (p.metric != METRIC_SUCCESS)
            .then(|| pair(p, (a, b), q_value, comparison.family_size, options, setting))
    });
    ComparisonStudy {
        options: *options,
        confidence: setting.confidence,
        blocks: blocks.len() as u64,
        resamples: resampled.resamples,
        pairs: pairs.collect(),
        standings: standings(sides, &resampled),
        front: offers(sides, &resampled),
        noise_floor: noise_floor(manifest, comparison),
    }
}

fn pair(
    p: &PairComparison,
    (a, b): (&Side<'_>, &Side<'_>),
    q_value: Option<f64>,
    family: u64,
    options: &StudyOptions,
    setting: &Setting,
) -> PairStudy {
    let (in_a, in_b) = (unpaired::of(a, &p.metric), unpaired::of(b, &p.metric));
    let paired = metric_pairs(a, b, &p.metric);
    let is_cost = p.metric == METRIC_COST;
    let gates = match (&p.verdict, &paired.free) {
        (Verdict::NotComparable { reason }, _) => [0; 3].map(|_| undecided(reason)),
        (_, Some(why)) => [0; 3].map(|_| undecided(why)),
        _ => {
            let g = gates(&paired.values, paired.tau, options.margin);
            [g.a_no_worse, g.b_no_worse, g.equivalent]
        }
    };
    let [a_no_worse, b_no_worse, equivalent] = gates;
    let finite: Vec<f64> = paired.values.effects.iter().copied().filter(|d| d.is_finite()).collect();
    let blocks_needed = || -> Result<u64, StatsError> {
        let sd = paired_ratio(&finite, setting.confidence)?.sd_log;
        let alpha = (1.0 - setting.confidence) / family.max(1) as f64;
        let n = difference_pairs(sd, options.wanted, alpha, options.power)?;
        Ok((n * paired.tau / RANK_EFFICIENCY).ceil() as u64)
    };
    PairStudy {
        a: p.a.clone(),
        b: p.b.clone(),
        metric: p.metric.clone(),
        q_value,
        tails: if is_cost { Vec::new() } else { unpaired::tails(&in_a, &in_b, setting) },
        unpaired: unpaired::evidence(&in_a, &in_b, setting),
        a_no_worse,
        b_no_worse,
        equivalent,
        blocks_needed: if paired.free.is_some() { None } else { blocks_needed().ok() },
    }
}

fn undecided(why: &str) -> GateResult {
    GateResult { outcome: GateOutcome::Inconclusive, why: why.to_owned() }
}

fn standings(
    sides: &[Side<'_>],
    resampled: &Resampled,
) -> std::collections::BTreeMap<String, Vec<RankEstimate>> {
    let limit = |side: &Side<'_>| side.population.timeout;
    let category = |s: &super::resample::Standings| {
        let ranks = sides.iter().zip(&s.places).map(|(side, place)| RankEstimate {
            target: side.analysis.target.clone(),
            value: if place.value.is_infinite() && s.category == Category::Cost {
                Bounded::default()
            } else {
                Bounded::from_f64(place.value, limit(side))
            },
            rank: place.rank,
            rank_low: place.low,
            rank_high: place.high,
            p_first: place.p_first,
        });
        (s.category.name().to_owned(), ranks.collect())
    };
    resampled.standings.iter().map(category).collect()
}

fn offers(sides: &[Side<'_>], resampled: &Resampled) -> Front {
    let priced = resampled.standings.iter().any(|s| s.category == Category::Cost);
    let mut coordinates = vec!["p95".to_owned(), "goodput".to_owned()];
    if priced {
        coordinates.insert(0, "cost".to_owned());
    }
    let point = |(side, offer): (&Side<'_>, &super::resample::Offer)| {
        let length = side.population.window.map(|w| w.end.saturating_since(w.start).as_secs_f64());
        let requests = side.population.rows.len() as f64;
        FrontPoint {
            target: side.analysis.target.clone(),
            cost_per_success: Some(offer.cost).filter(|c| priced && c.is_finite()),
            p95: Bounded::from_f64(offer.p95, side.population.timeout),
            goodput: length.filter(|l| 0.0 < *l).map_or(0.0, |l| offer.good * requests / l),
            on_front: offer.on_front,
            p_on_front: offer.p_on_front,
        }
    };
    Front { coordinates, points: sides.iter().zip(&resampled.offers).map(point).collect() }
}

/// Pairs that are one endpoint: provider, model and address agree.
fn noise_floor(manifest: &RunManifest, comparison: &Comparison) -> Vec<NoiseFloor> {
    let model = |name: &str| {
        let found = manifest.targets.iter().find(|t| t.name == name)?;
        Some((&found.model.provider, &found.model.model, &found.model.endpoint))
    };
    let same = |p: &&PairComparison| {
        p.metric != METRIC_SUCCESS && model(&p.a).is_some() && model(&p.a) == model(&p.b)
    };
    let floor = |p: &PairComparison| NoiseFloor {
        a: p.a.clone(),
        b: p.b.clone(),
        metric: p.metric.clone(),
        ratio: match &p.verdict {
            Verdict::NotComparable { reason } => Measured::absent(reason.clone()),
            _ => p.ratio_robust.clone(),
        },
        alarm: matches!(p.verdict, Verdict::Better | Verdict::Worse),
    };
    comparison.pairs.iter().filter(same).map(floor).collect()
}
