//! What Anthropic reports about itself, under stable keys: look-ups in headers, and what an answer says besides its
//! content.
//!
//! Nothing is derived, and nothing allocates but what an answer says in words of its own. Reset times stay texts
//! (RFC 3339): no clock is read here to turn them into waits. Keys that a server quotes are cut out.

use std::borrow::Cow;

use http::HeaderMap;
use llms_core::{observe::HookValue, wire::Hooks};

use crate::{
    config::Config,
    wire::{Counts, Ending, EndingDetails, Loose, ServerToolUse, WireUsage},
};

/// Every key reported, with what it means and its unit; absent where the server does not tell.
pub const KEYS: &[(&str, &str)] = &[
    ("anthropic.request_id", "header request-id, for the vendor's support"),
    (
        "anthropic.upstream_ms",
        "header x-envoy-upstream-service-time: ms until the service's first byte, seen by its proxy",
    ),
    (
        "anthropic.origin_response_ms",
        "header server-timing, entry x-originResponse: ms until the service answered the edge",
    ),
    ("anthropic.should_retry", "header x-should-retry: whether the vendor advises another attempt"),
    ("anthropic.ratelimit_requests_limit", "requests per minute allowed"),
    ("anthropic.ratelimit_requests_remaining", "requests left in the window"),
    ("anthropic.ratelimit_requests_reset", "when requests are full again, RFC 3339"),
    ("anthropic.ratelimit_tokens_limit", "tokens per minute allowed, by the tightest limit"),
    ("anthropic.ratelimit_tokens_remaining", "tokens left in the window, rounded to thousands"),
    ("anthropic.ratelimit_tokens_reset", "when tokens are full again, RFC 3339"),
    ("anthropic.ratelimit_input_tokens_limit", "input tokens per minute allowed"),
    ("anthropic.ratelimit_input_tokens_remaining", "input tokens left in the window, rounded to thousands"),
    ("anthropic.ratelimit_input_tokens_reset", "when input tokens are full again, RFC 3339"),
    ("anthropic.ratelimit_output_tokens_limit", "output tokens per minute allowed"),
    ("anthropic.ratelimit_output_tokens_remaining", "output tokens left in the window, rounded to thousands"),
    ("anthropic.ratelimit_output_tokens_reset", "when output tokens are full again, RFC 3339"),
    ("anthropic.priority_input_tokens_limit", "input tokens per minute of the priority tier"),
    ("anthropic.priority_input_tokens_remaining", "priority input tokens left, rounded to thousands"),
    ("anthropic.priority_input_tokens_reset", "when priority input tokens are full again, RFC 3339"),
    ("anthropic.priority_output_tokens_limit", "output tokens per minute of the priority tier"),
    ("anthropic.priority_output_tokens_remaining", "priority output tokens left, rounded to thousands"),
    ("anthropic.priority_output_tokens_reset", "when priority output tokens are full again, RFC 3339"),
    ("anthropic.fast_input_tokens_limit", "input tokens per minute of the fast mode"),
    ("anthropic.fast_input_tokens_remaining", "fast input tokens left"),
    ("anthropic.fast_input_tokens_reset", "when fast input tokens are full again, RFC 3339"),
    ("anthropic.fast_output_tokens_limit", "output tokens per minute of the fast mode"),
    ("anthropic.fast_output_tokens_remaining", "fast output tokens left"),
    ("anthropic.fast_output_tokens_reset", "when fast output tokens are full again, RFC 3339"),
    ("anthropic.stop_reason", "stop_reason, the vendor's own word"),
    ("anthropic.stop_sequence", "the caller's stop sequence that was met"),
    ("anthropic.refusal_category", "stop_details.category of a refusal"),
    ("anthropic.refusal_explanation", "stop_details.explanation of a refusal, for people"),
    ("anthropic.service_tier", "usage.service_tier: standard, priority, batch"),
    ("anthropic.speed", "usage.speed: standard, fast"),
    ("anthropic.inference_geo", "usage.inference_geo: where the model ran"),
    ("anthropic.cache_read_tokens", "input tokens read from the cache"),
    ("anthropic.cache_write_tokens", "input tokens written to the cache"),
    ("anthropic.cache_write_5m_tokens", "part of the cache write kept for five minutes"),
    ("anthropic.cache_write_1h_tokens", "part of the cache write kept for an hour"),
    ("anthropic.thinking_tokens", "output tokens spent on thinking"),
    ("anthropic.web_search_requests", "searches that the server made"),
    ("anthropic.web_fetch_requests", "pages that the server fetched"),
];

/// How the value of a header is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Read {
    Number,
    Text,
}
use Read::{Number, Text};

