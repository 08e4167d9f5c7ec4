//! A [`ChatRequest`] as the bytes of `POST …/chat/completions`.
//!
//! Second step of the flow, before the clock starts. What the wire cannot say is refused by name, never left out
//! silently. Defaults of the configuration are merged here; fields of `extra` win over fields of ours.

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use llms_core::{
    ChatOptions, ChatRequest, ErrorCode, Message, Result, ToolCall, ToolDefinition,
    chat::{Content, ImageData, ToolChoice},
    config::{ConfigErrors, validate_options},
    wire::{Delivery, Prepared},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use crate::{
    address::Service,
    config::{Config, TokenLimitField},
    error,
};

const OP: &str = "openai.encode";

/// Fields of `extra` that would change what is asked for, or how the answer must be read.
const RESERVED: [&str; 5] = ["messages", "model", "stream", "tool_choice", "tools"];

/// The request as bytes.
///
/// # Errors
/// `invalid_request` naming the field that the wire cannot say.
pub(crate) fn encode(config: &Config, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
    let options = request.options.clone().or(&config.options);
    check(config, request, &options)?;
    let body = Body { config, request, options: &options, stream: delivery == Delivery::Stream };
    let body = serde_json::to_vec(&body).map_err(|e| {
        error::new(OP, ErrorCode::InvalidRequest, format!("the request cannot be written as JSON: {e}"))
    })?;
    let mut headers = config.headers.clone();
    let accept = match delivery {
        Delivery::Stream => "text/event-stream",
        Delivery::Whole => "application/json",
    };
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    Ok(Prepared { method: Method::POST, uri: config.chat.clone(), headers, body: Bytes::from(body) })
}

fn check(config: &Config, request: &ChatRequest, options: &ChatOptions) -> Result<()> {
    let mut errors = ConfigErrors::default();
    validate_options(options, &config.info().capabilities, &mut errors);
    errors.check(!request.messages.is_empty(), "messages", "expected at least one message", "none");
    errors.check(
        options.top_k.is_none() || config.service == Service::Compatible,
        "options.top_k",
        "expected none: OpenAI and Azure have no such option, compatible servers do",
        options.top_k.unwrap_or_default(),
    );
    for field in RESERVED {
        errors.check(
            !options.extra.contains_key(field),
            &format!("options.extra.{field}"),
            "expected a field that the request does not set itself",
            field,
        );
    }
    if let Some(n) = options.extra.get("n") {
        errors.check(*n == 1, "options.extra.n", "expected 1: one answer per request", n);
    }
    if let ToolChoice::Tool(name) = &request.tool_choice {
        errors.check(
            request.tools.iter().any(|t| t.name == *name),
            "tool_choice",
            "expected one of the tools offered",
            name,
        );
    }
    errors.into_result().map_err(|e| error::new(OP, ErrorCode::InvalidRequest, e.to_string()).with_source(e))
}

/// The body. Written by hand, so that a field given in `extra` stands in the place of ours, not beside it.
struct Body<'a> {
    config: &'a Config,
    request: &'a ChatRequest,
    options: &'a ChatOptions,
    stream: bool,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Self { config, request, options, stream } = self;
        let mut fields = Fields { map: s.serialize_map(None)?, extra: &options.extra };
        fields.put("model", &config.model)?;
        fields.put("messages", &WireMessages(&request.messages))?;
        if *stream {
            fields.put("stream", &true)?;
            if config.stream_usage {
                fields.put("stream_options", &StreamOptions { include_usage: true })?;
            }
        }
        fields.some("temperature", options.temperature.as_ref())?;
        fields.some("top_p", options.top_p.as_ref())?;
        fields.some("top_k", options.top_k.as_ref())?;
        let limit = match config.token_limit {
            TokenLimitField::MaxCompletionTokens => "max_completion_tokens",
            TokenLimitField::MaxTokens => "max_tokens",
        };
        fields.some(limit, options.max_tokens.as_ref())?;
        fields.some("stop", Some(&options.stop_sequences).filter(|s| !s.is_empty()))?;
        fields.some("frequency_penalty", options.frequency_penalty.as_ref())?;
        fields.some("presence_penalty", options.presence_penalty.as_ref())?;
        fields.some("seed", options.seed.as_ref())?;
        if !request.tools.is_empty() {
            fields.put("tools", &WireTools(&request.tools))?;
            fields.some("tool_choice", choice(&request.tool_choice).as_ref())?;
        }
        for (name, value) in &options.extra {
            fields.map.serialize_entry(name, value)?;
        }
        fields.map.end()
    }
}

