//! Answers as a reader got them who may have stopped reading for a while: what back-pressure is judged by.
//!
//! Read by `bench-runner`, judged by `bench-analysis`.

use serde::{Deserialize, Serialize};

/// One answer as it was read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamRead {
    /// Token-bearing chunks.
    pub chunks: u64,
    /// Bytes of the body.
    pub bytes: u64,
    /// Hash of the text.
    pub text: u64,
    /// From the sending to the first chunk, seconds.
    pub ttft_s: Option<f64>,
    /// From the first chunk to the last, seconds.
    pub stream_s: f64,
    /// Why it ended before its end, and whether by the reader's own time limit.
    pub failed: Option<ReadFailure>,
    /// Of a slow reader.
    pub pause: Option<PauseRead>,
}

/// How an answer broke off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReadFailure {
    /// What was told.
    pub message: String,
    /// It was the client that gave up: nothing is known about the server.
    pub own: bool,
}

/// The pause of a slow reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PauseRead {
    /// Chunks read before it.
    pub before: u64,
    /// From the first chunk to its beginning, seconds.
    pub began_s: f64,
    /// How long nothing was read, seconds.
    pub length_s: f64,
    /// Chunks in the first tenth of a second after it.
    pub burst: u64,
}
