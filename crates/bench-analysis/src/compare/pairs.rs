//! Pairs of targets over the blocks in which both were asked the same prompt.

use llms_core::bench::{Bounded, Estimate, Measured, PairComparison, RunManifest, Verdict};

use super::evidence::{Spread, why_at_odds};
use super::{Side, unpaired};
use crate::estimate::{Setting, is_dependent};
use crate::population::{Population, Standing};
use crate::row::Row;
use crate::stats::dependence::effective_size;
use crate::stats::interval::{Interval, StatsError};
use crate::stats::multiple::holm;
use crate::stats::paired::{PairedRatio, paired_ratio_dependent};
use crate::stats::proportion::mcnemar_exact;
use crate::stats::signed_rank::{SignedRank, signed_rank_dependent};
use crate::stats::summary::midranks;
use crate::stats::two_sample::mann_whitney;

/// The row that compares success instead of a latency.
pub const METRIC_SUCCESS: &str = "error_rate";
/// The row that compares dollars per answered request.
pub const METRIC_COST: &str = "cost";

/// Why a free target has no ratio of costs.
const FREE: &str = "one side is free of charge: compared by differences";
/// The same for two of them.
const BOTH_FREE: &str = "both sides are free of charge: compared by differences";
/// The metrics of the family: latencies a user waits for, success, and cost where two targets have a price.
pub(super) fn family(manifest: &RunManifest, sides: &[Side<'_>]) -> Vec<&'static str> {
    let mut family = if manifest.scenario.streaming { vec!["ttft", "e2e", "tpot"] } else { vec!["e2e"] };
    family.push(METRIC_SUCCESS);
    if 2 <= sides.iter().filter(|s| s.priced).count() {
        family.push(METRIC_COST);
    }
    family
}

/// `ln(x/y)` of two values above 0: how latencies and prices compare.
pub fn log_ratio(x: f64, y: f64) -> Option<f64> {
    (0.0 < x && 0.0 < y).then(|| (x / y).ln())
}

/// `x − y`: how prices compare when one of them may be 0.
pub fn difference(x: f64, y: f64) -> Option<f64> {
    Some(x - y)
}

/// Log ratios a/b (or differences) of one metric over the blocks of two targets, in the order of their schedule.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct PairedValues {
    /// `+∞` where only a failed, `−∞` where only b failed; both-failed pairs are left out
    pub effects: Vec<f64>,
    /// pairs in which both succeeded and have the metric
    pub both_ok: u64,
    /// pairs in which only a failed
    pub only_a_failed: u64,
    /// pairs in which only b failed
    pub only_b_failed: u64,
    /// pairs in which both failed
    pub both_failed: u64,
}

/// Pairs two targets by block. `value` gives the metric of a successful request, `effect` compares two of them; a pair
/// without an effect is dropped. `ranks_failures`: a failed side enters at infinity (latencies), or its pair is left out
/// (cost).
pub fn paired_values(
    a: &Side<'_>,
    b: &Side<'_>,
    ranks_failures: bool,
    value: impl Fn(&Side<'_>, &Row) -> Option<f64>,
    effect: impl Fn(f64, f64) -> Option<f64>,
) -> PairedValues {
    let (in_a, in_b) = (last_of_blocks(a.population), last_of_blocks(b.population));
    let number_of = |list: &[(u64, usize)], block: u64| {
        list.binary_search_by_key(&block, |(block, _)| *block).ok().map(|at| list[at].1)
    };
    let mut pairs = PairedValues::default();
    for (i, first) in a.population.rows.iter().enumerate() {
        let Some(second) = number_of(&in_b, first.block) else { continue };
        if number_of(&in_a, first.block) != Some(i) {
            continue;
        }
        let (first, second) = (&first, &b.population.rows.get(second));
        match (a.population.standing(first), b.population.standing(second)) {
            (Standing::Ok, Standing::Ok) => {
                if let (Some(x), Some(y)) = (value(a, first), value(b, second))
                    && let Some(d) = effect(x, y)
                {
                    pairs.both_ok += 1;
                    pairs.effects.push(d);
                }
            }
            (Standing::Failed, Standing::Failed) => pairs.both_failed += 1,
            (Standing::Failed, Standing::Ok) => {
                pairs.only_a_failed += 1;
                if ranks_failures && value(b, second).is_some() {
                    pairs.effects.push(f64::INFINITY);
                }
            }
            (Standing::Ok, Standing::Failed) => {
                pairs.only_b_failed += 1;
                if ranks_failures && value(a, first).is_some() {
                    pairs.effects.push(f64::NEG_INFINITY);
                }
            }
            (Standing::Unknown, _) | (_, Standing::Unknown) => {}
        }
    }
    pairs
}

/// Blocks with the number of their last request: the last attempt of a block is its outcome.
fn last_of_blocks(population: &Population) -> Vec<(u64, usize)> {
    let mut blocks: Vec<(u64, usize)> =
        population.rows.iter().enumerate().map(|(i, row)| (row.block, i)).collect();
    blocks.sort_unstable_by_key(|(block, i)| (*block, std::cmp::Reverse(*i)));
    blocks.dedup_by_key(|(block, _)| *block);
    blocks
}

/// Every pair in every metric, with verdicts.
pub(super) struct Tested {
    pub(super) pairs: Vec<PairComparison>,
    pub(super) family_size: u64,
}

/// One pair before the family is known.
struct Open {
    row: PairComparison,
    /// sign of "a is worse": above 0 when a tends to larger values
    direction: f64,
    spread: Spread,
    /// pairs that entered the test with one side at infinity
    one_sided: usize,
    tau: f64,
}

impl Open {
    /// One that was not tested, or not by ratios.
    fn plain(row: PairComparison, direction: f64) -> Self {
        Self { row, direction, spread: Spread::Unknown, one_sided: 0, tau: 1.0 }
    }
}

pub(super) fn test_all(sides: &[Side<'_>], family: &[&'static str], setting: &Setting) -> Tested {
    let mut open = Vec::new();
    for metric in family {
        for (i, a) in sides.iter().enumerate() {
            for b in &sides[i + 1..] {
                open.push(if *metric == METRIC_SUCCESS {
                    test_success(a, b)
                } else {
                    test_metric(a, b, metric, setting)
                });
            }
        }
    }
    let raw: Vec<f64> = open.iter().filter_map(|o| o.row.p_value).collect();
    let mut adjusted = holm(&raw).into_iter();
    let alpha = 1.0 - setting.confidence;
    let pairs = open
        .into_iter()
        .map(|o| {
            let p_adjusted = o.row.p_value.and_then(|_| adjusted.next());
            let verdict = match (o.row.verdict, p_adjusted) {
                (Verdict::NotComparable { reason }, _) => Verdict::NotComparable { reason },
                (_, Some(p)) if p < alpha && o.direction < 0.0 => Verdict::Better,
                (_, Some(p)) if p < alpha && 0.0 < o.direction => Verdict::Worse,
                _ => Verdict::NoDetectableDifference {
                    smallest_detectable: o.spread.smallest_detectable(alpha / raw.len() as f64),
                },
            };
            let mut row = PairComparison { p_adjusted, verdict, ..o.row };
            row.note = row.note.take().or_else(|| why_at_odds(&row, o.one_sided, o.tau, alpha, raw.len()));
            row
        })
        .collect();
    Tested { pairs, family_size: raw.len() as u64 }
}

fn row(a: &Side<'_>, b: &Side<'_>, metric: &str, pairs: &PairedValues) -> PairComparison {
    PairComparison {
        a: a.analysis.target.clone(),
        b: b.analysis.target.clone(),
        metric: metric.to_owned(),
        n_pairs: pairs.both_ok,
        only_a_failed: pairs.only_a_failed,
        only_b_failed: pairs.only_b_failed,
        both_failed: pairs.both_failed,
        ratio: Measured::absent("success is a share: compared by McNemar's test"),
        ratio_robust: Measured::absent("success is a share: compared by McNemar's test"),
        p_value: None,
        p_adjusted: None,
        p_success: Some(mcnemar_exact(pairs.only_b_failed, pairs.only_a_failed)),
        verdict: Verdict::NoDetectableDifference { smallest_detectable: None },
        note: None,
    }
}

/// Why a pair cannot be compared at all, if so.
fn missing(a: &Side<'_>, b: &Side<'_>, pairs: &PairedValues) -> Option<String> {
    for side in [a, b] {
        if let Some(why) = &side.analysis.unavailable {
            return Some(format!("{} was not measured: {why}", side.analysis.target));
        }
    }
    let together = pairs.both_ok + pairs.only_a_failed + pairs.only_b_failed;
    if together == 0 && 0 < pairs.both_failed {
        return Some(format!("both failed in all {} pairs", pairs.both_failed));
    }
    (together == 0).then(|| "no block in which both were asked has this metric".to_owned())
}

fn test_success(a: &Side<'_>, b: &Side<'_>) -> Open {
    let pairs = paired_values(a, b, true, |_, _| Some(1.0), log_ratio);
    let mut row = row(a, b, METRIC_SUCCESS, &pairs);
    if let Some(reason) = missing(a, b, &pairs) {
        row.verdict = Verdict::NotComparable { reason };
        row.p_success = None;
    } else if 0 < pairs.only_a_failed + pairs.only_b_failed {
        // without a discordant pair the test could never reject and is no member of the family (Tarone 1990)
        row.p_value = row.p_success;
    }
    let direction = pairs.only_a_failed as f64 - pairs.only_b_failed as f64;
    Open::plain(row, direction)
}

/// The pairs of one metric, and how much they depend on their neighbours.
pub(super) struct MetricPairs {
    pub(super) values: PairedValues,
    /// autocorrelation time by rank, 1 where no dependence shows
    pub(super) tau: f64,
    /// the effects are differences, no log ratios, because somebody asks nothing
    pub(super) free: Option<&'static str>,
}

pub(super) fn metric_pairs(a: &Side<'_>, b: &Side<'_>, metric: &str) -> MetricPairs {
    let is_cost = metric == METRIC_COST;
    let value = |side: &Side<'_>, row: &Row| {
        let has = !is_cost || side.priced;
        has.then(|| row.value(metric, side.population.headline)).flatten()
    };
    let is_free = |side: &Side<'_>| side.population.ok().any(|r| value(side, &r) == Some(0.0));
    let free = match (is_cost && is_free(a), is_cost && is_free(b)) {
        (false, false) => None,
        (true, true) => Some(BOTH_FREE),
        _ => Some(FREE),
    };
    let values = paired_values(a, b, !is_cost, value, if free.is_some() { difference } else { log_ratio });
    let tau = dependence(&values.effects);
    MetricPairs { values, tau, free }
}

/// Targets that share no block: Brunner–Munzel on all requests, failures last. `None` where a side was not measured, the two
/// were asked together and both failed, or requests depend on one another.
fn test_unpaired(
    a: &Side<'_>,
    b: &Side<'_>,
    metric: &'static str,
    row: &PairComparison,
    setting: &Setting,
) -> Option<Open> {
    if a.analysis.unavailable.is_some() || b.analysis.unavailable.is_some() || 0 < row.both_failed {
        return None;
    }
    let (in_a, in_b) = (unpaired::of(a, metric), unpaired::of(b, metric));
    let Measured::Value(found) = unpaired::evidence(&in_a, &in_b, setting) else { return None };
    if is_dependent(&in_a.all) || is_dependent(&in_b.all) {
        return None;
    }
    // ranks that do not overlap have no variance: then the normal approximation of U says how unlikely that is
    let p = found.p_value.or_else(|| mann_whitney(&in_a.all, &in_b.all).ok().map(|u| u.p_normal))?;
    let row = PairComparison {
        ratio: Measured::absent("no block holds both: compared as two samples"),
        ratio_robust: found.ratio,
        p_value: Some(p),
        p_success: None,
        note: Some(
            "no block holds both: Brunner–Munzel on two samples, in which the spread of prompts stays"
                .to_owned(),
        ),
        ..row.clone()
    };
    Some(Open::plain(row, 0.5 - found.p_less))
}

fn test_metric(a: &Side<'_>, b: &Side<'_>, metric: &'static str, setting: &Setting) -> Open {
    let is_cost = metric == METRIC_COST;
    let MetricPairs { values: pairs, tau, free } = metric_pairs(a, b, metric);
    let mut row = row(a, b, metric, &pairs);
    row.note = free.map(str::to_owned);
    if let Some(reason) = missing(a, b, &pairs) {
        if !is_cost && let Some(open) = test_unpaired(a, b, metric, &row, setting) {
            return open;
        }
        row.verdict = Verdict::NotComparable { reason: reason.clone() };
        row.ratio = Measured::absent(reason.clone());
        row.ratio_robust = Measured::absent(reason);
        row.p_success =
            row.p_success.filter(|_| 0 < pairs.both_ok + pairs.only_a_failed + pairs.only_b_failed);
        return Open::plain(row, 0.0);
    }
    let finite: Vec<f64> = pairs.effects.iter().copied().filter(|d| d.is_finite()).collect();
    let t = paired_ratio_dependent(&finite, setting.confidence, tau);
    let one_sided = pairs.effects.len() - finite.len();
    row.ratio = match (&t, free) {
        (_, Some(why)) => Measured::absent(why),
        (Ok(t), None) => Measured::Value(by_t(t, tau, one_sided, setting)),
        (Err(e), None) => Measured::absent(e.to_string()),
    };
    match signed_rank_dependent(&pairs.effects, setting.confidence, tau) {
        Ok(rank) => {
            row.ratio_robust = match free {
                Some(why) => Measured::absent(why),
                None => by_rank(&rank, tau, one_sided, setting),
            };
            row.p_value = Some(rank.p);
            let n = rank.n as f64;
            let spread = match t {
                _ if free.is_some() => Spread::Unknown,
                _ if 0 < one_sided => Spread::Ranks { effects: pairs.effects, tau },
                Ok(t) if 0.0 < t.sd_log => Spread::LogRatios { sd: t.sd_log, n: n / tau },
                _ => Spread::Unknown,
            };
            Open { row, direction: rank.v - n * (n + 1.0) / 4.0, spread, one_sided, tau }
        }
        Err(e) => {
            let reason = match e {
                StatsError::TooFew { needed, have, .. } => {
                    format!("{have} pairs are too few, {needed} needed")
                }
                other => other.to_string(),
            };
            row.verdict = Verdict::NotComparable { reason: reason.clone() };
            row.ratio_robust = Measured::absent(reason);
            Open::plain(row, 0.0)
        }
    }
}

/// Autocorrelation time of the log ratios by rank, 1 where no dependence shows.
fn dependence(effects: &[f64]) -> f64 {
    if !is_dependent(effects) {
        return 1.0;
    }
    effective_size(&midranks(effects).0).map_or(1.0, |e| e.tau.max(1.0))
}

fn ratio_estimate(
    value: f64,
    interval: Interval,
    n: usize,
    tau: f64,
    method: &str,
    failures: Option<String>,
    setting: &Setting,
) -> Estimate {
    let dependent =
        (1.0 < tau).then(|| "pairs depend on their neighbours: widened to the effective n".to_owned());
    let notes: Vec<String> = failures.into_iter().chain(dependent).collect();
    // a ratio has no timeout: its bound says "more than the largest finite number", i.e. nothing but "above 1"
    let bounded = |x: f64| Bounded::from_f64(x, 1.0);
    Estimate {
        value: bounded(value),
        low: Some(bounded(interval.low)),
        high: Some(bounded(interval.high)),
        confidence: setting.confidence,
        n: n as u64,
        ess: (!notes.is_empty()).then(|| n as f64 / tau),
        method: method.to_owned(),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    }
}

fn by_t(t: &PairedRatio, tau: f64, one_sided: usize, setting: &Setting) -> Estimate {
    let failures = (0 < one_sided)
        .then(|| format!("leaves out {one_sided} pairs in which one side failed; the verdict counts them"));
    ratio_estimate(t.ratio, t.interval, t.n, tau, "paired log-ratio t", failures, setting)
}

fn by_rank(rank: &SignedRank, tau: f64, one_sided: usize, setting: &Setting) -> Measured<Estimate> {
    let Some(median) = rank.pseudo_median else {
        return Measured::absent("each side failed where the other succeeded, about as often: no ratio");
    };
    let method = "Hodges–Lehmann, signed-rank interval, failures at +∞";
    let failures =
        (0 < one_sided).then(|| format!("{one_sided} pairs in which one side failed rank at infinity"));
    let interval = rank.interval.map(f64::exp);
    Measured::Value(ratio_estimate(median.exp(), interval, rank.n, tau, method, failures, setting))
}
