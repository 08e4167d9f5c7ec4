//! Anthropic Messages, and every server that speaks the same, as a pure codec: request → bytes, frames → events. No
//! sockets and no clock: a [`Transport`](llms_core::wire::Transport) is handed in.
//!
//! ```text
//! ModelConfig + environment -> Config (config.rs)
//! ChatRequest -> Prepared (request.rs)          fields, tools, format; turns of blocks (messages.rs), marks (cache.rs)
//! frames -> StreamEvent (stream.rs, wire.rs)    borrowed, partial parsing; plain text by a shortcut (plain.rs)
//! whole body -> ChatResponse (whole.rs)
//! status + body -> Error (error.rs)             refusals and error objects inside a 200; waits (limits.rs)
//! headers, answer -> reported values (hooks.rs) under the keys of `hooks::KEYS`
//! prompt -> number of tokens (tokens.rs)        asked of the service
//! ```
//! `codec.rs` puts the parts behind [`llms_core::wire::Codec`] and registers the provider. What the wire looks like,
//! with links to the vendor's documents, and what was decided where they leave a choice, stands in `WIRE.md`.
//!
//! Not here: batches, files, tools that the server runs (their answers are tolerated); retries; stamps (the transport
//! takes them).
//!
//! # Alone
//!
//! With a transport this crate is a client (`examples/alone.rs`):
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use llms_core::{CallContext, ChatModel, ChatRequest, config::ModelConfig, config::process_env};
//!
//! # async fn alone() -> llms_core::Result<()> {
//! let config = ModelConfig::new("anthropic", "claude-haiku-4-5"); // the key comes from ANTHROPIC_API_KEY
//! let config = llms_providers_anthropic::Config::new(&config, &process_env)?;
//! let model = llms_providers_anthropic::model(config, Arc::new(llms_transport::direct()));
//! let answer = model.generate(&ChatRequest::text("Say hello."), &CallContext::new()).await?;
//! println!("{}", answer.text);
//! # Ok(())
//! # }
//! ```

mod cache;
mod codec;
pub mod config;
mod error;
pub mod hooks;
mod limits;
mod messages;
mod plain;
mod request;
mod stream;
mod tokens;
mod whole;
mod wire;

pub use cache::MAX_CACHE_BREAKPOINTS;
pub use codec::{Codec, Factory, PROVIDER, model, register};
pub use config::Config;
pub use request::DEFAULT_MAX_TOKENS;
pub use stream::Decoder;
pub use tokens::count_tokens;
