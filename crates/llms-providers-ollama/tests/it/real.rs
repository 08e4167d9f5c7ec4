//! A real Ollama server, where `LLMS_TEST_OLLAMA` names one (`127.0.0.1:11434`): the conformance suite over both
//! endpoints and both transports, thinking and tools where a model can, cold and warm starts, what the server tells of
//! itself. Skipped, saying so, without the variable.
//!
//! `LLMS_TEST_OLLAMA_MODELS`: models for text, tools and thinking, in this order (`tiny,tiny-tool,tiny-think`).

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what was seen is the point")]

use std::{sync::Arc, time::Duration};

use llms_core::{
    CallContext, ChatModel as _, ChatModelExt as _, ChatRequest, ErrorCode, Message, ToolDefinition,
    chat::{ChatOptions, ResponseFormat},
    config::ModelConfig,
    conformance,
    health::HealthState,
    observe::{Reported, Timeline},
    wire::Transport,
};
use llms_providers_ollama::{Config, Model, model};
use serde_json::{Value, json};

/// The address and the three models; `None` says why on the standard error.
fn server() -> Option<(String, [String; 3])> {
    let Ok(address) = std::env::var("LLMS_TEST_OLLAMA") else {
        eprintln!("skipped: LLMS_TEST_OLLAMA names no server");
        return None;
    };
    let names =
        std::env::var("LLMS_TEST_OLLAMA_MODELS").unwrap_or_else(|_| "tiny,tiny-tool,tiny-think".to_owned());
    let names: Vec<String> = names.split(',').map(str::to_owned).collect();
    Some((address, names.try_into().unwrap()))
}

fn config(address: &str, model: &str, api: &str) -> ModelConfig {
    let config =
        ModelConfig::new("ollama", model).with_specific("base_url", address).with_specific("api", api);
    config.with_timeout(Duration::from_secs(120))
}

fn over(config: &ModelConfig, transport: Arc<dyn Transport>) -> Model {
    model(Config::new(config, &|_| None).unwrap(), transport)
}

