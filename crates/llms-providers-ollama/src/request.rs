//! [`ChatRequest`] → bytes of `POST /api/chat` or `/api/generate`, borrowed from the request until they are written.
//!
//! Sampling settings stand in `options`, where Ollama looks for them; beside it stand the few fields of [`TOP_LEVEL`]
//! and [`GENERATE_ONLY`]. What the wire cannot say is refused by name, never left out: a forced tool, images by address,
//! documents, marks for caching, and parameters that Ollama would silently ignore.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use llms_core::{
    ChatOptions, ChatRequest, ErrorCode, Message, Result,
    chat::{ResponseFormat, ToolChoice},
    config::{ConfigErrors, validate_options},
    wire::{Delivery, Prepared},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::{
    config::{Config, capabilities},
    error,
    messages::{self, Tool, WireMessage},
    settings::{Api, MODEL_OPTIONS, check_keep_alive, check_think},
};

const OP: &str = "ollama.encode";

/// Extra fields that stand beside `options`, at both endpoints. Every other one is a model parameter and stands inside
/// ([`MODEL_OPTIONS`]); what stands in an extra `options` object is passed on unchecked.
pub const TOP_LEVEL: &[&str] =
    &["format", "keep_alive", "logprobs", "shift", "think", "top_logprobs", "truncate"];

/// Extra fields that only `/api/generate` knows: tokens of an earlier answer, a prompt without template, the text after
/// the gap to be filled, another template.
pub const GENERATE_ONLY: &[&str] = &["context", "raw", "suffix", "template"];

/// Fields of `extra` that would change what is asked for, or how the answer must be read.
const RESERVED: [&str; 8] =
    ["_debug_render_only", "images", "messages", "model", "prompt", "stream", "system", "tools"];

/// The request as bytes.
///
/// # Errors
/// `invalid_request` naming every field that the wire cannot say.
pub(crate) fn encode(config: &Config, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
    let options = request.options.clone().or(&config.options);
    let mut errors = ConfigErrors::default();
    validate_options(&options, &capabilities(config.api), &mut errors);
    check_options(config.api, &options, &mut errors);
    check_tools(config.api, request, &mut errors);
    errors.check(
        request.cache.is_empty(),
        "cache",
        "expected none: Ollama caches prompts by itself and takes no marks",
        format_args!("{} marks", request.cache.len()),
    );
    errors.check(
        matches!(request.format, None | Some(ResponseFormat::Json | ResponseFormat::JsonSchema { .. })),
        "format",
        "expected JSON or a JSON schema",
        "another",
    );
    errors.check(!request.messages.is_empty(), "messages", "expected at least one message", "none");
    let asked = match config.api {
        Api::Chat => Asked::Chat(messages::messages(&request.messages, &mut errors)),
        Api::Generate => prompt(request, &options, &mut errors),
    };
    errors
        .into_result()
        .map_err(|e| error::new(OP, ErrorCode::InvalidRequest, e.to_string()).with_source(e))?;
    let stream = delivery == Delivery::Stream;
    let body = Body { model: &config.model, asked, request, options: &options, stream };
    let body = serde_json::to_vec(&body).map_err(|e| {
        error::new(OP, ErrorCode::InvalidRequest, format!("the request cannot be written as JSON: {e}"))
    })?;
    let accept = if stream { "application/x-ndjson" } else { "application/json" };
    let mut headers = config.headers.clone();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    Ok(Prepared { method: Method::POST, uri: config.asked().clone(), headers, body: Bytes::from(body) })
}

/// Names every option that cannot be said.
pub(crate) fn check_options(api: Api, options: &ChatOptions, errors: &mut ConfigErrors) {
    errors.check(
        options.seed.is_none_or(|s| i64::try_from(s).is_ok()),
        "options.seed",
        "expected at most 9223372036854775807: Ollama keeps it in 64 signed bits",
        options.seed.unwrap_or_default(),
    );
    for (name, value) in &options.extra {
        let field = format!("options.extra.{name}");
        match name.as_str() {
            "options" => errors.check(value.is_object(), &field, "expected an object", value),
            "keep_alive" => check_keep_alive(&field, value, errors),
            "think" => check_think(&field, value, errors),
            name if RESERVED.contains(&name) => {
                errors.push(field, "expected a field that the request does not set itself", name);
            }
            name if GENERATE_ONLY.contains(&name) => errors.check(
                api == Api::Generate,
                &field,
                "expected provider_specific.api = \"generate\": /api/chat does not know it",
                name,
            ),
            name if TOP_LEVEL.contains(&name) || MODEL_OPTIONS.contains(&name) => {}
            name => errors.push(
                field,
                "expected a parameter that Ollama knows, since it ignores others silently; to send it all the same, \
                 put it into an `options` object",
                name,
            ),
        }
    }
}

