//! Closed loop: users who wait for their answer before they ask again.
//!
//! Each user takes the next block of the plan and asks its targets one after the other, so the number of users is
//! the number of requests in flight over all targets. A request is scheduled at the moment its user is ready: the
//! end of the previous answer plus the think time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use llms_core::{bench::RunPhase, time::Timestamp};
use tokio::sync::Notify;

use crate::{
    executor::Job,
    pacer::Pacer,
    phases::{Segment, Stretch},
    schedule::Blocks,
};

/// A user whose request failed is ready again no sooner than this after it was scheduled: an endpoint that refuses
/// at once shall not be hammered in a tight loop.
pub(crate) const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// Users with a kernel timer of their own for their think time; more use the runtime's.
const USER_TIMERS: u32 = 256;

struct Users {
    stretch: Arc<Stretch>,
    blocks: Mutex<Blocks>,
    targets: Vec<u32>,
    start: Timestamp,
    /// The end of the window, when time ends it.
    until: Option<Timestamp>,
    think: Duration,
    /// Requests still to send, when their number ends the window.
    left: Option<AtomicU64>,
    /// The last request was sent.
    exhausted: Notify,
    last_send: AtomicU64,
}

/// Runs until nothing more will be scheduled; requests may still be in flight. Start and end of the window.
pub(crate) async fn run(
    stretch: &Arc<Stretch>,
    segment: Segment,
    concurrency: u32,
    think: Duration,
) -> (Timestamp, Timestamp) {
    let clock = stretch.executor.clock.clone();
    let start = clock.now();
    let until = segment.schedule.end().map(|d| start + d);
    let users = Arc::new(Users {
        stretch: stretch.clone(),
        blocks: Mutex::new(segment.schedule.blocks()),
        start,
        until,
        think,
        left: segment.schedule.planned().map(|n| AtomicU64::new(n * segment.targets.len() as u64)),
        targets: segment.targets,
        exhausted: Notify::new(),
        last_send: AtomicU64::new(start.as_nanos()),
    });
    for _ in 0..concurrency {
        let fine = !think.is_zero() && concurrency <= USER_TIMERS;
        let pacer = if fine { Pacer::new(clock.clone()) } else { Pacer::coarse(clock.clone()) };
        stretch.tasks.spawn(users.clone().user(pacer));
    }
    stretch.tasks.close();
    let last_send = || Timestamp::from_nanos(users.last_send.load(Relaxed));
    let end = tokio::select! {
        biased;
        () = stretch.stop.cancelled() => clock.now(),
        () = users.exhausted.notified() => last_send(),
        end = async {
            if let Some(until) = until {
                clock.sleep_until(until).await;
                until
            } else {
                stretch.tasks.wait().await;
                last_send()
            }
        } => end,
    };
    (start, end)
}

impl Users {
    async fn user(self: Arc<Self>, mut pacer: Pacer) {
        let executor = &self.stretch.executor;
        let mut ready = self.start;
        while let Some(block) = self.next_block(ready) {
            for (position, &planned) in (0..).zip(&block.order) {
                if self.over(ready) {
                    return;
                }
                tokio::select! {
                    biased;
                    () = self.stretch.stop.cancelled() => return,
                    () = pacer.wait_until(ready) => {}
                }
                let job = Job {
                    target: self.targets[planned as usize],
                    block: block.index,
                    position,
                    prompt: block.prompt,
                    phase: RunPhase::Measured,
                    scheduled: ready,
                    released: ready,
                };
                let prepared = executor.prepare(job);
                self.count_send();
                let ended = executor.execute(prepared, &self.stretch.abort).await;
                let rested = ended.at + self.think;
                ready = if ended.ok { rested } else { rested.max(ready + FAILURE_PAUSE) };
            }
        }
    }

    /// Whether a request scheduled at `at` would lie behind the window.
    fn over(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| at >= until)
    }

    fn next_block(&self, ready: Timestamp) -> Option<crate::schedule::Block> {
        if self.stretch.stop.is_cancelled() || self.over(ready) {
            return None;
        }
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    fn count_send(&self) {
        self.last_send.fetch_max(self.stretch.executor.clock.now().as_nanos(), Relaxed);
        if let Some(left) = &self.left
            && left.fetch_sub(1, Relaxed) == 1
        {
            self.exhausted.notify_one();
        }
    }
}
