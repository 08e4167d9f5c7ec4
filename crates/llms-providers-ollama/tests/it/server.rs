//! What a server tells beside answers: recorded ones read as the official SDK reads them, the probe that looks closely,
//! a missing model, loading, unloading and pulling.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::common;

use common::{Answer, Stub, block, model_of};
use llms_core::{
    CallContext, ChatModel as _, ChatModelExt as _, ChatRequest, ErrorCode,
    config::ModelConfig,
    health::{HealthProbe, HealthState},
};
use serde_json::{Value, json};

fn config(model: &str) -> ModelConfig {
    ModelConfig::new("ollama", model).with_base_url("http://127.0.0.1:9")
}

/// The recorded answers of a real 0.9.3, by path, and what the SDK read in them.
fn recorded() -> (Vec<(&'static str, Answer)>, Value) {
    const PATHS: [&str; 4] = ["/api/tags", "/api/version", "/api/ps", "/api/show"];
    let expected: Value = serde_json::from_str(include_str!("../recordings/about.expected.json")).unwrap();
    let mut by_path = json!({});
    let answers = include_str!("../recordings/about.jsonl").lines().map(|line| {
        let r: Value = serde_json::from_str(line).unwrap();
        let path = PATHS.into_iter().find(|p| r["request"]["path"] == **p).unwrap();
        by_path[path] = expected["recordings"][r["id"].as_str().unwrap()]["answer"].clone();
        (path, Answer::ok(r["response"]["body"].as_str().unwrap()))
    });
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), 4);
    (answers, by_path)
}

#[test]
fn recorded_answers_read_as_the_sdk_reads_them() {
    let (answers, expected) = recorded();
    let stub = Stub::new(answers);
    let model = model_of(&config("tiny-tool"), &stub);
    let (server, ctx) = (model.server(), CallContext::new());
    block(async {
        assert_eq!(json!(server.version(&ctx).await.unwrap()), expected["/api/version"]["version"]);

        let list = server.list(&ctx).await.unwrap();
        let of_sdk = expected["/api/tags"]["models"].as_array().unwrap();
        assert_eq!(list.len(), of_sdk.len());
        for (got, want) in list.iter().zip(of_sdk) {
            assert_eq!(json!(got.name), want["model"]);
            assert_eq!(json!(got.digest), want["digest"]);
            assert_eq!(json!(got.size), want["size"]);
            for (got, field) in [
                (&got.details.format, "format"),
                (&got.details.family, "family"),
                (&got.details.parameter_size, "parameter_size"),
                (&got.details.quantization_level, "quantization_level"),
            ] {
                assert_eq!(json!(got), want["details"][field]);
            }
        }

        let running = server.running(&ctx).await.unwrap();
        let of_sdk = expected["/api/ps"]["models"].as_array().unwrap();
        assert_eq!(running.len(), of_sdk.len());
        for (got, want) in running.iter().zip(of_sdk) {
            assert_eq!(json!(got.name), want["model"]);
            assert_eq!(
                (json!(got.size), json!(got.size_vram)),
                (want["size"].clone(), want["size_vram"].clone())
            );
            assert!(got.expires_at.as_deref().unwrap().starts_with("2026-11-22T"), "{got:?}");
            assert_eq!(got.context_length, None, "0.9.3 does not say");
        }

        let shown = server.show("tiny-tool", &ctx).await.unwrap();
        let want = &expected["/api/show"];
        assert_eq!(json!(shown.capabilities), want["capabilities"]);
        assert_eq!(json!(shown.details.parameter_size), want["details"]["parameter_size"]);
        assert_eq!(json!(shown.context_tokens()), want["modelinfo"]["llama.context_length"]);
        assert_eq!(shown.num_ctx(), Some(4096));
    });
    assert_eq!(stub.body(3), json!({"model": "tiny-tool"}));
}

