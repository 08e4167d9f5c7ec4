//! Rate-limit headers, in each vendor's names and formats, from how the buckets really stand.
//!
//! Where a profile has no limit nothing is ever refused: then the headers tell of a usual limit of which this request
//! alone is used, or all of it when a fault plays the refusal. Bedrock and Ollama have no such headers.

use std::time::Duration;

use time::OffsetDateTime;

use super::{super::config::Protocol, Reply, rfc3339};
use crate::bucket::{Counted, Level, Levels, Shortage};

/// Requests a minute where nothing is limited.
const REQUESTS: [u64; 2] = [10_000, 4_000];
/// Tokens a minute of OpenAI, and of Anthropic's input and output.
const TOKENS: [u64; 3] = [2_000_000, 400_000, 80_000];

const MINUTE: Duration = Duration::from_secs(60);

/// What the headers depend on.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Limits {
    pub levels: Option<Levels>,
    /// The wait, where a rate limit refuses.
    pub refused: Option<Duration>,
    pub input_tokens: u32,
    pub azure: bool,
    /// Wall clock of the arrival, which the levels are of.
    pub at: OffsetDateTime,
}

impl Limits {
    /// What a refusal tells that no bucket asked for: the requests of the limit that the headers tell.
    pub(in super::super) fn used_up(&self, protocol: Protocol, wait: Duration) -> Option<Shortage> {
        let usually = match protocol {
            Protocol::OpenAi => REQUESTS[0],
            Protocol::Anthropic => REQUESTS[1],
            Protocol::Bedrock | Protocol::Ollama => return None,
        };
        Some(Shortage { of: Counted::Requests, level: self.requests(usually), requested: 1, wait })
    }

    /// How requests stand.
    fn requests(&self, usually: u64) -> Level {
        let used_up = |reset| Level { limit: usually, remaining: 0, reset, period: MINUTE };
        let told = self.levels.and_then(|levels| levels.requests);
        told.or(self.refused.map(used_up)).unwrap_or(usual(usually, 1))
    }

    /// Adds the headers to an answer, refusals included.
    pub(in super::super) fn add(&self, protocol: Protocol, reply: &mut Reply) {
        match protocol {
            Protocol::OpenAi => self.openai(reply),
            Protocol::Anthropic => self.anthropic(reply),
            Protocol::Bedrock | Protocol::Ollama => {}
        }
    }

    fn openai(&self, reply: &mut Reply) {
        let levels = self.levels.unwrap_or_default();
        let requests = self.requests(REQUESTS[0]);
        let tokens = levels.tokens.or(levels.input).unwrap_or(usual(TOKENS[0], self.input_tokens));
        let mut header = |name, value: String| reply.headers.push((name, value));
        header("x-ratelimit-limit-requests", requests.limit.to_string());
        header("x-ratelimit-limit-tokens", tokens.limit.to_string());
        header("x-ratelimit-remaining-requests", requests.remaining.to_string());
        header("x-ratelimit-remaining-tokens", tokens.remaining.to_string());
        if !self.azure {
            header("x-ratelimit-reset-requests", go_duration(requests.reset));
            header("x-ratelimit-reset-tokens", go_duration(tokens.reset));
        }
    }

    fn anthropic(&self, reply: &mut Reply) {
        const CLASSES: [[&str; 3]; 4] = [
            [
                "anthropic-ratelimit-requests-limit",
                "anthropic-ratelimit-requests-remaining",
                "anthropic-ratelimit-requests-reset",
            ],
            [
                "anthropic-ratelimit-input-tokens-limit",
                "anthropic-ratelimit-input-tokens-remaining",
                "anthropic-ratelimit-input-tokens-reset",
            ],
            [
                "anthropic-ratelimit-output-tokens-limit",
                "anthropic-ratelimit-output-tokens-remaining",
                "anthropic-ratelimit-output-tokens-reset",
            ],
            [
                "anthropic-ratelimit-tokens-limit",
                "anthropic-ratelimit-tokens-remaining",
                "anthropic-ratelimit-tokens-reset",
            ],
        ];
        let levels = self.levels.unwrap_or_default();
        let input = levels.input.unwrap_or(usual(TOKENS[1], self.input_tokens));
        let output = levels.output.unwrap_or(usual(TOKENS[2], 0));
        // The vendor's sum of both, unless there is a limit of its own.
        let tokens = levels.tokens.unwrap_or(Level {
            limit: input.limit + output.limit,
            remaining: input.remaining + output.remaining,
            reset: input.reset.max(output.reset),
            period: MINUTE,
        });
        let requests = self.requests(REQUESTS[1]);
        for (names, level) in CLASSES.iter().zip([requests, input, output, tokens]) {
            reply.headers.push((names[0], level.limit.to_string()));
            reply.headers.push((names[1], level.remaining.to_string()));
            reply.headers.push((names[2], self.instant(level.reset)));
        }
    }

