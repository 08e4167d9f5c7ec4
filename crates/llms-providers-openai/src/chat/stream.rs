//! Answers of chat and text completions: the frames of a stream to events, whole bodies to a [`ChatResponse`].
//!
//! Texts are handed on borrowed from the frame. It never guesses an end: a stream is complete at `data: [DONE]` and
//! nowhere else; not at `finish_reason` either, because the usage follows that.

use std::{borrow::Cow, sync::Arc};

use llms_core::{
    ChatResponse, ErrorCode, EventSink, Outcome, Result, Stamp, StreamEvent, ToolCall, Usage,
    wire::{self, Frame, Hooks},
};

use super::{
    calls::Calls,
    wire::{Answer, Message},
};
use crate::{
    config::Config,
    error,
    hooks::Extras,
    plain::{Kind, Plain},
    wire::{WireUsage, finish_reason},
};

const OP: &str = "openai.stream";
/// The terminal marker.
const DONE: &str = "[DONE]";

/// Reads the chunks of one streamed answer.
#[derive(Debug)]
pub(crate) struct Decoder {
    config: Arc<Config>,
    complete: bool,
    /// Whether it is said who answers, or too late for it: behind content it would be the beginning of another answer.
    started: bool,
    /// Whether anything at all was said besides the terminal marker.
    answered: bool,
    refused: bool,
    outcome: Outcome,
    calls: Calls,
    extras: Extras,
    plain: Plain,
}

impl Decoder {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            complete: false,
            started: false,
            answered: false,
            refused: false,
            outcome: Outcome::default(),
            calls: Calls::default(),
            extras: Extras::default(),
            plain: Plain::default(),
        }
    }

    /// One parsed chunk.
    fn answer<'a>(
        &mut self,
        answer: Answer<'a>,
        data: &'a str,
        stamp: Stamp,
        sink: &mut dyn EventSink,
    ) -> Result<()> {
        if answer.error.is_some() {
            return Err(error::in_answer(&self.config, OP, data, ErrorCode::Stream));
        }
        self.start(&answer, stamp, sink);
        note(&mut self.extras, &answer);
        // Ollama's text completions send one of zeros with every chunk: no count yet, for no prompt has none.
        let counted = |u: &Usage| u.input_tokens != Some(0) || u.output_tokens != Some(0);
        let usage = answer.usage.and_then(WireUsage::to_usage).filter(counted);
        if let Some(usage) = usage {
            self.answered = true;
            self.outcome.usage = Some(self.outcome.usage.unwrap_or_default().merge(usage));
        }
        let mut plain = usage.is_none() && answer.timings.is_none();
        let mut only = None;
        match answer.choices {
            None if usage.is_none() && answer.timings.is_none() => {
                // Neither an answer nor an error of the usual shape: an error of another shape, or harmless.
                if let Some(e) = error::of_other_shape(&self.config, OP, data, ErrorCode::Stream) {
                    return Err(e);
                }
            }
            None => {}
            Some(choices) => {
                self.answered = true;
                if let Some(choice) = choices.0 {
                    plain &= choice.finish_reason.0.is_none();
                    if let Some(delta) = choice.delta.or_else(|| choice.text.map(Message::of_text)) {
                        only = delta.only_text();
                        self.delta(delta, stamp, sink)?;
                    }
                    if let Some(word) = &choice.finish_reason.0 {
                        self.finish_reason(word, stamp, sink);
                    }
                }
            }
        }
        if let Some(usage) = usage {
            sink.event(StreamEvent::Usage(usage), stamp);
        }
        if plain && let Some((kind, text)) = only {
            self.plain.learn(data, kind, text);
        }
        Ok(())
    }

    /// Says once who answers, from the first chunk that knows (Azure's first does not).
    fn start(&mut self, answer: &Answer<'_>, stamp: Stamp, sink: &mut dyn EventSink) {
        let (id, model) = (&answer.id, &answer.model);
        id.set(&mut self.outcome.id);
        model.set(&mut self.outcome.model);
        if !self.started && (id.0.is_some() || model.0.is_some()) {
            self.started = true;
            let [id, model] = [id, model].map(|name| name.0.as_deref().map(|t| self.config.clean(t)));
            sink.event(StreamEvent::Start { id, model }, stamp);
        }
    }

    /// The pieces of one message.
    fn delta(&mut self, mut delta: Message<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        if let Some(reasoning) = delta.reasoning() {
            self.started = true;
            sink.event(StreamEvent::Reasoning(reasoning), stamp);
        }
        if let Some(text) = delta.content.map(|t| t.0).filter(|t| !t.is_empty()) {
            self.started = true;
            sink.event(StreamEvent::Text(text), stamp);
        }
        // A refusal is what the model says instead of an answer: text to the reader, and an end of its own kind.
        if let Some(refusal) = delta.refusal.map(|t| t.0).filter(|t| !t.is_empty()) {
            (self.refused, self.started) = (true, true);
            sink.event(StreamEvent::Text(refusal), stamp);
        }
        for call in delta.tool_calls.into_iter().flatten() {
            if let Some(piece) = self.calls.piece(call).map_err(|e| error::protocol(OP, e))? {
                self.started = true;
                sink.event(StreamEvent::ToolCall(piece), stamp);
            }
        }
        Ok(())
    }

    fn finish_reason(&mut self, word: &str, stamp: Stamp, sink: &mut dyn EventSink) {
        let reason = finish_reason(&self.config.clean(word), self.refused);
        // Some servers repeat it in later chunks.
        if self.outcome.finish_reason.as_ref() != Some(&reason) {
            sink.event(StreamEvent::Finish(reason.clone()), stamp);
            self.outcome.finish_reason = Some(reason);
        }
    }
}

