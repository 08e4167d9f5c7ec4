//! [`ChatRequest`] → bytes of `POST /v1/messages` and of `POST /v1/messages/count_tokens`, borrowed from the request
//! until they are written.
//!
//! What the wire cannot say is refused by name, never left out: penalties and seed always, sampling parameters in API
//! versions that removed them, JSON without a schema. `max_tokens`, which the API demands, has a default.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use llms_core::{
    ChatOptions, ChatRequest, ErrorCode, Result, ToolDefinition,
    chat::{ResponseFormat, ToolChoice},
    config::{ConfigErrors, validate_options},
    wire::{Delivery, Prepared},
};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    cache::{CacheControl, Marks},
    config::{Config, NO_SAMPLING_SINCE, capabilities},
    error,
    messages::{Setting, Turn, turns},
};

/// `max_tokens` where neither request nor configuration sets it: the API has no default of its own.
pub const DEFAULT_MAX_TOKENS: u32 = 4096;

/// What the request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Answer(Delivery),
    /// How many tokens the prompt has.
    Count,
}

/// Fields of `extra` that change how many tokens a prompt has: the others are unknown to the counting endpoint.
const COUNTED: [&str; 10] = [
    "cache_control",
    "compaction",
    "context_management",
    "mcp_servers",
    "output_config",
    "speed",
    "system",
    "thinking",
    "tool_choice",
    "tools",
];

pub(crate) fn encode(config: &Config, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
    let accept = match delivery {
        Delivery::Stream => "text/event-stream",
        Delivery::Whole => "application/json",
    };
    let body = body(config, request, Purpose::Answer(delivery), "anthropic.encode")?;
    Ok(prepare(config, config.messages.clone(), accept, body))
}

/// The request that counts the tokens of a prompt.
pub(crate) fn encode_count(config: &Config, request: &ChatRequest) -> Result<Prepared> {
    let body = body(config, request, Purpose::Count, "anthropic.count_tokens")?;
    Ok(prepare(config, config.count_tokens.clone(), "application/json", body))
}

fn prepare(config: &Config, uri: http::Uri, accept: &'static str, body: Bytes) -> Prepared {
    let mut headers = config.headers.clone();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    Prepared { method: Method::POST, uri, headers, body }
}

fn body(config: &Config, request: &ChatRequest, purpose: Purpose, op: &'static str) -> Result<Bytes> {
    let options = request.options.clone().or(&config.options);
    let mut errors = ConfigErrors::default();
    validate_options(&options, &capabilities(), &mut errors);
    refuse_unsayable(&options, &config.api_version, &mut errors);
    refuse_reserved(request, &options, &mut errors);
    let marks = Marks::of(request, options.extra.contains_key("cache_control"), &mut errors);
    let body = Body::of(config, request, &options, &marks, purpose, &mut errors);
    errors
        .into_result()
        .map_err(|e| error::new(op, ErrorCode::InvalidRequest, e.to_string()).with_source(e))?;
    let body = serde_json::to_vec(&body).map_err(|e| {
        error::new(op, ErrorCode::InvalidRequest, format!("the request cannot be written as JSON: {e}"))
    })?;
    Ok(Bytes::from(body))
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
    let elsewhere = "effort is a part of output_config: set options.extra.output_config.effort";
    refuse("extra.effort", options.extra.contains_key("effort"), elsewhere);
}

/// Names extra fields that would change what is asked for, or how the answer must be read. Server tools, a system
/// prompt of blocks and the like can be given where the request has none of its own.
fn refuse_reserved(request: &ChatRequest, options: &ChatOptions, errors: &mut ConfigErrors) {
    for (field, reserved) in [
        ("messages", true),
        ("model", true),
        ("output_format", request.format.is_some()),
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
    system: Option<System>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(flatten)]
    extra: Extra<'a>,
}

/// The system prompt: a text, or the block that carries its mark.
#[derive(Serialize)]
#[serde(untagged)]
enum System {
    Text(String),
    Marked([SystemBlock; 1]),
}

