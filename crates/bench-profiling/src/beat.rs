//! Heartbeats through an async runtime: how late does it run a task that is due?
//!
//! A thread outside the runtime wakes a task inside it and notes when; the task notes when it runs. No timer lies between the
//! two, so the lateness is the runtime's own (async timers alone are 1 ms late at the median). On a runtime with several
//! workers a woken task goes to the queue that all of them take from: the lateness is that of the runtime, and one blocked
//! worker hides behind an idle one. A runtime per worker is seen worker by worker.
//!
//! Beats go on while one is unanswered, and each counts with its own lateness: a stall of two seconds is two hundred late
//! beats, not one.

use std::sync::{
    Arc,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use llms_core::time::{SharedClock, Timestamp};
use tokio::{runtime::Handle, sync::Notify};

use crate::histogram::{Counts, SharedHistogram};

/// Beats that can be unanswered at once: 51 s at 20 a second.
const UNANSWERED: usize = 1024;

/// How a report names the method.
pub(crate) const METHOD: &str =
    "wake of a task from outside the runtime to its poll; one task per runtime, shared by its workers";

/// When beat `k` is due after the start: every period, moved by up to half of one so that no load can keep step with it.
/// The moves are those of the golden ratio: spread evenly, the same each time.
pub(crate) fn due_nanos(k: u64, period: u64) -> u64 {
    let fraction = k.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    k * period + ((u128::from(period / 2) * u128::from(fraction)) >> 32) as u64
}

/// The beats of one runtime. Sent by one thread, answered by one task, read by anybody.
#[derive(Debug)]
pub(crate) struct Beats {
    sent_at: Box<[AtomicU64]>,
    sent: AtomicU64,
    answered: AtomicU64,
    /// Beats that found no free slot; they count with the lateness of the last one that did.
    crowded: AtomicU64,
    latenesses: SharedHistogram,
    wake: Notify,
    over: AtomicBool,
}

impl Beats {
    pub(crate) fn new() -> Self {
        Self {
            sent_at: (0..UNANSWERED).map(|_| AtomicU64::new(0)).collect(),
            sent: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
            latenesses: SharedHistogram::new(),
            wake: Notify::new(),
            over: AtomicBool::new(false),
        }
    }

    /// Begins the task that answers on `handle`'s runtime.
    pub(crate) fn answer_on(self: &Arc<Self>, handle: &Handle, clock: SharedClock) {
        let beats = self.clone();
        handle.spawn(async move { beats.answer_all(clock).await });
    }

    pub(crate) async fn answer_all(&self, clock: SharedClock) {
        while !self.over.load(Acquire) {
            self.wake.notified().await;
            self.answer(clock.now());
        }
    }

    /// A beat at `now`.
    pub(crate) fn send(&self, now: Timestamp) {
        let sent = self.sent.load(Relaxed);
        if sent - self.answered.load(Acquire) < UNANSWERED as u64 {
            self.sent_at[sent as usize % UNANSWERED].store(now.as_nanos(), Relaxed);
            self.sent.store(sent + 1, Release);
        } else {
            self.crowded.fetch_add(1, Relaxed);
        }
        self.wake.notify_one();
    }

    /// Every beat sent and not answered runs now.
    fn answer(&self, now: Timestamp) {
        let crowded = self.crowded.swap(0, Relaxed);
        let sent = self.each_unanswered(now, crowded, |late, times| self.latenesses.record(late, times));
        self.answered.store(sent, Release);
    }

    /// Hands over nanoseconds of lateness and how many beats have it; returns the number of beats looked at.
    fn each_unanswered(&self, now: Timestamp, crowded: u64, mut lateness: impl FnMut(u64, u64)) -> u64 {
        let (answered, sent) = (self.answered.load(Acquire), self.sent.load(Acquire));
        for i in answered..sent {
            let at = Timestamp::from_nanos(self.sent_at[i as usize % UNANSWERED].load(Relaxed));
            let times = if i + 1 == sent { 1 + crowded } else { 1 };
            lateness(now.saturating_since(at).as_nanos() as u64, times);
        }
        sent
    }

    /// Adds what was counted, and what is still unanswered at `now` with its lateness so far.
    pub(crate) fn add_to(&self, counts: &mut Counts, now: Timestamp) {
        counts.add(&self.latenesses);
        self.each_unanswered(now, self.crowded.load(Relaxed), |late, times| counts.record(late, times));
    }

    /// Worst lateness answered since the last call, or of what waits now; nanoseconds.
    pub(crate) fn take_recent(&self, now: Timestamp) -> u64 {
        let mut worst = self.latenesses.take_recent();
        self.each_unanswered(now, 0, |late, _| worst = worst.max(late));
        worst
    }

    /// Ends the task at its next turn.
    pub(crate) fn stop(&self) {
        self.over.store(true, Release);
        self.wake.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llms_core::time::{Clock, VirtualClock};

    use super::*;

    const PERIOD: u64 = 10_000_000;

    fn ms(n: u64) -> Timestamp {
        Timestamp::from_nanos(n * 1_000_000)
    }

    /// Beats each 10 ms of virtual time for 10 s; the runtime stands still from `from` for `stall`.
    #[track_caller]
    fn check(stall: Duration, late_over_5ms: u64, max: Duration) {
        let clock = VirtualClock::new();
        let beats = Beats::new();
        clock.block_on(async {
            let pinging = async {
                for k in 0..1000 {
                    clock.sleep_until(ms(10 * k)).await;
                    beats.send(clock.now());
                }
            };
            let answering = async {
                for k in 0..1000 {
                    // Answers come 1 ms after each beat, but none within the stall.
                    clock.sleep_until(ms(10 * k + 1)).await;
                    let now = clock.now();
                    if now <= ms(2000) || ms(2000) + stall <= now {
                        beats.answer(now);
                    }
                }
            };
            tokio::join!(biased; pinging, answering);
        });
        let mut counts = Counts::new();
        beats.add_to(&mut counts, clock.now());
        assert_eq!(counts.n(), 1000, "every beat counts once");
        assert_eq!(counts.max(), max.as_nanos() as u64);
        let p = 1.0 - (late_over_5ms as f64 + 0.5) / 1000.0;
        assert!(counts.quantile(p).unwrap() < 5_000_000, "at most {late_over_5ms} late beats");
        if 0 < late_over_5ms {
            let p = 1.0 - (late_over_5ms as f64 - 0.5) / 1000.0;
            assert!(5_000_000 < counts.quantile(p).unwrap(), "at least {late_over_5ms} late beats");
        }
    }

    #[test]
    fn a_stall_weighs_as_long_as_it_lasted() {
        check(Duration::ZERO, 0, Duration::from_millis(1));
        // Beats due at 2.00 s … 3.99 s wait until 4.001 s.
        check(Duration::from_secs(2), 200, Duration::from_millis(2001));
    }

    #[test]
    fn a_beat_that_nobody_answers_counts_with_its_lateness_so_far() {
        let beats = Beats::new();
        beats.send(ms(0));
        beats.send(ms(10));
        let mut counts = Counts::new();
        beats.add_to(&mut counts, ms(500));
        assert_eq!((counts.n(), counts.max()), (2, 500_000_000));
        assert_eq!(beats.take_recent(ms(500)), 500_000_000);
        beats.answer(ms(600));
        let mut counts = Counts::new();
        beats.add_to(&mut counts, ms(700));
        assert_eq!((counts.n(), counts.max()), (2, 600_000_000), "and once answered, once");
    }

    #[test]
    fn a_stall_longer_than_the_queue_loses_no_beat() {
        let beats = Beats::new();
        for k in 0..3000 {
            beats.send(ms(10 * k));
        }
        beats.answer(ms(30_000));
        let mut counts = Counts::new();
        beats.add_to(&mut counts, ms(30_000));
        assert_eq!((counts.n(), counts.max()), (3000, 30_000_000_000));
        beats.send(ms(30_010));
        beats.answer(ms(30_010));
        let mut counts = Counts::new();
        beats.add_to(&mut counts, ms(30_020));
        assert_eq!(counts.n(), 3001, "the queue is empty again");
    }

    #[test]
    fn beats_come_once_a_period_and_never_in_step_with_one() {
        let due: Vec<u64> = (0..1000).map(|k| due_nanos(k, PERIOD)).collect();
        assert!(due.iter().zip(0..).all(|(d, k)| k * PERIOD <= *d && *d <= k * PERIOD + PERIOD / 2));
        assert!(due.windows(2).all(|w| PERIOD / 2 <= w[1] - w[0] && w[1] - w[0] <= PERIOD * 3 / 2));
        // Of a load with the same period every quarter of the movable half is met as often as the others.
        for quarter in 0..4 {
            let part = PERIOD / 8;
            let met = due.iter().filter(|d| (**d % PERIOD) / part == quarter).count();
            assert!((240..=260).contains(&met), "quarter {quarter} met {met} times");
        }
    }
}
