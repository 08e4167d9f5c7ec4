//! Another attempt for what may succeed, and for nothing else.

use std::time::Duration;

use llms_core::{ChatModelExt, ErrorCode, ErrorKind};
use llms_layers::{Retry, RetryPolicy};
use proptest::prelude::*;

use crate::support::{Bench, MS, S, Scripted, Step, bench};

fn seeded() -> RetryPolicy {
    RetryPolicy { seed: Some(7), ..RetryPolicy::default() }
}

fn retry(steps: &[Step]) -> Retry<Scripted> {
    Retry::new(Scripted::new("m", steps), seeded())
}

#[test]
fn what_may_succeed_is_tried_again_and_every_attempt_is_told() {
    let b = bench();
    let model = retry(&[Step::Fail(ErrorCode::Overloaded), Step::Fail(ErrorCode::NetworkError)]);
    assert_eq!(b.generate(&model, "hi").unwrap().text, "fine");
    assert_eq!(model.inner().calls(), 3);
    let told = b.told.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("retry 1 after ") && told[0].ends_with("for overloaded"), "{told:?}");
    assert!(told[1].starts_with("retry 2 after ") && told[1].ends_with("for network_error"), "{told:?}");
    assert!(b.ms() <= 3_000, "full jitter waits at most 1 s and 2 s, waited {} ms", b.ms());
}

#[test]
fn what_cannot_succeed_is_returned_at_once() {
    for &code in ErrorCode::ALL.iter().filter(|c| !c.is_retryable()) {
        let b = bench();
        let model = Retry::new(Scripted::always("m", Step::Fail(code)), seeded());
        assert_eq!(b.generate(&model, "hi").unwrap_err().code(), code);
        assert_eq!(b.drive(&model, "hi").1.unwrap_err().code(), code);
        assert_eq!((model.inner().calls(), b.ms()), (2, 0), "{code}");
    }
}

#[test]
fn the_last_error_comes_back_with_the_number_of_attempts() {
    let b = bench();
    let model = Retry::new(Scripted::always("m", Step::Fail(ErrorCode::Internal)), seeded());
    let e = b.generate(&model, "hi").unwrap_err();
    assert_eq!((e.code(), e.attempts(), model.inner().calls()), (ErrorCode::Internal, 4, 4));
    assert!(e.to_string().ends_with("after 4 attempts)"), "{e}");
}

#[test]
fn no_stream_is_tried_again_after_content_unless_asked() {
    let steps = [Step::Fail(ErrorCode::Overloaded), Step::Break("Hel", ErrorCode::StreamClosed)];
    let b = bench();
    let model = retry(&steps);
    let (text, outcome) = b.drive(&model, "hi");
    let e = outcome.unwrap_err();
    assert_eq!((text.as_str(), e.code(), e.attempts()), ("Hel", ErrorCode::StreamClosed, 2));

    let model = Retry::new(Scripted::new("m", &steps), RetryPolicy { after_content: true, ..seeded() });
    let (text, outcome) = b.drive(&model, "hi");
    outcome.unwrap();
    assert_eq!(text, "Hel|fine", "a new beginning is marked");
    let model = Retry::new(Scripted::new("m", &steps), RetryPolicy { after_content: true, ..seeded() });
    let joined = b.clock.block_on(async { model.collect(&"hi".into(), &b.ctx).await }).unwrap();
    assert_eq!(joined.text, "fine", "a collector drops what came before the new beginning");
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let b = bench();
    let model = retry(&[Step::FailAsking(ErrorCode::RateLimit, 20 * S)]);
    b.generate(&model, "hi").unwrap();
    assert!((20_000..=20_100).contains(&b.ms()), "{} ms", b.ms());

    let b = bench();
    let model = retry(&[Step::FailAsking(ErrorCode::RateLimit, 3_600 * S)]);
    let e = b.generate(&model, "hi").unwrap_err();
    assert_eq!((e.retry_after(), b.ms()), (Some(3_600 * S), 0), "an hour is more than the policy allows");
}

#[test]
fn no_attempt_begins_after_the_deadline() {
    let mut b = bench();
    b.ctx = b.ctx.clone().with_timeout(10 * S);
    let model = retry(&[Step::FailAsking(ErrorCode::RateLimit, 20 * S)]);
    let e = b.generate(&model, "hi").unwrap_err();
    assert_eq!(
        (e.code(), b.ms()),
        (ErrorCode::RateLimit, 0),
        "what went wrong says more than a late deadline"
    );
}

#[test]
fn cancelling_ends_the_wait() {
    let b = bench();
    let model = retry(&[Step::FailAsking(ErrorCode::RateLimit, 20 * S)]);
    let e = b.clock.block_on(async {
        let soon = b.ctx.clock.sleep_until(b.ctx.now() + 5 * MS);
        let cancel = async {
            soon.await;
            b.ctx.cancel.cancel();
        };
        let request = "hi".into();
        futures_util::future::join(llms_core::ChatModel::generate(&model, &request, &b.ctx), cancel).await.0
    });
    let e = e.unwrap_err();
    assert_eq!((e.kind(), e.provider(), b.ms()), (ErrorKind::Cancelled, Some("scripted"), 5));
}

fn waits(policy: &RetryPolicy) -> Vec<u64> {
    let b: Bench = bench();
    let model = Scripted::always("m", Step::Fail(ErrorCode::Internal));
    let model = Retry::new(model, policy.clone());
    b.generate(&model, "hi").unwrap_err();
    let began = model.inner().began.lock().unwrap().clone();
    began.windows(2).map(|w| w[1] - w[0]).collect()
}

proptest! {
    #[test]
    fn every_wait_lies_within_its_back_off(
        seed in any::<u64>(), base in 1_u64..5_000, factor in 1.0..4.0_f64, cap in 1_u64..60_000, retries in 0_u32..8,
    ) {
        let policy = RetryPolicy {
            max_retries: retries,
            base: Duration::from_millis(base),
            factor,
            cap: Duration::from_millis(cap),
            seed: Some(seed),
            ..RetryPolicy::default()
        };
        let waits = waits(&policy);
        prop_assert_eq!(waits.len(), retries as usize);
        for (n, wait) in waits.into_iter().enumerate() {
            let limit = policy.backoff(n as u32 + 1);
            prop_assert!(limit <= policy.cap);
            // Whole ms here, so one may be rounded up.
            prop_assert!(wait <= limit.as_millis() as u64 + 1, "{} > {:?}", wait, limit);
        }
    }
}

#[test]
fn the_jitter_is_full_and_seeded() {
    let policy = RetryPolicy { max_retries: 1, ..RetryPolicy::default() };
    let mut drawn: Vec<u64> =
        (0..2_000).flat_map(|seed| waits(&RetryPolicy { seed: Some(seed), ..policy.clone() })).collect();
    drawn.sort_unstable();
    // Uniform on [0, 1 s): Kolmogorov–Smirnov distance at n = 2000, α = 0.001 is 0.0436.
    let n = drawn.len() as f64;
    let distance = drawn
        .iter()
        .enumerate()
        .map(|(i, &ms)| ((i as f64 + 0.5) / n - ms as f64 / 1e3).abs())
        .fold(0.0, f64::max);
    assert!(distance < 0.0436 + 0.001, "the waits are not uniform, distance {distance}");
    let seeded = RetryPolicy { seed: Some(3), ..RetryPolicy::default() };
    assert_eq!(waits(&seeded), waits(&seeded));
}
