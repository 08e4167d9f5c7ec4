//! OpenAI, Azure OpenAI and every server that speaks the same, as a pure codec: request → bytes, frames → events. No
//! sockets and no clock: a [`Transport`](llms_core::wire::Transport) is handed in.
//!
//! Three APIs ([`Api`]): chat completions, responses, text completions; chosen by `provider_specific.api` or by the
//! constructor. Alone, with the transport of `llms-transport`, it takes ten lines (`examples/alone.rs`):
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use llms_core::{CallContext, ChatModelExt as _, config::{ModelConfig, process_env}};
//! use llms_providers_openai::{Config, model};
//!
//! # async fn run() -> llms_core::Result<()> {
//! let transport = Arc::new(llms_transport::direct());
//! let config = Config::responses(&ModelConfig::new("openai", "gpt-5-mini"), &process_env)?;
//! println!("{}", model(config, transport).invoke("Say hello", &CallContext::new()).await?);
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//! ModelConfig + environment -> Config (config.rs, address.rs, api.rs)
//! ChatRequest -> Prepared (request.rs)          checks, images, documents; the body by the API's own request.rs
//! frames -> StreamEvent (stream.rs)             by the API's own stream.rs and wire.rs, borrowed, parsed in part
//!                        plain.rs, wire.rs      the shortcut for plain text; JSON that the APIs share
//! status + body -> Error (error.rs)             refusals and error objects inside a 200
//! headers, body -> reported values (hooks.rs)   under the keys of `hooks::KEYS`
//! ChatRequest -> number of tokens (tokens.rs)    asked of the service, responses only
//! ```
//! `codec.rs` puts the parts behind [`llms_core::wire::Codec`] and registers the provider. What the wire looks like,
//! with links to the vendors' documents, and what was decided where they are silent, stands in `WIRE.md`.
//!
//! Not here: embeddings, files, audio, background responses and stored conversations; retries; stamps (the transport
//! takes them).

mod address;
mod api;
mod chat;
mod codec;
mod completions;
mod config;
mod error;
pub mod hooks;
mod plain;
mod request;
mod responses;
mod stream;
mod tokens;
mod wire;

pub use address::{AZURE_HOSTS, DEFAULT_AZURE_API_VERSION, DEFAULT_BASE_URL, OPENAI_HOSTS, Service};
pub use api::Api;
pub use codec::{Codec, Factory, PROVIDER, model, register};
pub use config::{Config, SPECIFIC_KEYS, TokenLimitField};
pub use stream::Decoder;
pub use tokens::count_tokens;
