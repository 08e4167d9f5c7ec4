//! Frames → events: the state machine of one streamed answer. Whole answers are read in `whole.rs`.
//!
//! A text delta is parsed once, borrowed, and allocates nothing unless it holds escapes. Unknown events, blocks and
//! deltas are skipped; what the server does with tools of its own is not the caller's business.

use std::{borrow::Cow, sync::Arc};

use llms_core::{
    ErrorCode, EventSink, FinishReason, Result, Stamp, StreamEvent,
    event::{ReasoningSeal, ToolCallDelta},
    model::Outcome,
    wire::{self, Frame, Hooks, borrow::Text},
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    config::Config,
    error,
    hooks::Said,
    plain::Plain,
    wire::{BlockDelta, BlockStart, BlockStop, Counts, MessageDelta, MessageStart, Tagged, WireUsage},
};

const OP: &str = "anthropic.stream";
/// Most calls to tools in one answer; more is a server's mistake.
const MAX_CALLS: usize = 1024;
/// The event that carries all content.
const BLOCK_DELTA: &str = "content_block_delta";

/// Reads the events of one streamed answer.
#[derive(Debug)]
pub struct Decoder {
    config: Arc<Config>,
    id: Option<String>,
    model: Option<String>,
    said: Said,
    finish: Option<FinishReason>,
    calls: Vec<OpenCall>,
    thinking: Option<OpenThinking>,
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

/// A block of thinking that has not ended: its end makes the seal that the API wants back with it.
#[derive(Debug)]
struct OpenThinking {
    block: u32,
    /// Whether there was text in it.
    said: bool,
    signature: Option<String>,
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
            said: Said::default(),
            finish: None,
            calls: Vec::new(),
            thinking: None,
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
        let clean = |name: Option<Text<'_>>| name.map(|t| self.config.clean(&t).into_owned());
        (self.id, self.model) = (clean(head.id), clean(head.model));
        let [id, model] = [&self.id, &self.model].map(|t| t.as_deref().map(Cow::Borrowed));
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
        self.said.counts = self.said.counts.merge(counts);
        self.said.usage(usage);
        if counts != Counts::default() {
            sink.event(StreamEvent::Usage(self.said.counts.to_usage()), stamp);
        }
    }

    #[cold]
    fn misplaced(&self, what: &'static str, why: &dyn std::fmt::Display) -> llms_core::Error {
        error::malformed(&self.config, OP, what, why)
    }

