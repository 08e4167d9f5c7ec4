//! The JSON that all APIs share, as little of it as is needed, borrowed from the frame.
//!
//! Only answers: requests are written by the `request.rs` of each API. Unknown fields are skipped; known ones that are
//! `null` count as absent. What only one API sends stands in the `wire.rs` of its module.

use std::{borrow::Cow, fmt};

use llms_core::{FinishReason, Usage};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// A label nobody computes with (id, model, fingerprint): text or absent; any other type is as good as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label<'a>(pub(crate) Option<Cow<'a, str>>);

impl Label<'_> {
    /// A copy that owns its text.
    pub(crate) fn into_owned(self) -> Option<String> {
        self.0.map(Cow::into_owned)
    }

    /// Puts the text into `slot`; copied only when it differs.
    pub(crate) fn set(&self, slot: &mut Option<String>) {
        if let Some(new) = self.0.as_deref()
            && slot.as_deref() != Some(new)
        {
            *slot = Some(new.to_owned());
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Label<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = Label<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Label((!v.is_empty()).then_some(Cow::Borrowed(v))))
            }

            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Label((!v.is_empty()).then(|| Cow::Owned(v.to_owned()))))
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Label(None))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Label(None))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Label(None))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Label(None))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Label(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                IgnoredAny.visit_seq(seq).map(|_| Label(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                IgnoredAny.visit_map(map).map(|_| Label(None))
            }
        }
        d.deserialize_any(V)
    }
}

/// The `usage` object of chat and text completions. The classes below the totals are contained in them, as [`Usage`]
/// wants it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct WireUsage {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's name for cached input.
    prompt_cache_hit_tokens: Option<u64>,
    /// SGLang's place for reasoning tokens.
    reasoning_tokens: Option<u64>,
}

/// The `usage` object of responses. A type of its own, no aliases: some gateways send a count under both names.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct ResponseUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    input_tokens_details: Option<PromptDetails>,
    output_tokens_details: Option<CompletionDetails>,
}

impl From<ResponseUsage> for WireUsage {
    fn from(usage: ResponseUsage) -> Self {
        Self {
            prompt_tokens: usage.input_tokens,
            completion_tokens: usage.output_tokens,
            total_tokens: usage.total_tokens,
            prompt_tokens_details: usage.input_tokens_details,
            completion_tokens_details: usage.output_tokens_details,
            ..Self::default()
        }
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
struct PromptDetails {
    cached_tokens: Option<u64>,
    /// Newer models of OpenAI, OpenRouter.
    cache_write_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the wire")]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    accepted_prediction_tokens: Option<u64>,
    rejected_prediction_tokens: Option<u64>,
}

/// Counts that [`Usage`] has no field for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Predicted {
    pub(crate) accepted: Option<u64>,
    pub(crate) rejected: Option<u64>,
}

impl WireUsage {
    /// In the core's words; `None` when no count was in it.
    pub(crate) fn to_usage(self) -> Option<Usage> {
        let prompt = self.prompt_tokens_details.unwrap_or_default();
        let completion = self.completion_tokens_details.unwrap_or_default();
        let usage = Usage {
            input_tokens: self.prompt_tokens,
            output_tokens: self.completion_tokens,
            cache_read_tokens: prompt.cached_tokens.or(self.prompt_cache_hit_tokens),
            cache_write_tokens: prompt.cache_write_tokens,
            reasoning_tokens: completion.reasoning_tokens.or(self.reasoning_tokens),
            audio_input_tokens: prompt.audio_tokens,
            audio_output_tokens: completion.audio_tokens,
            total_tokens: self.total_tokens,
        };
        (usage != Usage::default()).then_some(usage)
    }

