//! How each protocol says the same things: reading what is asked, and writing answers, streams and refusals.
//!
//! Written from the vendors' documents and from recordings of their services, apart from the provider crates.

mod anthropic;
mod bedrock;
mod ollama;
mod openai;

use std::time::Duration;

use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use super::{config::Protocol, read::Request, route::Target};
use crate::{
    ask::{Ask, OfferedTool},
    plan::{Plan, Step},
    profile::{FaultKind, Profile},
    words,
};

/// A whole answer, or the head of a streamed one.
#[derive(Debug, Default)]
pub(super) struct Reply {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { status, content_type: "application/json", headers: Vec::new(), body }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// What the words of an answer depend on.
pub(super) struct Scene<'a> {
    pub request_id: &'a str,
    pub key: u64,
    pub ask: &'a Ask,
    pub plan: &'a Plan,
    pub profile: &'a Profile,
    /// Wall clock of the arrival.
    pub created: OffsetDateTime,
    /// From arrival to the start of service.
    pub queued: Duration,
    pub azure: bool,
}

impl Scene<'_> {
    /// Arrival to the end, in ns.
    fn total_ns(&self) -> u64 {
        self.queued.as_nanos() as u64 + self.plan.end_at
    }

    /// Arrival to the head, in ms.
    fn processing_ms(&self) -> u64 {
        (self.queued.as_nanos() as u64 + self.plan.head_at) / 1_000_000
    }

    fn first_at(&self) -> u64 {
        self.plan.steps.first().map_or(self.plan.end_at, |s| s.at)
    }
}

/// Says one streamed answer, piece by piece. A piece may be silence: what is said later includes it.
pub(super) trait Speaker: Send {
    /// What comes before the first token, where the protocol has such.
    fn preamble(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>);

    /// One chunk, due at `wall`.
    fn step(&mut self, scene: &Scene<'_>, step: &Step, wall: OffsetDateTime, out: &mut Vec<u8>);

    /// Everything from the last token to the terminal marker.
    fn finish(&mut self, scene: &Scene<'_>, wall: OffsetDateTime, out: &mut Vec<u8>);

    /// The error object of a stream that fails half-way.
    fn error(&mut self, scene: &Scene<'_>, out: &mut Vec<u8>);
}

/// What a request is asked in: a protocol may have several, each with shapes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// OpenAI's first completions.
    Completions,
    /// Anthropic's messages.
    Messages,
    /// Bedrock's Converse and ConverseStream.
    Converse,
    /// Bedrock's InvokeModel and its stream.
    Invoke,
    /// Ollama's chat.
    OllamaChat,
    /// Ollama's generate.
    OllamaGenerate,
}

impl Api {
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Chat | Self::Responses | Self::Completions => Protocol::OpenAi,
            Self::Messages => Protocol::Anthropic,
            Self::Converse | Self::Invoke => Protocol::Bedrock,
            Self::OllamaChat | Self::OllamaGenerate => Protocol::Ollama,
        }
    }

    /// Reads what is asked.
    ///
    /// # Errors
    /// The vendor's refusal of a request that makes no sense.
    pub(super) fn parse(self, request: &Request, target: &Target) -> Result<Ask, Reply> {
        let protocol = self.protocol();
        let model = target.model.clone();
        let body: Value = match serde_json::from_slice(&request.body) {
            Ok(body @ Value::Object(_)) => body,
            Ok(_) => return Err(protocol.invalid("the body is not a JSON object", None)),
            Err(e) => return Err(protocol.invalid(&format!("could not parse the JSON body: {e}"), None)),
        };
        match protocol {
            Protocol::OpenAi => openai::parse(&body, model),
            Protocol::Anthropic => anthropic::parse(&body),
            Protocol::Bedrock => {
                bedrock::parse(&body, model.unwrap_or_default(), target.stream == Some(true))
            }
            Protocol::Ollama => ollama::parse(&body),
        }
    }

    /// A refusal of this kind, in the vendor's words.
    pub(super) fn refusal(
        self,
        kind: FaultKind,
        model: &str,
        request_id: &str,
        retry_after: Option<Duration>,
    ) -> Reply {
        self.protocol().refusal(kind, model, request_id, retry_after)
    }

    /// A whole answer.
    pub(super) fn whole(self, scene: &Scene<'_>, wall: OffsetDateTime) -> Reply {
        match self.protocol() {
            Protocol::OpenAi => openai::whole(scene),
            Protocol::Anthropic => anthropic::whole(scene),
            Protocol::Bedrock => bedrock::whole(scene),
            Protocol::Ollama => ollama::whole(scene, wall),
        }
    }

