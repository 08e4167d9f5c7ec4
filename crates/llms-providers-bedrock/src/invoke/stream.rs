//! The chunks of InvokeModelWithResponseStream as our events: what all families have in common.
//!
//! Each chunk is JSON of the family. The terminal marker is the chunk with the stop reason (`message_stop` of
//! Anthropic); the metrics come with it, or after it.

use std::{borrow::Cow, sync::Arc};

use aws_sdk_bedrockruntime::types::ResponseStream;
use llms_core::{
    EventSink, FinishReason, Outcome, Result, Stamp, StreamEvent, Usage,
    wire::{borrow::Text, refusal::clean_names},
};

use super::{
    Family,
    answer::{Tail, merged},
    anthropic, cohere, llama, mistral, nova, titan,
};
use crate::{config::Config, hooks::Facts, reading::Decode};

/// Reads the chunks of one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    config: Arc<Config>,
    family: State,
    said: Said,
    /// Usage as last pushed.
    pushed: Option<Usage>,
    /// The finish was pushed.
    finished: bool,
    has_metrics: bool,
}

/// What a family must remember from chunk to chunk.
#[derive(Debug)]
enum State {
    Anthropic(anthropic::Open),
    Cohere,
    Llama,
    Mistral,
    Nova(nova::Open),
    Titan,
}

/// What has been said so far, besides the content.
#[derive(Debug, Default)]
pub(super) struct Said {
    started: bool,
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    /// The reason to stop, where it comes before the end.
    pub(super) finish: Option<FinishReason>,
    stopped: bool,
    usage: Option<Usage>,
    pub(super) facts: Facts,
}

impl Said {
    /// The answer begins; only the first time counts.
    pub(super) fn start(&mut self, stamp: Stamp, sink: &mut dyn EventSink) {
        if !std::mem::replace(&mut self.started, true) {
            let [id, model] = [&self.id, &self.model].map(|t| t.as_deref().map(Cow::Borrowed));
            sink.event(StreamEvent::Start { id, model }, stamp);
        }
    }

    /// Answer text, unless it is empty.
    pub(super) fn text(&mut self, text: Option<Text<'_>>, stamp: Stamp, sink: &mut dyn EventSink) {
        self.start(stamp, sink);
        if let Some(Text(text)) = text.filter(|t| !t.is_empty()) {
            sink.event(StreamEvent::Text(text), stamp);
        }
    }

    /// The body's own counts so far, over earlier ones.
    pub(super) fn usage(&mut self, usage: Usage) {
        if usage != Usage::default() {
            self.usage = merged(self.usage, Some(usage));
        }
    }

    /// The terminal marker.
    pub(super) fn stop(&mut self, reason: FinishReason) {
        self.finish = Some(reason);
        self.stopped = true;
    }

    /// The terminal marker, where the reason came before it or there is none.
    pub(super) fn end(&mut self) {
        self.stopped = true;
    }
}

impl Decoder {
    pub(crate) fn new(family: Family, config: Arc<Config>) -> Self {
        let family = match family {
            Family::Anthropic => State::Anthropic(anthropic::Open::default()),
            Family::Cohere => State::Cohere,
            Family::Llama => State::Llama,
            Family::Mistral => State::Mistral,
            Family::Nova => State::Nova(nova::Open::default()),
            Family::Titan => State::Titan,
        };
        Self { config, family, said: Said::default(), pushed: None, finished: false, has_metrics: false }
    }

    fn chunk(&mut self, json: &[u8], stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        let said = &mut self.said;
        match &mut self.family {
            State::Anthropic(open) => open.chunk(&self.config, json, stamp, sink, said)?,
            State::Cohere => cohere::chunk(json, stamp, sink, said)?,
            State::Llama => llama::chunk(json, stamp, sink, said)?,
            State::Mistral => mistral::chunk(json, stamp, sink, said)?,
            State::Nova(open) => open.chunk(json, stamp, sink, said)?,
            State::Titan => titan::chunk(json, stamp, sink, said)?,
        }
        let mut counts = None;
        if let Some(tail) = Tail::of(json)? {
            counts = tail.note(&mut said.facts).usage();
            self.has_metrics |= tail.has_metrics();
        }
        if !said.stopped {
            return Ok(());
        }
        clean_names(&mut said.id, &mut said.model, &mut said.finish, self.config.secrets());
        if !std::mem::replace(&mut self.finished, true)
            && let Some(reason) = finish(said)
        {
            sink.event(StreamEvent::Finish(reason), stamp);
        }
        // The body's own counts stand before the metrics'.
        let usage = merged(merged(self.pushed, counts), said.usage);
        if usage != self.pushed
            && let Some(usage) = usage
        {
            self.pushed = Some(usage);
            sink.event(StreamEvent::Usage(usage), stamp);
        }
        Ok(())
    }
}

/// The reason to stop; a guardrail that acted stands before the model's own.
fn finish(said: &Said) -> Option<FinishReason> {
    match said.facts.guardrail.intervened {
        Some(true) => Some(FinishReason::ContentFilter),
        _ => said.finish.clone(),
    }
}

impl Decode for Decoder {
    type Item = ResponseStream;

    fn terminal(&self) -> &'static str {
        match self.family {
            State::Anthropic(_) => "message_stop",
            State::Cohere => "stream-end",
            State::Nova(_) => "messageStop",
            State::Titan => "a chunk with completionReason",
            State::Llama | State::Mistral => "a chunk with stop_reason",
        }
    }

    fn item(&mut self, item: ResponseStream, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        match item {
            ResponseStream::Chunk(part) => match part.bytes() {
                Some(json) if !json.as_ref().is_empty() => self.chunk(json.as_ref(), stamp, sink),
                _ => Ok(()),
            },
            // Events that this version does not know.
            _ => Ok(()),
        }
    }

    fn is_stopped(&self) -> bool {
        self.said.stopped
    }

    fn is_complete(&self) -> bool {
        self.said.stopped && self.has_metrics
    }

    fn outcome(&self) -> Option<Outcome> {
        let said = &self.said;
        said.stopped.then(|| Outcome {
            finish_reason: finish(said),
            usage: self.pushed,
            model: said.model.clone(),
            id: said.id.clone(),
            ..Outcome::default()
        })
    }

    fn facts(&self) -> &Facts {
        &self.said.facts
    }
}
