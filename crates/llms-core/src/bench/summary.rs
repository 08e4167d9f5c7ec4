//! The contract's summary of one target's part of a run: [`BenchmarkResult`] and its parts, with validation.
//!
//! Derived from an [`Analysis`](super::Analysis); for people who keep one small document per provider and run.
//! What was not measured is `None`.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::result::EnvironmentInfo;
use crate::config::ConfigErrors;

/// One provider's result. Immutable once made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BenchmarkResult {
    /// The run it comes from.
    pub benchmark_id: String,
    /// Label of the run, else the scenario's name.
    pub test_name: String,
    /// Registry name of the provider.
    pub provider_name: String,
    /// The model.
    pub model_name: String,
    /// Start of the run.
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: OffsetDateTime,
    /// Length of the measured window, seconds, above 0.
    pub duration_s: f64,
    /// Latencies on the headline origin.
    pub latency_metrics: LatencyMetrics,
    /// Complete answers per second.
    pub throughput_rps: Option<f64>,
    /// In 0–1.
    pub error_rate: Option<f64>,
    /// What the process used.
    #[serde(default)]
    pub memory_usage: Option<MemoryMetrics>,
    /// Tokens as the provider reported them.
    #[serde(default)]
    pub token_usage: Option<TokenUsage>,
    /// Money, where a price is known.
    #[serde(default)]
    pub cost_analysis: Option<CostAnalysis>,
    /// Requests that ended, at least 1.
    pub operation_count: u64,
    /// Users, or the cap on requests in flight; `None` under open loop without a cap.
    pub concurrency_level: Option<u32>,
    /// Complete answers.
    pub successful_ops: u64,
    /// Errors; with the successes this is the operation count.
    pub failed_ops: u64,
    /// The scenario.
    pub scenario_name: String,
    /// SHA-256 of the scenario without seeds.
    pub configuration_hash: String,
    /// The client's machine.
    pub environment: EnvironmentInfo,
    /// Provider-specific numbers under stable keys.
    #[serde(default)]
    pub additional_metrics: BTreeMap<String, Value>,
    /// Free labels.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// Latencies in seconds. Quantiles rank failures at +∞: `None` with `n` known means "not finite or n too small".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LatencyMetrics {
    /// Successful requests behind mean, min, max and deviation.
    pub n: u64,
    /// Median.
    pub p50: Option<f64>,
    /// 95th percentile.
    pub p95: Option<f64>,
    /// 99th percentile.
    pub p99: Option<f64>,
    /// 99.9th percentile.
    pub p999: Option<f64>,
    /// Over successes.
    pub mean: Option<f64>,
    /// Over successes.
    pub min: Option<f64>,
    /// Over successes.
    pub max: Option<f64>,
    /// Over successes, `n − 1` in the denominator.
    pub standard_deviation: Option<f64>,
    /// Median TTFT.
    pub time_to_first_token: Option<f64>,
    /// Median E2E.
    pub time_to_last_token: Option<f64>,
    /// Median TPOT.
    pub streaming_latency: Option<f64>,
}

/// Tokens over all requests whose usage was reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TokenUsage {
    /// Prompt tokens, cache classes contained.
    pub input_tokens: u64,
    /// Generated tokens, reasoning contained.
    pub output_tokens: u64,
    /// input + output.
    pub total_tokens: u64,
    /// Read from the provider's cache.
    pub cached_tokens: Option<u64>,
    /// output / input; `None` without input.
    pub efficiency_ratio: Option<f64>,
    /// Output tokens per second of the window.
    pub tokens_per_second: Option<f64>,
    /// Per request.
    pub average_input_size: Option<f64>,
    /// Per request.
    pub average_output_size: Option<f64>,
}

/// Money in US dollars.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostAnalysis {
    /// Of the run.
    pub total_cost_usd: Decimal,
    /// Per complete answer, failed spend included.
    pub cost_per_operation: Option<Decimal>,
    /// Per million output tokens.
    pub cost_per_million_output_tokens: Option<Decimal>,
    /// Where the price comes from, with its date.
    pub price_source: String,
}

/// Memory of the client, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryMetrics {
    /// Highest resident set seen.
    pub peak_usage_bytes: Option<u64>,
    /// Resident set before the run.
    pub baseline_bytes: Option<u64>,
    /// Allocations counted, where the binary has a counting allocator.
    pub allocations: Option<u64>,
}

impl BenchmarkResult {
    /// Checks every rule of the contract.
    ///
    /// # Errors
    /// Every field that breaks one.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        for (field, text) in [
            ("benchmark_id", &self.benchmark_id),
            ("test_name", &self.test_name),
            ("provider_name", &self.provider_name),
            ("model_name", &self.model_name),
            ("scenario_name", &self.scenario_name),
        ] {
            e.check(!text.trim().is_empty(), field, "expected a text", "nothing");
        }
        e.check(
            self.duration_s.is_finite() && self.duration_s > 0.0,
            "duration_s",
            "expected seconds above 0",
            self.duration_s,
        );
        e.check(self.operation_count >= 1, "operation_count", "expected at least 1", self.operation_count);
        e.check(
            self.successful_ops.checked_add(self.failed_ops) == Some(self.operation_count),
            "operation_count",
            "expected successful_ops + failed_ops",
            format!("{} for {} + {}", self.operation_count, self.successful_ops, self.failed_ops),
        );
        e.check(
            self.concurrency_level.is_none_or(|c| c >= 1),
            "concurrency_level",
            "expected at least 1",
            "0",
        );
        share(&mut e, "error_rate", self.error_rate);
        non_negative(&mut e, "throughput_rps", self.throughput_rps);
        e.nest("latency_metrics", self.latency_metrics.validate());
        if let Some(t) = &self.token_usage {
            e.nest("token_usage", t.validate());
        }
        if let Some(c) = &self.cost_analysis {
            e.check(
                !c.total_cost_usd.is_sign_negative(),
                "cost_analysis.total_cost_usd",
                "expected dollars ≥ 0",
                c.total_cost_usd,
            );
        }
        e.into_result()
    }
}

