//! The JSON of the Responses API: the events of a stream, the response object, the items of its output.
//!
//! Only answers: the request is written by `request.rs`. Texts borrow unless they hold an escape; kinds of items, parts
//! and events that this crate does not know parse as such and are skipped.

use std::borrow::Cow;

use llms_core::FinishReason;
use serde::{Deserialize, de::IgnoredAny};

use crate::wire::{Label, ResponseUsage, Timings};

/// One event of a stream. Which fields are there depends on its type.
#[derive(Debug, Deserialize)]
pub(crate) struct Event<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Label<'a>,
    /// The piece of text, reasoning or arguments; in events of other kinds it may be anything.
    #[serde(borrow, default)]
    pub(crate) delta: Label<'a>,
    pub(crate) output_index: Option<u32>,
    #[serde(borrow, default)]
    pub(crate) item_id: Label<'a>,
    #[serde(borrow)]
    pub(crate) item: Option<Box<Item<'a>>>,
    #[serde(borrow)]
    pub(crate) response: Option<Box<Response<'a>>>,
    /// llama.cpp, beside the response.
    pub(crate) timings: Option<Box<Timings>>,
    /// Looked into only when it is there.
    pub(crate) error: Option<IgnoredAny>,
}

/// The response object, whole or as far as it is.
#[derive(Debug, Deserialize)]
pub(crate) struct Response<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Label<'a>,
    #[serde(borrow, default)]
    pub(crate) model: Label<'a>,
    #[serde(borrow, default)]
    pub(crate) status: Label<'a>,
    #[serde(borrow, default)]
    pub(crate) service_tier: Label<'a>,
    #[serde(borrow)]
    pub(crate) output: Option<Vec<Item<'a>>>,
    pub(crate) usage: Option<ResponseUsage>,
    #[serde(borrow)]
    pub(crate) incomplete_details: Option<Incomplete<'a>>,
    /// llama.cpp.
    pub(crate) timings: Option<Box<Timings>>,
    /// Looked into only when it is there.
    pub(crate) error: Option<IgnoredAny>,
}

/// Why a response is incomplete.
#[derive(Debug, Deserialize)]
pub(crate) struct Incomplete<'a> {
    #[serde(borrow, default)]
    reason: Label<'a>,
}

impl Response<'_> {
    /// Why the model stopped, if this response ended with an answer, whole or cut off; else the word for its state.
    pub(crate) fn end(&self, refused: bool, called: bool) -> Result<FinishReason, &str> {
        match self.status.0.as_deref() {
            Some("completed") | None => Ok(match (refused, called) {
                (true, _) => FinishReason::ContentFilter,
                (_, true) => FinishReason::ToolCalls,
                _ => FinishReason::Stop,
            }),
            Some("incomplete") => {
                let reason = self.incomplete_details.as_ref().and_then(|d| d.reason.0.as_deref());
                Ok(match reason {
                    Some("max_output_tokens") => FinishReason::Length,
                    Some("content_filter") => FinishReason::ContentFilter,
                    other => FinishReason::Other(other.unwrap_or("incomplete").to_owned()),
                })
            }
            Some(unfinished @ ("queued" | "in_progress" | "cancelled" | "failed")) => Err(unfinished),
            Some(other) => Ok(FinishReason::Other(other.to_owned())),
        }
    }
}

/// One item of the output.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Item<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Label<'a>,
    #[serde(borrow)]
    pub(crate) id: Label<'a>,
    /// Of a function call.
    #[serde(borrow)]
    pub(crate) call_id: Label<'a>,
    #[serde(borrow)]
    pub(crate) name: Label<'a>,
    /// A text in a function call, anything in calls that the server runs itself.
    #[serde(borrow)]
    pub(crate) arguments: Label<'a>,
    /// Of a message or of reasoning.
    #[serde(borrow)]
    pub(crate) content: Parts<'a>,
    /// Of reasoning.
    #[serde(borrow)]
    pub(crate) summary: Parts<'a>,
    #[serde(borrow)]
    pub(crate) encrypted_content: Label<'a>,
}

/// The parts of an item; `null` and whatever is no array count as none.
#[derive(Debug, Default)]
pub(crate) struct Parts<'a>(pub(crate) Vec<Part<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Parts<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any<'a> {
            Parts(#[serde(borrow)] Vec<Part<'a>>),
            Other(IgnoredAny),
        }
        Ok(match Any::deserialize(d)? {
            Any::Parts(parts) => Self(parts),
            Any::Other(IgnoredAny) => Self::default(),
        })
    }
}

/// A part of a message or of reasoning.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Part<'a> {
    #[serde(borrow, rename = "type")]
    kind: Label<'a>,
    #[serde(borrow)]
    text: Label<'a>,
    #[serde(borrow)]
    refusal: Label<'a>,
}

/// What a part says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said<'a> {
    /// Answer text.
    Text(Cow<'a, str>),
    /// A refusal, which stands in the place of an answer.
    Refusal(Cow<'a, str>),
    /// Reasoning, or a summary of it.
    Reasoning(Cow<'a, str>),
}

impl<'a> Part<'a> {
    /// `None` for parts of other kinds, and for empty ones.
    pub(crate) fn said(self) -> Option<Said<'a>> {
        match self.kind.0.as_deref()? {
            "output_text" => self.text.0.map(Said::Text),
            "refusal" => self.refusal.0.map(Said::Refusal),
            "reasoning_text" | "summary_text" => self.text.0.map(Said::Reasoning),
            _ => None,
        }
    }
}

impl<'a> Item<'a> {
    /// All that a message or a piece of reasoning says, in order; nothing for items of other kinds.
    pub(crate) fn take_said(&mut self) -> impl Iterator<Item = Said<'a>> + use<'a> {
        let speaks = matches!(self.kind.0.as_deref(), Some("message" | "reasoning"));
        let (summary, content) = (std::mem::take(&mut self.summary).0, std::mem::take(&mut self.content).0);
        summary.into_iter().chain(content).filter(move |_| speaks).filter_map(Part::said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_is_borrowed_and_of_any_type() {
        let parse = |json| serde_json::from_str::<Event<'_>>(json).unwrap();
        let event = parse(r#"{"type":"response.output_text.delta","delta":"hé","sequence_number":1}"#);
        assert!(matches!(event.delta.0, Some(Cow::Borrowed("hé"))));
        assert_eq!(parse(r#"{"type":"response.other.delta","delta":{"a":1}}"#).delta, Label(None));
    }

    #[test]
    fn items_of_other_kinds_are_harmless() {
        let json = r#"[{"type":"file_search_call","content":{"a":[]},"arguments":{"q":1},"summary":null},
            {"type":"message","content":[{"type":"output_text","text":"a"},{"type":"later","text":"b"}]},
            {"type":"later","content":[{"type":"output_text","text":"c"}]},{}]"#;
        let items: Vec<Item<'_>> = serde_json::from_str(json).unwrap();
        let said: Vec<_> = items.into_iter().flat_map(|mut item| item.take_said()).collect();
        assert_eq!(said, [Said::Text("a".into())]);
    }
}
