//! Recorded arrivals, as data: when requests came, how long they were, what they shared.
//!
//! A [`Trace`] in a scenario names a file and the part of it to play; reading the file (in `bench-runner`) fills in its
//! requests and their hash. The requests themselves are not written into result files: the hash stands for them.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::duration;
use crate::{chat::Message, config::ConfigErrors};

/// How a trace file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceFormat {
    /// Mooncake's JSON Lines: `timestamp` in ms, `input_length`, `output_length`, `hash_ids` (one per block of 512
    /// tokens; equal ids are equal prefixes).
    Mooncake,
    /// Azure's LLM inference traces, CSV: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`.
    Azure,
    /// BurstGPT's CSV: `Timestamp` in seconds, `Request tokens`, `Response tokens`.
    #[serde(rename = "burstgpt")]
    BurstGpt,
    /// JSON Lines of one's own: `offset_ms` or `timestamp` (ms, or RFC 3339 text), then `prompt`, `messages` or
    /// `input_tokens`, and `output_tokens`.
    Jsonl,
}

/// What one recorded request asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceInput {
    /// The conversation itself.
    Messages(Vec<Message>),
    /// Only its length: a synthetic prompt of that many tokens, shared with no other.
    Tokens(u32),
    /// Length and the ids of its blocks: prompts whose first blocks have equal ids begin with equal text.
    Blocks {
        /// Tokens.
        tokens: u32,
        /// One id per [`BLOCK_TOKENS`]; the last block may be cut short.
        hash_ids: Vec<u64>,
    },
}

/// Tokens of a block in [`TraceInput::Blocks`], as in Mooncake's traces.
pub const BLOCK_TOKENS: u32 = 512;

/// One recorded request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceRequest {
    /// Recorded time since the start of the part that is played, not scaled.
    pub offset: Duration,
    /// What it asked.
    pub input: TraceInput,
    /// Tokens of its answer, at least 1: the request's own `max_tokens`. `None`: the scenario's.
    pub output_tokens: Option<u32>,
}

/// The requests of a trace, once read. Cheap to clone. Two are always equal: [`Trace::sha256`] tells them apart, also
/// where the requests themselves were not kept.
#[derive(Clone, Default)]
pub struct TraceRequests(Option<Arc<[TraceRequest]>>);

impl TraceRequests {
    /// These requests, ordered by offset.
    pub fn new(requests: impl Into<Arc<[TraceRequest]>>) -> Self {
        Self(Some(requests.into()))
    }

    /// `None` when the file has not been read (or the scenario comes from a result file).
    pub fn get(&self) -> Option<&Arc<[TraceRequest]>> {
        self.0.as_ref()
    }
}

impl PartialEq for TraceRequests {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl fmt::Debug for TraceRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(requests) => write!(f, "{} requests", requests.len()),
            None => f.write_str("not read"),
        }
    }
}

/// A part of a recorded trace, to be played as an open loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The file; in a scenario file, relative to it.
    pub file: String,
    /// How it is written; seen from its first line when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TraceFormat>,
    /// Played time over recorded time: 0.5 plays twice as fast.
    #[serde(default = "one")]
    pub time_scale: f64,
    /// Recorded time after its first request at which the part begins.
    #[serde(default, with = "duration")]
    pub start: Duration,
    /// Recorded length of the part; to the end when left out.
    #[serde(default, with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub length: Option<Duration>,
    /// SHA-256 of the requests of the part, hex; filled in on reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The requests of the part; filled in on reading.
    #[serde(skip)]
    pub requests: TraceRequests,
}

fn one() -> f64 {
    1.0
}

impl Trace {
    /// A whole file at its recorded pace.
    pub fn new(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            format: None,
            time_scale: 1.0,
            start: Duration::ZERO,
            length: None,
            sha256: None,
            requests: TraceRequests::default(),
        }
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        errors.check(
            self.time_scale.is_finite() && self.time_scale > 0.0,
            "time_scale",
            "expected a factor above 0",
            self.time_scale,
        );
        errors.check(
            self.length.is_none_or(|l| !l.is_zero()),
            "length",
            "expected a duration above 0 s",
            "0 s",
        );
        match self.requests.get() {
            None => errors.push("file", "expected the trace to have been read before the run", &self.file),
            Some(requests) if requests.is_empty() => {
                errors.push("file", "expected at least one request in the part to play", &self.file);
            }
            Some(_) => {}
        }
        errors.into_result()
    }
}