    fn block_start(&mut self, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        const EXPECTED: &str = "a content_block_start";
        let BlockStart { index, content_block: block } = self.parse(data, EXPECTED)?;
        let wrong = |e| self.misplaced(EXPECTED, &e);
        match &*block.kind {
            "text" => push(block.text.text().map_err(wrong)?, StreamEvent::Text, stamp, sink),
            "thinking" => {
                let text = block.thinking.said().map_err(wrong)?;
                let signature = block.signature.said().map_err(wrong)?.map(Cow::into_owned);
                self.seal(stamp, sink);
                self.thinking = Some(OpenThinking { block: index, said: text.is_some(), signature });
                push(text, StreamEvent::Reasoning, stamp, sink);
            }
            "redacted_thinking" => {
                let data = block.data.said().map_err(wrong)?;
                self.seal(stamp, sink);
                if data.is_some() {
                    let seal = ReasoningSeal { encrypted: data, ..ReasoningSeal::default() };
                    sink.event(StreamEvent::ReasoningSeal(seal), stamp);
                }
            }
            "tool_use" => {
                if self.calls.len() == MAX_CALLS {
                    return Err(self.misplaced(EXPECTED, &"more calls than any answer has"));
                }
                let delta = ToolCallDelta {
                    index: self.calls.len() as u32,
                    id: block.id.text().map_err(wrong)?,
                    name: block.name.text().map_err(wrong)?,
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
        const EXPECTED: &str = "a content_block_delta";
        let BlockDelta { index, delta } = self.parse(data, EXPECTED)?;
        let wrong = |e| self.misplaced(EXPECTED, &e);
        match &*delta.kind {
            "text_delta" => {
                let text = delta.text.text().map_err(wrong)?;
                if let Some(Cow::Borrowed(text)) = text {
                    self.plain.learn(data, text);
                }
                push(text, StreamEvent::Text, stamp, sink);
            }
            "thinking_delta" => {
                let text = delta.thinking.said().map_err(wrong)?;
                if text.is_some()
                    && let Some(open) = self.thinking.as_mut().filter(|t| t.block == index)
                {
                    open.said = true;
                }
                push(text, StreamEvent::Reasoning, stamp, sink);
            }
            "signature_delta" => {
                let signature = delta.signature.said().map_err(wrong)?;
                if let Some(open) = self.thinking.as_mut().filter(|t| t.block == index) {
                    open.signature = signature.map(Cow::into_owned);
                }
            }
            "input_json_delta" => {
                let Some(arguments) = delta.partial_json.said().map_err(wrong)? else { return Ok(()) };
                // Tools that the server runs stream their input too.
                let Some(call) = self.calls.iter().position(|c| c.block == index) else { return Ok(()) };
                self.calls[call].input = None;
                let delta = ToolCallDelta { index: call as u32, arguments, ..ToolCallDelta::default() };
                sink.event(StreamEvent::ToolCall(delta), stamp);
            }
            _ => {}
        }
        Ok(())
    }

    fn block_stop(&mut self, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        if self.thinking.is_none() && self.calls.iter().all(|c| c.input.is_none()) {
            return Ok(());
        }
        let BlockStop { index } = self.parse(data, "a content_block_stop")?;
        if self.thinking.as_ref().is_some_and(|t| t.block == index) {
            self.seal(stamp, sink);
        }
        let Some(call) = self.calls.iter().position(|c| c.block == index) else { return Ok(()) };
        if let Some(arguments) = self.calls[call].input.take() {
            let delta =
                ToolCallDelta { index: call as u32, arguments: arguments.into(), ..ToolCallDelta::default() };
            sink.event(StreamEvent::ToolCall(delta), stamp);
        }
        Ok(())
    }

    /// Ends the block of thinking that is open, if one is. One without text and signature holds nothing to send back.
    fn seal(&mut self, stamp: Stamp, sink: &mut dyn EventSink) {
        if let Some(OpenThinking { said, signature, .. }) = self.thinking.take()
            && (said || signature.is_some())
        {
            let seal = ReasoningSeal { signature: signature.map(Cow::Owned), ..ReasoningSeal::default() };
            sink.event(StreamEvent::ReasoningSeal(seal), stamp);
        }
    }

    fn message_delta(&mut self, data: &str, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        let MessageDelta { delta, usage } = self.parse(data, "a message_delta")?;
        // A server that does not end its blocks.
        self.seal(stamp, sink);
        if let Some(usage) = &usage {
            self.usage(usage, stamp, sink, false);
        }
        let Some(ending) = delta else { return Ok(()) };
        self.said.ending(&ending);
        if let Some(reason) = ending.reason {
            let reason = finish_reason(&self.config, &reason);
            self.finish = Some(reason.clone());
            sink.event(StreamEvent::Finish(reason), stamp);
        }
        Ok(())
    }
}

fn push<'a>(
    text: Option<Cow<'a, str>>,
    event: fn(Cow<'a, str>) -> StreamEvent<'a>,
    stamp: Stamp,
    sink: &mut dyn EventSink,
) {
    if let Some(text) = text.filter(|t| !t.is_empty()) {
        sink.event(event(text), stamp);
    }
}

/// The JSON text of an input that says something: Anthropic begins every call with `{}`.
pub(crate) fn meaningful(input: &RawValue) -> Option<&str> {
    let text = input.get();
    let empty =
        text == "null" || text.bytes().all(|b| matches!(b, b'{' | b'}' | b' ' | b'\n' | b'\r' | b'\t'));
    (!empty).then_some(text)
}

pub(crate) fn finish_reason(config: &Config, word: &str) -> FinishReason {
    match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Other(config.clean(word).into_owned()),
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
            usage: self.said.counts.reported(),
            model: self.model.take(),
            id: self.id.take(),
            ..Outcome::default()
        })
    }

    fn hooks(&self, report: &mut Hooks<'_>) {
        self.said.report(&self.config, report);
    }
}
