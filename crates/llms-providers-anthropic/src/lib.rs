//! Anthropic Messages, and every server that speaks the same, as a pure codec: request → bytes, frames → events. No
//! sockets and no clock: a [`Transport`](llms_core::wire::Transport) is handed in.
//!
//! ```text
//! ModelConfig + environment -> Config (config.rs)
//! ChatRequest -> Prepared (request.rs)          turns of alternating roles, max_tokens, tools, images
//! frames -> StreamEvent (stream.rs, wire.rs)    borrowed, partial parsing; whole bodies too
//! status + body -> Error (error.rs)             refusals and error objects inside a 200
//! headers, body -> reported values (hooks.rs)   under the keys of `hooks::KEYS`
//! ```
//! `codec.rs` puts the parts behind [`llms_core::wire::Codec`] and registers the provider. What the wire looks like,
//! with links to the vendor's documents, and what was decided where they leave a choice, stands in `WIRE.md`.
//!
//! Not here: batches, token counting, files, tools that the server runs (their answers are tolerated); retries; stamps
//! (the transport takes them).

mod codec;
pub mod config;
mod error;
pub mod hooks;
mod plain;
mod request;
mod stream;
mod wire;

pub use codec::{Codec, Factory, PROVIDER, model, register};
pub use config::Config;
pub use request::DEFAULT_MAX_TOKENS;
pub use stream::Decoder;
