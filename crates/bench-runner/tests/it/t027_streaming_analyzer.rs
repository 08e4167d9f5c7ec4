//! T027, the measuring side: what the streaming analyzer says of answers whose every instant is known.

use crate::common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bench_runner::StreamTests;
use common::*;
use llms_core::{
    CallContext, ErrorCode,
    bench::{AllocatorCounters, AllocatorProbe, Measured, StreamingAnalyzer as _, StreamingOptions, Target},
    time::VirtualClock,
};

const GAP: Duration = Duration::from_millis(20);
const FIRST: Duration = Duration::from_millis(200);

fn tokens(n: u32) -> Target {
    target(&Scripted::new("m", move |_, _| Answer::Tokens { first: FIRST, gap: GAP, n }))
}

fn tests(options: StreamingOptions) -> StreamTests {
    StreamTests::new(options).unwrap()
}

/// On simulated time.
fn on_clock<F: Future>(ask: impl FnOnce(CallContext) -> F) -> F::Output {
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    clock.block_on(async { ask(ctx).await })
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9 * expected.abs().max(1.0), "{found} where {expected} is true");
}

#[test]
fn the_first_token_and_the_end() {
    let target = tokens(50);
    let found = on_clock(async |ctx| {
        let tests = tests(StreamingOptions::default());
        // Two at once do not meet.
        let (a, b) =
            tokio::join!(tests.measure_ttft(&target, "hi", &ctx), tests.measure_ttft(&target, "ho", &ctx));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert_eq!(a, b);
        a
    });
    assert_eq!((found.provider.as_str(), found.model.as_str()), ("scripted", "m"));
    near(found.time_to_first_token_s.unwrap(), 0.2);
    near(found.time_to_first_answer_s.unwrap(), 0.2);
    near(found.total_stream_time_s, 0.2 + 49.0 * 0.02);
}

#[test]
fn the_pace_and_its_curve() {
    let options = StreamingOptions { window: Duration::from_millis(500), ..StreamingOptions::default() };
    let found =
        on_clock(async |ctx| tests(options).analyze_throughput(&tokens(60), "hi", &ctx).await.unwrap());
    assert_eq!((found.total_tokens_streamed, found.tokens_reported), (60, true));
    near(found.tokens_per_second.unwrap(), 50.0);
    near(found.total_streaming_time_s, 1.18);
    let starts: Vec<f64> = found.throughput_curve.iter().map(|p| p.at_s).collect();
    assert_eq!(starts, [0.0, 0.5, 1.0]);
    // Every token stands in one window; the last is 0.18 s long.
    let widths = [0.5, 0.5, 0.18];
    let all: f64 = found.throughput_curve.iter().zip(widths).map(|(p, w)| p.tokens_per_second * w).sum();
    near(all, 60.0);
    near(found.throughput_curve[0].tokens_per_second, 50.0);
    let one = on_clock(async |ctx| {
        tests(StreamingOptions::default()).analyze_throughput(&tokens(1), "hi", &ctx).await.unwrap()
    });
    assert_eq!((one.tokens_per_second, one.total_tokens_streamed), (None, 1), "one token has no pace");
}

#[test]
fn what_waits_for_a_reader_who_pauses() {
    let ask = |target: Target| {
        on_clock(async move |ctx| {
            tests(StreamingOptions::default()).test_backpressure_handling(&target, "hi", &ctx).await
        })
    };
    // The token at hand and, in two seconds at one every 20 ms, a hundred more wait, four bytes each, and come at once.
    let buffered = ask(tokens(300)).unwrap();
    assert_eq!((buffered.backpressure_events, buffered.max_buffer_size, buffered.complete), (1, 404, true));
    near(buffered.buffer_utilization, 1.0);
    assert!(buffered.recovery_time_s > 0.0 && buffered.recovery_time_s < 1e-6);
    let model = Scripted::new("m", |_, _| Answer::Polite { first: FIRST, gap: GAP, n: 300 });
    let paused = ask(target(&model)).unwrap();
    assert_eq!((paused.backpressure_events, paused.max_buffer_size), (1, 4), "the one it was about to send");
    near(paused.buffer_utilization, 0.01);
    let short = ask(tokens(5)).unwrap_err();
    assert!(short.to_string().contains("longer"), "{short}");
}