#[derive(Serialize)]
struct SystemBlock {
    #[serde(rename = "type")]
    kind: &'static str,
    text: String,
    cache_control: CacheControl,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Choice<'a> {
    None,
    Any,
    Tool { name: &'a str },
}

/// The format of the answer, beside what `extra` has in the same field (`effort`).
#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(flatten)]
    more: Option<&'a Map<String, Value>>,
    format: Format<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    JsonSchema { schema: &'a Value },
}

impl<'a> OutputConfig<'a> {
    fn of(request: &'a ChatRequest, options: &'a ChatOptions, errors: &mut ConfigErrors) -> Option<Self> {
        let format = match request.format.as_ref()? {
            // Every schema is enforced here; the wire has neither a name nor a choice.
            ResponseFormat::JsonSchema { schema, .. } => Format::JsonSchema { schema },
            _ => {
                let expected = "expected a JSON schema: the Messages API has no other format";
                errors.push("format", expected, "another");
                return None;
            }
        };
        let given = options.extra.get("output_config");
        let more = given.and_then(Value::as_object);
        errors.check(
            given.is_none() || more.is_some_and(|m| !m.contains_key("format")),
            "options.extra.output_config",
            "expected an object without format: the request sets that itself",
            "another",
        );
        Some(Self { more, format })
    }
}

/// The fields of `extra` that go into this body as they are.
struct Extra<'a> {
    fields: &'a BTreeMap<String, Value>,
    purpose: Purpose,
    /// Whether `output_config` was written with ours.
    merged: bool,
}

impl Serialize for Extra<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let goes = |field: &str| {
            !(self.merged && field == "output_config")
                && (self.purpose != Purpose::Count || COUNTED.contains(&field))
        };
        s.collect_map(self.fields.iter().filter(|(field, _)| goes(field)))
    }
}

impl<'a> Body<'a> {
    fn of(
        config: &'a Config,
        request: &'a ChatRequest,
        options: &'a ChatOptions,
        marks: &Marks,
        purpose: Purpose,
        errors: &mut ConfigErrors,
    ) -> Self {
        let setting = Setting { marks, is_vendor: config.is_vendor };
        let messages = turns(&request.messages, &setting, errors);
        errors.check(!messages.is_empty(), "messages", "expected at least one besides the system's", "none");
        let mut tools: Vec<Tool<'_>> = request.tools.iter().map(Tool::from).collect();
        if let Some(last) = tools.last_mut() {
            last.cache_control = marks.tools;
        }
        let tool_choice = match &request.tool_choice {
            _ if tools.is_empty() && !options.extra.contains_key("tools") => None,
            ToolChoice::Auto => None,
            ToolChoice::None => Some(Choice::None),
            ToolChoice::Required => Some(Choice::Any),
            ToolChoice::Tool(name) => Some(Choice::Tool { name }),
        };
        let output_config = OutputConfig::of(request, options, errors);
        let answer = purpose != Purpose::Count;
        let ours = |field: &str| answer && !options.extra.contains_key(field);
        let max_tokens = options.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
        Self {
            model: &config.model,
            max_tokens: ours("max_tokens").then_some(max_tokens),
            system: request.system_text().filter(|s| !s.is_empty()).map(|s| System::of(s, marks.system)),
            messages,
            temperature: options.temperature.filter(|_| ours("temperature")),
            top_p: options.top_p.filter(|_| ours("top_p")),
            top_k: options.top_k.filter(|_| ours("top_k")),
            stop_sequences: if ours("stop_sequences") { &options.stop_sequences } else { &[] },
            tools,
            tool_choice,
            stream: purpose == Purpose::Answer(Delivery::Stream),
            extra: Extra { fields: &options.extra, purpose, merged: output_config.is_some() },
            output_config,
        }
    }
}

impl System {
    fn of(text: String, mark: Option<CacheControl>) -> Self {
        match mark {
            None => Self::Text(text),
            Some(cache_control) => Self::Marked([SystemBlock { kind: "text", text, cache_control }]),
        }
    }
}

impl<'a> From<&'a ToolDefinition> for Tool<'a> {
    fn from(tool: &'a ToolDefinition) -> Self {
        let ToolDefinition { name, description, parameters, .. } = tool;
        Self { name, description, input_schema: parameters, cache_control: None }
    }
}
