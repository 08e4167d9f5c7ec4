//! Service slots, first come first served.
//!
//! A slot is handed over together with the instant it became free, and that instant is the one the previous
//! request was *meant* to end at: waits follow the queueing recursion exactly, however late the tasks wake up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use llms_core::time::{SharedClock, Timestamp};
use tokio::sync::oneshot;

use crate::profile::Capacity;

#[derive(Debug, Default)]
struct State {
    slots: Option<u32>,
    queue: u32,
    busy: u32,
    next_id: u64,
    /// At most `queue` long.
    waiting: VecDeque<(u64, oneshot::Sender<Timestamp>)>,
}

impl State {
    fn has_free(&self) -> bool {
        self.slots.is_none_or(|slots| self.busy < slots)
    }

    /// Hands free slots to those who wait.
    fn hand_over(&mut self, free_at: Timestamp) {
        while self.has_free() {
            let Some((_, waiter)) = self.waiting.pop_front() else { return };
            // A receiver takes itself off the queue before it is dropped, so the hand-over cannot miss.
            if waiter.send(free_at).is_ok() {
                self.busy += 1;
            }
        }
    }
}

/// The slots of one profile.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    state: Arc<Mutex<State>>,
}

/// The waiting room is full.
#[derive(Debug)]
pub(crate) struct Full;

impl Gate {
    pub(crate) fn new(capacity: Capacity) -> Self {
        let gate = Self::default();
        gate.resize(capacity, Timestamp::ZERO);
        gate
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies another capacity; requests being served or waiting stay.
    pub(crate) fn resize(&self, capacity: Capacity, now: Timestamp) {
        let mut state = self.lock();
        (state.slots, state.queue) = (capacity.slots, capacity.queue);
        state.hand_over(now);
    }

    /// Requests that wait now.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Requests that are served now.
    pub(crate) fn busy(&self) -> u32 {
        self.lock().busy
    }

    /// Queues up, as of now; await the result for the slot.
    pub(crate) fn enter(&self, arrival: Timestamp, clock: &SharedClock) -> Result<Entry, Full> {
        let mut state = self.lock();
        let turn = if state.waiting.is_empty() && state.has_free() {
            state.busy += 1;
            Turn::Now
        } else if state.waiting.len() < state.queue as usize {
            let (sender, receiver) = oneshot::channel();
            state.next_id += 1;
            let id = state.next_id;
            state.waiting.push_back((id, sender));
            Turn::Later { id, receiver }
        } else {
            return Err(Full);
        };
        Ok(Entry { gate: self.clone(), clock: clock.clone(), arrival, turn })
    }
}

#[derive(Debug)]
enum Turn {
    Now,
    Later { id: u64, receiver: oneshot::Receiver<Timestamp> },
    Taken,
}

/// A place in the queue; dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Entry {
    gate: Gate,
    clock: SharedClock,
    arrival: Timestamp,
    turn: Turn,
}

impl Entry {
    /// Waits for the slot; returns when service starts.
    pub(crate) async fn wait(mut self) -> (Permit, Timestamp) {
        let start = match &mut self.turn {
            Turn::Later { receiver, .. } => {
                let free_at = receiver.await.expect("invariant: the gate keeps the sender while we wait");
                self.arrival.max(free_at)
            }
            Turn::Now | Turn::Taken => self.arrival,
        };
        self.turn = Turn::Taken;
        (Permit { gate: self.gate.clone(), clock: self.clock.clone(), free_at: None }, start)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.gate.lock();
        let granted = match &self.turn {
            Turn::Taken => false,
            Turn::Now => true,
            Turn::Later { id, .. } => {
                let waiting = state.waiting.iter().position(|(w, _)| w == id);
                waiting.map(|at| state.waiting.remove(at)).is_none()
            }
        };
        if granted {
            state.busy -= 1;
            state.hand_over(self.clock.now());
        }
    }
}

/// A slot; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Gate,
    clock: SharedClock,
    free_at: Option<Timestamp>,
}

impl Permit {
    /// Frees the slot as of `at`: when the service was meant to end.
    pub(crate) fn free(mut self, at: Timestamp) {
        self.free_at = Some(at);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let free_at = self.free_at.unwrap_or_else(|| self.clock.now());
        let mut state = self.gate.lock();
        state.busy -= 1;
        state.hand_over(free_at);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use llms_core::time::{Clock, VirtualClock};

    use super::*;

    #[test]
    fn who_leaves_the_queue_neither_keeps_nor_loses_a_slot() {
        let clock = VirtualClock::new();
        let shared: SharedClock = Arc::new(clock.clone());
        let gate = Gate::new(Capacity { slots: Some(1), queue: 2 });
        clock.block_on(async {
            let (first, start) = gate.enter(clock.now(), &shared).unwrap().wait().await;
            assert_eq!(start, Timestamp::ZERO);
            let impatient = gate.enter(clock.now(), &shared).unwrap();
            let patient = gate.enter(clock.now(), &shared).unwrap();
            assert!(gate.enter(clock.now(), &shared).is_err(), "the queue holds two");
            drop(impatient);
            assert_eq!(gate.waiting(), 1);
            let free_at = Timestamp::ZERO + Duration::from_millis(7);
            first.free(free_at);
            let (second, start) = patient.wait().await;
            assert_eq!(start, free_at);
            // Granted but never taken up: the slot goes on.
            let granted = gate.enter(clock.now(), &shared).unwrap();
            let next = gate.enter(clock.now(), &shared).unwrap();
            drop(second);
            drop(granted);
            next.wait().await;
        });
        assert_eq!(gate.lock().busy, 0);
    }
}
