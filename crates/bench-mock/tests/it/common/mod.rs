//! What the tests of this crate share.
#![allow(dead_code)] // each test binary uses its own part

pub(crate) mod endpoints;
pub(crate) mod raw;
pub(crate) mod said;

use std::{sync::Arc, time::Duration};

use bench_mock::{Dist, MockModel, Profile};
use llms_core::{
    CallContext, ChatModel, ChatRequest, Error, Outcome, TimedEvent,
    time::{Clock, Timestamp, VirtualClock},
};

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::ZERO + Duration::from_millis(ms)
}

/// A context on this clock with a request id.
pub(crate) fn context(clock: &VirtualClock, id: &str) -> CallContext {
    CallContext::with_clock(Arc::new(clock.clone())).with_request_id(id)
}

/// 100 ms to the first token, 10 ms gaps, 5 tokens, head with the first token, end with the last: nothing random.
pub(crate) fn exact() -> Profile {
    Profile {
        ttft_ms: Dist::constant(100.0),
        gap_ms: Dist::constant(10.0),
        output_tokens: Dist::constant(5.0),
        head_share: 1.0,
        end_gap: false,
        ..Profile::named("exact")
    }
}

/// Streams one request on the virtual clock: its events, and how it ended.
pub(crate) async fn stream(
    model: &MockModel,
    request: &ChatRequest,
    ctx: &CallContext,
) -> (Vec<TimedEvent>, Result<Outcome, Error>) {
    let mut events = Vec::new();
    let end = model.drive(request, ctx, &mut events).await;
    (events, end)
}

/// Instants of the token-bearing events.
pub(crate) fn token_times(events: &[TimedEvent]) -> Vec<Timestamp> {
    events.iter().filter(|e| e.event.is_token()).map(|e| e.stamp.user).collect()
}

/// Time to first token and gaps in ms of `n` requests, one after the other on a virtual clock.
pub(crate) fn measure(profile: Profile, n: usize) -> (Vec<f64>, Vec<f64>) {
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let (mut ttft, mut gaps) = (Vec::new(), Vec::new());
    let millis = |d: Option<Duration>| d.unwrap().as_secs_f64() * 1e3;
    clock.block_on(async {
        for i in 0..n {
            let ctx = context(&clock, &format!("r-{i}"));
            let sent = clock.now();
            let (events, end) = stream(&model, &"hello".into(), &ctx).await;
            end.unwrap();
            let times = token_times(&events);
            ttft.push(millis(times[0].since(sent)));
            gaps.extend(times.windows(2).map(|w| millis(w[1].since(w[0]))));
        }
    });
    (ttft, gaps)
}

/// Kolmogorov's D, times √n: above 1.95 in 1 of 1000 samples that do follow `cdf` (continuous).
pub(crate) fn kolmogorov(sample: &[f64], cdf: impl Fn(f64) -> f64) -> f64 {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let d = sorted.iter().enumerate().map(|(i, x)| {
        let f = cdf(*x);
        (f - i as f64 / n).max((i + 1) as f64 / n - f)
    });
    d.fold(0.0, f64::max) * n.sqrt()
}
