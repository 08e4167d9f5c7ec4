//! What a model answers.

use serde::{Deserialize, Serialize};

use super::{Message, ReasoningBlock, ToolCall};

/// Why the model stopped.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// A natural end, or a stop sequence.
    Stop,
    /// The token limit cut it off.
    Length,
    /// It wants tools called.
    ToolCalls,
    /// A filter or refusal ended it.
    ContentFilter,
    /// Anything else, in the provider's own word.
    Other(String),
}

impl FinishReason {
    /// The snake_case name; the provider's word for [`FinishReason::Other`].
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
            Self::Other(word) => word,
        }
    }
}

/// Tokens as the provider's usage report counts them, with one meaning for all vendors: the classes below the
/// totals are *contained* in them (codecs add up vendors that report disjoint classes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens of the prompt, including those read from or written to a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Generated tokens, including reasoning that was not shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Part of the input that was read from the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    /// Part of the input that was written to the provider's prompt cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Part of the output spent on reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// Part of the input that was audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_input_tokens: Option<u64>,
    /// Part of the output that was audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_output_tokens: Option<u64>,
    /// The total as reported, for cross-checking; `None` where the wire has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_tokens: Option<u64>,
}

impl Usage {
    /// Fields of `later` where present, else of `self`: usage often arrives in pieces (input first).
    pub fn merge(self, later: Self) -> Self {
        Self {
            input_tokens: later.input_tokens.or(self.input_tokens),
            output_tokens: later.output_tokens.or(self.output_tokens),
            cache_read_tokens: later.cache_read_tokens.or(self.cache_read_tokens),
            cache_write_tokens: later.cache_write_tokens.or(self.cache_write_tokens),
            reasoning_tokens: later.reasoning_tokens.or(self.reasoning_tokens),
            audio_input_tokens: later.audio_input_tokens.or(self.audio_input_tokens),
            audio_output_tokens: later.audio_output_tokens.or(self.audio_output_tokens),
            total_tokens: later.total_tokens.or(self.total_tokens),
        }
    }

    /// Input tokens billed at the full price: neither read from nor written to the cache.
    pub fn uncached_input_tokens(&self) -> Option<u64> {
        self.input_tokens?
            .checked_sub(self.cache_read_tokens.unwrap_or(0))?
            .checked_sub(self.cache_write_tokens.unwrap_or(0))
    }

    /// Generated tokens that were visible: output less reasoning.
    pub fn visible_output_tokens(&self) -> Option<u64> {
        self.output_tokens?.checked_sub(self.reasoning_tokens.unwrap_or(0))
    }
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatResponse {
    /// The answer text, empty when the model only called tools.
    pub text: String,
    /// Reasoning text, where the provider shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Reasoning as the vendor wants it back, where it signs or encrypts it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasoning_blocks: Vec<ReasoningBlock>,
    /// Tools the model wants called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Why it stopped.
    pub finish_reason: Option<FinishReason>,
    /// Tokens, where the provider reported them.
    pub usage: Option<Usage>,
    /// The model that really answered.
    pub model: Option<String>,
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// Whether it comes from a cache on this side: then nothing was generated, billed or measured.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
}

impl ChatResponse {
    /// The answer as a message to append to the conversation, with the reasoning the vendor wants back.
    pub fn to_message(&self) -> Message {
        Message::Assistant {
            content: self.text.clone(),
            tool_calls: self.tool_calls.clone(),
            reasoning: self.reasoning_blocks.clone(),
        }
    }
}
