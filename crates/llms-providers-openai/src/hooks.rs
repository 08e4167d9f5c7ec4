//! What servers report about themselves, under stable keys.
//!
//! Reported to the observer of a call; nothing here is measured by us. A value that is absent or unreadable is not
//! reported. The list of keys is [`KEYS`].

use http::HeaderMap;
use llms_core::{observe::HookValue, wire::Hooks};

use crate::{address::Service, wire::Timings};

/// Every key, and what it means.
pub const KEYS: &[(&str, &str)] = &[
    (
        "openai.processing_ms",
        "time the vendor says it worked before the first byte; header openai-processing-ms",
    ),
    ("openai.api_version", "version of the API; header openai-version"),
    ("openai.request_id", "the server's id of the request; header x-request-id, on Azure apim-request-id"),
    ("openai.region", "where the request was served; header x-ms-region"),
    ("openai.server", "server software; header server"),
    ("openai.ratelimit_limit_requests", "requests allowed per window; header x-ratelimit-limit-requests"),
    ("openai.ratelimit_limit_tokens", "tokens allowed per window; header x-ratelimit-limit-tokens"),
    ("openai.ratelimit_remaining_requests", "requests left; header x-ratelimit-remaining-requests"),
    ("openai.ratelimit_remaining_tokens", "tokens left; header x-ratelimit-remaining-tokens"),
    (
        "openai.ratelimit_reset_requests_s",
        "until all requests are there again; header x-ratelimit-reset-requests",
    ),
    ("openai.ratelimit_reset_tokens_s", "until all tokens are there again; header x-ratelimit-reset-tokens"),
    ("openai.system_fingerprint", "configuration of the backend; body field system_fingerprint"),
    ("openai.service_tier", "tier that really served; body field service_tier"),
    ("openai.timings_prompt_n", "llama.cpp: prompt tokens processed, without cached ones; timings.prompt_n"),
    ("openai.timings_prompt_ms", "llama.cpp: time spent on them; timings.prompt_ms"),
    ("openai.timings_predicted_n", "llama.cpp: tokens generated; timings.predicted_n"),
    ("openai.timings_predicted_ms", "llama.cpp: time spent on them; timings.predicted_ms"),
    ("openai.timings_cache_n", "llama.cpp: prompt tokens reused from the cache; timings.cache_n"),
    ("openai.timings_draft_n", "llama.cpp: tokens drafted speculatively; timings.draft_n"),
    ("openai.timings_draft_n_accepted", "llama.cpp: drafted tokens accepted; timings.draft_n_accepted"),
];

/// Reports what stands in the headers of an answer.
pub(crate) fn of_headers(service: Service, headers: &HeaderMap, report: &mut Hooks<'_>) {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|t| !t.is_empty());
    for (key, names) in [
        ("openai.api_version", &["openai-version"][..]),
        ("openai.request_id", &["x-request-id", "apim-request-id"]),
        ("openai.region", &["x-ms-region"]),
        ("openai.server", &["server"]),
    ] {
        if let Some(value) = names.iter().find_map(|n| text(n)) {
            report(key, HookValue::Text(value));
        }
    }
    for (key, name) in [
        ("openai.processing_ms", "openai-processing-ms"),
        ("openai.ratelimit_limit_requests", "x-ratelimit-limit-requests"),
        ("openai.ratelimit_limit_tokens", "x-ratelimit-limit-tokens"),
        ("openai.ratelimit_remaining_requests", "x-ratelimit-remaining-requests"),
        ("openai.ratelimit_remaining_tokens", "x-ratelimit-remaining-tokens"),
    ] {
        if let Some(value) = text(name).and_then(number) {
            report(key, HookValue::Number(value));
        }
    }
    for (key, name) in [
        ("openai.ratelimit_reset_requests_s", "x-ratelimit-reset-requests"),
        ("openai.ratelimit_reset_tokens_s", "x-ratelimit-reset-tokens"),
    ] {
        if let Some(value) = text(name).and_then(|t| reset_seconds(service, t)) {
            report(key, HookValue::Number(value));
        }
    }
}

