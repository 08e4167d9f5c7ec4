//! The parts of Anthropic's answers that are read, borrowed from the frame. Fields not named here are skipped.
//!
//! Only shapes and the arithmetic of the usage classes; what the shapes mean stands in `stream.rs` and `error.rs`.

use std::{borrow::Cow, ops::Deref};

use llms_core::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A text that borrows from the frame unless it holds escapes. A newtype, because serde borrows a [`Cow`] inside an
/// [`Option`] only through one.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Any event, as far as its kind: read when the SSE event name says nothing.
#[derive(Debug, Deserialize)]
pub(crate) struct Tagged<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
}

/// `message_start`.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageStart<'a> {
    #[serde(borrow)]
    pub(crate) message: Head<'a>,
}

/// What `message_start` says of the answer to come.
#[derive(Debug, Deserialize)]
pub(crate) struct Head<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) usage: Option<WireUsage<'a>>,
}

/// `content_block_start`.
#[derive(Debug, Deserialize)]
pub(crate) struct BlockStart<'a> {
    pub(crate) index: u32,
    #[serde(borrow)]
    pub(crate) content_block: Block<'a>,
}

/// A content block: whole in an answer that is not streamed, its beginning in one that is.
#[derive(Debug, Deserialize)]
pub(crate) struct Block<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) input: Option<&'a RawValue>,
}

/// `content_block_delta`.
#[derive(Debug, Deserialize)]
pub(crate) struct BlockDelta<'a> {
    pub(crate) index: u32,
    #[serde(borrow)]
    pub(crate) delta: Delta<'a>,
}

/// The next piece of a content block.
#[derive(Debug, Deserialize)]
pub(crate) struct Delta<'a> {
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) text: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) partial_json: Option<Text<'a>>,
}

/// `content_block_stop`.
#[derive(Debug, Deserialize)]
pub(crate) struct BlockStop {
    pub(crate) index: u32,
}

/// `message_delta`.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageDelta<'a> {
    #[serde(borrow, default)]
    pub(crate) delta: Option<StopDelta<'a>>,
    #[serde(borrow, default)]
    pub(crate) usage: Option<WireUsage<'a>>,
}

/// Why the model stopped.
#[derive(Debug, Deserialize)]
pub(crate) struct StopDelta<'a> {
    #[serde(borrow, default)]
    pub(crate) stop_reason: Option<Text<'a>>,
}

/// An answer that is not streamed, or the error object in its place.
#[derive(Debug, Deserialize)]
pub(crate) struct Whole<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) content: Option<Vec<Block<'a>>>,
    #[serde(borrow, default)]
    pub(crate) stop_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) usage: Option<WireUsage<'a>>,
    #[serde(borrow, default)]
    pub(crate) error: Option<&'a RawValue>,
}

/// `GET /v1/models/{model}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ModelEntry<'a> {
    /// `model` in the vendor's own answer; compatible servers answer in OpenAI's format, which has no such field.
    #[serde(borrow, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) lifecycle: Option<Text<'a>>,
}

/// A refusal, or an `error` event. Compatible servers leave out the outer `type`.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) error: ErrorObject<'a>,
    #[serde(borrow, default)]
    pub(crate) request_id: Option<Text<'a>>,
}

/// What went wrong.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorObject<'a> {
    #[serde(borrow, default, rename = "type")]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) message: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) details: Option<ErrorDetails<'a>>,
}

/// The stable name of the cause, where there is one.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorDetails<'a> {
    #[serde(borrow, default)]
    pub(crate) error_code: Option<Text<'a>>,
}

/// Usage as the wire has it: disjoint input classes, and cumulative totals that replace earlier ones.
#[derive(Debug, Deserialize)]
pub(crate) struct WireUsage<'a> {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens_details: Option<OutputDetails>,
    #[serde(default)]
    cache_creation: Option<CacheCreation>,
    #[serde(borrow, default)]
    pub(crate) service_tier: Option<Text<'a>>,
}

