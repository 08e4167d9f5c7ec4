//! Answers of the Responses API: the events of a stream, and whole bodies to a [`ChatResponse`].
//!
//! A stream is complete at `response.completed` or `response.incomplete`, and nowhere else; `response.failed` and `error`
//! are errors. Nothing that was delivered in pieces is delivered again when its end is told.

use std::{borrow::Cow, sync::Arc};

use llms_core::{
    ChatResponse, ErrorCode, EventSink, Outcome, Result, Stamp, StreamEvent, ToolCall,
    chat::ReasoningBlock,
    event::{ReasoningSeal, ToolCallDelta},
    wire::{self, Frame, Hooks},
};

use super::{
    items::{Items, Kind as ItemKind},
    wire::{Event, Item, Response, Said},
};
use crate::{
    config::Config,
    error,
    hooks::Extras,
    plain::{Kind, Plain},
    wire::WireUsage,
};

const OP: &str = "openai.stream";

/// Reads the events of one streamed answer.
#[derive(Debug)]
pub(crate) struct Decoder {
    config: Arc<Config>,
    complete: bool,
    started: bool,
    refused: bool,
    outcome: Outcome,
    items: Items,
    extras: Extras,
    plain: Plain,
}

impl Decoder {
    pub(crate) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            complete: false,
            started: false,
            refused: false,
            outcome: Outcome::default(),
            items: Items::default(),
            extras: Extras::default(),
            plain: Plain::default(),
        }
    }

    /// One parsed event. `name`: the type, or the name of the SSE event where a server leaves the type out.
    fn event<'a>(
        &mut self,
        name: &str,
        event: Event<'a>,
        data: &'a str,
        stamp: Stamp,
        sink: &mut dyn EventSink,
    ) -> Result<()> {
        match name {
            "response.output_text.delta" => self.text(event, Kind::Text, data, stamp, sink),
            // The names without `_text` are those of older servers.
            "response.reasoning_text.delta"
            | "response.reasoning_summary_text.delta"
            | "response.reasoning.delta"
            | "response.reasoning_summary.delta" => self.text(event, Kind::Reasoning, data, stamp, sink),
            // What the model says instead of an answer: text to the reader, and an end of its own kind.
            "response.refusal.delta" => {
                self.refused = true;
                let Some(text) = event.delta.0 else { return Ok(()) };
                self.item(&event.item_id, event.output_index, false)?.said = true;
                sink.event(StreamEvent::Text(text), stamp);
                Ok(())
            }
            "response.function_call_arguments.delta" => self.arguments(event, stamp, sink),
            "response.output_item.added" => self.begin(event, stamp, sink),
            "response.output_item.done" => match event.item {
                Some(item) => self.done(event.output_index, *item, stamp, sink),
                None => Ok(()),
            },
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.created"
            | "response.in_progress"
            | "response.queued"
            | "response.cancelled" => self.response(name, event, data, stamp, sink),
            "error" => Err(error::in_answer(&self.config, OP, data, ErrorCode::Stream)),
            // Ends of parts, server-run tools, whatever comes later; an error may stand where an event should.
            _ if event.error.is_some() => Err(error::in_answer(&self.config, OP, data, ErrorCode::Stream)),
            "" => error::of_other_shape(&self.config, OP, data, ErrorCode::Stream).map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }

    fn item(
        &mut self,
        id: &crate::wire::Label<'_>,
        index: Option<u32>,
        call: bool,
    ) -> Result<&mut super::items::Seen> {
        self.items.at(index, id.0.as_deref(), call).map_err(|e| error::protocol(OP, e))
    }

    fn text<'a>(
        &mut self,
        event: Event<'a>,
        kind: Kind,
        data: &'a str,
        stamp: Stamp,
        sink: &mut dyn EventSink,
    ) -> Result<()> {
        let Some(text) = event.delta.0 else { return Ok(()) };
        self.item(&event.item_id, event.output_index, false)?.said = true;
        if let Cow::Borrowed(text) = text {
            self.plain.learn(data, kind, text);
        }
        sink.event(say(kind, text), stamp);
        Ok(())
    }

    fn arguments(&mut self, event: Event<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        let Some(arguments) = event.delta.0 else { return Ok(()) };
        let seen = self.item(&event.item_id, event.output_index, true)?;
        seen.said = true;
        if let ItemKind::Call(index) = seen.kind {
            sink.event(
                StreamEvent::ToolCall(ToolCallDelta { index, id: None, name: None, arguments }),
                stamp,
            );
        }
        Ok(())
    }

    fn begin(&mut self, event: Event<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        let Some(item) = event.item else { return Ok(()) };
        let is_call = item.kind.0.as_deref() == Some("function_call");
        let seen = self
            .items
            .begin(event.output_index, item.id.0.as_deref(), is_call)
            .map_err(|e| error::protocol(OP, e))?;
        if let ItemKind::Call(index) = seen.kind {
            seen.named = item.name.0.is_some();
            // Arguments in the announcement would be told again in pieces, or at the end.
            let call = ToolCallDelta { index, id: item.call_id.0, name: item.name.0, ..Default::default() };
            sink.event(StreamEvent::ToolCall(call), stamp);
        }
        Ok(())
    }

    /// The end of an item, with all of its content.
    fn done(
        &mut self,
        index: Option<u32>,
        mut item: Item<'_>,
        stamp: Stamp,
        sink: &mut dyn EventSink,
    ) -> Result<()> {
        let is_call = item.kind.0.as_deref() == Some("function_call");
        let seen = self.items.at(index, item.id.0.as_deref(), is_call).map_err(|e| error::protocol(OP, e))?;
        let told = seen.said || seen.done;
        let named = seen.named || seen.done;
        (seen.done, seen.named) = (true, true);
        if let ItemKind::Call(index) = seen.kind {
            let (id, name) = if named { (None, None) } else { (item.call_id.0, item.name.0) };
            let arguments = item.arguments.0.filter(|_| !told).unwrap_or_default();
            if id.is_some() || name.is_some() || !arguments.is_empty() {
                sink.event(StreamEvent::ToolCall(ToolCallDelta { index, id, name, arguments }), stamp);
            }
            return Ok(());
        }
        for said in item.take_said() {
            if matches!(said, Said::Refusal(_)) {
                self.refused = true;
            }
            if !told {
                sink.event(
                    match said {
                        Said::Text(t) | Said::Refusal(t) => StreamEvent::Text(t),
                        Said::Reasoning(t) => StreamEvent::Reasoning(t),
                    },
                    stamp,
                );
            }
        }
        if item.kind.0.as_deref() == Some("reasoning") {
            let seal = ReasoningSeal { id: item.id.0, signature: None, encrypted: item.encrypted_content.0 };
            sink.event(StreamEvent::ReasoningSeal(seal), stamp);
        }
        Ok(())
    }

    /// The state of the response as a whole; most of its fields repeat the request.
    fn response(
        &mut self,
        name: &str,
        event: Event<'_>,
        data: &str,
        stamp: Stamp,
        sink: &mut dyn EventSink,
    ) -> Result<()> {
        let Some(mut response) = event.response else {
            return Err(error::protocol(OP, "an event about a response without the response"));
        };
        response.id.set(&mut self.outcome.id);
        response.model.set(&mut self.outcome.model);
        // Behind content it would be the beginning of another answer.
        if !self.started && self.items.is_empty() && (response.id.0.is_some() || response.model.0.is_some()) {
            self.started = true;
            let [id, model] =
                [&response.id, &response.model].map(|name| name.0.as_deref().map(|t| self.config.clean(t)));
            sink.event(StreamEvent::Start { id, model }, stamp);
        }
        note(&mut self.extras, &response);
        self.extras.note(None, event.timings.as_deref());
        match name {
            "response.completed" | "response.incomplete" => {}
            "response.failed" => return Err(error::of_failed(&self.config, OP, data, ErrorCode::Stream)),
            "response.cancelled" => return Err(unfinished(OP, "cancelled")),
            _ => return Ok(()),
        }
        if self.items.is_empty() {
            for (index, item) in response.output.take().into_iter().flatten().enumerate() {
                self.done(Some(index as u32), item, stamp, sink)?;
            }
        }
        let reason = match response.end(self.refused, self.items.called()) {
            Ok(reason) => self.config.clean_reason(reason),
            Err("failed") => return Err(error::of_failed(&self.config, OP, data, ErrorCode::Stream)),
            Err(state) => return Err(unfinished(OP, state)),
        };
        self.complete = true;
        sink.event(StreamEvent::Finish(reason.clone()), stamp);
        self.outcome.finish_reason = Some(reason);
        if let Some(usage) = response.usage.and_then(|u| WireUsage::from(u).to_usage()) {
            self.outcome.usage = Some(usage);
            sink.event(StreamEvent::Usage(usage), stamp);
        }
        Ok(())
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
            sink.event(say(kind, Cow::Borrowed(text)), stamp);
            return Ok(());
        }
        // Some gateways end every stream as they end chat completions; it is not the end here.
        if data.starts_with("[DONE]") {
            return Ok(());
        }
        let mut event: Event<'_> = serde_json::from_str(data)
            .map_err(|e| error::malformed(&self.config, OP, "an event of a response", &e))?;
        let name = event.kind.0.take();
        self.event(name.as_deref().or(frame.event).unwrap_or_default(), event, data, stamp, sink)
    }

    fn is_complete(&self) -> bool {
        self.complete
    }

    fn finish(&mut self) -> Result<Outcome> {
        if !self.complete {
            return Err(error::new(
                OP,
                ErrorCode::StreamTruncated,
                "the stream ended without `response.completed`; expected the server, and every proxy before it, to \
                 send the stream to its end",
            ));
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
/// `malformed_response`; the classified error of a failed response and of an error object inside a 200;
/// `invalid_response` when the response is not finished; `empty_response`.
pub(crate) fn whole(config: &Config, body: &[u8], report: &mut Hooks<'_>) -> Result<ChatResponse> {
    const OP: &str = "openai.generate";
    let unreadable = |e: &dyn std::fmt::Display| error::malformed(config, OP, "a response", e);
    let json = std::str::from_utf8(body).map_err(|e| unreadable(&e))?;
    let mut response: Response<'_> = serde_json::from_str(json).map_err(|e| unreadable(&e))?;
    if response.error.is_some() {
        return Err(error::in_answer(config, OP, json, ErrorCode::InvalidResponse));
    }
    let mut extras = Extras::default();
    note(&mut extras, &response);
    extras.report(config, report);
    let Some(output) = response.output.take() else {
        return Err(error::of_other_shape(config, OP, json, ErrorCode::InvalidResponse)
            .unwrap_or_else(|| error::empty(OP, "output")));
    };
    let (mut answer, mut refused) = (ChatResponse::default(), false);
    for mut item in output {
        match item.kind.0.as_deref() {
            Some("function_call") => answer.tool_calls.push(ToolCall {
                id: item.call_id.into_owned().unwrap_or_else(|| format!("call_{}", answer.tool_calls.len())),
                name: item.name.into_owned().unwrap_or_default(),
                arguments: item.arguments.into_owned().unwrap_or_default(),
            }),
            Some("message" | "reasoning") => {
                let mut thought = String::new();
                for said in item.take_said() {
                    match said {
                        Said::Text(t) => answer.text.push_str(&t),
                        Said::Refusal(t) => {
                            refused = true;
                            answer.text.push_str(&t);
                        }
                        Said::Reasoning(t) => thought.push_str(&t),
                    }
                }
                if !thought.is_empty() {
                    answer.reasoning.get_or_insert_default().push_str(&thought);
                }
                if item.kind.0.as_deref() == Some("reasoning") {
                    answer.reasoning_blocks.push(ReasoningBlock {
                        id: item.id.into_owned(),
                        text: thought,
                        signature: None,
                        encrypted: item.encrypted_content.into_owned(),
                    });
                }
            }
            _ => {}
        }
    }
    let reason = match response.end(refused, !answer.tool_calls.is_empty()) {
        Ok(reason) => config.clean_reason(reason),
        Err("failed") => return Err(error::of_failed(config, OP, json, ErrorCode::InvalidResponse)),
        Err(state) => return Err(unfinished(OP, state)),
    };
    Ok(ChatResponse {
        finish_reason: Some(reason),
        usage: response.usage.and_then(|u| WireUsage::from(u).to_usage()),
        model: response.model.0.map(|name| config.clean(&name).into_owned()),
        id: response.id.0.map(|id| config.clean(&id).into_owned()),
        ..answer
    })
}

fn note(extras: &mut Extras, response: &Response<'_>) {
    response.service_tier.set(&mut extras.service_tier);
    extras.note(response.usage.map(WireUsage::from).as_ref(), response.timings.as_deref());
}

fn say(kind: Kind, text: Cow<'_, str>) -> StreamEvent<'_> {
    match kind {
        Kind::Text => StreamEvent::Text(text),
        Kind::Reasoning => StreamEvent::Reasoning(text),
    }
}

/// A response that has not come to an end of its own.
fn unfinished(op: &'static str, state: &str) -> llms_core::Error {
    error::new(
        op,
        ErrorCode::InvalidResponse,
        format!(
            "the response is {state}; expected a finished one: background responses are not fetched later"
        ),
    )
}
