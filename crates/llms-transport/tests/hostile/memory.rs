//! How much memory this process has taken at most, asked of its allocator; one test at a time.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static TURN: Mutex<()> = Mutex::new(());

struct Counting;

fn grown(by: usize) {
    PEAK.fetch_max(NOW.fetch_add(by, Relaxed) + by, Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        grown(size);
        // SAFETY: the caller's promises are passed on.
        let moved = unsafe { System.realloc(at, layout, size) };
        NOW.fetch_sub(layout.size(), Relaxed);
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The turn of one test, from which on growth is counted.
pub(crate) struct Turn {
    before: usize,
    _turn: MutexGuard<'static, ()>,
}

/// Waits for the other tests.
pub(crate) fn turn() -> Turn {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    Turn { before, _turn: turn }
}

impl Turn {
    /// Bytes taken now above what was taken at the beginning of the turn.
    pub(crate) fn grown(&self) -> usize {
        NOW.load(Relaxed).saturating_sub(self.before)
    }

    /// Nowhere since the beginning of the turn was more than `bytes` taken above what was taken then.
    #[track_caller]
    pub(crate) fn within(&self, bytes: usize) {
        let grown = PEAK.load(Relaxed).saturating_sub(self.before);
        assert!(grown <= bytes, "took {grown} bytes more, expected at most {bytes}");
    }
}
