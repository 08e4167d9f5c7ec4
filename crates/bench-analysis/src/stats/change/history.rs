//! The whole recipe for one history: levels, memory, breaks, second opinions, and what is only a candidate.
//!
//! Where the levels explain the series (lag-1 of what is left ≤ 0.3, and no straight line does better), changes are those of the
//! rank scan. Else changes of level mean nothing: breaks of lines with AR(1) noise are looked for instead, and nothing at all is
//! said where these leave dependence, too. Its settings were fixed by argument (each constant says which), not fitted to series.

use super::bocpd::{self, Prior};
use super::control::{self, CUSUM_LIMIT, CUSUM_SLACK, Side};
use super::prewhiten::{memory, prewhiten};
use super::rank_scan::RESAMPLES;
use super::segments::{self, Change, Rule, shift_value};
use super::{edivisive, pelt, rank_scan, trend_break};
use crate::stats::interval::{StatsError, check_finite};
use crate::stats::trend::{median, theil_sen};

/// Lag-1 of the residuals above which an environment drifts.
pub const DRIFTING: f64 = 0.3;
/// Below this p a split is a candidate: worth a confirming re-run, no more.
pub const CANDIDATE_ALPHA: f64 = 0.05;
/// E-divisive speaks up below this p.
pub const ENERGY_ALPHA: f64 = 0.001;
/// Second opinions agree when their change lies within so many runs.
pub const AGREE_WITHIN: usize = 3;
/// Values about a change that E-divisive looks at, a side: its cost grows with their square.
const ENERGY_REACH: usize = 100;
/// Chance of a change after any run, for BOCPD: one in a hundred.
const HAZARD: f64 = 0.01;
/// Fewest values for a memory.
const MEMORY_LEAST: usize = 8;

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recipe {
    /// smallest |shift| worth telling, unit of the values (logs: `ln 1.05` for 5 %); 0 leaves it to the noise
    pub shift_min: f64,
    /// permutations behind each p
    pub resamples: u64,
    /// their seed
    pub seed: u64,
}

impl Recipe {
    /// 9999 permutations.
    pub fn new(shift_min: f64, seed: u64) -> Self {
        Self { shift_min, resamples: RESAMPLES, seed }
    }
}

/// How a change was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Evidence {
    /// a change of level: rank scan
    Level {
        /// standardised rank sum: negative where values rise
        z: f64,
        /// permutation p over the whole search
        p: f64,
    },
    /// a change of level in the prewhitened series
    Prewhitened {
        /// standardised rank sum of the innovations
        z: f64,
        /// permutation p over the whole search
        p: f64,
    },
    /// a break of lines with AR(1) noise
    Break {
        /// n ln(squares without / with)
        gain: f64,
        /// what it had to pass
        price: f64,
    },
    /// E-divisive alone
    Energy {
        /// permutation p
        p: f64,
    },
    /// CUSUM alone: a slow drift
    Cusum,
}

/// Who else sees a change within [`AGREE_WITHIN`] runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Votes {
    /// E-divisive, p < 0.001 on the runs about it
    pub e_divisive: bool,
    /// PELT with penalty 3 s² ln n
    pub pelt: bool,
    /// CUSUM from the level before, within the segment after
    pub cusum: bool,
    /// BOCPD's most probable run lengths
    pub bocpd: bool,
}

impl Votes {
    /// Votes given.
    pub fn count(self) -> u32 {
        [self.e_divisive, self.pelt, self.cusum, self.bocpd].into_iter().map(u32::from).sum()
    }
}

/// One change of a history.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// index of the first value after it
    pub at: usize,
    /// how
    pub evidence: Evidence,
    /// second opinions
    pub votes: Votes,
    /// p < 0.01 (or a break), large enough, and at least one second opinion; else a candidate
    pub supported: bool,
}

/// What a history shows.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// changes in order of place, candidates among them
    pub changes: Vec<Found>,
    /// lag-1 autocorrelation about the levels; `None` below eight values
    pub memory: Option<f64>,
    /// the memory is above [`DRIFTING`]
    pub drifting: bool,
    /// levels, or lines with AR(1) noise, leave nothing dependent; where not, only candidates are told
    pub explained: bool,
    /// deviation of single values, from differences of neighbours
    pub noise: f64,
}

impl History {
    /// Places of the supported changes.
    pub fn supported(&self) -> Vec<usize> {
        self.changes.iter().filter(|c| c.supported).map(|c| c.at).collect()
    }
}

