//! No key, token or header of the user is ever printed: not by `Debug` or `Display`, not in an error and its sources, not
//! in a hook, an event of the observer, a health report or a recorded answer; also when the server quotes it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::stub;

use std::{error::Error as _, sync::Arc};

use llms_core::{
    CallContext, ChatModel, ChatRequest, Error, TimedEvent,
    config::ModelConfig,
    wire::{Codec as _, Delivery},
};
use llms_providers_anthropic::{Codec, Config, count_tokens};
use stub::{Answer, Log, Stub, frame, model, run};

const KEY: &str = "key-of-mine-7731";
const TOKEN: &str = "token-of-mine-7732";
const HEADER: &str = "gateway-of-mine-7733";
const SECRETS: [&str; 3] = [KEY, TOKEN, HEADER];

#[track_caller]
fn clean(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} shows {secret}: {text}");
    }
}

#[track_caller]
fn clean_error(what: &str, error: &Error) {
    clean(
        what,
        &format!("{error} {error:?} {:#?} {:?} {:?}", error, error.request_id(), error.provider_code()),
    );
    let mut source = error.source();
    while let Some(e) = source {
        clean(what, &format!("{e} {e:?}"));
        source = e.source();
    }
}

fn configs() -> Vec<ModelConfig> {
    let base = || ModelConfig::new("anthropic", "claude-test").with_base_url("http://127.0.0.1:9");
    let headers = [("x-gateway".to_owned(), HEADER.to_owned())];
    let bearer = [("Authorization".to_owned(), format!("Bearer {TOKEN}"))];
    vec![
        ModelConfig { headers: headers.into(), ..base().with_api_key(KEY) },
        ModelConfig { headers: bearer.into(), ..base() },
    ]
}

