//! The contract's analysis of streams: one answer at a time, looked at for one thing.
//!
//! [`StreamingAnalyzer`] is implemented by `bench-runner` over any [`ChatModel`](crate::ChatModel). Each call sends one request
//! (back-pressure: two) and describes that answer; distributions over many are what a run is for. What was not measured is
//! `None`. Seconds and bytes throughout.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::traits::Target;
use crate::{config::ConfigErrors, context::CallContext, error::Result};

/// What is looked at, and how closely.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamingOptions {
    /// [`StreamingAnalyzer::measure_ttft`] may be asked.
    pub ttft: bool,
    /// [`StreamingAnalyzer::analyze_throughput`] may be asked.
    pub throughput: bool,
    /// [`StreamingAnalyzer::analyze_streaming_memory`] may be asked.
    pub memory: bool,
    /// [`StreamingAnalyzer::test_backpressure_handling`] may be asked.
    pub backpressure: bool,
    /// Share of the chunks at which memory is read, above 0, at most 1.
    pub sample_rate: f64,
    /// Width of the windows of the throughput curve, above 0.
    pub window: Duration,
    /// How long a slow reader does not read, above 0.
    pub pause: Duration,
    /// Tokens an answer may have; the provider's own limit when `None`.
    pub max_tokens: Option<u32>,
    /// Longest time of an answer, pauses not counted; above 0.
    pub timeout: Duration,
}

impl Default for StreamingOptions {
    /// Everything, at every chunk, windows of a second, pauses of two, a minute for an answer.
    fn default() -> Self {
        Self {
            ttft: true,
            throughput: true,
            memory: true,
            backpressure: true,
            sample_rate: 1.0,
            window: Duration::from_secs(1),
            pause: Duration::from_secs(2),
            max_tokens: None,
            timeout: Duration::from_mins(1),
        }
    }
}

impl StreamingOptions {
    /// Checks every rule of the contract.
    ///
    /// # Errors
    /// Every field that breaks one.
    pub fn validate(&self) -> std::result::Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        let rate = self.sample_rate;
        e.check(0.0 < rate && rate <= 1.0, "sample_rate", "expected a share above 0, at most 1", rate);
        for (field, time) in [("window", self.window), ("pause", self.pause), ("timeout", self.timeout)] {
            e.check(!time.is_zero(), field, "expected a time above 0", "0");
        }
        e.check(self.max_tokens != Some(0), "max_tokens", "expected 1 or more", 0);
        e.into_result()
    }
}

/// When an answer began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TtftResult {
    /// Registry name of the provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// From the sending to the first token of any kind; `None` when none came.
    pub time_to_first_token_s: Option<f64>,
    /// The same to the first token of the answer, reasoning left out.
    pub time_to_first_answer_s: Option<f64>,
    /// From the sending to the end of the answer.
    pub total_stream_time_s: f64,
    /// When it was asked.
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: OffsetDateTime,
}

/// What one window of an answer brought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamPoint {
    /// Where the window begins, seconds after the first token.
    pub at_s: f64,
    /// Tokens per second of the window; the last window is as long as the answer lasts in it.
    pub tokens_per_second: f64,
}

/// How fast an answer came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamingThroughputResult {
    /// Registry name of the provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Tokens behind the first read over the time from it to the last token; `None` when all came in one read.
    pub tokens_per_second: Option<f64>,
    /// From the first token to the last.
    pub total_streaming_time_s: f64,
    /// Tokens of the answer, 1 or more.
    pub total_tokens_streamed: u64,
    /// Whether they are the provider's own count (visible tokens, reasoning that was not shown left out); else each chunk counts as
    /// one.
    pub tokens_reported: bool,
    /// Window by window; tokens are spread evenly over the chunks.
    pub throughput_curve: Vec<StreamPoint>,
}

/// What waited for a reader who did not read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackpressureResult {
    /// Registry name of the provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Pauses of the reader behind which part of the answer had been waiting.
    pub backpressure_events: u64,
    /// Text that had been waiting, bytes: what server and kernels on the way had made and kept.
    pub max_buffer_size: u64,
    /// From the end of the pause until nothing was waiting any more; above 0 when anything was.
    pub recovery_time_s: f64,
    /// What had been waiting over what the pause was long enough to make, 0–1. Near 1: made and kept; near 0: the server paused too,
    /// or the answer was over.
    pub buffer_utilization: f64,
    /// Whether the answer was as long as one that was read at full speed.
    pub complete: bool,
}

/// What reading an answer took of this process's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamingMemoryResult {
    /// Registry name of the provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Most bytes live at once while it was read, beyond those live before.
    pub peak_bytes: Option<u64>,
    /// Mean of the samples, beyond those live before.
    pub average_bytes: Option<f64>,
    /// Least-squares slope of the samples from the first chunk to the last, bytes per second; `None` below three samples.
    pub memory_growth_rate: Option<f64>,
    /// 100 · text / (text + peak): 100 when reading takes no memory, 50 when it takes as much as the text.
    pub memory_efficiency_score: Option<f64>,
    /// Peak over peak and what was live before, 0–1: the part of the process's memory that the stream is.
    pub memory_pressure: Option<f64>,
    /// Samples taken.
    pub samples: u64,
    /// Why there are no numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub absent: Option<String>,
}

/// Looks at streamed answers. May be used by many at once.
#[async_trait]
pub trait StreamingAnalyzer: Send + Sync {
    /// When the answer to `prompt` begins.
    ///
    /// # Errors
    /// For all four: `invalid_input` for an empty prompt, a target without a model, or what the options switch off; the error of a
    /// request that fails.
    async fn measure_ttft(&self, target: &Target, prompt: &str, ctx: &CallContext) -> Result<TtftResult>;

    /// How fast it comes.
    async fn analyze_throughput(
        &self,
        target: &Target,
        prompt: &str,
        ctx: &CallContext,
    ) -> Result<StreamingThroughputResult>;

    /// What becomes of it when the reader pauses.
    async fn test_backpressure_handling(
        &self,
        target: &Target,
        prompt: &str,
        ctx: &CallContext,
    ) -> Result<BackpressureResult>;

    /// What reading it takes of this process's memory. Other work of the process at the same time is counted with it.
    async fn analyze_streaming_memory(
        &self,
        target: &Target,
        prompt: &str,
        ctx: &CallContext,
    ) -> Result<StreamingMemoryResult>;
}
