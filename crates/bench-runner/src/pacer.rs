//! Waiting for an absolute instant, exactly.
//!
//! On Linux and a real clock: a timerfd on `CLOCK_MONOTONIC`, awaited in the runtime that sends (50–70 µs late;
//! the runtime's own timer rounds up to the next millisecond). No spinning: it would take a core from what is
//! measured. Elsewhere, and on a simulated clock, [`Clock::sleep_until`](llms_core::time::Clock::sleep_until).

use llms_core::time::{SharedClock, Timestamp};

/// Waits for instants of one clock. One per waiting task.
pub(crate) struct Pacer {
    clock: SharedClock,
    #[cfg(target_os = "linux")]
    timer: Option<timerfd::Timer>,
}

impl Pacer {
    /// The best this platform has for `clock`. Falls back to the clock's own sleep when the kernel gives no
    /// timer (too many open files); [`name`](Self::name) tells.
    pub(crate) fn new(clock: SharedClock) -> Self {
        Self {
            #[cfg(target_os = "linux")]
            timer: if clock.is_real() { timerfd::Timer::new().ok() } else { None },
            clock,
        }
    }

    /// The clock's own sleep: about a millisecond late on a real clock, but without a file descriptor.
    pub(crate) fn coarse(clock: SharedClock) -> Self {
        Self {
            #[cfg(target_os = "linux")]
            timer: None,
            clock,
        }
    }

    /// How it waits, for the result file.
    pub(crate) fn name(&self) -> &'static str {
        #[cfg(target_os = "linux")]
        if self.timer.is_some() {
            return "timerfd";
        }
        if self.clock.is_real() { "runtime timer" } else { "simulated clock" }
    }

    /// Completes at `deadline`, at once when it has passed; never early.
    pub(crate) async fn wait_until(&mut self, deadline: Timestamp) {
        while self.clock.now() < deadline {
            #[cfg(target_os = "linux")]
            if let Some(timer) = &mut self.timer {
                if timer.wait_until(deadline).await.is_ok() {
                    continue;
                }
                self.timer = None;
            }
            self.clock.sleep_until(deadline).await;
        }
    }
}

#[cfg(target_os = "linux")]
mod timerfd {
    use std::{io, os::fd::OwnedFd};

    use llms_core::time::Timestamp;
    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    /// A kernel timer that the runtime's reactor waits for.
    pub(super) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        #[allow(
            deprecated,
            reason = "the replacement is unsafe because a type could hand out another descriptor later; OwnedFd cannot"
        )]
        pub(super) fn new() -> io::Result<Self> {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            let fd = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            AsyncFd::with_interest(fd, Interest::READABLE).map(Self)
        }

        /// Completes when `deadline` (later than 0) has passed. Dropping the future leaves the timer usable.
        pub(super) async fn wait_until(&mut self, deadline: Timestamp) -> io::Result<()> {
            let ns = deadline.as_nanos();
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            let at = Timespec { tv_sec: (ns / 1_000_000_000) as _, tv_nsec: (ns % 1_000_000_000) as _ };
            let once = Itimerspec { it_interval: zero, it_value: at };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &once)?;
            loop {
                let mut ready = self.0.readable().await?;
                // Reads the number of expirations; WouldBlock when the readiness was of an earlier deadline.
                let mut expirations = [0_u8; 8];
                match ready.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut expirations)?)) {
                    Ok(read) => return read.map(|_| ()),
                    Err(_would_block) => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use llms_core::time::{Clock as _, VirtualClock, real_clock};

    use super::*;

    #[tokio::test]
    async fn never_early_on_the_real_clock_and_usable_again() {
        let clock = real_clock();
        let mut pacer = Pacer::new(clock.clone());
        for ms in [3, 0, 1, 5] {
            let deadline = clock.now() + Duration::from_millis(ms);
            pacer.wait_until(deadline).await;
            assert!(clock.now() >= deadline);
        }
        #[cfg(target_os = "linux")]
        assert_eq!(pacer.name(), "timerfd");
    }

    #[tokio::test]
    async fn a_wait_given_up_does_not_disturb_the_next() {
        let clock = real_clock();
        let mut pacer = Pacer::new(clock.clone());
        let soon = clock.now() + Duration::from_millis(1);
        tokio::select! {
            biased;
            () = pacer.wait_until(soon + Duration::from_hours(1)) => panic!("an hour has not passed"),
            () = clock.sleep_until(soon) => {}
        }
        let deadline = clock.now() + Duration::from_millis(2);
        pacer.wait_until(deadline).await;
        assert!(clock.now() >= deadline);
    }

    #[test]
    fn a_simulated_clock_is_waited_for_exactly() {
        let clock = VirtualClock::new();
        let mut pacer = Pacer::new(Arc::new(clock.clone()));
        clock.block_on(async { pacer.wait_until(Timestamp::from_nanos(3_600_000_000_001)).await });
        assert_eq!(clock.now().as_nanos(), 3_600_000_000_001);
        assert_eq!(pacer.name(), "simulated clock");
    }
}