/// What a server that quotes everything says of each secret.
fn quoting(secret: &str) -> Vec<Answer> {
    let refusal = format!(
        r#"{{"type":"error","error":{{"type":"{secret}","message":"bad {secret}, really {secret}","details":{{"error_code":"{secret}"}}}},"request_id":"{secret}"}}"#
    );
    let usage = format!(
        r#""usage":{{"input_tokens":1,"output_tokens":1,"service_tier":"{secret}","speed":"{secret}"}}"#
    );
    let stop = format!(
        r#""stop_reason":"refusal","stop_sequence":"{secret}","stop_details":{{"category":"{secret}","explanation":"{secret}"}}"#
    );
    let whole = format!(r#"{{"content":[],{stop},{usage}}}"#);
    let event_error = refusal.clone();
    let started = format!(r#"{{"type":"message_start","message":{{{usage}}}}}"#);
    let ended = format!(r#"{{"type":"message_delta","delta":{{{stop}}}}}"#);
    let headers: &[(&'static str, &str)] = &[
        ("request-id", secret),
        ("anthropic-ratelimit-tokens-reset", secret),
        ("x-should-retry", secret),
        ("retry-after", secret),
        ("server", secret),
    ];
    let stream =
        |events: &[&str]| Answer { headers: Vec::new(), ..Answer::stream(events) }.with_headers(headers);
    let malformed = format!("event: content_block_delta\ndata: {{\"index\":\"{secret}\"}}\n\n");
    vec![
        Answer::new(401, &[&refusal]).with_headers(headers),
        Answer::new(429, &[secret]).with_headers(headers),
        Answer::new(500, &[&format!("<html>{secret}")]).with_headers(headers),
        Answer::new(404, &[&refusal]).with_headers(headers),
        Answer::new(200, &[&whole]).with_headers(headers),
        Answer::new(200, &[&refusal]).with_headers(headers),
        Answer::new(200, &[&format!(r#"{{"content":"{secret}"}}"#)]).with_headers(headers),
        stream(&[&started, &ended, r#"{"type":"message_stop"}"#]),
        stream(&[&started, &event_error]),
        Answer::new(200, &[&frame(&started), &malformed]).with_headers(headers),
    ]
}

#[test]
fn nothing_shows_a_secret_even_if_the_server_quotes_it() {
    for config in configs() {
        let checked = Config::new(&config, &|_| None).unwrap();
        clean("Config", &format!("{checked:?} {checked:#?}"));
        let codec = Codec::new(checked);
        clean("Codec", &format!("{codec:?}"));
        let request = ChatRequest::text("hi");
        clean("Prepared", &format!("{:?}", codec.encode(&request, Delivery::Whole).unwrap()));
        clean("Probe", &format!("{:?}", codec.probe().unwrap()));
        clean("Decoder", &format!("{:?}", codec.decoder()));
        clean("ModelInfo", &format!("{:?}", codec.info()));
        for secret in SECRETS.into_iter().filter(|s| is_known(&config, s)) {
            for answer in quoting(secret) {
                let stub = Stub::new(vec![answer; 4]);
                let model = model(&config, &stub);
                clean("HttpModel", &format!("{model:?}"));
                let log = Arc::new(Log::default());
                let ctx = CallContext::new().with_observer(log.clone());
                match run(model.generate(&request, &ctx)) {
                    Ok(answer) => clean("reasoning and ids", &format!("{:?} {:?}", answer.id, answer.usage)),
                    Err(e) => clean_error("generate", &e),
                }
                let mut events: Vec<TimedEvent> = Vec::new();
                if let Err(e) = run(model.drive(&request, &ctx, &mut events)) {
                    clean_error("drive", &e);
                }
                let health = run(model.check_health(&ctx));
                clean("health", &format!("{health:?} {}", serde_json::to_string(&health).unwrap()));
                if let Err(e) = run(count_tokens(&codec, &*stub, &request, &ctx)) {
                    clean_error("count_tokens", &e);
                }
                for event in log.0.lock().unwrap().iter().filter(|e| !e.starts_with("Head")) {
                    clean("observer", event);
                }
            }
        }
    }
}

/// Only what was sent can be quoted.
fn is_known(config: &ModelConfig, secret: &str) -> bool {
    let sent = Codec::new(Config::new(config, &|_| None).unwrap())
        .encode(&ChatRequest::text("hi"), Delivery::Whole)
        .unwrap();
    sent.headers.values().any(|v| v.to_str().is_ok_and(|v| v.contains(secret)))
}

#[test]
fn a_refused_configuration_shows_none() {
    let base = || ModelConfig::new("anthropic", "m").with_api_key(format!("{KEY}\n"));
    let odd = ModelConfig {
        headers: [("x-gateway".to_owned(), format!("{HEADER}\n"))].into(),
        ..base().with_api_key(format!("{KEY}\u{e9}\n7"))
    };
    clean_error("odd", &Config::new(&odd, &|_| None).unwrap_err());
    let env = |name: &str| (name == "ANTHROPIC_API_KEY").then(|| format!("{KEY}\u{7f}x"));
    let own = ModelConfig::new("anthropic", "m");
    clean_error("env", &Config::new(&own, &env).unwrap_err());
    let token = |name: &str| (name == "ANTHROPIC_AUTH_TOKEN").then(|| TOKEN.to_owned());
    let clear = own.with_base_url("http://api.anthropic.com");
    clean_error("clear", &Config::new(&clear, &token).unwrap_err());
    let url = base().with_base_url(format!("https://me:{TOKEN}@gateway.example"));
    clean_error("credentials in the address", &Config::new(&url, &|_| None).unwrap_err());
    let variable =
        |name: &str| (name == "ANTHROPIC_BASE_URL").then(|| format!("https://me:{TOKEN}@gateway.example"));
    let own = ModelConfig::new("anthropic", "m");
    clean_error("credentials in the variable", &Config::new(&own, &variable).unwrap_err());
}

/// A parser quotes what it found; an error does not carry all of it. Found by fuzzing.
#[test]
fn what_cannot_be_read_is_not_repeated_at_length() {
    let body = format!(r#"{{"content":"{}"}}"#, "x".repeat(100_000));
    let codec = Codec::new(Config::new(&configs().remove(0), &|_| None).unwrap());
    let e = codec.decode(body.as_bytes(), &mut |_, _| {}).unwrap_err();
    assert!(e.message().len() < 2000, "{} bytes", e.message().len());
}
