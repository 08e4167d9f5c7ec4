//! No key and no header of the user appears in anything printed, reported or recorded, also where the server repeats it.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]

use crate::common;

use std::sync::{Arc, Mutex};

use common::{Answer, Stub, block, model_of};
use llms_core::{
    CallContext, ChatModel as _, ChatModelExt as _, ChatRequest,
    config::ModelConfig,
    observe::{CallEvent, CallObserver, Timeline},
};

const SECRETS: [&str; 2] = ["hunter2-key-of-the-user", "gateway-password-7"];

fn config() -> ModelConfig {
    let mut config =
        ModelConfig::new("ollama", "tiny").with_base_url("http://127.0.0.1:9").with_api_key(SECRETS[0]);
    config.headers.insert("x-gateway".into(), SECRETS[1].into());
    config
}

/// Prints every event as a careless logger would, but for what the server itself sent in its headers.
#[derive(Default)]
struct Careless(Mutex<String>);

impl CallObserver for Careless {
    fn observe(&self, event: &CallEvent<'_>) {
        if !matches!(event, CallEvent::Head { .. }) {
            self.0.lock().unwrap().push_str(&format!("{event:?}\n"));
        }
    }

    fn wants_chunks(&self) -> bool {
        true
    }
}

#[track_caller]
fn clean(what: &str, text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{what} shows a secret: {text}");
    }
}

#[test]
fn nothing_printed_holds_a_secret() {
    let echo = format!("no such key: {} (Bearer {0}), gateway {}", SECRETS[0], SECRETS[1]);
    let json = serde_json::json!({"error": echo}).to_string();
    let text = r#"{"model":"tiny","message":{"content":"a"},"done":false}"#;
    for answer in [
        Answer::refused(401, json.clone()),
        Answer::refused(404, json.clone()),
        Answer::refused(429, json.clone()).with("retry-after", "1"),
        Answer::refused(500, echo.clone()),
        Answer::lines(&[text, &json]),
        Answer::lines(&[&json]),
        Answer::lines(&[&echo]),
        Answer::ok(echo.clone()),
    ] {
        let stub = Stub::new([
            ("/api/chat", answer.clone()),
            ("/api/tags", answer.clone()),
            ("/api/pull", answer.clone()),
            ("/api/show", answer),
        ]);
        let model = model_of(&config(), &stub);
        clean("the model", &format!("{model:?} {:?} {:?}", model.info(), model.codec()));
        let (careless, timeline) = (Arc::new(Careless::default()), Timeline::new());
        let request = ChatRequest::text("hi");
        block(async {
            let ctx = CallContext::new().with_observer(careless.clone());
            let e = model.collect(&request, &ctx).await.unwrap_err();
            clean("an error of a stream", &format!("{e} {e:?}"));
            let e = model
                .generate(&request, &ctx.clone().with_observer(Arc::new(timeline.clone())))
                .await
                .unwrap_err();
            clean("an error", &format!("{e} {e:?}"));
            clean("health", &format!("{:?}", model.check_health(&ctx).await));
            let e = model.server().pull("tiny", &ctx, &mut |_| {}).await.unwrap_err();
            clean("an error of a pull", &format!("{e} {e:?}"));
            let e = model.server().show("tiny", &ctx).await.unwrap_err();
            clean("an error of the server", &format!("{e} {e:?}"));
        });
        clean("events", &careless.0.lock().unwrap());
        clean("the timeline", &serde_json::to_string(&timeline.take()).unwrap());
        let sent = stub.sent.lock().unwrap();
        assert!(sent.iter().all(|p| p.headers["authorization"].to_str().unwrap().contains(SECRETS[0])));
        clean("what was sent", &format!("{sent:?}"));
    }
}

#[test]
fn a_wrong_configuration_does_not_show_its_secrets() {
    let mut config = config();
    config.api_key = Some(format!("{}\n", SECRETS[0]).into());
    config.headers.insert("x-bad".into(), format!("{}\n", SECRETS[1]));
    config.timeout = std::time::Duration::ZERO;
    let e = llms_providers_ollama::Config::new(&config, &|_| None).unwrap_err();
    clean("the refusal", &format!("{e} {e:?} {config:?}"));
    let key = |name: &str| (name == "OLLAMA_API_KEY").then(|| format!("{}\n{}", SECRETS[0], SECRETS[1]));
    let cloud = ModelConfig::new("ollama", "m").with_base_url("https://ollama.com");
    let e = llms_providers_ollama::Config::new(&cloud, &key).unwrap_err();
    clean("the refusal of the variable", &format!("{e} {e:?}"));
}
