//! Chat models around chat models: [`Retry`], [`RateLimit`], [`Cache`] and [`Router`]. Each implements the whole of
//! [`ChatModel`](llms_core::ChatModel), so they stack in any order; this order does what people expect:
//!
//! ```text
//! telemetry            sees what the user sees: all attempts of a call as one
//!   Cache              a hit costs nothing below
//!     Retry            attempts again what may succeed
//!       RateLimit      every attempt pays
//!         Router       chooses among providers; a retry may land elsewhere
//!           provider
//! ```
//!
//! With one [`Retry`] and one [`RateLimit`] *per provider* below the router, each provider keeps its own limits and the
//! router falls back only after its retries are spent. [`Retry`] below [`RateLimit`] would send attempts past the limit;
//! [`Cache`] below [`Retry`] works, and asks the cache again at each attempt.
//!
//! Layers wait on the clock of the call's context and honour its cancellation and deadline; they tell its observer of
//! every retry, wait, choice and replay ([`CallEvent`](llms_core::observe::CallEvent)). In a benchmark none of them is
//! used unless asked for: a retry hides a failure, a replay is no measurement.
//!
//! ```
//! use std::{num::NonZeroUsize, time::Duration};
//!
//! use llms_core::SharedModel;
//! use llms_layers::{Cache, CacheConfig, Limits, RateLimit, Retry, RetryPolicy};
//!
//! fn stacked(provider: SharedModel) -> impl llms_core::ChatModel {
//!     let limited = RateLimit::new(provider, Limits::per_minute(500.0).with_tokens_per_minute(200_000.0));
//!     let retried = Retry::new(limited, RetryPolicy::default());
//!     Cache::new(retried, CacheConfig::new(NonZeroUsize::MIN.saturating_add(999), Duration::from_secs(300)))
//! }
//! ```

mod cache;
mod delivered;
mod limit;
mod random;
mod retry;
mod router;
mod size;

pub use cache::{Cache, CacheConfig, CacheStats};
pub use limit::{Limits, RateLimit};
pub use retry::{Retry, RetryPolicy};
pub use router::{Choice, Complexity, Price, Route, Router, RouterConfig};
pub use size::{estimated_input_tokens, reserved_tokens};
