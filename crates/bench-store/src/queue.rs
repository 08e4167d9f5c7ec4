//! Records on their way to the writer thread: a queue bounded by what it holds, not by how many.
//!
//! A record of a thousand chunks takes forty kilobytes and one of a single chunk less than one, so a bound on their number
//! would be either no bound or a tight one.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use llms_core::bench::{ChunkStamp, RequestRecord};

/// Bytes of records waiting for the writer, about.
const MOST: usize = 4 << 20;

/// Bytes that a record takes, about.
fn weight(record: &RequestRecord) -> usize {
    size_of::<RequestRecord>() + 256 + record.chunks.len() * size_of::<ChunkStamp>()
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Box<RequestRecord>>,
    bytes: usize,
    /// Nothing more comes.
    closed: bool,
    /// Nobody takes any more.
    abandoned: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    came: Condvar,
    went: Condvar,
}

/// What waiting for a record gave.
pub(crate) enum Next {
    Record(Box<RequestRecord>),
    Nothing,
    Closed,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a record over; waits while the queue is full. `false` when nobody takes any more.
    pub(crate) fn push(&self, record: Box<RequestRecord>) -> bool {
        let weight = weight(&record);
        let mut state = self.state();
        while state.bytes > 0 && state.bytes + weight > MOST && !state.abandoned {
            state = self.went.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.abandoned {
            return false;
        }
        state.bytes += weight;
        state.waiting.push_back(record);
        drop(state);
        self.came.notify_one();
        true
    }

    /// The next record, waiting for it until `until`.
    pub(crate) fn pop(&self, until: Instant) -> Next {
        let mut state = self.state();
        loop {
            if let Some(record) = state.waiting.pop_front() {
                state.bytes -= weight(&record);
                drop(state);
                self.went.notify_one();
                return Next::Record(record);
            }
            if state.closed {
                return Next::Closed;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Next::Nothing;
            }
            state = self.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Nothing more comes: what waits is still taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.came.notify_all();
    }

    /// Nobody takes any more.
    pub(crate) fn abandon(&self) {
        let mut state = self.state();
        state.abandoned = true;
        state.waiting.clear();
        drop(state);
        self.went.notify_all();
    }
}
