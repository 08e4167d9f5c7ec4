//! Anthropic's Messages as Bedrock takes them: a reader of its own, small, so that this crate needs no other.
//!
//! Facts: <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>,
//! Anthropic's API reference, and recordings. Encoding stands in `anthropic/encode.rs`.

mod encode;

use std::borrow::Cow;

use llms_core::{
    Error, ErrorCode, EventSink, FinishReason, Result, Stamp, StreamEvent, ToolCall, Usage,
    chat::ReasoningBlock,
    event::{ReasoningSeal, ToolCallDelta},
    wire::{
        borrow::Text,
        refusal::{clean, redact},
    },
};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(super) use encode::{body, defaults};

use super::{
    answer::{Answer, count, parse},
    stream::Said,
};
use crate::{config::Config, hooks::Facts};

/// One event of a stream, in all its kinds.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(default)]
    index: u32,
    #[serde(borrow)]
    message: Option<Message<'a>>,
    #[serde(borrow)]
    content_block: Option<Block<'a>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<Counts>,
    #[serde(borrow)]
    error: Option<Problem<'a>>,
}

/// A whole answer, and what a stream begins with.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    content: Option<Vec<Block<'a>>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
    usage: Option<Counts>,
    #[serde(borrow)]
    error: Option<Problem<'a>>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    signature: Option<Text<'a>>,
    /// Of redacted thinking.
    #[serde(borrow)]
    data: Option<Text<'a>>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    signature: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Problem<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
}

/// Disjoint: the input excludes what was read from or written to the cache.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    cache_read_input_tokens: Option<f64>,
    cache_creation_input_tokens: Option<f64>,
    cache_creation: Option<CacheCreation>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_5m_input_tokens: Option<f64>,
    ephemeral_1h_input_tokens: Option<f64>,
}

impl Counts {
    fn merge(self, later: Self) -> Self {
        Self {
            input_tokens: later.input_tokens.or(self.input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            cache_read_input_tokens: later.cache_read_input_tokens.or(self.cache_read_input_tokens),
            cache_creation_input_tokens: later
                .cache_creation_input_tokens
                .or(self.cache_creation_input_tokens),
            cache_creation: later.cache_creation.or(self.cache_creation),
        }
    }

    /// As ours, whose input contains what came from the cache or went to it.
    fn usage(self, facts: &mut Facts) -> Usage {
        if let Some(c) = self.cache_creation {
            facts.cache_write_5m = count(c.ephemeral_5m_input_tokens);
            facts.cache_write_1h = count(c.ephemeral_1h_input_tokens);
        }
        let (read, write) = (count(self.cache_read_input_tokens), count(self.cache_creation_input_tokens));
        Usage {
            input_tokens: count(self.input_tokens).map(|n| n + read.unwrap_or(0) + write.unwrap_or(0)),
            output_tokens: count(self.output_tokens),
            cache_read_tokens: read,
            cache_write_tokens: write,
            ..Usage::default()
        }
    }
}

/// What must be remembered from event to event.
#[derive(Debug, Default)]
pub(super) struct Open {
    counts: Counts,
    calls: Vec<Call>,
    signature: String,
    encrypted: Option<String>,
}

/// A block of kind `tool_use`: its place in the answer is its place among the calls.
#[derive(Debug)]
struct Call {
    block: u32,
    /// Arguments that came with the start of the block, where no piece has replaced them.
    input: Option<String>,
}

impl Open {
    /// One event of a stream.
    pub(super) fn chunk(
        &mut self,
        config: &Config,
        json: &[u8],
        stamp: Stamp,
        sink: &mut dyn EventSink,
        said: &mut Said,
    ) -> Result<()> {
        let event: Event<'_> = parse(json, "an event of Anthropic's Messages")?;
        match &*event.kind {
            "content_block_delta" => {
                if let Some(delta) = event.delta {
                    self.delta(event.index, delta, stamp, sink);
                }
            }
            "message_start" => {
                let message = event.message;
                if let Some(counts) = message.as_ref().and_then(|m| m.usage) {
                    self.count(counts, said);
                }
                let (id, model) = message.map(|m| (m.id, m.model)).unwrap_or_default();
                let clean = |name: Option<Text<'_>>| name.map(|t| clean(&t, config.secrets()).into_owned());
                (said.id, said.model) = (clean(id), clean(model));
                said.start(stamp, sink);
            }
            "content_block_start" => {
                if let Some(block) = event.content_block {
                    self.block_start(event.index, block, stamp, sink);
                }
            }
            "content_block_stop" => self.block_stop(event.index, stamp, sink),
            "message_delta" => {
                if let Some(counts) = event.usage {
                    self.count(counts, said);
                }
                if let Some(reason) = event.delta.and_then(|d| d.stop_reason) {
                    said.finish = Some(finish(&reason));
                }
            }
            "message_stop" => said.end(),
            "error" => return Err(problem(config, event.error, ErrorCode::Stream)),
            // `ping`, and what is new.
            _ => {}
        }
        Ok(())
    }

