//! How each protocol says the same things: reading what is asked, and writing answers, streams and refusals.
//!
//! Written from the vendors' documents and from recordings of their services, apart from the provider crates.

mod anthropic;
mod bedrock;
mod limits;
mod ollama;
mod openai;
mod reading;

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

use super::{config::Protocol, read::Request, route::Target};
use crate::{
    ask::{Ask, Family},
    bucket::Shortage,
    pace::Times,
    plan::{Part, Plan, Step},
    prefix::Prefix,
    profile::{FaultKind, Profile},
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

    /// Adds a sentence to the message of an error, wherever the vendor puts it.
    pub(super) fn saying(mut self, sentence: &str) -> Self {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        for place in ["/error/message", "/message", "/error"] {
            if let Some(Value::String(message)) = body.pointer_mut(place) {
                *message = format!("{}. {sentence}", message.trim_end_matches('.'));
                self.body = body.to_string().into_bytes();
                break;
            }
        }
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// When a refused client may come again, as far as the refusal knows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Again {
    pub after: Option<Duration>,
    /// The rate limit that is used up.
    pub short: Option<Shortage>,
}

/// What the words of an answer depend on.
pub(super) struct Scene<'a> {
    pub request_id: &'a str,
    pub key: u64,
    pub ask: &'a Ask,
    pub plan: &'a Plan,
    /// When it really came, as far as it has.
    pub times: &'a Times,
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
        self.queued.as_nanos() as u64 + self.times.end()
    }

    /// Arrival to the head, in ms.
    fn processing_ms(&self) -> u64 {
        (self.queued.as_nanos() as u64 + self.times.head()) / 1_000_000
    }

    fn first_at(&self) -> u64 {
        self.times.first()
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

    /// Whether answers can call tools.
    pub(super) fn knows_tools(self) -> bool {
        !matches!(self, Self::Completions | Self::OllamaGenerate)
    }

    /// Whether an answer to `ask` can show reasoning: neither the first completions nor Titan's and Llama's bodies do.
    pub(super) fn knows_reasoning(self, ask: &Ask) -> bool {
        self != Self::Completions && !matches!(ask.family, Some(Family::Titan | Family::Llama))
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
        let (path_model, stream) = (model.clone().unwrap_or_default(), target.stream == Some(true));
        let asked = match self {
            Self::Chat => openai::chat::parse(&body, model),
            Self::Responses => openai::responses::parse(&body),
            Self::Completions => openai::completions::parse(&body, model),
            Self::Messages => anthropic::parse(&body, request),
            Self::Converse => bedrock::converse::parse(&body, path_model, stream),
            Self::Invoke => bedrock::invoke::parse(&body, path_model, stream, request),
            Self::OllamaChat => ollama::parse(&body, true),
            Self::OllamaGenerate => ollama::parse(&body, false),
        };
        asked.map(|ask| Ask { prefix: Prefix::of_body(&body), ..ask })
    }

    /// A refusal of this kind, in the vendor's words.
    pub(super) fn refusal(self, kind: FaultKind, model: &str, request_id: &str, again: Again) -> Reply {
        let reply = self.protocol().refusal(kind, model, request_id, again);
        if self == Self::Responses && kind == FaultKind::NotFound {
            return openai::responses::no_model(model, reply);
        }
        reply
    }

    /// A whole answer.
    pub(super) fn whole(self, scene: &Scene<'_>, wall: OffsetDateTime) -> Reply {
        match self {
            Self::Chat => openai::chat::whole(scene),
            Self::Responses => openai::responses::whole(scene),
            Self::Completions => openai::completions::whole(scene),
            Self::Messages => anthropic::whole(scene),
            Self::Converse => bedrock::converse::whole(scene),
            Self::Invoke => bedrock::invoke::whole(scene),
            Self::OllamaChat => ollama::whole(scene, wall, true),
            Self::OllamaGenerate => ollama::whole(scene, wall, false),
        }
    }

    /// The head of a streamed answer and who says its body.
    pub(super) fn stream(self, scene: &Scene<'_>) -> (Reply, Box<dyn Speaker>) {
        match self {
            Self::Chat => (openai::head(scene), Box::new(openai::chat::Chat::new(scene))),
            Self::Responses => (openai::head(scene), Box::new(openai::responses::Responses::new(scene))),
            Self::Completions => {
                (openai::head(scene), Box::new(openai::completions::Completions::new(scene)))
            }
            Self::Messages => (anthropic::head(scene), Box::new(anthropic::Anthropic::default())),
            Self::Converse => (bedrock::head(scene), Box::new(bedrock::converse::Converse::default())),
            Self::Invoke => (bedrock::invoke::head(scene), bedrock::invoke::speaker(scene.ask.family)),
            Self::OllamaChat => (ollama::head(scene), Box::new(ollama::Ollama::new(true))),
            Self::OllamaGenerate => (ollama::head(scene), Box::new(ollama::Ollama::new(false))),
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
    pub(super) fn refusal(self, kind: FaultKind, model: &str, request_id: &str, again: Again) -> Reply {
        let mut reply = match self {
            Self::OpenAi => openai::refusal(kind, model, request_id, again),
            Self::Anthropic => anthropic::refusal(kind, model, request_id, again),
            Self::Bedrock => bedrock::refusal(kind, request_id),
            Self::Ollama => ollama::refusal(kind, model, request_id),
        };
        if let Some(wait) = again.after {
            reply.headers.push(("retry-after", (wait.as_secs_f64().ceil() as u64).to_string()));
        }
        reply
    }
}

pub(super) use limits::Limits;

pub(super) use anthropic::count as count_tokens;
pub(super) use bedrock::count as bedrock_count;
pub(super) use ollama::loading as ollama_loading;
pub(super) use openai::azure_words;
pub(super) use openai::responses::{count as input_tokens, not_found as no_response};

/// A piece of an answer that protocols announce and close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    Call(usize),
}

impl Block {
    fn of(part: Part) -> Self {
        match part {
            Part::Reasoning => Self::Thinking,
            Part::Text => Self::Text,
            Part::Open(i) | Part::Arguments(i) => Self::Call(i),
        }
    }
}

/// Padding as vendors add it, so that the size of a chunk does not tell its text.
fn padding(chunk: usize) -> &'static [u8] {
    const PAD: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    &PAD[chunk % 16..][..=chunk * 7 % 16]
}

/// Stands for what a vendor encrypts: made up, longer than what it hides.
fn sealed(key: u64) -> String {
    STANDARD.encode(format!("simulated, not a secret {key:016x}{key:016x}"))
}

/// Appends a JSON string, quotes included.
fn quote(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("invariant: writing to memory does not fail");
}

/// A quoted JSON string.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
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
