//! Runs survive: exact round trips, torn ends, versions, names.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{collections::BTreeMap, fs, io::Write as _, sync::Arc};

use bench_store::{JsonlSink, RecordReader, RunDir, RunSink, ScratchSink, StoredRecords, Tail, Tee};
use llms_core::{
    CallPhase, ErrorCode, ErrorKind, FinishReason, ModelInfo, Stamp, Usage,
    bench::{
        BuildInfo, ChunkStamp, EnvironmentInfo, ErrorRecord, Hashes, RecordOutcome, RecordSink, RecordSource,
        RequestRecord, RunManifest, RunPhase, Scenario, TargetInfo, TokenCounts, result::SCHEMA_VERSION,
    },
    model::Capabilities,
    observe::{ConnectionInfo, Reported, Span},
    time::Timestamp,
    wire::StampSource,
};
use proptest::{prelude::*, strategy::ValueTree};

fn manifest(run_id: &str) -> RunManifest {
    RunManifest {
        schema_version: SCHEMA_VERSION,
        run_id: run_id.to_owned(),
        label: None,
        started_at: time::OffsetDateTime::UNIX_EPOCH,
        started: Timestamp::ZERO,
        scenario: Scenario { requests: Some(1), ..Scenario::new("s", ["a", "b"]) },
        targets: vec![TargetInfo {
            name: "t".into(),
            model: ModelInfo {
                provider: "mock".into(),
                model: "m".into(),
                endpoint: None,
                capabilities: Capabilities::default(),
            },
            simulated: true,
            transport: None,
            unavailable: None,
        }],
        hashes: Hashes::default(),
        environment: EnvironmentInfo::default(),
        build: BuildInfo::default(),
        window: None,
        planned: vec![1],
        complete: false,
        interrupted: false,
        client: None,
        stopped: None,
        facts: BTreeMap::new(),
    }
}

fn ts() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_nanos)
}

fn stamp() -> impl Strategy<Value = Stamp> {
    (ts(), proptest::option::of(ts()), any::<u32>()).prop_map(|(user, kernel, read)| Stamp {
        user,
        kernel,
        read,
    })
}

fn outcome() -> impl Strategy<Value = RecordOutcome> {
    prop_oneof![
        Just(RecordOutcome::Ok),
        Just(RecordOutcome::Censored),
        (any::<String>(), proptest::option::of(0.0..1e6_f64)).prop_map(|(message, retry_after_s)| {
            RecordOutcome::Failed(ErrorRecord {
                code: ErrorCode::RateLimit,
                kind: ErrorKind::RateLimited,
                phase: Some(CallPhase::Headers),
                status: Some(429),
                provider_code: None,
                retry_after_s,
                message,
            })
        }),
    ]
}

fn finish() -> impl Strategy<Value = Option<FinishReason>> {
    prop_oneof![
        Just(None),
        Just(Some(FinishReason::Stop)),
        Just(Some(FinishReason::ContentFilter)),
        any::<String>().prop_map(|word| Some(FinishReason::Other(word))),
    ]
}

fn connection() -> impl Strategy<Value = ConnectionInfo> {
    let stamps = prop_oneof![Just(None), Just(Some(StampSource::Kernel)), Just(Some(StampSource::User))];
    let protocol = proptest::option::of("(h2|HTTP/1.1)");
    (any::<Option<bool>>(), any::<Option<bool>>(), protocol, stamps).prop_map(
        |(reused, tls_resumed, protocol, stamps)| ConnectionInfo {
            reused,
            tls_resumed,
            protocol,
            stamps,
            ..ConnectionInfo::default()
        },
    )
}

