//! Cost of recording: one operation with its tokens, the contract's pair of a latency and a token sample, a snapshot.
//! The contract allows 10 µs a pair.
#![allow(missing_docs, reason = "a benchmark")]

use std::{hint::black_box, time::Duration};

use bench_runner::Collector;
use criterion::{Criterion, criterion_group, criterion_main};
use llms_core::{
    CallContext, Usage,
    bench::{CollectionInfo, MetricsCollector as _, OperationMetrics, TokenUsage},
    time::Timestamp,
};

fn recording(c: &mut Criterion) {
    let info = CollectionInfo {
        benchmark_id: "b".to_owned(),
        test_name: "t".to_owned(),
        provider_name: "mock".to_owned(),
        model_name: "m".to_owned(),
        scenario_name: "simple".to_owned(),
        ..CollectionInfo::default()
    };
    let collection = Collector::new().start(info, &CallContext::new()).expect("a fresh id");
    let recorder = collection.recorder();
    let mut latency = Duration::from_millis(1);
    let mut next = || {
        latency =
            Duration::from_nanos((latency.as_nanos() as u64 * 6_364_136_223 + 1_442_695) % 10_000_000_000);
        latency
    };
    let usage = Usage { input_tokens: Some(10), output_tokens: Some(25), ..Usage::default() };
    let mut operation = OperationMetrics {
        operation: "generate".into(),
        start: Timestamp::ZERO,
        first_token: None,
        end: Timestamp::ZERO,
        usage: Some(usage),
        bytes: Some(1_000),
        error: None,
    };
    c.bench_function("operation", |b| {
        b.iter(|| {
            operation.end = Timestamp::ZERO + next();
            recorder.record_operation(black_box(&operation))
        });
    });
    let tokens =
        TokenUsage { input_tokens: 10, output_tokens: 25, total_tokens: 35, ..TokenUsage::default() };
    c.bench_function("latency and tokens", |b| {
        b.iter(|| {
            recorder
                .record_latency(next(), black_box("generate"))
                .and_then(|()| recorder.record_token_usage(black_box(&tokens)))
        });
    });
    c.bench_function("snapshot", |b| b.iter(|| collection.snapshot()));
}

criterion_group!(benches, recording);
criterion_main!(benches);
