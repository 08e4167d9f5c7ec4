//! The quickstart's first two stories, as a user writes them in code, against the simulated vendors.

use std::time::Duration;

use bench_analysis::{
    Analyzer,
    cost::{PriceTable, Prices},
};
use bench_mock::{Profile, server::Protocol, server::ServerConfig};
use llms_core::bench::{Load, PerformanceAnalyzer as _, Scenario, Summarizer as _};
use rust_decimal::Decimal;

use crate::support::{PROMPTS, direct, run, steady, targets};

fn analyzer() -> Analyzer {
    let prices = r#"{"schema": 1, "source": "quickstart", "date": "2026-11-22", "models": [
        {"provider": "openai", "model": "gpt-4", "input": "30", "output": "60"},
        {"provider": "anthropic", "model": "claude", "input": "3", "output": "15"},
        {"provider": "bedrock", "model": "claude", "input": "3.3", "output": "16.5"}]}"#;
    Analyzer::new().with_prices(Prices::none().with(PriceTable::parse(prices).unwrap()))
}

fn quick(ttft_ms: f64) -> Profile {
    steady(ttft_ms)
}

/// Q1: provider, mean and p95 latency, requests per second, error share, total cost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q1_benchmark_one_provider() {
    let server = ServerConfig::default().with_profile(Protocol::OpenAi, quick(20.0)).start().unwrap();
    let targets = targets(&server, &[("openai-gpt4", Protocol::OpenAi, "gpt-4")], &direct()).await;
    let mut scenario = Scenario {
        load: Load::closed(5),
        requests: Some(50),
        timeout: Duration::from_secs(30),
        ..Scenario::new("basic", PROMPTS)
    };
    let result = &analyzer().summarize(&run(&targets, &scenario).await).unwrap()[0];
    result.validate().unwrap();
    assert_eq!((result.provider_name.as_str(), result.model_name.as_str()), ("openai", "gpt-4"));
    assert_eq!((result.operation_count, result.successful_ops, result.failed_ops), (50, 50, 0));
    assert_eq!((result.concurrency_level, result.error_rate), (Some(5), Some(0.0)));
    assert!(result.throughput_rps.unwrap() > 0.0 && result.duration_s > 0.0);
    let latency = &result.latency_metrics;
    assert!(latency.mean.unwrap() >= latency.min.unwrap() && latency.p50.unwrap() > 0.0);
    assert_eq!(latency.p95, None, "fifty answers carry no 95 % interval of a p95: it is not made up");
    let tokens = result.token_usage.as_ref().unwrap();
    assert_eq!(tokens.output_tokens, 50 * 8);
    let cost = result.cost_analysis.as_ref().unwrap();
    let dollars = Decimal::from(tokens.input_tokens * 30 + tokens.output_tokens * 60);
    assert_eq!(cost.total_cost_usd, dollars / Decimal::from(1_000_000));
    assert!(cost.price_source.contains("2026-11-22"), "{}", cost.price_source);

    // Enough of them do.
    scenario.requests = Some(80);
    let result = &analyzer().summarize(&run(&targets, &scenario).await).unwrap()[0];
    assert!(result.latency_metrics.p95.unwrap() >= result.latency_metrics.p50.unwrap());
}

/// Q2: the score of each; the fastest with its latency, the cheapest with dollars per token, the most reliable with its
/// share of successes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn q2_compare_providers() {
    let server = ServerConfig::default()
        .with_profile(Protocol::OpenAi, quick(15.0))
        .with_profile(Protocol::Anthropic, quick(40.0))
        .with_profile(Protocol::Bedrock, quick(80.0))
        .start()
        .unwrap();
    let named = [
        ("openai-gpt4", Protocol::OpenAi, "gpt-4"),
        ("anthropic-claude", Protocol::Anthropic, "claude"),
        ("bedrock-claude", Protocol::Bedrock, "claude"),
    ];
    let scenario = Scenario {
        load: Load::closed(10),
        requests: Some(100),
        timeout: Duration::from_secs(60),
        ..Scenario::new("comparison", PROMPTS)
    };
    let run = run(&targets(&server, &named, &direct()).await, &scenario).await;
    let analyzer = analyzer();
    let analysis = analyzer.analyze(&run).unwrap();
    let c = analysis.comparison.unwrap();
    assert_eq!(c.overall_scores.len(), 3);
    for (name, score) in &c.overall_scores {
        assert!((0.0..=100.0).contains(&score.unwrap()), "{name}: {score:?}");
    }
    let fastest = &c.winner_by_category["fastest"];
    assert_eq!((fastest.targets.as_slice(), fastest.unit.as_str()), (&["openai-gpt4".to_owned()][..], "s"));
    assert!(fastest.value.unwrap() >= 0.015, "in seconds, and no sooner than the vendor answers");
    let cheapest = &c.winner_by_category["most_cost_effective"];
    assert_eq!(cheapest.targets, ["anthropic-claude"], "{cheapest:?}");
    let claude = analysis.targets.iter().find(|t| t.target == "anthropic-claude").unwrap();
    let per_token = claude.cost.value().unwrap().per_million_output_usd.unwrap();
    assert!(per_token > Decimal::from(15), "input is paid as well: {per_token}");
    let reliable = &c.winner_by_category["most_reliable"];
    assert_eq!((reliable.targets.len(), reliable.value), (3, Some(1.0)), "{reliable:?}");

    let results = analyzer.summarize(&run).unwrap();
    let providers: Vec<&str> = results.iter().map(|r| r.provider_name.as_str()).collect();
    assert_eq!(providers, ["openai", "anthropic", "bedrock"]);
    for result in &results {
        result.validate().unwrap();
        assert_eq!(result.operation_count, 100);
        assert!(result.latency_metrics.mean.is_some() && result.latency_metrics.p95.is_some());
    }
}
