//! What Anthropic reports about itself, under stable keys. Pure look-ups; nothing is derived.
//!
//! Reset times stay texts (RFC 3339): no clock is read here to turn them into waits.

use http::HeaderMap;
use llms_core::{observe::HookValue, wire::Hooks};

use crate::wire::Counts;

/// Every key reported, with what it means.
pub const KEYS: &[(&str, &str)] = &[
    ("anthropic.request_id", "header request-id, for the vendor's support"),
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
    ("anthropic.service_tier", "usage.service_tier: standard, priority, batch"),
    ("anthropic.cache_write_5m_tokens", "part of the cache write kept for five minutes"),
    ("anthropic.cache_write_1h_tokens", "part of the cache write kept for an hour"),
];

/// Header, key, whether the value is a number.
const HEADERS: &[(&str, &str, bool)] = &[
    ("request-id", "anthropic.request_id", false),
    ("anthropic-ratelimit-requests-limit", "anthropic.ratelimit_requests_limit", true),
    ("anthropic-ratelimit-requests-remaining", "anthropic.ratelimit_requests_remaining", true),
    ("anthropic-ratelimit-requests-reset", "anthropic.ratelimit_requests_reset", false),
    ("anthropic-ratelimit-tokens-limit", "anthropic.ratelimit_tokens_limit", true),
    ("anthropic-ratelimit-tokens-remaining", "anthropic.ratelimit_tokens_remaining", true),
    ("anthropic-ratelimit-tokens-reset", "anthropic.ratelimit_tokens_reset", false),
    ("anthropic-ratelimit-input-tokens-limit", "anthropic.ratelimit_input_tokens_limit", true),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic.ratelimit_input_tokens_remaining", true),
    ("anthropic-ratelimit-input-tokens-reset", "anthropic.ratelimit_input_tokens_reset", false),
    ("anthropic-ratelimit-output-tokens-limit", "anthropic.ratelimit_output_tokens_limit", true),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic.ratelimit_output_tokens_remaining", true),
    ("anthropic-ratelimit-output-tokens-reset", "anthropic.ratelimit_output_tokens_reset", false),
];

/// Reports what stands in the headers.
///
/// `retry-after` is not among them: answers with status 200 carry it too, and it means nothing there.
pub(crate) fn of_headers(headers: &HeaderMap, report: &mut Hooks<'_>) {
    for &(header, key, is_number) in HEADERS {
        let Some(text) = headers.get(header).and_then(|v| v.to_str().ok()) else { continue };
        if !is_number {
            report(key, HookValue::Text(text));
        } else if let Ok(number) = text.trim().parse() {
            report(key, HookValue::Number(number));
        }
    }
}

/// Reports what stands in the usage.
pub(crate) fn of_usage(counts: &Counts, service_tier: Option<&str>, report: &mut Hooks<'_>) {
    if let Some(tier) = service_tier {
        report("anthropic.service_tier", HookValue::Text(tier));
    }
    for (key, tokens) in [
        ("anthropic.cache_write_5m_tokens", counts.cache_write_5m),
        ("anthropic.cache_write_1h_tokens", counts.cache_write_1h),
    ] {
        if let Some(tokens) = tokens {
            report(key, HookValue::Number(tokens as f64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reported_key_is_documented() {
        for (_, key, _) in HEADERS {
            assert!(KEYS.iter().any(|(k, _)| k == key), "{key}");
        }
    }

    #[test]
    fn numbers_and_texts_are_told_apart() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("request-id", "req_1"),
            ("anthropic-ratelimit-tokens-remaining", "480000"),
            ("anthropic-ratelimit-requests-remaining", "many"),
            ("anthropic-ratelimit-tokens-reset", "2025-07-29T15:56:38Z"),
            ("retry-after", "27"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut seen = Vec::new();
        of_headers(&headers, &mut |key, value| seen.push(format!("{key} {value:?}")));
        assert_eq!(
            seen,
            [
                "anthropic.request_id Text(\"req_1\")",
                "anthropic.ratelimit_tokens_remaining Number(480000.0)",
                "anthropic.ratelimit_tokens_reset Text(\"2025-07-29T15:56:38Z\")",
            ]
        );
    }
}
