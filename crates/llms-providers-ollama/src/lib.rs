//! Ollama's own `/api/chat` as a pure codec: request → bytes, lines → events. No sockets and no clock: a
//! [`Transport`](llms_core::wire::Transport) is handed in.
//!
//! ```text
//! ModelConfig + environment -> Config (config.rs, host.rs)   OLLAMA_HOST in all its spellings
//! ChatRequest -> Prepared (request.rs)          sampling settings in `options`, the rest beside it
//! lines -> StreamEvent (stream.rs, wire.rs)     borrowed, partial parsing; whole bodies too
//! status + body -> Error (error.rs)             refusals and error lines inside a 200
//! last line -> reported values (hooks.rs)       under the keys of `hooks::KEYS`
//! ```
//! `codec.rs` puts the parts behind [`llms_core::wire::Codec`] and registers the provider. What the wire looks like,
//! with links to the vendor's documents, and what was decided where they leave a choice, stands in `WIRE.md`.
//!
//! Not here: `/api/generate`, embeddings, pulling models (say `ollama pull`), Ollama's `/v1` (the OpenAI provider
//! speaks that); retries; stamps (the transport takes them).

mod codec;
pub mod config;
mod error;
pub mod hooks;
mod host;
mod plain;
mod request;
mod stream;
mod wire;

pub use codec::{Codec, Factory, PROVIDER, model, register};
pub use config::Config;
pub use request::TOP_LEVEL;
pub use stream::Decoder;
