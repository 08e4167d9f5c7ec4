//! A token bucket that says how long to wait.

use std::time::Duration;

use llms_core::time::Timestamp;

use crate::profile::RateLimit;

/// The fill of one bucket.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    /// `None`: full, never used.
    state: Option<(f64, Timestamp)>,
}

impl Bucket {
    /// Takes one request out.
    ///
    /// # Errors
    /// How long until there is one, when it is empty.
    pub(crate) fn take(&mut self, limit: &RateLimit, now: Timestamp) -> Result<(), Duration> {
        let (fill, at) = self.state.unwrap_or((limit.burst, now));
        let refill = now.saturating_since(at).as_secs_f64() * limit.requests_per_s;
        let fill = (fill + refill).min(limit.burst);
        // Refills of whole periods may fall short of 1 by rounding.
        let taken = fill >= 1.0 - 1e-9;
        self.state = Some((if taken { fill - 1.0 } else { fill }, now.max(at)));
        if taken { Ok(()) } else { Err(Duration::from_secs_f64((1.0 - fill) / limit.requests_per_s)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_allows_a_burst_then_the_rate() {
        let limit = RateLimit { requests_per_s: 10.0, burst: 3.0 };
        let mut bucket = Bucket::default();
        let at = |ms: u64| Timestamp::ZERO + Duration::from_millis(ms);
        let allowed: Vec<_> =
            (0..50).map(|i| i * 20).filter(|ms| bucket.take(&limit, at(*ms)).is_ok()).collect();
        assert_eq!(&allowed[..6], [0, 20, 40, 100, 200, 300]);
        assert_eq!(allowed.len(), 12);
        let wait = bucket.take(&limit, at(985)).unwrap_err();
        assert!(wait <= Duration::from_millis(100) && !wait.is_zero(), "{wait:?}");
    }
}
