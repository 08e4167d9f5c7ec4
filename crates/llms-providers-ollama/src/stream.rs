//! Lines → events: the state machine of one streamed answer, and the reader of whole ones, which have the same shape.
//!
//! A text line is parsed once, borrowed, and allocates nothing unless it holds escapes. The answer is complete at
//! `"done":true` and nowhere else.

use std::{borrow::Cow, sync::Arc};

use llms_core::{
    ChatResponse, ErrorCode, EventSink, FinishReason, Outcome, Result, Stamp, StreamEvent, ToolCall,
    chat::ReasoningBlock,
    event::{ReasoningSeal, ToolCallDelta},
    wire::{self, Frame, Hooks, borrow::Text},
};
use serde_json::value::RawValue;

use crate::{
    config::Config,
    error, hooks,
    plain::Plain,
    wire::{Line, Measured, WireCall, WireMessage},
};

const OP: &str = "ollama.stream";
/// Most calls to tools in one answer; more is a server's mistake.
const MAX_CALLS: u32 = 1024;

/// Reads the lines of one streamed answer.
#[derive(Debug)]
pub struct Decoder {
    config: Arc<Config>,
    started: bool,
    complete: bool,
    /// Anything the model generated was delivered.
    spoke: bool,
    /// Thinking was delivered and has not ended yet.
    thinking: bool,
    calls: u32,
    outcome: Outcome,
    measured: Measured,
    remote: (Option<String>, Option<String>),
    plain: Plain,
}

impl Decoder {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            started: false,
            complete: false,
            spoke: false,
            thinking: false,
            calls: 0,
            outcome: Outcome::default(),
            measured: Measured::default(),
            remote: (None, None),
            plain: Plain::default(),
        }
    }

    /// One parsed line.
    fn line<'a>(
        &mut self,
        mut line: Line<'a>,
        data: &'a str,
        stamp: Stamp,
        sink: &mut dyn EventSink,
    ) -> Result<()> {
        if line.error.is_some() {
            return Err(error::in_answer(&self.config, OP, data, ErrorCode::Stream));
        }
        if !self.started
            && let Some(model) = &line.model
        {
            self.started = true;
            let model = self.config.clean(model);
            self.outcome.model = Some(model.clone());
            // Behind content it would be the beginning of another answer.
            if !self.spoke {
                sink.event(StreamEvent::Start { id: None, model: Some(Cow::Owned(model)) }, stamp);
            }
        }
        let done = line.done == Some(true);
        if !done {
            self.learn(&line, data);
        }
        self.message(line.take_message(), stamp, sink)?;
        if !done {
            return Ok(());
        }
        self.end_thinking(stamp, sink);
        if let Some(reason) = line.done_reason.as_deref()
            && !self.spoke
            && is_no_answer(reason)
        {
            return Err(error::no_answer(OP, reason));
        }
        self.complete = true;
        self.measured = line.measured();
        let owned = |text: Option<Text<'a>>| text.map(|t| t.into_inner().into_owned());
        self.outcome.usage = line.usage();
        self.outcome.finish_reason = finish_reason(&self.config, line.done_reason.as_deref(), self.calls > 0);
        self.remote = (owned(line.remote_model), owned(line.remote_host));
        if let Some(usage) = self.outcome.usage {
            sink.event(StreamEvent::Usage(usage), stamp);
        }
        if let Some(reason) = &self.outcome.finish_reason {
            sink.event(StreamEvent::Finish(reason.clone()), stamp);
        }
        Ok(())
    }

    /// Keeps the shape of a line that holds one text and nothing else.
    fn learn(&mut self, line: &Line<'_>, data: &str) {
        let no_message = WireMessage::default();
        let message = line.message.as_ref().unwrap_or(&no_message);
        let nothing_else = message.thinking.is_none()
            && message.tool_calls.is_none()
            && line.thinking.is_none()
            && line.tool_calls.is_none()
            && line.usage().is_none()
            && line.done_reason.is_none();
        let ((Some(text), None) | (None, Some(text))) = (&message.content, &line.response) else { return };
        if let (Some(Text(Cow::Borrowed(time))), Text(Cow::Borrowed(text))) = (&line.created_at, text)
            && nothing_else
        {
            self.plain.learn(data, time, text);
        }
    }

    /// What was thought is a block of its own, which goes back to the model with the rest of its message.
    fn end_thinking(&mut self, stamp: Stamp, sink: &mut dyn EventSink) {
        if std::mem::take(&mut self.thinking) {
            sink.event(StreamEvent::ReasoningSeal(ReasoningSeal::default()), stamp);
        }
    }

    fn message(&mut self, message: WireMessage<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        if let Some(thinking) = message.thinking.map(|t| t.0).filter(|t| !t.is_empty()) {
            (self.spoke, self.thinking) = (true, true);
            sink.event(StreamEvent::Reasoning(thinking), stamp);
        }
        if let Some(content) = message.content.map(|t| t.0).filter(|t| !t.is_empty()) {
            self.spoke = true;
            self.end_thinking(stamp, sink);
            sink.event(StreamEvent::Text(content), stamp);
        }
        for WireCall { id, function } in message.tool_calls.into_iter().flatten() {
            self.spoke = true;
            self.end_thinking(stamp, sink);
            let index = self.calls;
            if index == MAX_CALLS {
                let why = "more calls than any answer has";
                return Err(error::malformed(&self.config, OP, "a line of an answer", &why));
            }
            self.calls += 1;
            let delta = ToolCallDelta {
                index,
                id: Some(id.map_or_else(|| made_up_id(index).into(), |t| t.0)),
                name: Some(function.name.0),
                arguments: arguments(function.arguments),
            };
            sink.event(StreamEvent::ToolCall(delta), stamp);
        }
        Ok(())
    }
}

