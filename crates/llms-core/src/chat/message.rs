//! Messages of a conversation.

use serde::{Deserialize, Serialize};

use super::ToolCall;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The human, or the program in its place.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Content {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image; only for models whose capabilities include images.
    Image {
        /// Where the pixels are.
        #[serde(flatten)]
        data: ImageData,
    },
}

impl Content {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// Where the pixels of an image are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageData {
    /// An address the provider can fetch.
    Url(String),
    /// The bytes themselves.
    Inline {
        /// Such as `image/png`.
        media_type: String,
        /// The file, base64 encoded.
        base64: String,
    },
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum Message {
    /// Instructions to the model.
    System {
        /// The instructions.
        content: String,
    },
    /// What the human says.
    User {
        /// Text and images in order.
        content: Vec<Content>,
    },
    /// What the model said.
    Assistant {
        /// The answer text; empty when it only called tools.
        #[serde(default)]
        content: String,
        /// Tools it asked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall>,
    },
    /// What a tool answered.
    Tool {
        /// [`ToolCall::id`] of the call answered.
        call_id: String,
        /// [`ToolCall::name`] of the call answered (some wires want it).
        name: String,
        /// The result, text or JSON text.
        content: String,
        /// Whether the tool failed.
        #[serde(default)]
        is_error: bool,
    },
}

impl Message {
    /// A system message.
    pub fn system(content: impl Into<String>) -> Self {
        Self::System { content: content.into() }
    }

    /// A user message of one text part.
    pub fn user(content: impl Into<String>) -> Self {
        Self::User { content: vec![Content::text(content)] }
    }

    /// An assistant message without tool calls.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::Assistant { content: content.into(), tool_calls: Vec::new() }
    }

    /// A successful tool result.
    pub fn tool_result(call: &ToolCall, content: impl Into<String>) -> Self {
        Self::Tool {
            call_id: call.id.clone(),
            name: call.name.clone(),
            content: content.into(),
            is_error: false,
        }
    }

    /// Who speaks.
    pub fn role(&self) -> Role {
        match self {
            Self::System { .. } => Role::System,
            Self::User { .. } => Role::User,
            Self::Assistant { .. } => Role::Assistant,
            Self::Tool { .. } => Role::Tool,
        }
    }

    /// All text of the message, parts joined by nothing.
    pub fn text(&self) -> String {
        match self {
            Self::System { content } | Self::Assistant { content, .. } | Self::Tool { content, .. } => {
                content.clone()
            }
            Self::User { content } => content
                .iter()
                .filter_map(|c| if let Content::Text { text } = c { Some(text.as_str()) } else { None })
                .collect(),
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::user(text)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::user(text)
    }
}
