//! Ollama's own `/api/chat` and `/api/generate` as a pure codec: request → bytes, lines → events. No sockets and no
//! clock: a [`Transport`](llms_core::wire::Transport) is handed in.
//!
//! ```text
//! ModelConfig + environment -> Config (config.rs, settings.rs, place.rs, host.rs)   OLLAMA_HOST in all its spellings
//! ChatRequest -> Prepared (request.rs, messages.rs)   sampling settings in `options`, the rest beside it
//! lines -> StreamEvent (stream.rs, wire.rs)     borrowed, partial parsing; whole bodies too
//! status + body -> Error (error.rs)             refusals and error lines inside a 200
//! last line -> reported values (hooks.rs)       under the keys of `hooks::KEYS`
//! ```
//! `codec.rs` puts the parts behind [`llms_core::wire::Codec`], `model.rs` adds what takes more than one request (a probe
//! that looks closely, the models a server has) and registers the provider. [`Server`] asks for what is beside answers:
//! list, show, running models, load, unload, pull. What the wire looks like, with links to the vendor's documents, and
//! what was decided where they leave a choice, stands in `WIRE.md`.
//!
//! # Alone
//!
//! ```no_run
//! # async fn f(transport: std::sync::Arc<dyn llms_core::wire::Transport>) -> llms_core::Result<()> {
//! use llms_core::{CallContext, ChatModelExt, config::ModelConfig};
//!
//! // `transport`: one of the crate llms-transport, or your own. The address: OLLAMA_HOST, or this machine.
//! let config = ModelConfig::new("ollama", "llama3.2").with_specific("keep_alive", "10m");
//! let config = llms_providers_ollama::Config::new(&config, &|name| std::env::var(name).ok())?;
//! let model = llms_providers_ollama::model(config, transport);
//! println!("{}", model.invoke("Why is the sky blue?", &CallContext::new()).await?);
//! # Ok(()) }
//! ```
//! `examples/alone.rs` is the same as a program.
//!
//! Not here: embeddings, creating and deleting models, Ollama's `/v1` (the OpenAI provider speaks that); pulling a model
//! that is missing without being asked (call [`Server::pull`]); retries; stamps (the transport takes them).

mod codec;
pub mod config;
mod error;
pub mod hooks;
mod host;
mod messages;
mod model;
mod place;
mod plain;
mod request;
pub mod server;
pub mod settings;
mod stream;
mod wire;

pub use codec::{Codec, PROVIDER};
pub use config::Config;
pub use model::{Factory, Model, model, register};
pub use request::{GENERATE_ONLY, TOP_LEVEL};
pub use server::Server;
pub use settings::Api;
pub use stream::Decoder;
