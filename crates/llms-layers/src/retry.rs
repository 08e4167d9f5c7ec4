//! Another attempt for what may succeed: exponential back-off with full jitter.
//!
//! "Full jitter" draws the wait uniformly from zero to the back-off: of the usual schemes it finishes the work of many
//! clients with the fewest calls (Brooker, *Exponential Backoff And Jitter*, AWS Architecture Blog, 2015).

use std::time::Duration;

use async_trait::async_trait;
use llms_core::{
    CallContext, ChatModel, ChatRequest, ChatResponse, Error, EventSink, EventStream, ModelInfo, Outcome,
    Result, Stamp, StreamEvent, health::Health, model::stream_of_drive, observe::CallEvent,
};

use crate::{delivered::Delivered, random::Random};

/// When and how long to wait between attempts.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts after the first; 0 retries nothing.
    pub max_retries: u32,
    /// Upper end of the first wait.
    pub base: Duration,
    /// Growth of the upper end from one wait to the next, at least 1.
    pub factor: f64,
    /// Largest upper end.
    pub cap: Duration,
    /// Longest wait that a server may ask for; an error that asks for more is returned at once.
    pub max_retry_after: Duration,
    /// Retry a stream that broke after generated content was delivered. The new attempt begins from the start: the
    /// consumer sees another `Start` event, and must drop what came before it.
    pub after_content: bool,
    /// Seed of the jitter; from the system when `None`.
    pub seed: Option<u64>,
}

impl Default for RetryPolicy {
    /// 3 retries, waits up to 1 s, 2 s, 4 s, …, at most 30 s; follows a server that asks for up to a minute; never after
    /// content.
    fn default() -> Self {
        Self {
            max_retries: 3,
            base: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(60),
            after_content: false,
            seed: None,
        }
    }
}

impl RetryPolicy {
    /// The upper end of the wait before attempt `attempt` (from 1): `min(cap, base · factor^(attempt − 1))`.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.base.as_secs_f64() * self.factor.max(1.0).powi(exponent);
        Duration::try_from_secs_f64(seconds.min(self.cap.as_secs_f64())).unwrap_or(self.cap)
    }

    /// The wait before attempt `attempt` with `unit` drawn from [0, 1): the jittered back-off, after what the server asks
    /// for. `None` when the server asks for more than is allowed.
    fn wait(&self, attempt: u32, unit: f64, error: &Error) -> Option<Duration> {
        let jittered = self.backoff(attempt).mul_f64(unit);
        match error.retry_after() {
            Some(asked) if asked > self.max_retry_after => None,
            // On top of what all clients were told, a part of the first back-off, so that they do not return as one.
            Some(asked) => Some(jittered.max(asked + self.base.min(self.cap).mul_f64(unit * 0.1))),
            None => Some(jittered),
        }
    }
}

/// Attempts again what may succeed.
///
/// Not retried: errors that cannot succeed ([`Error::is_retryable`]), streams that have delivered content (unless
/// asked), what the caller cancelled, and whatever the deadline leaves no time for; the last error is returned then,
/// with the number of attempts. Every further attempt is told to the observer as [`CallEvent::Retry`].
#[derive(Debug)]
pub struct Retry<M> {
    model: M,
    policy: RetryPolicy,
    random: Random,
}

impl<M: ChatModel> Retry<M> {
    /// `model` with another attempt as `policy` has it.
    pub fn new(model: M, policy: RetryPolicy) -> Self {
        Self { model, random: Random::new(policy.seed), policy }
    }

    /// The model below.
    pub fn inner(&self) -> &M {
        &self.model
    }

    /// Waits for the next attempt, or gives `error` back: the policy, the deadline or the caller wants no more.
    async fn pause(&self, attempt: u32, error: Error, retryable: bool, ctx: &CallContext) -> Result<()> {
        let spent = |error: Error| error.with_attempts(attempt);
        if !retryable || !error.is_retryable() || attempt > self.policy.max_retries {
            return Err(spent(error));
        }
        let Some(wait) = self.policy.wait(attempt, self.random.unit(), &error) else {
            return Err(spent(error));
        };
        let now = ctx.now();
        // An attempt that would begin after the deadline is none: what went wrong says more than "too late".
        if ctx.deadline.is_some_and(|d| now + wait >= d) {
            return Err(spent(error));
        }
        ctx.emit(|| CallEvent::Retry { at: now, attempt, wait, error: &error });
        let sleep = ctx.clock.sleep_until(now + wait);
        let waited = async {
            sleep.await;
            Ok(())
        };
        ctx.run("retry.wait", waited).await.map_err(|e| match error.provider() {
            Some(provider) => e.with_provider(provider.to_owned()),
            None => e,
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<M: ChatModel> ChatModel for Retry<M> {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    async fn generate(&self, request: &ChatRequest, ctx: &CallContext) -> Result<ChatResponse> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.model.generate(request, ctx).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.pause(attempt, error, true, ctx).await?,
            }
        }
    }

    async fn drive(
        &self,
        request: &ChatRequest,
        ctx: &CallContext,
        sink: &mut dyn EventSink,
    ) -> Result<Outcome> {
        let mut sink = Delivered::new(sink);
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.model.drive(request, ctx, &mut sink).await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => {
                    let retryable = !sink.content || self.policy.after_content;
                    self.pause(attempt, error, retryable, ctx).await?;
                    // A consumer that joins pieces must know that they begin anew.
                    if sink.content {
                        let start = StreamEvent::Start { id: None, model: None };
                        sink.sink.event(start, Stamp::user(ctx.now(), 0));
                    }
                }
            }
        }
    }

    fn stream<'a>(&'a self, request: &'a ChatRequest, ctx: &'a CallContext) -> EventStream<'a> {
        stream_of_drive(self, request, ctx)
    }

    /// One probe, not retried: health is how the service is now.
    async fn check_health(&self, ctx: &CallContext) -> Health {
        self.model.check_health(ctx).await
    }
}
