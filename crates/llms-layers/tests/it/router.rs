//! Which model is asked, and who steps in.

use std::sync::Arc;

use llms_core::{
    ChatModel, ChatRequest, ErrorCode, Message, ToolDefinition,
    chat::{Content, ResponseFormat},
    health::HealthState,
};
use llms_layers::{Choice, Price, Route, Router, RouterConfig};

use crate::support::{Bench, S, Scripted, Step, bench};

fn named(name: &str) -> Arc<Scripted> {
    Arc::new(Scripted::new(name, &[]))
}

fn failing(name: &str, code: ErrorCode) -> Arc<Scripted> {
    Arc::new(Scripted::always(name, Step::Fail(code)))
}

fn route(model: &Arc<Scripted>) -> Route {
    Route::new(model.info().model.clone(), model.clone())
}

fn router(routes: Vec<Route>, config: RouterConfig) -> Router {
    Router::new(routes, config).unwrap()
}

#[track_caller]
fn check_routed(b: &Bench, model: &Router, request: &ChatRequest, expected: &[&str]) {
    b.clock.block_on(async {
        let _ = model.generate(request, &b.ctx).await;
    });
    assert_eq!(b.told.take(), expected);
}

#[test]
fn a_route_must_be_able() {
    let (small, able) = (
        named("small"),
        Arc::new(Scripted::new("able", &[]).able(|c| {
            c.tools = true;
            c.images = true;
            c.documents = true;
            c.structured_output = true;
        })),
    );
    let model = router(vec![route(&small), route(&able)], RouterConfig::default());
    assert!(model.info().capabilities.tools, "what any of them can do");
    let b = bench();
    check_routed(&b, &model, &"hi".into(), &["routed to small: first that fits"]);
    let tool = ToolDefinition::new("t", "", serde_json::json!({}));
    let part = |content| ChatRequest::new([Message::User { content: vec![content] }]);
    for request in [
        ChatRequest::text("hi").with_tools([tool]),
        part(Content::image("image/png", "AA==")),
        part(Content::document("d", "application/pdf", "AA==")),
        ChatRequest::text("hi").with_format(ResponseFormat::Json),
    ] {
        check_routed(&b, &model, &request, &["routed to able: first that fits"]);
    }
    let model = router(vec![route(&small)], RouterConfig::default());
    let e = b.clock.block_on(async {
        model.generate(&ChatRequest::text("hi").with_format(ResponseFormat::Json), &b.ctx).await.unwrap_err()
    });
    assert_eq!(e.code(), ErrorCode::InvalidRequest);
    assert!(e.message().contains("small: has no structured output"), "{e}");
}

#[test]
fn a_route_must_have_room() {
    let small = Arc::new(Scripted::new("small", &[]).able(|c| {
        c.context_tokens = Some(1_000);
        c.max_output_tokens = Some(100);
    }));
    let model = router(vec![route(&small), route(&named("large"))], RouterConfig::default());
    let b = bench();
    let fits = ChatRequest::text("x".repeat(3_000)).with_max_tokens(100);
    check_routed(&b, &model, &fits, &["routed to small: first that fits"]);
    let long = ChatRequest::text("x".repeat(4_000)).with_max_tokens(100);
    check_routed(&b, &model, &long, &["routed to large: first that fits"]);
    let talkative = ChatRequest::text("x").with_max_tokens(101);
    check_routed(&b, &model, &talkative, &["routed to large: first that fits"]);
}

#[test]
fn hard_requests_go_to_those_that_take_them() {
    let config = RouterConfig::default()
        .with_complexity(|r| if r.messages.iter().any(|m| m.text().contains("prove")) { 2 } else { 0 });
    let routes = vec![route(&named("cheap")).with_max_complexity(1), route(&named("clever"))];
    let model = router(routes, config);
    let b = bench();
    check_routed(&b, &model, &"say hi".into(), &["routed to cheap: first that fits"]);
    check_routed(&b, &model, &"prove it".into(), &["routed to clever: first that fits"]);
}

#[test]
fn the_cheapest_depends_on_the_request() {
    let price = |input, output| Price { input_usd_per_mtok: input, output_usd_per_mtok: output };
    let routes = vec![
        route(&named("unpriced")),
        route(&named("cheap-in")).with_price(price(1.0, 10.0)),
        route(&named("cheap-out")).with_price(price(4.0, 2.0)),
    ];
    let model = router(routes, RouterConfig::new(Choice::Cheapest));
    let b = bench();
    let reading = ChatRequest::text("x".repeat(40_000)).with_max_tokens(10);
    check_routed(&b, &model, &reading, &["routed to cheap-in: cheapest that fits"]);
    let writing = ChatRequest::text("x").with_max_tokens(10_000);
    check_routed(&b, &model, &writing, &["routed to cheap-out: cheapest that fits"]);
}

