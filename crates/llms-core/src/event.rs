//! What a stream delivers, stamped at the socket, and the sink it is pushed into.
//!
//! Push is the primitive: a decoder hands borrowed events to an [`EventSink`] with the stamp of the read that
//! carried them, taken before parsing.

use std::{
    borrow::Cow,
    task::{Context, Poll},
};

use serde::{Deserialize, Serialize};

use crate::{
    chat::{ChatResponse, FinishReason, ReasoningBlock, ToolCall, Usage},
    time::Timestamp,
};

/// When the bytes of an event arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// When the read returned in this process.
    pub user: Timestamp,
    /// When the kernel received the last segment of the read; `None` where the platform or the transport
    /// cannot say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<Timestamp>,
    /// Number of the socket read within the response, from 0: events with the same number shared one read,
    /// and the gap between them is unknown.
    pub read: u32,
}

impl Stamp {
    /// A user-space stamp of read number `read`.
    pub fn user(at: Timestamp, read: u32) -> Self {
        Self { user: at, kernel: None, read }
    }

    /// The best knowledge of when the bytes arrived: the kernel's stamp, else the user-space one.
    pub fn arrival(&self) -> Timestamp {
        self.kernel.unwrap_or(self.user)
    }
}

/// One event of a streamed answer; nothing vendor-specific. Borrowed from the frame on the hot path.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum StreamEvent<'a> {
    /// The stream began: what the server says about itself. Not a token.
    Start {
        /// The provider's id of the answer.
        id: Option<Cow<'a, str>>,
        /// The model that really answers.
        model: Option<Cow<'a, str>>,
    },
    /// Answer text, never empty.
    Text(Cow<'a, str>),
    /// Reasoning text, never empty.
    Reasoning(Cow<'a, str>),
    /// A block of reasoning ended, and this is what the vendor wants back with it. Not a token.
    ReasoningSeal(ReasoningSeal<'a>),
    /// A piece of a tool call.
    ToolCall(ToolCallDelta<'a>),
    /// Token counts so far; later ones override earlier ones field by field.
    Usage(Usage),
    /// Why the model stopped.
    Finish(FinishReason),
}

/// What a vendor attaches to a block of reasoning for the next turn: see [`ReasoningBlock`]. It belongs to the
/// reasoning text delivered since the last seal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReasoningSeal<'a> {
    /// The vendor's id of the block.
    pub id: Option<Cow<'a, str>>,
    /// Signature of the text.
    pub signature: Option<Cow<'a, str>>,
    /// The content, encrypted.
    pub encrypted: Option<Cow<'a, str>>,
}

/// A piece of a tool call. Pieces with one `index` belong together; id and name come with the first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCallDelta<'a> {
    /// Position of the call within the answer.
    pub index: u32,
    /// The provider's id, when this piece carries it.
    pub id: Option<Cow<'a, str>>,
    /// The tool's name, when this piece carries it.
    pub name: Option<Cow<'a, str>>,
    /// The next piece of the JSON text of the arguments; may be empty.
    pub arguments: Cow<'a, str>,
}

impl StreamEvent<'_> {
    /// Whether the event carries generated content (text, reasoning or tool-call text of length > 0): only
    /// such events count as first token, chunk or last token.
    pub fn is_token(&self) -> bool {
        match self {
            Self::Text(t) | Self::Reasoning(t) => !t.is_empty(),
            Self::ToolCall(d) => !d.arguments.is_empty() || d.name.as_ref().is_some_and(|n| !n.is_empty()),
            _ => false,
        }
    }

    /// Whether the event carries answer content: a token that is not reasoning.
    pub fn is_answer_token(&self) -> bool {
        self.is_token() && !matches!(self, Self::Reasoning(_))
    }

    /// A copy that owns its text.
    pub fn into_owned(self) -> StreamEvent<'static> {
        fn own(c: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(c.into_owned())
        }
        match self {
            Self::Start { id, model } => StreamEvent::Start { id: id.map(own), model: model.map(own) },
            Self::Text(t) => StreamEvent::Text(own(t)),
            Self::Reasoning(t) => StreamEvent::Reasoning(own(t)),
            Self::ReasoningSeal(s) => StreamEvent::ReasoningSeal(ReasoningSeal {
                id: s.id.map(own),
                signature: s.signature.map(own),
                encrypted: s.encrypted.map(own),
            }),
            Self::ToolCall(d) => StreamEvent::ToolCall(ToolCallDelta {
                index: d.index,
                id: d.id.map(own),
                name: d.name.map(own),
                arguments: own(d.arguments),
            }),
            Self::Usage(u) => StreamEvent::Usage(u),
            Self::Finish(r) => StreamEvent::Finish(r),
        }
    }
}

/// An owned event with its stamp: what [`ChatModel::stream`](crate::ChatModel::stream) yields.
#[derive(Clone, Debug, PartialEq)]
pub struct TimedEvent {
    /// The event.
    pub event: StreamEvent<'static>,
    /// When its bytes arrived.
    pub stamp: Stamp,
}

/// Receives events as they are decoded.
pub trait EventSink: Send {
    /// One event, borrowed; must not block. `stamp` was taken before the event was parsed.
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp);

    /// Asked before each read; `Pending` (having arranged for a wake-up) stops reading from the socket: the
    /// hook for back-pressure and slow readers.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }
}

impl<S: EventSink + ?Sized> EventSink for &mut S {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        (**self).event(event, stamp);
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        (**self).poll_ready(cx)
    }
}

/// Collects owned events: for tests and tools, not for the hot path.
impl EventSink for Vec<TimedEvent> {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        self.push(TimedEvent { event: event.into_owned(), stamp });
    }
}