/// Header, key, what its value is.
const HEADERS: &[(&str, &str, Read)] = &[
    ("request-id", "anthropic.request_id", Text),
    ("x-envoy-upstream-service-time", "anthropic.upstream_ms", Number),
    ("x-should-retry", "anthropic.should_retry", Text),
    ("anthropic-ratelimit-requests-limit", "anthropic.ratelimit_requests_limit", Number),
    ("anthropic-ratelimit-requests-remaining", "anthropic.ratelimit_requests_remaining", Number),
    ("anthropic-ratelimit-requests-reset", "anthropic.ratelimit_requests_reset", Text),
    ("anthropic-ratelimit-tokens-limit", "anthropic.ratelimit_tokens_limit", Number),
    ("anthropic-ratelimit-tokens-remaining", "anthropic.ratelimit_tokens_remaining", Number),
    ("anthropic-ratelimit-tokens-reset", "anthropic.ratelimit_tokens_reset", Text),
    ("anthropic-ratelimit-input-tokens-limit", "anthropic.ratelimit_input_tokens_limit", Number),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic.ratelimit_input_tokens_remaining", Number),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic.ratelimit_input_tokens_reset", Text),
    ("anthropic-ratelimit-output-tokens-limit", "anthropic.ratelimit_output_tokens_limit", Number),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic.ratelimit_output_tokens_remaining", Number),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic.ratelimit_output_tokens_reset", Text),
    ("anthropic-priority-input-tokens-limit", "anthropic.priority_input_tokens_limit", Number),
    ("anthropic-priority-input-tokens-remaining", "anthropic.priority_input_tokens_remaining", Number),
    ("anthropic-priority-input-tokens-reset", "anthropic.priority_input_tokens_reset", Text),
    ("anthropic-priority-output-tokens-limit", "anthropic.priority_output_tokens_limit", Number),
    ("anthropic-priority-output-tokens-remaining", "anthropic.priority_output_tokens_remaining", Number),
    ("anthropic-priority-output-tokens-reset", "anthropic.priority_output_tokens_reset", Text),
    ("anthropic-fast-input-tokens-limit", "anthropic.fast_input_tokens_limit", Number),
    ("anthropic-fast-input-tokens-remaining", "anthropic.fast_input_tokens_remaining", Number),
    ("anthropic-fast-input-tokens-reset", "anthropic.fast_input_tokens_reset", Text),
    ("anthropic-fast-output-tokens-limit", "anthropic.fast_output_tokens_limit", Number),
    ("anthropic-fast-output-tokens-remaining", "anthropic.fast_output_tokens_remaining", Number),
    ("anthropic-fast-output-tokens-reset", "anthropic.fast_output_tokens_reset", Text),
];

/// Reports what stands in the headers.
///
/// `retry-after` is not among them: answers with status 200 carry it too, and it means nothing there.
pub(crate) fn of_headers(config: &Config, headers: &HeaderMap, report: &mut Hooks<'_>) {
    for &(header, key, read) in HEADERS {
        let Some(text) = headers.get(header).and_then(|v| v.to_str().ok()) else { continue };
        match read {
            Text => report(key, HookValue::Text(&config.clean(text))),
            Number => {
                if let Ok(number) = text.trim().parse() {
                    report(key, HookValue::Number(number));
                }
            }
        }
    }
    if let Some(ms) = origin_response_ms(headers) {
        report("anthropic.origin_response_ms", HookValue::Number(ms));
    }
}

/// `server-timing: x-originResponse;dur=7107`
fn origin_response_ms(headers: &HeaderMap) -> Option<f64> {
    let all = headers.get_all("server-timing").iter().filter_map(|v| v.to_str().ok());
    all.flat_map(|v| v.split(',')).find_map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        parts.next().filter(|name| name.eq_ignore_ascii_case("x-originResponse"))?;
        parts.find_map(|p| p.strip_prefix("dur="))?.parse().ok()
    })
}

/// What an answer says besides its content, kept until its end.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) counts: Counts,
    stop_reason: Option<Cow<'static, str>>,
    stop_sequence: Option<String>,
    category: Option<Cow<'static, str>>,
    explanation: Option<String>,
    service_tier: Option<Cow<'static, str>>,
    speed: Option<Cow<'static, str>>,
    inference_geo: Option<Cow<'static, str>>,
    server_tools: ServerToolUse,
}

/// Words that come with most answers, so that keeping them costs no allocation.
const WORDS: &[&str] = &[
    "standard",
    "priority",
    "batch",
    "fast",
    "global",
    "us",
    "not_available",
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "compaction",
    "refusal",
    "model_context_window_exceeded",
    "cyber",
    "bio",
    "frontier_llm",
    "reasoning_extraction",
    "general_harms",
];

