//! [`ChatRequest`] → bytes of `POST /api/chat`, borrowed from the request until they are written.
//!
//! Sampling settings stand in `options`, where Ollama looks for them; beside it stand the few fields of [`TOP_LEVEL`].
//! What the wire cannot say is refused by name, never left out: a forced tool, images by address.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use llms_core::{
    ChatOptions, ChatRequest, ErrorCode, Message, Result, ToolCall, ToolDefinition,
    chat::{Content, ImageData, ToolChoice},
    config::{ConfigErrors, validate_options},
    wire::{Delivery, Prepared},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    config::{Config, capabilities},
    error,
};

const OP: &str = "ollama.encode";

/// Extra fields that stand beside `options`; every other one is taken for a model parameter and stands inside it
/// (`num_ctx`, `min_p`, `repeat_penalty`, …).
pub const TOP_LEVEL: &[&str] =
    &["format", "keep_alive", "logprobs", "shift", "think", "top_logprobs", "truncate"];

/// Fields of `extra` that would change what is asked for, or how the answer must be read.
const RESERVED: [&str; 4] = ["messages", "model", "stream", "tools"];

/// The request as bytes.
///
/// # Errors
/// `invalid_request` naming every field that the wire cannot say.
pub(crate) fn encode(config: &Config, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
    let options = request.options.clone().or(&config.options);
    let mut errors = ConfigErrors::default();
    validate_options(&options, &capabilities(), &mut errors);
    check_options(&options, &mut errors);
    check_tools(request, &mut errors);
    let messages = messages(&request.messages, &mut errors);
    errors.check(!messages.is_empty(), "messages", "expected at least one message", "none");
    errors
        .into_result()
        .map_err(|e| error::new(OP, ErrorCode::InvalidRequest, e.to_string()).with_source(e))?;
    let stream = delivery == Delivery::Stream;
    let body = Body { model: &config.model, messages, request, options: &options, stream };
    let body = serde_json::to_vec(&body).map_err(|e| {
        error::new(OP, ErrorCode::InvalidRequest, format!("the request cannot be written as JSON: {e}"))
    })?;
    let accept = if stream { "application/x-ndjson" } else { "application/json" };
    let mut headers = config.headers.clone();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    Ok(Prepared { method: Method::POST, uri: config.chat.clone(), headers, body: Bytes::from(body) })
}

/// Names every option that cannot be said.
pub(crate) fn check_options(options: &ChatOptions, errors: &mut ConfigErrors) {
    errors.check(
        options.seed.is_none_or(|s| i64::try_from(s).is_ok()),
        "options.seed",
        "expected at most 9223372036854775807: Ollama keeps it in 64 signed bits",
        options.seed.unwrap_or_default(),
    );
    for field in RESERVED {
        errors.check(
            !options.extra.contains_key(field),
            &format!("options.extra.{field}"),
            "expected a field that the request does not set itself",
            field,
        );
    }
    if let Some(value) = options.extra.get("options") {
        errors.check(value.is_object(), "options.extra.options", "expected an object", value);
    }
}

fn check_tools(request: &ChatRequest, errors: &mut ConfigErrors) {
    let forced = match &request.tool_choice {
        ToolChoice::Required if !request.tools.is_empty() => Some("required"),
        ToolChoice::Tool(name) => Some(name.as_str()),
        _ => None,
    };
    if let Some(found) = forced {
        errors.push("tool_choice", "expected auto or none: Ollama cannot be made to call a tool", found);
    }
}

struct Body<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    request: &'a ChatRequest,
    options: &'a ChatOptions,
    stream: bool,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("model", self.model)?;
        map.serialize_entry("messages", &self.messages)?;
        // Said always: the server's default is to stream.
        map.serialize_entry("stream", &self.stream)?;
        // `none` is said by offering nothing: the model cannot call what it does not know.
        if !self.request.tools.is_empty() && self.request.tool_choice != ToolChoice::None {
            let tools: Vec<Tool<'_>> = self.request.tools.iter().map(Tool::from).collect();
            map.serialize_entry("tools", &tools)?;
        }
        let inner = Options(self.options);
        if !inner.is_empty() {
            map.serialize_entry("options", &inner)?;
        }
        for field in TOP_LEVEL {
            if let Some(value) = self.options.extra.get(*field) {
                map.serialize_entry(field, value)?;
            }
        }
        map.end()
    }
}

