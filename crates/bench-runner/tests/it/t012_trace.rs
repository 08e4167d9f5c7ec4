//! T012, recorded arrivals: every format read as its makers wrote it, played at the times and lengths it says.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use std::{path::Path, sync::atomic::Ordering::SeqCst, time::Duration};

use bench_runner::{
    Schedule, load_scenario,
    workload::{parse_trace, read_trace},
};
use common::*;
use llms_core::{
    ErrorCode,
    bench::{Load, Scenario, Seeds, Trace, TraceFormat, TraceInput, TraceRequest},
};

fn data() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))
}

fn read(trace: Trace) -> Trace {
    let mut trace = trace;
    read_trace(&mut trace, data()).unwrap();
    trace
}

fn requests(trace: &Trace) -> &[TraceRequest] {
    trace.requests.get().unwrap()
}

fn playing(trace: Trace) -> Scenario {
    Scenario { load: Load::replay(trace), prompts: Vec::new(), requests: None, ..scenario(&["x"], 1) }
}

fn words(text: &str) -> usize {
    text.split(' ').count()
}

#[track_caller]
fn check(file: &str, format: TraceFormat, expected: &[(u64, u32, u32)]) {
    let trace = read(Trace::new(file));
    assert_eq!(trace.format, Some(format), "seen from the file itself");
    let found: Vec<_> = requests(&trace)
        .iter()
        .take(expected.len())
        .map(|r| {
            let (TraceInput::Tokens(n) | TraceInput::Blocks { tokens: n, .. }) = r.input else {
                panic!("{r:?}")
            };
            (r.offset.as_nanos() as u64, n, r.output_tokens.unwrap())
        })
        .collect();
    assert_eq!(found, expected);
    assert_eq!(read(Trace { format: Some(format), ..Trace::new(file) }).sha256, trace.sha256);
}

#[test]
fn the_formats_of_known_traces() {
    check("mooncake.jsonl", TraceFormat::Mooncake, &[(0, 6758, 500), (0, 7322, 490), (0, 7236, 794)]);
    check(
        "azure_2023.csv",
        TraceFormat::Azure,
        // 18:15:46.6805900, 18:15:50.9951690, 18:15:51.2224670
        &[(0, 374, 44), (4_314_579_000, 396, 109), (4_541_877_000, 879, 55)],
    );
    check(
        "burstgpt.csv",
        TraceFormat::BurstGpt,
        &[(0, 472, 18), (40_000_000_000, 1087, 230), (113_000_000_000, 417, 276)],
    );
    let failed = requests(&read(Trace::new("burstgpt.csv"))).last().unwrap().clone();
    assert_eq!((failed.input, failed.output_tokens), (TraceInput::Tokens(1), Some(1)), "never skipped");
}

#[test]
fn lines_of_ones_own() {
    let text = concat!(
        r#"{"timestamp": "2026-01-31T12:00:01.5Z", "prompt": "second", "output_tokens": 9}"#,
        "\n\n",
        r#"{"timestamp": "2026-01-31T13:00:00+01:00", "messages": [{"role": "user", "content": "first"}]}"#,
        "\n",
    );
    let mut trace = Trace::new("own");
    parse_trace(&mut trace, text, "own.jsonl").unwrap();
    assert_eq!(trace.format, Some(TraceFormat::Jsonl));
    let found: Vec<_> = requests(&trace).iter().map(|r| (r.offset, r.output_tokens)).collect();
    assert_eq!(found, [(Duration::ZERO, None), (1500 * MS, Some(9))], "ordered by time");
    let text = "{\"offset_ms\": 10.5, \"input_tokens\": 3}\n{\"timestamp\": 12, \"input_tokens\": 4, \"output_tokens\": 0}";
    parse_trace(&mut trace, text, "own.jsonl").unwrap();
    assert_eq!(requests(&trace)[1].offset, Duration::from_micros(1500));
    assert_eq!(requests(&trace)[1].output_tokens, Some(1));
}

