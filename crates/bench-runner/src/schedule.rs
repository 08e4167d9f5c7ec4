//! The plan: which prompt goes to which target when, drawn from seeds before the first send.
//!
//! Pure. A [`Schedule`] is a few numbers from which the whole plan follows, so an hour of load needs no memory;
//! [`blocks`](Schedule::blocks) and [`sends`](Schedule::sends) spell it out as often as wanted, always the same.
//! It knows no clock (offsets count from the start of the window) and no model (targets are numbered).

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    iter::{FusedIterator, Peekable},
    sync::Arc,
    time::Duration,
};

use llms_core::bench::{Arrivals, Load, Order, Scenario};
use sha2::{Digest as _, Sha256};

use crate::{
    random::{Purpose, Stream},
    workload::hex,
};

/// One prompt for all targets, in a random order of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// From 0.
    pub index: u64,
    /// When it begins after the start of the window; `None` under closed loop, where a free user takes it.
    pub offset: Option<Duration>,
    /// Index into the scenario's prompts.
    pub prompt: usize,
    /// The targets in the order they are asked.
    pub order: Vec<u32>,
}

/// One request of the open-loop plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedSend {
    /// When it is due after the start of the window.
    pub offset: Duration,
    /// Its block.
    pub block: u64,
    /// Position of its target within the block.
    pub position: u32,
    /// The target.
    pub target: u32,
    /// Index into the scenario's prompts.
    pub prompt: usize,
}

/// The plan of one scenario on a number of targets.
///
/// Under open loop every target sees the scenario's rate. All targets share the arrival times of the blocks
/// (common random numbers); within a block they are staggered so that they do not meet on the client or the
/// wire: Poisson arrivals by `position / (rate · targets)` — positions are random and independent between
/// blocks, and an independently displaced Poisson process is Poisson (Bartlett's theorem) —, constant arrivals
/// by the fixed phase `target / (rate · targets)`, so that each target's gaps stay exactly constant.
#[derive(Clone, Debug)]
pub struct Schedule {
    open: Option<(f64, Arrivals)>,
    targets: u32,
    prompts: Arc<[usize]>,
    requests: Option<u64>,
    duration: Option<Duration>,
    order: Order,
    arrivals_seed: u64,
    order_seed: u64,
    planned: Option<u64>,
    end: Option<Duration>,
}

impl Schedule {
    /// The plan of `scenario` on `targets` ≥ 1 targets. Missing seeds count as 0: resolve them first
    /// ([`resolve`](crate::workload::resolve)).
    pub fn new(scenario: &Scenario, targets: u32) -> Self {
        let seeds = &scenario.seeds;
        let mut prompts: Vec<usize> = (0..scenario.prompts.len()).collect();
        Stream::new(seeds.prompts.unwrap_or_default(), Purpose::Prompts, 0).shuffle(&mut prompts);
        let mut plan = Self {
            open: match scenario.load {
                Load::Closed { .. } => None,
                Load::Open { rate, arrivals, .. } => Some((rate, arrivals)),
            },
            targets: targets.max(1),
            prompts: prompts.into(),
            requests: scenario.requests,
            duration: scenario.duration,
            order: scenario.order,
            arrivals_seed: seeds.arrivals.unwrap_or_default(),
            order_seed: seeds.order.unwrap_or_default(),
            planned: scenario.requests,
            end: scenario.duration,
        };
        if plan.open.is_some() {
            plan.measure_open();
        }
        plan
    }

    /// Blocks planned: requests per target. `None` under a closed loop that only time ends.
    pub fn planned(&self) -> Option<u64> {
        self.planned
    }

    /// Length of the window where it is known before: the duration under closed loop; under open loop the
    /// duration, or with a number of requests the moment the next arrival would have come (so that requests over
    /// length estimates the rate without bias).
    pub fn end(&self) -> Option<Duration> {
        self.end
    }

    /// The blocks in order; without end under a closed loop that only time ends.
    pub fn blocks(&self) -> Blocks {
        Blocks {
            offsets: self.open.map(|(rate, law)| Offsets::new(rate, law, self.arrivals_seed)),
            order: Stream::new(self.order_seed, Purpose::Order, 0),
            index: 0,
            plan: self.clone(),
        }
    }

    /// The requests of an open-loop plan in the order they are due; none under closed loop.
    pub fn sends(&self) -> Sends {
        Sends { plan: self.clone(), blocks: self.blocks().peekable(), due: BinaryHeap::new() }
    }

