//! [`ChatRequest`] → bytes of `POST /v1/messages`, borrowed from the request until they are written.
//!
//! What the wire cannot say is refused by name, never left out: penalties and seed always, sampling parameters in API
//! versions that removed them. `max_tokens`, which the API demands, has a default.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use llms_core::{
    ChatOptions, ChatRequest, ErrorCode, Message, Result, ToolCall, ToolDefinition,
    chat::{Content, ImageData, ToolChoice},
    config::{ConfigErrors, validate_options},
    wire::{Delivery, Prepared},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

use crate::{
    config::{Config, NO_SAMPLING_SINCE, capabilities},
    error,
};

const OP: &str = "anthropic.encode";

/// `max_tokens` where neither request nor configuration sets it: the API has no default of its own.
pub const DEFAULT_MAX_TOKENS: u32 = 4096;

pub(crate) fn encode(config: &Config, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
    let options = request.options.clone().or(&config.options);
    let mut errors = ConfigErrors::default();
    validate_options(&options, &capabilities(), &mut errors);
    refuse_unsayable(&options, &config.api_version, &mut errors);
    refuse_reserved(request, &options, &mut errors);
    let body = Body::of(config, request, &options, delivery, &mut errors);
    errors
        .into_result()
        .map_err(|e| error::new(OP, ErrorCode::InvalidRequest, e.to_string()).with_source(e))?;
    let body = serde_json::to_vec(&body).map_err(|e| {
        error::new(OP, ErrorCode::InvalidRequest, format!("the request cannot be written as JSON: {e}"))
    })?;
    let accept = match delivery {
        Delivery::Stream => "text/event-stream",
        Delivery::Whole => "application/json",
    };
    let mut headers = config.headers.clone();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    Ok(Prepared { method: Method::POST, uri: config.messages.clone(), headers, body: Bytes::from(body) })
}

/// Names every option that this API, or this version of it, has not.
pub(crate) fn refuse_unsayable(options: &ChatOptions, api_version: &str, errors: &mut ConfigErrors) {
    let mut refuse = |field: &str, is_set: bool, why: &str| {
        errors.check(!is_set, &format!("options.{field}"), &format!("expected it unset: {why}"), "a value");
    };
    let never = "the Messages API has no such option";
    refuse("frequency_penalty", options.frequency_penalty.is_some(), never);
    refuse("presence_penalty", options.presence_penalty.is_some(), never);
    refuse("seed", options.seed.is_some(), never);
    if api_version >= NO_SAMPLING_SINCE {
        let gone = "API version 2026-10-21 removed it; leave it out or use api_version 2023-06-01";
        refuse("temperature", options.temperature.is_some(), gone);
        refuse("top_p", options.top_p.is_some(), gone);
        refuse("top_k", options.top_k.is_some(), gone);
    }
}

/// Names extra fields that would change what is asked for, or how the answer must be read. Server tools, a system
/// prompt of blocks and the like can be given where the request has none of its own.
fn refuse_reserved(request: &ChatRequest, options: &ChatOptions, errors: &mut ConfigErrors) {
    for (field, reserved) in [
        ("messages", true),
        ("model", true),
        ("stream", true),
        ("system", request.system_text().is_some()),
        ("tool_choice", request.tool_choice != ToolChoice::Auto),
        ("tools", !request.tools.is_empty()),
    ] {
        errors.check(
            !(reserved && options.extra.contains_key(field)),
            &format!("options.extra.{field}"),
            "expected a field that the request does not set itself",
            field,
        );
    }
    if let ToolChoice::Tool(name) = &request.tool_choice {
        errors.check(
            request.tools.iter().any(|t| t.name == *name),
            "tool_choice",
            "expected one of the tools offered",
            name,
        );
    }
}

/// The body. A field given in `extra` stands in the place of ours, not beside it.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Cow<'a, str>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    extra: &'a std::collections::BTreeMap<String, Value>,
}

