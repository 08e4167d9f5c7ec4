//! T007: the contract of the metrics collector, on simulated time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bench_runner::Collector;
use llms_core::{
    CallContext, ErrorCode, Usage,
    bench::{
        Collection, CollectionInfo, MetricsCollector as _, MetricsRecorder, OperationMetrics, TokenUsage,
    },
    time::{Clock as _, Timestamp, VirtualClock},
};

const MS: Duration = Duration::from_millis(1);

fn info(id: &str) -> CollectionInfo {
    CollectionInfo {
        benchmark_id: id.to_owned(),
        test_name: "t007".to_owned(),
        provider_name: "mock".to_owned(),
        model_name: "m".to_owned(),
        scenario_name: "simple".to_owned(),
        ..CollectionInfo::default()
    }
}

/// A collector, and a context whose clock a test moves.
fn collecting() -> (Collector, VirtualClock, CallContext) {
    let clock = VirtualClock::new();
    (Collector::new(), clock.clone(), CallContext::with_clock(Arc::new(clock)))
}

fn operation(start: Timestamp, latency: Duration) -> OperationMetrics {
    OperationMetrics {
        operation: "generate".into(),
        start,
        first_token: None,
        end: start + latency,
        usage: Some(Usage { input_tokens: Some(10), output_tokens: Some(25), ..Usage::default() }),
        bytes: None,
        error: None,
    }
}

fn record(recorder: &dyn MetricsRecorder, ctx: &CallContext, millis: impl Iterator<Item = u32>) {
    for ms in millis {
        recorder.record_operation(&operation(ctx.now(), MS * ms)).unwrap();
    }
}

fn pass(clock: &VirtualClock, time: Duration) {
    clock.block_on(clock.sleep_until(clock.now() + time));
}

#[test]
fn a_collection_gives_a_full_and_valid_result() {
    let (collector, clock, ctx) = collecting();
    let collection = collector
        .start(
            CollectionInfo {
                concurrency_level: Some(4),
                tags: BTreeMap::from([("team".to_owned(), "a".to_owned())]),
                ..info("b-1")
            },
            &ctx,
        )
        .unwrap();
    let recorder = collection.recorder();
    record(&*recorder, &ctx, (1..=10).map(|i| i * 10));
    let failed = OperationMetrics { error: Some(ErrorCode::Timeout), ..operation(ctx.now(), MS * 5) };
    recorder.record_operation(&failed).unwrap();
    let streamed = OperationMetrics {
        operation: "stream".into(),
        first_token: Some(ctx.now() + MS * 20),
        bytes: Some(700),
        ..operation(ctx.now(), MS * 55)
    };
    recorder.record_operation(&streamed).unwrap();
    pass(&clock, Duration::from_secs(2));
    let result = collection.stop().unwrap();
    result.validate().unwrap();
    assert_eq!((result.operation_count, result.successful_ops, result.failed_ops), (12, 11, 1));
    assert_eq!(
        (result.duration_s, result.throughput_rps, result.error_rate),
        (2.0, Some(5.5), Some(1.0 / 12.0))
    );
    let l = &result.latency_metrics;
    // The sixth of twelve, a failure behind all; the sketch is off by a thousandth at most.
    assert!((l.p50.unwrap() - 0.055).abs() < 0.055e-3, "{l:?}");
    assert_eq!((l.n, l.min, l.max), (11, Some(0.01), Some(0.1)));
    assert!((l.mean.unwrap() - 0.055).abs() < 1e-12, "{l:?}");
    assert!((l.time_to_first_token.unwrap() - 0.02).abs() < 0.02e-3, "{l:?}");
    // Twelve operations have nothing to say on the 95th of a hundred.
    assert_eq!((l.p95, l.p99, l.p999), (None, None, None));
    let tokens = result.token_usage.unwrap();
    assert_eq!((tokens.input_tokens, tokens.output_tokens, tokens.total_tokens), (120, 300, 420));
    assert_eq!(tokens.tokens_per_second, Some(150.0));
    assert_eq!(result.additional_metrics["operations.generate"], 11);
    assert_eq!(result.additional_metrics["operations.stream"], 1);
    assert_eq!(result.additional_metrics["errors.timeout"], 1);
    assert_eq!(result.additional_metrics["bytes"], 700);
    assert_eq!((result.concurrency_level, &*result.tags["team"]), (Some(4), "a"));
}

#[test]
fn names_are_needed_and_an_id_serves_one_at_a_time() {
    let (collector, clock, ctx) = collecting();
    for (broken, says) in [
        (info(" "), "benchmark_id"),
        (CollectionInfo { provider_name: String::new(), ..info("a") }, "provider_name"),
        (CollectionInfo { model_name: String::new(), ..info("a") }, "model_name"),
    ] {
        let e = collector.start(broken, &ctx).unwrap_err();
        assert!(e.code() == ErrorCode::InvalidInput && e.message().contains(says), "{e}");
    }
    let first = collector.start(info("a"), &ctx).unwrap();
    let e = collector.start(info("a"), &ctx).unwrap_err();
    assert!(e.code() == ErrorCode::InvalidInput && e.message().contains("found a"), "{e}");
    assert_eq!(collector.active(), ["a"]);
    record(&*first.recorder(), &ctx, [1].into_iter());
    pass(&clock, MS);
    first.stop().unwrap();
    // Stopped or dropped, the id is free.
    drop(collector.start(info("a"), &ctx).unwrap());
    assert!(collector.active().is_empty());
    collector.start(info("a"), &ctx).unwrap();
}