/// Looks for changes in values of runs in order of time, at most [`trend_break::VALUES_MAX`].
///
/// # Errors
/// `TooFew` below two values, `Infinite`, `NotANumber`, `OutOfRange` for too many.
pub fn history(x: &[f64], recipe: &Recipe) -> Result<History, StatsError> {
    check_finite(x)?;
    let noise = pelt::noise(x)?;
    if trend_break::VALUES_MAX < x.len() {
        return Err(StatsError::OutOfRange {
            what: "number of runs of a history",
            range: "at most 2000: take the newest",
            got: x.len() as f64,
        });
    }
    let rule = Rule { resamples: recipe.resamples, ..Rule::new(0.0, recipe.seed) };
    let mut levels = segments::changes(x, &rule)?;
    let places: Vec<usize> = levels.iter().map(|c| c.at).collect();
    let memory = if x.len() < MEMORY_LEAST { None } else { Some(memory(x, &places)?) };
    // only now: a level too small to be told is no memory either
    segments::prune(x, &mut levels, recipe.shift_min)?;
    let opinions = Opinions::of(x, noise);
    let drifting = memory.is_some_and(|m| DRIFTING < m);
    let (mut changes, explained) = if drifting || is_line(x, &levels, noise)? {
        let lines = trend_break::breaks(x)?;
        (breaks(x, &lines, &opinions, recipe)?, lines.explained)
    } else {
        (level_changes(x, &levels, &opinions, recipe)?, true)
    };
    let phi = if drifting { memory } else { None };
    candidates(x, &mut changes, phi, &opinions, recipe)?;
    changes.sort_by_key(|c| c.at);
    Ok(History { changes, memory, drifting, explained, noise })
}

/// Whether one line tells the values better than these levels do: a staircase is the picture that levels make of a slope.
///
/// By `n ln Σ min(rest², 9 s²)` (s: the noise), so that wild runs do not decide; a change of level costs 3 ln n (its place counts
/// twice, Zhang and Siegmund 2007), the slope 2 ln n.
fn is_line(x: &[f64], levels: &[Change], noise: f64) -> Result<bool, StatsError> {
    if levels.is_empty() || noise <= 0.0 {
        return Ok(false);
    }
    let n = x.len() as f64;
    let square = |rest: f64| (rest * rest).min(9.0 * noise * noise);
    let t: Vec<f64> = (0..x.len()).map(|i| i as f64).collect();
    let line = theil_sen(&t, x, 0.95)?;
    let about_line: f64 = t.iter().zip(x).map(|(t, v)| square(v - line.at(*t))).sum();
    let mut about_levels = 0.0;
    let mut start = 0;
    for end in levels.iter().map(|c| c.at).chain([x.len()]) {
        let level = median(&x[start..end]);
        about_levels += x[start..end].iter().map(|v| square(v - level)).sum::<f64>();
        start = end;
    }
    let cost = |squares: f64, prices: f64| n * squares.max(f64::MIN_POSITIVE).ln() + prices * n.ln();
    Ok(cost(about_line, 2.0) < cost(about_levels, 3.0 * levels.len() as f64))
}

fn level_changes(
    x: &[f64],
    levels: &[Change],
    opinions: &Opinions,
    recipe: &Recipe,
) -> Result<Vec<Found>, StatsError> {
    let mut out = Vec::with_capacity(levels.len());
    for (i, change) in levels.iter().enumerate() {
        let (before, after) = segments::neighbours(x, levels, i);
        let votes = opinions.on(change.at, before, after, recipe)?;
        let evidence = Evidence::Level { z: change.z, p: change.p };
        out.push(Found { at: change.at, evidence, votes, supported: 0 < votes.count() });
    }
    Ok(out)
}

fn breaks(
    x: &[f64],
    lines: &trend_break::Breaks,
    opinions: &Opinions,
    recipe: &Recipe,
) -> Result<Vec<Found>, StatsError> {
    let price = trend_break::PRICE * (x.len() as f64).ln();
    let mut out = Vec::new();
    for (i, b) in lines.breaks.iter().enumerate() {
        let from = if i == 0 { 0 } else { lines.breaks[i - 1].at };
        let to = lines.breaks.get(i + 1).map_or(x.len(), |b| b.at);
        let (before, after) = (&x[from..b.at], &x[b.at..to]);
        if b.jump.abs().max(shift_value(before, after)?.abs()) < recipe.shift_min {
            continue;
        }
        let votes = opinions.on(b.at, before, after, recipe)?;
        out.push(Found {
            at: b.at,
            evidence: Evidence::Break { gain: b.gain, price },
            votes,
            supported: true,
        });
    }
    Ok(out)
}

