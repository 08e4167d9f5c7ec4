//! Cost of storing records of 100 chunks: nanoseconds per record handed over, bytes per chunk on disk.
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark talks to its terminal")]

use std::{collections::BTreeMap, sync::Arc};

use bench_store::{RunDir, RunSink};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use llms_core::{
    Stamp,
    bench::{
        BuildInfo, ChunkStamp, EnvironmentInfo, Hashes, RecordOutcome, RecordSink, RequestRecord,
        RunManifest, RunPhase, Scenario, TokenCounts, result::SCHEMA_VERSION,
    },
    observe::ConnectionInfo,
    time::Timestamp,
};

fn manifest() -> RunManifest {
    RunManifest {
        schema_version: SCHEMA_VERSION,
        run_id: "bench".into(),
        label: None,
        started_at: time::OffsetDateTime::UNIX_EPOCH,
        started: Timestamp::ZERO,
        scenario: Scenario::new("s", ["a"]),
        targets: Vec::new(),
        hashes: Hashes::default(),
        environment: EnvironmentInfo::default(),
        build: BuildInfo::default(),
        window: None,
        planned: Vec::new(),
        complete: true,
        interrupted: false,
        client: None,
        stopped: None,
        facts: BTreeMap::new(),
    }
}

fn record(i: u64) -> RequestRecord {
    let mut noise = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut at = i * 1_000_000;
    let chunks = (0..100)
        .map(|read| {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            at += 20_000_000 + noise % 3_000_000;
            ChunkStamp {
                stamp: Stamp { user: Timestamp::from_nanos(at), kernel: None, read },
                tokens: Some(1),
            }
        })
        .collect();
    let t = Timestamp::from_nanos(i * 1_000_000);
    RequestRecord {
        request_id: Arc::from(format!("0191-{i}")),
        target: 0,
        block: i,
        position: 0,
        attempt: 0,
        prompt: Arc::from("p0"),
        phase: RunPhase::Measured,
        session: None,
        turn: None,
        scheduled: t,
        released: t,
        sent: Some(t),
        connection: ConnectionInfo::default(),
        resent: false,
        written: Some(t),
        headers: Some(Stamp::user(t, 0)),
        status: Some(200),
        first_byte: Some(Stamp::user(t, 0)),
        first_answer: Some(0),
        chunks,
        end: Some(Timestamp::from_nanos(at)),
        tokens: TokenCounts::default(),
        finish_reason: None,
        model: None,
        bytes_out: Some(300),
        bytes_in: Some(29_000),
        reads: Some(100),
        reported: BTreeMap::new(),
        outcome: RecordOutcome::Ok,
    }
}

fn store(c: &mut Criterion) {
    const N: u64 = 2_000;
    let records: Vec<RequestRecord> = (0..N).map(record).collect();
    let root = tempfile::tempdir().expect("a temporary directory");
    let mut run = 0;
    let mut write = || {
        run += 1;
        let mut sink = RunSink::new(root.path(), &format!("{run:08}"));
        sink.begin(&manifest()).expect("begin");
        for r in &records {
            sink.record(r).expect("record");
        }
        sink.finish(&manifest()).expect("finish");
    };
    let mut group = c.benchmark_group("store");
    group.sample_size(10).throughput(Throughput::Elements(N));
    group.bench_function("write 100-chunk records", |b| b.iter(&mut write));
    group.bench_function("read 100-chunk records", |b| {
        b.iter(|| RunDir::find(root.path(), "latest").and_then(|d| d.load()).expect("load").records.len());
    });
    group.finish();
    let dir = RunDir::find(root.path(), "latest").expect("a run");
    let bytes = std::fs::metadata(dir.path().join("records.lbr")).expect("records").len();
    println!(
        "{:.1} bytes per record, {:.2} per chunk",
        bytes as f64 / N as f64,
        bytes as f64 / N as f64 / 100.0
    );
}

criterion_group!(benches, store);
criterion_main!(benches);