#[derive(Debug, Deserialize)]
struct OutputDetails {
    #[serde(default)]
    thinking_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct CacheCreation {
    #[serde(default)]
    ephemeral_5m_input_tokens: Option<u64>,
    #[serde(default)]
    ephemeral_1h_input_tokens: Option<u64>,
}

/// The counts of [`WireUsage`], kept apart until the end because they come in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    input: Option<u64>,
    cache_read: Option<u64>,
    cache_write: Option<u64>,
    pub(crate) output: Option<u64>,
    reasoning: Option<u64>,
    /// Written for five minutes: one price.
    pub(crate) cache_write_5m: Option<u64>,
    /// Written for an hour: another price.
    pub(crate) cache_write_1h: Option<u64>,
}

impl From<&WireUsage<'_>> for Counts {
    fn from(u: &WireUsage<'_>) -> Self {
        Self {
            input: u.input_tokens,
            cache_read: u.cache_read_input_tokens,
            cache_write: u.cache_creation_input_tokens,
            output: u.output_tokens,
            reasoning: u.output_tokens_details.as_ref().and_then(|d| d.thinking_tokens),
            cache_write_5m: u.cache_creation.as_ref().and_then(|c| c.ephemeral_5m_input_tokens),
            cache_write_1h: u.cache_creation.as_ref().and_then(|c| c.ephemeral_1h_input_tokens),
        }
    }
}

impl Counts {
    /// Fields of `later` where present, else of `self`.
    pub(crate) fn merge(self, later: Self) -> Self {
        Self {
            input: later.input.or(self.input),
            cache_read: later.cache_read.or(self.cache_read),
            cache_write: later.cache_write.or(self.cache_write),
            output: later.output.or(self.output),
            reasoning: later.reasoning.or(self.reasoning),
            cache_write_5m: later.cache_write_5m.or(self.cache_write_5m),
            cache_write_1h: later.cache_write_1h.or(self.cache_write_1h),
        }
    }

    /// In the vocabulary of the core: `input_tokens` is the sum of the three disjoint classes. Without the class
    /// `input_tokens` of the wire the sum is unknown.
    pub(crate) fn to_usage(self) -> Usage {
        Usage {
            input_tokens: self.input.map(|n| {
                n.saturating_add(self.cache_read.unwrap_or(0)).saturating_add(self.cache_write.unwrap_or(0))
            }),
            output_tokens: self.output,
            cache_read_tokens: self.cache_read,
            cache_write_tokens: self.cache_write,
            reasoning_tokens: self.reasoning,
            total_tokens: None,
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_escapes_is_borrowed() {
        let frame = r#"{"index":0,"delta":{"type":"text_delta","text":"grüße"}}"#;
        let parsed: BlockDelta<'_> = serde_json::from_str(frame).unwrap();
        assert!(matches!(parsed.delta.text.unwrap().0, Cow::Borrowed("grüße")));
        assert!(matches!(parsed.delta.kind.0, Cow::Borrowed("text_delta")));
    }

    #[test]
    fn disjoint_input_classes_are_added() {
        let usage: WireUsage<'_> = serde_json::from_str(
            r#"{"input_tokens":120,"cache_read_input_tokens":8000,"cache_creation_input_tokens":2000,"output_tokens":300}"#,
        )
        .unwrap();
        let u = Counts::from(&usage).to_usage();
        assert_eq!(u.input_tokens, Some(10_120));
        assert_eq!(u.uncached_input_tokens(), Some(120));
        assert_eq!((u.cache_read_tokens, u.cache_write_tokens), (Some(8000), Some(2000)));
        assert_eq!((u.output_tokens, u.total_tokens), (Some(300), None));
    }

    #[test]
    fn absent_is_not_zero() {
        let none: WireUsage<'_> = serde_json::from_str(r#"{"cache_read_input_tokens":3}"#).unwrap();
        let u = Counts::from(&none).to_usage();
        assert_eq!(u, Usage { cache_read_tokens: Some(3), ..Usage::default() });
    }
}