/// The weaker signs within the segments that are left: rank scan p < 0.05 (on innovations where the series drifts),
/// E-divisive p < 0.001, CUSUM from the first half of the segment.
fn candidates(
    x: &[f64],
    changes: &mut Vec<Found>,
    phi: Option<f64>,
    opinions: &Opinions,
    recipe: &Recipe,
) -> Result<(), StatsError> {
    let bounds: Vec<usize> = [0].into_iter().chain(changes.iter().map(|c| c.at)).chain([x.len()]).collect();
    for bound in bounds.windows(2) {
        let segment = &x[bound[0]..bound[1]];
        if segment.len() < 2 * rank_scan::SEGMENT_MIN + 1 {
            continue;
        }
        let Some((at, evidence)) = candidate(segment, phi, recipe)? else { continue };
        let (before, after) = segment.split_at(at);
        if shift_value(before, after)?.abs() < recipe.shift_min {
            continue;
        }
        let votes = opinions.on(bound[0] + at, before, after, recipe)?;
        changes.push(Found { at: bound[0] + at, evidence, votes, supported: false });
    }
    Ok(())
}

fn candidate(
    segment: &[f64],
    phi: Option<f64>,
    recipe: &Recipe,
) -> Result<Option<(usize, Evidence)>, StatsError> {
    let least = rank_scan::SEGMENT_MIN;
    if let Some(phi) = phi {
        let t = rank_scan::test(&prewhiten(segment, phi), least, recipe.resamples, recipe.seed)?;
        // neighbours that are alike make E-divisive and CUSUM see changes everywhere
        return Ok((t.p < CANDIDATE_ALPHA)
            .then_some((t.split.at + 1, Evidence::Prewhitened { z: t.split.z, p: t.p })));
    }
    let t = rank_scan::test(segment, least, recipe.resamples, recipe.seed)?;
    if t.p < CANDIDATE_ALPHA {
        return Ok(Some((t.split.at, Evidence::Level { z: t.split.z, p: t.p })));
    }
    let tail = &segment[segment.len().saturating_sub(2 * ENERGY_REACH)..];
    let (energy, p) = edivisive::test(tail, least, recipe.resamples, recipe.seed)?;
    if p < ENERGY_ALPHA {
        return Ok(Some((segment.len() - tail.len() + energy.at, Evidence::Energy { p })));
    }
    Ok(cusum_start(segment).map(|at| (at, Evidence::Cusum)))
}

/// Where a CUSUM that alarms in the second half of a segment last left 0; level and noise from the first half.
fn cusum_start(segment: &[f64]) -> Option<usize> {
    let (first, second) = segment.split_at(segment.len() / 2);
    if first.len() < 2 * MEMORY_LEAST {
        return None;
    }
    let (target, sd) = (median(first), pelt::noise(first).ok()?);
    [Side::Upper, Side::Lower].into_iter().find_map(|side| {
        let chart = control::cusum(second, target, sd, side, CUSUM_SLACK, CUSUM_LIMIT).ok()?;
        let alarm = chart.alarm?;
        let start = chart.path[..alarm].iter().rposition(|s| *s == 0.0).map_or(0, |i| i + 1);
        Some(first.len() + start).filter(|at| *at + rank_scan::SEGMENT_MIN <= segment.len())
    })
}

/// What the others make of the whole series, computed once.
struct Opinions {
    pelt: Vec<usize>,
    bocpd: Vec<usize>,
}

impl Opinions {
    fn of(x: &[f64], noise: f64) -> Self {
        let penalty = 3.0 * noise * noise * (x.len() as f64).ln();
        let pelt = pelt::pelt(x, penalty, 1).map(|s| s.changes).unwrap_or_default();
        let scale = if 0.0 < noise { noise } else { 1.0 };
        let centre = median(x);
        let standard: Vec<f64> = x.iter().map(|v| (v - centre) / scale).collect();
        // levels are many deviations apart, the noise of a segment is about one
        let prior = Prior { mean: 0.0, worth: 0.01, shape: 1.0, rate: 1.0 };
        Self { pelt, bocpd: bocpd::changes(&standard, HAZARD, prior).unwrap_or_default() }
    }

    fn on(&self, at: usize, before: &[f64], after: &[f64], recipe: &Recipe) -> Result<Votes, StatsError> {
        let near = |places: &[usize]| places.iter().any(|p| p.abs_diff(at) <= AGREE_WITHIN);
        let left = &before[before.len().saturating_sub(ENERGY_REACH)..];
        let right = &after[..after.len().min(ENERGY_REACH)];
        let both = [left, right].concat();
        let (energy, p) = edivisive::test(&both, 2, recipe.resamples, recipe.seed)?;
        let rises = shift_value(before, after)? > 0.0;
        let noise = pelt::noise(before).unwrap_or(0.0);
        let side = if rises { Side::Upper } else { Side::Lower };
        let chart = control::cusum(after, median(before), noise, side, CUSUM_SLACK, CUSUM_LIMIT);
        Ok(Votes {
            e_divisive: p < ENERGY_ALPHA && energy.at.abs_diff(left.len()) <= AGREE_WITHIN,
            pelt: near(&self.pelt),
            cusum: chart.is_ok_and(|c| c.alarm.is_some()),
            bocpd: near(&self.bocpd),
        })
    }
}