prop_compose! {
    fn record()(
        id in "[a-z0-9-]{1,20}", target in 0..4_u32, block in any::<u64>(), scheduled in ts(), released in ts(), sent in proptest::option::of(ts()),
        headers in proptest::option::of(stamp()), span in proptest::option::of((ts(), ts())),
        chunks in proptest::collection::vec((stamp(), proptest::option::of(any::<u32>())), 0..40),
        usage in proptest::option::of(any::<[Option<u64>; 8]>()), maybe in any::<[Option<u64>; 4]>(), small in any::<[Option<u16>; 3]>(),
        connection in connection(), finish in finish(), phase in 0..4_usize, number in -1e12..1e12_f64, text in any::<String>(), outcome in outcome(), resent in any::<bool>(),
    ) -> RequestRecord {
        RequestRecord {
            request_id: Arc::from(id), target, block, position: 1, attempt: small[0].unwrap_or(0).into(), prompt: Arc::from(format!("p{}", target % 2)),
            phase: [RunPhase::Warmup, RunPhase::RampUp, RunPhase::Measured, RunPhase::Replayed][phase], session: maybe[0], turn: small[1].map(u32::from),
            scheduled, released, sent,
            connection: ConnectionInfo { tcp: span.map(|(start, end)| Span { start, end }), ..connection },
            resent, written: sent.or(Some(released)), headers, status: small[2], first_byte: headers,
            first_answer: (!chunks.is_empty()).then_some(0),
            chunks: chunks.into_iter().map(|(stamp, tokens)| ChunkStamp { stamp, tokens }).collect(),
            end: Some(released),
            tokens: TokenCounts {
                usage: usage.map(|n| Usage {
                    input_tokens: n[0], output_tokens: n[1], cache_read_tokens: n[2], cache_write_tokens: n[3],
                    reasoning_tokens: n[4], audio_input_tokens: n[5], audio_output_tokens: n[6], total_tokens: n[7],
                }),
                tokenizer: maybe[1], chars: block,
            },
            finish_reason: finish, model: maybe[2].map(|_| text.clone()), bytes_out: maybe[2], bytes_in: maybe[3], reads: Some(target),
            reported: BTreeMap::from([("x.y_ms".to_owned(), Reported::Number(number)), ("x.id".to_owned(), Reported::Text(text))]),
            outcome,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_field_reads_back_exactly(records in proptest::collection::vec(record(), 0..30)) {
        let root = tempfile::tempdir().unwrap();
        let mut sink = RunSink::new(root.path(), "r1");
        let mut m = manifest("r1");
        sink.begin(&m).unwrap();
        for r in &records {
            sink.record(r).unwrap();
        }
        m.complete = true;
        sink.finish(&m).unwrap();
        let run = RunDir::find(root.path(), "latest").unwrap().load().unwrap();
        prop_assert_eq!(run.manifest, m);
        // A tokens value of u32::MAX and escaped deltas included.
        prop_assert_eq!(run.records, records);
    }
}

#[test]
fn records_of_format_1_are_still_read() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1.lbr");
    let mut reader = RecordReader::open(&file).unwrap();
    let mut records: Vec<RequestRecord> = reader.by_ref().map(|r| r.unwrap()).collect();
    records.sort_by_key(|r| r.block);
    assert_eq!((records.len(), reader.tail()), (3, Some(&Tail::Clean)));
    for (block, record) in (0..).zip(&records) {
        assert_eq!((record.block, record.chunks.len(), record.is_ok()), (block, 1, true));
        assert!(record.first_token().unwrap().stamp.kernel.is_some());
        assert_eq!(record.connection.protocol.as_deref(), Some("HTTP/1.1"));
        assert_eq!(record.tokens.usage.and_then(|u| u.output_tokens), Some(1));
    }
}

fn sample(n: u64) -> RequestRecord {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut r = record().new_tree(&mut runner).unwrap().current();
    r.block = n;
    r
}

/// A file of several blocks: one per write, as the writer makes them over time.
fn several_blocks(root: &std::path::Path) -> (Vec<u8>, Vec<usize>) {
    let mut whole = Vec::new();
    let mut ends = Vec::new();
    for block in 0..3_u64 {
        let mut sink = RunSink::new(root, &format!("b{block}"));
        sink.begin(&manifest("b")).unwrap();
        for i in 0..5 {
            sink.record(&sample(block * 5 + i)).unwrap();
        }
        sink.finish(&manifest("b")).unwrap();
        let bytes = fs::read(sink.dir().join("records.lbr")).unwrap();
        whole.extend_from_slice(if block == 0 { &bytes } else { &bytes[8..] });
        ends.push(whole.len());
    }
    (whole, ends)
}

#[test]
fn a_file_cut_anywhere_keeps_all_whole_blocks() {
    let root = tempfile::tempdir().unwrap();
    let (whole, ends) = several_blocks(root.path());
    let path = root.path().join("cut.lbr");
    for cut in (8..whole.len()).step_by(97).chain(ends.iter().copied()) {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut reader = RecordReader::open(&path).unwrap();
        let blocks: Vec<u64> = reader.by_ref().map(|r| r.unwrap().block).collect();
        let expected = ends.iter().filter(|e| **e <= cut).count() as u64 * 5;
        assert_eq!(blocks, (0..expected).collect::<Vec<_>>(), "cut at {cut}");
        let clean = cut == 8 || ends.contains(&cut);
        assert_eq!(matches!(reader.tail(), Some(Tail::Clean)), clean, "cut at {cut}: {:?}", reader.tail());
    }
}

#[test]
fn a_flipped_bit_is_noticed_and_what_lies_before_it_kept() {
    let root = tempfile::tempdir().unwrap();
    let (mut whole, ends) = several_blocks(root.path());
    whole[ends[1] - 3] ^= 0x10;
    let path = root.path().join("flipped.lbr");
    fs::write(&path, &whole).unwrap();
    let mut reader = RecordReader::open(&path).unwrap();
    assert_eq!(reader.by_ref().map(Result::unwrap).count(), 5);
    assert_eq!(reader.tail(), Some(&Tail::Torn("the checksum of a block does not match".to_owned())));
}

#[test]
fn a_killed_run_is_readable_and_incomplete() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = RunSink::new(root.path(), "killed");
    sink.begin(&manifest("killed")).unwrap();
    sink.record(&sample(0)).unwrap();
    // What the writer has after its flush interval is what a kill leaves behind.
    let path = sink.dir().join("records.lbr");
    while fs::metadata(&path).unwrap().len() <= 8 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::mem::forget(sink);
    let run = RunDir::find(root.path(), "killed").unwrap().load().unwrap();
    assert!(!run.manifest.complete);
    assert_eq!(run.records.len(), 1);
}

