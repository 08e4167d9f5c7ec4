//! What is kept of a running stream: counters and stamps, no text. Everything is reported when the call ends.

use std::{
    borrow::Cow,
    task::{Context, Poll},
};

use llms_core::{
    ChatRequest, ChatResponse, EventSink, FinishReason, Outcome, Stamp, StreamEvent, Usage, time::Timestamp,
};
use opentelemetry::KeyValue;

use crate::{labels::ModelLabels, live::Live, table::key};

/// Gaps between chunks are kept up to this many, then recorded: memory stays bounded for endless streams.
const MAX_GAPS: usize = 4096;

/// What a call showed of itself so far.
#[derive(Default)]
pub(crate) struct Seen {
    /// First chunk with generated content.
    pub(crate) first_chunk: Option<Timestamp>,
    /// Latest such chunk: when, and the number of the read that ended it.
    last: Option<(Timestamp, u32)>,
    /// Reads that brought generated content: what arrives together is one chunk.
    pub(crate) chunks: u64,
    /// Nanoseconds between the ends of neighbouring chunks.
    gaps: Vec<u64>,
    pub(crate) usage: Option<Usage>,
    pub(crate) finish: Option<FinishReason>,
    pub(crate) model: Option<String>,
    pub(crate) id: Option<String>,
    /// The answer came from a cache on this side.
    pub(crate) replayed: bool,
    /// Tool calls by their index, with the names as far as they came.
    tools: Vec<(u32, String)>,
}

impl Seen {
    /// Generated content arrived. Returns whether the kept gaps should be recorded now.
    ///
    /// Events of one read are one chunk: the gap between them is unknown, not zero.
    #[inline]
    fn chunk(&mut self, stamp: Stamp) -> bool {
        let at = stamp.arrival();
        match self.last {
            None => self.first_chunk = Some(at),
            Some((_, read)) if read == stamp.read => return false,
            Some((before, _)) => self.gaps.push(at.saturating_since(before).as_nanos() as u64),
        }
        self.last = Some((at, stamp.read));
        self.chunks += 1;
        self.gaps.len() >= MAX_GAPS
    }

    /// Attributes of the GenAI metrics of this call, errors apart.
    pub(crate) fn gen_ai(&self, labels: &ModelLabels) -> Vec<KeyValue> {
        labels.gen_ai_and(self.model.as_ref().map(|m| KeyValue::new(key::RESPONSE_MODEL, m.clone())))
    }

    /// Records the gaps kept so far, one value each, as the conventions ask.
    pub(crate) fn record_gaps(&mut self, live: &Live, attributes: &[KeyValue]) {
        for ns in self.gaps.drain(..) {
            live.per_chunk.record(ns as f64 / 1e9, attributes);
        }
    }

    /// The answer ended so.
    pub(crate) fn outcome(&mut self, outcome: &Outcome) {
        self.usage = match (self.usage, outcome.usage) {
            (Some(seen), Some(told)) => Some(seen.merge(told)),
            (seen, told) => told.or(seen),
        };
        keep(&mut self.finish, outcome.finish_reason.as_ref());
        keep(&mut self.model, outcome.model.as_ref());
        keep(&mut self.id, outcome.id.as_ref());
        self.replayed = outcome.replayed;
    }

    /// The whole answer.
    pub(crate) fn response(&mut self, response: &ChatResponse) {
        self.usage = response.usage;
        keep(&mut self.finish, response.finish_reason.as_ref());
        keep(&mut self.model, response.model.as_ref());
        keep(&mut self.id, response.id.as_ref());
        self.replayed = response.replayed;
        self.tools = response.tool_calls.iter().zip(0..).map(|(call, i)| (i, call.name.clone())).collect();
    }

    /// The tools called, each by the name it was offered under; `_OTHER` for one that was not: what a model makes up
    /// is its answer, and without bound.
    pub(crate) fn tools<'r>(&self, request: &'r ChatRequest) -> impl Iterator<Item = &'r str> {
        self.tools.iter().map(|(_, name)| {
            request.tools.iter().map(|t| t.name.as_str()).find(|offered| offered == name).unwrap_or("_OTHER")
        })
    }

    fn tool(&mut self, index: u32, name: Option<&Cow<'_, str>>) {
        let at = self.tools.iter().position(|(i, _)| *i == index).unwrap_or_else(|| {
            self.tools.push((index, String::new()));
            self.tools.len() - 1
        });
        if let Some(name) = name {
            self.tools[at].1.push_str(name);
        }
    }
}

fn keep<T: Clone>(into: &mut Option<T>, told: Option<&T>) {
    if into.is_none() {
        *into = told.cloned();
    }
}

/// Passes every event on and keeps what [`Seen`] holds of it.
pub(crate) struct SeeingSink<'a> {
    pub(crate) sink: &'a mut dyn EventSink,
    pub(crate) seen: &'a mut Seen,
    /// Where gaps go when there are too many to keep.
    pub(crate) live: &'a Live,
    pub(crate) labels: &'a ModelLabels,
}

impl EventSink for SeeingSink<'_> {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        let full = event.is_token() && self.seen.chunk(stamp);
        match &event {
            StreamEvent::Start { id, model } => {
                self.seen.id = id.as_deref().map(str::to_owned);
                self.seen.model = model.as_deref().map(str::to_owned);
            }
            StreamEvent::ToolCall(delta) if delta.name.is_some() => {
                self.seen.tool(delta.index, delta.name.as_ref());
            }
            StreamEvent::Usage(usage) => {
                self.seen.usage = Some(self.seen.usage.unwrap_or_default().merge(*usage));
            }
            StreamEvent::Finish(reason) => self.seen.finish = Some(reason.clone()),
            _ => {}
        }
        self.sink.event(event, stamp);
        if full {
            let attributes = self.seen.gen_ai(self.labels);
            self.seen.record_gaps(self.live, &attributes);
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sink.poll_ready(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_in_one_read_is_one_chunk() {
        let mut seen = Seen::default();
        for (ns, read) in [(10, 0), (10, 0), (30, 1), (70, 2), (70, 2)] {
            seen.chunk(Stamp::user(Timestamp::from_nanos(ns), read));
        }
        assert_eq!((seen.first_chunk, seen.chunks), (Some(Timestamp::from_nanos(10)), 3));
        assert_eq!(seen.gaps, [20, 40]);
    }

    #[test]
    fn only_offered_tools_are_named() {
        let mut seen = Seen::default();
        seen.tool(0, Some(&"get_".into()));
        seen.tool(1, Some(&"secret plans".into()));
        seen.tool(0, Some(&"weather".into()));
        let tool = llms_core::ToolDefinition::new("get_weather", "", serde_json::json!({}));
        let request = ChatRequest::text("x").with_tools([tool]);
        assert_eq!(seen.tools(&request).collect::<Vec<_>>(), ["get_weather", "_OTHER"]);
    }
}
