//! Every layer keeps every promise of the trait, around a simulated model on virtual time.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bench_mock::{MockModel, Preset, Profile, ToolAnswers};
use llms_core::{CallContext, SharedModel, conformance, time::VirtualClock};
use llms_layers::{Cache, CacheConfig, Limits, RateLimit, Retry, RetryPolicy, Route, Router, RouterConfig};

fn simulated() -> SharedModel {
    let tools = ToolAnswers { trigger: Some("weather".to_owned()), ..ToolAnswers::default() };
    let profile = Profile { tools, ..Preset::VeryFast.profile().quiet().with_output_tokens(12) };
    Arc::new(MockModel::new(profile).unwrap())
}

fn cached(model: SharedModel) -> Cache<SharedModel> {
    Cache::new(model, CacheConfig::new(NonZeroUsize::new(100).unwrap(), Duration::from_secs(60)))
}

#[track_caller]
fn check(model: SharedModel) {
    let clock = VirtualClock::new();
    let options = conformance::Options::new(CallContext::with_clock(Arc::new(clock.clone())));
    clock.block_on(async { conformance::run(&model, &options).await }).assert_passed();
}

#[test]
fn retry_conforms() {
    check(Arc::new(Retry::new(simulated(), RetryPolicy::default())));
}

#[test]
fn limit_conforms() {
    check(Arc::new(RateLimit::new(simulated(), Limits::per_minute(60_000.0).with_tokens_per_minute(1e9))));
}

#[test]
fn cache_conforms() {
    check(Arc::new(cached(simulated())));
}

#[test]
fn router_conforms() {
    let routes = vec![Route::new("a", simulated()), Route::new("b", simulated())];
    check(Arc::new(Router::new(routes, RouterConfig::default()).unwrap()));
}

#[test]
fn the_whole_stack_conforms() {
    let routes = vec![Route::new("a", simulated()), Route::new("b", simulated())];
    let router = Router::new(routes, RouterConfig::default()).unwrap();
    let limited = RateLimit::new(router, Limits::per_minute(60_000.0));
    let retried: SharedModel = Arc::new(Retry::new(limited, RetryPolicy::default()));
    check(Arc::new(cached(retried)));
}
