//! What a target's tokens were, what they cost, and what of it was for nothing: [`UsageAnalysis`].
//!
//! Data of `bench-analysis`, from records alone; hints on what to change are
//! [`Recommendation`](super::Recommendation)s beside it.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    analysis::{Estimate, Measured},
    result::RunManifest,
    synthetic::TokenCounter,
    traits::RecordSource,
};
use crate::error::Result;

/// Tokens in classes that do not overlap, summed over the requests that reported them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassTotals {
    /// Requests that reported input and output.
    pub requests: u64,
    /// Input neither read from nor written to a cache.
    pub input_uncached: u64,
    /// Input read from the provider's cache.
    pub cache_read: u64,
    /// Input written to the provider's cache.
    pub cache_write: u64,
    /// Everything generated.
    pub output: u64,
    /// Part of the output that was reasoning; `None` when no report said.
    pub reasoning: Option<u64>,
}

impl ClassTotals {
    /// All input.
    pub fn input(&self) -> u64 {
        self.input_uncached + self.cache_read + self.cache_write
    }
}

/// Generated tokens by two of the three counts, over the answers that have both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Disagreement {
    /// Tokens by the provider's usage, reasoning that was not shown left out.
    pub usage: u64,
    /// Tokens (or chunks) by the other count.
    pub other: u64,
    /// other / usage, with the interval of a ratio of sums over answers; 1 = they agree.
    pub ratio: Estimate,
}

/// The three counts of generated tokens: the usage report, a named tokenizer, the chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CountAgreement {
    /// Joined text of the answer counted by a tokenizer, against usage.
    pub tokenizer: Measured<Disagreement>,
    /// Token-bearing chunks, against usage: above or below 1 means that a chunk is not a token.
    pub chunks: Measured<Disagreement>,
}

/// A part of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptPart {
    /// System messages.
    System,
    /// Definitions of tools.
    Tools,
    /// Earlier turns of the conversation.
    History,
    /// What tools and retrieval brought (tool messages); documents pasted into a user's text cannot be told from it.
    Retrieval,
    /// The last message of the user.
    User,
}

impl PromptPart {
    /// All parts, in the order they are sent.
    pub const ALL: [Self; 5] = [Self::Tools, Self::System, Self::History, Self::Retrieval, Self::User];

    /// The word reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Tools => "tools",
            Self::History => "history",
            Self::Retrieval => "retrieval",
            Self::User => "user",
        }
    }
}

/// Input tokens of one part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartShare {
    /// Which.
    pub part: PromptPart,
    /// Mean tokens per request.
    pub tokens_per_request: f64,
    /// Share of all input tokens, 0–1.
    pub share: f64,
}

/// Input by part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PromptBreakdown {
    /// Largest first; the shares add up to 1.
    pub parts: Vec<PartShare>,
    /// Requests it rests on.
    pub requests: u64,
    /// How tokens were assigned to parts: by a tokenizer, or the reported input split by characters (an estimate).
    pub method: String,
}

/// What a unit of success cost. Each is spend / count over the measured requests, with the interval of a ratio of sums.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitCosts {
    /// US dollars of all measured requests, failed and repeated ones included.
    pub total_usd: Decimal,
    /// Per request.
    pub per_request: Measured<Estimate>,
    /// Per complete answer.
    pub per_success: Measured<Estimate>,
    /// Per *useful* answer: complete and not truncated.
    pub per_useful: Measured<Estimate>,
    /// Per useful answer that met every objective.
    pub per_slo_good: Measured<Estimate>,
    /// What the input that a cache served would have cost in addition, US dollars; below 0 when writing cost more.
    pub saved_by_cache_usd: Decimal,
    /// Failed attempts without a usage report: counted as not billed, though nobody here knows.
    pub failures_without_usage: u64,
    /// Where the price comes from.
    pub price_source: String,
    /// Date of the price, ISO 8601.
    pub price_date: String,
}

/// Spend that bought nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WastePart {
    /// Requests.
    pub requests: u64,
    /// Their share of all, with interval.
    pub share: Measured<Estimate>,
    /// Tokens billed for them, input and output.
    pub tokens: u64,
    /// US dollars; absent without a price.
    pub usd: Measured<Decimal>,
}

/// Waste by cause; no request is in two of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waste {
    /// Failed for good, as far as usage was reported for them.
    pub failed: WastePart,
    /// Complete answers cut off by the token limit (share: of complete answers).
    pub truncated: WastePart,
    /// Attempts that another attempt replaced, and input sent again after a connection died (it may have been billed).
    pub retried: WastePart,
}

/// Tokens and money of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageAnalysis {
    /// Name of the target.
    pub target: String,
    /// Registry name of the provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Answers come from a simulation.
    pub simulated: bool,
    /// Attempts scheduled in the measured window.
    pub attempts: u64,
    /// Complete answers.
    pub ok: u64,
    /// Complete answers that were not truncated.
    pub useful: u64,
    /// Sums by class, or why there are none.
    pub tokens: Measured<ClassTotals>,
    /// Output tokens per complete answer.
    pub output_per_answer: Measured<Estimate>,
    /// Input tokens per request.
    pub input_per_request: Measured<Estimate>,
    /// Three counts.
    pub counts: CountAgreement,
    /// Prompts by part.
    pub prompt: Measured<PromptBreakdown>,
    /// Money.
    pub cost: Measured<UnitCosts>,
    /// For nothing.
    pub waste: Waste,
}

/// From records to tokens and money: the pure part of token optimisation.
pub trait UsageAnalyzer: Send + Sync {
    /// One analysis per target of the run, in their order. `counter` splits prompts by tokens instead of characters, where
    /// their text is known.
    ///
    /// # Errors
    /// `invalid_input` when the records do not fit the manifest; errors of `records`.
    fn analyze_usage(
        &self,
        manifest: &RunManifest,
        records: &dyn RecordSource,
        counter: Option<&dyn TokenCounter>,
    ) -> Result<Vec<UsageAnalysis>>;
}
