//! T012, T019 on the command line: recorded arrivals, conversations, prompts by length, expectations. Against the real binary.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use bench_mock::server::Protocol;
use serde_json::Value;

use crate::common::{Bench, Ended, vendors};

/// Runs against a vendor in this process; the records of measured requests and the manifest.
#[track_caller]
fn run(bench: &Bench, flags: &[&str]) -> (Ended, Vec<Value>, Value) {
    let server = vendors();
    let target = format!("openai:mock@{}", server.base_url(Protocol::OpenAi));
    let args =
        ["run", "--target", &target, "-q", "--warmup", "0", "--records", "r.jsonl", "--max-error-rate", "1"];
    let ended = bench.run(&[&args, flags].concat());
    let read = |name: &str| std::fs::read_to_string(bench.path().join(name)).unwrap_or_default();
    let records = read("r.jsonl").lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let manifest = bench.files().into_iter().find(|f| f.ends_with("run.json"));
    let manifest = manifest.map_or_else(|| "null".to_owned(), |f| std::fs::read_to_string(f).unwrap());
    (ended, records, serde_json::from_str(&manifest).unwrap())
}

const MOONCAKE: &str = r#"{"timestamp": 1000, "input_length": 600, "output_length": 3, "hash_ids": [1, 2]}
{"timestamp": 1400, "input_length": 700, "output_length": 2, "hash_ids": [1, 3]}
{"timestamp": 2000, "input_length": 20, "output_length": 1, "hash_ids": [4]}
{"timestamp": 9000, "input_length": 20, "output_length": 1, "hash_ids": [5]}
"#;

#[test]
fn a_trace_is_played_at_its_own_pace_and_length() {
    let bench = Bench::new().file("t.jsonl", MOONCAKE);
    let flags =
        ["--trace", "t.jsonl", "--time-scale", "0.1", "--trace-length", "5s", "--trace-format", "mooncake"];
    let (ended, records, manifest) = run(&bench, &flags);
    ended.with(0);
    assert_eq!(records.len(), 3, "the fourth lies outside the part");
    let mut due: Vec<u64> = records.iter().map(|r| r["scheduled_ns"].as_u64().unwrap()).collect();
    due.sort_unstable();
    assert_eq!([due[1] - due[0], due[2] - due[1]], [40_000_000, 60_000_000]);
    let scenario = &manifest["scenario"];
    assert_eq!(scenario["load"]["trace"]["time_scale"], 0.1);
    assert!(scenario["load"]["trace"]["sha256"].is_string());
    assert_eq!(scenario["name"], "t.jsonl");
}

#[test]
fn conversations_are_asked_turn_by_turn() {
    let talks = r#"[{"id": "a", "conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "!"},
        {"from": "human", "value": "two"}, {"from": "gpt", "value": "!"}, {"from": "human", "value": "three"}]},
        {"id": "b", "conversations": [{"from": "gpt", "value": "nobody asked"}]}]"#;
    let bench = Bench::new().file("talks.json", talks);
    let flags =
        ["--prompts", "talks.json", "--sessions", "--turn-think-time", "1ms", "--max-turns", "2", "-n", "3"];
    let (ended, records, manifest) = run(&bench, &flags);
    ended.with(0);
    assert_eq!(records.len(), 6, "three conversations of two turns");
    assert_eq!(manifest["scenario"]["sessions"]["max_turns"], 2);
}

#[test]
fn prompts_by_length_are_exact_by_the_named_vocabulary() {
    let bench = Bench::new();
    let lengths =
        ["--input-len", "uniform:20-60", "--output-len", "3", "--prefix-len", "30", "--prefix-groups", "2"];
    let flags = ["--tokenizer", "o200k_base", "--seed", "3", "--seed-lengths", "4", "-n", "6"];
    let (ended, records, manifest) = run(&bench, &[&lengths[..], &flags].concat());
    ended.with(0);
    assert_eq!(records.len(), 6);
    assert_eq!(manifest["facts"]["prompt_tokens"], "exact by o200k_base, without chat template");
    assert_eq!(manifest["facts"]["tokenizer"], "o200k_base");
    let scenario = &manifest["scenario"];
    assert_eq!(scenario["synthetic"]["prefix"], serde_json::json!({"groups": 2, "tokens": 30}));
    assert_eq!((&scenario["seeds"]["lengths"], &scenario["seeds"]["prompts"]), (&4.into(), &3.into()));
    assert_eq!(scenario["name"], "synthetic");
}

#[test]
fn an_answer_that_is_not_as_expected_failed() {
    let bench = Bench::new().file("schema.json", r#"{"type": "object"}"#);
    for (flags, says) in [
        (["--expect-contains", "no mock says this"], "contains `no mock says this`"),
        (["--expect-matches", "^\\d{40}$"], "matches"),
        (["--expect-schema", "schema.json"], "JSON"),
    ] {
        let (ended, records, _) = run(&bench, &[&flags[..], &["-n", "4"]].concat());
        ended.with(0).says("invalid_response");
        assert_eq!(records.len(), 4);
        assert!(
            records.iter().all(|r| r["error"].to_string().contains("invalid_response")),
            "{says}: {}",
            records[0]
        );
    }
    let (ended, ..) = run(&bench, &["--expect-matches", ".", "-n", "4"]);
    assert!(!ended.with(0).stdout.contains("invalid_response"));
}

#[test]
fn a_configuration_names_files_beside_it() {
    let server = vendors();
    let toml = format!(
        "[[target]]\nprovider = \"openai\"\nmodel = \"mock\"\nbase_url = \"{}\"\n[scenario]\nname = \"s\"\nrequests = 2\n\
         prompts_file = \"asked.csv\"\n",
        server.base_url(Protocol::OpenAi)
    );
    let bench =
        Bench::new().file("llms-bench.toml", &toml).file("asked.csv", "prompt\nhello there\nand now\n");
    bench.run(&["run", "-q", "--warmup", "0"]).with(0);
    let traced = toml.replace(
        "prompts_file = \"asked.csv\"",
        "load = { mode = \"open\", trace = { file = \"t.jsonl\", time_scale = 0.01 } }",
    );
    let bench = Bench::new().file("llms-bench.toml", &traced).file("t.jsonl", MOONCAKE);
    bench.run(&["run", "-q", "--warmup", "0"]).with(0);
}
