//! The parts of Ollama's answers that are read, borrowed from the line. Fields not named here are skipped.
//!
//! Only shapes; what they mean stands in `stream.rs` and `error.rs`.

use llms_core::{Usage, wire::borrow::Text};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One line of a stream, or a whole answer: they have one shape. `/api/chat` says what the model says in `message`,
/// `/api/generate` beside it.
#[derive(Debug, Deserialize)]
pub(crate) struct Line<'a> {
    #[serde(borrow, default)]
    pub(crate) model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) created_at: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) message: Option<WireMessage<'a>>,
    /// `/api/generate` only, as the two that follow.
    #[serde(borrow, default)]
    pub(crate) response: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) thinking: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) tool_calls: Option<Vec<WireCall<'a>>>,
    #[serde(default)]
    pub(crate) done: Option<bool>,
    #[serde(borrow, default)]
    pub(crate) done_reason: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) error: Option<&'a RawValue>,
    /// The model behind a name that stands for one of ollama.com, and where it runs.
    #[serde(borrow, default)]
    pub(crate) remote_model: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(crate) remote_host: Option<Text<'a>>,
    // Counts and durations of the last line. Not a struct of their own: serde would buffer the line for it.
    #[serde(default)]
    prompt_eval_count: Option<u64>,
    /// Servers from September 2026 on.
    #[serde(default)]
    prompt_eval_cached_count: Option<u64>,
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

impl<'a> Line<'a> {
    /// What the model says, wherever it stands.
    pub(crate) fn take_message(&mut self) -> WireMessage<'a> {
        let message = self.message.take().unwrap_or_default();
        WireMessage {
            content: message.content.or_else(|| self.response.take()),
            thinking: message.thinking.or_else(|| self.thinking.take()),
            tool_calls: message.tool_calls.or_else(|| self.tool_calls.take()),
        }
    }

    /// Token counts; `None` when the line has none. The server leaves out counts of 0, and older ones leave out the
    /// prompt's when it was cached: absent is not zero.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let usage = Usage {
            input_tokens: self.prompt_eval_count,
            cache_read_tokens: self.prompt_eval_cached_count,
            output_tokens: self.eval_count,
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
    }

    /// What the server measured.
    pub(crate) fn measured(&self) -> Measured {
        Measured {
            total: self.total_duration,
            load: self.load_duration,
            prompt_eval: self.prompt_eval_duration,
            eval: self.eval_duration,
            cached_tokens: self.prompt_eval_cached_count,
        }
    }
}

/// What the server measured: durations in nanoseconds by its own clock, and prompt tokens read from its cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) total: Option<u64>,
    pub(crate) load: Option<u64>,
    pub(crate) prompt_eval: Option<u64>,
    pub(crate) eval: Option<u64>,
    pub(crate) cached_tokens: Option<u64>,
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

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

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
        let cached =
            usage(r#"{"prompt_eval_count":12,"prompt_eval_cached_count":0,"eval_count":1}"#).unwrap();
        assert_eq!((cached.input_tokens, cached.cache_read_tokens), (Some(12), Some(0)));
    }
}
