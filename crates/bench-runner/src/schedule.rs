//! The plan: which prompt goes to which target when, drawn from seeds before the first send.
//!
//! Pure. A [`Schedule`] is a few numbers from which the whole plan follows, so an hour of load needs no memory;
//! [`blocks`](Schedule::blocks) and [`sends`](Schedule::sends) spell it out as often as wanted, always the same.
//! It knows no clock (offsets count from the start of the plan: the ramp-up, then the window) and no model (targets are
//! numbered).

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    iter::{FusedIterator, Peekable},
    sync::Arc,
    time::Duration,
};

use llms_core::bench::{Order, RunPhase, Scenario};
use sha2::{Digest as _, Sha256};

use crate::{
    arrivals::{Law, Points},
    random::{Purpose, Stream},
    workload::{hex, is_made},
};

/// One prompt for all targets, in a random order of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// From 0.
    pub index: u64,
    /// When it begins after the start of the plan; `None` under closed loop, where a free user takes it.
    pub offset: Option<Duration>,
    /// Index into the scenario's prompts.
    pub prompt: usize,
    /// The targets in the order they are asked.
    pub order: Vec<u32>,
    /// Ramp-up or measured, as a whole: a block of the ramp-up whose last targets are asked after the window began
    /// stays out of it. Under closed loop the moment decides, not the plan, and this says measured.
    pub phase: RunPhase,
}

/// One request of the open-loop plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlannedSend {
    /// When it is due after the start of the plan.
    pub offset: Duration,
    /// Its block.
    pub block: u64,
    /// Position of its target within the block.
    pub position: u32,
    /// The target.
    pub target: u32,
    /// Index into the scenario's prompts.
    pub prompt: usize,
    /// Part of the run its block belongs to.
    pub phase: RunPhase,
}

/// The plan of one scenario on a number of targets.
///
/// Under open loop every target sees the scenario's rate. All targets share the arrival times of the blocks
/// (common random numbers); within a block they are staggered so that they do not meet on the client or the
/// wire. The stagger is a share of the mean gap, counted in operational time (arrivals expected, see
/// [`rate`](crate::rate)), so that it follows the rate through ramps and bursts:
/// - Poisson arrivals by `position / targets`: positions are random and independent between blocks, and an
///   independently displaced Poisson process is Poisson (Bartlett's theorem);
/// - constant and Gamma arrivals by the fixed phase `target / targets`: independent displacement would change their
///   law, a shift does not, so every target sees the full process, gap by gap. The price is a fixed order within the
///   block. A trace is shifted the same way, by shares of its mean gap.
///
/// Blocks that begin before the ramp-up is over belong to it; the numbers of blocks run on through both parts.
#[derive(Clone, Debug)]
pub struct Schedule {
    law: Option<Law>,
    ramp_up: Duration,
    targets: u32,
    /// The order of the prompts; `None` when each request has one of its own.
    prompts: Option<Arc<[usize]>>,
    requests: Option<u64>,
    /// Length of the window, when given.
    duration: Option<Duration>,
    order: Order,
    arrivals_seed: u64,
    order_seed: u64,
    ramp_up_blocks: u64,
    planned: Option<u64>,
    end: Option<Duration>,
}

impl Schedule {
    /// The plan of `scenario` on `targets` ≥ 1 targets. Missing seeds count as 0: resolve them first
    /// ([`resolve`](crate::workload::resolve)).
    pub fn new(scenario: &Scenario, targets: u32) -> Self {
        let seeds = &scenario.seeds;
        let targets = targets.max(1);
        let prompts = (!is_made(scenario)).then(|| {
            let mut prompts: Vec<usize> = (0..scenario.prompts.len()).collect();
            Stream::new(seeds.prompts.unwrap_or_default(), Purpose::Prompts, 0).shuffle(&mut prompts);
            prompts.into()
        });
        let recorded = scenario.load.trace().and_then(|t| Some(t.length?.mul_f64(t.time_scale)));
        let profile_alone = scenario.requests.is_none().then(|| scenario.load.profile_length()).flatten();
        let duration = scenario.duration.or(profile_alone).or(recorded);
        let mut plan = Self {
            law: Law::new(&scenario.load, targets),
            ramp_up: scenario.load.ramp_up(),
            targets,
            prompts,
            requests: scenario.requests,
            duration,
            order: scenario.order,
            arrivals_seed: seeds.arrivals.unwrap_or_default(),
            order_seed: seeds.order.unwrap_or_default(),
            ramp_up_blocks: 0,
            planned: scenario.requests,
            end: duration,
        };
        plan.measure_open();
        plan
    }

    /// Blocks planned in the window: measured requests per target. `None` under a closed loop that only time ends.
    pub fn planned(&self) -> Option<u64> {
        self.planned
    }

    /// Length of the ramp-up: where in the plan the window begins.
    pub fn ramp_up(&self) -> Duration {
        self.ramp_up
    }

    /// Blocks of the ramp-up under open loop, before those of the window; 0 under closed loop, where it is seen.
    pub fn ramp_up_blocks(&self) -> u64 {
        self.ramp_up_blocks
    }

    /// Length of the window where it is known before: the duration under closed loop; under open loop the
    /// duration, or with a number of requests the moment the next arrival would have come (so that requests over
    /// length estimates the rate without bias).
    pub fn end(&self) -> Option<Duration> {
        self.end
    }

    /// The blocks in order; without end under a closed loop that only time ends.
    pub fn blocks(&self) -> Blocks {
        Blocks { last: self.planned.map(|n| n + self.ramp_up_blocks), ..self.all_blocks() }
    }

