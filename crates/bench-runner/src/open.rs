//! Open loop: requests leave when the plan says so, whatever the server does.
//!
//! One task walks the plan: it builds the next request, waits for its instant, and starts it as a task of its own.
//! When it comes late, the request leaves late and is counted from when it was due; none is skipped or moved.

use std::{sync::Arc, time::Duration};

use llms_core::{bench::RunPhase, time::Timestamp};
use tokio::sync::mpsc;

use crate::{
    executor::{Job, Prepared},
    gate::Gate,
    pacer::Pacer,
    phases::{Segment, Stretch},
    session::{self, Course, Waiting},
};

/// Between the decision to begin and the start of the plan, so that the first arrival is not late already.
const LEAD: Duration = Duration::from_millis(10);

/// Serves the arrivals of one target.
pub(crate) struct Server {
    pub(crate) stretch: Arc<Stretch>,
    pub(crate) gate: Arc<Gate>,
    /// How conversations go on, and where their next turns wait.
    pub(crate) turns: Option<(Course, mpsc::Sender<Waiting>)>,
}

/// Runs until the end of the window; requests may still be in flight or waiting for the cap. Start and end of the
/// window. Conversations that no time ends are waited for: the window ends with the last of them.
pub(crate) async fn run(
    stretch: &Arc<Stretch>,
    segment: Segment,
    max_concurrency: Option<u32>,
) -> (Timestamp, Timestamp) {
    let executor = &stretch.executor;
    let clock = &executor.clock;
    let gates: Vec<Arc<Gate>> =
        segment.targets.iter().map(|_| Arc::new(Gate::new(max_concurrency))).collect();
    let mut pacer = Pacer::new(clock.clone());
    let origin = clock.now() + LEAD;
    let start = origin + segment.schedule.ramp_up();
    let end = start + segment.schedule.end().unwrap_or_default();
    let until = executor.scenario.duration.map(|d| start + d);
    let turns = Course::new(executor, start, until).map(|course| (course, session::keep(stretch, course)));
    let mut ramping = !segment.schedule.ramp_up().is_zero();
    for send in segment.schedule.sends() {
        let due = origin + send.offset;
        if ramping && send.phase == RunPhase::Measured {
            ramping = false;
            stretch.announce(RunPhase::Measured);
        }
        let job = Job {
            target: segment.targets[send.target as usize],
            block: send.block,
            position: send.position,
            prompt: send.prompt,
            phase: send.phase,
            turn: None,
            scheduled: due,
            released: due,
        };
        let mut prepared = executor.prepare(match &turns {
            Some((course, _)) => course.open(job),
            None => job,
        });
        if !wait(stretch, &mut pacer, due).await {
            let now = clock.now();
            return (start.min(now), now);
        }
        let gate = &gates[send.target as usize];
        if let Some(released) = gate.enter(&prepared.job) {
            prepared.job.released = released;
            let server = Server { stretch: stretch.clone(), gate: gate.clone(), turns: turns.clone() };
            stretch.tasks.spawn(serve(server, prepared));
        }
    }
    if !wait(stretch, &mut pacer, end).await {
        let now = clock.now();
        return (start.min(now), now.min(end));
    }
    if turns.is_some() && until.is_none() {
        drop(turns);
        stretch.tasks.close();
        tokio::select! {
            biased;
            () = stretch.stop.cancelled() => {}
            () = stretch.tasks.wait() => {}
        }
        return (start, clock.now().max(end));
    }
    (start, end)
}

/// Waits until `due`; `false` when the run was stopped before. When `due` has passed, lets the requests already
/// started go first.
async fn wait(stretch: &Stretch, pacer: &mut Pacer, due: Timestamp) -> bool {
    if stretch.executor.clock.now() < due {
        tokio::select! {
            biased;
            () = stretch.stop.cancelled() => return false,
            () = pacer.wait_until(due) => {}
        }
    } else {
        tokio::task::yield_now().await;
    }
    !stretch.stop.is_cancelled()
}

/// One request, and after it whatever waits for its slot; its conversation goes on.
pub(crate) async fn serve(server: Server, first: Prepared) {
    let Server { stretch, gate, turns } = server;
    let executor = &stretch.executor;
    let mut next = Some(first);
    while let Some(prepared) = next {
        let job = turns.is_some().then(|| prepared.job.clone());
        let ended = executor.execute(prepared, &stretch.abort).await;
        let freed = gate.leave(ended.at).map(|job| executor.prepare(job));
        if let (Some((course, back)), Some(job)) = (&turns, &job)
            && let Some(turn) = course.next(executor, job, &ended)
        {
            let waiting =
                Waiting { prepared: executor.prepare(turn), gate: gate.clone(), back: back.clone() };
            // Gone only when the run was stopped: then there is no next turn.
            let _ = back.send(waiting).await;
        }
        next = freed;
    }
}
