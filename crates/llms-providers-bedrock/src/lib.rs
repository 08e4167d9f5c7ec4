//! Amazon Bedrock through the AWS SDK, with any [`Transport`](llms_core::wire::Transport) as its HTTP client, so that
//! the same stopwatch stamps it as every other provider: Converse and ConverseStream by default, InvokeModel and
//! InvokeModelWithResponseStream with the models' own bodies by the setting `api = "invoke"`.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use llms_core::{CallContext, ChatModel, ChatRequest, Result, config::{ModelConfig, process_env}};
//! use llms_providers_bedrock::{Config, model};
//!
//! # async fn example() -> Result<()> {
//! // AWS_BEARER_TOKEN_BEDROCK, AWS's keys or a profile; the region from the environment, or:
//! let config = ModelConfig::new("bedrock", "us.amazon.nova-micro-v1:0").with_specific("region", "us-east-1");
//! let bedrock = model(Config::new(&config, &process_env)?, Arc::new(llms_transport::direct())).await?;
//! let answer = bedrock.generate(&ChatRequest::text("Say hello"), &CallContext::new()).await?;
//! println!("{}", answer.text);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! ModelConfig + environment -> Config (config.rs) -> SDK client (client.rs)   region, endpoint, credentials
//! ChatRequest -> Converse (request.rs, content.rs, extra.rs, document.rs), or a family's body (invoke/)
//! the SDK's HTTP -> Transport (wire.rs)      one Call (call.rs) travels along; frames.rs notes which read
//!                                            completed which event-stream frame
//! the SDK's events (reading.rs) -> StreamEvent (stream.rs, invoke/stream.rs), its whole answer -> ChatResponse
//!                                            (response.rs, invoke/answer.rs)
//! refusals, exceptions -> Error (error.rs, exception.rs)
//! reported values under the keys of `hooks::KEYS` (hooks.rs, guardrail.rs)
//! ```
//! `model.rs` puts the parts behind [`llms_core::ChatModel`] and registers the provider; `health.rs` probes. What the
//! wire looks like, with links to the vendor's documents, stands in `WIRE.md`. The SDK's own HTTP stack, retries,
//! timeouts and stalled-stream protection are off.
//!
//! Not here: bidirectional streams, batch and asynchronous inference, agents, ApplyGuardrail; retries; stamps (the
//! transport takes them).

mod call;
mod client;
pub mod config;
mod content;
mod document;
mod error;
mod exception;
mod extra;
mod frames;
mod guardrail;
mod health;
pub mod hooks;
mod invoke;
mod model;
mod reading;
mod request;
mod response;
mod stream;
mod wire;

pub use config::{Api, Config, PROVIDER};
pub use invoke::Family;
pub use model::{Factory, Model, model, register};