fn blocks_of(records: &StoredRecords) -> Vec<u64> {
    let mut blocks = Vec::new();
    records
        .each(&mut |r| {
            blocks.push(r.block);
            Ok(())
        })
        .unwrap();
    blocks
}

#[test]
fn a_run_that_is_not_kept_can_be_read_as_often_as_needed_all_the_same() {
    let mut sink = ScratchSink::new().unwrap();
    let records = sink.records();
    assert_eq!(sink.record(&sample(0)).unwrap_err().code(), ErrorCode::InvalidInput, "before the beginning");
    sink.begin(&manifest("scratch")).unwrap();
    // More than a block and more than the queue holds at a time.
    let chunk = ChunkStamp { stamp: Stamp::user(Timestamp::from_nanos(1), 0), tokens: None };
    for i in 0..2000 {
        sink.record(&RequestRecord { chunks: vec![chunk; 300], ..sample(i) }).unwrap();
    }
    sink.finish(&manifest("scratch")).unwrap();
    let expected: Vec<u64> = (0..2000).collect();
    assert_eq!(blocks_of(&records), expected);
    drop(sink);
    assert_eq!(blocks_of(&records), expected, "a second time, and without the sink");
    let stop = || llms_core::Error::new("test", ErrorCode::InvalidInput, "enough");
    let mut taken = 0;
    let stopped = records.each(&mut |_| {
        taken += 1;
        if taken == 3 { Err(stop()) } else { Ok(()) }
    });
    assert_eq!((stopped.unwrap_err().message(), taken), ("enough", 3));
}

#[test]
fn an_opened_run_is_what_a_loaded_one_is_and_does_not_grow_between_readings() {
    let root = tempfile::tempdir().unwrap();
    let (whole, ends) = several_blocks(root.path());
    let dir = root.path().join("runs/b0");
    let path = dir.join("records.lbr");
    for (bytes, blocks) in [(&whole[..], 15), (&whole[..ends[1] + 30], 10)] {
        fs::write(&path, bytes).unwrap();
        let (opened, records) = RunDir::at(&dir).open().unwrap();
        let loaded = RunDir::at(&dir).load().unwrap();
        assert_eq!(opened, loaded.manifest, "a torn end is told alike");
        assert_eq!(opened.facts.contains_key("records_tail"), blocks == 10);
        let expected: Vec<u64> = (0..blocks).collect();
        assert_eq!(blocks_of(&records), expected);
        // What comes later, whole or not, is not read.
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(&whole[8..ends[0]]).unwrap();
        assert_eq!(blocks_of(&records), expected);
    }
}

