//! Ranks and the Pareto front over resamples of the blocks: how often a target would be first if the run were made again.
//!
//! Whole blocks are drawn with replacement, so that what targets have in common (the prompt, the moment) stays common. Every
//! resample has a stream of its own under the seed: the same result on any number of processors.

use super::blocks::{Blocks, Cell};
use crate::parallel::in_parts;
use crate::simulate::Draw;
use crate::stats::pareto::front;

/// Blocks × resamples that are done at most: half a minute on one processor.
const MOST: u64 = 200_000_000;

/// What targets are ranked by; less is better in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Category {
    Latency,
    Tail,
    Ttft,
    Reliability,
    Cost,
}

impl Category {
    pub(super) const ALL: [Self; 5] = [Self::Latency, Self::Tail, Self::Ttft, Self::Reliability, Self::Cost];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Tail => "tail",
            Self::Ttft => "ttft",
            Self::Reliability => "reliability",
            Self::Cost => "cost",
        }
    }

    /// Whether every target that has a success has a value here.
    pub(super) fn applies(self, blocks: &Blocks) -> bool {
        let has = |cell: &Cell| match self {
            Self::Ttft => cell.ttft.is_finite(),
            Self::Cost => cell.cost.is_finite(),
            _ => true,
        };
        let answers = |t: &usize| blocks.any(*t, |c| !c.failed);
        let mut answering = (0..blocks.targets()).filter(answers).peekable();
        answering.peek().is_some() && answering.all(|t| blocks.any(t, |c| !c.failed && has(c)))
    }
}

/// Values of one target over a resample, as its statistics need them.
#[derive(Default)]
struct Sums {
    e2e: Vec<f64>,
    ttft: Vec<f64>,
    ended: u64,
    ok: u64,
    good: u64,
    cost: f64,
}

impl Sums {
    fn clear(&mut self) {
        self.e2e.clear();
        self.ttft.clear();
        (self.ended, self.ok, self.good, self.cost) = (0, 0, 0, 0.0);
    }

    fn add(&mut self, cell: &Cell) {
        self.ended += 1;
        self.ok += u64::from(!cell.failed);
        self.good += u64::from(cell.good);
        self.e2e.push(cell.e2e);
        if !cell.ttft.is_nan() {
            self.ttft.push(cell.ttft);
        }
        if !cell.cost.is_nan() {
            self.cost += cell.cost;
        }
    }

    /// Less is better; `+∞` for a target without a success, which is never first.
    fn value(&mut self, category: Category) -> f64 {
        if self.ok == 0 {
            return f64::INFINITY;
        }
        match category {
            Category::Latency => order_statistic(&mut self.e2e, 0.5),
            Category::Tail => order_statistic(&mut self.e2e, 0.95),
            Category::Ttft => order_statistic(&mut self.ttft, 0.5),
            Category::Reliability => (self.ended - self.ok) as f64 / self.ended as f64,
            Category::Cost => self.cost / self.ok as f64,
        }
    }
}

/// The quantile of type 1.
fn order_statistic(x: &mut [f64], p: f64) -> f64 {
    if x.is_empty() {
        return f64::INFINITY;
    }
    let rank = ((x.len() as f64 * p).ceil() as usize).clamp(1, x.len());
    *x.select_nth_unstable_by(rank - 1, f64::total_cmp).1
}

/// Values of every target in every category, and its coordinates among offers (less is better in each).
struct Values {
    by_category: Vec<Vec<f64>>,
    offers: Vec<Vec<f64>>,
}

/// What the resamples came to.
pub(super) struct Resampled {
    pub(super) resamples: u32,
    pub(super) standings: Vec<Standings>,
    pub(super) offers: Vec<Offer>,
}

/// One category.
pub(super) struct Standings {
    pub(super) category: Category,
    /// by target
    pub(super) places: Vec<Place>,
}

/// One target in one category.
pub(super) struct Place {
    pub(super) value: f64,
    pub(super) rank: u32,
    pub(super) low: u32,
    pub(super) high: u32,
    pub(super) p_first: f64,
}

/// One target among offers.
pub(super) struct Offer {
    pub(super) cost: f64,
    pub(super) p95: f64,
    /// share of the blocks that were good
    pub(super) good: f64,
    pub(super) on_front: bool,
    pub(super) p_on_front: f64,
}

/// Ranks from 1; equals share one (1, 1, 3). Infinite values are last.
fn ranks(values: &[f64]) -> Vec<u32> {
    values.iter().map(|v| 1 + values.iter().filter(|other| *other < v).count() as u32).collect()
}

/// What a part of the resamples adds up to.
struct Part {
    /// category × target × rank
    ranks: Vec<Vec<Vec<u32>>>,
    /// category × target
    first: Vec<Vec<f64>>,
    front: Vec<u32>,
}