    /// The instant in whole seconds, not before it.
    fn instant(&self, reset: Duration) -> String {
        let at = self.at.checked_add(reset.try_into().unwrap_or(time::Duration::HOUR)).unwrap_or(self.at);
        let up = if at.nanosecond() > 0 { time::Duration::SECOND } else { time::Duration::ZERO };
        rfc3339(at.replace_nanosecond(0).unwrap_or(at) + up)
    }
}

/// A limit a minute of which so much is used.
fn usual(limit: u64, used: u32) -> Level {
    let reset = Duration::from_secs_f64(f64::from(used) / limit as f64 * 60.0);
    Level { limit, remaining: limit.saturating_sub(used.into()), reset, period: MINUTE }
}

/// A duration as OpenAI writes it: `6ms`, `1.5s`, `1m0s`, `6h2m0s`; milliseconds, rounded up.
fn go_duration(d: Duration) -> String {
    let ms = d.as_nanos().div_ceil(1_000_000);
    let (minutes, below) = (ms / 60_000, ms % 60_000);
    let seconds = |ms: u128| {
        let text = format!("{}.{:03}", ms / 1000, ms % 1000);
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    };
    match (minutes / 60, minutes % 60) {
        (0, 0) if ms > 0 && ms < 1000 => format!("{ms}ms"),
        (0, 0) => seconds(below),
        (0, m) => format!("{m}m{}", seconds(below)),
        (h, m) => format!("{h}h{m}m{}", seconds(below)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_the_vendors() {
        for (ms, text) in [
            (0, "0s"),
            (6, "6ms"),
            (999, "999ms"),
            (1000, "1s"),
            (8640, "8.64s"),
            (60_000, "1m0s"),
            (90_500, "1m30.5s"),
            (3_600_000, "1h0m0s"),
            (86_399_000, "23h59m59s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn the_headers_tell_the_levels() {
        let level =
            |remaining| Level { limit: 60, remaining, reset: Duration::from_millis(1500), period: MINUTE };
        let levels = Levels { requests: Some(level(59)), output: Some(level(7)), ..Levels::default() };
        let limits = Limits {
            levels: Some(levels),
            refused: None,
            input_tokens: 100,
            azure: false,
            at: OffsetDateTime::UNIX_EPOCH,
        };
        let of = |protocol| {
            let mut reply = Reply::default();
            limits.add(protocol, &mut reply);
            reply.headers
        };
        let has = |headers: &[(&str, String)], name: &str, value: &str| {
            assert!(headers.iter().any(|(n, v)| *n == name && v == value), "{name}: {headers:?}");
        };
        let openai = of(Protocol::OpenAi);
        has(&openai, "x-ratelimit-remaining-requests", "59");
        has(&openai, "x-ratelimit-reset-requests", "1.5s");
        has(&openai, "x-ratelimit-remaining-tokens", "1999900");
        has(&openai, "x-ratelimit-reset-tokens", "3ms");
        let anthropic = of(Protocol::Anthropic);
        has(&anthropic, "anthropic-ratelimit-output-tokens-remaining", "7");
        has(&anthropic, "anthropic-ratelimit-requests-reset", "1970-01-01T00:00:02Z");
        has(&anthropic, "anthropic-ratelimit-tokens-limit", "400060");
        assert!(of(Protocol::Bedrock).is_empty() && of(Protocol::Ollama).is_empty());
    }
}
