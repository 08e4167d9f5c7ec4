//! The body of `POST …/chat/completions`.

use std::borrow::Cow;

use llms_core::{
    Message, ToolCall, ToolDefinition,
    chat::{Content, DocumentData, ReasoningBlock, ResponseFormat, ToolChoice},
    config::ConfigErrors,
};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    config::TokenLimitField,
    request::{Asked, Fields, StreamOptions, arguments, file_data, file_name, image_url},
};

/// Adds what this API cannot say.
pub(crate) fn check(asked: Asked<'_>, errors: &mut ConfigErrors) {
    asked.reserve(&["messages", "model", "stream", "tool_choice", "tools"], errors);
    errors.check(
        asked.request.format.is_none() || !asked.options.extra.contains_key("response_format"),
        "options.extra.response_format",
        "expected none beside `format`",
        "both",
    );
    for (m, p, part) in asked.parts() {
        if let Content::Document { data: DocumentData::Url(url), .. } = part {
            let message = "expected a document with its content: chat completions take no addresses";
            errors.push(format!("messages[{m}].content[{p}]"), message, url);
        }
    }
    for (m, message) in asked.request.messages.iter().enumerate() {
        let Message::Assistant { reasoning, .. } = message else { continue };
        if reasoning.is_empty() {
            continue;
        }
        let sealed = reasoning.iter().any(|r| r.signature.is_some() || r.encrypted.is_some());
        if asked.is_vendor() || sealed {
            let message = "expected none: chat completions take no reasoning back, the responses API does";
            errors.push(format!("messages[{m}].reasoning"), message, format!("{} blocks", reasoning.len()));
        }
    }
}

/// The body.
pub(crate) struct Body<'a>(pub(crate) Asked<'a>);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Asked { config, request, options, stream } = self.0;
        let mut fields = Fields { map: s.serialize_map(None)?, extra: &options.extra };
        fields.put("model", config.wire_model())?;
        fields.put("messages", &WireMessages(&request.messages))?;
        if stream {
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
        fields.some("response_format", request.format.as_ref().map(Format::from).as_ref())?;
        if !request.tools.is_empty() {
            fields.put("tools", &WireTools(&request.tools))?;
            fields.some("tool_choice", choice(&request.tool_choice).as_ref())?;
        }
        fields.end(&[])
    }
}

/// The shape the answer must have.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    JsonObject,
    JsonSchema { json_schema: Schema<'a> },
}

#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
struct Schema<'a> {
    name: &'a str,
    schema: &'a Value,
    strict: bool,
}

impl<'a> From<&'a ResponseFormat> for Format<'a> {
    fn from(format: &'a ResponseFormat) -> Self {
        match format {
            ResponseFormat::JsonSchema { name, schema, strict } => {
                Self::JsonSchema { json_schema: Schema { name, schema, strict: *strict } }
            }
            _ => Self::JsonObject,
        }
    }
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
        /// Under the name that llama.cpp, SGLang, DeepSeek and vLLM read.
        #[serde(skip_serializing_if = "Option::is_none")]
        reasoning_content: Option<Cow<'a, str>>,
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
            Message::Assistant { content, tool_calls, reasoning } => Self::Assistant {
                content: (!content.is_empty() || tool_calls.is_empty()).then_some(content),
                reasoning_content: thoughts(reasoning),
                tool_calls: tool_calls.iter().map(WireCall::from).collect(),
            },
            Message::Tool { call_id, content, .. } => Self::Tool { tool_call_id: call_id, content },
        }
    }
}

/// The text of all blocks; `None` when there is none.
fn thoughts(blocks: &[ReasoningBlock]) -> Option<Cow<'_, str>> {
    match blocks {
        [] => None,
        [block] => Some(block.text.as_str().into()),
        blocks => Some(blocks.iter().map(|b| b.text.as_str()).collect::<String>().into()),
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
    File { file: File<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct File<'a> {
    filename: &'a str,
    file_data: String,
}

impl<'a> Part<'a> {
    fn of(content: &'a Content) -> Option<Self> {
        Some(match content {
            Content::Text { text } => Self::Text { text },
            Content::Image { data } => Self::ImageUrl { image_url: ImageUrl { url: image_url(data) } },
            Content::Document { name, data } => Self::File {
                file: File { filename: file_name(name.as_deref(), data), file_data: file_data(data)? },
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
        let arguments = arguments(&call.arguments);
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