#[test]
fn weights_share_the_calls() {
    const N: usize = 4_000;
    let (a, c, spare) = (named("a"), named("c"), named("spare"));
    let routes = vec![route(&a).with_weight(3.0), route(&c).with_weight(1.0), route(&spare).with_weight(0.0)];
    let config = RouterConfig { seed: Some(11), ..RouterConfig::new(Choice::Weighted) };
    let model = router(routes, config);
    let b = bench();
    for _ in 0..N {
        b.generate(&model, "hi").unwrap();
    }
    // Binomial(4000, 0.75): standard deviation 27.4, four of them either side.
    assert!((2_890..=3_110).contains(&a.calls()), "{}", a.calls());
    assert_eq!((a.calls() + c.calls(), spare.calls()), (N, 0));
}

#[test]
fn another_steps_in_where_that_may_help() {
    for (code, helps) in [
        (ErrorCode::Overloaded, true),
        (ErrorCode::RateLimit, true),
        (ErrorCode::QuotaExceeded, true),
        (ErrorCode::Authentication, true),
        (ErrorCode::NetworkError, true),
        (ErrorCode::StreamTruncated, true),
        (ErrorCode::ModelNotAvailable, true),
        (ErrorCode::InvalidRequest, false),
        (ErrorCode::ContentFiltered, false),
        (ErrorCode::DeadlineExceeded, false),
    ] {
        let b = bench();
        let (first, second) = (failing("first", code), named("second"));
        let model = router(vec![route(&first), route(&second)], RouterConfig::default());
        let answer = b.generate(&model, "hi");
        assert_eq!(answer.is_ok(), helps, "{code}");
        assert_eq!(b.told.take().len(), if helps { 2 } else { 1 }, "{code}");
        let strict = RouterConfig { fallback: false, ..RouterConfig::default() };
        let model = router(vec![route(&first), route(&second)], strict);
        assert_eq!(b.generate(&model, "hi").unwrap_err().code(), code);
    }
}

#[test]
fn nobody_steps_in_after_content() {
    let b = bench();
    let first = Arc::new(Scripted::always("first", Step::Break("Hel", ErrorCode::StreamClosed)));
    let second = named("second");
    let model = router(vec![route(&first), route(&second)], RouterConfig::default());
    let (text, outcome) = b.drive(&model, "hi");
    assert_eq!((text.as_str(), outcome.unwrap_err().code()), ("Hel", ErrorCode::StreamClosed));
    assert_eq!(second.calls(), 0);
}

#[test]
fn who_fails_again_and_again_is_asked_last_for_a_while() {
    let b = bench();
    let steps = [
        Step::Fail(ErrorCode::Overloaded),
        Step::Fail(ErrorCode::Overloaded),
        Step::Fail(ErrorCode::Overloaded),
    ];
    let (first, second) = (Arc::new(Scripted::new("first", &steps)), named("second"));
    let model = router(vec![route(&first), route(&second)], RouterConfig::default());
    for _ in 0..3 {
        b.generate(&model, "hi").unwrap();
    }
    b.told.take();
    check_routed(&b, &model, &"hi".into(), &["routed to second: first that fits"]);
    b.clock.block_on(b.ctx.clock.sleep_until(b.ctx.now() + 30 * S));
    check_routed(&b, &model, &"hi".into(), &["routed to first: first that fits"]);
    assert_eq!(first.calls(), 4);
}

#[test]
fn health_is_that_of_all_and_counts_for_the_choice() {
    let b = bench();
    let (first, second) = (named("first"), named("second"));
    let model = router(vec![route(&first), route(&second)], RouterConfig::default());
    let health = || b.clock.block_on(async { model.check_health(&b.ctx).await });
    assert_eq!(health().state, HealthState::Healthy);
    *first.state.lock().unwrap() = HealthState::Unhealthy;
    let found = health();
    assert_eq!(found.state, HealthState::Degraded);
    assert_eq!(found.details["route.first"], "unhealthy");
    assert!(found.reason.unwrap().contains("first: the script says so"));
    check_routed(&b, &model, &"hi".into(), &["routed to second: first that fits"]);
    *second.state.lock().unwrap() = HealthState::Unhealthy;
    assert_eq!(health().state, HealthState::Unhealthy);
    *first.state.lock().unwrap() = HealthState::Healthy;
    health();
    check_routed(&b, &model, &"hi".into(), &["routed to first: first that fits"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let refused = |routes: Vec<Route>, config, expected: &str| {
        let e = Router::new(routes, config).unwrap_err();
        assert_eq!(e.code(), ErrorCode::InvalidConfig);
        assert!(e.message().contains(expected), "{e}");
    };
    let m = named("m");
    refused(Vec::new(), RouterConfig::default(), "at least one route");
    refused(vec![route(&m), route(&m)], RouterConfig::default(), "two called `m`");
    refused(vec![route(&m).with_weight(-1.0)], RouterConfig::default(), "found -1");
    refused(vec![route(&m).with_weight(0.0)], RouterConfig::new(Choice::Weighted), "weight above 0");
}