#[test]
fn the_probe_looks_closely() {
    let (answers, _) = recorded();
    let stub = Stub::new(answers);
    let health = block(model_of(&config("tiny-tool"), &stub).check_health(&CallContext::new()));
    assert_eq!((health.state, health.reason.as_deref()), (HealthState::Healthy, None));
    for (name, value) in [
        ("version", "0.9.3"),
        ("models", "3"),
        ("quantization", "F16"),
        ("loaded", "yes"),
        ("loaded_until", "2026-11-22T14:34:14.985081202Z"),
        ("loaded_bytes", "90663680"),
        ("loaded_gpu_bytes", "0"),
        ("context_tokens", "32768"),
        ("num_ctx", "4096"),
        ("capabilities", "completion, tools"),
        ("api_key", "none"),
    ] {
        assert_eq!(health.details.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(stub.asked(), ["/api/tags", "/api/version", "/api/ps", "/api/show"]);
}

const TAGS: &str = r#"{"models":[{"name":"tiny:latest"},{"name":"embed:latest"}]}"#;

#[test]
fn what_a_server_does_not_tell_leaves_it_healthy() {
    let stub = Stub::new([("/api/tags", Answer::ok(TAGS)), ("/api/ps", Answer::ok(r#"{"models":null}"#))]);
    let health = block(model_of(&config("tiny"), &stub).check_health(&CallContext::new()));
    assert_eq!(health.state, HealthState::Healthy);
    assert_eq!(health.details.get("loaded").map(String::as_str), Some("no"));
    assert_eq!(health.details.get("context_tokens"), None);
}

#[test]
fn a_model_that_only_embeds_is_degraded() {
    let shown = Answer::ok(r#"{"capabilities":["embedding"],"model_info":{}}"#);
    let stub = Stub::new([("/api/tags", Answer::ok(TAGS)), ("/api/show", shown)]);
    let health = block(model_of(&config("embed"), &stub).check_health(&CallContext::new()));
    assert_eq!(health.state, HealthState::Degraded);
    assert!(health.reason.unwrap().contains("made for: embedding"));
}

#[test]
fn a_one_token_probe_asks_the_model() {
    let done = r#"{"model":"tiny","message":{"role":"assistant","content":"a"},"done":true,"done_reason":"length","eval_count":1}"#;
    let stub = Stub::new([("/api/chat", Answer::ok(done))]);
    let mut config = config("tiny");
    config.health = HealthProbe::OneToken;
    let health = block(model_of(&config, &stub).check_health(&CallContext::new()));
    assert_eq!(health.state, HealthState::Healthy, "{health:?}");
    assert_eq!(stub.asked(), ["/api/chat"]);
    assert_eq!(stub.body(0)["options"]["num_predict"], 1);
}

#[test]
fn a_missing_model_names_the_command_and_what_is_there() {
    let missing = Answer::refused(404, r#"{"error":"model 'llama9' not found"}"#);
    let stub = Stub::new([("/api/chat", missing), ("/api/tags", Answer::ok(TAGS))]);
    let model = model_of(&config("llama9"), &stub);
    let (request, ctx) = (ChatRequest::text("hi"), CallContext::new());
    let expected =
        "model 'llama9' not found; run `ollama pull llama9`; the server has tiny:latest, embed:latest";
    let streamed = block(model.collect(&request, &ctx)).unwrap_err();
    let whole = block(model.generate(&request, &ctx)).unwrap_err();
    for error in [streamed, whole] {
        assert_eq!((error.code(), error.status()), (ErrorCode::ModelNotAvailable, Some(404)));
        assert_eq!((error.message(), error.provider()), (expected, Some("ollama")));
        assert!(error.phase().is_some());
    }
    assert_eq!(stub.asked(), ["/api/chat", "/api/tags", "/api/chat"], "the list is asked for once");
}

#[test]
fn a_missing_model_is_told_also_where_no_list_is_to_be_had() {
    let missing = Answer::refused(404, r#"{"error":"model 'llama9' not found"}"#);
    let stub = Stub::new([("/api/chat", missing)]);
    let error = block(model_of(&config("llama9"), &stub).invoke("hi", &CallContext::new())).unwrap_err();
    assert_eq!(error.message(), "model 'llama9' not found; run `ollama pull llama9`");
}

#[test]
fn models_are_loaded_and_unloaded() {
    let answer = Answer::ok(r#"{"model":"tiny","response":"","done":true,"done_reason":"load"}"#);
    let stub = Stub::new([("/api/generate", answer)]);
    let model = model_of(&config("tiny").with_specific("keep_alive", "10m"), &stub);
    let ctx = CallContext::new();
    block(async {
        model.server().load("tiny", &ctx).await.unwrap();
        model.server().unload("tiny", &ctx).await.unwrap();
    });
    assert_eq!(stub.body(0), json!({"model": "tiny", "stream": false, "keep_alive": "10m"}));
    assert_eq!(stub.body(1), json!({"model": "tiny", "stream": false, "keep_alive": 0}));
    let missing = Stub::new([("/api/generate", Answer::refused(404, r#"{"error":"model 'x' not found"}"#))]);
    let error = block(model_of(&config("tiny"), &missing).server().unload("x", &ctx)).unwrap_err();
    assert_eq!((error.code(), error.op()), (ErrorCode::ModelNotAvailable, "ollama.unload"));
    assert_eq!(error.message(), "model 'x' not found; run `ollama pull x`");
}

/// Status, bytes there, bytes in all.
type Told = (String, Option<u64>, Option<u64>);

/// Pulls with this report; what was told on the way.
fn pull(answer: Answer) -> (llms_core::Result<()>, Vec<Told>) {
    let stub = Stub::new([("/api/pull", answer)]);
    let mut told = Vec::new();
    let done =
        block(model_of(&config("tiny"), &stub).server().pull("llama3.2:1b", &CallContext::new(), &mut |p| {
            told.push((p.status.to_owned(), p.completed, p.total));
        }));
    assert_eq!(stub.body(0), json!({"model": "llama3.2:1b", "stream": true}));
    (done, told)
}

#[test]
fn a_pull_tells_how_far_it_is() {
    let report = [
        r#"{"status":"pulling manifest"}"#,
        r#"{"status":"pulling 74701a8c35f6","digest":"sha256:74701a8c35f6","total":1321082688}"#,
        r#"{"status":"pulling 74701a8c35f6","digest":"sha256:74701a8c35f6","total":1321082688,"completed":97}"#,
        r#"{"status":"success"}"#,
    ];
    let (done, told) = pull(Answer::lines(&report));
    done.unwrap();
    assert_eq!(told[2], ("pulling 74701a8c35f6".to_owned(), Some(97), Some(1321082688)));
    assert_eq!((told.len(), told[3].0.as_str()), (4, "success"));
    // What a real server without a network says.
    let offline =
        r#"{"error":"pull model manifest: Get \"https://registry.ollama.ai/v2/\": dial tcp: no such host"}"#;
    for (lines, code) in [
        (&[report[0], offline][..], ErrorCode::Stream),
        (&[r#"{"error":"pull model manifest: file does not exist"}"#], ErrorCode::ModelNotAvailable),
        (&report[..3], ErrorCode::StreamTruncated),
        (&["x"], ErrorCode::MalformedResponse),
    ] {
        let error = pull(Answer::lines(lines)).0.unwrap_err();
        assert_eq!((error.code(), error.provider()), (code, Some("ollama")), "{error}");
    }
}

#[test]
fn something_else_than_ollama_is_said_to_be_so() {
    let stub = Stub::new([("/api/tags", Answer::ok("<html>"))]);
    let model = model_of(&config("tiny"), &stub);
    let error = block(model.server().list(&CallContext::new())).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedResponse);
    let error = block(model.server().show("tiny", &CallContext::new())).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.message().contains("http://127.0.0.1:9/api/show"), "{error}");
}
