//! What servers report about themselves, under stable keys.
//!
//! Reported to the observer of a call; nothing here is measured by us. A value that is absent or unreadable is not
//! reported, nor is one that quotes a key or header of ours. The list of keys is [`KEYS`].

use std::time::Duration;

use http::HeaderMap;
use llms_core::{Usage, observe::HookValue, wire::Hooks};

use crate::{
    address::Service,
    config::Config,
    wire::{Predicted, Timings, WireUsage},
};

/// Every key, and what it means.
pub const KEYS: &[(&str, &str)] = &[
    (
        "openai.processing_ms",
        "time the vendor says it worked before the first byte; header openai-processing-ms",
    ),
    ("openai.api_version", "version of the API; header openai-version"),
    (
        "openai.request_id",
        "the server's id of the request, never the one we sent; header x-request-id, on Azure apim-request-id",
    ),
    ("openai.region", "where the request was served; header x-ms-region"),
    ("openai.server", "server software; header server"),
    (
        "openai.upstream_ms",
        "time the service behind the gateway took; header x-envoy-upstream-service-time (OpenAI, Azure)",
    ),
    ("openai.tgi_total_ms", "text generation inference: all of the request; header x-total-time"),
    ("openai.tgi_queue_ms", "text generation inference: waiting for a batch; header x-queue-time"),
    ("openai.tgi_validation_ms", "text generation inference: reading the request; header x-validation-time"),
    ("openai.tgi_inference_ms", "text generation inference: generating; header x-inference-time"),
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
    ("openai.cached_tokens", "prompt tokens read from the cache; usage, prompt_tokens_details.cached_tokens"),
    (
        "openai.cache_write_tokens",
        "prompt tokens written to the cache; usage, prompt_tokens_details.cache_write_tokens",
    ),
    (
        "openai.reasoning_tokens",
        "generated tokens spent on reasoning; usage, completion_tokens_details.reasoning_tokens",
    ),
    (
        "openai.accepted_prediction_tokens",
        "tokens of a predicted output that were used; usage, completion_tokens_details",
    ),
    (
        "openai.rejected_prediction_tokens",
        "tokens of a predicted output that were not, and are billed; usage, completion_tokens_details",
    ),
    ("openai.timings_prompt_n", "llama.cpp: prompt tokens processed, without cached ones; timings.prompt_n"),
    ("openai.timings_prompt_ms", "llama.cpp: time spent on them; timings.prompt_ms"),
    ("openai.timings_predicted_n", "llama.cpp: tokens generated; timings.predicted_n"),
    ("openai.timings_predicted_ms", "llama.cpp: time spent on them; timings.predicted_ms"),
    ("openai.timings_cache_n", "llama.cpp: prompt tokens reused from the cache; timings.cache_n"),
    ("openai.timings_draft_n", "llama.cpp: tokens drafted speculatively; timings.draft_n"),
    ("openai.timings_draft_n_accepted", "llama.cpp: drafted tokens accepted; timings.draft_n_accepted"),
];

/// Reports what stands in the headers of an answer.
pub(crate) fn of_headers(config: &Config, headers: &HeaderMap, report: &mut Hooks<'_>) {
    let service = config.service;
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).filter(|t| !t.is_empty());
    for (key, names) in [
        ("openai.api_version", &["openai-version"][..]),
        ("openai.request_id", &["x-request-id", "apim-request-id"]),
        ("openai.region", &["x-ms-region"]),
        ("openai.server", &["server"]),
    ] {
        if let Some(value) = names.iter().find_map(|n| text(n)).filter(|v| !config.shows_secret(v)) {
            report(key, HookValue::Text(value));
        }
    }
    for (key, name) in [
        ("openai.processing_ms", "openai-processing-ms"),
        ("openai.upstream_ms", "x-envoy-upstream-service-time"),
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
    of_tgi(headers, report);
}

/// Text generation inference's own clock. Others use the same names for seconds; `x-compute-type` tells it from them.
fn of_tgi(headers: &HeaderMap, report: &mut Hooks<'_>) {
    if !headers.contains_key("x-compute-type") {
        return;
    }
    for (key, name) in [
        ("openai.tgi_total_ms", "x-total-time"),
        ("openai.tgi_queue_ms", "x-queue-time"),
        ("openai.tgi_validation_ms", "x-validation-time"),
        ("openai.tgi_inference_ms", "x-inference-time"),
    ] {
        if let Some(value) = headers.get(name).and_then(|v| v.to_str().ok()).and_then(number) {
            report(key, HookValue::Number(value));
        }
    }
}

/// What stands in the body of an answer, kept until it is complete: the latest word wins.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    pub(crate) system_fingerprint: Option<String>,
    pub(crate) service_tier: Option<String>,
    /// Boxed, as the usage: they come with the last chunk, and every stream in flight would have room for them.
    timings: Option<Box<Timings>>,
    usage: Option<Box<(Usage, Predicted)>>,
}

