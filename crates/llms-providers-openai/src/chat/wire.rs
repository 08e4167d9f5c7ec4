//! The JSON of chat completions and of text completions, which differ in one field of the choice.
//!
//! Only answers: the request is written by `request.rs`. A plain chunk is parsed without allocating: texts borrow unless
//! they hold an escape, and of `choices` the first is kept in place.

use std::{borrow::Cow, fmt};

use llms_core::wire::borrow::Text;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, SeqAccess, Visitor},
};

use crate::{
    plain::Kind,
    wire::{Label, Timings, WireUsage},
};

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

/// A `chat.completion`, a `chat.completion.chunk`, a `text_completion`, or what stands in its place.
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
    /// In text completions, whole or streamed.
    #[serde(borrow)]
    pub(crate) text: Option<Text<'a>>,
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
    /// A message that says `text` and nothing else.
    pub(crate) fn of_text(text: Text<'a>) -> Self {
        Self { content: Some(text), ..Self::default() }
    }

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
    fn only_the_first_choice_counts() {
        let chunk: Answer<'_> = serde_json::from_str(
            r#"{"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"yes"}}]}"#,
        )
        .unwrap();
        assert_eq!(&*chunk.choices.unwrap().0.unwrap().delta.unwrap().content.unwrap(), "yes");
        let chunk: Answer<'_> = serde_json::from_str(r#"{"choices":[{"index":1,"delta":{}}]}"#).unwrap();
        assert!(chunk.choices.unwrap().0.is_none());
    }
}
