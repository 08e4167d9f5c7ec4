//! Calls to endpoints, and their streams as events.

use aws_smithy_eventstream::frame::read_message_from;
use bench_mock::{
    Dist, Profile, Reasoning,
    server::{Server, ServerConfig},
};
use serde_json::{Value, json};

use super::{
    exact,
    raw::{Answer, Client, post, post_with},
    said::sse,
};

/// 10 ms to the first of 6 tokens, 1 ms gaps.
pub(crate) fn quick() -> Profile {
    Profile { head_share: 0.5, end_gap: true, ..exact().with_output_tokens(6).with_time_scale(0.1) }
}

/// The same, reasoning for 3 tokens first.
pub(crate) fn thinking() -> Profile {
    Profile { reasoning: Some(Reasoning { tokens: Dist::constant(3.0), visible: true }), ..quick() }
}

pub(crate) fn serve(profile: Profile) -> Server {
    ServerConfig::default().map_profiles(|_| profile.clone()).start().unwrap()
}

#[track_caller]
pub(crate) fn call(server: &Server, path: &str, body: &Value) -> Answer {
    Client::connect(server.addr()).call(&post(path, "r-1", body)).unwrap()
}

/// A call with more header lines (each with its end of line).
#[track_caller]
pub(crate) fn call_with(server: &Server, path: &str, headers: &str, body: &Value) -> Answer {
    Client::connect(server.addr()).call(&post_with(path, "r-1", headers, body)).unwrap()
}

/// The answer's JSON, which must be a good one.
#[track_caller]
pub(crate) fn ok(server: &Server, path: &str, body: &Value) -> Value {
    let answer = call(server, path, body);
    assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
    answer.json()
}

/// The events of a stream of server-sent events: names (or "") and data; `[DONE]` as a string.
#[track_caller]
pub(crate) fn events(answer: &Answer) -> Vec<(String, Value)> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let data = |d: &str| if d == "[DONE]" { json!(d) } else { serde_json::from_str(d).unwrap() };
    sse(answer.text()).into_iter().map(|(name, d)| (name.unwrap_or_default().to_owned(), data(d))).collect()
}

/// Names of events, runs of the same one as one.
pub(crate) fn names(events: &[(String, Value)]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    names
}

/// The frames of an event stream: kind (event or exception type) and payload; chunks of InvokeModel opened.
#[track_caller]
pub(crate) fn frames(answer: &Answer) -> Vec<(String, Value)> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (mut rest, mut frames) = (answer.body.as_slice(), Vec::new());
    while !rest.is_empty() {
        let message = read_message_from(&mut rest).unwrap();
        let kind = message.headers().iter().find(|h| {
            h.name().as_str().ends_with("-type")
                && matches!(h.name().as_str(), ":event-type" | ":exception-type")
        });
        let kind = kind.unwrap().value().as_string().unwrap().as_str().to_owned();
        let payload: Value = serde_json::from_slice(message.payload()).unwrap();
        match payload["bytes"].as_str() {
            Some(bytes) => {
                assert!(payload["p"].as_str().is_some_and(|p| p.starts_with('a')), "padding: {payload}");
                let inner = aws_smithy_types::base64::decode(bytes).unwrap();
                frames.push((kind, serde_json::from_slice(&inner).unwrap()));
            }
            None => frames.push((kind, payload)),
        }
    }
    frames
}

/// Lines of JSON.
#[track_caller]
pub(crate) fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
