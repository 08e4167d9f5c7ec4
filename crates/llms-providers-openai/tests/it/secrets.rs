//! No key, token or header of the user is ever printed: not by `Debug` or `Display`, not in an error and its sources, not
//! in a hook, an event of the observer, or a health report; also when the server quotes it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::stub;

use std::{error::Error as _, sync::Arc};

use llms_core::{
    CallContext, ChatModel, ChatRequest, Error, TimedEvent,
    config::ModelConfig,
    wire::{Codec as _, Delivery},
};
use llms_providers_openai::{Api, Codec, Config};
use stub::{Answer, Log, Stub, model, run};

const KEY: &str = "key-of-mine-7731";
const TOKEN: &str = "token-of-mine-7732";
const HEADER: &str = "gateway-of-mine-7733";

#[track_caller]
fn clean(what: &str, text: &str) {
    for secret in [KEY, TOKEN, HEADER] {
        assert!(!text.contains(secret), "{what} shows {secret}: {text}");
    }
}

#[track_caller]
fn clean_error(what: &str, error: &Error) {
    clean(
        what,
        &format!("{error} {error:?} {error:#?} {:?} {:?}", error.request_id(), error.provider_code()),
    );
    let mut source = error.source();
    while let Some(e) = source {
        clean(what, &format!("{e} {e:?}"));
        source = e.source();
    }
}

/// Each configuration with the secrets that are in it.
fn configs(api: Api) -> Vec<(ModelConfig, Vec<&'static str>)> {
    let base = || {
        ModelConfig::new("openai", "m")
            .with_base_url("http://127.0.0.1:9/v1")
            .with_specific("api", api.as_str())
    };
    let gateway = [("x-gateway".to_owned(), HEADER.to_owned())];
    let bearer = [("Authorization".to_owned(), format!("Bearer {TOKEN}"))];
    let azure = base().with_base_url("https://r.openai.azure.com/openai/deployments/d").with_api_key(KEY);
    vec![
        (ModelConfig { headers: gateway.into(), ..base().with_api_key(KEY) }, vec![KEY, HEADER]),
        (ModelConfig { headers: bearer.into(), ..base() }, vec![TOKEN]),
        (azure, vec![KEY]),
    ]
}