    /// What became of the tokens of a predicted output.
    pub(crate) fn predicted(self) -> Predicted {
        let details = self.completion_tokens_details.unwrap_or_default();
        Predicted {
            accepted: details.accepted_prediction_tokens,
            rejected: details.rejected_prediction_tokens,
        }
    }
}

/// llama.cpp's `timings`: what the server measured itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Timings {
    pub(crate) cache_n: Option<f64>,
    pub(crate) prompt_n: Option<f64>,
    pub(crate) prompt_ms: Option<f64>,
    pub(crate) predicted_n: Option<f64>,
    pub(crate) predicted_ms: Option<f64>,
    pub(crate) draft_n: Option<f64>,
    pub(crate) draft_n_accepted: Option<f64>,
}

/// The word of chat and text completions for why the model stopped; a refusal that ended "naturally" is still the end
/// of a refusal.
pub(crate) fn finish_reason(word: &str, refused: bool) -> FinishReason {
    match word {
        "stop" if refused => FinishReason::ContentFilter,
        // Text generation inference keeps its own words: the end-of-sequence token, a stop sequence.
        "stop" | "eos_token" | "stop_sequence" => FinishReason::Stop,
        "length" => FinishReason::Length,
        // `function_call` is the older name.
        "tool_calls" | "function_call" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    }
}

/// The answer of `GET /models`.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelList<'a> {
    #[serde(borrow)]
    data: Vec<ModelEntry<'a>>,
}

#[derive(Debug, Deserialize)]
struct ModelEntry<'a> {
    #[serde(borrow, default)]
    id: Label<'a>,
}

impl ModelList<'_> {
    /// The names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.data.iter().filter_map(|m| m.id.0.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_any_type_are_harmless() {
        for json in ["null", "1", "-1", "1.5", "true", "[1,[2]]", "{\"a\":{\"b\":1}}", "\"\""] {
            assert_eq!(serde_json::from_str::<Label<'_>>(json).unwrap(), Label(None), "{json}");
        }
        assert_eq!(serde_json::from_str::<Label<'_>>("\"x\"").unwrap().0.unwrap(), "x");
    }

    #[test]
    fn usage_of_every_dialect_reads_the_same() {
        #[track_caller]
        fn check(json: &str, input: u64, cached: Option<u64>, reasoning: Option<u64>) {
            let u = serde_json::from_str::<WireUsage>(json).unwrap().to_usage().unwrap();
            assert_eq!(
                (u.input_tokens, u.cache_read_tokens, u.reasoning_tokens),
                (Some(input), cached, reasoning)
            );
        }
        check(
            r#"{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}"#,
            9,
            Some(4),
            Some(2),
        );
        let json = r#"{"input_tokens":9,"prompt_tokens":9,"input_tokens_details":{"cached_tokens":4},"output_tokens":3,"output_tokens_details":{"reasoning_tokens":2}}"#;
        let usage = WireUsage::from(serde_json::from_str::<ResponseUsage>(json).unwrap()).to_usage().unwrap();
        assert_eq!(
            (usage.input_tokens, usage.cache_read_tokens, usage.reasoning_tokens),
            (Some(9), Some(4), Some(2))
        );
        check(
            r#"{"prompt_tokens":9,"input_tokens":9,"prompt_tokens_details":null,"prompt_cache_hit_tokens":4}"#,
            9,
            Some(4),
            None,
        );
        check(r#"{"prompt_tokens":9,"reasoning_tokens":0}"#, 9, None, Some(0));
        assert_eq!(serde_json::from_str::<WireUsage>("{}").unwrap().to_usage(), None);
    }

    #[test]
    fn audio_and_predictions_are_classes_of_their_own() {
        let json = r#"{"prompt_tokens":9,"prompt_tokens_details":{"audio_tokens":4},"completion_tokens":7,
            "completion_tokens_details":{"audio_tokens":5,"accepted_prediction_tokens":2,"rejected_prediction_tokens":0}}"#;
        let wire: WireUsage = serde_json::from_str(json).unwrap();
        let usage = wire.to_usage().unwrap();
        assert_eq!((usage.audio_input_tokens, usage.audio_output_tokens), (Some(4), Some(5)));
        assert_eq!(wire.predicted(), Predicted { accepted: Some(2), rejected: Some(0) });
    }
}
