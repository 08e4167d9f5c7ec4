//! Reads the clocks against each other and watches for steps, drift and sleep.
//!
//! The one place that reads clocks beside `llms_core::time::Clock`: here the clocks are what is measured.

use llms_core::{bench::probe::ClockTrouble, time::Timestamp};

/// A step of more than this is clock trouble, nanoseconds.
const STEP: u64 = 100_000;

/// All clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockReading {
    pub(crate) at: Timestamp,
    /// Wall clock minus monotonic clock, nanoseconds.
    pub(crate) wall_offset: i64,
    /// How far that can be wrong.
    pub(crate) error: u64,
    /// Unadjusted oscillator minus monotonic clock.
    pub(crate) raw_offset: Option<i64>,
    /// Clock that goes on while the machine sleeps minus monotonic clock.
    pub(crate) boot_offset: Option<i64>,
}

#[cfg(unix)]
mod read {
    use rustix::time::{ClockId, clock_gettime};

    use super::{ClockReading, Timestamp};

    fn nanos(clock: ClockId) -> i64 {
        let t = clock_gettime(clock);
        t.tv_sec as i64 * 1_000_000_000 + t.tv_nsec as i64
    }

    /// The tightest of a few tries: between two looks at the monotonic clock this thread may lose its processor.
    pub(crate) fn clocks() -> ClockReading {
        let first = once();
        (0..4).fold(first, |best, _| if best.error < 500 { best } else { tighter(best, once()) })
    }

    fn tighter(a: ClockReading, b: ClockReading) -> ClockReading {
        if b.error < a.error { b } else { a }
    }

    fn once() -> ClockReading {
        let before = nanos(ClockId::Monotonic);
        let wall = nanos(ClockId::Realtime);
        #[cfg(target_os = "linux")]
        let (raw, boot) = (Some(nanos(ClockId::MonotonicRaw)), Some(nanos(ClockId::Boottime)));
        #[cfg(not(target_os = "linux"))]
        let (raw, boot) = (None::<i64>, None::<i64>);
        let after = nanos(ClockId::Monotonic);
        let middle = before + (after - before) / 2;
        ClockReading {
            at: Timestamp::from_nanos(middle as u64),
            wall_offset: wall - middle,
            error: (after - before) as u64 / 2 + 1,
            raw_offset: raw.map(|t| t - middle),
            boot_offset: boot.map(|t| t - middle),
        }
    }

    /// Processor time of the process, ended threads included, nanoseconds.
    pub(crate) fn process_cpu() -> Option<u64> {
        u64::try_from(nanos(ClockId::ProcessCPUTime)).ok()
    }

    /// Processor time of this thread, nanoseconds.
    pub(crate) fn thread_cpu() -> Option<u64> {
        u64::try_from(nanos(ClockId::ThreadCPUTime)).ok()
    }
}

#[cfg(not(unix))]
mod read {
    use llms_core::time::{Clock, RealClock};

    use super::ClockReading;

    /// Wall clock and monotonic clock one after the other.
    pub(crate) fn clocks() -> ClockReading {
        let (before, wall, after) = (RealClock.now(), RealClock.wall(), RealClock.now());
        let wall = wall.unix_timestamp_nanos() as i64;
        let error = (after.as_nanos() - before.as_nanos()) / 2 + 100;
        let wall_offset = wall - before.as_nanos() as i64;
        ClockReading { at: before, wall_offset, error, raw_offset: None, boot_offset: None }
    }

    pub(crate) fn process_cpu() -> Option<u64> {
        None
    }

    pub(crate) fn thread_cpu() -> Option<u64> {
        None
    }
}

pub(crate) use read::{clocks, process_cpu, thread_cpu};

/// Watches the clocks from one reading to the next.
#[derive(Debug)]
pub(crate) struct ClockWatch {
    first: ClockReading,
    last: ClockReading,
    stepped: i64,
    steps: u64,
    largest: u64,
}

impl ClockWatch {
    pub(crate) fn new(first: ClockReading) -> Self {
        Self { first, last: first, stepped: 0, steps: 0, largest: 0 }
    }

    pub(crate) fn see(&mut self, now: ClockReading) {
        let moved = now.wall_offset - self.last.wall_offset;
        let sure = moved.unsigned_abs().saturating_sub(now.error + self.last.error);
        if STEP < sure {
            self.steps += 1;
            self.stepped += moved;
            self.largest = self.largest.max(sure);
        }
        self.last = now;
    }

