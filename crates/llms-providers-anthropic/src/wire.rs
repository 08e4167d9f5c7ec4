//! The parts of Anthropic's answers that are read, borrowed from the frame. Fields not named here are skipped.
//!
//! Only shapes and the arithmetic of the usage classes; what the shapes mean stands in `stream.rs`, `whole.rs` and
//! `error.rs`.

use std::{borrow::Cow, fmt};

use llms_core::{Usage, wire::borrow::Text};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// A field that is a text where we know the block it stands in, and may be anything in the blocks of tomorrow.
#[derive(Debug, Default)]
pub(crate) enum Loose<'a> {
    /// Not there, or null.
    #[default]
    Absent,
    /// Borrowed from the frame unless it holds escapes.
    Text(Cow<'a, str>),
    /// Anything else.
    Other,
}

impl<'a> Loose<'a> {
    /// The text; an error where something else stands in its place.
    pub(crate) fn text(self) -> Result<Option<Cow<'a, str>>, &'static str> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Other => Err("a text was expected where something else stands"),
        }
    }

    /// The text, where there is one that says something.
    pub(crate) fn said(self) -> Result<Option<Cow<'a, str>>, &'static str> {
        Ok(self.text()?.filter(|t| !t.is_empty()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Loose<'de>, E> {
        Ok(Loose::Absent)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Loose<'de>, E> {
        Ok(Loose::Other)
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Loose<'de>, E> {
        Ok(Loose::Other)
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Loose<'de>, E> {
        Ok(Loose::Other)
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Loose<'de>, E> {
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Loose<'de>, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
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
    pub(crate) id: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) name: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) text: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) thinking: Loose<'a>,
    /// What proves that the thinking is the model's.
    #[serde(borrow, default)]
    pub(crate) signature: Loose<'a>,
    /// Thinking that is redacted: encrypted.
    #[serde(borrow, default)]
    pub(crate) data: Loose<'a>,
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
    pub(crate) text: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) thinking: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) signature: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) partial_json: Loose<'a>,
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
    pub(crate) delta: Option<Ending<'a>>,
    #[serde(borrow, default)]
    pub(crate) usage: Option<WireUsage<'a>>,
}

/// Why the model stopped.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Ending<'a> {
    #[serde(borrow, default, rename = "stop_reason")]
    pub(crate) reason: Option<Text<'a>>,
    /// Which of the caller's stop sequences was met.
    #[serde(borrow, default, rename = "stop_sequence")]
    pub(crate) sequence: Loose<'a>,
    #[serde(borrow, default, rename = "stop_details")]
    pub(crate) details: Option<&'a RawValue>,
}

/// More about a refusal.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EndingDetails<'a> {
    #[serde(borrow)]
    pub(crate) category: Loose<'a>,
    #[serde(borrow)]
    pub(crate) explanation: Loose<'a>,
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
    pub(crate) stop_sequence: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) stop_details: Option<&'a RawValue>,
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
    pub(crate) display_name: Option<Text<'a>>,
    /// `active`, `deprecated` or `retired`.
    #[serde(borrow)]
    pub(crate) lifecycle: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) retires_at: Option<Text<'a>>,
    /// Size of the context window.
    pub(crate) max_input_tokens: Option<u64>,
    /// Largest `max_tokens`.
    pub(crate) max_tokens: Option<u64>,
    /// Names of capabilities, each with whether it is supported.
    #[serde(borrow)]
    pub(crate) capabilities: Option<&'a RawValue>,
}

/// One entry of [`ModelEntry::capabilities`].
#[derive(Debug, Deserialize)]
pub(crate) struct Capability {
    #[serde(default)]
    pub(crate) supported: bool,
}

/// The answer of `POST /v1/messages/count_tokens`.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenCount {
    pub(crate) input_tokens: u64,
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
    pub(crate) service_tier: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) speed: Loose<'a>,
    #[serde(borrow, default)]
    pub(crate) inference_geo: Loose<'a>,
    /// Requests of tools that the server runs, by kind.
    #[serde(borrow, default)]
    pub(crate) server_tool_use: Option<&'a RawValue>,
}

/// [`WireUsage::server_tool_use`].
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ServerToolUse {
    pub(crate) web_search_requests: Option<u64>,
    pub(crate) web_fetch_requests: Option<u64>,
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
    pub(crate) cache_read: Option<u64>,
    pub(crate) cache_write: Option<u64>,
    pub(crate) output: Option<u64>,
    pub(crate) reasoning: Option<u64>,
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

    /// [`Self::to_usage`], where anything was counted.
    pub(crate) fn reported(self) -> Option<Usage> {
        (self != Self::default()).then(|| self.to_usage())
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
        assert!(matches!(parsed.delta.text, Loose::Text(Cow::Borrowed("grüße"))));
        assert!(matches!(parsed.delta.kind.0, Cow::Borrowed("text_delta")));
    }

    #[test]
    fn a_field_of_another_kind_harms_only_those_who_read_it() {
        for (json, expected) in [
            ("null", Ok(None)),
            (r#""a\nb""#, Ok(Some("a\nb"))),
            ("7", Err(())),
            ("-7", Err(())),
            ("7.5", Err(())),
            ("true", Err(())),
            (r#"[1,{"a":[]}]"#, Err(())),
            (r#"{"a":{"b":[1]}}"#, Err(())),
        ] {
            let loose: Loose<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(loose.text().map_err(drop), expected.map(|t| t.map(Cow::Borrowed)), "{json}");
        }
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
