//! The events of ConverseStream as ours.
//!
//! `messageStop` is the terminal marker: what came before it is the answer. `metadata` with usage and latency
//! follows; a stream that breaks off between the two has a complete answer without usage.

use std::borrow::Cow;

use aws_sdk_bedrockruntime::types::{
    ContentBlockDelta, ContentBlockStart, ConverseStreamMetadataEvent, ConverseStreamOutput,
    ReasoningContentBlockDelta,
};
use llms_core::{EventSink, FinishReason, Outcome, Stamp, StreamEvent, Usage, event::ToolCallDelta};

use crate::{
    hooks::Facts,
    response::{finish_reason, is_ours, usage},
};

/// Reads the events of one stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Tool-use blocks seen: index on the wire, and which of the caller's tool calls it is (`None`: a tool that
    /// Bedrock runs itself).
    blocks: Vec<(i32, Option<u32>)>,
    calls: u32,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    facts: Facts,
    has_metadata: bool,
}

impl Decoder {
    /// Pushes what one event means, with the stamp of the read that completed its frame.
    pub(crate) fn event(&mut self, event: ConverseStreamOutput, stamp: Stamp, sink: &mut dyn EventSink) {
        match event {
            ConverseStreamOutput::ContentBlockDelta(e) => {
                if let Some(delta) = e.delta {
                    self.delta(e.content_block_index, &delta, stamp, sink);
                }
            }
            ConverseStreamOutput::MessageStart(_) => {
                sink.event(StreamEvent::Start { id: None, model: None }, stamp);
            }
            ConverseStreamOutput::ContentBlockStart(e) => {
                if let Some(ContentBlockStart::ToolUse(call)) = e.start {
                    let index = is_ours(call.r#type.as_ref()).then(|| self.next_call());
                    self.blocks.push((e.content_block_index, index));
                    if let Some(index) = index {
                        let delta = ToolCallDelta {
                            index,
                            id: Some(Cow::Owned(call.tool_use_id)),
                            name: Some(Cow::Owned(call.name)),
                            arguments: Cow::Borrowed(""),
                        };
                        sink.event(StreamEvent::ToolCall(delta), stamp);
                    }
                }
            }
            ConverseStreamOutput::MessageStop(e) => {
                let reason = finish_reason(&e.stop_reason);
                self.finish = Some(reason.clone());
                sink.event(StreamEvent::Finish(reason), stamp);
            }
            ConverseStreamOutput::Metadata(e) => self.metadata(e, stamp, sink),
            // Ends of blocks, and events that this version does not know.
            _ => {}
        }
    }

    fn delta(&mut self, block: i32, delta: &ContentBlockDelta, stamp: Stamp, sink: &mut dyn EventSink) {
        match delta {
            ContentBlockDelta::Text(text) if !text.is_empty() => {
                sink.event(StreamEvent::Text(Cow::Borrowed(text)), stamp);
            }
            ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Text(text))
                if !text.is_empty() =>
            {
                sink.event(StreamEvent::Reasoning(Cow::Borrowed(text)), stamp);
            }
            ContentBlockDelta::ToolUse(call) if !call.input.is_empty() => {
                let known = self.blocks.iter().find(|(wire, _)| *wire == block).map(|(_, index)| *index);
                let index = known.unwrap_or_else(|| {
                    let index = Some(self.next_call());
                    self.blocks.push((block, index));
                    index
                });
                if let Some(index) = index {
                    let arguments = Cow::Borrowed(call.input.as_str());
                    let delta = ToolCallDelta { index, id: None, name: None, arguments };
                    sink.event(StreamEvent::ToolCall(delta), stamp);
                }
            }
            // Signatures, redacted reasoning, citations, results of Bedrock's own tools, what is new.
            _ => {}
        }
    }

    fn next_call(&mut self) -> u32 {
        let index = self.calls;
        self.calls += 1;
        index
    }

    fn metadata(&mut self, event: ConverseStreamMetadataEvent, stamp: Stamp, sink: &mut dyn EventSink) {
        self.has_metadata = true;
        self.facts = Facts {
            latency_ms: event.metrics.map(|m| m.latency_ms),
            service_tier: event.service_tier,
            performance: event.performance_config,
        };
        self.usage = event.usage.as_ref().and_then(usage);
        if let Some(usage) = self.usage {
            sink.event(StreamEvent::Usage(usage), stamp);
        }
    }

    /// Whether `messageStop` has come: the answer is complete.
    pub(crate) fn is_stopped(&self) -> bool {
        self.finish.is_some()
    }

    /// Whether nothing is to come any more.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_stopped() && self.has_metadata
    }

    /// How the stream ended; `None` without `messageStop`.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let finish_reason = Some(self.finish.clone()?);
        Some(Outcome { finish_reason, usage: self.usage, model: None, id: None })
    }

    /// What the service says beside the answer.
    pub(crate) fn facts(&self) -> &Facts {
        &self.facts
    }
}
