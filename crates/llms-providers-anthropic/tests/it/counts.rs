//! Token counts asked of the service: the request, and recorded answers against what the vendor's SDK read.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::stub;

use llms_core::{
    CallContext, ChatRequest, ErrorCode,
    chat::{CacheAt, ResponseFormat},
};
use llms_providers_anthropic::{Codec, Config, count_tokens};
use serde_json::{Value, json};
use stub::{Answer, Stub, config, run};

fn codec() -> Codec {
    Codec::new(Config::new(&config(), &|_| None).unwrap())
}

#[test]
fn every_recorded_count_reads_as_the_sdk_reads_it() {
    let expected: Value =
        serde_json::from_str(include_str!("../recordings/count-tokens.expected.json")).unwrap();
    let mut seen = 0;
    for line in include_str!("../recordings/count-tokens.jsonl").lines() {
        let r: Value = serde_json::from_str(line).unwrap();
        let e = &expected["recordings"][r["id"].as_str().unwrap()];
        let request: Value = serde_json::from_str(r["request"]["body"].as_str().unwrap()).unwrap();
        let model = request["model"].as_str().unwrap();
        let codec = Codec::new(
            Config::new(&llms_core::config::ModelConfig { model: model.to_owned(), ..config() }, &|_| None)
                .unwrap(),
        );
        let headers = r["response"]["headers"].as_object().unwrap().iter();
        let headers =
            headers.map(|(k, v)| (k.parse().unwrap(), v.as_str().unwrap().parse().unwrap())).collect();
        let status = r["response"]["status"].as_u64().unwrap() as u16;
        let body = r["response"]["body"].as_str().unwrap().as_bytes();
        match codec.count_tokens_answer(status, &headers, body) {
            Ok(n) => assert_eq!(Some(n), e["input_tokens"].as_u64(), "{r}"),
            Err(error) => {
                assert_eq!(e["error"]["class"], "NotFoundError");
                assert_eq!(error.code(), ErrorCode::ModelNotAvailable);
                assert_eq!(Some(error.message()), e["error"]["message"].as_str());
                assert_eq!(error.provider_code(), e["error"]["type"].as_str());
                assert_eq!(error.request_id(), e["error"]["request_id_in_body"].as_str());
            }
        }
        seen += 1;
    }
    assert_eq!(seen, 6);
}

#[test]
fn what_changes_the_prompt_is_counted_and_nothing_else_is_sent() {
    let schema = json!({"type": "object"});
    let mut request =
        ChatRequest::text("hi").with_system("s").with_max_tokens(7).with_cache(CacheAt::System).with_format(
            ResponseFormat::JsonSchema { name: "n".into(), schema: schema.clone(), strict: true },
        );
    request.options.temperature = Some(0.5);
    request.options.stop_sequences = vec!["x".into()];
    for (name, value) in [
        ("thinking", json!({"type": "adaptive"})),
        ("service_tier", json!("auto")),
        ("metadata", json!({"user_id": "u"})),
        ("output_config", json!({"effort": "low"})),
    ] {
        request.options.extra.insert(name.into(), value);
    }
    let prepared = codec().count_tokens_request(&request).unwrap();
    assert_eq!(prepared.method, "POST");
    assert_eq!(prepared.uri, "http://127.0.0.1:9/v1/messages/count_tokens");
    assert_eq!(prepared.headers["accept"], "application/json");
    assert_eq!(prepared.headers["anthropic-version"], "2023-06-01");
    assert_eq!(
        serde_json::from_slice::<Value>(&prepared.body).unwrap(),
        json!({
            "model": "claude-test",
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
            "messages": [{"role": "user", "content": "hi"}],
            "thinking": {"type": "adaptive"},
            "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": schema}},
        })
    );
    request.options.seed = Some(1);
    let error = codec().count_tokens_request(&request).unwrap_err();
    assert_eq!((error.op(), error.code()), ("anthropic.count_tokens", ErrorCode::InvalidRequest));
}

#[test]
fn it_is_asked_over_any_transport() {
    let stub = Stub::new([
        Answer::new(200, &[r#"{"input_"#, r#"tokens":42,"context_management":null}"#]),
        Answer::new(404, &["404 page not found"]),
        Answer::new(200, &["{}"]),
        Answer { breaks: true, ..Answer::new(200, &["{"]) },
    ]);
    let ask = || run(count_tokens(&codec(), &*stub, &ChatRequest::text("hi"), &CallContext::new()));
    assert_eq!(ask().unwrap(), 42);
    let missing = ask().unwrap_err();
    assert_eq!(missing.code(), ErrorCode::NotFound);
    assert!(missing.message().contains("/v1/messages/count_tokens; check base_url"), "{missing}");
    assert_eq!(ask().unwrap_err().code(), ErrorCode::MalformedResponse);
    assert_eq!(ask().unwrap_err().code(), ErrorCode::StreamClosed);
    assert_eq!(stub.sent.lock().unwrap().len(), 4);
}
