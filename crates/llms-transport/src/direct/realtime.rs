//! From the kernel's receive stamps, which are wall time, to the monotonic clock that everything else is stamped by.
//!
//! The two differ by an offset that only changes when somebody sets the wall clock (slewing moves both alike). It is
//! looked at once a second, and at once when a stamp cannot be right. A look reads the wall clock between two
//! readings of the monotonic one; of [`LOOKS`] the narrowest counts, so that being interrupted in between does no
//! harm. A change of more than [`JUMP`] is trouble with the clock, which is counted: stamps of the second before may
//! be wrong by that much.

use std::sync::{
    Mutex,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use llms_core::time::Timestamp;

/// Looks taken at a time.
const LOOKS: usize = 5;
/// How long an offset is trusted, in ns.
const TRUSTED: u64 = 1_000_000_000;
/// A look wider than this was interrupted, in ns: it can show a jump, but not correct the offset.
const WIDE: u64 = 20_000;
/// A change of the offset beyond this is a jump, in ns.
const JUMP: u64 = 100_000;

/// One look at both clocks, in ns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// The monotonic clock before.
    pub(super) before: u64,
    /// The wall clock, since 1970.
    pub(super) wall: u64,
    /// The monotonic clock after.
    pub(super) after: u64,
}

impl Look {
    fn width(&self) -> u64 {
        self.after.saturating_sub(self.before)
    }

    /// Wall − monotonic.
    fn offset(&self) -> i64 {
        self.wall.wrapping_sub(self.before + self.width() / 2) as i64
    }
}

/// The two clocks.
pub(super) trait Clocks {
    /// Reads monotonic, wall, monotonic, as close together as it can.
    fn look(&self) -> Look;
}

/// `CLOCK_REALTIME` and `CLOCK_MONOTONIC`.
#[derive(Debug, Default)]
pub(super) struct SystemClocks;

#[cfg(unix)]
impl Clocks for SystemClocks {
    fn look(&self) -> Look {
        use rustix::time::{ClockId, clock_gettime};
        let read = |id| {
            let t = clock_gettime(id);
            t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
        };
        let before = read(ClockId::Monotonic);
        let wall = read(ClockId::Realtime);
        Look { before, wall, after: read(ClockId::Monotonic) }
    }
}

#[cfg(not(unix))]
impl Clocks for SystemClocks {
    /// There are no kernel stamps to convert.
    fn look(&self) -> Look {
        Look { before: 0, wall: 0, after: 0 }
    }
}

/// Converts; shared by the connections of one transport.
#[derive(Debug)]
pub(super) struct Converter<C = SystemClocks> {
    clocks: C,
    /// Wall − monotonic, ns.
    offset: AtomicI64,
    /// How far off the offset may be, ns.
    unsure: AtomicU64,
    /// When it was looked at, ns of the monotonic clock.
    looked: AtomicU64,
    looks: AtomicU64,
    jumps: AtomicU64,
    jump_max: AtomicU64,
    refused: AtomicU64,
    /// Held by the one who looks.
    looking: Mutex<()>,
}

/// What a converter has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClockTrouble {
    pub(super) looks: u64,
    pub(super) jumps: u64,
    pub(super) jump_max_ns: u64,
    pub(super) refused: u64,
}

impl<C: Clocks> Converter<C> {
    pub(super) fn new(clocks: C) -> Self {
        let look = narrowest(&clocks);
        Self {
            clocks,
            offset: AtomicI64::new(look.offset()),
            unsure: AtomicU64::new(look.width()),
            looked: AtomicU64::new(look.after),
            looks: AtomicU64::new(1),
            jumps: AtomicU64::new(0),
            jump_max: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            looking: Mutex::new(()),
        }
    }

    /// The instant `wall` (ns since 1970) on the monotonic clock. It must lie between `earliest` (what the same
    /// connection brought before) and `now` (after the read): else the offset is looked at again, and if that does
    /// not mend it, there is no such instant.
    pub(super) fn convert(&self, wall: u64, earliest: Timestamp, now: Timestamp) -> Option<Timestamp> {
        if now.as_nanos().saturating_sub(self.looked.load(Relaxed)) >= TRUSTED {
            self.look();
        }
        if let Some(at) = self.place(wall, earliest, now) {
            return Some(at);
        }
        self.look();
        let at = self.place(wall, earliest, now);
        if at.is_none() {
            self.refused.fetch_add(1, Relaxed);
        }
        at
    }

    fn place(&self, wall: u64, earliest: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let at = wall.wrapping_sub(self.offset.load(Relaxed) as u64);
        let unsure = self.unsure.load(Relaxed);
        let (earliest, now) = (earliest.as_nanos(), now.as_nanos());
        let possible = earliest.saturating_sub(unsure)..=now.saturating_add(unsure);
        possible.contains(&at).then(|| Timestamp::from_nanos(at.max(earliest).min(now)))
    }

    /// Whoever comes while another looks goes on with the old offset.
    fn look(&self) {
        let Ok(_looking) = self.looking.try_lock() else { return };
        let look = narrowest(&self.clocks);
        self.looks.fetch_add(1, Relaxed);
        self.looked.store(look.after, Relaxed);
        let change = look.offset().abs_diff(self.offset.load(Relaxed));
        let jumped = change > JUMP + look.width();
        if jumped {
            self.jumps.fetch_add(1, Relaxed);
            self.jump_max.fetch_max(change, Relaxed);
        }
        if jumped || look.width() <= WIDE {
            self.offset.store(look.offset(), Relaxed);
            self.unsure.store(look.width(), Relaxed);
        }
    }

