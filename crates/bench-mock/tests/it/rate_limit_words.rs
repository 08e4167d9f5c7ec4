//! What a 429 says of the limit is true: that which is configured, or which the headers tell.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{FaultKind, FaultRule, Profile, RateLimit, server::Server};
use common::{
    endpoints::{call, quick, serve},
    raw::Answer,
};
use serde_json::json;

fn limited(limit: RateLimit) -> Server {
    serve(Profile { rate_limit: Some(limit), ..quick() })
}

/// The first answer of OpenAI's chat that is refused.
fn refused(server: &Server, model: &str) -> Answer {
    let body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50});
    (0..5).map(|_| call(server, "/v1/chat/completions", &body)).find(|a| a.status == 429).unwrap()
}

#[track_caller]
fn says(answer: &Answer, limit: &str, kind: &str) {
    let error = &answer.json()["error"];
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(limit), "{message}");
    assert_eq!((&error["type"], &error["code"]), (&json!(kind), &json!("rate_limit_exceeded")), "{message}");
}

#[test]
fn openai_tells_the_limit_that_is_configured() {
    let minute = refused(&limited(RateLimit::per_minute(2.0)), "m");
    says(
        &minute,
        "on requests per min (RPM): Limit 2, Used 2, Requested 1. Please try again in ",
        "requests",
    );
    assert_eq!(minute.headers["x-ratelimit-limit-requests"], "2");
    let burst = refused(&limited(RateLimit::requests(0.1, 3.0)), "m");
    says(&burst, "on requests per 30 sec: Limit 3, Used 3, Requested 1.", "requests");
    let tokens = RateLimit { tokens_per_min: Some(60.0), ..RateLimit::per_minute(1000.0) };
    let tokens = refused(&limited(tokens), "m");
    says(&tokens, "on tokens per min (TPM): Limit 60, Used ", "tokens");
    assert_eq!(tokens.headers["x-ratelimit-limit-tokens"], "60");
}

#[test]
fn a_refusal_that_is_played_tells_the_limit_of_its_headers() {
    let server = serve(quick().with_fault(FaultRule::always(FaultKind::RateLimit)));
    for answer in [refused(&server, "m"), refused(&serve(quick()), "mock-error-429")] {
        says(&answer, "Limit 10000, Used 10000, Requested 1. Please try again in 1000ms.", "requests");
        assert_eq!(answer.headers["x-ratelimit-limit-requests"], "10000");
        assert_eq!(answer.headers["x-ratelimit-remaining-requests"], "0");
        assert_eq!(answer.headers["x-ratelimit-reset-requests"], "1s");
    }
}

#[test]
fn anthropic_tells_it_too() {
    let ask = |server: &Server| {
        let body =
            json!({"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 50});
        (0..5).map(|_| call(server, "/v1/messages", &body)).find(|a| a.status == 429).unwrap()
    };
    let answer = ask(&limited(RateLimit::per_minute(2.0)));
    assert!(answer.text().contains("rate limit of 2 requests per minute."), "{}", answer.text());
    let answer = ask(&serve(quick().with_fault(FaultRule::always(FaultKind::RateLimit))));
    assert!(answer.text().contains("rate limit of 4000 requests per minute."), "{}", answer.text());
    assert_eq!(answer.headers["anthropic-ratelimit-requests-remaining"], "0");
}