impl Extras {
    /// Keeps counts and timings.
    pub(crate) fn note(&mut self, usage: Option<&WireUsage>, timings: Option<&Timings>) {
        if let Some(wire) = usage
            && let Some(new) = wire.to_usage()
        {
            // In place: some servers count with every chunk.
            let (kept, predicted) = &mut **self.usage.get_or_insert_default();
            (*kept, *predicted) = (kept.merge(new), wire.predicted());
        }
        if let Some(timings) = timings {
            **self.timings.get_or_insert_default() = *timings;
        }
    }

    /// Reports all of it.
    pub(crate) fn report(&self, config: &Config, report: &mut Hooks<'_>) {
        for (key, value) in [
            ("openai.system_fingerprint", &self.system_fingerprint),
            ("openai.service_tier", &self.service_tier),
        ] {
            if let Some(value) = value.as_deref().filter(|v| !config.shows_secret(v)) {
                report(key, HookValue::Text(value));
            }
        }
        let (usage, predicted) = self.usage.as_deref().copied().unwrap_or_default();
        for (key, value) in [
            ("openai.cached_tokens", usage.cache_read_tokens),
            ("openai.cache_write_tokens", usage.cache_write_tokens),
            ("openai.reasoning_tokens", usage.reasoning_tokens),
            ("openai.accepted_prediction_tokens", predicted.accepted),
            ("openai.rejected_prediction_tokens", predicted.rejected),
        ] {
            if let Some(value) = value {
                report(key, HookValue::Number(value as f64));
            }
        }
        let t = self.timings.as_deref().copied().unwrap_or_default();
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
}

/// How long to wait when a limit is hit and the server says so by its reset headers only: until the exhausted limit is
/// full again, the longer of the two when both are, or when neither says that it is.
pub(crate) fn wait_for_reset(service: Service, headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let of = |remaining: &str, reset: &str| {
        let wait = reset_seconds(service, text(reset)?)?;
        Some((text(remaining).and_then(number).is_some_and(|left| left <= 0.0), wait))
    };
    let limits = [
        of("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        of("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ];
    let longest = |exhausted: bool| {
        limits.iter().flatten().filter(|(e, _)| *e || !exhausted).map(|(_, wait)| *wait).reduce(f64::max)
    };
    let wait = Duration::try_from_secs_f64(longest(true).or_else(|| longest(false))?).ok()?;
    (wait <= MAX_WAIT).then_some(wait)
}

/// Longest wait believed.
const MAX_WAIT: Duration = Duration::from_hours(24 * 7);

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
    use llms_core::config::ModelConfig;

    use super::*;

    #[track_caller]
    fn check(service: Service, headers: &[(&'static str, &'static str)], expected: &[(&str, &str)]) {
        let config = ModelConfig::new("openai", "m").with_base_url(match service {
            Service::OpenAi => "https://api.openai.com/v1",
            Service::Azure => "https://r.openai.azure.com",
            Service::Compatible => "http://127.0.0.1:8000/v1",
        });
        let config = Config::new(&config.with_api_key("key-of-mine"), &|_| None).unwrap();
        let map: HeaderMap =
            headers.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect();
        let mut seen = Vec::new();
        of_headers(&config, &map, &mut |key, value| {
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
    fn headers_of_text_generation_inference() {
        let headers =
            &[("x-compute-type", "gpu+optimized"), ("x-queue-time", "12"), ("x-inference-time", "340")];
        let expected = &[("openai.tgi_queue_ms", "12"), ("openai.tgi_inference_ms", "340")];
        check(Service::Compatible, headers, expected);
        check(Service::Compatible, &headers[1..], &[]);
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
    fn the_wait_is_until_the_exhausted_limit_is_full_again() {
        #[track_caller]
        fn check(pairs: &[(&'static str, &'static str)], expected: Option<f64>) {
            let headers = pairs.iter().map(|(n, v)| {
                let name = HeaderName::try_from(format!("x-ratelimit-{n}")).unwrap();
                (name, HeaderValue::from_static(v))
            });
            let wait = wait_for_reset(Service::OpenAi, &headers.collect());
            assert_eq!(wait.map(|w| w.as_secs_f64()), expected, "{pairs:?}");
        }
        let (requests, tokens) = (("reset-requests", "8.64s"), ("reset-tokens", "1m0s"));
        check(&[], None);
        check(&[requests], Some(8.64));
        check(&[requests, tokens], Some(60.0));
        check(&[requests, tokens, ("remaining-requests", "0")], Some(8.64));
        check(&[requests, tokens, ("remaining-requests", "0"), ("remaining-tokens", "0")], Some(60.0));
        check(&[requests, tokens, ("remaining-tokens", "12")], Some(60.0));
        check(&[("reset-tokens", "30d"), ("remaining-tokens", "0")], None);
        check(&[("reset-requests", "soon")], None);
    }

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<_> = KEYS.iter().map(|(k, _)| k).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), KEYS.len());
    }
}