    /// The head of a streamed answer and who says its body.
    pub(super) fn stream(self, scene: &Scene<'_>) -> (Reply, Box<dyn Speaker>) {
        match self.protocol() {
            Protocol::OpenAi => (openai::head(scene), Box::new(openai::OpenAi::new(scene))),
            Protocol::Anthropic => (anthropic::head(scene), Box::new(anthropic::Anthropic::default())),
            Protocol::Bedrock => (bedrock::head(scene), Box::new(bedrock::Bedrock::default())),
            Protocol::Ollama => (ollama::head(scene), Box::new(ollama::Ollama::default())),
        }
    }
}

impl Protocol {
    /// A refusal because of the request itself.
    pub(super) fn invalid(self, message: &str, field: Option<&str>) -> Reply {
        match self {
            Self::OpenAi => openai::invalid(message, field),
            Self::Anthropic => anthropic::invalid(message),
            Self::Bedrock => bedrock::invalid(message),
            Self::Ollama => ollama::invalid(message),
        }
    }

    /// A refusal of this kind, in the vendor's words.
    pub(super) fn refusal(
        self,
        kind: FaultKind,
        model: &str,
        request_id: &str,
        retry_after: Option<Duration>,
    ) -> Reply {
        let mut reply = match self {
            Self::OpenAi => openai::refusal(kind, model, request_id, retry_after),
            Self::Anthropic => anthropic::refusal(kind, model, request_id),
            Self::Bedrock => bedrock::refusal(kind, request_id),
            Self::Ollama => ollama::refusal(kind, model, request_id),
        };
        if let Some(wait) = retry_after {
            reply.headers.push(("retry-after", (wait.as_secs_f64().ceil() as u64).to_string()));
        }
        reply
    }
}

/// The answer to a count of tokens (Anthropic).
pub(super) fn count_tokens(body: &[u8], request_id: &str) -> Reply {
    match serde_json::from_slice::<Value>(body) {
        Ok(body) => anthropic::count(&body).with("request-id", request_id),
        Err(e) => anthropic::invalid(&format!("could not parse the JSON body: {e}")),
    }
}

/// Appends a JSON string, quotes included.
fn quote(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("invariant: writing to memory does not fail");
}

/// A quoted JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Bytes of text in a message content: a string, or parts with a `text`.
fn text_bytes(content: &Value) -> usize {
    match content {
        Value::String(text) => text.len(),
        Value::Array(parts) => parts.iter().map(text_bytes).sum(),
        Value::Object(part) => {
            ["text", "content"].iter().filter_map(|key| part.get(*key)).map(text_bytes).sum()
        }
        _ => 0,
    }
}

/// All text of a message content.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text_of).collect(),
        Value::Object(part) => part.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// What all protocols read alike: sizes, and the last user message.
fn read_messages(ask: &mut Ask, messages: &[Value], system: &Value) {
    let bytes: usize = messages.iter().map(|m| text_bytes(&m["content"])).sum();
    ask.input_tokens = words::count(bytes + text_bytes(system));
    let user = messages.iter().rfind(|m| m["role"] == "user");
    ask.prompt = user.map(|m| text_of(&m["content"])).unwrap_or_default();
    ask.answered = messages.last().is_some_and(|m| m["role"] == "tool");
}

/// Tools of a list, given where a tool has its name and schema.
fn read_tools(tools: &Value, name: &str, schema: &str) -> Vec<OfferedTool> {
    tools
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tool| {
            let name = tool.pointer(name)?.as_str()?.to_owned();
            Some(OfferedTool { name, schema: tool.pointer(schema).cloned().unwrap_or_default() })
        })
        .collect()
}

fn read_u32(value: &Value) -> Option<u32> {
    value.as_u64().map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

/// The `date` header.
pub(super) fn http_date(at: OffsetDateTime) -> String {
    at.format(format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    ))
    .unwrap_or_default()
}

/// Arguments of a call as JSON, for protocols that carry them parsed; an empty object when they were cut off.
fn parsed_arguments(plan: &Plan, call: usize) -> Value {
    serde_json::from_str(&plan.calls[call].arguments).unwrap_or_else(|_| json!({}))
}

/// Calls that are sent in full.
fn whole_calls(plan: &Plan) -> impl Iterator<Item = usize> {
    (0..plan.calls.len()).filter(|i| plan.call_is_whole(*i))
}