/// Joins a stream into a whole answer. A `Start` after content begins it anew.
#[derive(Clone, Debug, Default)]
pub struct Collector {
    response: ChatResponse,
    /// Bytes of the reasoning text that earlier seals cover.
    sealed: usize,
    /// Index on the wire of each collected call: pieces of parallel calls may interleave.
    call_indices: Vec<u32>,
}

impl Collector {
    /// The answer so far; call ids missing on the wire become `call_<index>`.
    pub fn finish(mut self) -> ChatResponse {
        for (call, index) in self.response.tool_calls.iter_mut().zip(&self.call_indices) {
            if call.id.is_empty() {
                call.id = format!("call_{index}");
            }
        }
        self.response
    }
}

impl EventSink for Collector {
    fn event(&mut self, event: StreamEvent<'_>, _stamp: Stamp) {
        let r = &mut self.response;
        match event {
            StreamEvent::Start { id, model } => {
                // A second beginning: a layer attempts the call anew, and what came before is void.
                if !(r.text.is_empty() && r.reasoning.is_none() && r.tool_calls.is_empty()) {
                    *r = ChatResponse::default();
                    self.sealed = 0;
                    self.call_indices.clear();
                }
                r.id = id.map(Cow::into_owned).or(r.id.take());
                r.model = model.map(Cow::into_owned).or(r.model.take());
            }
            StreamEvent::Text(t) => r.text.push_str(&t),
            StreamEvent::Reasoning(t) => r.reasoning.get_or_insert_default().push_str(&t),
            StreamEvent::ReasoningSeal(seal) => {
                let text = r.reasoning.as_deref().unwrap_or_default();
                let covered = text.len();
                r.reasoning_blocks.push(ReasoningBlock {
                    id: seal.id.map(Cow::into_owned),
                    text: text[self.sealed..].to_owned(),
                    signature: seal.signature.map(Cow::into_owned),
                    encrypted: seal.encrypted.map(Cow::into_owned),
                });
                self.sealed = covered;
            }
            StreamEvent::ToolCall(d) => {
                let at = self.call_indices.iter().position(|&i| i == d.index).unwrap_or_else(|| {
                    self.call_indices.push(d.index);
                    r.tool_calls.push(ToolCall {
                        id: String::new(),
                        name: String::new(),
                        arguments: String::new(),
                    });
                    r.tool_calls.len() - 1
                });
                let call = &mut r.tool_calls[at];
                if let Some(id) = d.id {
                    call.id = id.into_owned();
                }
                if let Some(name) = d.name {
                    call.name.push_str(&name);
                }
                call.arguments.push_str(&d.arguments);
            }
            StreamEvent::Usage(u) => r.usage = Some(r.usage.unwrap_or_default().merge(u)),
            StreamEvent::Finish(reason) => r.finish_reason = Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delta(
        index: u32,
        id: Option<&'static str>,
        name: Option<&'static str>,
        arguments: &'static str,
    ) -> StreamEvent<'static> {
        StreamEvent::ToolCall(ToolCallDelta {
            index,
            id: id.map(Into::into),
            name: name.map(Into::into),
            arguments: arguments.into(),
        })
    }

    #[test]
    fn interleaved_parallel_calls_are_told_apart() {
        let mut c = Collector::default();
        for e in [
            delta(0, Some("a"), Some("f"), ""),
            delta(1, None, Some("g"), "{\"y\""),
            delta(0, None, None, "{\"x\":1}"),
            delta(1, None, None, ":2}"),
        ] {
            c.event(e, Stamp::default());
        }
        let calls = c.finish().tool_calls;
        assert_eq!(calls[0], ToolCall { id: "a".into(), name: "f".into(), arguments: "{\"x\":1}".into() });
        assert_eq!(
            calls[1],
            ToolCall { id: "call_1".into(), name: "g".into(), arguments: "{\"y\":2}".into() }
        );
    }

    #[test]
    fn a_seal_covers_the_reasoning_since_the_last_one() {
        let seal = |signature: &'static str| {
            StreamEvent::ReasoningSeal(ReasoningSeal {
                signature: Some(signature.into()),
                ..ReasoningSeal::default()
            })
        };
        let redacted = StreamEvent::ReasoningSeal(ReasoningSeal {
            encrypted: Some("x".into()),
            ..ReasoningSeal::default()
        });
        let mut c = Collector::default();
        for e in [
            StreamEvent::Reasoning("one ".into()),
            StreamEvent::Reasoning("two".into()),
            seal("s1"),
            redacted,
            StreamEvent::Reasoning("three".into()),
            seal("s2"),
        ] {
            assert!(matches!(e, StreamEvent::Reasoning(_)) == e.is_token());
            c.event(e.into_owned(), Stamp::default());
        }
        let answer = c.finish();
        assert_eq!(answer.reasoning.as_deref(), Some("one twothree"));
        let blocks: Vec<_> = answer
            .reasoning_blocks
            .iter()
            .map(|b| (b.text.as_str(), b.signature.as_deref(), b.encrypted.as_deref()))
            .collect();
        assert_eq!(
            blocks,
            [("one two", Some("s1"), None), ("", None, Some("x")), ("three", Some("s2"), None)]
        );
    }

    #[test]
    fn only_content_counts_as_a_token() {
        assert!(StreamEvent::Text("a".into()).is_token());
        assert!(!StreamEvent::Text("".into()).is_token());
        assert!(!StreamEvent::Usage(Usage::default()).is_token());
        assert!(!StreamEvent::Start { id: None, model: None }.is_token());
        assert!(StreamEvent::Reasoning("a".into()).is_token());
        assert!(!StreamEvent::Reasoning("a".into()).is_answer_token());
        assert!(delta(0, None, None, "{").is_answer_token());
    }
}
