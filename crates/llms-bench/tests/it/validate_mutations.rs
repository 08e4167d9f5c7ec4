//! The assertions of `validate` against a tool that is wrong: each mutation of a run must be rejected, the true run accepted.
//!
//! The statistical mutations (averaged percentiles, ddof 0, the normal quantile for t) break the golden cases of
//! `bench-analysis`.
#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use std::{sync::Arc, time::Duration};

use bench_mock::{Dist, FaultKind, FaultRule, MockModel, Preset, Profile, TruthRecord};
use bench_runner::Runner;
use llms_bench::validate::against::{Account, hold};
use llms_core::{
    CallContext, ChatModel as _,
    bench::{
        BenchmarkRunner as _, Load, NullSink, RecordOutcome, RequestRecord, Scenario, Seeds, Target,
        TargetInfo,
    },
    time::VirtualClock,
};

/// A run on simulated time whose truth is known to the nanosecond: answers, refusals, broken streams.
fn measured() -> (Vec<RequestRecord>, Vec<TruthRecord>) {
    let fault = |kind| FaultRule::share(kind, 0.1);
    let profile = Profile {
        ttft_ms: Dist::Uniform { low: 20.0, high: 60.0 },
        gap_ms: Dist::constant(10.0),
        output_tokens: Dist::constant(8.0),
        tokens_per_chunk: Dist::constant(2.0),
        faults: vec![fault(FaultKind::RateLimit), fault(FaultKind::Truncate)],
        ..Preset::VeryFast.profile().quiet()
    };
    let model = MockModel::new(profile).unwrap();
    let info = TargetInfo {
        name: "m".to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    let target = Target { info, model: Some(Arc::new(model.clone())) };
    let mut scenario = Scenario::new("mutations", ["hello"]);
    scenario.load = Load::poisson(50.0);
    scenario.requests = Some(200);
    scenario.warmup.requests = 0;
    scenario.seeds = Seeds::from_one(5);
    let clock = VirtualClock::new();
    let ctx = CallContext::with_clock(Arc::new(clock.clone()));
    let run =
        clock.block_on(async { Runner::new().run(&[target], &scenario, &mut NullSink, &ctx).await }).unwrap();
    assert_eq!(run.manifest.planned, [200]);
    let failed = run.records.iter().filter(|r| !r.is_ok()).count();
    assert!((10..100).contains(&failed), "{failed} failures to be dropped");
    (run.records, model.truth())
}

/// Largest distance from the truth, in seconds.
fn worst(account: &Account) -> f64 {
    [&account.ttft, &account.icl, &account.e2e, &account.arrival]
        .into_iter()
        .filter_map(|e| e.quantile(1.0))
        .fold(0.0, f64::max)
}

/// Whether `validate` would accept it: everything accounted for, nothing further from the truth than 0.5 ms.
fn accepted(records: &[RequestRecord], truth: &[TruthRecord]) -> bool {
    let account = hold(records, truth);
    account.balances() && account.records == 200 && worst(&account) < 0.5e-3
}

#[track_caller]
fn rejected(what: &str, mutate: impl Fn(&mut Vec<RequestRecord>)) {
    let (mut records, truth) = measured();
    assert!(accepted(&records, &truth), "the true run: {:?}", hold(&records, &truth).complaints());
    mutate(&mut records);
    assert!(!accepted(&records, &truth), "{what} was not noticed");
}

fn first_ok(records: &mut [RequestRecord]) -> &mut RequestRecord {
    records.iter_mut().find(|r| r.is_ok()).unwrap()
}

#[test]
fn the_clock_started_after_the_connection() {
    rejected("a clock started 3 ms late", |records| {
        for r in records {
            r.sent = r.sent.map(|t| t + Duration::from_millis(3));
        }
    });
}

#[test]
fn missed_slots_skipped() {
    rejected("a skipped slot", |records| {
        records.pop();
    });
}

#[test]
fn failures_dropped() {
    rejected("dropped failures", |records| records.retain(RequestRecord::is_ok));
}

#[test]
fn failures_told_as_successes() {
    rejected("a failure told as a success", |records| {
        records.iter_mut().find(|r| !r.is_ok()).unwrap().outcome = RecordOutcome::Ok;
    });
}

#[test]
fn a_stamp_taken_after_the_work() {
    rejected("stamps 2 ms late", |records| {
        for chunk in records.iter_mut().flat_map(|r| &mut r.chunks) {
            chunk.stamp.user = chunk.stamp.user + Duration::from_millis(2);
        }
    });
}

#[test]
fn the_first_chunk_left_out() {
    rejected("a chunk left out", |records| {
        first_ok(records).chunks.remove(0);
    });
}

#[test]
fn chunks_taken_for_tokens() {
    rejected("chunks counted as tokens", |records| {
        let r = first_ok(records);
        let chunks = r.chunks.len() as u64;
        r.tokens.usage.as_mut().unwrap().output_tokens = Some(chunks);
    });
}

#[test]
fn a_request_that_was_never_asked() {
    rejected("an invented request", |records| {
        let mut other = first_ok(records).clone();
        other.request_id = "nobody".into();
        records.pop();
        records.push(other);
    });
}

#[test]
fn gaps_made_up_within_one_read() {
    // Merged chunks are counted and have no gap: what is not known is not judged, and is said.
    let (mut records, truth) = measured();
    let r = first_ok(&mut records);
    let read = r.chunks[0].stamp.read;
    r.chunks[1].stamp.read = read;
    let account = hold(&records, &truth);
    assert_eq!((account.merged, account.icl.len() as u64), (1, account.gaps - 1));
}