/// Resamples the blocks `wanted` times, fewer where there are very many.
pub(super) fn resample(blocks: &Blocks, wanted: u32, seed: u64) -> Resampled {
    let (n, k) = (blocks.len(), blocks.targets());
    let categories: Vec<Category> = Category::ALL.into_iter().filter(|c| c.applies(blocks)).collect();
    let priced = categories.contains(&Category::Cost);
    let most = (MOST / (n.max(1) * k.max(1)) as u64).max(100) as u32;
    let resamples = wanted.min(most);
    let values = |sums: &mut [Sums]| -> Values {
        let by_category = categories.iter().map(|c| sums.iter_mut().map(|s| s.value(*c)).collect()).collect();
        let offers = sums
            .iter_mut()
            .map(|s| {
                let good = s.good as f64 / s.ended.max(1) as f64;
                let mut offer = vec![s.value(Category::Tail), if s.ok == 0 { f64::INFINITY } else { -good }];
                if priced {
                    offer.push(s.value(Category::Cost));
                }
                offer
            })
            .collect();
        Values { by_category, offers }
    };
    let offered = |offers: &[Vec<f64>]| -> Vec<bool> {
        let kept = front(offers);
        // who never answers offers nothing
        (0..k).map(|t| kept.contains(&t) && offers[t][1] < f64::INFINITY).collect()
    };
    let parts = in_parts(u64::from(resamples), |numbers| {
        let mut sums: Vec<Sums> = (0..k).map(|_| Sums::default()).collect();
        let mut part = Part {
            ranks: vec![vec![vec![0; k + 1]; k]; categories.len()],
            first: vec![vec![0.0; k]; categories.len()],
            front: vec![0; k],
        };
        for number in numbers {
            let mut draw = Draw::new(seed, number);
            sums.iter_mut().for_each(Sums::clear);
            for _ in 0..n {
                let block = draw.below(n as u64) as usize;
                for (target, sum) in sums.iter_mut().enumerate() {
                    if let Some(cell) = blocks.cell(block, target) {
                        sum.add(cell);
                    }
                }
            }
            let found = values(&mut sums);
            for (c, list) in found.by_category.iter().enumerate() {
                let ranks = ranks(list);
                let best = ranks.iter().zip(list).filter(|(r, v)| **r == 1 && v.is_finite()).count() as f64;
                for (t, rank) in ranks.into_iter().enumerate() {
                    part.ranks[c][t][rank as usize] += 1;
                    if rank == 1 && list[t].is_finite() {
                        part.first[c][t] += 1.0 / best;
                    }
                }
            }
            for (count, on) in part.front.iter_mut().zip(offered(&found.offers)) {
                *count += u32::from(on);
            }
        }
        part
    });
    let mut sums: Vec<Sums> = (0..k).map(|_| Sums::default()).collect();
    for block in 0..n {
        for (target, sum) in sums.iter_mut().enumerate() {
            if let Some(cell) = blocks.cell(block, target) {
                sum.add(cell);
            }
        }
    }
    let seen = values(&mut sums);
    let share = |count: u32| f64::from(count) / f64::from(resamples);
    let standings = categories.iter().enumerate().map(|(c, category)| {
        let ranks = ranks(&seen.by_category[c]);
        let place = |t: usize| {
            let mut counts = vec![0; k + 1];
            for part in &parts {
                counts.iter_mut().zip(&part.ranks[c][t]).for_each(|(sum, more)| *sum += more);
            }
            let first: f64 = parts.iter().map(|part| part.first[c][t]).sum();
            Place {
                value: seen.by_category[c][t],
                rank: ranks[t],
                low: level(&counts, 0.025, resamples),
                high: level(&counts, 0.975, resamples),
                p_first: first / f64::from(resamples),
            }
        };
        Standings { category: *category, places: (0..k).map(place).collect() }
    });
    let standings = standings.collect();
    let now = offered(&seen.offers);
    let offers = (0..k).map(|t| Offer {
        cost: seen.offers[t].get(2).copied().unwrap_or(f64::NAN),
        p95: seen.offers[t][0],
        good: if sums[t].ok == 0 { 0.0 } else { sums[t].good as f64 / sums[t].ended as f64 },
        on_front: now[t],
        p_on_front: share(parts.iter().map(|part| part.front[t]).sum()),
    });
    Resampled { resamples, standings, offers: offers.collect() }
}

/// The rank below which lies a share `p` of the resamples (type 1).
fn level(counts: &[u32], p: f64, resamples: u32) -> u32 {
    let goal = ((f64::from(resamples) * p).ceil() as u32).max(1);
    let mut seen = 0;
    let found = counts.iter().position(|count| {
        seen += count;
        goal <= seen
    });
    found.unwrap_or(counts.len() - 1) as u32
}
