//! What one request did, with every stamp on one monotonic clock. Absent is `None`.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    chat::{FinishReason, Usage},
    error::{CallPhase, Error, ErrorCode, ErrorKind},
    event::Stamp,
    observe::{ConnectionInfo, Reported},
    time::Timestamp,
};

/// In which part of the run a request was scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// Before the measured window; in no statistic.
    Warmup,
    /// While the load rose to its first rate, before the measured window; in no statistic.
    RampUp,
    /// Scheduled inside the measured window.
    Measured,
    /// Answered from a cache on this side: no measurement of the service; in no statistic.
    Replayed,
}

/// A token-bearing chunk: when it came and, where known, how many tokens it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkStamp {
    /// When the bytes came.
    pub stamp: Stamp,
    /// Tokens in the chunk; `None` when nobody counted them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u32>,
}

/// Three counts of the same tokens; their disagreement is reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenCounts {
    /// As the provider's usage says: the billing truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// As a named tokenizer counts the joined text of answer and reasoning (no tool calls), when one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<u64>,
    /// Characters of answer and reasoning text: the tokenizer-free unit.
    pub chars: u64,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRecord {
    /// The stable cause.
    pub code: ErrorCode,
    /// The short kind.
    pub kind: ErrorKind,
    /// Where in the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<CallPhase>,
    /// HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's own code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_code: Option<String>,
    /// How long the server asked to wait, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<f64>,
    /// The message, keys redacted.
    pub message: String,
}

impl From<&Error> for ErrorRecord {
    fn from(e: &Error) -> Self {
        let mut message = e.message().to_owned();
        let mut source = std::error::Error::source(e);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self {
            code: e.code(),
            kind: e.kind(),
            phase: e.phase(),
            status: e.status(),
            provider_code: e.provider_code().map(str::to_owned),
            retry_after_s: e.retry_after().map(|d| d.as_secs_f64()),
            message,
        }
    }
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordOutcome {
    /// A complete answer.
    Ok,
    /// An error; its latency ranks as +∞ in every percentile a verdict uses.
    Failed(ErrorRecord),
    /// Still in flight when the drain ended or the run was interrupted: nobody knows.
    Censored,
}

/// One attempt of one request.
///
/// `scheduled ≤ released ≤ sent ≤ written ≤ headers ≤ first token ≤ last token ≤ end`, where present.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// Unique within the run; sent as `x-request-id`.
    pub request_id: Arc<str>,
    /// Index into [`RunManifest::targets`](super::RunManifest::targets).
    pub target: u32,
    /// Block of the interleaved plan: the same prompt on every target has the same block.
    pub block: u64,
    /// Position of this target within its block, from 0.
    pub position: u32,
    /// Attempt, from 0; retries are off unless the scenario asks.
    #[serde(default)]
    pub attempt: u32,
    /// [`Prompt::id`](super::Prompt::id).
    pub prompt: Arc<str>,
    /// Part of the run.
    pub phase: RunPhase,
    /// The conversation it belongs to, in runs of multi-turn sessions: the same number on every target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Its turn in that conversation, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,

    /// When the plan wanted it sent; closed loop: when the user was ready.
    pub scheduled: Timestamp,
    /// When the concurrency cap let it go.
    pub released: Timestamp,
    /// When the prepared request was handed to the transport, before any connect; `None` when it never was.
    pub sent: Option<Timestamp>,
    /// Connection phases and reuse.
    #[serde(default)]
    pub connection: ConnectionInfo,
    /// The request was sent a second time after its reused connection died silently.
    #[serde(default)]
    pub resent: bool,
    /// The last byte of the request was handed to the kernel.
    pub written: Option<Timestamp>,
    /// Status and headers were complete.
    pub headers: Option<Stamp>,
    /// HTTP status.
    #[serde(default)]
    pub status: Option<u16>,
    /// First byte of the body.
    pub first_byte: Option<Stamp>,
    /// Index into `chunks` of the first answer token (not reasoning).
    #[serde(default)]
    pub first_answer: Option<u32>,
    /// Every token-bearing chunk in order; empty when not streamed or nothing came.
    #[serde(default)]
    pub chunks: Vec<ChunkStamp>,
    /// The body was complete, or the call ended in an error.
    pub end: Option<Timestamp>,

    /// Three counts of the tokens.
    #[serde(default)]
    pub tokens: TokenCounts,
    /// Why the model stopped.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
    /// The model that really answered.
    #[serde(default)]
    pub model: Option<String>,
    /// Bytes of the request.
    #[serde(default)]
    pub bytes_out: Option<u64>,
    /// Payload bytes of the answer.
    #[serde(default)]
    pub bytes_in: Option<u64>,
    /// Socket reads that brought them.
    #[serde(default)]
    pub reads: Option<u32>,
    /// What the server reported about itself.
    #[serde(default)]
    pub reported: BTreeMap<String, Reported>,
    /// How it ended.
    pub outcome: RecordOutcome,
}

impl RequestRecord {
    /// Whether it ended with a complete answer.
    pub fn is_ok(&self) -> bool {
        self.outcome == RecordOutcome::Ok
    }

    /// The first token-bearing chunk.
    pub fn first_token(&self) -> Option<&ChunkStamp> {
        self.chunks.first()
    }

    /// The last token-bearing chunk.
    pub fn last_token(&self) -> Option<&ChunkStamp> {
        self.chunks.last()
    }

    /// The first chunk of the answer proper, after any reasoning.
    pub fn first_answer_token(&self) -> Option<&ChunkStamp> {
        self.chunks.get(self.first_answer? as usize)
    }

    /// Generated tokens: the usage report, else the tokenizer.
    pub fn output_tokens(&self) -> Option<u64> {
        self.tokens.usage.and_then(|u| u.output_tokens).or(self.tokens.tokenizer)
    }

    /// Stamps out of order, as text for the finding; `None` when all is well.
    pub fn disorder(&self) -> Option<String> {
        let stamps = [
            ("scheduled", Some(self.scheduled)),
            ("released", Some(self.released)),
            ("sent", self.sent),
            ("headers", self.headers.map(|s| s.user)),
            ("first token", self.first_token().map(|c| c.stamp.user)),
            ("last token", self.last_token().map(|c| c.stamp.user)),
            ("end", self.end),
        ];
        let known: Vec<_> = stamps.into_iter().filter_map(|(n, t)| Some((n, t?))).collect();
        known.windows(2).find(|w| w[0].1 > w[1].1).map(|w| format!("{} lies after {}", w[0].0, w[1].0))
    }
}