#[test]
fn nothing_recorded_is_no_result_and_frees_the_id() {
    let (collector, clock, ctx) = collecting();
    let collection = collector.start(info("a"), &ctx).unwrap();
    pass(&clock, MS);
    collection.recorder().record_latency(MS, "generate").unwrap();
    assert!(collection.snapshot().unwrap_err().message().contains("found none"));
    let e = collection.stop().unwrap_err();
    assert!(e.code() == ErrorCode::InvalidInput && e.message().contains("collection a"), "{e}");
    assert!(collector.active().is_empty());
}

#[test]
fn interleaved_collections_are_attributed_exactly() {
    let (collector, clock, ctx) = collecting();
    let collections: Vec<Box<dyn Collection>> =
        (0..4).map(|i| collector.start(info(&format!("c-{i}")), &ctx).unwrap()).collect();
    let recorders: Vec<_> = collections.iter().map(|c| c.recorder()).collect();
    for round in 0..100_u32 {
        for (i, recorder) in (1..).zip(&recorders) {
            if round % i == 0 {
                record(&**recorder, &ctx, [i * 7].into_iter());
            }
        }
    }
    pass(&clock, Duration::from_secs(1));
    for (i, collection) in (1..).zip(collections) {
        let result = collection.stop().unwrap();
        let n = 100_u64.div_ceil(i);
        assert_eq!((result.operation_count, result.benchmark_id), (n, format!("c-{}", i - 1)));
        assert_eq!(result.token_usage.unwrap().total_tokens, n * 35);
        let only = i as f64 * 0.007;
        assert_eq!((result.latency_metrics.min, result.latency_metrics.max), (Some(only), Some(only)));
    }
}

#[test]
fn it_stops_after_its_context_was_cancelled_and_old_recorders_refuse() {
    let (collector, clock, ctx) = collecting();
    let cancel = tokio_util::sync::CancellationToken::new();
    let collection = collector.start(info("a"), &ctx.clone().with_cancel(cancel.clone())).unwrap();
    let recorder = collection.recorder();
    record(&*recorder, &ctx, [3].into_iter());
    cancel.cancel();
    record(&*recorder, &ctx, [5].into_iter());
    pass(&clock, MS);
    assert_eq!(collection.stop().unwrap().operation_count, 2);
    let all = [
        recorder.record_operation(&operation(ctx.now(), MS)),
        recorder.record_latency(MS, "generate"),
        recorder.record_token_usage(&TokenUsage::default()),
    ];
    for refused in all {
        let e = refused.unwrap_err();
        assert!(e.code() == ErrorCode::InvalidInput && e.message().contains("collection a has ended"), "{e}");
    }
    // Another collection of the same id does not get what the old recorder is told.
    let again = collector.start(info("a"), &ctx).unwrap();
    recorder.record_operation(&operation(ctx.now(), MS)).unwrap_err();
    assert!(again.snapshot().is_err());
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let (collector, clock, ctx) = collecting();
    let collection = collector.start(info("a"), &ctx).unwrap();
    let recorder = collection.recorder();
    pass(&clock, MS * 100);
    let now = ctx.now();
    let backwards = OperationMetrics { end: Timestamp::ZERO, ..operation(now, MS) };
    let token_after_end = OperationMetrics { first_token: Some(now + MS * 2), ..operation(now, MS) };
    let token_before_start = OperationMetrics { first_token: Some(Timestamp::ZERO), ..operation(now, MS) };
    for o in [backwards, token_after_end, token_before_start] {
        assert!(recorder.record_operation(&o).unwrap_err().message().contains("in this order"));
    }
    let wrong = TokenUsage { input_tokens: 1, output_tokens: 1, total_tokens: 3, ..TokenUsage::default() };
    assert!(recorder.record_token_usage(&wrong).unwrap_err().message().contains("total_tokens"));
    record(&*recorder, &ctx, [3].into_iter());
    let result = collection.stop().unwrap();
    assert_eq!((result.operation_count, result.token_usage.unwrap().total_tokens), (1, 35));
}

#[test]
fn samples_beside_the_operations_are_not_operations() {
    let (collector, clock, ctx) = collecting();
    let collection = collector.start(info("a"), &ctx).unwrap();
    let recorder = collection.recorder();
    record(&*recorder, &ctx, [10].into_iter());
    recorder.record_latency(MS * 400, "dns").unwrap();
    let extra = TokenUsage { input_tokens: 3, output_tokens: 4, total_tokens: 7, ..TokenUsage::default() };
    recorder.record_token_usage(&extra).unwrap();
    pass(&clock, MS * 10);
    let result = collection.stop().unwrap();
    assert_eq!((result.operation_count, result.latency_metrics.max), (1, Some(0.01)));
    assert_eq!(result.additional_metrics["operations.dns"], 0);
    let dns = result.additional_metrics["latency_p50_s.dns"].as_f64().unwrap();
    assert!((dns - 0.4).abs() < 0.4e-3, "{dns}");
    assert_eq!(result.token_usage.unwrap().total_tokens, 42);
}
