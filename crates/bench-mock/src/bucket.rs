//! Token buckets that say how long to wait, and how they stand.

use std::time::Duration;

use llms_core::time::Timestamp;

use crate::profile::RateLimit;

/// How one bucket stands: what headers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// What it holds when full.
    pub limit: u64,
    /// Whole units left.
    pub remaining: u64,
    /// Until it is full again.
    pub reset: Duration,
    /// In which an empty one fills up: a minute where the limit is one per minute.
    pub period: Duration,
}

/// How all buckets of a rate limit stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels {
    pub requests: Option<Level>,
    pub tokens: Option<Level>,
    pub input: Option<Level>,
    pub output: Option<Level>,
}

/// What a bucket counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    Requests,
    Tokens,
    Input,
    Output,
}

/// The bucket that has too little for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    pub of: Counted,
    pub level: Level,
    /// What the request would have taken.
    pub requested: u64,
    /// Until there is enough.
    pub wait: Duration,
}

/// Size and refill of one bucket.
#[derive(Clone, Copy, Debug)]
struct Size {
    holds: f64,
    per_s: f64,
}

impl Size {
    fn minute(per_min: f64) -> Self {
        Self { holds: per_min, per_s: per_min / 60.0 }
    }
}

/// The fill of one bucket.
#[derive(Debug, Default)]
struct Bucket {
    /// `None`: full, never used.
    state: Option<(f64, Timestamp)>,
}

impl Bucket {
    fn fill(&self, size: Size, now: Timestamp) -> f64 {
        let (fill, at) = self.state.unwrap_or((size.holds, now));
        (fill + now.saturating_since(at).as_secs_f64() * size.per_s).min(size.holds)
    }

    /// Until it holds `units`; `None` when it does. What is more than it ever holds is there when it is full.
    fn wait(&self, size: Size, units: f64, now: Timestamp) -> Option<Duration> {
        let missing = units.min(size.holds) - self.fill(size, now);
        // Refills of whole periods may fall short by rounding.
        let wait = missing.max(1e-9) / size.per_s;
        (missing > 1e-9).then(|| Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX))
    }

    fn take(&mut self, size: Size, units: f64, now: Timestamp) {
        let at = self.state.map_or(now, |(_, at)| now.max(at));
        self.state = Some((self.fill(size, now) - units, at));
    }

    fn level(&self, size: Size, now: Timestamp) -> Level {
        let fill = self.fill(size, now);
        let reset = Duration::try_from_secs_f64((size.holds - fill).max(0.0) / size.per_s);
        Level {
            limit: size.holds as u64,
            remaining: (fill + 1e-9).max(0.0) as u64,
            reset: reset.unwrap_or(Duration::MAX),
            period: Duration::try_from_secs_f64(size.holds / size.per_s).unwrap_or(Duration::MAX),
        }
    }
}

/// What a request takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Input and reserved output.
    pub tokens: u64,
    /// Input that is not cached.
    pub input: u64,
}

/// The buckets of one rate limit.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    requests: Bucket,
    tokens: Bucket,
    input: Bucket,
    output: Bucket,
}

impl Limiter {
    /// Takes one request out of all buckets, or out of none.
    ///
    /// # Errors
    /// The bucket that it would have to wait for longest.
    pub(crate) fn take(&mut self, limit: &RateLimit, cost: Cost, now: Timestamp) -> Result<(), Shortage> {
        let sizes = Sizes::of(limit);
        let (tokens, input) = (cost.tokens as f64, cost.input as f64);
        let buckets = [
            (Counted::Requests, &self.requests, Some(sizes.requests), 1),
            (Counted::Tokens, &self.tokens, sizes.tokens, cost.tokens),
            (Counted::Input, &self.input, sizes.input, cost.input),
            (Counted::Output, &self.output, sizes.output, 1),
        ];
        let shortages = buckets.into_iter().filter_map(|(of, bucket, size, requested)| {
            let size = size?;
            let wait = bucket.wait(size, requested as f64, now)?;
            Some(Shortage { of, level: bucket.level(size, now), requested, wait })
        });
        if let Some(longest) = shortages.max_by_key(|shortage| shortage.wait) {
            return Err(longest);
        }
        self.requests.take(sizes.requests, 1.0, now);
        if let Some(size) = sizes.tokens {
            self.tokens.take(size, tokens, now);
        }
        if let Some(size) = sizes.input {
            self.input.take(size, input, now);
        }
        Ok(())
    }

