//! What one transport counts, over all of its connections, and the conversion of kernel stamps that they share.
//!
//! Connections count for themselves and hand over when an answer ends, so that no counter is shared while reading.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use llms_core::wire::{StampSource, TransportCounters};

use super::realtime::{Converter, SystemClocks};

/// Counts of one connection since it last handed over.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) reads: u64,
    pub(super) calls: u64,
    pub(super) bytes: u64,
    pub(super) stamped: u64,
    pub(super) chunked: u64,
    pub(super) merged: u64,
}

/// Counts of a transport; its socket that keeps the kernel stamping.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) realtime: Converter,
    pub(super) opened: AtomicU64,
    pub(super) reused: AtomicU64,
    pub(super) found_dead: AtomicU64,
    pub(super) resent: AtomicU64,
    reads: AtomicU64,
    calls: AtomicU64,
    bytes: AtomicU64,
    stamped: AtomicU64,
    chunked: AtomicU64,
    merged: AtomicU64,
    #[cfg(unix)]
    keeper: Option<super::kernel::Keeper>,
}

impl Meter {
    /// With kernel stamps, if they are wanted and this platform has them.
    pub(super) fn new(kernel_stamps: bool) -> Self {
        #[cfg(not(unix))]
        let _ = kernel_stamps;
        Self {
            realtime: Converter::new(SystemClocks),
            opened: AtomicU64::new(0),
            reused: AtomicU64::new(0),
            found_dead: AtomicU64::new(0),
            resent: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            stamped: AtomicU64::new(0),
            chunked: AtomicU64::new(0),
            merged: AtomicU64::new(0),
            #[cfg(unix)]
            keeper: kernel_stamps.then(super::kernel::keeper).flatten(),
        }
    }

    /// The best stamp there is.
    pub(super) fn stamps(&self) -> StampSource {
        #[cfg(unix)]
        if self.keeper.is_some() {
            return StampSource::Kernel;
        }
        StampSource::User
    }

    /// Takes over what a connection has counted.
    pub(super) fn add(&self, tally: &mut Tally) {
        let Tally { reads, calls, bytes, stamped, chunked, merged } = std::mem::take(tally);
        for (sum, n) in [
            (&self.reads, reads),
            (&self.calls, calls),
            (&self.bytes, bytes),
            (&self.stamped, stamped),
            (&self.chunked, chunked),
            (&self.merged, merged),
        ] {
            if n > 0 {
                sum.fetch_add(n, Relaxed);
            }
        }
    }

    pub(super) fn counters(&self) -> TransportCounters {
        let clock = self.realtime.trouble();
        let mut c = TransportCounters::default();
        c.opened = self.opened.load(Relaxed);
        c.reused = self.reused.load(Relaxed);
        c.found_dead = self.found_dead.load(Relaxed);
        c.resent = self.resent.load(Relaxed);
        c.reads = self.reads.load(Relaxed);
        c.receive_calls = self.calls.load(Relaxed);
        c.bytes = self.bytes.load(Relaxed);
        c.kernel_stamped = self.stamped.load(Relaxed);
        c.chunked_reads = self.chunked.load(Relaxed);
        c.merged_reads = self.merged.load(Relaxed);
        c.stamps_refused = clock.refused;
        c.clock_looks = clock.looks;
        c.clock_jumps = clock.jumps;
        c.clock_jump_max_ns = clock.jump_max_ns;
        c
    }
}
