//! T016: the collector under threads and volume: nothing lost, sums exact, quantiles near, memory bounded.

use std::{sync::Arc, time::Duration};

use bench_runner::Collector;
use llms_core::{
    CallContext, Usage,
    bench::{CollectionInfo, MetricsCollector as _, OperationMetrics},
    time::{Clock as _, Timestamp, VirtualClock},
};
use proptest::prelude::*;

fn info() -> CollectionInfo {
    CollectionInfo {
        benchmark_id: "b".to_owned(),
        test_name: "t016".to_owned(),
        provider_name: "mock".to_owned(),
        model_name: "m".to_owned(),
        scenario_name: "simple".to_owned(),
        ..CollectionInfo::default()
    }
}

fn operation(latency: Duration, tokens: u64) -> OperationMetrics {
    OperationMetrics {
        operation: "generate".into(),
        start: Timestamp::ZERO,
        first_token: Some(Timestamp::ZERO + latency / 2),
        end: Timestamp::ZERO + latency,
        usage: Some(Usage {
            input_tokens: Some(tokens),
            output_tokens: Some(2 * tokens),
            ..Usage::default()
        }),
        bytes: Some(1),
        error: None,
    }
}

#[test]
fn threads_lose_nothing_and_snapshots_may_be_taken_meanwhile() {
    let clock = VirtualClock::new();
    let collector = Collector::new();
    let collection = collector.start(info(), &CallContext::with_clock(Arc::new(clock.clone()))).unwrap();
    clock.block_on(clock.sleep_until(Timestamp::ZERO + Duration::from_secs(1)));
    let (threads, each) = (20_u64, 2_000_u64);
    std::thread::scope(|scope| {
        for t in 0..threads {
            let recorder = collection.recorder();
            scope.spawn(move || {
                for i in 0..each {
                    recorder.record_operation(&operation(Duration::from_micros(t * each + i), i)).unwrap();
                }
            });
        }
        let mut before = 0;
        while before < threads * each {
            let now = collection.snapshot().map_or(0, |r| r.operation_count);
            assert!(before <= now && now <= threads * each, "{before} {now}");
            before = now;
        }
    });
    let result = collection.stop().unwrap();
    result.validate().unwrap();
    let n = threads * each;
    let input = threads * each * (each - 1) / 2;
    assert_eq!(result.operation_count, n);
    assert_eq!(
        result.token_usage.as_ref().map(|t| (t.input_tokens, t.output_tokens)),
        Some((input, 2 * input))
    );
    assert_eq!(result.additional_metrics["bytes"], n);
    let l = result.latency_metrics;
    let mean = (n - 1) as f64 / 2.0 * 1e-6;
    assert!((l.mean.unwrap() - mean).abs() < 1e-12, "{l:?}");
    // Of 0, 1, …, n − 1: n (n + 1) / 12.
    let sd = (n as f64 * (n + 1) as f64 / 12.0).sqrt() * 1e-6;
    assert!((l.standard_deviation.unwrap() - sd).abs() < 1e-9, "{l:?}");
    for (found, p) in [(l.p50, 0.5), (l.p95, 0.95), (l.p99, 0.99), (l.p999, 0.999)] {
        let exact = ((p * n as f64).ceil() - 1.0) * 1e-6;
        let off = found.unwrap() - exact;
        assert!((0.0..=exact * 1e-3).contains(&off), "p{p}: {found:?} for {exact}");
    }
}

proptest! {
    #[test]
    fn quantiles_hold_whatever_the_values_and_failures_rank_behind(
        mut millis in proptest::collection::vec(1_u64..1_000_000, 1..200), failures in 0_usize..50
    ) {
        let clock = VirtualClock::new();
        let collection =
            Collector::new().start(info(), &CallContext::with_clock(Arc::new(clock.clone()))).unwrap();
        clock.block_on(clock.sleep_until(Timestamp::ZERO + Duration::from_secs(1)));
        // Spread over recorders: where a value was recorded does not matter.
        for ms in &millis {
            collection.recorder().record_operation(&operation(Duration::from_millis(*ms), 1)).unwrap();
        }
        let failed = OperationMetrics {
            error: Some(llms_core::ErrorCode::Timeout), ..operation(Duration::from_millis(1), 1)
        };
        for _ in 0..failures {
            collection.recorder().record_operation(&failed).unwrap();
        }
        let result = collection.stop().unwrap();
        prop_assert!(result.validate().is_ok(), "{:?}", result.validate());
        millis.sort_unstable();
        let n = millis.len() + failures;
        prop_assert_eq!(result.operation_count as usize, n);
        let l = &result.latency_metrics;
        for (found, p) in [(l.p50, 0.5), (l.p95, 0.95), (l.p99, 0.99)] {
            let rank = (p * n as f64).ceil() as usize;
            let told = (1.0 - p) * n as f64 + 1e-9 >= 1.0 && rank <= millis.len();
            prop_assert_eq!(found.is_some(), told, "p{} of {} and {} failures", p, millis.len(), failures);
            if let Some(found) = found {
                let exact = millis[rank - 1] as f64 * 1e-3;
                prop_assert!((found - exact).abs() <= exact * 1e-3, "p{}: {} for {}", p, found, exact);
            }
        }
        prop_assert_eq!(l.min, Some(millis[0] as f64 / 1e3));
        prop_assert_eq!(l.max, Some(millis[millis.len() - 1] as f64 / 1e3));
    }
}
