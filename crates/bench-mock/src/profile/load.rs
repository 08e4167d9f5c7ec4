//! What many requests at once do to each other: slots, batching, caches, limits, memory.

use llms_core::config::ConfigErrors;
use serde::{Deserialize, Serialize};

/// Service slots, first come first served, shared by all requests that meet the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capacity {
    /// Requests served at once; `None`: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    /// Requests that may wait; more are refused as overloaded. 0 refuses whenever no slot is free.
    pub queue: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { slots: None, queue: 10_000 }
    }
}

/// How a batch slows its members down, as continuous batching does: one iteration gives every request of the batch
/// a token and takes the longer the larger the batch is.
///
/// With `n` requests being served (this one included) and `b` = `batch`, else the profile's slots:
///
/// - a gap that begins now lasts `gap · (1 + slope · (n − 1) / b)`,
/// - a prefill that begins now lasts `ttft · (1 + prefill_slope · (n − 1) / b)`.
///
/// `n` is looked at when service starts (for the prefill) and at the instant of each chunk (for the next one), so
/// the pace changes as others come and go. Pauses of faults that lie in the answer are stretched alike. The rate at
/// which requests end rises with `n` ever more slowly: that is the knee
/// ([`Profile::true_capacity`](super::Profile::true_capacity)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// Growth of the gaps from an empty to a full batch, ≥ 0: 1 doubles them (almost).
    pub slope: f64,
    /// Growth of the time to the first token, ≥ 0.
    pub prefill_slope: f64,
    /// The size of a full batch; the profile's slots when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
}

impl Default for Batching {
    fn default() -> Self {
        Self { slope: 1.0, prefill_slope: 0.0, batch: None }
    }
}

/// A cache of prompt prefixes, as vendors and inference servers keep one: bounded, least recently used goes first.
///
/// Prompts are compared in blocks of 16 tokens (64 bytes of text, roles and tools included). A request is looked up
/// when it arrives, and what it adds is there for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrefixCache {
    /// Whether every prompt is cached (OpenAI, vLLM), or only as far as the request marks it with `cache_control` or
    /// `cachePoint` (Anthropic, Bedrock): then the first request creates and later ones read.
    pub automatic: bool,
    /// Shortest prefix that is cached, in tokens.
    pub min_tokens: u32,
    /// Automatic prefixes are read in multiples of so many tokens, at least 16.
    pub step_tokens: u32,
    /// Tokens the cache holds, at least 16.
    pub capacity_tokens: u64,
    /// Seconds after its last use that a prefix is forgotten; never when absent. Not scaled by `time_scale`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<f64>,
}

impl Default for PrefixCache {
    /// As vLLM does it.
    fn default() -> Self {
        Self { automatic: true, min_tokens: 16, step_tokens: 16, capacity_tokens: 1 << 20, ttl_s: None }
    }
}

impl PrefixCache {
    /// As OpenAI documents it: automatic, from 1024 tokens on, in steps of 128, for five minutes.
    pub fn openai() -> Self {
        Self { min_tokens: 1024, step_tokens: 128, ttl_s: Some(300.0), ..Self::default() }
    }

    /// As Anthropic documents it: marked prefixes of at least 1024 tokens, for five minutes.
    pub fn marked() -> Self {
        Self { automatic: false, min_tokens: 1024, ttl_s: Some(300.0), ..Self::default() }
    }
}

/// Token buckets for requests and for tokens. Each holds its limit when full and refills steadily.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Requests per second that it refills by, above 0.
    pub requests_per_s: f64,
    /// Requests it holds when full, at least 1; the limit that headers tell.
    pub burst: f64,
    /// Tokens a minute, above 0: input, and output as reserved by `max_tokens` (as drawn where that is absent).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_min: Option<f64>,
    /// Input tokens a minute, above 0; tokens read from the cache do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens_per_min: Option<f64>,
    /// Output tokens a minute, above 0, as generated: a request is refused once they are used up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens_per_min: Option<f64>,
}

impl Default for RateLimit {
    /// Ten thousand requests a minute.
    fn default() -> Self {
        Self {
            requests_per_s: 10_000.0 / 60.0,
            burst: 10_000.0,
            tokens_per_min: None,
            input_tokens_per_min: None,
            output_tokens_per_min: None,
        }
    }
}

impl RateLimit {
    /// Requests only: so many per second after a burst.
    pub fn requests(per_s: f64, burst: f64) -> Self {
        Self { requests_per_s: per_s, burst, ..Self::default() }
    }

    /// So many requests a minute, all of which may come at once.
    pub fn per_minute(requests: f64) -> Self {
        Self::requests(requests / 60.0, requests)
    }
}

/// Memory really allocated and written to while a request is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Bytes a request, at most 1 GiB.
    pub bytes: u64,
    /// Factor on them while streaming, ≥ 0.
    pub streaming_factor: f64,
}

impl Batching {
    pub(super) fn validate(&self, slots: Option<u32>, e: &mut ConfigErrors) {
        for (field, value) in [("batching.slope", self.slope), ("batching.prefill_slope", self.prefill_slope)]
        {
            e.check(value >= 0.0 && value.is_finite(), field, "expected a number ≥ 0", value);
        }
        let sized = self.batch.or(slots);
        e.check(
            sized.is_some_and(|n| n > 0),
            "batching.batch",
            "expected the size of a full batch, or `capacity.slots`",
            sized.map_or("neither".to_owned(), |n| n.to_string()),
        );
    }
}

impl PrefixCache {
    pub(super) fn validate(&self, e: &mut ConfigErrors) {
        e.check(
            self.step_tokens >= 16,
            "prefix_cache.step_tokens",
            "expected a number ≥ 16",
            self.step_tokens,
        );
        let fits = (16..=1 << 32).contains(&self.capacity_tokens);
        e.check(
            fits,
            "prefix_cache.capacity_tokens",
            "expected a number from 16 to 4294967296",
            self.capacity_tokens,
        );
        if let Some(s) = self.ttl_s {
            e.check(s > 0.0 && s.is_finite(), "prefix_cache.ttl_s", "expected a number above 0", s);
        }
    }
}

impl RateLimit {
    pub(super) fn validate(&self, e: &mut ConfigErrors) {
        for (field, value) in [
            ("requests_per_s", Some(self.requests_per_s)),
            ("tokens_per_min", self.tokens_per_min),
            ("input_tokens_per_min", self.input_tokens_per_min),
            ("output_tokens_per_min", self.output_tokens_per_min),
        ] {
            if let Some(v) = value {
                let field = format!("rate_limit.{field}");
                e.check(v > 0.0 && v.is_finite(), &field, "expected a number above 0", v);
            }
        }
        e.check(
            self.burst >= 1.0 && self.burst.is_finite(),
            "rate_limit.burst",
            "expected a number ≥ 1",
            self.burst,
        );
    }
}
