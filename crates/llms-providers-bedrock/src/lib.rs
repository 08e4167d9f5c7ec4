//! Amazon Bedrock, Converse and ConverseStream, through the AWS SDK with any
//! [`Transport`](llms_core::wire::Transport) as its HTTP client, so that the same stopwatch stamps it as every other
//! provider.
//!
//! ```text
//! ModelConfig + environment -> Config (config.rs) -> SDK client (client.rs)   region, endpoint, credentials
//! ChatRequest -> the SDK's request (request.rs, extra.rs, document.rs)
//! the SDK's HTTP -> Transport (wire.rs)      one Call (call.rs) travels along; frames.rs notes which read
//!                                            completed which event-stream frame
//! the SDK's events -> StreamEvent (stream.rs), its whole answer -> ChatResponse (response.rs)
//! refusals, exceptions -> Error (error.rs)   reported values under the keys of `hooks::KEYS` (hooks.rs)
//! ```
//! `model.rs` puts the parts behind [`llms_core::ChatModel`] and registers the provider; `health.rs` probes. What the
//! wire looks like, with links to the vendor's documents, stands in `WIRE.md`. The SDK's own HTTP stack, retries,
//! timeouts and stalled-stream protection are off.
//!
//! Not here: InvokeModel and its bodies per model, batch and asynchronous inference, agents; retries; stamps (the
//! transport takes them).

mod call;
mod client;
pub mod config;
mod document;
mod error;
mod extra;
mod frames;
mod health;
pub mod hooks;
mod model;
mod request;
mod response;
mod stream;
mod wire;

pub use config::{Config, PROVIDER};
pub use model::{Factory, Model, model, register};
