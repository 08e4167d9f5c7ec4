//! The same client against a server that is really there: named by `LLMS_LIVE_ANTHROPIC=MODEL@URL` (several, separated by
//! blanks), else skipped. Made for `llms-bench mock serve` and llama.cpp; against the vendor it costs a few hundred tokens.

#![allow(clippy::unwrap_used, reason = "a panic in a test is the report")]
#![allow(clippy::print_stderr, reason = "says why nothing was tried")]

use std::{sync::Arc, time::Duration};

use llms_core::{
    CallContext, ChatModel, ChatRequest, ErrorCode, Message, ToolDefinition,
    chat::{CacheAt, Content, DocumentData, ToolChoice},
    config::{ModelConfig, process_env},
    event::Collector,
    health::HealthState,
    observe::Timeline,
    wire::HttpModel,
};
use llms_providers_anthropic::{Codec, Config, count_tokens, model};
use llms_transport::Direct;
use serde_json::json;

const VARIABLE: &str = "LLMS_LIVE_ANTHROPIC";

/// A small machine thinks slowly.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs `check` on every server named.
fn each<F: Future<Output = ()>>(check: impl Fn(HttpModel<Codec, Direct>, Arc<Direct>) -> F) {
    let Ok(targets) = std::env::var(VARIABLE) else {
        eprintln!("skipped: {VARIABLE} names no server");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for target in targets.split_whitespace() {
        let (name, url) = target.split_once('@').expect("MODEL@URL");
        let config = ModelConfig::new("anthropic", name).with_base_url(url).with_timeout(PATIENCE);
        let transport = Arc::new(llms_transport::direct());
        let model = model(Config::new(&config, &process_env).unwrap(), transport.clone());
        eprintln!("{target}");
        runtime.block_on(check(model, transport));
    }
}

#[test]
fn whole_and_streamed_answers_have_text_usage_and_hooks() {
    each(|model, _| async move {
        let timeline = Timeline::new();
        let ctx = CallContext::new().with_observer(Arc::new(timeline.clone()));
        let request = ChatRequest::text("Tell me a story.").with_system("Be brief.").with_max_tokens(64);
        let whole = model.generate(&request, &ctx).await.unwrap();
        assert!(!whole.text.is_empty() || whole.reasoning.is_some(), "{whole:?}");
        assert!(whole.usage.is_some_and(|u| u.output_tokens > Some(0) && u.input_tokens > Some(0)));
        timeline.take();
        let mut collector = Collector::default();
        model.drive(&request, &ctx, &mut collector).await.unwrap();
        let streamed = collector.finish();
        assert!(!streamed.text.is_empty() || streamed.reasoning.is_some(), "{streamed:?}");
        assert!(streamed.usage.is_some_and(|u| u.output_tokens > Some(0)));
        let seen = timeline.take();
        assert!(
            seen.first_token.is_some() && seen.reported.contains_key("anthropic.stop_reason"),
            "{seen:?}"
        );
    });
}

#[test]
fn a_tool_loop_is_closed_with_whatever_reasoning_came() {
    each(|model, _| async move {
        let schema =
            json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let mut request = ChatRequest::text("Weather in Paris?")
            .with_max_tokens(500)
            .with_tools([ToolDefinition::new("get_weather", "Weather of a city", schema)])
            .with_cache(CacheAt::Tools);
        request.tool_choice = ToolChoice::Required;
        for streamed in [false, true] {
            let mut turn = request.clone();
            let answer = if streamed {
                let mut collector = Collector::default();
                model.drive(&turn, &CallContext::new(), &mut collector).await.unwrap();
                collector.finish()
            } else {
                model.generate(&turn, &CallContext::new()).await.unwrap()
            };
            eprintln!("  {} calls, reasoning {:?}", answer.tool_calls.len(), answer.reasoning_blocks);
            turn.messages.push(answer.to_message());
            turn.messages.extend(answer.tool_calls.iter().map(|c| Message::tool_result(c, "21 °C")));
            if answer.tool_calls.is_empty() {
                turn.messages.push(Message::user("Then tell me a story."));
            }
            turn.tool_choice = ToolChoice::Auto;
            turn.options.max_tokens = Some(32);
            model.generate(&turn, &CallContext::new()).await.unwrap();
        }
    });
}

#[test]
fn counts_documents_and_health() {
    each(|model, transport| async move {
        let ctx = CallContext::new();
        let text = DocumentData::Text("Grapes are green.".into());
        let content =
            vec![Content::Document { name: Some("notes".into()), data: text }, Content::text("Sum up.")];
        let mut request = ChatRequest::new([Message::User { content }]).with_max_tokens(16);
        match count_tokens(model.codec(), &*transport, &request, &ctx).await {
            Ok(n) => assert!(n > 0),
            Err(e) => assert_eq!(e.code(), ErrorCode::NotFound, "{e}"),
        }
        // Servers that read no documents may say so; llama.cpp answers as if there were none.
        if let Err(e) = model.generate(&request, &ctx).await {
            assert_eq!(e.code(), ErrorCode::InvalidRequest, "{e}");
        }
        request.messages = vec![Message::user("hi")];
        assert!(count_tokens(model.codec(), &*transport, &request, &ctx).await.unwrap() > 0);
        let health = model.check_health(&ctx).await;
        eprintln!("  {:?} {:?}", health.state, health.details);
        assert_eq!(health.state, HealthState::Healthy, "{health:?}");
    });
}
