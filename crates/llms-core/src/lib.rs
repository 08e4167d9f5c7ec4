//! The shared vocabulary of llms-bench: everything that crosses a crate border, and nothing else.
//!
//! Chat types and [`ChatModel`], errors, configuration and the provider registry; [`wire`], the seam between a
//! provider's format and the network, with the frame decoders; [`time`], the one clock; [`observe`], what a
//! call tells about itself; and, with feature `bench`, the entities and traits of benchmarking.
//!
//! No sockets, no vendor names. Time is read through [`time::Clock`] only.

pub mod chat;
pub mod config;
mod context;
pub mod error;
pub mod event;
pub mod health;
pub mod model;
pub mod observe;
pub mod registry;
pub mod time;
pub mod wire;

#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "conformance")]
pub mod conformance;

pub use chat::{
    ChatOptions, ChatRequest, ChatResponse, FinishReason, Message, ToolCall, ToolDefinition, Usage,
};
pub use context::CallContext;
pub use error::{CallPhase, Error, ErrorCode, ErrorKind, Result};
pub use event::{EventSink, Stamp, StreamEvent, TimedEvent};
pub use model::{Capabilities, ChatModel, ChatModelExt, EventStream, ModelInfo, Outcome, SharedModel};
