//! Messages → turns of content blocks, borrowed from the request.
//!
//! Part of `request.rs`. Consecutive messages of one speaker become one turn; reasoning goes back before text and calls.
//! What a block cannot say is refused by name; nothing is left out but texts that are empty.

use std::borrow::Cow;

use base64::Engine as _;
use llms_core::{
    Message, ToolCall,
    chat::{Content, DocumentData, ImageData, ReasoningBlock},
    config::ConfigErrors,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::cache::{CacheControl, Marks};

/// Images the API reads.
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Messages in a row by one speaker, as the API wants them: one turn.
#[derive(Serialize)]
pub(crate) struct Turn<'a> {
    role: &'static str,
    #[serde(serialize_with = "short_form")]
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
struct Block<'a> {
    #[serde(flatten)]
    kind: Kind<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Kind<'a> {
    Thinking {
        thinking: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        signature: Option<&'a str>,
    },
    RedactedThinking {
        data: &'a str,
    },
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a str>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: &'a str,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
    Text { media_type: &'static str, data: Cow<'a, str> },
}

/// A lone text without a mark as a plain string, everything else as blocks.
fn short_form<S: Serializer>(blocks: &[Block<'_>], s: S) -> Result<S::Ok, S::Error> {
    match blocks {
        [Block { kind: Kind::Text { text }, cache_control: None }] => s.serialize_str(text),
        blocks => blocks.serialize(s),
    }
}

/// What decides how messages are written, besides themselves.
pub(crate) struct Setting<'m> {
    pub(crate) marks: &'m Marks,
    /// Whether requests go to Anthropic itself, which takes no thinking without its signature.
    pub(crate) is_vendor: bool,
}

/// Messages by one speaker in a row are merged; tool results are the user's. The API takes neither empty texts nor
/// empty turns, so both are left out: they say nothing.
pub(crate) fn turns<'a>(
    messages: &'a [Message],
    setting: &Setting<'_>,
    errors: &mut ConfigErrors,
) -> Vec<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        let role = match message {
            Message::System { .. } => continue,
            Message::User { .. } | Message::Tool { .. } => "user",
            Message::Assistant { .. } => "assistant",
        };
        let mut blocks: Vec<Block<'a>> = kinds(i, message, setting, errors)
            .into_iter()
            .map(|kind| Block { kind, cache_control: None })
            .collect();
        if let Some((n, control)) = setting.marks.of_message(i) {
            match blocks.last_mut() {
                Some(Block { kind: Kind::Thinking { .. } | Kind::RedactedThinking { .. }, .. }) | None => {
                    let expected =
                        "expected a message that ends in something but reasoning: that carries no mark";
                    errors.push(format!("cache[{n}].at"), expected, format!("message {i}"));
                }
                Some(block) => block.cache_control = Some(control),
            }
        }
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(last) if last.role == role => last.content.extend(blocks),
            _ => turns.push(Turn { role, content: blocks }),
        }
    }
    turns
}

fn kinds<'a>(
    i: usize,
    message: &'a Message,
    setting: &Setting<'_>,
    errors: &mut ConfigErrors,
) -> Vec<Kind<'a>> {
    let said = |text: &'a str| (!text.is_empty()).then_some(Kind::Text { text });
    match message {
        Message::System { .. } => Vec::new(),
        Message::User { content } => content
            .iter()
            .enumerate()
            .filter_map(|(part, content)| {
                let field = format!("messages[{i}].content[{part}]");
                match content {
                    Content::Text { text } => said(text),
                    Content::Image { data } => image(&field, data, errors),
                    Content::Document { name, data } => document(&field, name.as_deref(), data, errors),
                    _ => {
                        errors.push(field, "expected text, an image or a document", "something else");
                        None
                    }
                }
            })
            .collect(),
        Message::Assistant { content, tool_calls, reasoning } => {
            let mut kinds = Vec::with_capacity(reasoning.len() + 1 + tool_calls.len());
            for (r, block) in reasoning.iter().enumerate() {
                match thinking(block, setting.is_vendor) {
                    Ok(kind) => kinds.push(kind),
                    Err(expected) => {
                        errors.push(format!("messages[{i}].reasoning[{r}]"), expected, "another");
                    }
                }
            }
            kinds.extend(said(content));
            for (c, call) in tool_calls.iter().enumerate() {
                match input(call) {
                    Some(input) => kinds.push(Kind::ToolUse { id: &call.id, name: &call.name, input }),
                    None => errors.push(
                        format!("messages[{i}].tool_calls[{c}].arguments"),
                        "expected a JSON object",
                        "something else",
                    ),
                }
            }
            kinds
        }
        Message::Tool { call_id, content, is_error, .. } => {
            vec![Kind::ToolResult { tool_use_id: call_id, content, is_error: *is_error }]
        }
    }
}

