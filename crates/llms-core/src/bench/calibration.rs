//! What a client was wrong by on a twin: a server on this machine that behaves as the target is expected to, under the
//! same load, and that logs what it really did.
//!
//! Plain data, saved with the run beside what the client suffered. Made by `llms-bench`, judged by `bench-analysis`.

use serde::{Deserialize, Serialize};

/// What holding one short run against the log of a twin gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Calibration {
    /// Load and pace of the twin, in words: `closed loop, 32 at once; 64 tokens at 20 ms`.
    pub plan: String,
    /// Requests held against its log.
    pub requests: u64,
    /// Requests that failed, or that the log does not know.
    pub unaccounted: u64,
    /// Reported time to first token against the server's arrival of the request to its first write.
    pub ttft: Option<TwinError>,
    /// Reported arrival of each chunk against its write.
    pub arrival: Option<TwinError>,
    /// Gaps between chunks that came in different reads.
    pub gaps: Option<TwinError>,
    /// From the instant a request was released to its sending.
    pub send_lag: Option<TwinError>,
    /// Share of gaps whose ends shared one read.
    pub merged_share: Option<f64>,
}

/// Distances from the truth without their sign, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TwinError {
    /// How many.
    pub n: u64,
    /// Median, type 7.
    pub p50_s: f64,
    /// 99th percentile, type 7.
    pub p99_s: f64,
}