fn direct(config: &ModelConfig) -> Model {
    over(config, Arc::new(llms_transport::direct()))
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn few_tokens() -> ChatOptions {
    ChatOptions { max_tokens: Some(24), seed: Some(3), ..ChatOptions::default() }
}

#[test]
fn it_conforms() {
    let Some((address, [text, tool, _])) = server() else { return };
    block(async {
        for (name, api) in [(&tool, "chat"), (&text, "generate")] {
            for transport in [
                Arc::new(llms_transport::direct()) as Arc<dyn Transport>,
                Arc::new(llms_transport::pooled().unwrap()),
            ] {
                let what = transport.info().name;
                let model = over(&config(&address, name, api), transport);
                let mut options = conformance::Options::new(CallContext::new());
                for request in [&mut options.request, &mut options.tool_request] {
                    request.options.max_tokens = Some(48);
                    request.options.seed = Some(3);
                }
                options.timeout = Duration::from_secs(60);
                options.huge_chars = 20_000;
                let report = conformance::run(&model, &options).await;
                println!("{what}, {api}: {report}");
                report.assert_passed();
            }
        }
    });
}

#[test]
fn cold_and_warm_starts_and_what_the_server_measures() {
    let Some((address, [text, ..])) = server() else { return };
    block(async {
        for api in ["chat", "generate"] {
            let model = direct(&config(&address, &text, api));
            let ctx = CallContext::new();
            model.server().unload(&text, &ctx).await.unwrap();
            // The answer comes before the process is gone.
            for _ in 0..100 {
                if !model
                    .server()
                    .running(&ctx)
                    .await
                    .unwrap()
                    .iter()
                    .any(|r| r.name.starts_with(&format!("{text}:")))
                {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let health = model.check_health(&ctx).await;
            println!("{api}: {:?}", health.details);
            assert_eq!((health.state, health.details["loaded"].as_str()), (HealthState::Healthy, "no"));
            for start in ["cold", "warm"] {
                let timeline = Timeline::new();
                let observed = ctx.clone().with_observer(Arc::new(timeline.clone()));
                let answer = model
                    .collect(&ChatRequest::text("hi").with_options(few_tokens()), &observed)
                    .await
                    .unwrap();
                let seen = timeline.take();
                println!("{api} {start}: {:?} {:?}", answer.usage, seen.reported);
                assert_eq!(seen.reported["ollama.start"], Reported::Text(start.into()), "{api}");
                assert!(seen.first_token.is_some() && answer.usage.unwrap().output_tokens.unwrap() <= 24);
            }
            assert_eq!(model.check_health(&ctx).await.details["loaded"], "yes");
        }
    });
}

#[test]
fn whole_and_streamed_answers_agree() {
    let Some((address, [text, _, think])) = server() else { return };
    block(async {
        let ctx = CallContext::new();
        for api in ["chat", "generate"] {
            for (name, thinks) in [(&text, false), (&think, true)] {
                let config = config(&address, name, api).with_specific("think", thinks);
                let model = direct(&config);
                let request = ChatRequest::text("Think, then answer.").with_options(few_tokens());
                model.generate(&request, &ctx).await.unwrap();
                let whole = model.generate(&request, &ctx).await.unwrap();
                let streamed = model.collect(&request, &ctx).await.unwrap();
                println!("{api} {name}: {whole:?}");
                assert_eq!(whole.reasoning.is_some(), thinks, "{api} {name}");
                assert_eq!(
                    (&whole.text, &whole.reasoning),
                    (&streamed.text, &streamed.reasoning),
                    "{api} {name}"
                );
                assert_eq!(whole.reasoning_blocks, streamed.reasoning_blocks);
                assert_eq!(whole.finish_reason, streamed.finish_reason);
                let back = [Message::user("Think."), whole.to_message(), Message::user("Again.")];
                if api == "chat" {
                    model.generate(&ChatRequest::new(back).with_options(few_tokens()), &ctx).await.unwrap();
                }
            }
        }
    });
}

#[test]
fn formats_and_tools_are_honoured() {
    let Some((address, [text, tool, _])) = server() else { return };
    block(async {
        let ctx = CallContext::new();
        let schema = json!({"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]});
        for api in ["chat", "generate"] {
            let format =
                ResponseFormat::JsonSchema { name: "x".into(), schema: schema.clone(), strict: true };
            let mut request =
                ChatRequest::text("Answer in JSON.").with_format(format).with_options(few_tokens());
            request.options.max_tokens = Some(100);
            let answer = direct(&config(&address, &text, api)).collect(&request, &ctx).await.unwrap();
            println!("{api}: {}", answer.text);
            assert!(
                serde_json::from_str::<Value>(&answer.text).unwrap()["a"].is_boolean(),
                "{}",
                answer.text
            );
        }
        let weather = ToolDefinition::new(
            "get_weather",
            "Weather of a city",
            json!({
                "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
            }),
        );
        let request = ChatRequest::text("Weather in Paris?").with_tools([weather]).with_options(few_tokens());
        let mut request = request;
        request.options.max_tokens = Some(100);
        let answer = direct(&config(&address, &tool, "chat")).collect(&request, &ctx).await.unwrap();
        println!("tools: {answer:?}");
        // What cannot be done is refused in the server's words.
        let error = direct(&config(&address, &text, "chat")).generate(&request, &ctx).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidRequest, "{error}");
        assert!(error.message().contains("does not support tools"), "{error}");
        let thinks = config(&address, &text, "chat").with_specific("think", true);
        let error = direct(&thinks).invoke("x", &ctx).await.unwrap_err();
        assert!(error.message().contains("does not support thinking"), "{error}");
        let mut raw = ChatRequest::text("<|im_start|>user\nhi<|im_end|>\n").with_options(few_tokens());
        raw.options.extra.insert("raw".into(), json!(true));
        assert!(
            !direct(&config(&address, &text, "generate")).collect(&raw, &ctx).await.unwrap().text.is_empty()
        );
    });
}

#[test]
fn a_missing_model_and_the_list() {
    let Some((address, [text, ..])) = server() else { return };
    block(async {
        let ctx = CallContext::new();
        for api in ["chat", "generate"] {
            let error = direct(&config(&address, "nosuchmodel", api)).invoke("x", &ctx).await.unwrap_err();
            println!("{error}");
            assert_eq!(error.code(), ErrorCode::ModelNotAvailable);
            assert!(
                error.message().contains("ollama pull nosuchmodel") && error.message().contains(&text),
                "{error}"
            );
        }
        let server = direct(&config(&address, &text, "chat")).server().clone();
        let shown = server.show(&text, &ctx).await.unwrap();
        println!(
            "{:?} {:?} {:?}",
            server.version(&ctx).await.unwrap(),
            shown.context_tokens(),
            shown.capabilities
        );
        assert!(server.list(&ctx).await.unwrap().iter().any(|m| m.name.starts_with(&text)));
        let mut told = Vec::new();
        let pulled = server.pull("nosuchmodel/at-all", &ctx, &mut |p| told.push(p.status.to_owned())).await;
        println!("{told:?} {pulled:?}");
        assert!(pulled.is_err());
    });
}
