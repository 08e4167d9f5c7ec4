//! Frames → events: the state machine of one streamed answer, and the reader of whole ones.
//!
//! A text delta is parsed once, borrowed, and allocates nothing unless it holds escapes. Unknown events, blocks and
//! deltas are skipped; what the server does with tools of its own is not the caller's business.

use std::{borrow::Cow, sync::Arc};

use llms_core::{
    ChatResponse, ErrorCode, EventSink, FinishReason, Result, Stamp, StreamEvent, ToolCall,
    event::ToolCallDelta,
    model::Outcome,
    wire::{self, Frame, Hooks},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    config::Config,
    error, hooks,
    plain::Plain,
    wire::{
        BlockDelta, BlockStart, BlockStop, Counts, MessageDelta, MessageStart, Tagged, Text, Whole, WireUsage,
    },
};

const OP: &str = "anthropic.stream";
/// The event that carries all content.
const BLOCK_DELTA: &str = "content_block_delta";

/// Reads the events of one streamed answer.
#[derive(Debug)]
pub struct Decoder {
    config: Arc<Config>,
    id: Option<String>,
    model: Option<String>,
    service_tier: Option<String>,
    counts: Counts,
    finish: Option<FinishReason>,
    calls: Vec<OpenCall>,
    /// Whether anything was said besides the terminal marker.
    answered: bool,
    complete: bool,
    plain: Plain,
}

/// A content block of kind `tool_use`: its place in the answer is its place among the calls.
#[derive(Debug)]
struct OpenCall {
    block: u32,
    /// Arguments that came with the start of the block, where no piece has replaced them.
    input: Option<String>,
}

/// The events that matter; everything else is [`Kind::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    MessageStart,
    BlockStart,
    BlockDelta,
    BlockStop,
    MessageDelta,
    MessageStop,
    Error,
    Other,
}

impl Kind {
    fn of(name: &str) -> Self {
        match name {
            BLOCK_DELTA => Self::BlockDelta,
            "message_start" => Self::MessageStart,
            "content_block_start" => Self::BlockStart,
            "content_block_stop" => Self::BlockStop,
            "message_delta" => Self::MessageDelta,
            "message_stop" => Self::MessageStop,
            "error" => Self::Error,
            _ => Self::Other,
        }
    }
}

