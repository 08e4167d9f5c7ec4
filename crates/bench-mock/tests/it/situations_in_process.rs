//! Situations by the model's name in this process: the same as on the server.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{MockFactory, MockModel, SITUATIONS};
use common::{context, endpoints::quick};
use llms_core::{
    ChatModel, ChatResponse, Error, ErrorCode, FinishReason, config::ModelConfig, event::StreamEvent,
    time::VirtualClock,
};

/// A model of this name that plays six words.
fn named(name: &str) -> MockModel {
    MockModel::builder().profile(quick()).name("mock", name).build().unwrap()
}

fn ask(model: &MockModel) -> Result<ChatResponse, Error> {
    let clock = VirtualClock::new();
    clock.block_on(async { model.generate(&"hello".into(), &context(&clock, "r")).await })
}

/// What a stream gave, and how it ended.
fn stream(model: &MockModel) -> (Vec<StreamEvent<'static>>, Result<(), Error>) {
    let clock = VirtualClock::new();
    let (events, end) =
        clock.block_on(async { common::stream(model, &"hello".into(), &context(&clock, "r")).await });
    (events.into_iter().map(|e| e.event).collect(), end.map(|_| ()))
}

#[test]
fn answers_have_the_content_that_their_name_says() {
    let whole = |name: &str| ask(&named(name)).unwrap();
    assert_eq!(whole("mock").text.split(' ').count(), 6);
    assert_eq!(whole("mock-long").text.split(' ').count(), 1000);
    assert!(serde_json::from_str::<serde_json::Value>(&whole("mock-json").text).unwrap().is_object());
    assert_eq!(whole("mock-tool-call").tool_calls[0].name, "get_weather");
    assert_eq!(whole("anthropic.mock-tool-calls-v1:0").tool_calls.len(), 2);
    assert_eq!(whole("mock-thinking").reasoning.unwrap().split(' ').count(), 24);
    let redacted = whole("mock-redacted");
    assert!(redacted.reasoning.is_none() && redacted.reasoning_blocks[0].encrypted.is_some());
    let (events, _) = stream(&named("mock-redacted"));
    let seals = events.iter().filter(|e| matches!(e, StreamEvent::ReasoningSeal(s) if s.encrypted.is_some()));
    assert_eq!(seals.count(), 1);
    assert!(!events.iter().any(|e| matches!(e, StreamEvent::Reasoning(_))));
    let refusal = whole("mock-refusal");
    assert!(
        refusal.text.starts_with("I'm sorry") && refusal.finish_reason == Some(FinishReason::ContentFilter)
    );
}

#[test]
fn failures_have_the_code_and_status_that_their_name_says() {
    for (name, status, code) in [
        ("mock-error-400", 400, ErrorCode::InvalidRequest),
        ("mock-error-401", 401, ErrorCode::Authentication),
        ("mock-error-429", 429, ErrorCode::RateLimit),
        ("mock-error-500", 500, ErrorCode::Internal),
        ("mock-error-503", 503, ErrorCode::Overloaded),
        ("mock-error-529", 529, ErrorCode::Overloaded),
    ] {
        let error = ask(&named(name)).unwrap_err();
        assert_eq!((error.status(), error.code()), (Some(status), code), "{name}");
        assert_eq!(stream(&named(name)).1.unwrap_err().status(), Some(status), "{name}");
    }
    assert_eq!(ask(&named("mock-missing")).unwrap_err().status(), Some(404));
    for name in ["mock-midstream-error", "mock-truncate", "mock-reset", "mock-close"] {
        let (events, end) = stream(&named(name));
        assert_eq!(events.iter().filter(|e| e.is_token()).count(), 3, "{name}");
        end.unwrap_err();
    }
    let flaky = named("mock-flaky");
    let tries = [1, 2, 3].map(|_| ask(&flaky).map_err(|e| e.status()).map(|_| ()));
    assert_eq!(tries, [Err(Some(500)), Ok(()), Err(Some(500))]);
    flaky.reset();
    assert_eq!(ask(&flaky).unwrap_err().status(), Some(500));
}

#[test]
fn targets_of_these_names_can_be_built_and_others_are_told_the_nearest() {
    let profile = |name: &str| MockFactory::profile(&ModelConfig::new("mock", name));
    for (name, _) in SITUATIONS {
        profile(name).unwrap();
    }
    assert_eq!(profile("mock-slow").unwrap().name, "very-slow");
    assert_eq!(profile("mock-fast").unwrap().name, "very-fast");
    assert_eq!(profile("mock-ollama").unwrap().name, "ollama");
    let told = profile("mock-tolcall").unwrap_err().to_string();
    assert!(told.contains("did you mean `mock-tool-call`?"), "{told}");
}
