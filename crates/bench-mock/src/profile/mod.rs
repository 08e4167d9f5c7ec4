//! How a simulated provider behaves: everything that shapes its answers, as plain data for TOML and JSON.
//!
//! [`Preset`]s are starting points; [`Profile::from_value`] reads a file that may begin from one. What is drawn
//! stands beside what is true: see the `true_*` functions.

mod fault;
mod known;
mod load;
mod preset;
mod validate;
mod wire;

use std::time::Duration;

use llms_core::{bench::MockConfiguration, config::ConfigErrors, health::HealthState};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::dist::{Dist, Sampler};

pub use fault::{FaultKind, FaultRule};
pub use load::{Batching, Capacity, Memory, PrefixCache, RateLimit};
pub use preset::Preset;
pub(crate) use validate::{MAX_BALLAST, MAX_OUTPUT_TOKENS};
pub use wire::{Drip, SlowReader, Split, Wire};

/// How a simulated provider behaves.
///
/// Durations are in milliseconds unless the name says otherwise, before [`time_scale`](Self::time_scale).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Profile {
    /// What logs and reports call it.
    pub name: String,
    /// Same seed, same draws for the same request (its `x-request-id`, else its number).
    pub seed: u64,
    /// Factor on every duration of an answer (not on `retry_after_s` and fault windows): 0.1 plays ten times as
    /// fast, and whatever was slower than something else still is. Above 0.
    pub time_scale: f64,
    /// From the start of service to the first generated token.
    pub ttft_ms: Dist,
    /// Added to the above for every 1000 tokens of the prompt that are not cached.
    pub prefill_ms_per_1k: f64,
    /// From one token to the next; drawn for each token.
    pub gap_ms: Dist,
    /// Factor on all gaps of an answer; drawn once a request.
    pub pace: Dist,
    /// Growth of all delays per hour since the first request: 0.02 is 2 % an hour.
    pub drift_per_hour: f64,
    /// Length of an answer, rounded to whole tokens, at least 1.
    pub output_tokens: Dist,
    /// What the `max_tokens` of a request does.
    pub max_tokens: MaxTokens,
    /// Factor on the length: a talkative model has 1.1–3.
    pub verbosity: f64,
    /// Tokens in a chunk, rounded, at least 1; a chunk is sent when its last token is there, the first one when
    /// the first token is.
    pub tokens_per_chunk: Dist,
    /// Reasoning before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Reasoning>,
    /// When offered tools are called.
    pub tools: ToolAnswers,
    /// Answers given in turn (by request number) instead of random words; `output_tokens` is not used then, and
    /// a token is a word.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub responses: Vec<String>,
    /// Send what precedes the first token (OpenAI's role-only chunk, Anthropic's `message_start` and `ping`).
    /// Protocols that cannot do without it send it anyway.
    pub role_chunk: bool,
    /// When status, headers and the preamble are sent, as a share (0–1) of the time to the first token; 1 puts
    /// them into the same write.
    pub head_share: f64,
    /// End a stream one gap after the last token, as a model that generates an end-of-text token does; else at
    /// once.
    pub end_gap: bool,
    /// Report token usage.
    pub usage: bool,
    /// Share (0–1) of the prompt that is read from a cache: needs no prefill and is reported as such.
    pub cached_share: f64,
    /// A cache of prompt prefixes: what is found there needs no prefill and is reported as cached. The larger of
    /// this and `cached_share` counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix_cache: Option<PrefixCache>,
    /// Service slots.
    pub capacity: Capacity,
    /// How much slower each request is the more are served at once; not at all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching: Option<Batching>,
    /// Token buckets; requests beyond them are refused as rate-limited. When absent nothing is refused, and the
    /// vendor's headers tell of its usual limits with next to nothing used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
    /// From arrival to a refusal; refusals take no service slot.
    pub refusal_ms: f64,
    /// What goes wrong; the first rule that hits wins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<FaultRule>,
    /// Memory really allocated and written to while a request is served.
    pub memory: Memory,
    /// How the bytes of an answer go to the socket.
    #[serde(skip_serializing_if = "Wire::is_plain")]
    pub wire: Wire,
    /// What answers would cost; always labelled simulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prices: Option<SimulatedPrices>,
    /// What a health check finds.
    pub health: HealthState,
}