/// Messages in a row by one speaker, as the API wants them: one turn.
#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    #[serde(serialize_with = "short_form")]
    content: Vec<Block<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
    },
    Image {
        source: Source<'a>,
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
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: &'a Value,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Choice<'a> {
    None,
    Any,
    Tool { name: &'a str },
}

/// A lone text as a plain string, everything else as blocks.
fn short_form<S: serde::Serializer>(blocks: &[Block<'_>], s: S) -> Result<S::Ok, S::Error> {
    match blocks {
        [Block::Text { text }] => s.serialize_str(text),
        blocks => blocks.serialize(s),
    }
}

impl<'a> Body<'a> {
    fn of(
        config: &'a Config,
        request: &'a ChatRequest,
        options: &'a ChatOptions,
        delivery: Delivery,
        errors: &mut ConfigErrors,
    ) -> Self {
        let messages = turns(&request.messages, errors);
        errors.check(!messages.is_empty(), "messages", "expected at least one besides the system's", "none");
        let tools: Vec<Tool<'_>> = request.tools.iter().map(Tool::from).collect();
        let tool_choice = match &request.tool_choice {
            _ if tools.is_empty() => None,
            ToolChoice::Auto => None,
            ToolChoice::None => Some(Choice::None),
            ToolChoice::Required => Some(Choice::Any),
            ToolChoice::Tool(name) => Some(Choice::Tool { name }),
        };
        let ours = |field: &str| !options.extra.contains_key(field);
        let max_tokens = options.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
        let stop: &[String] = if ours("stop_sequences") { &options.stop_sequences } else { &[] };
        Self {
            model: &config.model,
            max_tokens: ours("max_tokens").then_some(max_tokens),
            system: request.system_text().filter(|s| !s.is_empty()).map(Cow::Owned),
            messages,
            temperature: options.temperature.filter(|_| ours("temperature")),
            top_p: options.top_p.filter(|_| ours("top_p")),
            top_k: options.top_k.filter(|_| ours("top_k")),
            stop_sequences: stop,
            tools,
            tool_choice,
            stream: delivery == Delivery::Stream,
            extra: &options.extra,
        }
    }
}

impl<'a> From<&'a ToolDefinition> for Tool<'a> {
    fn from(tool: &'a ToolDefinition) -> Self {
        Self { name: &tool.name, description: &tool.description, input_schema: &tool.parameters }
    }
}

/// Messages by one speaker in a row are merged; tool results are the user's. The API takes neither empty texts nor
/// empty turns, so both are left out: they say nothing.
fn turns<'a>(messages: &'a [Message], errors: &mut ConfigErrors) -> Vec<Turn<'a>> {
    let mut turns: Vec<Turn<'a>> = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        let role = match message {
            Message::System { .. } => continue,
            Message::User { .. } | Message::Tool { .. } => "user",
            Message::Assistant { .. } => "assistant",
        };
        let blocks = blocks(i, message, errors);
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(last) if last.role == role => last.content.extend(blocks),
            _ => turns.push(Turn { role, content: blocks }),
        }
    }
    turns
}

fn blocks<'a>(i: usize, message: &'a Message, errors: &mut ConfigErrors) -> Vec<Block<'a>> {
    let text = |text: &'a str| (!text.is_empty()).then_some(Block::Text { text });
    match message {
        Message::System { .. } => Vec::new(),
        Message::User { content } => content
            .iter()
            .enumerate()
            .filter_map(|(part, content)| match content {
                Content::Text { text: t } => text(t),
                Content::Image { data } => Some(Block::Image { source: source(data) }),
                _ => {
                    let field = format!("messages[{i}].content[{part}]");
                    errors.push(field, "expected text or an image", "something else");
                    None
                }
            })
            .collect(),
        Message::Assistant { content, tool_calls, .. } => {
            let calls = tool_calls.iter().enumerate().filter_map(|(c, call)| {
                let input = input(call);
                if input.is_none() {
                    errors.push(
                        format!("messages[{i}].tool_calls[{c}].arguments"),
                        "expected a JSON object",
                        "something else",
                    );
                }
                Some(Block::ToolUse { id: &call.id, name: &call.name, input: input? })
            });
            text(content).into_iter().chain(calls).collect()
        }
        Message::Tool { call_id, content, is_error, .. } => {
            vec![Block::ToolResult { tool_use_id: call_id, content, is_error: *is_error }]
        }
    }
}

fn source(data: &ImageData) -> Source<'_> {
    match data {
        ImageData::Url(url) => Source::Url { url },
        ImageData::Inline { media_type, base64 } => Source::Base64 { media_type, data: base64 },
    }
}

/// The arguments as the object that the wire wants; an empty text counts as `{}`.
fn input(call: &ToolCall) -> Option<&RawValue> {
    let text = call.arguments.trim();
    let raw: &RawValue = serde_json::from_str(if text.is_empty() { "{}" } else { text }).ok()?;
    raw.get().starts_with('{').then_some(raw)
}
