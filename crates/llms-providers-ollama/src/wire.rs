//! The parts of Ollama's answers that are read, borrowed from the line. Fields not named here are skipped.
//!
//! Only shapes; what they mean stands in `stream.rs` and `error.rs`.

use std::{borrow::Cow, ops::Deref};

use llms_core::Usage;
use serde::Deserialize;
use serde_json::value::RawValue;

/// A text that borrows from the line unless it holds escapes. A newtype, because serde borrows a [`Cow`] inside an
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

/// One line of a stream, or a whole answer: they have one shape.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow, default)]
    pub(crate) model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) created_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) message: Option<WireMessage<'a>>,
    #[serde(default)]
    pub(crate) done: Option<bool>,
    #[serde(borrow, default)]
    pub(crate) done_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) error: Option<&'a RawValue>,
    // Counts and durations of the last line. Not a struct of their own: serde would buffer the line for it.
    #[serde(default)]
    prompt_eval_count: Option<u64>,
    #[serde(default)]
    eval_count: Option<u64>,
    #[serde(default)]
    total_duration: Option<u64>,
    #[serde(default)]
    load_duration: Option<u64>,
    #[serde(default)]
    prompt_eval_duration: Option<u64>,
    #[serde(default)]
    eval_duration: Option<u64>,
}

impl Line<'_> {
    /// Token counts; `None` when the line has none. The server leaves out counts of 0, and older ones leave out the
    /// prompt's when it was cached: absent is not zero.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let usage = Usage {
            input_tokens: self.prompt_eval_count,
            output_tokens: self.eval_count,
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
    }

    /// What the server measured.
    pub(crate) fn durations(&self) -> Durations {
        Durations {
            total: self.total_duration,
            load: self.load_duration,
            prompt_eval: self.prompt_eval_duration,
            eval: self.eval_duration,
        }
    }
}

/// Durations as the server measured them, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    pub(crate) total: Option<u64>,
    pub(crate) load: Option<u64>,
    pub(crate) prompt_eval: Option<u64>,
    pub(crate) eval: Option<u64>,
}

/// What the model says in a line.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct WireMessage<'a> {
    #[serde(borrow, default)]
    pub(crate) content: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) tool_calls: Option<Vec<WireCall<'a>>>,
}

/// A tool call, always whole.
#[derive(Debug, Deserialize)]
pub(crate) struct WireCall<'a> {
    /// Newer servers only.
    #[serde(borrow, default)]
    pub(crate) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) function: WireFunction<'a>,
}

/// The tool and its arguments, which are an object on this wire.
#[derive(Debug, Deserialize)]
pub(crate) struct WireFunction<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) arguments: Option<&'a RawValue>,
}

/// A refusal or an error line: a plain text from Ollama, an object from proxies that speak like OpenAI.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum ErrorBody {
    Text(String),
    Object {
        #[serde(default)]
        message: Option<String>,
    },
}

/// What stands around an error.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorBody,
    /// Where to sign in, when a cloud model was asked for without.
    #[serde(default)]
    pub(crate) signin_url: Option<String>,
}

/// `GET /api/tags`.
#[derive(Debug, Deserialize)]
pub(crate) struct Tags<'a> {
    #[serde(borrow)]
    pub(crate) models: Vec<Tag<'a>>,
}

/// One model that the server has.
#[derive(Debug, Deserialize)]
pub(crate) struct Tag<'a> {
    #[serde(borrow)]
    pub(crate) name: Text<'a>,
    #[serde(borrow, default)]
    pub(crate) digest: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) details: Option<TagDetails<'a>>,
}

/// What the server says about a model.
#[derive(Debug, Deserialize)]
pub(crate) struct TagDetails<'a> {
    #[serde(borrow, default)]
    pub(crate) parameter_size: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) quantization_level: Option<Text<'a>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_without_escapes_is_borrowed() {
        let line =
            r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":"grüße"},"done":false}"#;
        let parsed: Line<'_> = serde_json::from_str(line).unwrap();
        assert!(matches!(parsed.message.unwrap().content.unwrap().0, Cow::Borrowed("grüße")));
        assert!(matches!(parsed.created_at.unwrap().0, Cow::Borrowed("t")));
    }

    #[test]
    fn absent_counts_are_not_zero() {
        let usage = |line: &str| serde_json::from_str::<Line<'_>>(line).unwrap().usage();
        assert_eq!(usage(r#"{"done":true}"#), None);
        assert_eq!(
            usage(r#"{"eval_count":79}"#),
            Some(Usage { output_tokens: Some(79), ..Usage::default() })
        );
    }
}