/// Dates across the end of a month, a leap day, an offset from UTC as the 2024 files have it.
#[test]
fn clock_times_are_told_apart_to_the_nanosecond() {
    let text = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2024-02-28 23:59:59.999999900+00:00,1,1\r\n\
                2024-02-29 00:00:00.000000100+00:00,1,1\r\n2024-03-01 01:00:00+01:00,5.0,1\r\n";
    let mut trace = Trace::new("t");
    parse_trace(&mut trace, text, "t.csv").unwrap();
    let at: Vec<_> = requests(&trace).iter().map(|r| r.offset.as_nanos()).collect();
    assert_eq!(at, [0, 200, 86_400_000_000_100]);
}

#[test]
fn a_part_is_cut_in_recorded_time_and_scaled_in_played_time() {
    let part = Trace {
        start: 3 * SECOND,
        length: Some(6 * SECOND),
        time_scale: 0.5,
        ..Trace::new("mooncake.jsonl")
    };
    let trace = read(part);
    assert_eq!(requests(&trace).len(), 19, "16 at 3 s, 3 at 5.999 s; 9 s is past the end");
    assert_ne!(trace.sha256, read(Trace::new("mooncake.jsonl")).sha256);
    let plan = Schedule::new(&playing(trace), 1);
    let offsets: Vec<_> = plan.sends().map(|s| s.offset).collect();
    assert_eq!(offsets[15], Duration::ZERO);
    assert_eq!(offsets[16], Duration::from_micros(1_499_500));
    assert_eq!((plan.planned(), plan.end()), (Some(19), Some(3 * SECOND)));
    let whole = read(Trace::new("azure_2023.csv"));
    let last = requests(&whole).last().unwrap().offset;
    let end = Schedule::new(&playing(whole), 1).end().unwrap();
    assert!(end.abs_diff(last).abs_diff(last / 39) < Duration::from_nanos(2), "a mean gap after the last");
}

/// Several targets see the same trace, shifted by shares of its mean gap.
#[test]
fn every_target_sees_the_whole_trace() {
    let plan = Schedule::new(&playing(read(Trace::new("azure_2023.csv"))), 3);
    let of = |target| plan.sends().filter(|s| s.target == target).map(|s| s.offset).collect::<Vec<_>>();
    let first = of(0);
    assert_eq!(first.len(), 40);
    for target in 1..3 {
        let shift = of(target)[0].abs_diff(first[0]);
        assert!(shift > Duration::ZERO);
        for (a, b) in first.iter().zip(of(target)) {
            assert!(b.abs_diff(*a).abs_diff(shift) <= Duration::from_nanos(1));
        }
    }
}

/// What the trace says is what the model gets: when, how long, and the answer's own limit.
#[test]
fn a_run_sends_what_was_recorded_when_it_was_recorded() {
    let model = Scripted::new("m", |_, _| after(20 * MS));
    let trace = read(Trace::new("azure_2023.csv"));
    let expected: Vec<TraceRequest> = requests(&trace).to_vec();
    let result = simulate(&[target(&model)], &playing(trace)).unwrap();
    assert!(result.manifest.complete);
    assert_eq!(result.manifest.planned, [40]);
    let window = result.manifest.window.unwrap();
    let mut records = result.records.clone();
    records.sort_by_key(|r| r.block);
    let seen = model.seen();
    for (i, (record, request)) in records.iter().zip(&expected).enumerate() {
        assert_eq!(record.scheduled, window.start + request.offset);
        assert_eq!((record.sent, &*record.prompt), (Some(record.scheduled), format!("t{i}").as_str()));
        let TraceInput::Tokens(tokens) = request.input else { panic!() };
        assert_eq!(words(&seen[i].text), tokens as usize);
        assert_eq!(seen[i].max_tokens, request.output_tokens);
    }
    let fact = &result.manifest.facts["prompt_tokens"];
    assert!(fact.starts_with("approximate"), "{fact}");
    // The result file names the trace by its hash and does not repeat it.
    let json = serde_json::to_string(&result.manifest.scenario).unwrap();
    assert!(
        json.len() < 2_000
            && json.contains(result.manifest.scenario.load.trace().unwrap().sha256.as_ref().unwrap())
    );
    assert_eq!(serde_json::from_str::<Scenario>(&json).unwrap(), result.manifest.scenario);
}

