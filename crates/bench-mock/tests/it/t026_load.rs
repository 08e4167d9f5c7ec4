//! T026: what many requests do to each other (batching, prefix cache, token limits) and faults by schedule, on the
//! virtual clock.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use std::time::Duration;

use bench_mock::{
    Batching, FaultKind, FaultRule, MockModel, PrefixCache, Profile, RateLimit, TruthRecord, Wire,
};
use common::{at, context, exact, ms, stream, token_times};
use futures_util::future::join_all;
use llms_core::{
    ChatModel, ChatRequest, ErrorCode, Message, Usage,
    chat::CacheAt,
    time::{Clock, Timestamp, VirtualClock},
};

/// Streams `n` requests that arrive at once; their truth in order of request id.
fn at_once(profile: Profile, n: usize) -> Vec<TruthRecord> {
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    clock.block_on(async {
        join_all((0..n).map(async |i| {
            stream(&model, &"hello".into(), &context(&clock, &format!("{i:04}"))).await.1.unwrap();
        }))
        .await
    });
    let mut truth = model.truth();
    truth.sort_by(|a, b| a.request_id.cmp(&b.request_id));
    truth
}

fn offsets(r: &TruthRecord) -> Vec<u64> {
    let start = r.service_start_ns.unwrap();
    let micros = |t: &Timestamp| t.since(start).unwrap().as_micros() as u64;
    r.targets_ns.iter().map(micros).collect()
}

fn batched(slope: f64, prefill_slope: f64) -> Profile {
    let batching = Batching { slope, prefill_slope, batch: None };
    Profile { batching: Some(batching), ..exact().with_slots(4).with_output_tokens(3) }
}

#[test]
fn gaps_grow_with_the_batch_as_the_formula_says() {
    // Alone nothing changes.
    assert_eq!(offsets(&at_once(batched(2.0, 1.0), 1)[0]), [100_000, 110_000, 120_000, 120_000]);
    // Two: gaps 10 · (1 + 2 · 1/4) = 15 ms. The first prefill begins alone; the second, with two, lasts
    // 100 · (1 + 1/4) = 125 ms.
    let two = at_once(batched(2.0, 1.0), 2);
    assert_eq!(offsets(&two[0])[..3], [100_000, 115_000, 130_000]);
    // The first one leaves at 130 ms, in the middle of a gap: the next gap is that of one alone.
    assert_eq!(offsets(&two[1])[..3], [125_000, 140_000, 150_000]);
    // Without slopes the batch does nothing.
    for r in at_once(batched(0.0, 0.0), 4) {
        assert_eq!(offsets(&r), [100_000, 110_000, 120_000, 120_000]);
    }
}

#[test]
fn the_same_batch_is_the_same_every_time() {
    let profile = || Profile {
        batching: Some(Batching { slope: 3.0, prefill_slope: 0.5, batch: Some(8) }),
        ..Profile::default().with_slots(8).with_seed(3).with_output_tokens(20)
    };
    assert_eq!(at_once(profile(), 30), at_once(profile(), 30));
}

/// Requests per second of closed-loop users on the virtual clock.
fn throughput(profile: Profile, users: usize) -> f64 {
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    clock.block_on(async {
        join_all((0..users).map(async |u| {
            for i in 0..50 {
                let ctx = context(&clock, &format!("{u}-{i}"));
                model.generate(&"hello".into(), &ctx).await.unwrap();
            }
        }))
        .await;
        (users * 50) as f64 / clock.now().since(at(0)).unwrap().as_secs_f64()
    })
}

#[test]
fn throughput_bends_at_the_slots_and_the_truth_says_where() {
    let profile = || Profile {
        batching: Some(Batching { slope: 1.0, prefill_slope: 0.0, batch: None }),
        ..exact().with_slots(8).with_output_tokens(50)
    };
    let rates: Vec<f64> = [1, 2, 4, 8, 16].map(|users| throughput(profile(), users)).to_vec();
    for (users, rate) in [1, 2, 4, 8].into_iter().zip(&rates) {
        let truth = profile().true_throughput_at(users);
        assert!((rate / truth - 1.0).abs() < 0.02, "{users}: {rate} {truth}");
    }
    // Less and less for each user, and nothing at all beyond the slots.
    assert!(rates[1] / rates[0] > rates[3] / rates[2] && rates[3] > rates[2]);
    assert!((rates[4] / profile().true_capacity().unwrap() - 1.0).abs() < 0.05, "{rates:?}");
    assert_eq!(profile().true_gap_mean_at(8), ms(10).mul_f64(1.875));
    assert_eq!(exact().true_capacity(), None);
}

fn asked(model: &MockModel, clock: &VirtualClock, request: &ChatRequest) -> (Usage, Duration) {
    clock.block_on(async {
        let sent = clock.now();
        let (events, end) = stream(model, request, &context(clock, "a")).await;
        (end.unwrap().usage.unwrap(), token_times(&events)[0].since(sent).unwrap())
    })
}

