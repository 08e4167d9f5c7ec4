//! The block that is being filled, between the one that records and the thread that writes.
//!
//! A record is encoded at once, by reference: less work than to copy it, and what waits is its bytes. The writer takes the
//! block when it is full, or when its first record has waited long enough, and leaves an empty one.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use llms_core::bench::RequestRecord;

use crate::columns::Block;

/// Bytes of a block at which it is written: about 120 answers of 128 tokens.
const FULL: usize = 1 << 19;
/// Bytes of a block that the writer does not come to take, about; beyond, recording waits.
const MOST: usize = 4 << 20;
/// Longest a record waits before it is written.
const FLUSH: Duration = Duration::from_millis(500);

#[derive(Default)]
struct State {
    block: Block,
    /// When the first record of the block came.
    since: Option<Instant>,
    /// Nothing more comes.
    closed: bool,
    /// Nobody takes any more.
    abandoned: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    came: Condvar,
    went: Condvar,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record; waits while the block is larger than it may be. `false` when nobody takes it any more.
    ///
    /// # Errors
    /// When it cannot be written as bytes.
    pub(crate) fn push(&self, record: &RequestRecord) -> Result<bool, String> {
        let mut state = self.state();
        while MOST < state.block.len() && !state.abandoned {
            state = self.went.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.abandoned {
            return Ok(false);
        }
        let was = state.block.len();
        state.block.add(record)?;
        let first = state.since.is_none();
        if first {
            state.since = Some(Instant::now());
        }
        // The writer is woken when it has a time to wait for, and when it need not wait any longer.
        let full = was < FULL && FULL <= state.block.len();
        drop(state);
        if first || full {
            self.came.notify_one();
        }
        Ok(true)
    }

    /// Exchanges `empty` for the block when that is due. `false` when nothing more comes and nothing is left.
    pub(crate) fn take(&self, empty: &mut Block) -> bool {
        let mut state = self.state();
        loop {
            let waited = state.since.map(|since| since.elapsed());
            let due = state.closed || FULL <= state.block.len() || waited.is_some_and(|w| FLUSH <= w);
            if due && !state.block.is_empty() {
                std::mem::swap(&mut state.block, empty);
                state.since = None;
                drop(state);
                self.went.notify_one();
                return true;
            }
            if state.closed {
                return false;
            }
            let left = waited.map_or(Duration::MAX, |w| FLUSH.saturating_sub(w));
            state = match left {
                Duration::MAX => self.came.wait(state).unwrap_or_else(PoisonError::into_inner),
                left => self.came.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
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
        state.block = Block::default();
        drop(state);
        self.went.notify_all();
    }
}