#[test]
fn a_cap_queues_recorded_arrivals_too() {
    let model = Scripted::new("m", |_, _| after(SECOND));
    let base = playing(read(Trace::new("mooncake.jsonl")));
    let result = simulate(
        &[target(&model)],
        &Scenario { load: base.load.clone().capped(2), requests: Some(10), ..base },
    )
    .unwrap();
    assert_eq!((model.peak.load(SeqCst), result.records.len()), (2, 10));
    let waits: Vec<_> =
        result.records.iter().map(|r| r.released.since(r.scheduled).unwrap().as_secs()).collect();
    assert_eq!(waits, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4], "ten at once, two at a time");
}

/// Equal ids, equal text; different ids, different text: block by block, over all pairs.
#[test]
fn prompts_share_text_exactly_where_their_blocks_have_equal_ids() {
    let trace = read(Trace::new("mooncake.jsonl"));
    let blocks: Vec<Vec<u64>> = requests(&trace)
        .iter()
        .map(|r| match &r.input {
            TraceInput::Blocks { hash_ids, .. } => hash_ids.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    let send = |bust: Option<u64>| -> Vec<Vec<String>> {
        let model = Scripted::new("m", |_, _| after(MS));
        let base = playing(trace.clone());
        let seeds = Seeds { nonce: bust, ..base.seeds.clone() };
        let scenario = Scenario { cache_bust: bust.is_some(), seeds, ..base };
        simulate(&[target(&model)], &scenario).unwrap();
        model.seen().into_iter().map(|s| s.text.split(' ').map(str::to_owned).collect()).collect()
    };
    let texts = send(None);
    let mut shared = 0;
    for (i, a) in texts.iter().enumerate() {
        for (j, b) in texts.iter().enumerate().take(i) {
            let common = blocks[i].iter().zip(&blocks[j]).take_while(|(x, y)| x == y).count();
            let equal = a.iter().zip(b).take_while(|(x, y)| x == y).count();
            let limit = (512 * common).min(a.len()).min(b.len());
            // Beyond the shared blocks a few words may agree by chance, not twenty.
            assert!((limit..limit + 20).contains(&equal), "{i} and {j}: {equal} words, {common} blocks");
            shared = shared.max(common);
        }
    }
    assert_eq!(shared, 5, "the excerpt has a pair with five blocks in common");
    let again = send(None);
    assert_eq!(again, texts, "the same seeds send the same bytes");
    let (busted, other) = (send(Some(7)), send(Some(8)));
    assert_ne!(busted[0][..20], texts[0][..20]);
    assert_ne!(busted[0][..20], other[0][..20], "no cache of another run knows a word of it");
    assert_eq!(busted[40][..5 * 512], busted[41][..5 * 512], "and the run still shares what it shared");
}

#[track_caller]
fn refuses(text: &str, format: Option<TraceFormat>, expected: &str) {
    let mut trace = Trace { format, ..Trace::new("t") };
    let e = parse_trace(&mut trace, text, "t").unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidConfig);
    assert!(e.message().contains(expected), "expected `{expected}` in: {}", e.message());
}

#[test]
fn messages_say_file_line_and_field() {
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    refuses("", None, "t:1: expected JSON Lines with timestamp");
    refuses("hello\n", None, "say which format it is");
    refuses("{\"timestamp\": 0}\n{", None, "t:1: expected prompt, messages or input_tokens");
    refuses("{\"timestamp\": 0, \"prompt\": \"a\"}\n{", None, "t:2: expected a JSON object");
    refuses("{\"prompt\": \"a\"}", None, "t:1: timestamp: expected milliseconds, 0 or more, found nothing");
    refuses(
        "{\"timestamp\": \"noon\", \"prompt\": \"a\"}",
        None,
        "t:1: timestamp: expected milliseconds, or a time",
    );
    refuses(
        "{\"offset_ms\": -1, \"prompt\": \"a\"}",
        None,
        "t:1: offset_ms: expected milliseconds, 0 or more, found -1",
    );
    refuses("{\"offset_ms\": 1, \"prompt\": 5}", None, "t:1: prompt: expected a text, found 5");
    refuses(
        "{\"offset_ms\": 1, \"messages\": []}",
        None,
        "t:1: messages: expected a list of { role, content }",
    );
    refuses(
        "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 1, \"hash_ids\": [\"a\"]}",
        None,
        "t:1: hash_ids: expected a list of whole numbers",
    );
    refuses(
        "{\"timestamp\": 0, \"input_length\": 5}",
        None,
        "t:1: output_length: expected a number of tokens, found nothing",
    );
    refuses(&format!("{azure}2023-11-16 18:15,1,2\n"), None, "t:2: TIMESTAMP: expected a time");
    refuses(
        &format!("{azure}2023-11-16 18:15:00,1.5,2\n"),
        None,
        "t:2: ContextTokens: expected a number of tokens, found `1.5`",
    );
    refuses(
        &format!("{azure}2023-11-16 18:15:00,1\n"),
        None,
        "t:2: GeneratedTokens: expected a number of tokens, found ``",
    );
    refuses(
        "Timestamp,Request tokens\n1,2\n",
        Some(TraceFormat::BurstGpt),
        "t:1: expected a column `Response tokens`, found Timestamp,Request tokens",
    );
    refuses(azure, None, "expected at least one request in the part of `t` to play, found none");
    let mut late = Trace { start: 3600 * SECOND, ..Trace::new("azure_2023.csv") };
    assert!(read_trace(&mut late, data()).unwrap_err().message().contains("part of"));
    let e = read_trace(&mut Trace::new("missing.csv"), data()).unwrap_err();
    assert!(e.message().contains("cannot read the trace `") && e.message().contains("missing.csv"), "{e}");
}

#[test]
fn scenario_files_name_their_trace() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(data().join("azure_2023.csv"), dir.path().join("a.csv")).unwrap();
    let file = dir.path().join("s.toml");
    let toml = "name = \"replay\"\n[load]\nmode = \"open\"\nmax_concurrency = 8\ntrace = { file = \"a.csv\", time_scale = 0.1, start = \"1s\", length = \"5s\" }\n";
    std::fs::write(&file, toml).unwrap();
    let s = load_scenario(&file).unwrap();
    let trace = s.load.trace().unwrap();
    assert_eq!((trace.format, trace.time_scale), (Some(TraceFormat::Azure), 0.1));
    assert!(requests(trace).iter().all(|r| r.offset < 5 * SECOND));
    s.validate().unwrap();
    for (line, expected) in [
        ("rate = 5.0", "load.trace: expected no rate, arrivals, ramp_up or profile beside it"),
        ("ramp_up = 5", "load.trace: expected no rate"),
    ] {
        std::fs::write(&file, toml.replace("max_concurrency = 8", line)).unwrap();
        let e = load_scenario(&file).unwrap_err();
        assert!(e.message().contains(expected), "{e}");
    }
    std::fs::write(&file, format!("prompts = [\"a\"]\n{toml}")).unwrap();
    assert!(load_scenario(&file).unwrap_err().message().contains("prompts: expected none"));
    let unread = playing(Trace::new("a.csv")).validate().unwrap_err().to_string();
    assert!(unread.contains("expected the trace to have been read before the run"), "{unread}");
}
