//! Each fault on a raw socket, in each protocol.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{
    FaultKind, FaultRule, Profile, RateLimit, TruthOutcome,
    server::{Protocol, Server, ServerConfig},
};
use common::{
    exact,
    raw::{Answer, Client, End, chat},
    said::said,
};
use serde_json::json;

/// Five tokens; the fault comes after two.
fn serve(rule: FaultRule) -> Server {
    let profile = Profile { head_share: 0.5, ..exact().with_time_scale(0.1).with_fault(rule) };
    ServerConfig::default().map_profiles(|_| profile.clone()).start().unwrap()
}

fn call(server: &Server, protocol: Protocol, stream: bool) -> Result<Answer, End> {
    Client::connect(server.addr()).call(&chat(protocol, "m", "r-1", stream, &json!({})))
}

#[test]
fn refusals_have_the_vendors_status_and_words() {
    let rows = [
        (FaultKind::RateLimit, [429, 429, 429, 429]),
        (FaultKind::Quota, [429, 400, 400, 429]),
        (FaultKind::Auth, [401, 401, 403, 401]),
        (FaultKind::Forbidden, [403, 403, 403, 403]),
        (FaultKind::BadRequest, [400, 400, 400, 400]),
        (FaultKind::NotFound, [404, 404, 404, 404]),
        (FaultKind::ContentFilter, [400, 400, 400, 400]),
        (FaultKind::Server, [500, 500, 500, 500]),
        (FaultKind::Overloaded, [503, 529, 503, 503]),
    ];
    for (kind, statuses) in rows {
        let server = serve(FaultRule::always(kind).retry_after(1.5));
        for (protocol, status) in Protocol::ALL.into_iter().zip(statuses) {
            for stream in [false, true] {
                let answer = call(&server, protocol, stream).unwrap();
                assert_eq!((answer.status, answer.end), (status, End::Complete), "{kind} {protocol}");
                assert_eq!(answer.headers["retry-after"], "2", "whole seconds, rounded up");
                let body = answer.json();
                let words = match protocol {
                    Protocol::OpenAi => {
                        assert_eq!(answer.headers["retry-after-ms"], "1500");
                        &body["error"]["message"]
                    }
                    Protocol::Anthropic => {
                        assert_eq!((&body["type"], &body["request_id"]), (&json!("error"), &json!("r-1")));
                        assert!(body["error"]["type"].is_string());
                        &body["error"]["message"]
                    }
                    Protocol::Bedrock => {
                        assert!(answer.headers["x-amzn-errortype"].contains("Exception"));
                        &body["message"]
                    }
                    Protocol::Ollama => &body["error"],
                };
                assert!(words.as_str().is_some_and(|w| !w.is_empty()), "{kind} {protocol}: {body}");
            }
        }
        let truth = server.truth();
        assert!(truth.iter().all(|r| r.outcome == TruthOutcome::Refused && r.fault == Some(kind)));
        assert!(truth.iter().all(|r| r.status.is_some() && r.service_start_ns.is_none()));
    }
}

#[test]
fn a_rate_limit_without_a_rule_says_a_second() {
    let server = serve(FaultRule::always(FaultKind::RateLimit));
    assert_eq!(call(&server, Protocol::Anthropic, true).unwrap().headers["retry-after"], "1");
    let server = serve(FaultRule::always(FaultKind::Server));
    assert!(!call(&server, Protocol::Anthropic, true).unwrap().headers.contains_key("retry-after"));
}

#[test]
fn an_error_object_in_mid_stream() {
    let server = serve(FaultRule::always(FaultKind::StreamError).after_tokens(2));
    for protocol in Protocol::ALL {
        let answer = call(&server, protocol, true).unwrap();
        let said = said(protocol, &answer, true);
        assert_eq!(said.text.split(' ').count(), 2, "{protocol}: {said:?}");
        assert!(said.error.is_some() && !said.terminated, "{protocol}: {said:?}");
        assert_eq!(call(&server, protocol, false).unwrap().status, 500);
    }
}

