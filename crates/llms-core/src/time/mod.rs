//! Time: one monotonic clock for every stamp, behind a trait, so that load control and measurement can be
//! tested on a clock that costs nothing to wait for.
//!
//! Nothing in the workspace reads a clock except through [`Clock`]. Wall time exists only for labels; it is
//! never subtracted.

mod real;
mod simulated;

use std::{
    fmt,
    future::Future,
    ops::{Add, Sub},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub use real::RealClock;
pub use simulated::VirtualClock;

/// An instant: nanoseconds of `CLOCK_MONOTONIC` (Linux, macOS), so that stamps of two processes on one machine
/// and of the kernel can be compared. On a [`VirtualClock`], nanoseconds since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The zero of the clock.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds of the monotonic clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds of the monotonic clock.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; `None` when `earlier` lies later (never a negative or clamped duration).
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_nanos)
    }

    /// Time passed since `earlier`, zero when `earlier` lies later. For waiting, never for measuring.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s", self.0 as f64 / 1e9)
    }
}

/// The future of [`Clock::sleep_until`].
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send + 'static>>;

/// The only source of time in the workspace.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// The wall clock, for labels in files; never subtract two of these.
    fn wall(&self) -> OffsetDateTime;

    /// Completes once `deadline` is reached; at once when it already is.
    ///
    /// On the real clock this is a timer of the async runtime: good for deadlines, back-off and think time, up
    /// to about a millisecond late. Sends under load go through the runner's pacer instead.
    fn sleep_until(&self, deadline: Timestamp) -> Sleep;

    /// Whether time passes by itself. A pacer may use kernel timers only when it does.
    fn is_real(&self) -> bool {
        true
    }
}

/// A clock shared by everything that takes part in one run.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's monotonic clock, shared.
pub fn real_clock() -> SharedClock {
    Arc::new(RealClock)
}
