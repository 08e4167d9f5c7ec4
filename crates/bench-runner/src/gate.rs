//! The concurrency cap of one target under open loop: arrivals above it wait, first come first served.
//!
//! The wait is charged exactly: an arrival is released at the instant the slot it takes became free, not when
//! some task noticed. No task waits here; the one whose request ended goes on with the next arrival.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use llms_core::time::Timestamp;

use crate::executor::Job;

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    cap: Option<u32>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    in_flight: u32,
    /// When a slot last became free while none was.
    opened: Timestamp,
    /// Bounded by the arrivals of the plan; a job is a few words.
    waiting: VecDeque<Job>,
}

impl Gate {
    /// A gate that lets `cap` ≥ 1 requests be in flight; any number when `None`.
    pub(crate) fn new(cap: Option<u32>) -> Self {
        Self { cap, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An arrival: the instant of its release when it may go, `None` when it was put in the queue.
    pub(crate) fn enter(&self, job: &Job) -> Option<Timestamp> {
        let Some(cap) = self.cap else { return Some(job.scheduled) };
        let mut state = self.lock();
        if state.in_flight < cap {
            state.in_flight += 1;
            return Some(job.scheduled.max(state.opened));
        }
        state.waiting.push_back(job.clone());
        None
    }

    /// A request ended at `at`: the arrival that takes its slot, released.
    pub(crate) fn leave(&self, at: Timestamp) -> Option<Job> {
        let cap = self.cap?;
        let mut state = self.lock();
        if let Some(mut job) = state.waiting.pop_front() {
            job.released = job.scheduled.max(at);
            return Some(job);
        }
        if state.in_flight == cap {
            state.opened = at;
        }
        state.in_flight -= 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use llms_core::bench::RunPhase;

    use super::*;

    fn job(block: u64, scheduled: u64) -> Job {
        let at = Timestamp::from_nanos(scheduled);
        Job {
            target: 0,
            block,
            position: 0,
            prompt: 0,
            phase: RunPhase::Measured,
            turn: None,
            scheduled: at,
            released: at,
        }
    }

    #[test]
    fn first_come_first_served_and_the_wait_is_exact() {
        let gate = Gate::new(Some(2));
        let at = Timestamp::from_nanos;
        assert_eq!(gate.enter(&job(0, 10)), Some(at(10)));
        assert_eq!(gate.enter(&job(1, 11)), Some(at(11)));
        assert_eq!(gate.enter(&job(2, 12)), None);
        assert_eq!(gate.enter(&job(3, 13)), None);
        let next = gate.leave(at(20)).unwrap();
        assert_eq!((next.block, next.released), (2, at(20)));
        let next = gate.leave(at(21)).unwrap();
        assert_eq!((next.block, next.released), (3, at(21)));
        assert!(gate.leave(at(30)).is_none());
        assert!(gate.leave(at(31)).is_none());
        // The client comes late with an arrival that was due while the gate was still full: it had to wait for
        // the slot, and only the rest is the client's lateness.
        assert_eq!(gate.enter(&job(4, 25)), Some(at(30)));
        assert_eq!(gate.enter(&job(5, 40)), Some(at(40)));
    }

    #[test]
    fn without_a_cap_nothing_waits() {
        let gate = Gate::new(None);
        for i in 0..100 {
            assert_eq!(gate.enter(&job(i, i)), Some(Timestamp::from_nanos(i)));
        }
        assert!(gate.leave(Timestamp::ZERO).is_none());
    }
}
