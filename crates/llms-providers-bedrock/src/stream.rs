//! The events of ConverseStream as ours.
//!
//! `messageStop` is the terminal marker: what came before it is the answer. `metadata` with usage and latency
//! follows; a stream that breaks off between the two has a complete answer without usage.

use std::borrow::Cow;

use aws_sdk_bedrockruntime::types::{
    ContentBlockDelta, ContentBlockStart, ConverseStreamMetadataEvent, ConverseStreamOutput,
    ReasoningContentBlockDelta, StopReason,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use llms_core::{
    EventSink, FinishReason, Outcome, Result, Stamp, StreamEvent, Usage,
    event::{ReasoningSeal, ToolCallDelta},
};

use crate::{
    guardrail::Guardrail,
    hooks::Facts,
    reading::Decode,
    response::{cached, finish_reason, is_ours, latency, usage},
};

/// Reads the events of one stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// Tool-use blocks seen: index on the wire, and which of the caller's tool calls it is (`None`: a tool that
    /// Bedrock runs itself).
    blocks: Vec<(i32, Option<u32>)>,
    calls: u32,
    /// What the reasoning block under way wants back with it.
    seal: Seal,
    intervened: bool,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    facts: Facts,
    has_metadata: bool,
}

/// Signature and encrypted content of a block of reasoning; both may come in pieces.
#[derive(Debug, Default)]
struct Seal {
    signature: String,
    encrypted: Vec<u8>,
}

impl Decoder {
    fn event(&mut self, event: ConverseStreamOutput, stamp: Stamp, sink: &mut dyn EventSink) {
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
                self.seal(stamp, sink);
                self.intervened = e.stop_reason == StopReason::GuardrailIntervened;
                self.facts.guardrail = Guardrail::of_converse(self.intervened, None);
                let reason = finish_reason(&e.stop_reason);
                self.finish = Some(reason.clone());
                sink.event(StreamEvent::Finish(reason), stamp);
            }
            ConverseStreamOutput::Metadata(e) => self.metadata(e, stamp, sink),
            ConverseStreamOutput::ContentBlockStop(_) => self.seal(stamp, sink),
            // Events that this version does not know.
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
            ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::Signature(text)) => {
                self.seal.signature.push_str(text);
            }
            ContentBlockDelta::ReasoningContent(ReasoningContentBlockDelta::RedactedContent(content)) => {
                self.seal.encrypted.extend_from_slice(content.as_ref());
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
            // Citations, results of Bedrock's own tools, what is new.
            _ => {}
        }
    }

    /// The block is over. Models that do not sign their reasoning do not want it back.
    fn seal(&mut self, stamp: Stamp, sink: &mut dyn EventSink) {
        let Seal { signature, encrypted } = &self.seal;
        if signature.is_empty() && encrypted.is_empty() {
            return;
        }
        let seal = ReasoningSeal {
            id: None,
            signature: (!signature.is_empty()).then_some(Cow::Borrowed(signature)),
            encrypted: (!encrypted.is_empty()).then(|| STANDARD.encode(encrypted).into()),
        };
        sink.event(StreamEvent::ReasoningSeal(seal), stamp);
        self.seal = Seal::default();
    }

    fn next_call(&mut self) -> u32 {
        let index = self.calls;
        self.calls += 1;
        index
    }

    fn metadata(&mut self, event: ConverseStreamMetadataEvent, stamp: Stamp, sink: &mut dyn EventSink) {
        self.has_metadata = true;
        let trace = event.trace.as_ref();
        let invoked = trace.and_then(|t| t.prompt_router.as_ref()).and_then(|r| r.invoked_model_id.clone());
        self.facts = Facts {
            latency_ms: event.metrics.and_then(|m| latency(m.latency_ms)),
            service_tier: event.service_tier.map(|t| t.r#type().as_str().to_owned()),
            performance: event.performance_config.map(|p| p.latency().as_str().to_owned()),
            invoked_model: invoked,
            guardrail: Guardrail::of_converse(self.intervened, trace.and_then(|t| t.guardrail.as_ref())),
            ..Facts::default()
        };
        if let Some(usage) = &event.usage {
            cached(usage, &mut self.facts);
        }
        self.usage = event.usage.as_ref().and_then(usage);
        if let Some(usage) = self.usage {
            sink.event(StreamEvent::Usage(usage), stamp);
        }
    }
}

impl Decode for Decoder {
    type Item = ConverseStreamOutput;

    fn terminal(&self) -> &'static str {
        "messageStop"
    }

    fn item(&mut self, item: ConverseStreamOutput, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        self.event(item, stamp, sink);
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.finish.is_some()
    }

    fn is_complete(&self) -> bool {
        self.is_stopped() && self.has_metadata
    }

    fn outcome(&self) -> Option<Outcome> {
        let finish_reason = Some(self.finish.clone()?);
        let model = self.facts.invoked_model.clone();
        Some(Outcome { finish_reason, usage: self.usage, model, ..Outcome::default() })
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }
}
