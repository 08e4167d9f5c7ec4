//! The machine's clock.

use time::OffsetDateTime;

use super::{Clock, Sleep, Timestamp};

/// `CLOCK_MONOTONIC`, read directly so that the raw value is known (`std::time::Instant` hides it).
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

impl Clock for RealClock {
    #[inline]
    fn now(&self) -> Timestamp {
        #[cfg(unix)]
        {
            let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
            Timestamp(t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64)
        }
        #[cfg(not(unix))]
        {
            use std::{sync::OnceLock, time::Instant};
            static START: OnceLock<Instant> = OnceLock::new();
            Timestamp(START.get_or_init(Instant::now).elapsed().as_nanos() as u64)
        }
    }

    fn wall(&self) -> OffsetDateTime {
        OffsetDateTime::now_utc()
    }

    fn sleep_until(&self, deadline: Timestamp) -> Sleep {
        let wait = deadline.saturating_since(self.now());
        if wait.is_zero() { Box::pin(std::future::ready(())) } else { Box::pin(tokio::time::sleep(wait)) }
    }
}
