//! The chat vocabulary: messages, tools, requests and responses, the same for every provider.
//!
//! Plain data with public fields. Providers translate it to their wire and back; nothing here knows a vendor.

mod message;
mod request;
mod response;
mod tool;

pub use message::{Content, DocumentData, ImageData, Message, ReasoningBlock, Role};
pub use request::{CacheAt, CacheBreakpoint, CacheTtl, ChatOptions, ChatRequest, ResponseFormat, ToolChoice};
pub use response::{ChatResponse, FinishReason, Usage};
pub use tool::{ToolCall, ToolDefinition};
