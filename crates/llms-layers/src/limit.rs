//! A token bucket for requests and one for tokens, as vendors limit both per minute.
//!
//! The buckets are kept by virtual scheduling: a call takes its place at once, under a lock, and learns when it may go. So
//! calls go in the order in which they asked, nobody polls, and the rate holds exactly, whatever the number of callers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use llms_core::{
    CallContext, ChatModel, ChatRequest, ChatResponse, Error, ErrorCode, ErrorKind, EventSink, EventStream,
    ModelInfo, Outcome, Result, Usage, health::Health, model::stream_of_drive, observe::CallEvent,
    time::Timestamp,
};

use crate::size::reserved_tokens;

/// What may be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Requests per minute, above 0; `None`: no limit.
    pub requests_per_minute: Option<f64>,
    /// Tokens per minute, input and output together, above 0; `None`: no limit.
    pub tokens_per_minute: Option<f64>,
    /// How much of the rate may be used at once after a pause: a bucket holds what this time refills, and at least one
    /// request. A second by default: many vendors enforce their limits over less than the minute they name.
    pub burst: Duration,
    /// Longest wait for a place; a call that would wait longer is refused at once, as rate-limited. `None`: as long as
    /// its deadline.
    pub max_wait: Option<Duration>,
}

impl Limits {
    /// So many requests per minute.
    pub fn per_minute(requests: f64) -> Self {
        Self {
            requests_per_minute: Some(requests),
            tokens_per_minute: None,
            burst: Duration::from_secs(1),
            max_wait: None,
        }
    }

    /// And so many tokens per minute.
    pub fn with_tokens_per_minute(mut self, tokens: f64) -> Self {
        self.tokens_per_minute = Some(tokens);
        self
    }

    /// Allows what `burst` refills to be used at once.
    pub fn with_burst(mut self, burst: Duration) -> Self {
        self.burst = burst;
        self
    }

    /// Refuses calls that would wait longer.
    pub fn with_max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = Some(max_wait);
        self
    }
}

/// Requests or tokens that may be taken; below zero what is owed.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    capacity: f64,
    level: f64,
    at: Option<Timestamp>,
}

impl Bucket {
    fn new(per_minute: f64, burst: Duration) -> Self {
        let per_second = per_minute / 60.0;
        let capacity = (per_second * burst.as_secs_f64()).max(1.0);
        Self { per_second, capacity, level: capacity, at: None }
    }

    fn refill(&mut self, now: Timestamp) {
        if let Some(at) = self.at {
            let passed = now.saturating_since(at).as_secs_f64();
            self.level = (self.level + passed * self.per_second).min(self.capacity);
        }
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }

    /// How long until `amount` may be taken. More than the bucket holds is taken from a full one, and owed.
    fn wait(&mut self, amount: f64, now: Timestamp) -> Duration {
        self.refill(now);
        let missing = amount.min(self.capacity) - self.level;
        // An infinite or unrepresentable wait (a rate near zero) is as long as it gets.
        Duration::try_from_secs_f64((missing / self.per_second).max(0.0)).unwrap_or(Duration::MAX)
    }

    fn take(&mut self, amount: f64) {
        self.level -= amount;
    }

    fn give_back(&mut self, amount: f64) {
        self.level = (self.level + amount).min(self.capacity);
    }
}

#[derive(Debug)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

type Estimate = Box<dyn Fn(&ChatRequest) -> u64 + Send + Sync>;

/// Holds calls back so that no more are sent than the limits allow.
///
/// Tokens are reserved before the call (estimated input and `max_tokens`, see [`reserved_tokens`]) and settled by the
/// usage the provider reports. A wait is told to the observer as [`CallEvent::Held`]. Give all models that share a
/// vendor's limit one layer, cloned as `Arc`.
pub struct RateLimit<M> {
    model: M,
    limits: Limits,
    buckets: Mutex<Buckets>,
    estimate: Estimate,
}