#[test]
fn a_polite_truncation() {
    let server = serve(FaultRule::always(FaultKind::Truncate).after_tokens(2));
    for protocol in Protocol::ALL {
        let answer = call(&server, protocol, true).unwrap();
        assert_eq!(answer.end, End::Complete, "HTTP sees nothing wrong");
        let said = said(protocol, &answer, true);
        assert_eq!((said.text.split(' ').count(), said.terminated), (2, false), "{protocol}");
        let whole = call(&server, protocol, false).unwrap();
        assert_eq!(whole.end, End::Complete);
        assert!(serde_json::from_slice::<serde_json::Value>(&whole.body).is_err(), "{protocol}");
    }
}

#[test]
fn connections_break_in_mid_stream() {
    for (kind, end) in [(FaultKind::Reset, End::Reset), (FaultKind::Close, End::Closed)] {
        let server = serve(FaultRule::always(kind).after_tokens(2));
        for protocol in Protocol::ALL {
            let answer = call(&server, protocol, true).unwrap();
            assert_eq!((answer.status, answer.end), (200, end), "{kind} {protocol}");
            assert_eq!(said(protocol, &answer, true).text.split(' ').count(), 2, "{kind} {protocol}");
            assert_eq!(call(&server, protocol, false).unwrap().end, end, "{kind} {protocol}, whole");
        }
        assert!(server.truth().iter().all(|r| r.outcome == TruthOutcome::Broken));
    }
}

#[test]
fn a_connection_breaks_before_a_byte() {
    let server = serve(FaultRule::always(FaultKind::Network));
    for protocol in Protocol::ALL {
        assert_eq!(call(&server, protocol, true).unwrap_err(), End::Reset, "{protocol}");
    }
    assert!(server.truth().iter().all(|r| r.status.is_none() && r.writes.is_empty()));
}

#[test]
fn a_gateway_gives_up_after_the_pause() {
    let server = serve(FaultRule::always(FaultKind::Timeout).pause_ms(300.0));
    for protocol in Protocol::ALL {
        assert_eq!(call(&server, protocol, true).unwrap().status, 504, "{protocol}");
    }
    for r in server.truth() {
        // 300 ms, played ten times as fast.
        let waited = r.writes[0].before.since(r.service_start_ns.unwrap()).unwrap();
        assert!(waited.as_millis() >= 30, "{waited:?}");
    }
}

#[test]
fn a_stall_only_delays() {
    let server = serve(FaultRule::always(FaultKind::Stall).after_tokens(3).pause_ms(400.0));
    let said = said(Protocol::OpenAi, &call(&server, Protocol::OpenAi, true).unwrap(), true);
    assert!(said.terminated && said.text.split(' ').count() == 5);
    let r = &server.truth()[0];
    // When they were due: a write that is late on a busy machine shortens the pause before the next.
    let due = r.writes.iter().zip(&r.targets_ns).filter(|(w, _)| w.tokens > 0);
    let times: Vec<_> = due.map(|(_, target)| *target).collect();
    assert!(times[3].since(times[2]).unwrap().as_millis() >= 40, "{times:?}");
    assert_eq!(r.outcome, TruthOutcome::Complete);
}

#[test]
fn a_fault_before_the_first_token_leaves_a_head() {
    for kind in [FaultKind::Truncate, FaultKind::StreamError, FaultKind::Reset, FaultKind::Close] {
        for head_share in [0.5, 1.0] {
            let rule = FaultRule::always(kind).after_tokens(0);
            let profile = Profile { head_share, ..exact().with_time_scale(0.1).with_fault(rule) };
            let server = ServerConfig::default().map_profiles(|_| profile.clone()).start().unwrap();
            for protocol in Protocol::ALL {
                let answer = call(&server, protocol, true).unwrap();
                assert_eq!((answer.status, said(protocol, &answer, true).text.as_str()), (200, ""), "{kind}");
            }
        }
    }
}

#[test]
fn a_token_bucket_refuses_what_is_beyond_it() {
    let limit = Some(RateLimit::requests(0.01, 2.0));
    let profile = Profile { rate_limit: limit, ..exact().with_time_scale(0.01) };
    let server = ServerConfig::default().with_profile(Protocol::OpenAi, profile).start().unwrap();
    let statuses: Vec<_> = (0..4).map(|_| call(&server, Protocol::OpenAi, false).unwrap()).collect();
    assert_eq!(statuses.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 200, 429, 429]);
    let wait: u32 = statuses[3].headers["retry-after"].parse().unwrap();
    assert!((90..=100).contains(&wait), "{wait}");
}
