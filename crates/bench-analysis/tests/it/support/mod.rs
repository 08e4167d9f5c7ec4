//! Synthetic runs: records with chosen stamps, seeded log-normal latencies, failures where wanted.

#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout)] // each test binary uses its part

use std::collections::BTreeMap;
use std::time::Duration;

use llms_core::bench::{
    BuildInfo, ChunkStamp, EnvironmentInfo, Estimate, Hashes, Measured, RecordOutcome, RequestRecord,
    RunManifest, RunPhase, RunResult, Scenario, TargetInfo, TokenCounts, Window,
};
use llms_core::chat::FinishReason;
use llms_core::error::{Error, ErrorCode};
use llms_core::event::Stamp;
use llms_core::observe::ConnectionInfo;
use llms_core::time::Timestamp;
use llms_core::{Capabilities, ModelInfo, Usage};

/// Milliseconds on the run's clock.
pub(crate) fn at_ms(ms: f64) -> Timestamp {
    Timestamp::from_nanos((ms * 1e6).round() as u64)
}

/// A successful request without content, sent at once.
pub(crate) fn record(id: &str, target: u32, block: u64, scheduled: Timestamp) -> RequestRecord {
    RequestRecord {
        request_id: id.into(),
        target,
        block,
        position: 0,
        attempt: 0,
        prompt: format!("p{block}").into(),
        phase: RunPhase::Measured,
        session: None,
        turn: None,
        scheduled,
        released: scheduled,
        sent: Some(scheduled),
        connection: ConnectionInfo::default(),
        resent: false,
        written: None,
        headers: None,
        status: Some(200),
        first_byte: None,
        first_answer: None,
        chunks: Vec::new(),
        end: None,
        tokens: TokenCounts::default(),
        finish_reason: Some(FinishReason::Stop),
        model: None,
        bytes_out: None,
        bytes_in: None,
        reads: None,
        reported: BTreeMap::new(),
        outcome: RecordOutcome::Ok,
    }
}

/// A streamed answer: first token after `ttft` ms, then one token every `gap` ms, `n` in all.
pub(crate) fn answered(mut r: RequestRecord, ttft: f64, gap: f64, n: u32) -> RequestRecord {
    let sent = r.sent.unwrap().as_nanos() as f64 / 1e6;
    r.chunks = (0..n)
        .map(|j| ChunkStamp { stamp: Stamp::user(at_ms(sent + ttft + f64::from(j) * gap), j), tokens: None })
        .collect();
    r.first_answer = (0 < n).then_some(0);
    r.end = r.chunks.last().map(|c| c.stamp.user);
    r.tokens.usage =
        Some(Usage { input_tokens: Some(20), output_tokens: Some(u64::from(n)), ..Usage::default() });
    r
}

/// A refused request that ended `after` ms later.
pub(crate) fn failed(mut r: RequestRecord, after: f64, code: ErrorCode) -> RequestRecord {
    r.outcome = RecordOutcome::Failed((&Error::new("chat.stream", code, "no answer")).into());
    r.end = r.sent.map(|s| s + Duration::from_secs_f64(after / 1e3));
    r.chunks.clear();
    r.finish_reason = None;
    r.tokens = TokenCounts::default();
    r
}

pub(crate) fn target(name: &str) -> TargetInfo {
    TargetInfo {
        name: name.to_owned(),
        model: ModelInfo {
            provider: name.to_owned(),
            model: "m".to_owned(),
            endpoint: None,
            capabilities: Capabilities::default(),
        },
        simulated: true,
        transport: None,
        unavailable: None,
    }
}

/// A complete closed-loop run of these records; the window spans their schedule.
pub(crate) fn run(targets: &[&str], records: Vec<RequestRecord>) -> RunResult {
    let start = records.iter().map(|r| r.scheduled).min().unwrap_or(Timestamp::ZERO);
    let last = records.iter().map(|r| r.scheduled).max().unwrap_or(Timestamp::ZERO);
    let drained = records.iter().filter_map(|r| r.end).max().unwrap_or(last).max(last);
    let mut scenario = Scenario::new("synthetic", ["hello"]);
    scenario.requests = Some((records.len() / targets.len().max(1)) as u64);
    scenario.seeds = llms_core::bench::Seeds::from_one(1);
    RunResult {
        manifest: RunManifest {
            schema_version: llms_core::bench::result::SCHEMA_VERSION,
            run_id: "run".to_owned(),
            label: None,
            started_at: time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(20_780),
            started: Timestamp::ZERO,
            planned: vec![scenario.requests.unwrap(); targets.len()],
            scenario,
            targets: targets.iter().map(|t| target(t)).collect(),
            hashes: Hashes::default(),
            environment: EnvironmentInfo::default(),
            build: BuildInfo { profile: "release".to_owned(), ..BuildInfo::default() },
            window: Some(Window { start, end: last, drained }),
            complete: true,
            interrupted: false,
            client: None,
            stopped: None,
            facts: BTreeMap::new(),
        },
        records,
    }
}

/// Runs `f` for every seed on all processors; results in the order of the seeds.
pub(crate) fn each_seed<T: Send>(
    seeds: std::ops::RangeInclusive<u64>,
    f: impl Fn(u64) -> T + Sync,
) -> Vec<T> {
    let seeds: Vec<u64> = seeds.collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let share = seeds.len().div_ceil(workers);
    std::thread::scope(|scope| {
        let handles: Vec<_> = seeds
            .chunks(share)
            .map(|part| scope.spawn(|| part.iter().map(|s| f(*s)).collect::<Vec<T>>()))
            .collect();
        handles.into_iter().flat_map(|h| h.join().unwrap()).collect()
    })
}

/// Intervals given, and those of them that hold the truth.
#[derive(Default)]
pub(crate) struct Coverage {
    hits: u64,
    given: u64,
}

impl Coverage {
    pub(crate) fn add(&mut self, estimate: &Measured<Estimate>, truth: f64) {
        // one run in a hundred looks dependent by chance; its p99 is then shown without an interval
        let e = estimate.value().unwrap();
        let (Some(low), Some(high)) = (e.low, e.high) else { return };
        self.given += 1;
        self.hits += u64::from(low.as_f64().unwrap() <= truth && truth <= high.as_f64().unwrap());
    }

    /// The share of intervals that hold the truth lies within `from` to `to` per cent, and few were withheld.
    #[track_caller]
    pub(crate) fn check(&self, what: &str, asked: u64, from: f64, to: f64) {
        let percent = 100.0 * self.hits as f64 / self.given as f64;
        println!("{what}: {percent:.1} % of {} intervals, {} withheld", self.given, asked - self.given);
        assert!(from <= percent && percent <= to, "{what}: {percent:.1} %, expected {from} to {to}");
        assert!(asked - self.given <= asked / 20, "{what}: {} of {asked} withheld", asked - self.given);
    }
}