impl wire::Decoder for Decoder {
    fn frame(&mut self, frame: Frame<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        if self.complete {
            return Ok(());
        }
        let data = frame.data;
        if frame.event == Some("error") {
            return Err(error::in_answer(&self.config, OP, data, ErrorCode::Stream));
        }
        if let Some((kind, text)) = self.plain.text(data) {
            let text = Cow::Borrowed(text);
            let event = match kind {
                Kind::Text => StreamEvent::Text(text),
                Kind::Reasoning => StreamEvent::Reasoning(text),
            };
            sink.event(event, stamp);
            return Ok(());
        }
        if data.starts_with(DONE) {
            self.complete = true;
            return Ok(());
        }
        match serde_json::from_str(data) {
            Ok(answer) => self.answer(answer, data, stamp, sink),
            Err(e) => Err(error::malformed(&self.config, OP, "a chat.completion.chunk", &e)),
        }
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn finish(&mut self) -> Result<Outcome> {
        if !self.complete {
            let after = if self.outcome.finish_reason.is_some() { " (after finish_reason)" } else { "" };
            return Err(error::new(
                OP,
                ErrorCode::StreamTruncated,
                format!(
                    "the stream ended{after} without `data: {DONE}`; expected the server, and every proxy before \
                     it, to send the stream to its end"
                ),
            ));
        }
        if !self.answered {
            return Err(error::empty(OP, "choices"));
        }
        Ok(self.config.cleaned(std::mem::take(&mut self.outcome)))
    }

    fn hooks(&self, report: &mut Hooks<'_>) {
        self.extras.report(&self.config, report);
    }
}

/// A whole answer.
///
/// # Errors
/// `malformed_response`, the classified error of an error object inside a 200, `empty_response`.
pub(crate) fn whole(config: &Config, body: &[u8], report: &mut Hooks<'_>) -> Result<ChatResponse> {
    const OP: &str = "openai.generate";
    let unreadable = |e: &dyn std::fmt::Display| error::malformed(config, OP, "a chat.completion", e);
    let json = std::str::from_utf8(body).map_err(|e| unreadable(&e))?;
    let answer: Answer<'_> = serde_json::from_str(json).map_err(|e| unreadable(&e))?;
    if answer.error.is_some() {
        return Err(error::in_answer(config, OP, json, ErrorCode::InvalidResponse));
    }
    let mut extras = Extras::default();
    note(&mut extras, &answer);
    extras.report(config, report);
    let Some(choice) = answer.choices.and_then(|c| c.0) else {
        return Err(error::of_other_shape(config, OP, json, ErrorCode::InvalidResponse)
            .unwrap_or_else(|| error::empty(OP, "choices")));
    };
    let text = choice.text;
    let mut message = choice.message.map(|m| *m).or_else(|| text.map(Message::of_text)).unwrap_or_default();
    let reasoning = message.reasoning().map(Cow::into_owned);
    let refusal = message.refusal.map(|t| t.0).filter(|t| !t.is_empty());
    let mut response = ChatResponse {
        text: message.content.map(|t| t.0.into_owned()).unwrap_or_default(),
        reasoning,
        finish_reason: choice
            .finish_reason
            .0
            .map(|word| finish_reason(&config.clean(&word), refusal.is_some())),
        usage: answer.usage.and_then(WireUsage::to_usage),
        model: answer.model.0.map(|name| config.clean(&name).into_owned()),
        id: answer.id.0.map(|id| config.clean(&id).into_owned()),
        tool_calls: Vec::new(),
        ..ChatResponse::default()
    };
    response.text.extend(refusal.as_deref());
    for (i, call) in message.tool_calls.into_iter().flatten().enumerate() {
        let function = call.function.unwrap_or_default();
        response.tool_calls.push(ToolCall {
            id: call.id.into_owned().unwrap_or_else(|| format!("call_{i}")),
            name: function.name.into_owned().unwrap_or_default(),
            arguments: function.arguments.map(|t| t.0.into_owned()).unwrap_or_default(),
        });
    }
    Ok(response)
}

/// What the server says about itself inside the answer.
fn note(extras: &mut Extras, answer: &Answer<'_>) {
    answer.system_fingerprint.set(&mut extras.system_fingerprint);
    answer.service_tier.set(&mut extras.service_tier);
    extras.note(answer.usage.as_ref(), answer.timings.as_deref());
}
