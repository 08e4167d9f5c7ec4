//! The chat vocabulary: messages, tools, requests and responses, the same for every provider.
//!
//! Plain data with public fields. Providers translate it to their wire and back; nothing here knows a vendor.

mod message;
mod request;
mod response;
mod tool;

pub use message::{Content, ImageData, Message, Role};
pub use request::{ChatOptions, ChatRequest, ToolChoice};
pub use response::{ChatResponse, FinishReason, Usage};
pub use tool::{ToolCall, ToolDefinition};
