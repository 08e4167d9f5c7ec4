//! What Ollama reports about itself, under stable keys: how long each part took by its own clock, how much of the prompt
//! its cache held, which server of ollama.com answered.
//!
//! Reported to the observer of a call, if there is one. Nothing is derived but `ollama.start`, which puts
//! `load_duration` into a word.

use std::time::Duration;

use http::HeaderMap;
use llms_core::{observe::HookValue, wire::Hooks};

use crate::{config::Config, wire::Measured};

/// Every key reported, with what it means. All but the request id from the last line of an answer.
pub const KEYS: &[(&str, &str)] = &[
    ("ollama.total_duration_ms", "the whole request; field total_duration"),
    (
        "ollama.load_duration_ms",
        "until the model was ready, large on a cold start; waiting for a place among the loaded models counts; field \
         load_duration",
    ),
    ("ollama.prompt_eval_duration_ms", "processing the prompt; field prompt_eval_duration"),
    ("ollama.eval_duration_ms", "generating the answer; field eval_duration"),
    (
        "ollama.start",
        "cold or warm: whether load_duration reached hooks::COLD_LOAD, so that the model had to be loaded first",
    ),
    (
        "ollama.cached_tokens",
        "prompt tokens read from the cache, contained in the prompt's; field prompt_eval_cached_count of newer servers",
    ),
    ("ollama.remote_model", "the model of ollama.com that a local name stands for; field remote_model"),
    ("ollama.remote_host", "where that model runs; field remote_host"),
    (
        "ollama.request_id",
        "the id that ollama.com, or a proxy before the server, gives the request; header x-request-id",
    ),
];

/// A `load_duration` from here on is a cold start.
///
/// The server says nothing else about it. A loaded model is found in 1 to 60 ms (recordings; most of it reading the
/// model's file for its capabilities); starting the process that runs a model takes longer than this even for the
/// smallest (a model of 16 MB, warm file cache, no GPU: 0.5 s).
pub const COLD_LOAD: Duration = Duration::from_millis(250);

/// Reports what the server measured: durations in milliseconds.
pub(crate) fn of_measured(measured: Measured, report: &mut Hooks<'_>) {
    for (key, nanoseconds) in [
        ("ollama.total_duration_ms", measured.total),
        ("ollama.load_duration_ms", measured.load),
        ("ollama.prompt_eval_duration_ms", measured.prompt_eval),
        ("ollama.eval_duration_ms", measured.eval),
    ] {
        if let Some(ns) = nanoseconds {
            report(key, HookValue::Number(ns as f64 / 1e6));
        }
    }
    if let Some(load) = measured.load {
        let cold = Duration::from_nanos(load) >= COLD_LOAD;
        report("ollama.start", HookValue::Text(if cold { "cold" } else { "warm" }));
    }
    if let Some(tokens) = measured.cached_tokens {
        report("ollama.cached_tokens", HookValue::Number(tokens as f64));
    }
}

/// Reports which model of ollama.com answered in the place of the one asked, and where.
pub(crate) fn of_remote(model: Option<&str>, host: Option<&str>, report: &mut Hooks<'_>) {
    for (key, text) in [("ollama.remote_model", model), ("ollama.remote_host", host)] {
        if let Some(text) = text.filter(|t| !t.is_empty()) {
            report(key, HookValue::Text(text));
        }
    }
}

/// Reports what stands in the headers of an answer, unless it quotes a secret.
pub(crate) fn of_headers(headers: &HeaderMap, config: &Config, report: &mut Hooks<'_>) {
    if let Some(id) = request_id(headers) {
        report("ollama.request_id", HookValue::Text(&config.clean(id)));
    }
}

/// The id of the request, where someone gives it one: Ollama itself does not.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-request-id")?.to_str().ok().filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use llms_core::observe::Reported;

    use super::*;

    #[track_caller]
    fn check(measured: Measured, expected: &[(&str, Reported)]) {
        let mut seen = Vec::new();
        of_measured(measured, &mut |key, value| seen.push((key, Reported::from(value))));
        assert_eq!(seen, expected);
        assert!(seen.iter().all(|(key, _)| KEYS.iter().any(|(k, _)| k == key)), "{seen:?}");
    }

    #[test]
    fn what_is_absent_is_not_reported() {
        use Reported::{Number, Text};
        check(Measured::default(), &[]);
        check(
            Measured { total: Some(513_522_613), eval: Some(0), ..Measured::default() },
            &[("ollama.total_duration_ms", Number(513.522613)), ("ollama.eval_duration_ms", Number(0.0))],
        );
        check(
            Measured { load: Some(538_071_741), cached_tokens: Some(0), ..Measured::default() },
            &[
                ("ollama.load_duration_ms", Number(538.071741)),
                ("ollama.start", Text("cold".into())),
                ("ollama.cached_tokens", Number(0.0)),
            ],
        );
        check(
            Measured { load: Some(52_719_542), ..Measured::default() },
            &[("ollama.load_duration_ms", Number(52.719542)), ("ollama.start", Text("warm".into()))],
        );
    }

    #[test]
    fn keys_are_sorted_out_and_explained() {
        for (i, (key, why)) in KEYS.iter().enumerate() {
            assert!(key.starts_with("ollama.") && !why.is_empty(), "{key}");
            assert!(KEYS[..i].iter().all(|(k, _)| k != key), "{key} twice");
        }
    }
}