    pub(super) fn trouble(&self) -> ClockTrouble {
        ClockTrouble {
            looks: self.looks.load(Relaxed),
            jumps: self.jumps.load(Relaxed),
            jump_max_ns: self.jump_max.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}

fn narrowest(clocks: &impl Clocks) -> Look {
    let mut best = clocks.look();
    for _ in 1..LOOKS {
        let look = clocks.look();
        if look.width() < best.width() {
            best = look;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const EPOCH: u64 = 1_700_000_000_000_000_000;

    /// Clocks whose offset a test sets, and whose looks take as long as it says.
    struct Fake {
        now: Cell<u64>,
        offset: Cell<u64>,
        /// Widths of the looks to come; 100 ns when none is left.
        widths: RefCell<Vec<u64>>,
    }

    impl Clocks for Fake {
        fn look(&self) -> Look {
            let width = self.widths.borrow_mut().pop().unwrap_or(100);
            let before = self.now.get();
            // A look that is interrupted is so before the wall clock is read: its middle is the wrong instant.
            let wall = before + width - width.min(50) + self.offset.get();
            Look { before, wall, after: before + width }
        }
    }

    fn fake() -> Converter<Fake> {
        let clocks = Fake {
            now: Cell::new(5_000_000_000),
            offset: Cell::new(EPOCH),
            widths: RefCell::new(Vec::new()),
        };
        Converter::new(clocks)
    }

    /// A stamp that the kernel took 30 us before `now`.
    fn convert(c: &Converter<Fake>, earliest: u64) -> Option<u64> {
        let now = c.clocks.now.get();
        let wall = now - 30_000 + c.clocks.offset.get();
        c.convert(wall, Timestamp::from_nanos(earliest), Timestamp::from_nanos(now)).map(Timestamp::as_nanos)
    }

    #[track_caller]
    fn check(c: &Converter<Fake>, earliest: u64, expected: ClockTrouble) {
        let at = convert(c, earliest).map(|at| c.clocks.now.get() - at);
        assert_eq!((at, c.trouble()), (Some(30_000), expected));
    }

    fn seen(looks: u64, jumps: u64, jump_max_ns: u64) -> ClockTrouble {
        ClockTrouble { looks, jumps, jump_max_ns, refused: 0 }
    }

    fn advance(c: &Converter<Fake>, ns: u64) {
        c.clocks.now.set(c.clocks.now.get() + ns);
    }

    fn step(c: &Converter<Fake>, ns: i64) {
        c.clocks.offset.set(c.clocks.offset.get().wrapping_add_signed(ns));
    }

    #[test]
    fn the_offset_is_looked_at_once_a_second() {
        let c = fake();
        check(&c, 0, seen(1, 0, 0));
        advance(&c, 999_000_000);
        check(&c, 0, seen(1, 0, 0));
        advance(&c, 2_000_000);
        check(&c, 0, seen(2, 0, 0));
        check(&c, 0, seen(2, 0, 0));
    }

    #[test]
    fn a_step_forwards_is_noticed_at_the_first_stamp() {
        let c = fake();
        step(&c, 3_600_000_000_000);
        check(&c, 0, seen(2, 1, 3_600_000_000_000));
    }

    #[test]
    fn a_step_backwards_is_noticed_when_it_goes_before_what_is_possible() {
        let c = fake();
        step(&c, -50_000_000);
        check(&c, c.clocks.now.get() - 1_000_000, seen(2, 1, 50_000_000));
        // One too small to contradict anything is noticed within the second.
        step(&c, -500_000);
        assert_eq!(
            convert(&c, 0),
            Some(c.clocks.now.get() - 530_000),
            "wrong by the step, until the next look"
        );
        advance(&c, 1_100_000_000);
        check(&c, 0, seen(3, 2, 50_000_000));
    }

    #[test]
    fn a_small_change_corrects_the_offset_and_is_no_jump() {
        let c = fake();
        step(&c, 90_000);
        advance(&c, 1_100_000_000);
        check(&c, 0, seen(2, 0, 0));
    }

    #[test]
    fn an_interrupted_look_does_no_harm() {
        let c = fake();
        // Taken from the end: four looks of five interrupted, then all of them.
        for widths in [vec![4_000_000, 100, 9_000_000, 9_000_000, 5_000_000], vec![3_000_000; 5]] {
            *c.clocks.widths.borrow_mut() = widths;
            advance(&c, 1_100_000_000);
            assert_eq!(convert(&c, 0), Some(c.clocks.now.get() - 30_000));
        }
        assert_eq!(c.trouble(), seen(3, 0, 0));
    }

    #[test]
    fn what_cannot_be_placed_is_left_out_and_counted() {
        let c = fake();
        let now = c.clocks.now.get();
        let at = c.convert(now + 1_000_000 + EPOCH, Timestamp::ZERO, Timestamp::from_nanos(now));
        assert_eq!((at, c.trouble()), (None, ClockTrouble { refused: 1, ..seen(2, 0, 0) }));
        // Beyond `now` by less than the offset is sure of: it was now.
        let at = c.convert(now + 80 + EPOCH, Timestamp::ZERO, Timestamp::from_nanos(now));
        assert_eq!(at, Some(Timestamp::from_nanos(now)));
    }

    #[cfg(unix)]
    #[test]
    fn the_real_clocks_agree_with_themselves() {
        let c = Converter::new(SystemClocks);
        let look = narrowest(&SystemClocks);
        let now = Timestamp::from_nanos(look.after);
        let at = c.convert(look.wall, Timestamp::from_nanos(look.before), now);
        assert!(at.is_some(), "{look:?} {c:?}");
    }
}