    fn count(&mut self, counts: Counts, said: &mut Said) {
        self.counts = self.counts.merge(counts);
        let usage = self.counts.usage(&mut said.facts);
        said.usage(usage);
    }

    fn block_start(&mut self, index: u32, block: Block<'_>, stamp: Stamp, sink: &mut dyn EventSink) {
        match &*block.kind {
            "text" => push(block.text, StreamEvent::Text, stamp, sink),
            "thinking" => {
                push(block.thinking, StreamEvent::Reasoning, stamp, sink);
                self.signature.push_str(block.signature.as_deref().unwrap_or_default());
            }
            "redacted_thinking" => self.encrypted = block.data.map(|t| t.0.into_owned()),
            "tool_use" => {
                let delta = ToolCallDelta {
                    index: self.calls.len() as u32,
                    id: block.id.map(|t| t.0),
                    name: block.name.map(|t| t.0),
                    arguments: Cow::Borrowed(""),
                };
                let input = block.input.and_then(meaningful).map(str::to_owned);
                self.calls.push(Call { block: index, input });
                sink.event(StreamEvent::ToolCall(delta), stamp);
            }
            // Tools that the service runs itself, and their results.
            _ => {}
        }
    }

    fn delta(&mut self, index: u32, delta: Delta<'_>, stamp: Stamp, sink: &mut dyn EventSink) {
        match delta.kind.as_deref() {
            Some("text_delta") => push(delta.text, StreamEvent::Text, stamp, sink),
            Some("thinking_delta") => push(delta.thinking, StreamEvent::Reasoning, stamp, sink),
            Some("signature_delta") => {
                self.signature.push_str(delta.signature.as_deref().unwrap_or_default());
            }
            Some("input_json_delta") => {
                let Some(arguments) = delta.partial_json.filter(|t| !t.is_empty()) else { return };
                let Some(call) = self.calls.iter().position(|c| c.block == index) else { return };
                self.calls[call].input = None;
                let delta =
                    ToolCallDelta { index: call as u32, arguments: arguments.0, ..ToolCallDelta::default() };
                sink.event(StreamEvent::ToolCall(delta), stamp);
            }
            _ => {}
        }
    }