/// What the `max_tokens` of a request does to the length of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokens {
    /// It cuts longer answers, as with real models.
    #[default]
    Cap,
    /// The answer has exactly that length, as with `ignore_eos`.
    Echo,
}

/// Reasoning before the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reasoning {
    /// Its length in tokens, rounded; 0 is none.
    pub tokens: Dist,
    /// Whether its text is sent. Hidden reasoning takes time after `ttft_ms` before the first chunk is sent, and
    /// is counted in the usage.
    #[serde(default = "yes")]
    pub visible: bool,
}

fn yes() -> bool {
    true
}

/// When offered tools are called. A request whose last message is a tool's result is answered in words;
/// `tool_choice` is obeyed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolAnswers {
    /// Share (0–1) of the requests with tools and a free choice that are answered by calls.
    pub share: f64,
    /// Only when the last user message contains this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// Calls in such an answer, at least 1; arguments are made up from the tool's schema.
    pub calls: u32,
}

impl Default for ToolAnswers {
    fn default() -> Self {
        Self { share: 1.0, trigger: None, calls: 1 }
    }
}

/// A price model of a simulated provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulatedPrices {
    /// What the numbers imitate.
    pub label: String,
    /// US dollars for a million input tokens.
    pub input_usd_per_mtok: Decimal,
    /// US dollars for a million output tokens.
    pub output_usd_per_mtok: Decimal,
}

impl Default for Profile {
    /// The contract's defaults: 100 ms ± 0.1, no errors, 50 tokens/s ± 0.1; no memory simulation.
    fn default() -> Self {
        Self {
            name: "mock".to_owned(),
            seed: 0,
            time_scale: 1.0,
            ttft_ms: Dist::log_normal(100.0, 0.1),
            prefill_ms_per_1k: 0.0,
            gap_ms: Dist::log_normal(20.0, 0.1),
            pace: Dist::constant(1.0),
            drift_per_hour: 0.0,
            output_tokens: Dist::log_normal(48.0, 0.5),
            max_tokens: MaxTokens::Cap,
            verbosity: 1.0,
            tokens_per_chunk: Dist::constant(1.0),
            reasoning: None,
            tools: ToolAnswers::default(),
            responses: Vec::new(),
            role_chunk: true,
            head_share: 0.8,
            end_gap: true,
            usage: true,
            cached_share: 0.0,
            prefix_cache: None,
            capacity: Capacity::default(),
            batching: None,
            rate_limit: None,
            refusal_ms: 5.0,
            faults: Vec::new(),
            memory: Memory::default(),
            wire: Wire::default(),
            prices: None,
            health: HealthState::Healthy,
        }
    }
}

impl Profile {
    /// The contract's defaults under another name.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Reads a profile from JSON or, by way of it, TOML. A key `preset` names the [`Preset`] that absent fields
    /// are taken from.
    ///
    /// # Errors
    /// Every field that is wrong; an unknown one is refused by name.
    pub fn from_value(value: serde_json::Value) -> Result<Self, ConfigErrors> {
        let wrong = |field: &str, message: String| {
            let mut errors = ConfigErrors::default();
            errors.push(field, "expected a profile", message);
            errors
        };
        let serde_json::Value::Object(mut fields) = value else {
            return Err(wrong("profile", "something else than a table".to_owned()));
        };
        if let Some(preset) = fields.remove("preset") {
            let preset: Preset = preset.as_str().unwrap_or_default().parse()?;
            let base = serde_json::to_value(preset.profile()).map_err(|e| wrong("preset", e.to_string()))?;
            if let serde_json::Value::Object(base) = base {
                for (key, value) in base {
                    fields.entry(key).or_insert(value);
                }
            }
        }
        let profile: Self =
            serde_json::from_value(fields.clone().into()).map_err(|e| wrong_fields(fields, &e))?;
        profile.validate()?;
        Ok(profile)
    }