    /// The same without end, for a closed loop that counts what it measured.
    pub(crate) fn all_blocks(&self) -> Blocks {
        Blocks {
            points: self.law.as_ref().map(|law| law.points(self.arrivals_seed)),
            order: Stream::new(self.order_seed, Purpose::Order, 0),
            index: 0,
            last: None,
            plan: self.clone(),
        }
    }

    /// The requests of an open-loop plan in the order they are due; none under closed loop.
    pub fn sends(&self) -> Sends {
        Sends { plan: self.clone(), blocks: WithPoints(self.blocks()).peekable(), due: BinaryHeap::new() }
    }

    /// SHA-256 of the plan, hex: of the number of blocks and the first 65,536 of them.
    pub fn hash(&self) -> String {
        const HASHED_BLOCKS: usize = 1 << 16;
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?} {:?} {}", self.law, self.order, self.planned, self.targets));
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

    /// Counts the blocks of an open-loop plan and finds its end. Blocks are never cut, so that every request keeps
    /// its partners: one counts when its last request is due inside the window.
    fn measure_open(&mut self) {
        let Some(law) = &self.law else { return };
        let (first, last) = (0, self.targets - 1);
        let window = self.ramp_up();
        let until = self.duration.map(|d| window + d);
        let (mut ramp_up_blocks, mut count) = (0, 0);
        // The natural end when the rate ends before the plan does.
        let mut after_last = window + Duration::from_nanos(1);
        let mut end = None;
        for point in law.points(self.arrivals_seed) {
            let due = law.due(point, first, first).zip(law.due(point, last, last));
            let Some((offset, whole)) = due else { break };
            if offset < window {
                ramp_up_blocks += 1;
                continue;
            }
            if until.is_some_and(|until| whole >= until) {
                break;
            }
            if self.requests.is_some_and(|n| count >= n) {
                end = Some(offset.max(after_last));
                break;
            }
            count += 1;
            after_last = whole + Duration::from_nanos(1);
        }
        let natural =
            end.or(until).or(law.recorded_end().map(|end| end.max(after_last))).unwrap_or(after_last);
        let end = until.map_or(natural, |until| natural.min(until));
        self.end = Some(end.saturating_sub(window));
        self.ramp_up_blocks = ramp_up_blocks;
        self.planned = Some(count);
    }
}

fn nanos(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// See [`Schedule::blocks`].
#[derive(Clone)]
pub struct Blocks {
    plan: Schedule,
    points: Option<Points>,
    order: Stream,
    index: u64,
    /// One past the last block.
    last: Option<u64>,
}

impl std::fmt::Debug for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Blocks").field("index", &self.index).finish_non_exhaustive()
    }
}

impl Blocks {
    /// The next block with its point in operational time.
    fn next_with_point(&mut self) -> Option<(Block, f64)> {
        if self.last.is_some_and(|n| self.index >= n) {
            return None;
        }
        let prompt = match &self.plan.prompts {
            None => self.index as usize,
            Some(list) if list.is_empty() => return None,
            Some(list) => list[(self.index % list.len() as u64) as usize],
        };
        let point = self.points.as_mut().and_then(Iterator::next).unwrap_or_default();
        let offset = self.plan.law.as_ref().and_then(|law| law.due(point, 0, 0));
        let index = self.index;
        self.index += 1;
        let mut order: Vec<u32> = (0..self.plan.targets).collect();
        if !self.plan.law.as_ref().is_some_and(Law::fixed_order) {
            self.order.shuffle(&mut order);
        }
        let phase = if index < self.plan.ramp_up_blocks { RunPhase::RampUp } else { RunPhase::Measured };
        Some((Block { index, offset, prompt, order, phase }, point))
    }
}

impl Iterator for Blocks {
    type Item = Block;

    fn next(&mut self) -> Option<Block> {
        self.next_with_point().map(|(block, _)| block)
    }
}

impl FusedIterator for Blocks {}

/// See [`Schedule::sends`].
#[derive(Clone, Debug)]
pub struct Sends {
    plan: Schedule,
    blocks: Peekable<WithPoints>,
    /// Requests of blocks already begun: a staggered one may be due after the next block began.
    due: BinaryHeap<Reverse<PlannedSend>>,
}

#[derive(Clone, Debug)]
struct WithPoints(Blocks);

impl Iterator for WithPoints {
    type Item = (Block, f64);

    fn next(&mut self) -> Option<(Block, f64)> {
        self.0.next_with_point()
    }
}

impl Iterator for Sends {
    type Item = PlannedSend;

    fn next(&mut self) -> Option<PlannedSend> {
        loop {
            let next_block = self.blocks.peek().and_then(|(b, _)| b.offset);
            match (self.due.peek(), next_block) {
                (Some(Reverse(send)), Some(offset)) if send.offset > offset => {}
                (Some(_), _) => return self.due.pop().map(|Reverse(send)| send),
                (None, Some(_)) => {}
                (None, None) => return None,
            }
            let (block, point) = self.blocks.next()?;
            let law = self.plan.law.as_ref()?;
            for (position, &target) in (0..).zip(&block.order) {
                self.due.push(Reverse(PlannedSend {
                    offset: law.due(point, position, target)?,
                    block: block.index,
                    position,
                    target,
                    prompt: block.prompt,
                    phase: block.phase,
                }));
            }
        }
    }
}

impl FusedIterator for Sends {}