struct Fields<'a, M> {
    map: M,
    extra: &'a std::collections::BTreeMap<String, Value>,
}

impl<M: SerializeMap> Fields<'_, M> {
    fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), M::Error> {
        if self.extra.contains_key(name) { Ok(()) } else { self.map.serialize_entry(name, value) }
    }

    fn some<T: Serialize + ?Sized>(&mut self, name: &str, value: Option<&T>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |v| self.put(name, v))
    }
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

struct WireMessages<'a>(&'a [Message]);

impl Serialize for WireMessages<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.0.iter().map(WireMessage::from))
    }
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum WireMessage<'a> {
    System {
        content: &'a str,
    },
    User {
        content: UserContent<'a>,
    },
    Assistant {
        /// `null` when it only called tools: left out, some servers refuse the message.
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<WireCall<'a>>,
    },
    /// The wire has no mark of failure: the content has to say it.
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

impl<'a> From<&'a Message> for WireMessage<'a> {
    fn from(message: &'a Message) -> Self {
        match message {
            Message::System { content } => Self::System { content },
            Message::User { content } => Self::User { content: content.as_slice().into() },
            Message::Assistant { content, tool_calls, .. } => Self::Assistant {
                content: (!content.is_empty() || tool_calls.is_empty()).then_some(content),
                tool_calls: tool_calls.iter().map(WireCall::from).collect(),
            },
            Message::Tool { call_id, content, .. } => Self::Tool { tool_call_id: call_id, content },
        }
    }
}

/// A plain string when there is one text: the form that every server knows.
#[derive(Serialize)]
#[serde(untagged)]
enum UserContent<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

impl<'a> From<&'a [Content]> for UserContent<'a> {
    fn from(content: &'a [Content]) -> Self {
        match content {
            [] => Self::Text(""),
            [Content::Text { text }] => Self::Text(text),
            parts => Self::Parts(parts.iter().filter_map(Part::of).collect()),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: std::borrow::Cow<'a, str>,
}

impl<'a> Part<'a> {
    fn of(content: &'a Content) -> Option<Self> {
        Some(match content {
            Content::Text { text } => Self::Text { text },
            Content::Image { data } => Self::ImageUrl {
                image_url: ImageUrl {
                    url: match data {
                        ImageData::Url(url) => url.into(),
                        ImageData::Inline { media_type, base64 } => {
                            format!("data:{media_type};base64,{base64}").into()
                        }
                    },
                },
            },
            _ => return None,
        })
    }
}

#[derive(Serialize)]
struct WireCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: WireFunction<'a>,
}

#[derive(Serialize)]
struct WireFunction<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> From<&'a ToolCall> for WireCall<'a> {
    fn from(call: &'a ToolCall) -> Self {
        // A call without arguments comes as an empty text; sent back as such, servers that parse it choke.
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        Self { id: &call.id, r#type: "function", function: WireFunction { name: &call.name, arguments } }
    }
}

struct WireTools<'a>(&'a [ToolDefinition]);

impl Serialize for WireTools<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
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
        s.collect_seq(self.0.iter().map(|t| Tool {
            r#type: "function",
            function: Definition { name: &t.name, description: &t.description, parameters: &t.parameters },
        }))
    }
}

/// `None` for the default, which is not sent.
fn choice(choice: &ToolChoice) -> Option<Value> {
    match choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some("none".into()),
        ToolChoice::Required => Some("required".into()),
        ToolChoice::Tool(name) => Some(serde_json::json!({"type": "function", "function": {"name": name}})),
    }
}