/// Reports what stands in the body of an answer.
pub(crate) fn of_body(
    fingerprint: Option<&str>,
    tier: Option<&str>,
    timings: Option<&Timings>,
    report: &mut Hooks<'_>,
) {
    for (key, value) in [("openai.system_fingerprint", fingerprint), ("openai.service_tier", tier)] {
        if let Some(value) = value {
            report(key, HookValue::Text(value));
        }
    }
    let Some(t) = timings else { return };
    for (key, value) in [
        ("openai.timings_prompt_n", t.prompt_n),
        ("openai.timings_prompt_ms", t.prompt_ms),
        ("openai.timings_predicted_n", t.predicted_n),
        ("openai.timings_predicted_ms", t.predicted_ms),
        ("openai.timings_cache_n", t.cache_n),
        ("openai.timings_draft_n", t.draft_n),
        ("openai.timings_draft_n_accepted", t.draft_n_accepted),
    ] {
        if let Some(value) = value {
            report(key, HookValue::Number(value));
        }
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|v| v.is_finite())
}

/// OpenAI writes spans (`6m0s`, `17ms`, `1d2h`). Azure writes a bare number, which is milliseconds: in recorded
/// answers 14 of 120,000 tokens per 60 s are refilled in `7`, and one of 120 requests per 60 s in `500`. A bare number
/// of anybody else has no known unit.
fn reset_seconds(service: Service, text: &str) -> Option<f64> {
    if let Some(bare) = number(text) {
        return (service == Service::Azure).then_some(bare / 1e3);
    }
    let (mut rest, mut seconds) = (text.trim(), 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (value, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = match unit {
            "d" => 86400.0,
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += value.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    (!text.trim().is_empty()).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[track_caller]
    fn check(service: Service, headers: &[(&'static str, &'static str)], expected: &[(&str, &str)]) {
        let map: HeaderMap =
            headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        let mut seen = Vec::new();
        of_headers(service, &map, &mut |key, value| {
            assert!(KEYS.iter().any(|(k, _)| *k == key), "{key} is not documented");
            seen.push((
                key,
                match value {
                    HookValue::Number(n) => n.to_string(),
                    HookValue::Text(t) => t.to_owned(),
                },
            ));
        });
        let seen: Vec<_> = seen.iter().map(|(k, v)| (*k, v.as_str())).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn headers_of_openai() {
        check(
            Service::OpenAi,
            &[
                ("openai-processing-ms", "326"),
                ("openai-version", "2020-10-01"),
                ("x-request-id", "req_1"),
                ("x-ratelimit-limit-requests", "10000"),
                ("x-ratelimit-remaining-tokens", "49999986"),
                ("x-ratelimit-reset-requests", "6ms"),
                ("x-ratelimit-reset-tokens", "1h6m0s"),
            ],
            &[
                ("openai.api_version", "2020-10-01"),
                ("openai.request_id", "req_1"),
                ("openai.processing_ms", "326"),
                ("openai.ratelimit_limit_requests", "10000"),
                ("openai.ratelimit_remaining_tokens", "49999986"),
                ("openai.ratelimit_reset_requests_s", "0.006"),
                ("openai.ratelimit_reset_tokens_s", "3960"),
            ],
        );
    }

    #[test]
    fn a_bare_reset_is_milliseconds_on_azure_and_unknown_elsewhere() {
        let headers = &[
            ("x-ratelimit-reset-requests", "500"),
            ("apim-request-id", "a"),
            ("x-ms-region", "Sweden Central"),
        ];
        let common = [("openai.request_id", "a"), ("openai.region", "Sweden Central")];
        let reset = ("openai.ratelimit_reset_requests_s", "0.5");
        check(Service::Azure, headers, &[common[0], common[1], reset]);
        check(Service::Compatible, headers, &common);
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        check(
            Service::OpenAi,
            &[
                ("openai-processing-ms", "soon"),
                ("x-ratelimit-limit-requests", "inf"),
                ("x-ratelimit-reset-requests", "5 apples"),
                ("x-ratelimit-reset-tokens", ""),
            ],
            &[],
        );
    }

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<_> = KEYS.iter().map(|(k, _)| k).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), KEYS.len());
    }
}