#[test]
fn a_shared_prefix_is_cached_and_needs_no_prefill() {
    let cache = PrefixCache { ttl_s: Some(60.0), ..PrefixCache::default() };
    let profile = Profile { prefix_cache: Some(cache), prefill_ms_per_1k: 100.0, ..exact() };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let prompt = |question: &str| ChatRequest {
        messages: vec![Message::system("s".repeat(4_000)), Message::user(question)],
        ..ChatRequest::default()
    };
    let (usage, ttft) = asked(&model, &clock, &prompt("why?"));
    assert_eq!(
        (usage.input_tokens, usage.cache_read_tokens, ttft),
        (Some(1_001), None, Duration::from_micros(200_100))
    );
    // The second question shares 1000 tokens less the block that is not full.
    let (usage, ttft) = asked(&model, &clock, &prompt("how?"));
    assert_eq!((usage.cache_read_tokens, ttft), (Some(992), Duration::from_micros(100_900)));
    clock.block_on(clock.sleep_until(clock.now() + Duration::from_secs(61)));
    assert_eq!(asked(&model, &clock, &prompt("how?")).0.cache_read_tokens, None, "forgotten");
    model.reset();
    assert_eq!(asked(&model, &clock, &prompt("how?")).0.cache_read_tokens, None, "as at the start");
}

#[test]
fn marked_prefixes_are_created_first_and_read_later() {
    let cache = PrefixCache { min_tokens: 100, ..PrefixCache::marked() };
    let (clock, model) =
        (VirtualClock::new(), MockModel::new(Profile { prefix_cache: Some(cache), ..exact() }).unwrap());
    let prompt = |question: &str| ChatRequest {
        messages: vec![Message::system("s".repeat(4_000)), Message::user(question)],
        ..ChatRequest::default()
    };
    let marked = |question: &str| prompt(question).with_cache(CacheAt::System);
    let read_and_written = |request: &ChatRequest| {
        let usage = asked(&model, &clock, request).0;
        (usage.cache_read_tokens, usage.cache_write_tokens)
    };
    assert_eq!(read_and_written(&prompt("why?")), (None, None));
    assert_eq!(read_and_written(&marked("why?")), (None, Some(1_000)));
    assert_eq!(read_and_written(&marked("how?")), (Some(1_000), None));
    assert_eq!(read_and_written(&prompt("how?")), (None, None), "who marks nothing reads nothing");
}

#[test]
fn tokens_are_limited_as_well_as_requests() {
    let limit = RateLimit { output_tokens_per_min: Some(60.0), ..RateLimit::per_minute(1_000.0) };
    let profile = Profile { rate_limit: Some(limit), ..exact().with_output_tokens(40) };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    let outcomes = clock.block_on(async {
        let mut outcomes = Vec::new();
        for i in 0..4 {
            clock.sleep_until(at(i * 1_000)).await;
            let end = model.generate(&"hello".into(), &context(&clock, &format!("{i}"))).await;
            outcomes.push(end.map_err(|e| (e.code(), e.retry_after())).map(|_| ()));
        }
        outcomes
    });
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok());
    // 60 − 40 + 1 − 40 = −19; one token a second; it takes 1 to pass, and one second has gone by.
    assert_eq!(outcomes[2], Err((ErrorCode::RateLimit, Some(Duration::from_secs(19)))));
    assert_eq!(outcomes[3], Err((ErrorCode::RateLimit, Some(Duration::from_secs(18)))));
}

/// Which of 30 requests, one a second, fail.
fn failing(rules: Vec<FaultRule>) -> Vec<u64> {
    let profile = Profile { faults: rules, ..exact().with_time_scale(0.01) };
    let (clock, model) = (VirtualClock::new(), MockModel::new(profile).unwrap());
    clock.block_on(async {
        let mut failed = Vec::new();
        for i in 0..30 {
            clock.sleep_until(at(i * 1_000)).await;
            if model.generate(&"hello".into(), &context(&clock, &format!("{i}"))).await.is_err() {
                failed.push(i);
            }
        }
        failed
    })
}

#[test]
fn faults_follow_their_schedule() {
    use FaultKind::Server;
    assert_eq!(failing(vec![FaultRule::from_seconds(Server, 27.0)]), [27, 28, 29]);
    assert_eq!(
        failing(vec![FaultRule::outages(Server, 10.0, 2.0).after_seconds(5.0)]),
        [5, 6, 15, 16, 25, 26]
    );
    assert_eq!(failing(vec![FaultRule::calls(Server, [1, 30])]), [0, 29]);
    let flaky = FaultRule { every: Some(10), offset: Some(9), burst: Some(2), ..FaultRule::always(Server) };
    assert_eq!(failing(vec![flaky]), [0, 9, 10, 19, 20, 29]);
    let window = FaultRule { after_s: Some(3.0), until_s: Some(5.0), ..FaultRule::always(Server) };
    assert_eq!(failing(vec![window, FaultRule::calls(FaultKind::Truncate, [8])]), [3, 4, 7]);
}

#[test]
fn events_of_one_write_share_one_read() {
    let wire = Wire { chunks_per_write: 2, ..Wire::default() };
    let (clock, model) = (VirtualClock::new(), MockModel::new(Profile { wire, ..exact() }).unwrap());
    let (events, end) =
        clock.block_on(async { stream(&model, &"hello".into(), &context(&clock, "a")).await });
    end.unwrap();
    assert_eq!(token_times(&events), [110, 110, 130, 130, 140].map(at));
    let reads: Vec<_> = events.iter().filter(|e| e.event.is_token()).map(|e| e.stamp.read).collect();
    assert!(reads[0] == reads[1] && reads[1] < reads[2] && reads[2] == reads[3]);
    let writes: Vec<_> = model.truth()[0].writes.iter().map(|w| w.tokens).collect();
    assert_eq!(writes, [2, 2, 1]);
}
