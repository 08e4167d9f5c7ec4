//! The contract's summary of a run, from its analysis: one [`BenchmarkResult`] per target that answered at all.

use std::collections::BTreeMap;

use llms_core::bench::{
    Analysis, BenchmarkResult, CostAnalysis, LatencyMetrics, Load, PerformanceAnalyzer, RunManifest,
    RunResult, Summarizer, TargetAnalysis, TokenUsage,
};
use llms_core::error::Result;

use crate::Analyzer;

impl Summarizer for Analyzer {
    fn summarize(&self, run: &RunResult) -> Result<Vec<BenchmarkResult>> {
        let analysis = self.analyze(run)?;
        Ok((0..analysis.targets.len()).filter_map(|i| result(&run.manifest, &analysis, i)).collect())
    }
}

fn result(manifest: &RunManifest, analysis: &Analysis, index: usize) -> Option<BenchmarkResult> {
    let (target, info) = (&analysis.targets[index], &manifest.targets[index]);
    let operations = target.ok + target.failed;
    let window_s = target.throughput.window_s;
    if operations == 0 || window_s <= 0.0 {
        return None;
    }
    Some(BenchmarkResult {
        benchmark_id: analysis.run_id.clone(),
        test_name: manifest.label.clone().unwrap_or_else(|| manifest.scenario.name.clone()),
        provider_name: info.model.provider.clone(),
        model_name: info.model.model.clone(),
        timestamp: manifest.started_at,
        duration_s: window_s,
        latency_metrics: latency(target),
        throughput_rps: target.throughput.requests.value().and_then(|e| e.value.value),
        error_rate: Some(target.failed as f64 / operations as f64),
        memory_usage: None,
        token_usage: tokens(target, window_s),
        cost_analysis: target.cost.value().map(|c| CostAnalysis {
            total_cost_usd: c.total_usd,
            cost_per_operation: c.per_success_usd,
            cost_per_million_output_tokens: c.per_million_output_usd,
            price_source: format!("{}, {}", c.price_source, c.price_date),
        }),
        operation_count: operations,
        concurrency_level: match manifest.scenario.load {
            Load::Closed { concurrency, .. } => Some(concurrency),
            Load::Open { max_concurrency, .. } => max_concurrency,
        },
        successful_ops: target.ok,
        failed_ops: target.failed,
        scenario_name: manifest.scenario.name.clone(),
        configuration_hash: manifest.hashes.scenario.clone(),
        environment: manifest.environment.clone(),
        additional_metrics: target.reported.iter().map(|(k, v)| (k.clone(), (*v).into())).collect(),
        tags: BTreeMap::from([("simulated".to_owned(), target.simulated.to_string())]),
    })
}

fn latency(target: &TargetAnalysis) -> LatencyMetrics {
    let quantile = |metric: &str, p: f64| target.metrics.get(metric)?.quantile(p)?.all.value()?.value.value;
    let Some(e2e) = target.metrics.get("e2e") else { return LatencyMetrics::default() };
    LatencyMetrics {
        n: e2e.n,
        p50: quantile("e2e", 0.5),
        p95: quantile("e2e", 0.95),
        p99: quantile("e2e", 0.99),
        p999: quantile("e2e", 0.999),
        mean: e2e.mean.value().and_then(|e| e.value.value),
        min: e2e.min,
        max: e2e.max,
        standard_deviation: e2e.sd,
        time_to_first_token: quantile("ttft", 0.5),
        time_to_last_token: quantile("e2e", 0.5),
        streaming_latency: quantile("tpot", 0.5),
    }
}

fn tokens(target: &TargetAnalysis, window_s: f64) -> Option<TokenUsage> {
    let t = &target.tokens;
    let (input, output) = (t.input_tokens?, t.output_tokens?);
    let per_request = |sum: u64| (t.reported > 0).then(|| sum as f64 / t.reported as f64);
    Some(TokenUsage {
        input_tokens: input,
        output_tokens: output,
        total_tokens: input + output,
        cached_tokens: t.cache_read_tokens,
        efficiency_ratio: (input > 0).then(|| output as f64 / input as f64),
        tokens_per_second: Some(output as f64 / window_s),
        average_input_size: per_request(input),
        average_output_size: per_request(output),
    })
}
