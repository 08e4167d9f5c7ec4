//! Against a real server, when one is named: `OPENAI_REAL_URL` (`http://127.0.0.1:8080/v1`), `OPENAI_REAL_MODEL`,
//! `OPENAI_REAL_APIS` (`chat,responses,completions` unless set), `OPENAI_REAL_TOOLS=0` for a model without. A
//! conversation of two turns, whole and streamed, with tools where the API has them; what the model said, thought and
//! called goes back.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a panic in a test is the report")]

use std::{env::var, sync::Arc};

use llms_core::{
    CallContext, ChatModel as _, ChatModelExt as _, ChatRequest, FinishReason, Message, ToolDefinition,
    config::ModelConfig, health::HealthState, observe::Timeline,
};
use llms_providers_openai::{Api, Config, model};
use serde_json::json;

#[test]
fn a_real_server_is_understood() {
    let (Ok(url), Ok(name)) = (var("OPENAI_REAL_URL"), var("OPENAI_REAL_MODEL")) else {
        eprintln!("skipped: OPENAI_REAL_URL and OPENAI_REAL_MODEL name no server");
        return;
    };
    let apis = var("OPENAI_REAL_APIS").unwrap_or_else(|_| "chat,responses,completions".to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for api in apis.split(',').map(|api| Api::of(api).unwrap()) {
        let config = ModelConfig::new("openai", &name).with_base_url(&url).with_specific("api", api.as_str());
        runtime.block_on(check(&config, api));
    }
}

async fn check(config: &ModelConfig, api: Api) {
    let model = model(Config::new(config, &|_| None).unwrap(), Arc::new(llms_transport::direct()));
    let timeline = Timeline::new();
    let ctx = CallContext::new().with_observer(Arc::new(timeline.clone())).with_request_id("real-1");
    let health = model.check_health(&ctx).await;
    assert_eq!(health.state, HealthState::Healthy, "{health:?}");

    let mut request = ChatRequest::text("What is the weather in Paris?").with_max_tokens(40);
    if api != Api::Completions {
        request = request.with_system("Be brief.");
    }
    if api != Api::Completions && var("OPENAI_REAL_TOOLS").as_deref() != Ok("0") {
        let city = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        request = request.with_tools([ToolDefinition::new("get_weather", "Weather of a city", city)]);
    }
    for streamed in [false, true] {
        let answer = if streamed {
            model.collect(&request, &ctx).await.unwrap()
        } else {
            model.generate(&request, &ctx).await.unwrap()
        };
        let seen = timeline.take();
        eprintln!("{api}, streamed: {streamed}: {answer:?}\n  {:?}", seen.reported);
        assert!(!answer.text.is_empty() || !answer.tool_calls.is_empty() || answer.reasoning.is_some());
        assert!(answer.finish_reason.is_some() && answer.model.is_some() && answer.id.is_some());
        assert!(answer.usage.is_some_and(|u| u.input_tokens > Some(0) && u.output_tokens > Some(0)));
        assert_ne!(
            seen.reported.get("openai.request_id"),
            Some(&llms_core::observe::Reported::Text("real-1".into()))
        );
        if !answer.tool_calls.is_empty() {
            assert_eq!(answer.finish_reason, Some(FinishReason::ToolCalls));
        }
        if api == Api::Completions {
            continue;
        }
        let mut next = request.clone();
        next.messages.push(answer.to_message());
        next.messages.extend(answer.tool_calls.iter().map(|call| Message::tool_result(call, "sunny")));
        next.messages.push(Message::user("And tomorrow?"));
        let after = model.collect(&next, &ctx).await.unwrap();
        assert!(after.usage.unwrap().input_tokens > answer.usage.unwrap().input_tokens);
    }
}