    /// Wall clock minus monotonic clock, less the same at the start, seconds.
    pub(crate) fn offset_s(&self) -> f64 {
        (self.last.wall_offset - self.first.wall_offset) as f64 / 1e9
    }

    /// `None` when no time has passed.
    pub(crate) fn trouble(&self) -> Option<ClockTrouble> {
        let span = self.last.at.since(self.first.at)?.as_nanos() as f64;
        if span <= 0.0 {
            return None;
        }
        let moved = |of: fn(&ClockReading) -> Option<i64>| Some((of(&self.last)? - of(&self.first)?) as f64);
        let drift = (self.last.wall_offset - self.first.wall_offset - self.stepped) as f64;
        Some(ClockTrouble {
            drift_ppm: drift / span * 1e6,
            drift_error_ppm: (self.first.error + self.last.error) as f64 / span * 1e6,
            largest_step_s: self.largest as f64 / 1e9,
            steps: self.steps,
            // The monotonic clock ahead of the oscillator is a positive slew.
            slew_ppm: moved(|c| c.raw_offset).map(|m| -m / (span + m) * 1e6),
            suspended_s: moved(|c| c.boot_offset).map(|m| {
                let sure = m - (self.first.error + self.last.error) as f64;
                if 0.0 < sure { m / 1e9 } else { 0.0 }
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// A reading at `second`, with the wall clock off by `wall` ns, the oscillator by `raw`, sleep of `boot`.
    fn at(second: u64, wall: i64, raw: i64, boot: i64) -> ClockReading {
        ClockReading {
            at: Timestamp::from_nanos(second * SECOND),
            wall_offset: 1_700_000_000_000_000_000 + wall,
            error: 50,
            raw_offset: Some(raw),
            boot_offset: Some(boot),
        }
    }

    #[track_caller]
    fn check(readings: &[ClockReading], drift: f64, steps: u64, largest: f64) -> ClockTrouble {
        let mut watch = ClockWatch::new(readings[0]);
        for r in &readings[1..] {
            watch.see(*r);
        }
        let trouble = watch.trouble().unwrap();
        assert!((trouble.drift_ppm - drift).abs() <= trouble.drift_error_ppm + 1e-9, "{trouble:?}");
        assert_eq!(trouble.steps, steps, "{trouble:?}");
        assert!((trouble.largest_step_s - largest).abs() < 1e-6, "{trouble:?}");
        trouble
    }

    #[test]
    fn drift_steps_slew_and_sleep_are_told_apart() {
        let quiet = check(&[at(0, 0, 0, 0), at(10, 30, 0, 20)], 0.0, 0, 0.0);
        assert_eq!(quiet.suspended_s, Some(0.0), "within the error of reading is no sleep");
        // 60 µs a second is drift of 60 ppm, no step.
        check(&[at(0, 0, 0, 0), at(1, 60_000, 0, 0), at(2, 120_000, 0, 0)], 60.0, 0, 0.0);
        // Two seconds forward in the middle, no drift besides.
        let step = 2 * SECOND as i64;
        check(&[at(0, 0, 0, 0), at(1, step, 0, 0), at(2, step, 0, 0)], 0.0, 1, 2.0);
        // Back again counts as a second step; the largest is what it is in either direction.
        check(&[at(0, 0, 0, 0), at(1, -step, 0, 0), at(2, 0, 0, 0)], 0.0, 2, 2.0);
        // Just below and just above the limit, after the error of both readings.
        check(&[at(0, 0, 0, 0), at(1, 100_100, 0, 0)], 100.1, 0, 0.0);
        check(&[at(0, 0, 0, 0), at(1, 100_200, 0, 0)], 0.0, 1, 100_100e-9);
        let slewed = check(&[at(0, 0, 0, 0), at(10, 0, -1_000_000, 3 * SECOND as i64)], 0.0, 0, 0.0);
        assert!((slewed.slew_ppm.unwrap() - 100.0).abs() < 0.1, "{slewed:?}");
        assert_eq!(slewed.suspended_s, Some(3.0));
    }

    #[test]
    fn no_time_no_answer() {
        assert_eq!(ClockWatch::new(at(5, 0, 0, 0)).trouble(), None);
    }

    #[test]
    fn the_clocks_of_this_machine_agree_with_themselves() {
        let (a, b) = (clocks(), clocks());
        assert!(a.at <= b.at);
        let mut watch = ClockWatch::new(a);
        watch.see(b);
        assert!(watch.offset_s().abs() < 1.0, "{a:?} {b:?}");
    }
}
