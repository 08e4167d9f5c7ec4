//! What a request asks for, as far as a simulated answer depends on it; the same for every protocol.

use llms_core::{
    ChatRequest, Message,
    chat::{Content, ToolChoice},
};
use serde_json::Value;

use crate::words;

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ask {
    pub model: String,
    pub stream: bool,
    /// Usage wanted inside a stream; protocols that always report it say `true`.
    pub stream_usage: bool,
    pub max_tokens: Option<u32>,
    pub input_tokens: u32,
    pub tools: Vec<OfferedTool>,
    pub choice: Choice,
    /// The last message is the result of a tool.
    pub answered: bool,
    /// Text of the last user message.
    pub prompt: String,
}

/// A tool offered, with the JSON Schema of its arguments.
#[derive(Clone, Debug)]
pub(crate) struct OfferedTool {
    pub name: String,
    pub schema: Value,
}

/// How tools may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    #[default]
    Free,
    Never,
    Some,
    This(String),
}

impl Ask {
    /// What an in-process request asks for.
    pub(crate) fn of_request(model: &str, request: &ChatRequest, stream: bool) -> Self {
        let mut bytes = 0;
        for message in &request.messages {
            bytes += match message {
                Message::System { content }
                | Message::Assistant { content, .. }
                | Message::Tool { content, .. } => content.len(),
                Message::User { content } => {
                    content.iter().map(|c| if let Content::Text { text } = c { text.len() } else { 0 }).sum()
                }
            };
        }
        Self {
            model: model.to_owned(),
            stream,
            stream_usage: true,
            max_tokens: request.options.max_tokens,
            input_tokens: words::count(bytes),
            tools: request
                .tools
                .iter()
                .map(|t| OfferedTool { name: t.name.clone(), schema: t.parameters.clone() })
                .collect(),
            choice: match &request.tool_choice {
                ToolChoice::Auto => Choice::Free,
                ToolChoice::None => Choice::Never,
                ToolChoice::Required => Choice::Some,
                ToolChoice::Tool(name) => Choice::This(name.clone()),
            },
            answered: matches!(request.messages.last(), Some(Message::Tool { .. })),
            prompt: request
                .messages
                .iter()
                .rfind(|m| matches!(m, Message::User { .. }))
                .map(Message::text)
                .unwrap_or_default(),
        }
    }
}