impl Decoder {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            id: None,
            model: None,
            service_tier: None,
            counts: Counts::default(),
            finish: None,
            calls: Vec::new(),
            answered: false,
            complete: false,
            plain: Plain::default(),
        }
    }

    fn parse<'f, T: Deserialize<'f>>(&self, data: &'f str, expected: &str) -> Result<T> {
        serde_json::from_str(data).map_err(|e| error::malformed(&self.config, OP, expected, &e))
    }

    /// By the name of the SSE event; by the type in the data where a server gives no name.
    fn kind(&self, frame: &Frame<'_>) -> Result<Kind> {
        if let Some(name) = frame.event {
            return Ok(Kind::of(name));
        }
        let tagged: Tagged<'_> = self.parse(frame.data, "an event")?;
        Ok(tagged.kind.map_or(Kind::Other, |k| Kind::of(&k)))
    }

    fn content(&mut self, kind: Kind, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        match kind {
            Kind::BlockDelta => self.block_delta(data, stamp, sink),
            Kind::MessageStart => self.message_start(data, stamp, sink),
            Kind::BlockStart => self.block_start(data, stamp, sink),
            Kind::BlockStop => self.block_stop(data, stamp, sink),
            Kind::MessageDelta => self.message_delta(data, stamp, sink),
            Kind::MessageStop | Kind::Error | Kind::Other => Ok(()),
        }
    }

    fn message_start(&mut self, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        let head = self.parse::<MessageStart<'_>>(data, "a message_start")?.message;
        self.id = head.id.as_deref().map(str::to_owned);
        self.model = head.model.as_deref().map(str::to_owned);
        let (id, model) = (head.id.map(|t| t.0), head.model.map(|t| t.0));
        sink.event(StreamEvent::Start { id, model }, stamp);
        if let Some(usage) = &head.usage {
            self.usage(usage, stamp, sink, true);
        }
        Ok(())
    }

    /// Totals replace earlier ones. The output count at the start is a guess of a few tokens that only
    /// `message_delta` makes true: it is left out, so that a broken stream does not carry a wrong number.
    fn usage(&mut self, usage: &WireUsage<'_>, stamp: Stamp, sink: &mut dyn EventSink, at_start: bool) {
        let mut counts = Counts::from(usage);
        if at_start {
            counts.output = None;
        }
        self.counts = self.counts.merge(counts);
        if let Some(tier) = &usage.service_tier {
            self.service_tier = Some(tier.to_string());
        }
        if counts != Counts::default() {
            sink.event(StreamEvent::Usage(self.counts.to_usage()), stamp);
        }
    }

    fn block_start(&mut self, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        let BlockStart { index, content_block: block } = self.parse(data, "a content_block_start")?;
        match &*block.kind {
            "text" => push(block.text, StreamEvent::Text, stamp, sink),
            "thinking" => push(block.thinking, StreamEvent::Reasoning, stamp, sink),
            "tool_use" => {
                let delta = ToolCallDelta {
                    index: self.calls.len() as u32,
                    id: block.id.map(|t| t.0),
                    name: block.name.map(|t| t.0),
                    arguments: Cow::Borrowed(""),
                };
                let input = block.input.and_then(meaningful).map(str::to_owned);
                self.calls.push(OpenCall { block: index, input });
                sink.event(StreamEvent::ToolCall(delta), stamp);
            }
            _ => {}
        }
        Ok(())
    }

    fn block_delta(&mut self, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        let BlockDelta { index, delta } = self.parse(data, "a content_block_delta")?;
        match &*delta.kind {
            "text_delta" => {
                if let Some(Text(Cow::Borrowed(text))) = delta.text {
                    self.plain.learn(data, text);
                }
                push(delta.text, StreamEvent::Text, stamp, sink);
            }
            "thinking_delta" => push(delta.thinking, StreamEvent::Reasoning, stamp, sink),
            "input_json_delta" => {
                let Some(arguments) = delta.partial_json.filter(|t| !t.0.is_empty()) else { return Ok(()) };
                // Tools that the server runs stream their input too.
                let Some(call) = self.calls.iter().position(|c| c.block == index) else { return Ok(()) };
                self.calls[call].input = None;
                let delta =
                    ToolCallDelta { index: call as u32, arguments: arguments.0, ..ToolCallDelta::default() };
                sink.event(StreamEvent::ToolCall(delta), stamp);
            }
            _ => {}
        }
        Ok(())
    }

    fn block_stop(&mut self, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        if self.calls.iter().all(|c| c.input.is_none()) {
            return Ok(());
        }
        let BlockStop { index } = self.parse(data, "a content_block_stop")?;
        let Some(call) = self.calls.iter().position(|c| c.block == index) else { return Ok(()) };
        if let Some(arguments) = self.calls[call].input.take() {
            let delta =
                ToolCallDelta { index: call as u32, arguments: arguments.into(), ..ToolCallDelta::default() };
            sink.event(StreamEvent::ToolCall(delta), stamp);
        }
        Ok(())
    }

    fn message_delta(&mut self, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        let MessageDelta { delta, usage } = self.parse(data, "a message_delta")?;
        if let Some(usage) = &usage {
            self.usage(usage, stamp, sink, false);
        }
        if let Some(reason) = delta.and_then(|d| d.stop_reason) {
            let reason = finish_reason(reason);
            self.finish = Some(reason.clone());
            sink.event(StreamEvent::Finish(reason), stamp);
        }
        Ok(())
    }
}

fn push<'a>(
    text: Option<Text<'a>>,
    event: fn(Cow<'a, str>) -> StreamEvent<'a>,
    stamp: Stamp,
    sink: &mut dyn EventSink,
) {
    if let Some(Text(text)) = text
        && !text.is_empty()
    {
        sink.event(event(text), stamp);
    }
}

