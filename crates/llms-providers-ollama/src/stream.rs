//! Lines → events: the state machine of one streamed answer, and the reader of whole ones, which have the same shape.
//!
//! A text line is parsed once, borrowed, and allocates nothing unless it holds escapes. The answer is complete at
//! `"done":true` and nowhere else.

use std::{borrow::Cow, sync::Arc};

use llms_core::{
    ChatResponse, ErrorCode, EventSink, FinishReason, Outcome, Result, Stamp, StreamEvent, ToolCall,
    event::ToolCallDelta,
    wire::{self, Frame, Hooks},
};
use serde_json::value::RawValue;

use crate::{
    config::Config,
    error, hooks,
    plain::Plain,
    wire::{Durations, Line, Text, WireCall, WireMessage},
};

const OP: &str = "ollama.stream";

/// Reads the lines of one streamed answer.
#[derive(Debug)]
pub struct Decoder {
    config: Arc<Config>,
    started: bool,
    complete: bool,
    calls: u32,
    outcome: Outcome,
    durations: Durations,
    plain: Plain,
}

impl Decoder {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            started: false,
            complete: false,
            calls: 0,
            outcome: Outcome::default(),
            durations: Durations::default(),
            plain: Plain::default(),
        }
    }

    /// One parsed line.
    fn line<'a>(
        &mut self,
        line: Line<'a>,
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
            self.outcome.model = Some(model.to_string());
            sink.event(StreamEvent::Start { id: None, model: Some(Cow::Borrowed(model)) }, stamp);
        }
        let done = line.done == Some(true);
        if !done {
            self.learn(&line, data);
        }
        let ending = done.then(|| (line.usage(), line.durations()));
        if let Some(message) = line.message {
            self.message(message, stamp, sink);
        }
        if let Some((usage, durations)) = ending {
            self.complete = true;
            self.durations = durations;
            self.outcome.usage = usage;
            if let Some(usage) = usage {
                sink.event(StreamEvent::Usage(usage), stamp);
            }
            self.outcome.finish_reason = finish_reason(line.done_reason.as_deref(), self.calls > 0);
            if let Some(reason) = &self.outcome.finish_reason {
                sink.event(StreamEvent::Finish(reason.clone()), stamp);
            }
        }
        Ok(())
    }

    /// Keeps the shape of a line that holds one text and nothing else.
    fn learn(&mut self, line: &Line<'_>, data: &str) {
        let Some(message) = &line.message else { return };
        let nothing_else = message.thinking.is_none() && message.tool_calls.is_none();
        if let (Some(Text(Cow::Borrowed(time))), Some(Text(Cow::Borrowed(text)))) =
            (&line.created_at, &message.content)
            && nothing_else
            && line.usage().is_none()
            && line.done_reason.is_none()
        {
            self.plain.learn(data, time, text);
        }
    }

    fn message(&mut self, message: WireMessage<'_>, stamp: Stamp, sink: &mut dyn EventSink) {
        if let Some(thinking) = message.thinking.map(|t| t.0).filter(|t| !t.is_empty()) {
            sink.event(StreamEvent::Reasoning(thinking), stamp);
        }
        if let Some(content) = message.content.map(|t| t.0).filter(|t| !t.is_empty()) {
            sink.event(StreamEvent::Text(content), stamp);
        }
        for WireCall { id, function } in message.tool_calls.into_iter().flatten() {
            let index = self.calls;
            self.calls += 1;
            let delta = ToolCallDelta {
                index,
                id: Some(id.map_or_else(|| made_up_id(index).into(), |t| t.0)),
                name: Some(function.name.0),
                arguments: arguments(function.arguments),
            };
            sink.event(StreamEvent::ToolCall(delta), stamp);
        }
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

/// Ollama says `stop` also when it ends to have tools called.
fn finish_reason(word: Option<&str>, calls: bool) -> Option<FinishReason> {
    match word {
        None | Some("" | "stop") if calls => Some(FinishReason::ToolCalls),
        None | Some("") => None,
        Some("stop") => Some(FinishReason::Stop),
        Some("length") => Some(FinishReason::Length),
        Some(other) => Some(FinishReason::Other(other.to_owned())),
    }
}

impl wire::Decoder for Decoder {
    fn frame(&mut self, frame: Frame<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        if let Some(text) = self.plain.text(frame.data) {
            sink.event(StreamEvent::Text(Cow::Borrowed(text)), stamp);
            return Ok(());
        }
        match serde_json::from_str(frame.data) {
            Ok(line) => self.line(line, frame.data, stamp, sink),
            Err(e) => Err(error::malformed(&self.config, OP, "a line of a chat", &e)),
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
        hooks::of_durations(self.durations, report);
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
    let unreadable = |e: &dyn std::fmt::Display| error::malformed(config, OP, "a chat", e);
    let text = std::str::from_utf8(body).map_err(|e| unreadable(&e))?;
    let answer: Line<'_> = serde_json::from_str(text).map_err(|e| unreadable(&e))?;
    if answer.error.is_some() {
        return Err(error::in_answer(config, OP, text, ErrorCode::InvalidResponse));
    }
    if answer.done != Some(true) {
        let message = "expected a finished chat (`\"done\":true`), found none; check base_url";
        return Err(error::new(OP, ErrorCode::InvalidResponse, message));
    }
    hooks::of_durations(answer.durations(), report);
    let usage = answer.usage();
    let message = answer.message.unwrap_or_default();
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
    Ok(ChatResponse {
        text: message.content.map(|t| t.0.into_owned()).unwrap_or_default(),
        reasoning: message.thinking.map(|t| t.0.into_owned()).filter(|t| !t.is_empty()),
        finish_reason: finish_reason(answer.done_reason.as_deref(), !tool_calls.is_empty()),
        tool_calls,
        usage,
        model: answer.model.map(|t| t.0.into_owned()),
        id: None,
        ..ChatResponse::default()
    })
}