    /// SHA-256 of the plan, hex: of the number of blocks and the first 65,536 of them.
    pub fn hash(&self) -> String {
        const HASHED_BLOCKS: usize = 1 << 16;
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?} {:?} {}", self.open, self.order, self.planned, self.targets));
        hash.update(format!(" {:?}", self.end.map(|d| d.as_nanos())));
        for block in self.blocks().take(HASHED_BLOCKS) {
            hash.update(block.offset.map_or(u64::MAX, nanos).to_le_bytes());
            hash.update((block.prompt as u64).to_le_bytes());
            for target in block.order {
                hash.update(target.to_le_bytes());
            }
        }
        hex(&hash.finalize())
    }

    /// How long after its block's offset the request at `position` to `target` is due.
    fn stagger(&self, position: u32, target: u32) -> Duration {
        let Some((rate, law)) = self.open else { return Duration::ZERO };
        let steps = match law {
            Arrivals::Poisson => position,
            Arrivals::Constant => target,
        };
        Duration::from_nanos((f64::from(steps) * 1e9 / (rate * f64::from(self.targets))).round() as u64)
    }

    /// The longest stagger within a block.
    fn spread(&self) -> Duration {
        self.stagger(self.targets - 1, self.targets - 1)
    }

    /// Whether a block beginning at `offset` ends inside the window: blocks are never cut, so that every request
    /// keeps its partners.
    fn fits(&self, offset: Duration) -> bool {
        self.duration.is_none_or(|d| offset + self.spread() < d)
    }

    /// Counts the blocks of an open-loop plan and finds its end.
    fn measure_open(&mut self) {
        let Some((rate, law)) = self.open else { return };
        let (mut count, mut last) = (0, Duration::ZERO);
        for offset in Offsets::new(rate, law, self.arrivals_seed) {
            if !self.fits(offset) {
                self.end = self.duration;
                break;
            }
            if self.requests.is_some_and(|n| count >= n) {
                let natural = offset.max(last + self.spread() + Duration::from_nanos(1));
                self.end = Some(self.duration.map_or(natural, |d| natural.min(d)));
                break;
            }
            count += 1;
            last = offset;
        }
        self.planned = Some(count);
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// Arrival times of an open loop without end.
#[derive(Clone)]
struct Offsets {
    rate: f64,
    law: Arrivals,
    index: u64,
    at_s: f64,
    gaps: Stream,
}

impl Offsets {
    fn new(rate: f64, law: Arrivals, seed: u64) -> Self {
        Self { rate, law, index: 0, at_s: 0.0, gaps: Stream::new(seed, Purpose::Arrivals, 0) }
    }
}

impl Iterator for Offsets {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // Constant arrivals by multiplication: no error adds up over an hour.
        let ns = match self.law {
            Arrivals::Constant => self.index as f64 * 1e9 / self.rate,
            Arrivals::Poisson => {
                self.at_s -= self.gaps.unit().ln() / self.rate;
                self.at_s * 1e9
            }
        };
        self.index += 1;
        Some(Duration::from_nanos(ns.round() as u64))
    }
}

/// See [`Schedule::blocks`].
#[derive(Clone)]
pub struct Blocks {
    plan: Schedule,
    offsets: Option<Offsets>,
    order: Stream,
    index: u64,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Iterator for Blocks {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        if self.plan.planned.is_some_and(|n| self.index >= n) || self.plan.prompts.is_empty() {
            return None;
        }
        let offset = self.offsets.as_mut().and_then(Iterator::next);
        let index = self.index;
        self.index += 1;
        let mut order: Vec<u32> = (0..self.plan.targets).collect();
        if !matches!(self.plan.open, Some((_, Arrivals::Constant))) {
            self.order.shuffle(&mut order);
        }
        let prompt = self.plan.prompts[(index % self.plan.prompts.len() as u64) as usize];
        Some(Block { index, offset, prompt, order })
    }
}

impl FusedIterator for Blocks {}

/// See [`Schedule::sends`].
#[derive(Clone, Debug)]
pub struct Sends {
    plan: Schedule,
    blocks: Peekable<Blocks>,
    /// Requests of blocks already begun: a staggered one may be due after the next block began.
    due: BinaryHeap<Reverse<PlannedSend>>,
}

impl Iterator for Sends {
    type Item = PlannedSend;

    fn next(&mut self) -> Option<PlannedSend> {
        loop {
            let next_block = self.blocks.peek().and_then(|b| b.offset);
            match (self.due.peek(), next_block) {
                (Some(Reverse(send)), Some(offset)) if send.offset > offset => {}
                (Some(_), _) => return self.due.pop().map(|Reverse(send)| send),
                (None, Some(_)) => {}
                (None, None) => return None,
            }
            let block = self.blocks.next()?;
            let offset = block.offset?;
            for (position, &target) in (0..).zip(&block.order) {
                self.due.push(Reverse(PlannedSend {
                    offset: offset + self.plan.stagger(position, target),
                    block: block.index,
                    position,
                    target,
                    prompt: block.prompt,
                }));
            }
        }
    }
}

impl FusedIterator for Sends {}