/// What a server that quotes everything says of a secret.
fn quoting(secret: &str) -> Vec<Answer> {
    let error = format!(
        r#"{{"error":{{"message":"bad {secret}, really {secret}","type":"{secret}","code":"{secret}","param":"{secret}"}}}}"#
    );
    let failed = format!(
        r#"{{"type":"response.failed","response":{{"status":"failed","error":{{"code":"{secret}","message":"{secret}"}}}}}}"#
    );
    let chat = format!(
        r#"{{"model":"m","system_fingerprint":"{secret}","service_tier":"{secret}","choices":[{{"delta":{{}},"message":{{"content":""}},"finish_reason":"stop"}}]}}"#
    );
    let response = format!(r#"{{"status":"completed","service_tier":"{secret}","output":[]}}"#);
    let completed = format!(r#"{{"type":"response.completed","response":{response}}}"#);
    let models = format!(r#"{{"data":[{{"id":"{secret}"}}]}}"#);
    let headers: &[(&'static str, &str)] = &[
        ("x-request-id", secret),
        ("apim-request-id", secret),
        ("x-ms-region", secret),
        ("server", secret),
        ("openai-version", secret),
        ("x-ratelimit-reset-tokens", secret),
        ("retry-after", secret),
        ("location", secret),
    ];
    [
        Answer::new(401, &[&error]),
        Answer::new(404, &[&error]),
        Answer::new(429, &[secret]),
        Answer::new(500, &[&format!("<html>{secret}")]),
        Answer::new(200, &[&error]),
        Answer::new(200, &[&chat]),
        Answer::new(200, &[&response]),
        Answer::new(200, &[&models]),
        Answer::new(200, &[&format!(r#"{{"choices":"{secret}","output":"{secret}","data":"{secret}"}}"#)]),
        Answer::stream(&[&chat, &error]),
        Answer::stream(&[&chat, "[DONE]"]),
        Answer::stream(&[&completed]),
        Answer::stream(&[&failed]),
        Answer::stream(&[&format!(r#"{{"choices":"{secret}","output_index":"{secret}"}}"#)]),
    ]
    .map(|answer| answer.with_headers(headers))
    .into()
}

#[test]
fn nothing_shows_a_secret_even_if_the_server_quotes_it() {
    for (config, secrets) in Api::ALL.into_iter().flat_map(configs) {
        clean("ModelConfig", &format!("{config:?}"));
        let checked = Config::new(&config, &|_| None).unwrap();
        clean("Config", &format!("{checked:?} {checked:#?}"));
        let codec = Codec::new(checked);
        clean("Codec", &format!("{codec:?}"));
        let request = ChatRequest::text("hi");
        clean("Prepared", &format!("{:?}", codec.encode(&request, Delivery::Whole).unwrap()));
        clean("Probe", &format!("{:?}", codec.probe().unwrap()));
        clean("Decoder", &format!("{:?}", codec.decoder()));
        clean("ModelInfo", &format!("{:?}", codec.info()));
        for answer in secrets.into_iter().flat_map(quoting) {
            let stub = Stub::new(vec![answer; 3]);
            let model = model(&config, &stub);
            clean("HttpModel", &format!("{model:?}"));
            let log = Arc::new(Log::default());
            let ctx = CallContext::new().with_observer(log.clone());
            if let Err(e) = run(model.generate(&request, &ctx)) {
                clean_error("generate", &e);
            }
            let mut events: Vec<TimedEvent> = Vec::new();
            if let Err(e) = run(model.drive(&request, &ctx, &mut events)) {
                clean_error("drive", &e);
            }
            let health = run(model.check_health(&ctx));
            clean("health", &format!("{health:?} {}", serde_json::to_string(&health).unwrap()));
            for event in log.0.lock().unwrap().iter().filter(|e| !e.starts_with("Head")) {
                clean("the observer", event);
            }
        }
    }
}

#[test]
fn wrong_configurations_do_not_show_their_secrets() {
    let config =
        ModelConfig::new("openai", "m").with_api_key(format!("{KEY}\u{1}")).with_specific("key", KEY);
    let config = ModelConfig { headers: [("x-bad".to_owned(), format!("{HEADER}\n"))].into(), ..config };
    clean_error("Config::new", &Config::new(&config, &|_| None).unwrap_err());
    let url = format!("https://me:{TOKEN}@gateway.example");
    let own = ModelConfig::new("openai", "m").with_base_url(&url);
    clean_error("credentials in the address", &Config::new(&own, &|_| None).unwrap_err());
    let variable = |name: &str| (name == "OPENAI_BASE_URL").then(|| url.clone());
    let own = ModelConfig::new("openai", "m");
    clean_error("credentials in the variable", &Config::new(&own, &variable).unwrap_err());
    let env = |name: &str| (name == "OPENAI_API_KEY").then(|| format!("{KEY}\u{7f}x"));
    clean_error("the variable", &Config::new(&own, &env).unwrap_err());
}

/// A parser quotes what it found; an error does not carry all of it. Found by fuzzing.
#[test]
fn what_cannot_be_read_is_not_repeated_at_length() {
    let long = "x".repeat(100_000);
    let body = format!(r#"{{"choices":"{long}","output":"{long}","output_index":"{long}"}}"#);
    for api in Api::ALL {
        let (config, _) = configs(api).remove(0);
        let codec = Codec::new(Config::new(&config, &|_| None).unwrap());
        let whole = codec.decode(body.as_bytes(), &mut |_, _| {}).unwrap_err();
        let stub = Stub::new(vec![Answer::stream(&[&body])]);
        let mut events: Vec<TimedEvent> = Vec::new();
        let (request, ctx) = (ChatRequest::text("hi"), CallContext::new());
        let streamed = run(model(&config, &stub).drive(&request, &ctx, &mut events)).unwrap_err();
        for e in [whole, streamed] {
            assert!(e.message().len() < 2000, "{api:?}: {} bytes", e.message().len());
        }
    }
}
