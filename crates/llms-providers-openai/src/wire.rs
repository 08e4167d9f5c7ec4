//! The JSON of the wire, as little of it as is needed, borrowed from the frame.
//!
//! Only answers: the request is written by `request.rs`. Unknown fields are skipped; known ones that are `null` count
//! as absent. A plain chunk is parsed without allocating: texts borrow unless they hold an escape, and of `choices`
//! the first is kept in place.

use std::{borrow::Cow, fmt, ops::Deref};

use llms_core::{FinishReason, Usage};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::plain::Kind;

/// Text that borrows from the input unless it holds an escape. (`Option<Cow<str>>` alone would always copy.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A label nobody computes with (id, model, fingerprint): text or absent; any other type is as good as absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Label<'a>(pub(crate) Option<Cow<'a, str>>);

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

/// The element with index 0 of `choices`; others (`n` > 1 is never asked for) are skipped.
#[derive(Debug)]
pub(crate) struct First<'a>(pub(crate) Option<Choice<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl<'de> Visitor<'de> for V {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of choices")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut first = None;
                while let Some(choice) = seq.next_element::<Choice<'de>>()? {
                    if first.is_none() && choice.index.unwrap_or(0) == 0 {
                        first = Some(choice);
                    }
                }
                Ok(First(first))
            }
        }
        d.deserialize_seq(V)
    }
}

/// A `chat.completion` or a `chat.completion.chunk`, or what stands in its place.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Label<'a>,
    #[serde(borrow, default)]
    pub(crate) model: Label<'a>,
    #[serde(borrow)]
    pub(crate) choices: Option<First<'a>>,
    pub(crate) usage: Option<WireUsage>,
    #[serde(borrow, default)]
    pub(crate) system_fingerprint: Label<'a>,
    #[serde(borrow, default)]
    pub(crate) service_tier: Label<'a>,
    /// Boxed, as few servers send it and every chunk would move it.
    pub(crate) timings: Option<Box<Timings>>,
    /// Looked into only when it is there.
    pub(crate) error: Option<IgnoredAny>,
}

/// One of the answers (only one is ever asked for).
#[derive(Debug, Deserialize)]
pub(crate) struct Choice<'a> {
    index: Option<u32>,
    /// In chunks.
    #[serde(borrow)]
    pub(crate) delta: Option<Message<'a>>,
    /// In whole answers; absent when Azure filtered all of it. Boxed, as every chunk would move it.
    #[serde(borrow)]
    pub(crate) message: Option<Box<Message<'a>>>,
    #[serde(borrow, default)]
    pub(crate) finish_reason: Label<'a>,
}

/// A message, or a piece of one.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) content: Option<Text<'a>>,
    /// DeepSeek, vLLM, SGLang, llama.cpp.
    #[serde(borrow)]
    pub(crate) reasoning_content: Option<Text<'a>>,
    /// vLLM from 0.11 on, OpenRouter, Ollama's `/v1`.
    #[serde(borrow)]
    pub(crate) reasoning: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) refusal: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) tool_calls: Option<Vec<Call<'a>>>,
}

impl<'a> Message<'a> {
    /// The text or the reasoning, when there is nothing else in the message (role and unknown fields aside) and it is a
    /// slice of the input.
    pub(crate) fn only_text(&self) -> Option<(Kind, &'a str)> {
        if self.tool_calls.as_ref().is_some_and(|c| !c.is_empty()) {
            return None;
        }
        let texts = [&self.content, &self.reasoning_content, &self.reasoning, &self.refusal];
        let mut said = (0..).zip(texts).filter_map(|(i, t)| Some((i, t.as_ref().filter(|t| !t.is_empty())?)));
        match (said.next()?, said.next()) {
            ((0, Text(Cow::Borrowed(text))), None) => Some((Kind::Text, text)),
            ((1 | 2, Text(Cow::Borrowed(text))), None) => Some((Kind::Reasoning, text)),
            _ => None,
        }
    }

    /// The reasoning, under whichever of its two names it came: gateways may send both with the same text.
    pub(crate) fn reasoning(&mut self) -> Option<Cow<'a, str>> {
        let take = |t: &mut Option<Text<'a>>| t.take().map(|t| t.0).filter(|t| !t.is_empty());
        take(&mut self.reasoning_content).or_else(|| take(&mut self.reasoning))
    }
}

/// A tool call, or a piece of one.
#[derive(Debug, Deserialize)]
pub(crate) struct Call<'a> {
    pub(crate) index: Option<u32>,
    #[serde(borrow, default)]
    pub(crate) id: Label<'a>,
    #[serde(borrow)]
    pub(crate) function: Option<Function<'a>>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Function<'a> {
    #[serde(borrow, default)]
    pub(crate) name: Label<'a>,
    #[serde(borrow)]
    pub(crate) arguments: Option<Text<'a>>,
}

/// The `usage` object. The classes below the totals are contained in them, as [`Usage`] wants it.
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

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    /// Newer models of OpenAI, OpenRouter.
    cache_write_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
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
            total_tokens: self.total_tokens,
            ..Usage::default()
        };
        (usage != Usage::default()).then_some(usage)
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

/// The wire's word for why the model stopped.
pub(crate) fn finish_reason(word: &str) -> FinishReason {
    match word {
        "stop" => FinishReason::Stop,
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
    fn plain_text_is_borrowed_and_escaped_text_is_not() {
        let chunk: Answer<'_> = serde_json::from_str(
            r#"{"id":"a","choices":[{"index":0,"delta":{"content":"hé","reasoning":"a\nb"}}]}"#,
        )
        .unwrap();
        let delta = chunk.choices.unwrap().0.unwrap().delta.unwrap();
        assert!(matches!(delta.content, Some(Text(Cow::Borrowed("hé")))));
        assert!(matches!(delta.reasoning, Some(Text(Cow::Owned(_)))));
        assert!(matches!(chunk.id.0, Some(Cow::Borrowed("a"))));
    }

    #[test]
    fn labels_of_any_type_are_harmless() {
        for json in ["null", "1", "-1", "1.5", "true", "[1,[2]]", "{\"a\":{\"b\":1}}", "\"\""] {
            assert_eq!(serde_json::from_str::<Label<'_>>(json).unwrap(), Label(None), "{json}");
        }
        assert_eq!(serde_json::from_str::<Label<'_>>("\"x\"").unwrap().0.unwrap(), "x");
    }

    #[test]
    fn only_the_first_choice_counts() {
        let chunk: Answer<'_> = serde_json::from_str(
            r#"{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"yes"}}]}"#,
        )
        .unwrap();
        assert_eq!(&*chunk.choices.unwrap().0.unwrap().delta.unwrap().content.unwrap(), "yes");
        let chunk: Answer<'_> = serde_json::from_str(r#"{"choices":[{"index":1,"delta":{}}]}"#).unwrap();
        assert!(chunk.choices.unwrap().0.is_none());
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
        check(
            r#"{"prompt_tokens":9,"prompt_tokens_details":null,"prompt_cache_hit_tokens":4}"#,
            9,
            Some(4),
            None,
        );
        check(r#"{"prompt_tokens":9,"reasoning_tokens":0}"#, 9, None, Some(0));
        assert_eq!(serde_json::from_str::<WireUsage>("{}").unwrap().to_usage(), None);
    }
}