impl LatencyMetrics {
    /// Non-negative, min ≤ mean ≤ max, p50 ≤ p95 ≤ p99 ≤ p999 as far as they are known.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        let all = [
            ("p50", self.p50),
            ("p95", self.p95),
            ("p99", self.p99),
            ("p999", self.p999),
            ("mean", self.mean),
            ("min", self.min),
            ("max", self.max),
            ("standard_deviation", self.standard_deviation),
            ("time_to_first_token", self.time_to_first_token),
            ("time_to_last_token", self.time_to_last_token),
            ("streaming_latency", self.streaming_latency),
        ];
        for (field, value) in all {
            non_negative(&mut e, field, value);
        }
        ordered(&mut e, &all[..4]);
        // A mean may differ from its bounds by rounding when all values are equal.
        let slack = |x: Option<f64>| x.map(|x| x * (1.0 + 1e-12));
        ordered(&mut e, &[("min", self.min), ("mean", slack(self.mean)), ("max", slack(slack(self.max)))]);
        e.into_result()
    }
}

impl TokenUsage {
    /// The total is the sum; rates are not negative.
    ///
    /// # Errors
    /// Every field that breaks a rule.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        e.check(
            self.input_tokens.checked_add(self.output_tokens) == Some(self.total_tokens),
            "total_tokens",
            "expected input_tokens + output_tokens",
            self.total_tokens,
        );
        e.check(
            self.cached_tokens.is_none_or(|c| c <= self.input_tokens),
            "cached_tokens",
            "expected at most input_tokens",
            "more",
        );
        for (field, value) in
            [("efficiency_ratio", self.efficiency_ratio), ("tokens_per_second", self.tokens_per_second)]
        {
            non_negative(&mut e, field, value);
        }
        e.into_result()
    }
}

fn non_negative(e: &mut ConfigErrors, field: &str, value: Option<f64>) {
    if let Some(v) = value {
        e.check(v.is_finite() && v >= 0.0, field, "expected a finite number ≥ 0", v);
    }
}

fn share(e: &mut ConfigErrors, field: &str, value: Option<f64>) {
    if let Some(v) = value {
        e.check((0.0..=1.0).contains(&v), field, "expected a share from 0 to 1", v);
    }
}

fn ordered(e: &mut ConfigErrors, values: &[(&str, Option<f64>)]) {
    let known: Vec<(&str, f64)> = values.iter().filter_map(|(n, v)| Some((*n, (*v)?))).collect();
    for pair in known.windows(2) {
        e.check(pair[0].1 <= pair[1].1, pair[1].0, &format!("expected at least {}", pair[0].0), pair[1].1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> BenchmarkResult {
        BenchmarkResult {
            benchmark_id: "r".into(),
            test_name: "t".into(),
            provider_name: "openai".into(),
            model_name: "m".into(),
            timestamp: OffsetDateTime::UNIX_EPOCH,
            duration_s: 1.0,
            latency_metrics: LatencyMetrics {
                n: 2,
                p50: Some(1.0),
                p95: Some(2.0),
                mean: Some(1.5),
                min: Some(1.0),
                max: Some(2.0),
                ..LatencyMetrics::default()
            },
            throughput_rps: Some(2.0),
            error_rate: Some(0.0),
            memory_usage: None,
            token_usage: Some(TokenUsage {
                input_tokens: 3,
                output_tokens: 4,
                total_tokens: 7,
                ..TokenUsage::default()
            }),
            cost_analysis: None,
            operation_count: 2,
            concurrency_level: Some(1),
            successful_ops: 2,
            failed_ops: 0,
            scenario_name: "s".into(),
            configuration_hash: String::new(),
            environment: EnvironmentInfo::default(),
            additional_metrics: BTreeMap::new(),
            tags: BTreeMap::new(),
        }
    }

    #[test]
    fn a_good_result_passes_and_round_trips() {
        let result = good();
        result.validate().unwrap();
        let json = serde_json::to_string(&result).unwrap();
        assert_eq!(serde_json::from_str::<BenchmarkResult>(&json).unwrap(), result);
    }

    #[test]
    fn every_broken_rule_is_named() {
        let mut r = good();
        r.provider_name.clear();
        r.failed_ops = 1;
        r.error_rate = Some(1.5);
        r.latency_metrics.p95 = Some(0.5);
        r.latency_metrics.mean = Some(3.0);
        r.token_usage.as_mut().unwrap().total_tokens = 8;
        let fields: Vec<String> = r.validate().unwrap_err().errors.into_iter().map(|e| e.field).collect();
        assert_eq!(
            fields,
            [
                "provider_name",
                "operation_count",
                "error_rate",
                "latency_metrics.p95",
                "latency_metrics.max",
                "token_usage.total_tokens"
            ]
        );
    }

    #[test]
    fn old_results_without_newer_fields_still_load() {
        let mut json = serde_json::to_value(good()).unwrap();
        for field in ["memory_usage", "token_usage", "cost_analysis", "additional_metrics", "tags"] {
            json.as_object_mut().unwrap().remove(field);
        }
        serde_json::from_value::<BenchmarkResult>(json).unwrap();
    }
}