fn check_tools(api: Api, request: &ChatRequest, errors: &mut ConfigErrors) {
    let forced = match &request.tool_choice {
        ToolChoice::Required if !request.tools.is_empty() => Some("required"),
        ToolChoice::Tool(name) => Some(name.as_str()),
        _ => None,
    };
    if let Some(found) = forced {
        errors.push("tool_choice", "expected auto or none: Ollama cannot be made to call a tool", found);
    }
    errors.check(
        api == Api::Chat || !offers_tools(request),
        "tools",
        "expected none: /api/generate offers no tools; use provider_specific.api = \"chat\"",
        format_args!("{} tools", request.tools.len()),
    );
}

/// `none` is said by offering nothing: the model cannot call what it does not know.
fn offers_tools(request: &ChatRequest) -> bool {
    !request.tools.is_empty() && request.tool_choice != ToolChoice::None
}

/// What is asked, in the words of the endpoint.
enum Asked<'a> {
    Chat(Vec<WireMessage<'a>>),
    Generate { prompt: Cow<'a, str>, system: Option<String>, images: Vec<&'a str> },
}

/// One prompt and one system text out of the messages.
fn prompt<'a>(request: &'a ChatRequest, options: &ChatOptions, errors: &mut ConfigErrors) -> Asked<'a> {
    let mut asked = None;
    for (i, message) in request.messages.iter().enumerate() {
        match message {
            Message::System { .. } => {}
            Message::User { content } if asked.is_none() => asked = Some(messages::parts(i, content, errors)),
            other => errors.push(
                format!("messages[{i}]"),
                "expected one user message beside system messages: /api/generate knows no history; use \
                 provider_specific.api = \"chat\"",
                match other {
                    Message::User { .. } => "another user message",
                    Message::Assistant { .. } => "an assistant message",
                    _ => "a tool result",
                },
            ),
        }
    }
    let (prompt, images) = asked.unwrap_or_default();
    // A server takes an empty prompt for the wish to load the model, and answers with nothing.
    errors.check(
        !prompt.is_empty() || request.messages.is_empty(),
        "messages",
        "expected a user message with text",
        "none",
    );
    let system = request.system_text();
    if options.extra.get("raw") == Some(&Value::Bool(true)) {
        for (field, there) in [
            ("messages", system.is_some()),
            ("options.extra.template", options.extra.contains_key("template")),
            ("options.extra.context", options.extra.contains_key("context")),
        ] {
            errors.check(
                !there,
                field,
                "expected a prompt only: with raw, Ollama takes no system text, template or context",
                "some",
            );
        }
    }
    Asked::Generate { prompt, system, images }
}

struct Body<'a> {
    model: &'a str,
    asked: Asked<'a>,
    request: &'a ChatRequest,
    options: &'a ChatOptions,
    stream: bool,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("model", self.model)?;
        match &self.asked {
            Asked::Chat(messages) => map.serialize_entry("messages", messages)?,
            Asked::Generate { prompt, system, images } => {
                map.serialize_entry("prompt", prompt)?;
                if let Some(system) = system {
                    map.serialize_entry("system", system)?;
                }
                if !images.is_empty() {
                    map.serialize_entry("images", images)?;
                }
            }
        }
        // Said always: the server's default is to stream.
        map.serialize_entry("stream", &self.stream)?;
        if offers_tools(self.request) {
            let tools: Vec<Tool<'_>> = self.request.tools.iter().map(Tool::from).collect();
            map.serialize_entry("tools", &tools)?;
        }
        let inner = Options(self.options);
        if !inner.is_empty() {
            map.serialize_entry("options", &inner)?;
        }
        let extra = &self.options.extra;
        match &self.request.format {
            Some(_) if extra.contains_key("format") => {}
            Some(ResponseFormat::JsonSchema { schema, .. }) => map.serialize_entry("format", schema)?,
            Some(ResponseFormat::Json) => map.serialize_entry("format", "json")?,
            _ => {}
        }
        for field in TOP_LEVEL.iter().chain(GENERATE_ONLY) {
            if let Some(value) = extra.get(*field) {
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
        let apart =
            |name: &str| name == "options" || TOP_LEVEL.contains(&name) || GENERATE_ONLY.contains(&name);
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
