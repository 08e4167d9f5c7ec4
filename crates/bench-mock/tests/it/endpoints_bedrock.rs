//! Bedrock's endpoints: Converse with all its extras, InvokeModel with the bodies of four families, counts.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{FaultKind, FaultRule, Profile};
use common::endpoints::{call, call_with, frames, names, ok, quick, serve, thinking};
use serde_json::{Value, json};

fn converse(more: &Value) -> Value {
    let mut body = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn converse_tells_what_was_asked() {
    let server = serve(quick());
    let more = json!({
        "guardrailConfig": {"guardrailIdentifier": "gr-1", "guardrailVersion": "DRAFT", "trace": "enabled"},
        "performanceConfig": {"latency": "optimized"},
        "serviceTier": {"type": "flex"}
    });
    let whole = ok(&server, "/model/m/converse", &converse(&more));
    assert_eq!(whole["performanceConfig"], json!({"latency": "optimized"}));
    assert_eq!(whole["serviceTier"], json!({"type": "flex"}));
    let guardrail = &whole["trace"]["guardrail"];
    assert!(
        guardrail["inputAssessment"]["gr-1"].is_object() && guardrail["outputAssessments"]["gr-1"].is_array()
    );
    let frames = frames(&call(&server, "/model/m/converse-stream", &converse(&more)));
    let (name, metadata) = frames.last().unwrap();
    assert_eq!(name, "metadata");
    for field in ["performanceConfig", "serviceTier"] {
        assert_eq!(metadata[field], whole[field]);
    }
    assert!(metadata["trace"]["guardrail"]["outputAssessments"]["gr-1"].is_array());
    // Not asked, not told.
    let plain = ok(&server, "/model/m/converse", &converse(&json!({})));
    assert!(plain.get("trace").is_none() && plain.get("serviceTier").is_none());
}

#[test]
fn converse_reasons_stops_and_calls() {
    let server = serve(thinking());
    let whole = ok(&server, "/model/m/converse", &converse(&json!({})));
    let reasoning = whole.pointer("/output/message/content/0/reasoningContent/reasoningText").unwrap();
    assert!(reasoning["text"].is_string() && reasoning["signature"].is_string());
    let wish = json!({"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 4}}});
    let asked = frames(&call(&serve(quick()), "/model/m/converse-stream", &converse(&wish)));
    let of =
        |field: &str| asked.iter().filter(|(_, p)| p["delta"]["reasoningContent"][field].is_string()).count();
    assert_eq!((of("text"), of("signature")), (4, 1));
    let said = serve(Profile { responses: vec!["one two three".into()], ..quick() });
    let more = json!({
        "inferenceConfig": {"stopSequences": ["two"]}, "additionalModelResponseFieldPaths": ["/stop_sequence"]
    });
    let whole = ok(&said, "/model/m/converse", &converse(&more));
    assert_eq!(whole["stopReason"], "stop_sequence");
    assert_eq!(whole["additionalModelResponseFields"], json!({"stop_sequence": "two"}));
    let schema = "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}}}";
    let format = json!({"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "n"}}});
    let whole = ok(&said, "/model/m/converse", &converse(&json!({"outputConfig": {"textFormat": format}})));
    let text = whole.pointer("/output/message/content/0/text").unwrap().as_str().unwrap();
    assert!(serde_json::from_str::<Value>(text).unwrap()["n"].is_i64());
}

#[test]
fn every_exception_can_come_in_a_stream() {
    for (says, converse_name, invoke_name) in [
        (None, "modelStreamErrorException", "modelStreamErrorException"),
        (Some(FaultKind::RateLimit), "throttlingException", "throttlingException"),
        (Some(FaultKind::Overloaded), "serviceUnavailableException", "serviceUnavailableException"),
        (Some(FaultKind::Server), "internalServerException", "internalServerException"),
        (Some(FaultKind::BadRequest), "validationException", "validationException"),
        (Some(FaultKind::Timeout), "modelStreamErrorException", "modelTimeoutException"),
    ] {
        let rule = FaultRule { says, ..FaultRule::always(FaultKind::StreamError).after_tokens(2) };
        let server = serve(quick().with_fault(rule));
        let claude = json!({
            "anthropic_version": "bedrock-2023-05-31", "max_tokens": 9,
            "messages": [{"role": "user", "content": "hello"}]
        });
        for (path, body, name) in [
            ("converse-stream", converse(&json!({})), converse_name),
            ("invoke-with-response-stream", claude, invoke_name),
        ] {
            let frames = frames(&call(&server, &format!("/model/m/{path}"), &body));
            let (kind, payload) = frames.last().unwrap();
            assert_eq!(kind, name, "{says:?}");
            assert!(payload["message"].is_string());
        }
    }
}

#[test]
fn claude_is_invoked() {
    let server = serve(quick());
    let mut body = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "system": "be short",
        "messages": [{"role": "user", "content": "hello"}]
    });
    let model = "us.anthropic.claude-haiku-4-5-20251001-v1%3A0";
    let answer = call(&server, &format!("/model/{model}/invoke"), &body);
    let whole = answer.json();
    assert!(whole["id"].as_str().unwrap().starts_with("msg_bdrk_") && whole["stop_reason"] == "end_turn");
    assert_eq!(answer.headers["x-amzn-bedrock-input-token-count"], "4");
    assert_eq!(answer.headers["x-amzn-bedrock-output-token-count"], "6");
    let latency: u64 = answer.headers["x-amzn-bedrock-invocation-latency"].parse().unwrap();
    assert!(latency >= 15 && answer.headers["x-amzn-requestid"] == "r-1");
    let answer = call(&server, &format!("/model/{model}/invoke-with-response-stream"), &body);
    assert_eq!(answer.headers["x-amzn-bedrock-content-type"], "application/json");
    let frames = frames(&answer);
    assert!(frames.iter().all(|(kind, _)| kind == "chunk"));
    let kinds: Vec<(String, Value)> =
        frames.iter().map(|(_, d)| (d["type"].as_str().unwrap().to_owned(), Value::Null)).collect();
    assert_eq!(
        names(&kinds),
        [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop"
        ]
    );
    let text: String = frames.iter().filter_map(|(_, d)| d["delta"]["text"].as_str()).collect();
    assert_eq!(whole["content"][0]["text"], text);
    let metrics = &frames.last().unwrap().1["amazon-bedrock-invocationMetrics"];
    assert_eq!((&metrics["inputTokenCount"], &metrics["outputTokenCount"]), (&json!(4), &json!(6)));
    body.as_object_mut().unwrap().remove("anthropic_version");
    let refused = call(&server, "/model/m/invoke", &body);
    assert_eq!(refused.status, 400);
    assert!(refused.headers["x-amzn-errortype"].starts_with("ValidationException"));
    let missing = json!({"anthropic_version": "bedrock-2023-05-31", "messages": []});
    assert_eq!(call(&server, "/model/m/invoke", &missing).status, 400);
}

#[test]
fn titan_llama_and_nova_are_invoked() {
    let server = serve(quick());
    let titan = json!({"inputText": "hello", "textGenerationConfig": {"maxTokenCount": 4}});
    let whole = ok(&server, "/model/amazon.titan-text-lite-v1/invoke", &titan);
    assert_eq!(whole["inputTextTokenCount"], 2);
    let result = &whole["results"][0];
    assert_eq!((&result["tokenCount"], &result["completionReason"]), (&json!(4), &json!("LENGTH")));
    let chunks =
        frames(&call(&server, "/model/amazon.titan-text-lite-v1/invoke-with-response-stream", &titan));
    let text: String = chunks.iter().map(|(_, c)| c["outputText"].as_str().unwrap()).collect();
    assert_eq!(result["outputText"], text);
    let last = &chunks.last().unwrap().1;
    assert_eq!(
        (&last["completionReason"], &last["totalOutputTextTokenCount"]),
        (&json!("LENGTH"), &json!(4))
    );
    assert_eq!(last["amazon-bedrock-invocationMetrics"]["outputTokenCount"], 4);

    let llama = json!({"prompt": "hello", "max_gen_len": 100, "temperature": 0.1});
    let whole = ok(&server, "/model/meta.llama3-70b-instruct-v1%3A0/invoke", &llama);
    assert_eq!((&whole["prompt_token_count"], &whole["generation_token_count"]), (&json!(2), &json!(6)));
    assert_eq!(whole["stop_reason"], "stop");
    let chunks = frames(&call(&server, "/model/meta.llama3/invoke-with-response-stream", &llama));
    let text: String = chunks.iter().map(|(_, c)| c["generation"].as_str().unwrap()).collect();
    assert_eq!(whole["generation"], text);
    assert_eq!(chunks[0].1["prompt_token_count"], 2);
    assert_eq!(chunks.last().unwrap().1["stop_reason"], "stop");

    let nova = json!({
        "schemaVersion": "messages-v1", "inferenceConfig": {"max_new_tokens": 4},
        "messages": [{"role": "user", "content": [{"text": "hello"}]}]
    });
    let whole = ok(&server, "/model/amazon.nova-micro-v1%3A0/invoke", &nova);
    assert_eq!((&whole["stopReason"], &whole["usage"]["outputTokens"]), (&json!("max_tokens"), &json!(4)));
    let chunks = frames(&call(&server, "/model/amazon.nova-micro-v1%3A0/invoke-with-response-stream", &nova));
    let deltas = chunks.iter().filter_map(|(_, c)| c.pointer("/contentBlockDelta/delta/text")?.as_str());
    let text: String = deltas.collect();
    assert_eq!(whole.pointer("/output/message/content/0/text").unwrap(), &text);
    assert!(chunks.last().unwrap().1["metadata"]["usage"].is_object());

    for body in [json!({}), json!({"inputText": 1}), json!({"messages": []})] {
        assert_eq!(call(&server, "/model/m/invoke", &body).status, 400, "{body}");
    }
}

#[test]
fn tokens_are_counted() {
    let server = serve(quick());
    let body = json!({"input": {"converse": converse(&json!({}))}});
    assert_eq!(ok(&server, "/model/m/count-tokens", &body), json!({"inputTokens": 2}));
    let inner = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 1,
        "messages": [{"role": "user", "content": "hello"}]
    });
    let inner = aws_smithy_types::base64::encode(inner.to_string());
    let body = json!({"input": {"invokeModel": {"body": inner}}});
    assert_eq!(ok(&server, "/model/m/count-tokens", &body), json!({"inputTokens": 2}));
    let nothing = call(&server, "/model/m/count-tokens", &json!({"input": {}}));
    assert!(nothing.status == 400 && nothing.headers["x-amzn-errortype"].starts_with("Validation"));
}

#[test]
fn keys_that_begin_badly_are_refused() {
    let server = serve(quick());
    let signed = "authorization: AWS4-HMAC-SHA256 Credential=bad-AKID/20260101/us-east-1/bedrock/aws4_request, \
                  SignedHeaders=host, Signature=0\r\n";
    for headers in [signed, "authorization: Bearer bad-token\r\n"] {
        let answer = call_with(&server, "/model/m/converse", headers, &converse(&json!({})));
        assert_eq!(answer.status, 403);
        assert!(answer.headers["x-amzn-errortype"].starts_with("UnrecognizedClientException"));
    }
}
