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
    /// A document the model reads (PDF, plain text, …); only for models whose capabilities include documents.
    Document {
        /// What the model may call it; some wires require one and get `document` then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Where its content is.
        #[serde(flatten)]
        data: DocumentData,
    },
}

impl Content {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// An image of these base64-encoded bytes.
    pub fn image(media_type: impl Into<String>, base64: impl Into<String>) -> Self {
        Self::Image { data: ImageData::Inline { media_type: media_type.into(), base64: base64.into() } }
    }

    /// A document of these base64-encoded bytes.
    pub fn document(
        name: impl Into<String>,
        media_type: impl Into<String>,
        base64: impl Into<String>,
    ) -> Self {
        Self::Document {
            name: Some(name.into()),
            data: DocumentData::Inline { media_type: media_type.into(), base64: base64.into() },
        }
    }
}

/// Where the content of a document is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentData {
    /// An address the provider can fetch.
    Url(String),
    /// The bytes themselves.
    Inline {
        /// Such as `application/pdf`.
        media_type: String,
        /// The file, base64 encoded.
        base64: String,
    },
    /// Plain text.
    Text(String),
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

/// A block of reasoning as the vendor wants it back in the next turn: opaque, passed on unchanged.
///
/// Vendors that sign or encrypt reasoning refuse a conversation with tool calls in which these blocks are missing or
/// changed. They are made by one vendor's model and mean nothing to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReasoningBlock {
    /// The vendor's id of the block, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The text shown; empty when the vendor hides it.
    pub text: String,
    /// The vendor's signature of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The content, encrypted: reasoning the vendor redacts or does not show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<String>,
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
        /// Reasoning to send back, in order, before the text; see [`ReasoningBlock`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reasoning: Vec<ReasoningBlock>,
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
        Self::Assistant { content: content.into(), tool_calls: Vec::new(), reasoning: Vec::new() }
    }

    /// An assistant message that calls tools, without text.
    pub fn tool_calls(calls: impl Into<Vec<ToolCall>>) -> Self {
        Self::Assistant { content: String::new(), tool_calls: calls.into(), reasoning: Vec::new() }
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
