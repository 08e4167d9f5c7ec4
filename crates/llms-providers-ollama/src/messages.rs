//! A conversation as the messages of `POST /api/chat`, borrowed from the request until they are written.
//!
//! Part of [`request`](crate::request). What the wire cannot say is refused by name.

use std::borrow::Cow;

use llms_core::{
    Message, ToolCall, ToolDefinition,
    chat::{Content, ImageData, ReasoningBlock},
    config::ConfigErrors,
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

/// One message.
#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(crate) enum WireMessage<'a> {
    System {
        content: &'a str,
    },
    User {
        content: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        images: Vec<&'a str>,
    },
    Assistant {
        content: &'a str,
        #[serde(skip_serializing_if = "str::is_empty")]
        thinking: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'a>>,
    },
    /// By name for every server, by id for newer ones. The wire has no mark of failure: the content has to say it.
    Tool {
        content: &'a str,
        tool_name: &'a str,
        tool_call_id: &'a str,
    },
}

#[derive(Serialize)]
pub(crate) struct WireCall<'a> {
    id: &'a str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a RawValue,
}

/// A tool on offer.
#[derive(Serialize)]
pub(crate) struct Tool<'a> {
    r#type: &'static str,
    function: Definition<'a>,
}

#[derive(Serialize)]
struct Definition<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    parameters: &'a Value,
}

impl<'a> From<&'a ToolDefinition> for Tool<'a> {
    fn from(t: &'a ToolDefinition) -> Self {
        let function = Definition { name: &t.name, description: &t.description, parameters: &t.parameters };
        Self { r#type: "function", function }
    }
}

/// All messages; what cannot be said is added to `errors`.
pub(crate) fn messages<'a>(messages: &'a [Message], errors: &mut ConfigErrors) -> Vec<WireMessage<'a>> {
    messages.iter().enumerate().map(|(i, m)| message(i, m, errors)).collect()
}

fn message<'a>(i: usize, message: &'a Message, errors: &mut ConfigErrors) -> WireMessage<'a> {
    match message {
        Message::System { content } => WireMessage::System { content },
        Message::User { content } => {
            let (content, images) = parts(i, content, errors);
            WireMessage::User { content, images }
        }
        Message::Assistant { content, tool_calls, reasoning } => {
            let calls = tool_calls.iter().enumerate().filter_map(|(c, call)| {
                let arguments = arguments(call);
                if arguments.is_none() {
                    errors.push(
                        format!("messages[{i}].tool_calls[{c}].arguments"),
                        "expected a JSON object",
                        "something else",
                    );
                }
                Some(WireCall {
                    id: &call.id,
                    function: WireFunction { name: &call.name, arguments: arguments? },
                })
            });
            let tool_calls = calls.collect();
            WireMessage::Assistant { content, thinking: thinking(i, reasoning, errors), tool_calls }
        }
        Message::Tool { call_id, name, content, .. } => {
            WireMessage::Tool { content, tool_name: name, tool_call_id: call_id }
        }
    }
}

/// Text, joined by nothing, and images of the parts of user message `i`.
pub(crate) fn parts<'a>(
    i: usize,
    content: &'a [Content],
    errors: &mut ConfigErrors,
) -> (Cow<'a, str>, Vec<&'a str>) {
    let (mut text, mut images) = (Cow::Borrowed(""), Vec::new());
    for (part, content) in content.iter().enumerate() {
        let (expected, found) = match content {
            Content::Text { text: t } if text.is_empty() => {
                text = Cow::Borrowed(t.as_str());
                continue;
            }
            Content::Text { text: t } => {
                text.to_mut().push_str(t);
                continue;
            }
            Content::Image { data: ImageData::Inline { base64, .. } } => {
                images.push(base64.as_str());
                continue;
            }
            Content::Image { .. } => ("expected an image inline: Ollama fetches no addresses", "an address"),
            Content::Document { .. } => {
                ("expected text or an image: Ollama takes no documents; give their text", "a document")
            }
            _ => ("expected text or an image", "something else"),
        };
        errors.push(format!("messages[{i}].content[{part}]"), expected, found);
    }
    (text, images)
}

/// The thinking to send back, blocks joined by nothing.
fn thinking<'a>(i: usize, blocks: &'a [ReasoningBlock], errors: &mut ConfigErrors) -> Cow<'a, str> {
    let mut text = Cow::Borrowed("");
    for (b, block) in blocks.iter().enumerate() {
        for (field, value) in [("signature", &block.signature), ("encrypted", &block.encrypted)] {
            if value.is_some() {
                errors.push(
                    format!("messages[{i}].reasoning[{b}].{field}"),
                    "expected thinking as text: Ollama knows no other, and this block is another vendor's",
                    "some",
                );
            }
        }
        if text.is_empty() {
            text = Cow::Borrowed(block.text.as_str());
        } else {
            text.to_mut().push_str(&block.text);
        }
    }
    text
}

/// The arguments as the object that the wire wants; an empty text counts as `{}`.
fn arguments(call: &ToolCall) -> Option<&RawValue> {
    let text = call.arguments.trim();
    let raw: &RawValue = serde_json::from_str(if text.is_empty() { "{}" } else { text }).ok()?;
    raw.get().starts_with('{').then_some(raw)
}
