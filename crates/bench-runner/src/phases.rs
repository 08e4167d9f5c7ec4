//! The course of a run: warm-up, then the measured window (with a ramp-up before it, if asked), then the drain.
//!
//! Knows when things begin and end; *what* is asked comes from the schedule, *how* from the executor, and the
//! two load modes have modules of their own. Sends nothing to disk and judges nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use llms_core::{
    bench::{Load, Order, RunPhase, Window},
    time::Timestamp,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    closed::{self, Think},
    executor::{Executor, Job},
    open,
    recorder::Message,
    schedule::Schedule,
};

/// Targets measured together, and their plan.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    /// Index into the run's targets of each target of the plan.
    pub(crate) targets: Vec<u32>,
    pub(crate) schedule: Schedule,
}

impl Segment {
    /// All of `targets` at once, or one after the other.
    pub(crate) fn plan(scenario: &llms_core::bench::Scenario, targets: &[u32]) -> Vec<Self> {
        let groups: Vec<Vec<u32>> = match scenario.order {
            Order::Interleaved => vec![targets.to_vec()],
            Order::Sequential => targets.iter().map(|&t| vec![t]).collect(),
        };
        groups
            .into_iter()
            .map(|targets| Self { schedule: Schedule::new(scenario, targets.len() as u32), targets })
            .collect()
    }
}

/// The two ways in which a run ends before its plan does.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    /// At once: what is in flight is cut off. By the caller, or because nothing can be recorded any more.
    pub(crate) cut: CancellationToken,
    /// Nothing more is sent, and what is in flight is waited for: there is enough, or no more may be spent. A child of `cut`.
    pub(crate) enough: CancellationToken,
}

impl Ending {
    pub(crate) fn new(cut: CancellationToken) -> Self {
        Self { enough: cut.child_token(), cut }
    }
}

/// What all tasks of one stretch of load share.
pub(crate) struct Stretch {
    pub(crate) executor: Arc<Executor>,
    /// No new request once it is cancelled.
    pub(crate) stop: CancellationToken,
    /// Requests in flight end at once when it is cancelled.
    pub(crate) abort: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Stretch {
    fn new(executor: &Arc<Executor>, ending: &Ending) -> Arc<Self> {
        Arc::new(Self {
            executor: executor.clone(),
            stop: ending.enough.clone(),
            abort: ending.cut.child_token(),
            tasks: TaskTracker::new(),
        })
    }

    /// Tells the display which part of the run begins; forgotten when the queue of records is full.
    pub(crate) fn announce(&self, phase: RunPhase) {
        let _ = self.executor.records.try_send(Message::Phase(phase));
    }

    /// Waits for the tasks until `deadline`, then ends what is in flight. `true` when nothing had to be ended.
    async fn drain(&self, deadline: Option<Timestamp>) -> bool {
        self.tasks.close();
        let clock = &self.executor.clock;
        let in_time = tokio::select! {
            biased;
            () = self.tasks.wait() => true,
            () = self.abort.cancelled() => false,
            () = async { clock.sleep_until(deadline.unwrap_or_default()).await }, if deadline.is_some() => false,
        };
        self.abort.cancel();
        self.tasks.wait().await;
        in_time
    }
}

/// How the sending side of a run ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Course {
    /// The measured window; `None` when it never began.
    pub(crate) window: Option<Window>,
    /// Cut off before its planned end.
    pub(crate) cut: bool,
    /// Ended before its planned end, what was in flight included when not cut off.
    pub(crate) enough: bool,
}

/// Runs all phases; returns when the last request is over.
pub(crate) async fn conduct(executor: Arc<Executor>, segments: Vec<Segment>, ending: Ending) -> Course {
    let all: Vec<u32> = segments.iter().flat_map(|s| s.targets.clone()).collect();
    warm_up(&executor, &all, &ending).await;
    let mut window: Option<Window> = None;
    for segment in segments {
        if ending.enough.is_cancelled() {
            break;
        }
        executor.lines.open(&segment.targets, &executor.scenario, &executor.clock, &ending.enough).await;
        if window.is_none() {
            let ramps = !segment.schedule.ramp_up().is_zero();
            let phase = if ramps { RunPhase::RampUp } else { RunPhase::Measured };
            let _ = executor.records.send(Message::Phase(phase)).await;
            if let Some(probe) = &executor.probe {
                probe.start();
            }
            executor.lines.begin();
        }
        let part = measure(&executor, segment, &ending).await;
        window = Some(Window { start: window.map_or(part.start, |w| w.start), ..part });
    }
    Course { window, cut: ending.cut.is_cancelled(), enough: ending.enough.is_cancelled() }
}

/// Asks every target its warm-up prompts, all targets at the same time, as many at once as the measured load
/// will: so connections are open when the window begins.
async fn warm_up(executor: &Arc<Executor>, targets: &[u32], ending: &Ending) {
    let scenario = &executor.scenario;
    let requests = scenario.warmup.requests;
    if requests == 0 || scenario.warmup.prompts.is_empty() {
        return;
    }
    let _ = executor.records.send(Message::Phase(RunPhase::Warmup)).await;
    let at_once = match scenario.load {
        Load::Closed { concurrency, .. } => concurrency,
        Load::Open { max_concurrency, .. } => max_concurrency.unwrap_or(requests),
    };
    let stretch = Stretch::new(executor, ending);
    for &target in targets {
        let next = Arc::new(AtomicU32::new(0));
        for _ in 0..at_once.clamp(1, requests) {
            stretch.tasks.spawn(warm_up_user(stretch.clone(), target, next.clone()));
        }
    }
    stretch.drain(None).await;
}

async fn warm_up_user(stretch: Arc<Stretch>, target: u32, next: Arc<AtomicU32>) {
    let executor = &stretch.executor;
    let warmup = &executor.scenario.warmup;
    while !stretch.stop.is_cancelled() {
        let number = next.fetch_add(1, Relaxed);
        if number >= warmup.requests {
            break;
        }
        let now = executor.clock.now();
        let job = Job {
            target,
            block: u64::from(number),
            position: 0,
            prompt: number as usize % warmup.prompts.len(),
            phase: RunPhase::Warmup,
            turn: None,
            scheduled: now,
            released: now,
        };
        let ended = executor.execute(executor.prepare(job), &stretch.abort).await;
        if ended.ok {
            executor.lines.answered_within(ended.at.saturating_since(now));
        }
    }
}

/// One measured stretch with its drain.
async fn measure(executor: &Arc<Executor>, segment: Segment, ending: &Ending) -> Window {
    let stretch = Stretch::new(executor, ending);
    let (start, end) = match executor.scenario.load {
        Load::Closed { concurrency, think_time, think_law, .. } => {
            closed::run(&stretch, segment, concurrency, Think { mean: think_time, law: think_law }).await
        }
        Load::Open { max_concurrency, .. } => open::run(&stretch, segment, max_concurrency).await,
    };
    let grace: Duration = executor.scenario.drain;
    stretch.drain(Some(end + grace)).await;
    Window { start, end, drained: executor.clock.now().max(end) }
}
