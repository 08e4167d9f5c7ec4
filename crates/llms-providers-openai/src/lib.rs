//! OpenAI chat completions, and every server that speaks the same, as a pure codec: request → bytes, frames →
//! events. No sockets and no clock: a [`Transport`](llms_core::wire::Transport) is handed in.
//!
//! ```text
//! ModelConfig + environment -> Config (config.rs, address.rs)
//! ChatRequest -> Prepared (request.rs)          the body, the token-limit field, images, tools
//! frames -> StreamEvent (stream.rs, wire.rs)    borrowed, partial parsing; whole bodies too
//!                       calls.rs, plain.rs      pieces of tool calls told apart; the shortcut for plain text
//! status + body -> Error (error.rs)             refusals and error objects inside a 200
//! headers, body -> reported values (hooks.rs)   under the keys of `hooks::KEYS`
//! ```
//! `codec.rs` puts the parts behind [`llms_core::wire::Codec`] and registers the provider. What the wire looks like,
//! with links to the vendors' documents, and what was decided where they are silent, stands in `WIRE.md`.
//!
//! Not here: the responses API, legacy completions, embeddings; retries; stamps (the transport takes them).

mod address;
mod calls;
mod codec;
mod config;
mod error;
pub mod hooks;
mod plain;
mod request;
mod stream;
mod wire;

pub use address::{AZURE_HOSTS, DEFAULT_AZURE_API_VERSION, DEFAULT_BASE_URL, OPENAI_HOSTS, Service};
pub use codec::{Codec, Factory, PROVIDER, model, register};
pub use config::{Config, SPECIFIC_KEYS, TokenLimitField};
pub use stream::Decoder;