/// The JSON text of an input that says something: Anthropic begins every call with `{}`.
fn meaningful(input: &RawValue) -> Option<&str> {
    let text = input.get();
    let empty =
        text == "null" || text.bytes().all(|b| matches!(b, b'{' | b'}' | b' ' | b'\n' | b'\r' | b'\t'));
    (!empty).then_some(text)
}

fn finish_reason(word: Text<'_>) -> FinishReason {
    match &*word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Other(word.0.into_owned()),
    }
}

impl wire::Decoder for Decoder {
    fn frame(&mut self, frame: Frame<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        if frame.event == Some(BLOCK_DELTA)
            && let Some(text) = self.plain.text(frame.data)
        {
            sink.event(StreamEvent::Text(Cow::Borrowed(text)), stamp);
            return Ok(());
        }
        match self.kind(&frame)? {
            Kind::MessageStop => {
                self.complete = true;
                Ok(())
            }
            Kind::Error => Err(error::in_answer(&self.config, OP, frame.data, ErrorCode::Stream)),
            Kind::Other => Ok(()),
            kind => {
                self.answered = true;
                self.content(kind, frame.data, stamp, sink)
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn finish(&mut self) -> Result<Outcome> {
        if !self.complete {
            let after = if self.finish.is_some() { " (after stop_reason)" } else { "" };
            let message = format!(
                "the stream ended{after} without message_stop; expected the server, and every proxy before it, to send \
                 the stream to its end"
            );
            return Err(error::new(OP, ErrorCode::StreamTruncated, message));
        }
        if !self.answered {
            return Err(error::empty(OP));
        }
        Ok(Outcome {
            finish_reason: self.finish.take(),
            usage: (self.counts != Counts::default()).then(|| self.counts.to_usage()),
            model: self.model.take(),
            id: self.id.take(),
        })
    }

    fn hooks(&self, report: &mut Hooks<'_>) {
        hooks::of_usage(&self.counts, self.service_tier.as_deref(), report);
    }
}

/// An answer that is not streamed.
pub(crate) fn whole(config: &Config, body: &[u8], report: &mut Hooks<'_>) -> Result<ChatResponse> {
    const OP: &str = "anthropic.generate";
    if body.trim_ascii().is_empty() {
        return Err(error::empty(OP));
    }
    let unreadable = |e: &dyn std::fmt::Display| error::malformed(config, OP, "a message", e);
    let text = std::str::from_utf8(body).map_err(|e| unreadable(&e))?;
    let answer: Whole<'_> = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
    if answer.error.is_some() {
        return Err(error::in_answer(config, OP, text, ErrorCode::InvalidResponse));
    }
    let Some(content) = answer.content else {
        let message = "expected a message with content, found none; check base_url";
        return Err(error::new(OP, ErrorCode::InvalidResponse, message));
    };
    let mut response = ChatResponse {
        finish_reason: answer.stop_reason.map(finish_reason),
        model: answer.model.map(|t| t.0.into_owned()),
        id: answer.id.map(|t| t.0.into_owned()),
        ..ChatResponse::default()
    };
    for block in content {
        match &*block.kind {
            "text" => response.text.push_str(block.text.as_deref().unwrap_or_default()),
            "thinking" => {
                if let Some(Text(text)) = block.thinking.filter(|t| !t.0.is_empty()) {
                    response.reasoning.get_or_insert_default().push_str(&text);
                }
            }
            "tool_use" => response.tool_calls.push(ToolCall {
                id: match block.id {
                    Some(Text(id)) => id.into_owned(),
                    None => format!("call_{}", response.tool_calls.len()),
                },
                name: block.name.map(|t| t.0.into_owned()).unwrap_or_default(),
                arguments: block.input.and_then(meaningful).unwrap_or_default().to_owned(),
            }),
            _ => {}
        }
    }
    if let Some(usage) = &answer.usage {
        let counts = Counts::from(usage);
        response.usage = (counts != Counts::default()).then(|| counts.to_usage());
        hooks::of_usage(&counts, usage.service_tier.as_deref(), report);
    }
    Ok(response)
}