    /// Time to first token `median ± spread`.
    pub fn with_latency(mut self, median: Duration, spread: f64) -> Self {
        self.ttft_ms = ms_dist(median, spread);
        self
    }

    /// Tokens per second `rate ± spread`: gaps about `1/rate` as median.
    pub fn with_token_rate(mut self, tokens_per_second: f64, spread: f64) -> Self {
        self.gap_ms = Dist::log_normal(1e3 / tokens_per_second, spread);
        self
    }

    /// Answers of exactly `tokens` tokens (or fewer, when the request says so).
    pub fn with_output_tokens(mut self, tokens: u32) -> Self {
        self.output_tokens = Dist::constant(f64::from(tokens));
        self
    }

    /// Another seed.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Everything faster (below 1) or slower (above 1) by one factor.
    pub fn with_time_scale(mut self, factor: f64) -> Self {
        self.time_scale = factor;
        self
    }

    /// At most `slots` requests served at once.
    pub fn with_slots(mut self, slots: u32) -> Self {
        self.capacity.slots = Some(slots);
        self
    }

    /// One more fault rule, after those there are.
    pub fn with_fault(mut self, rule: FaultRule) -> Self {
        self.faults.push(rule);
        self
    }

    /// Without faults and memory simulation: what a server uses unless told otherwise.
    pub fn quiet(mut self) -> Self {
        self.faults.clear();
        self.memory = Memory::default();
        self
    }
}

/// Which fields cannot be read: each is tried alone.
fn wrong_fields(fields: serde_json::Map<String, serde_json::Value>, all: &serde_json::Error) -> ConfigErrors {
    let mut errors = ConfigErrors::default();
    for (name, value) in fields {
        let alone = serde_json::Map::from_iter([(name.clone(), value)]);
        if let Err(e) = serde_json::from_value::<Profile>(alone.into()) {
            errors.push(name, "expected a field of a profile", e);
        }
    }
    if errors.errors.is_empty() {
        errors.push("profile", "expected a profile", all);
    }
    errors
}

fn ms_dist(median: Duration, spread: f64) -> Dist {
    let median = median.as_secs_f64() * 1e3;
    if median == 0.0 { Dist::constant(0.0) } else { Dist::log_normal(median, spread) }
}

impl From<&MockConfiguration> for Profile {
    fn from(c: &MockConfiguration) -> Self {
        let kinds: Vec<FaultKind> =
            c.error_types.iter().filter_map(|code| FaultKind::of_code(*code)).collect();
        let mut profile = Self::default()
            .with_latency(c.simulated_latency, c.latency_variability)
            .with_token_rate(c.token_generation_rate, c.token_variability);
        profile.faults = FaultRule::split(c.error_injection_rate, &kinds);
        profile.memory =
            Memory { bytes: c.memory_usage_bytes, streaming_factor: c.streaming_memory_multiplier };
        profile.capacity.slots = c.concurrency_limit;
        profile
    }
}

/// A valid profile with what is costly to work out.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub profile: Profile,
    pub ttft: Sampler,
    pub gap: Sampler,
    pub pace: Sampler,
    pub output: Sampler,
    pub chunk: Sampler,
    pub reasoning: Option<Sampler>,
}

impl Prepared {
    pub(crate) fn new(profile: Profile) -> Result<Self, ConfigErrors> {
        profile.validate()?;
        Ok(Self {
            ttft: profile.ttft_ms.sampler(),
            gap: profile.gap_ms.sampler(),
            pace: profile.pace.sampler(),
            output: profile.output_tokens.sampler(),
            chunk: profile.tokens_per_chunk.sampler(),
            reasoning: profile.reasoning.as_ref().map(|r| r.tokens.sampler()),
            profile,
        })
    }
}
