//! One number per run: the series of a history, from analyses or from the contract's summaries.

use llms_core::bench::metric::METRICS;
use llms_core::bench::{
    Analysis, BenchmarkResult, Bounded, Estimate, Fingerprint, RunManifest, RunPoint, TargetAnalysis,
    TrendSeries, Validity,
};
use rust_decimal::prelude::ToPrimitive;

/// Quantiles followed, beside the mean of costs and token counts.
const LEVELS: [(f64, &str); 2] = [(0.5, "p50"), (0.95, "p95")];
/// Metrics with a value a request whose quantiles are followed. The others are parts of these, or of the client.
const FOLLOWED: [&str; 7] = ["ttft", "ttfat", "e2e", "tpot", "itl", "max_gap", "decode_rate"];
/// Metrics with a value a request of which the mean is followed.
const MEANS: [&str; 3] = ["cost", "input_tokens", "output_tokens"];

/// Series of all targets, metrics and statistics in these runs, in the order of the metric table. Targets are told apart by name.
pub fn series(runs: &[(&RunManifest, &Analysis)]) -> Vec<TrendSeries> {
    let mut out = Series::default();
    for (manifest, analysis) in runs {
        for (index, target) in analysis.targets.iter().enumerate() {
            let point = |estimate: &Estimate| RunPoint {
                run_id: analysis.run_id.clone(),
                at: manifest.started_at,
                estimate: estimate.clone(),
                validity: analysis.validity.level,
                fingerprint: Fingerprint::of(manifest, index),
            };
            for (metric, statistic, estimate) in numbers(target) {
                out.add(&target.target, metric, statistic, point(estimate));
            }
        }
    }
    out.sorted()
}

fn numbers(target: &TargetAnalysis) -> Vec<(&'static str, &'static str, &Estimate)> {
    let mut out = Vec::new();
    for metric in FOLLOWED {
        let Some(summary) = target.metrics.get(metric) else { continue };
        for (p, statistic) in LEVELS {
            out.extend(summary.quantile(p).and_then(|q| q.all.value()).map(|e| (metric, statistic, e)));
        }
    }
    for metric in MEANS {
        out.extend(target.metrics.get(metric).and_then(|m| m.mean.value()).map(|e| (metric, "mean", e)));
    }
    let rates = &target.throughput;
    for (metric, measured) in [
        ("error_rate", &target.error_rate),
        ("throughput", &rates.requests),
        ("output_token_rate", &rates.output_tokens),
        ("goodput", &rates.goodput),
        ("slo_attainment", &rates.slo_attainment),
    ] {
        out.extend(measured.value().map(|e| (metric, "value", e)));
    }
    out
}

/// Series of the contract's summaries: medians, tails, mean, rates, cost. They carry no intervals, and what a run was compared
/// with must be known from elsewhere: the fingerprint has configuration, model and machine only.
pub fn series_of_results(results: &[BenchmarkResult]) -> Vec<TrendSeries> {
    let mut out = Series::default();
    for r in results {
        let l = &r.latency_metrics;
        let tokens = r.token_usage.as_ref();
        let cost = r.cost_analysis.as_ref().and_then(|c| c.cost_per_operation).and_then(|c| c.to_f64());
        for (metric, statistic, value) in [
            ("ttft", "p50", l.time_to_first_token),
            ("e2e", "p50", l.p50),
            ("e2e", "p95", l.p95),
            ("e2e", "mean", l.mean),
            ("tpot", "p50", l.streaming_latency),
            ("error_rate", "value", r.error_rate),
            ("throughput", "value", r.throughput_rps),
            ("output_token_rate", "value", tokens.and_then(|t| t.tokens_per_second)),
            ("cost", "mean", cost),
            ("input_tokens", "mean", tokens.and_then(|t| t.average_input_size)),
            ("output_tokens", "mean", tokens.and_then(|t| t.average_output_size)),
        ] {
            let Some(value) = value.filter(|v| v.is_finite()) else { continue };
            let estimate = Estimate {
                value: Bounded::finite(value),
                low: None,
                high: None,
                confidence: 0.95,
                n: r.operation_count,
                ess: None,
                method: "as summarised".to_owned(),
                note: Some("a summary keeps no interval".to_owned()),
            };
            let e = &r.environment;
            let client = [&e.os, &e.architecture].map(String::as_str).join(" ");
            let fingerprint = Fingerprint {
                configuration_hash: r.configuration_hash.clone(),
                model: format!("{}:{}", r.provider_name, r.model_name),
                client: Some(format!("{client} {}", e.cpu_model.as_deref().unwrap_or_default())),
                ..Fingerprint::default()
            };
            let point = RunPoint {
                run_id: r.benchmark_id.clone(),
                at: r.timestamp,
                estimate,
                validity: Validity::default().level,
                fingerprint,
            };
            out.add(&format!("{}:{}", r.provider_name, r.model_name), metric, statistic, point);
        }
    }
    out.sorted()
}

#[derive(Default)]
struct Series {
    all: Vec<TrendSeries>,
}

impl Series {
    fn add(&mut self, target: &str, metric: &str, statistic: &str, point: RunPoint) {
        let same =
            |s: &&mut TrendSeries| s.target == target && s.metric == metric && s.statistic == statistic;
        if let Some(series) = self.all.iter_mut().find(same) {
            series.points.push(point);
        } else {
            self.all.push(TrendSeries {
                target: target.to_owned(),
                metric: metric.to_owned(),
                statistic: statistic.to_owned(),
                points: vec![point],
            });
        }
    }

    /// Targets in the order they first came, metrics in that of the table.
    fn sorted(mut self) -> Vec<TrendSeries> {
        let mut targets: Vec<String> = Vec::new();
        for s in &self.all {
            if !targets.contains(&s.target) {
                targets.push(s.target.clone());
            }
        }
        let place = |name: &str| METRICS.iter().position(|m| m.name == name);
        self.all.sort_by_key(|s| (targets.iter().position(|t| *t == s.target), place(&s.metric)));
        self.all
    }
}