    /// Takes what an answer generates.
    pub(crate) fn spend(&mut self, limit: &RateLimit, output: u32, now: Timestamp) {
        if let Some(size) = Sizes::of(limit).output {
            self.output.take(size, f64::from(output), now);
        }
    }

    /// How the buckets stand.
    pub(crate) fn levels(&self, limit: &RateLimit, now: Timestamp) -> Levels {
        let sizes = Sizes::of(limit);
        Levels {
            requests: Some(self.requests.level(sizes.requests, now)),
            tokens: sizes.tokens.map(|s| self.tokens.level(s, now)),
            input: sizes.input.map(|s| self.input.level(s, now)),
            output: sizes.output.map(|s| self.output.level(s, now)),
        }
    }
}

#[derive(Clone, Copy)]
struct Sizes {
    requests: Size,
    tokens: Option<Size>,
    input: Option<Size>,
    output: Option<Size>,
}

impl Sizes {
    fn of(limit: &RateLimit) -> Self {
        Self {
            requests: Size { holds: limit.burst, per_s: limit.requests_per_s },
            tokens: limit.tokens_per_min.map(Size::minute),
            input: limit.input_tokens_per_min.map(Size::minute),
            output: limit.output_tokens_per_min.map(Size::minute),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Cost = Cost { tokens: 0, input: 0 };

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn it_allows_a_burst_then_the_rate() {
        let limit = RateLimit::requests(10.0, 3.0);
        let mut limiter = Limiter::default();
        let allowed: Vec<_> =
            (0..50).map(|i| i * 20).filter(|ms| limiter.take(&limit, NOTHING, at(*ms)).is_ok()).collect();
        assert_eq!(&allowed[..6], [0, 20, 40, 100, 200, 300]);
        assert_eq!(allowed.len(), 12);
        let Shortage { wait, level, .. } = limiter.take(&limit, NOTHING, at(985)).unwrap_err();
        assert_eq!(level.period, Duration::from_millis(300));
        assert!(wait <= Duration::from_millis(100) && !wait.is_zero(), "{wait:?}");
    }

    #[test]
    fn tokens_run_out_and_come_back_and_the_levels_say_so() {
        let limit = RateLimit {
            tokens_per_min: Some(600.0),
            output_tokens_per_min: Some(60.0),
            ..RateLimit::per_minute(60.0)
        };
        let mut limiter = Limiter::default();
        let cost = Cost { tokens: 400, input: 100 };
        limiter.take(&limit, cost, at(0)).unwrap();
        limiter.spend(&limit, 90, at(0));
        let levels = limiter.levels(&limit, at(0));
        assert_eq!(levels.requests.unwrap().remaining, 59);
        assert_eq!(levels.requests.unwrap().reset, Duration::from_secs(1));
        let tokens = levels.tokens.unwrap();
        assert_eq!((tokens.limit, tokens.remaining, tokens.reset.as_secs()), (600, 200, 40));
        assert_eq!(levels.output.unwrap().remaining, 0, "overdrawn");
        assert_eq!(levels.input, None);
        // 200 tokens are missing, 10 a second come back; output is at -30 and has to reach 1.
        let short = limiter.take(&limit, cost, at(0)).unwrap_err();
        assert_eq!((short.wait.as_secs(), short.of, short.level.limit), (31, Counted::Output, 60));
        assert_eq!(limiter.take(&limit, cost, at(12_000)).unwrap_err().wait.as_secs(), 19);
        limiter.take(&limit, cost, at(31_000)).unwrap();
        // What is more than the bucket ever holds passes when it is full.
        let huge = Cost { tokens: 10_000, input: 0 };
        limiter.take(&limit, huge, at(600_000)).unwrap();
        assert_eq!(limiter.levels(&limit, at(600_000)).tokens.unwrap().remaining, 0);
    }
}