/// A block of reasoning as it came: what is encrypted is `redacted_thinking`, everything else `thinking`.
fn thinking(block: &ReasoningBlock, is_vendor: bool) -> Result<Kind<'_>, &'static str> {
    let ReasoningBlock { id, text, signature, encrypted } = block;
    let signature = signature.as_deref().filter(|s| !s.is_empty());
    match encrypted.as_deref() {
        _ if id.is_some() => {
            Err("expected a block of this API: they have no id, so this is another vendor's")
        }
        Some(_) if signature.is_some() || !text.is_empty() => {
            Err("expected a block that is either signed or encrypted: this is another vendor's")
        }
        Some(data) => Ok(Kind::RedactedThinking { data }),
        None if signature.is_none() && is_vendor => {
            Err("expected a block with its signature, as the API sent it; leave out what was not signed")
        }
        None => Ok(Kind::Thinking { thinking: text, signature }),
    }
}

fn image<'a>(field: &str, data: &'a ImageData, errors: &mut ConfigErrors) -> Option<Kind<'a>> {
    let source = match data {
        ImageData::Url(url) => Source::Url { url },
        ImageData::Inline { media_type, base64 } => {
            if !IMAGE_TYPES.contains(&media_type.as_str()) {
                let expected = format!("expected one of {}", IMAGE_TYPES.join(", "));
                errors.push(format!("{field}.media_type"), expected, media_type);
                return None;
            }
            Source::Base64 { media_type, data: base64 }
        }
    };
    Some(Kind::Image { source })
}

fn document<'a>(
    field: &str,
    name: Option<&'a str>,
    data: &'a DocumentData,
    errors: &mut ConfigErrors,
) -> Option<Kind<'a>> {
    const PLAIN: &str = "text/plain";
    let source = match data {
        DocumentData::Url(url) => Source::Url { url },
        DocumentData::Text(text) => Source::Text { media_type: PLAIN, data: Cow::Borrowed(text) },
        DocumentData::Inline { media_type, base64 } => match media_type.as_str() {
            "application/pdf" => Source::Base64 { media_type, data: base64 },
            // The wire has no plain text in base64.
            PLAIN => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(base64).ok();
                let Some(text) = bytes.and_then(|b| String::from_utf8(b).ok()) else {
                    errors.push(format!("{field}.base64"), "expected UTF-8 text in base64", "something else");
                    return None;
                };
                Source::Text { media_type: PLAIN, data: Cow::Owned(text) }
            }
            other => {
                let expected =
                    "expected application/pdf or text/plain; other files as text, or as an address";
                errors.push(format!("{field}.media_type"), expected, other);
                return None;
            }
        },
    };
    Some(Kind::Document { source, title: name.filter(|n| !n.is_empty()) })
}

/// The arguments as the object that the wire wants; an empty text counts as `{}`.
fn input(call: &ToolCall) -> Option<&RawValue> {
    let text = call.arguments.trim();
    let raw: &RawValue = serde_json::from_str(if text.is_empty() { "{}" } else { text }).ok()?;
    raw.get().starts_with('{').then_some(raw)
}
