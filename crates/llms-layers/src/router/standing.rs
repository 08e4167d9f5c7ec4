//! How a route has been doing.

use std::time::Duration;

use llms_core::time::Timestamp;

/// Failures in a row, and until when the route is asked last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    failures: u32,
    out_until: Option<Timestamp>,
}

impl Standing {
    pub(super) fn is_out(&self, now: Timestamp) -> bool {
        self.out_until.is_some_and(|until| now < until)
    }

    pub(super) fn well(&mut self) {
        *self = Self::default();
    }

    /// After `limit` failures in a row, and at each one more, it is out for `cooldown`.
    pub(super) fn failed(&mut self, now: Timestamp, limit: u32, cooldown: Duration) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= limit.max(1) {
            self.out_until = Some(now + cooldown);
        }
    }

    pub(super) fn out_until(&mut self, until: Timestamp) {
        self.out_until = Some(until);
    }
}
