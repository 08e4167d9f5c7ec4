//! Closed loop: users who wait for their answer before they ask again.
//!
//! Each user takes the next block of the plan and asks its targets one after the other, so the number of users is
//! the number of requests in flight over all targets. A request is scheduled at the moment its user is ready: the
//! end of the previous answer plus a pause. In a ramp-up the users join at equal distances before the window; blocks
//! begun before it belong to the ramp-up as a whole.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use llms_core::{
    bench::{RunPhase, ThinkLaw},
    time::Timestamp,
};
use tokio::sync::Notify;

use crate::{
    executor::Job,
    pacer::Pacer,
    phases::{Segment, Stretch},
    random::{Purpose, Stream},
    schedule::{Block, Blocks},
    session::Course,
};

/// The pauses of users.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Think {
    pub(crate) mean: Duration,
    pub(crate) law: ThinkLaw,
}

impl Think {
    /// The next pause of a user whose stream is `draws`.
    pub(crate) fn pause(self, draws: &mut Stream) -> Duration {
        match self.law {
            _ if self.mean.is_zero() => Duration::ZERO,
            ThinkLaw::Constant => self.mean,
            ThinkLaw::Exponential => self.mean.mul_f64(draws.exponential()),
        }
    }
}

/// A user whose request failed is ready again no sooner than this after it was scheduled: an endpoint that refuses
/// at once shall not be hammered in a tight loop.
pub(crate) const FAILURE_PAUSE: Duration = Duration::from_millis(10);

/// Users with a kernel timer of their own for their think time; more use the runtime's.
const USER_TIMERS: u32 = 256;

struct Users {
    stretch: Arc<Stretch>,
    blocks: Mutex<Supply>,
    targets: Vec<u32>,
    /// The ramp-up begins.
    origin: Timestamp,
    /// The window begins.
    start: Timestamp,
    /// The end of the window, when time ends it.
    until: Option<Timestamp>,
    think: Think,
    seed: u64,
    /// How conversations go on.
    course: Option<Course>,
    /// Requests still to send, when their number ends the window.
    left: Option<AtomicU64>,
    /// The last request was sent.
    exhausted: Notify,
    last_send: AtomicU64,
}

/// The blocks, and how many may still be measured.
struct Supply {
    blocks: Blocks,
    left: Option<u64>,
}

/// Runs until nothing more will be scheduled; requests may still be in flight. Start and end of the window.
pub(crate) async fn run(
    stretch: &Arc<Stretch>,
    segment: Segment,
    concurrency: u32,
    think: Think,
) -> (Timestamp, Timestamp) {
    let clock = stretch.executor.clock.clone();
    let origin = clock.now();
    let ramp_up = segment.schedule.ramp_up();
    let start = origin + ramp_up;
    let until = segment.schedule.end().map(|d| start + d);
    let course = Course::new(&stretch.executor, start, until);
    let users = Arc::new(Users {
        stretch: stretch.clone(),
        blocks: Mutex::new(Supply {
            blocks: segment.schedule.all_blocks(),
            left: segment.schedule.planned(),
        }),
        origin,
        start,
        until,
        think,
        course,
        seed: stretch.executor.scenario.seeds.arrivals.unwrap_or_default(),
        left: segment
            .schedule
            .planned()
            .filter(|_| course.is_none())
            .map(|n| AtomicU64::new(n * segment.targets.len() as u64)),
        targets: segment.targets,
        exhausted: Notify::new(),
        last_send: AtomicU64::new(start.as_nanos()),
    });
    for user in 0..concurrency {
        let waits = !(think.mean.is_zero() && ramp_up.is_zero());
        let fine = waits && concurrency <= USER_TIMERS;
        let pacer = if fine { Pacer::new(clock.clone()) } else { Pacer::coarse(clock.clone()) };
        let joins = origin + ramp_up.mul_f64(f64::from(user) / f64::from(concurrency));
        stretch.tasks.spawn(users.clone().user(user, joins, pacer));
    }
    stretch.tasks.close();
    if !ramp_up.is_zero() {
        tokio::select! {
            biased;
            () = stretch.stop.cancelled() => {
                let now = clock.now();
                return (start.min(now), now);
            }
            () = clock.sleep_until(start) => stretch.announce(RunPhase::Measured),
        }
    }
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
    async fn user(self: Arc<Self>, number: u32, joins: Timestamp, mut pacer: Pacer) {
        let executor = &self.stretch.executor;
        let mut draws = Stream::new(self.seed, Purpose::Think, u64::from(number));
        let mut ready = joins;
        if self.origin < joins && !self.wait(&mut pacer, joins).await {
            return;
        }
        while let Some(block) = self.next_block(ready) {
            for (position, &planned) in (0..).zip(&block.order) {
                let job = Job {
                    target: self.targets[planned as usize],
                    block: block.index,
                    position,
                    prompt: block.prompt,
                    phase: block.phase,
                    turn: None,
                    scheduled: ready,
                    released: ready,
                };
                let mut next = Some(match &self.course {
                    Some(course) => course.open(job),
                    None => job,
                });
                while let Some(job) = next {
                    if self.over(job.scheduled) || !self.wait(&mut pacer, job.scheduled).await {
                        return;
                    }
                    let (scheduled, phase) = (job.scheduled, job.phase);
                    let asked = self.course.map(|course| (course, job.clone()));
                    let prepared = executor.prepare(job);
                    self.count_send(phase);
                    let ended = executor.execute(prepared, &self.stretch.abort).await;
                    let rested = ended.at + self.think.pause(&mut draws);
                    ready = if ended.ok { rested } else { rested.max(scheduled + FAILURE_PAUSE) };
                    next = asked.and_then(|(course, job)| course.next(executor, &job, &ended));
                }
            }
        }
    }

    /// Waits for an instant; `false` when the run was stopped before.
    async fn wait(&self, pacer: &mut Pacer, at: Timestamp) -> bool {
        tokio::select! {
            biased;
            () = self.stretch.stop.cancelled() => false,
            () = pacer.wait_until(at) => true,
        }
    }

    /// Whether a request scheduled at `at` would lie behind the window.
    fn over(&self, at: Timestamp) -> bool {
        self.until.is_some_and(|until| at >= until)
    }

    fn next_block(&self, ready: Timestamp) -> Option<Block> {
        if self.stretch.stop.is_cancelled() || self.over(ready) {
            return None;
        }
        let mut supply = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        if ready < self.start {
            return supply.blocks.next().map(|block| Block { phase: RunPhase::RampUp, ..block });
        }
        match &mut supply.left {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        supply.blocks.next()
    }

    fn count_send(&self, phase: RunPhase) {
        if phase != RunPhase::Measured {
            return;
        }
        self.last_send.fetch_max(self.stretch.executor.clock.now().as_nanos(), Relaxed);
        if let Some(left) = &self.left
            && left.fetch_sub(1, Relaxed) == 1
        {
            self.exhausted.notify_one();
        }
    }
}