/// Each reading finds a kilobyte more.
struct Growing(AtomicU64);

impl AllocatorProbe for Growing {
    fn counters(&self) -> Measured<AllocatorCounters> {
        let live_bytes = 10_000 + 1000 * self.0.fetch_add(1, SeqCst);
        Measured::Value(AllocatorCounters { live_bytes, ..AllocatorCounters::default() })
    }
}

#[test]
fn memory_by_its_samples() {
    let found = on_clock(async |ctx| {
        let tests = tests(StreamingOptions::default()).with_allocator(Arc::new(Growing(AtomicU64::new(0))));
        tests.analyze_streaming_memory(&tokens(50), "hi", &ctx).await.unwrap()
    });
    // Before it 10,000; then 1,000 to 50,000 more.
    assert_eq!((found.peak_bytes, found.samples, found.absent), (Some(50_000), 50, None));
    near(found.average_bytes.unwrap(), 25_500.0);
    near(found.memory_growth_rate.unwrap(), 50_000.0);
    near(found.memory_efficiency_score.unwrap(), 100.0 * 200.0 / 50_200.0);
    near(found.memory_pressure.unwrap(), 50.0 / 60.0);
    let sampled = on_clock(async |ctx| {
        let options = StreamingOptions { sample_rate: 0.1, ..StreamingOptions::default() };
        let tests = tests(options).with_allocator(Arc::new(Growing(AtomicU64::new(0))));
        tests.analyze_streaming_memory(&tokens(50), "hi", &ctx).await.unwrap()
    });
    assert_eq!(sampled.samples, 5);
    let unread = on_clock(async |ctx| {
        tests(StreamingOptions::default()).analyze_streaming_memory(&tokens(5), "hi", &ctx).await.unwrap()
    });
    assert_eq!((unread.peak_bytes, unread.memory_efficiency_score, unread.samples), (None, None, 0));
    assert_eq!(unread.absent.as_deref(), Some("no allocator was given to read"));
}

#[test]
fn what_cannot_be_asked_is_said() {
    on_clock(async |ctx| {
        let all = tests(StreamingOptions::default());
        let code = |e: llms_core::Error| e.code();
        let empty = all.measure_ttft(&tokens(1), " ", &ctx).await.map_err(code);
        assert_eq!(empty.map(drop), Err(ErrorCode::InvalidInput));
        let none = all.measure_ttft(&unavailable("x", "no key"), "hi", &ctx).await.unwrap_err();
        assert!(none.to_string().contains("no key"), "{none}");
        let off = tests(StreamingOptions { throughput: false, ..StreamingOptions::default() });
        let off = off.analyze_throughput(&tokens(1), "hi", &ctx).await.unwrap_err();
        assert!(off.to_string().contains("switched off"), "{off}");
        let failing = target(&Scripted::new("m", |_, _| Answer::Fail(MS, ErrorCode::RateLimit)));
        let failed = all.measure_ttft(&failing, "hi", &ctx).await.map_err(code);
        assert_eq!(failed.map(drop), Err(ErrorCode::RateLimit));
    });
    for (options, field) in [
        (StreamingOptions { sample_rate: 0.0, ..StreamingOptions::default() }, "sample_rate"),
        (StreamingOptions { sample_rate: f64::NAN, ..StreamingOptions::default() }, "sample_rate"),
        (StreamingOptions { window: Duration::ZERO, ..StreamingOptions::default() }, "window"),
        (StreamingOptions { max_tokens: Some(0), ..StreamingOptions::default() }, "max_tokens"),
    ] {
        let wrong = StreamTests::new(options).unwrap_err();
        assert!(wrong.to_string().contains(field), "{wrong}");
    }
}
