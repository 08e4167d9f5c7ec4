//! Requests and tokens per minute, on virtual time.

use std::sync::Arc;

use futures_util::future::join_all;
use llms_core::{ChatModel, ChatRequest, ErrorCode, ErrorKind, Usage};
use llms_layers::{Limits, RateLimit};
use proptest::prelude::*;

use crate::support::{MS, S, Scripted, Step, bench};

#[test]
fn requests_go_at_the_rate_in_the_order_asked() {
    let b = bench();
    // One a second, and one at once.
    let model = RateLimit::new(Scripted::new("m", &[]), Limits::per_minute(60.0));
    b.clock.block_on(async {
        let calls = (0..5).map(|_| async { model.generate(&"hi".into(), &b.ctx).await.unwrap() });
        join_all(calls).await;
    });
    assert_eq!(*model.inner().began.lock().unwrap(), [0, 1_000, 2_000, 3_000, 4_000]);
    assert_eq!(b.told.take(), ["held 1000 ms", "held 2000 ms", "held 3000 ms", "held 4000 ms"]);
}

#[test]
fn a_pause_may_be_made_good_up_to_the_burst() {
    let b = bench();
    let limits = Limits::per_minute(60.0).with_burst(3 * S);
    let model = RateLimit::new(Scripted::new("m", &[]), limits);
    b.clock.block_on(async {
        b.ctx.clock.sleep_until(b.ctx.now() + 100 * S).await;
        join_all((0..5).map(|_| async { model.generate(&"hi".into(), &b.ctx).await.unwrap() })).await;
    });
    assert_eq!(*model.inner().began.lock().unwrap(), [100_000, 100_000, 100_000, 101_000, 102_000]);
}

fn tokens(max_tokens: u32) -> ChatRequest {
    ChatRequest::text("hi").with_max_tokens(max_tokens)
}

#[test]
fn tokens_are_reserved_and_settled_by_the_usage() {
    // 600 a minute is 10 a second; 100 at once. Each call reserves 100 and is settled at 15.
    let limits = Limits { requests_per_minute: None, ..Limits::per_minute(1.0) }
        .with_tokens_per_minute(600.0)
        .with_burst(10 * S);
    let b = bench();
    let model = RateLimit::new(Scripted::new("m", &[]), limits.clone()).with_estimate(|_| 100);
    for _ in 0..3 {
        b.clock.block_on(async { model.generate(&tokens(90), &b.ctx).await.unwrap() });
    }
    // After the first, 85 of 100 are back: the second waits for 15 at 10 a second, and so on.
    assert_eq!(*model.inner().began.lock().unwrap(), [0, 1_500, 3_000]);

    let b = bench();
    let silent = Scripted::new("m", &[]).with_usage(None);
    let model = RateLimit::new(silent, limits).with_estimate(|_| 100);
    for _ in 0..3 {
        b.clock.block_on(async { model.generate(&tokens(90), &b.ctx).await.unwrap() });
    }
    assert_eq!(
        *model.inner().began.lock().unwrap(),
        [0, 10_000, 20_000],
        "without usage the estimate stands"
    );
}

#[test]
fn a_refusal_costs_no_tokens_but_a_request() {
    let limits = Limits::per_minute(60.0).with_tokens_per_minute(600.0).with_burst(S);
    let b = bench();
    let model =
        RateLimit::new(Scripted::new("m", &[Step::Fail(ErrorCode::RateLimit)]), limits).with_estimate(|_| 10);
    b.generate(&model, "a").unwrap_err();
    b.generate(&model, "b").unwrap();
    assert_eq!(*model.inner().began.lock().unwrap(), [0, 1_000]);
}

#[test]
fn more_than_the_bucket_holds_is_owed() {
    let limits =
        Limits { requests_per_minute: None, ..Limits::per_minute(1.0) }.with_tokens_per_minute(600.0);
    let b = bench();
    let usage = Some(Usage { input_tokens: Some(50), output_tokens: Some(50), ..Usage::default() });
    let model = RateLimit::new(Scripted::new("m", &[]).with_usage(usage), limits).with_estimate(|_| 100);
    b.generate(&model, "a").unwrap();
    b.generate(&model, "b").unwrap();
    assert_eq!(*model.inner().began.lock().unwrap(), [0, 10_000]);
}

#[test]
fn who_would_wait_too_long_is_told_at_once_and_takes_no_place() {
    let mut b = bench();
    let limits = Limits::per_minute(6.0).with_max_wait(15 * S);
    let model = RateLimit::new(Scripted::new("m", &[]), limits);
    b.generate(&model, "a").unwrap();
    b.ctx = b.ctx.clone().with_timeout(5 * S);
    let e = b.generate(&model, "late").unwrap_err();
    assert_eq!((e.code(), e.retry_after(), b.ms()), (ErrorCode::RateLimit, Some(10 * S), 0));
    b.ctx.deadline = None;
    b.clock.block_on(async {
        let calls = (0..3).map(|_| async { model.generate(&"hi".into(), &b.ctx).await });
        let answers = join_all(calls).await;
        assert!(answers[0].is_ok());
        assert!(answers[1].is_err() && answers[2].is_err(), "20 s and 30 s are too long");
    });
    assert_eq!(b.ms(), 10_000);
}

#[test]
fn who_leaves_the_queue_gives_the_place_back() {
    let b = bench();
    let model = Arc::new(RateLimit::new(Scripted::new("m", &[]), Limits::per_minute(60.0)));
    b.generate(&model, "a").unwrap();
    let leaving = llms_core::CallContext::with_clock(b.ctx.clock.clone());
    b.clock.block_on(async {
        let cancel = async {
            b.ctx.clock.sleep_until(b.ctx.now() + 10 * MS).await;
            leaving.cancel.cancel();
        };
        let request = "b".into();
        let (left, ()) = futures_util::future::join(model.generate(&request, &leaving), cancel).await;
        assert_eq!(left.unwrap_err().kind(), ErrorKind::Cancelled);
    });
    b.generate(&model, "c").unwrap();
    assert_eq!(*model.inner().began.lock().unwrap(), [0, 1_000], "not 2000: the one who left took nothing");
}

proptest! {
    /// Whatever the pauses between calls: in no stretch of time do more go than the rate allows and the burst holds.
    #[test]
    fn the_rate_is_never_exceeded(pauses in prop::collection::vec(0_u64..3_000, 1..40), per_minute in 10.0..600.0_f64, burst in 1_u64..10) {
        let b = bench();
        let limits = Limits::per_minute(per_minute).with_burst(burst as u32 * S);
        let model = RateLimit::new(Scripted::new("m", &[]), limits);
        b.clock.block_on(async {
            let mut calls = Vec::new();
            let mut at = b.ctx.now();
            for pause in &pauses {
                at = at + *pause as u32 * MS;
                let (model, ctx) = (&model, &b.ctx);
                calls.push(async move {
                    ctx.clock.sleep_until(at).await;
                    model.generate(&"hi".into(), ctx).await.unwrap();
                });
            }
            join_all(calls).await;
        });
        let began = model.inner().began.lock().unwrap().clone();
        let capacity = (per_minute / 60.0 * burst as f64).max(1.0);
        for (i, from) in began.iter().enumerate() {
            for (n, to) in began[i..].iter().enumerate() {
                let allowed = capacity + (to - from + 1) as f64 / 1e3 * per_minute / 60.0;
                prop_assert!((n + 1) as f64 <= allowed + 1e-6, "{} calls from {} to {} ms", n + 1, from, to);
            }
        }
    }
}