/// The inner `options`. A field given in `extra` stands in the place of ours, not beside it; a field given there
/// directly stands in the place of one in `extra.options`.
struct Options<'a>(&'a ChatOptions);

impl<'a> Options<'a> {
    /// Extra fields that belong here.
    fn direct(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let apart = |name: &str| name == "options" || TOP_LEVEL.contains(&name);
        self.0.extra.iter().filter(move |(name, _)| !apart(name))
    }

    /// Fields of an extra `options` object.
    fn nested(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.0.extra.get("options").and_then(Value::as_object).into_iter().flat_map(Map::iter)
    }

    fn is_empty(&self) -> bool {
        let o = self.0;
        o.temperature.is_none()
            && o.top_p.is_none()
            && o.top_k.is_none()
            && o.max_tokens.is_none()
            && o.stop_sequences.is_empty()
            && o.frequency_penalty.is_none()
            && o.presence_penalty.is_none()
            && o.seed.is_none()
            && self.direct().next().is_none()
            && self.nested().next().is_none()
    }

    fn is_extra(&self, name: &str) -> bool {
        self.0.extra.contains_key(name) || self.nested().any(|(n, _)| n == name)
    }

    fn put<M: SerializeMap, T: Serialize>(
        &self,
        map: &mut M,
        name: &str,
        value: Option<T>,
    ) -> Result<(), M::Error> {
        match value {
            Some(value) if !self.is_extra(name) => map.serialize_entry(name, &value),
            _ => Ok(()),
        }
    }
}

impl Serialize for Options<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let o = self.0;
        let mut map = s.serialize_map(None)?;
        self.put(&mut map, "temperature", o.temperature)?;
        self.put(&mut map, "top_p", o.top_p)?;
        self.put(&mut map, "top_k", o.top_k)?;
        self.put(&mut map, "num_predict", o.max_tokens)?;
        self.put(&mut map, "stop", Some(&o.stop_sequences).filter(|s| !s.is_empty()))?;
        self.put(&mut map, "frequency_penalty", o.frequency_penalty)?;
        self.put(&mut map, "presence_penalty", o.presence_penalty)?;
        self.put(&mut map, "seed", o.seed)?;
        for (name, value) in self.nested().filter(|(n, _)| !o.extra.contains_key(*n)) {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in self.direct() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum WireMessage<'a> {
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
struct WireCall<'a> {
    id: &'a str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a RawValue,
}

#[derive(Serialize)]
struct Tool<'a> {
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

fn messages<'a>(messages: &'a [Message], errors: &mut ConfigErrors) -> Vec<WireMessage<'a>> {
    messages.iter().enumerate().map(|(i, m)| message(i, m, errors)).collect()
}

fn message<'a>(i: usize, message: &'a Message, errors: &mut ConfigErrors) -> WireMessage<'a> {
    match message {
        Message::System { content } => WireMessage::System { content },
        Message::User { content } => {
            let (mut text, mut images) = (Cow::Borrowed(""), Vec::new());
            for (part, content) in content.iter().enumerate() {
                match content {
                    Content::Text { text: t } if text.is_empty() => text = Cow::Borrowed(t),
                    Content::Text { text: t } => text.to_mut().push_str(t),
                    Content::Image { data: ImageData::Inline { base64, .. } } => images.push(base64.as_str()),
                    _ => errors.push(
                        format!("messages[{i}].content[{part}]"),
                        "expected text or an image inline: Ollama fetches no addresses",
                        "something else",
                    ),
                }
            }
            WireMessage::User { content: text, images }
        }
        Message::Assistant { content, tool_calls, .. } => {
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
            WireMessage::Assistant { content, tool_calls: calls.collect() }
        }
        Message::Tool { call_id, name, content, .. } => {
            WireMessage::Tool { content, tool_name: name, tool_call_id: call_id }
        }
    }
}

/// The arguments as the object that the wire wants; an empty text counts as `{}`.
fn arguments(call: &ToolCall) -> Option<&RawValue> {
    let text = call.arguments.trim();
    let raw: &RawValue = serde_json::from_str(if text.is_empty() { "{}" } else { text }).ok()?;
    raw.get().starts_with('{').then_some(raw)
}