#[test]
fn a_newer_version_is_refused_and_nothing_is_overwritten() {
    let root = tempfile::tempdir().unwrap();
    let mut sink = RunSink::new(root.path(), "r");
    sink.begin(&manifest("r")).unwrap();
    sink.finish(&manifest("r")).unwrap();
    let second = RunSink::new(root.path(), "r").begin(&manifest("r")).unwrap_err();
    assert!(second.to_string().contains("never overwritten"), "{second}");

    let run = sink.dir().join("run.json");
    let json =
        fs::read_to_string(&run).unwrap().replacen("\"schema_version\": 1", "\"schema_version\": 99", 1);
    fs::write(&run, json).unwrap();
    let e = RunDir::at(sink.dir()).load().unwrap_err();
    assert!(e.to_string().contains("use a newer llms-bench"), "{e}");

    let records = sink.dir().join("records.lbr");
    let mut bytes = fs::read(&records).unwrap();
    bytes[7] = 9;
    fs::write(&records, bytes).unwrap();
    assert!(RecordReader::open(&records).unwrap_err().to_string().contains("use a newer llms-bench"));
}

#[test]
fn runs_are_found_by_path_id_beginning_and_latest() {
    let root = tempfile::tempdir().unwrap();
    assert!(
        RunDir::find(root.path(), "latest")
            .unwrap_err()
            .to_string()
            .contains("run `llms-bench compare` first")
    );
    for id in ["0191-a", "0191-b", "0192-c"] {
        let mut sink = RunSink::new(root.path(), id);
        sink.begin(&manifest(id)).unwrap();
        sink.finish(&manifest(id)).unwrap();
    }
    let id = |name: &str| RunDir::find(root.path(), name).map(|r| r.manifest().unwrap().run_id);
    assert_eq!(id("latest").unwrap(), "0192-c");
    assert_eq!(id("0191-a").unwrap(), "0191-a");
    assert_eq!(id("0192").unwrap(), "0192-c");
    assert_eq!(id(root.path().join("runs/0191-b").to_str().unwrap()).unwrap(), "0191-b");
    assert!(id("0191").unwrap_err().to_string().contains("2 runs begin with"));
    assert!(id("zzz").unwrap_err().to_string().contains("no run called `zzz`"));
}

#[test]
fn a_full_disk_ends_the_run_with_a_clear_message() {
    // /dev/full refuses every write; a symlink makes it the record file of a JSONL sink.
    if !std::path::Path::new("/dev/full").exists() {
        return;
    }
    let mut sink = JsonlSink::new("/dev/full");
    sink.begin(&manifest("r")).unwrap();
    let mut result = Ok(());
    for i in 0..1000 {
        result = result.and(sink.record(&sample(i)));
    }
    let e = result.and(sink.finish(&manifest("r"))).unwrap_err();
    assert!(e.to_string().contains("free some space"), "{e}");
}

#[test]
fn json_lines_have_the_published_fields() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("records.jsonl");
    let mut tee = Tee::new().with(JsonlSink::new(&path)).with(RunSink::new(root.path(), "r"));
    let mut r = sample(0);
    let at = |us: u64| Stamp {
        user: Timestamp::from_nanos(us * 1000),
        kernel: Some(Timestamp::from_nanos(us * 1000 - 40)),
        read: 0,
    };
    r.chunks =
        vec![ChunkStamp { stamp: at(5), tokens: Some(1) }, ChunkStamp { stamp: at(9), tokens: Some(3) }];
    r.outcome = RecordOutcome::Ok;
    tee.begin(&manifest("r")).unwrap();
    tee.record(&r).unwrap();
    tee.finish(&manifest("r")).unwrap();
    let line: serde_json::Value = serde_json::from_str(fs::read_to_string(&path).unwrap().trim()).unwrap();
    assert_eq!(line["token_ns"], serde_json::json!([4960, 8960]));
    assert_eq!(line["user_ns"], serde_json::json!([5000, 9000]));
    assert_eq!(
        (&line["first_token_ns"], &line["last_token_ns"]),
        (&serde_json::json!(4960), &serde_json::json!(8960))
    );
    assert_eq!(
        (&line["stamp"], &line["chunk_tokens"]),
        (&serde_json::json!("kernel"), &serde_json::json!([1, 3]))
    );
    for field in [
        "request_id",
        "scheduled_ns",
        "released_ns",
        "start_ns",
        "written_ns",
        "headers_ns",
        "end_ns",
        "output_tokens",
        "error",
    ] {
        assert!(line.get(field).is_some(), "{field}");
    }
    assert_eq!(RunDir::find(root.path(), "r").unwrap().load().unwrap().records, [r]);
}