    fn block_stop(&mut self, index: u32, stamp: Stamp, sink: &mut dyn EventSink) {
        if !self.signature.is_empty() || self.encrypted.is_some() {
            let seal = ReasoningSeal {
                id: None,
                signature: (!self.signature.is_empty()).then_some(Cow::Borrowed(&self.signature)),
                encrypted: self.encrypted.take().map(Cow::Owned),
            };
            sink.event(StreamEvent::ReasoningSeal(seal), stamp);
            self.signature.clear();
        }
        let Some(call) = self.calls.iter().position(|c| c.block == index) else { return };
        if let Some(arguments) = self.calls[call].input.take() {
            let delta =
                ToolCallDelta { index: call as u32, arguments: arguments.into(), ..ToolCallDelta::default() };
            sink.event(StreamEvent::ToolCall(delta), stamp);
        }
    }
}

fn push<'a>(
    text: Option<Text<'a>>,
    event: fn(Cow<'a, str>) -> StreamEvent<'a>,
    stamp: Stamp,
    sink: &mut dyn EventSink,
) {
    if let Some(Text(text)) = text.filter(|t| !t.is_empty()) {
        sink.event(event(text), stamp);
    }
}

/// The JSON text of an input that says something: every call begins with `{}`.
fn meaningful(input: &RawValue) -> Option<&str> {
    let text = input.get();
    let empty = text == "null" || text.bytes().all(|b| b"{} \n\r\t".contains(&b));
    (!empty).then_some(text)
}

/// A whole answer.
pub(super) fn whole(config: &Config, body: &[u8]) -> Result<Answer> {
    let message: Message<'_> = parse(body, "a message of Anthropic's")?;
    if message.error.is_some() {
        return Err(problem(config, message.error, ErrorCode::InvalidResponse));
    }
    let Some(content) = message.content else {
        return Err(Error::new(
            "bedrock.answer",
            ErrorCode::InvalidResponse,
            "expected a message with content; see whether the setting `body` is the model's",
        ));
    };
    let mut answer = Answer::default();
    let response = &mut answer.response;
    response.finish_reason = message.stop_reason.as_deref().map(finish);
    response.id = message.id.map(|t| t.0.into_owned());
    response.model = message.model.map(|t| t.0.into_owned());
    for block in content {
        match &*block.kind {
            "text" => response.text.push_str(block.text.as_deref().unwrap_or_default()),
            "thinking" => {
                let text = block.thinking.map(|t| t.0.into_owned()).unwrap_or_default();
                if !text.is_empty() {
                    response.reasoning.get_or_insert_default().push_str(&text);
                }
                if let Some(signature) = block.signature.filter(|s| !s.is_empty()) {
                    response.reasoning_blocks.push(ReasoningBlock {
                        text,
                        signature: Some(signature.0.into_owned()),
                        ..ReasoningBlock::default()
                    });
                }
            }
            "redacted_thinking" => response.reasoning_blocks.push(ReasoningBlock {
                encrypted: block.data.map(|t| t.0.into_owned()),
                ..ReasoningBlock::default()
            }),
            "tool_use" => response.tool_calls.push(ToolCall {
                id: block.id.map(|t| t.0.into_owned()).unwrap_or_default(),
                name: block.name.map(|t| t.0.into_owned()).unwrap_or_default(),
                arguments: block.input.and_then(meaningful).unwrap_or_default().to_owned(),
            }),
            _ => {}
        }
    }
    if let Some(counts) = message.usage {
        let usage = counts.usage(&mut answer.facts);
        answer.usage(usage);
    }
    Ok(answer)
}

fn finish(word: &str) -> FinishReason {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// An error where an answer should be.
fn problem(config: &Config, problem: Option<Problem<'_>>, otherwise: ErrorCode) -> Error {
    let (kind, message) = problem.map(|p| (p.kind, p.message)).unwrap_or_default();
    let code = match kind.as_deref() {
        Some("overloaded_error") => ErrorCode::Overloaded,
        Some("rate_limit_error") => ErrorCode::RateLimit,
        Some("api_error") => ErrorCode::Internal,
        Some("timeout_error") => ErrorCode::Timeout,
        Some("invalid_request_error") => ErrorCode::InvalidRequest,
        Some("permission_error") => ErrorCode::Authorization,
        _ => otherwise,
    };
    let text = message.as_deref().unwrap_or("the model ended the answer with an error and no message");
    let error = Error::new("bedrock.answer", code, redact(text, config.secrets()));
    match kind {
        Some(kind) => error.with_provider_code(redact(&kind, config.secrets())),
        None => error,
    }
}