impl<M: std::fmt::Debug> std::fmt::Debug for RateLimit<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RateLimit")
            .field("model", &self.model)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl<M: ChatModel> RateLimit<M> {
    /// `model` within `limits`.
    ///
    /// # Panics
    /// When a limit is not above 0.
    pub fn new(model: M, limits: Limits) -> Self {
        let bucket = |rate: Option<f64>| {
            rate.map(|rate| {
                assert!(rate > 0.0, "expected a limit above 0 per minute, found {rate}");
                Bucket::new(rate, limits.burst)
            })
        };
        let buckets = Buckets {
            requests: bucket(limits.requests_per_minute),
            tokens: bucket(limits.tokens_per_minute),
        };
        Self { model, buckets: Mutex::new(buckets), limits, estimate: Box::new(reserved_tokens) }
    }

    /// Reserves by another estimate of tokens, such as a tokenizer's.
    pub fn with_estimate(mut self, estimate: impl Fn(&ChatRequest) -> u64 + Send + Sync + 'static) -> Self {
        self.estimate = Box::new(estimate);
        self
    }

    /// The model below.
    pub fn inner(&self) -> &M {
        &self.model
    }

    fn buckets(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, wait: Duration, why: &str) -> Error {
        let message = format!(
            "the rate limit on this side would hold the call for {:.1} s, {why}; send less, or allow more",
            wait.as_secs_f64()
        );
        Error::new("limit.wait", ErrorCode::RateLimit, message)
            .with_provider(self.model.info().provider.clone())
            .with_retry_after(wait)
    }

    /// Takes a place and waits for it.
    async fn enter(&self, request: &ChatRequest, ctx: &CallContext) -> Result<Place<'_, M>> {
        let tokens =
            if self.limits.tokens_per_minute.is_some() { (self.estimate)(request) as f64 } else { 0.0 };
        let now = ctx.now();
        let wait = {
            let mut buckets = self.buckets();
            let Buckets { requests, tokens: bucket } = &mut *buckets;
            let wait = |bucket: &mut Option<Bucket>, amount| {
                bucket.as_mut().map_or(Duration::ZERO, |b| b.wait(amount, now))
            };
            let wait = wait(requests, 1.0).max(wait(bucket, tokens));
            if self.limits.max_wait.is_some_and(|max| wait > max) {
                return Err(self.refused(wait, "longer than the layer allows"));
            }
            if ctx.deadline.is_some_and(|d| d.saturating_since(now) <= wait && !wait.is_zero()) {
                return Err(self.refused(wait, "longer than its deadline"));
            }
            if let Some(b) = requests {
                b.take(1.0);
            }
            if let Some(b) = bucket {
                b.take(tokens);
            }
            wait
        };
        let mut place = Place { layer: self, tokens, used: Some(Used::Nothing) };
        if !wait.is_zero() {
            ctx.emit(|| CallEvent::Held { at: now, wait });
            let sleep = ctx.clock.sleep_until(now + wait);
            let waited = async {
                sleep.await;
                Ok(())
            };
            ctx.run("limit.wait", waited)
                .await
                .map_err(|e| e.with_provider(self.model.info().provider.clone()))?;
        }
        // From here on the request counts, whatever becomes of it.
        place.used = Some(Used::Request);
        Ok(place)
    }
}

/// What of a place was used.
#[derive(Clone, Copy)]
enum Used {
    /// The call never went.
    Nothing,
    /// It went; tokens as reserved.
    Request,
    /// It went; so many tokens.
    Tokens(f64),
}

/// A reservation; what was not used goes back when it is dropped.
struct Place<'l, M> {
    layer: &'l RateLimit<M>,
    tokens: f64,
    used: Option<Used>,
}

impl<M> Place<'_, M> {
    fn settle<T>(mut self, result: &Result<T>, usage: impl FnOnce(&T) -> Option<Usage>) {
        self.used = Some(match result {
            Ok(answer) => match usage(answer) {
                Some(Usage { input_tokens: Some(input), output_tokens, .. }) => {
                    Used::Tokens((input + output_tokens.unwrap_or(0)) as f64)
                }
                _ => Used::Request,
            },
            // Refused before anything was generated: vendors do not count the tokens.
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::Auth
                        | ErrorKind::RateLimited
                        | ErrorKind::InvalidRequest
                        | ErrorKind::Overloaded
                ) =>
            {
                Used::Tokens(0.0)
            }
            Err(_) => Used::Request,
        });
    }
}

impl<M> Drop for Place<'_, M> {
    fn drop(&mut self) {
        let mut buckets = self.layer.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let (requests, tokens) = match self.used {
            Some(Used::Nothing) => (1.0, self.tokens),
            Some(Used::Tokens(used)) => (0.0, self.tokens - used),
            Some(Used::Request) | None => (0.0, 0.0),
        };
        if let Some(b) = &mut buckets.requests {
            b.give_back(requests);
        }
        if let Some(b) = &mut buckets.tokens {
            b.give_back(tokens);
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for RateLimit<M> {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let place = self.enter(request, ctx).await?;
        let result = self.model.generate(request, ctx).await;
        place.settle(&result, |answer| answer.usage);
        result
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let place = self.enter(request, ctx).await?;
        let result = self.model.drive(request, ctx, sink).await;
        place.settle(&result, |outcome| outcome.usage);
        result
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    /// Not limited: a probe must say how the service is now.
    async fn check_health(&self, ctx: &CallContext) -> Health {
        self.model.check_health(ctx).await
    }
}