/// The wire of older servers has no ids; calls are answered by the tool's name there.
fn made_up_id(index: u32) -> String {
    format!("call_{index}")
}

/// The JSON text of the arguments: an object from Ollama, sometimes a text that holds one from proxies.
fn arguments(raw: Option<&RawValue>) -> Cow<'_, str> {
    match raw.map(RawValue::get) {
        None | Some("null") => Cow::Borrowed(""),
        Some(text) if text.starts_with('"') => match serde_json::from_str::<Text<'_>>(text) {
            Ok(inner) => inner.0,
            Err(_) => Cow::Borrowed(text),
        },
        Some(text) => Cow::Borrowed(text),
    }
}

/// Words of an answer to a request that only loads or unloads the model.
fn is_no_answer(reason: &str) -> bool {
    matches!(reason, "load" | "unload")
}

/// Ollama says `stop` also when it ends to have tools called.
fn finish_reason(config: &Config, word: Option<&str>, calls: bool) -> Option<FinishReason> {
    match word {
        None | Some("" | "stop") if calls => Some(FinishReason::ToolCalls),
        None | Some("") => None,
        Some("stop") => Some(FinishReason::Stop),
        Some("length") => Some(FinishReason::Length),
        Some(other) => Some(FinishReason::Other(config.clean(other))),
    }
}

impl wire::Decoder for Decoder {
    fn frame(&mut self, frame: Frame<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        if let Some(text) = self.plain.text(frame.data) {
            self.spoke = true;
            self.end_thinking(stamp, sink);
            sink.event(StreamEvent::Text(Cow::Borrowed(text)), stamp);
            return Ok(());
        }
        match serde_json::from_str(frame.data) {
            Ok(line) => self.line(line, frame.data, stamp, sink),
            Err(e) => Err(error::malformed(&self.config, OP, "a line of an answer", &e)),
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn finish(&mut self) -> Result<Outcome> {
        if !self.complete {
            return Err(error::new(
                OP,
                ErrorCode::StreamTruncated,
                "the stream ended without `\"done\":true`; expected the server, and every proxy before it, to send the \
                 stream to its end",
            ));
        }
        Ok(std::mem::take(&mut self.outcome))
    }

    fn hooks(&self, report: &mut Hooks<'_>) {
        hooks::of_measured(self.measured, report);
        hooks::of_remote(self.remote.0.as_deref(), self.remote.1.as_deref(), report);
    }
}

/// An answer that is not streamed.
///
/// # Errors
/// `malformed_response`, the classified error of an error object inside a 200, `empty_response`, `invalid_response`.
pub(crate) fn whole(config: &Config, body: &[u8], report: &mut Hooks<'_>) -> Result<ChatResponse> {
    const OP: &str = "ollama.generate";
    if body.trim_ascii().is_empty() {
        return Err(error::empty(OP));
    }
    let unreadable = |e: &dyn std::fmt::Display| error::malformed(config, OP, "an answer", e);
    let text = std::str::from_utf8(body).map_err(|e| unreadable(&e))?;
    let mut answer: Line<'_> = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
    if answer.error.is_some() {
        return Err(error::in_answer(config, OP, text, ErrorCode::InvalidResponse));
    }
    if answer.done != Some(true) {
        let message = "expected a finished answer (`\"done\":true`), found none; check base_url";
        return Err(error::new(OP, ErrorCode::InvalidResponse, message));
    }
    let usage = answer.usage();
    let message = answer.take_message();
    let tool_calls: Vec<ToolCall> = message
        .tool_calls
        .into_iter()
        .flatten()
        .zip(0..)
        .map(|(call, index)| ToolCall {
            id: call.id.map_or_else(|| made_up_id(index), |t| t.0.into_owned()),
            name: call.function.name.0.into_owned(),
            arguments: arguments(call.function.arguments).into_owned(),
        })
        .collect();
    let owned = |text: Option<Text<'_>>| text.map(|t| t.into_inner().into_owned());
    let text = owned(message.content).unwrap_or_default();
    let reasoning = owned(message.thinking).filter(|t| !t.is_empty());
    if let Some(reason) = answer.done_reason.as_deref()
        && text.is_empty()
        && reasoning.is_none()
        && tool_calls.is_empty()
        && is_no_answer(reason)
    {
        return Err(error::no_answer(OP, reason));
    }
    hooks::of_measured(answer.measured(), report);
    hooks::of_remote(answer.remote_model.as_deref(), answer.remote_host.as_deref(), report);
    Ok(ChatResponse {
        text,
        reasoning_blocks: reasoning
            .iter()
            .map(|text| ReasoningBlock { text: text.clone(), ..ReasoningBlock::default() })
            .collect(),
        reasoning,
        finish_reason: finish_reason(config, answer.done_reason.as_deref(), !tool_calls.is_empty()),
        tool_calls,
        usage,
        model: answer.model.map(|model| config.clean(&model)),
        ..ChatResponse::default()
    })
}