fn word(text: &str) -> Cow<'static, str> {
    match WORDS.iter().find(|w| **w == text) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(text.to_owned()),
    }
}

fn keep(place: &mut Option<Cow<'static, str>>, field: &Loose<'_>) {
    if let Loose::Text(text) = field {
        *place = Some(word(text));
    }
}

fn keep_own(place: &mut Option<String>, field: &Loose<'_>) {
    if let Loose::Text(text) = field {
        *place = Some((**text).to_owned());
    }
}

impl Said {
    /// Everything in a usage but the counts, which are merged by the reader.
    pub(crate) fn usage(&mut self, usage: &WireUsage<'_>) {
        keep(&mut self.service_tier, &usage.service_tier);
        keep(&mut self.speed, &usage.speed);
        keep(&mut self.inference_geo, &usage.inference_geo);
        if let Some(tools) = usage.server_tool_use.and_then(|t| serde_json::from_str(t.get()).ok()) {
            self.server_tools = tools;
        }
    }

    /// Why the answer ended.
    pub(crate) fn ending(&mut self, ending: &Ending<'_>) {
        if let Some(reason) = &ending.reason {
            self.stop_reason = Some(word(reason));
        }
        keep_own(&mut self.stop_sequence, &ending.sequence);
        let details: Option<EndingDetails<'_>> =
            ending.details.and_then(|d| serde_json::from_str(d.get()).ok());
        if let Some(details) = details {
            keep(&mut self.category, &details.category);
            keep_own(&mut self.explanation, &details.explanation);
        }
    }

    /// Reports all of it.
    pub(crate) fn report(&self, config: &Config, report: &mut Hooks<'_>) {
        for (key, text) in [
            ("anthropic.stop_reason", self.stop_reason.as_deref()),
            ("anthropic.stop_sequence", self.stop_sequence.as_deref()),
            ("anthropic.refusal_category", self.category.as_deref()),
            ("anthropic.refusal_explanation", self.explanation.as_deref()),
            ("anthropic.service_tier", self.service_tier.as_deref()),
            ("anthropic.speed", self.speed.as_deref()),
            ("anthropic.inference_geo", self.inference_geo.as_deref()),
        ] {
            if let Some(text) = text {
                report(key, HookValue::Text(&config.clean(text)));
            }
        }
        let Counts { cache_read, cache_write, reasoning, cache_write_5m, cache_write_1h, .. } = self.counts;
        for (key, number) in [
            ("anthropic.cache_read_tokens", cache_read),
            ("anthropic.cache_write_tokens", cache_write),
            ("anthropic.cache_write_5m_tokens", cache_write_5m),
            ("anthropic.cache_write_1h_tokens", cache_write_1h),
            ("anthropic.thinking_tokens", reasoning),
            ("anthropic.web_search_requests", self.server_tools.web_search_requests),
            ("anthropic.web_fetch_requests", self.server_tools.web_fetch_requests),
        ] {
            if let Some(number) = number {
                report(key, HookValue::Number(number as f64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use llms_core::config::ModelConfig;

    use super::*;

    #[test]
    fn every_reported_key_is_documented_once() {
        for (_, key, _) in HEADERS {
            assert_eq!(KEYS.iter().filter(|(k, _)| k == key).count(), 1, "{key}");
        }
        for (key, meaning) in KEYS {
            assert!(key.starts_with("anthropic.") && !meaning.is_empty(), "{key}");
        }
    }

    #[test]
    fn numbers_and_texts_are_told_apart_and_keys_are_cut_out() {
        let config = ModelConfig::new("anthropic", "m").with_api_key("hunter2hunter2");
        let config = Config::new(&config, &|_| None).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("request-id", "req_1 for hunter2hunter2"),
            ("anthropic-ratelimit-tokens-remaining", "480000"),
            ("anthropic-ratelimit-requests-remaining", "many"),
            ("anthropic-ratelimit-tokens-reset", "2025-07-29T15:56:38Z"),
            ("retry-after", "27"),
            ("server-timing", "cdn;desc=x, x-originResponse;dur=91.5"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut seen = Vec::new();
        of_headers(&config, &headers, &mut |key, value| seen.push(format!("{key} {value:?}")));
        assert_eq!(
            seen,
            [
                "anthropic.request_id Text(\"req_1 for [redacted]\")",
                "anthropic.ratelimit_tokens_remaining Number(480000.0)",
                "anthropic.ratelimit_tokens_reset Text(\"2025-07-29T15:56:38Z\")",
                "anthropic.origin_response_ms Number(91.5)",
            ]
        );
    }
}
