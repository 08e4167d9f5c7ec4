//! `llms-bench plan`: what is going to happen, before anything is sent.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use bench_mock::server::Protocol;
use serde_json::Value;

use crate::common::{Bench, vendors};

const PAID: &str = "openai:gpt-4o-mini";

#[track_caller]
fn plan(bench: &Bench, code: i32, flags: &[&str]) -> Value {
    let ended = bench.run(&[&["plan", "--format", "json"], flags].concat()).with(code);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        other => other.as_f64().unwrap_or_else(|| panic!("expected a number, found {other}")),
    }
}

#[test]
fn a_paid_model_needs_no_key_and_nothing_is_written() {
    let bench = Bench::new();
    let lengths = ["--input-len", "1000", "--output-len", "100", "-n", "100", "--warmup", "0"];
    let found = plan(&bench, 0, &[&["--target", PAID, "--tokenizer", "o200k_base"], &lengths[..]].concat());
    let target = &found["targets"][0];
    assert_eq!((&found["requests"], &target["input_tokens"]), (&100.into(), &100_000.into()));
    assert_eq!(
        (&target["output_tokens"], &target["output_tokens_at_most"]),
        (&10_000.into(), &10_000.into())
    );
    // $0.15 and $0.60 a million tokens.
    assert!((number(&target["usd_at_least"]) - 0.015).abs() < 1e-9);
    assert!((number(&target["usd_full_answers"]) - 0.021).abs() < 1e-9);
    assert!(number(&target["usd_at_most"]) > 0.021, "a budget takes every byte for a token");
    assert!(target["price_date"].is_string());
    assert!(bench.files().is_empty(), "{:?}", bench.files());
}

#[test]
fn rates_over_time_and_how_long_it_takes() {
    let flags = ["--target", PAID, "--rate-profile", "10s:2,20s:2->8,5s:0", "--seed", "1", "--ramp-up", "4s"];
    let found = plan(&Bench::new(), 0, &flags);
    let slices: Vec<[f64; 3]> = found["rate"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| [number(&s["rate_from"]), number(&s["rate_to"]), number(&s["requests"])])
        .collect();
    assert_eq!(slices, [[0.0, 2.0, 4.0], [2.0, 2.0, 20.0], [2.0, 8.0, 100.0], [0.0, 0.0, 0.0]]);
    assert_eq!(
        (number(&found["duration"]["window_s"]), number(&found["duration"]["ramp_up_s"])),
        (35.0, 4.0)
    );
    // Poisson of mean 120: six standard deviations.
    assert!((54..186).contains(&found["requests"].as_u64().unwrap()), "{}", found["requests"]);
    assert_eq!(found["seeded"], true);
}

#[test]
fn sizes_for_a_precision_with_and_without_a_pilot() {
    let server = vendors();
    let target = format!("openai:mock@{}", server.base_url(Protocol::OpenAi));
    let bench = Bench::new();
    let flags = ["--target", &target, "-n", "400", "--precision", "e2e:p50:5%"];
    let found = plan(&bench, 1, &[&flags[..], &["--max-tokens-total", "100"]].concat());
    // The published size of a log-normal with sd 0.5.
    assert_eq!(found["samples"][0]["requests"], 604);
    assert_eq!(found["samples"][0]["enough"], false);
    assert!(found["duration"]["window_s"].is_null(), "closed loop: as fast as answers come");
    bench.run(&["run", "--target", &target, "-n", "120", "--concurrency", "4", "-q"]).with(0);
    let found = plan(&bench, 0, &[&flags[..], &["--pilot", "latest"]].concat());
    assert!(
        found["supposed"].as_str().unwrap().contains("latencies like the 120 of run"),
        "{}",
        found["supposed"]
    );
    assert!(number(&found["duration"]["window_s"]) > 0.0);
    assert_eq!(found["targets"][0]["output_tokens"], 404 * 4, "the mock's answers have four tokens");
}

#[test]
fn budgets_are_held_against_the_plan() {
    let bench = Bench::new();
    let base = ["--target", PAID, "--input-len", "1000", "--output-len", "100", "-n", "1000"];
    let with = |code: i32, flags: &[&str]| plan(&bench, code, &[&base[..], flags].concat());
    let said = |found: &Value, list: &str| {
        found[list].as_array().unwrap().iter().map(Value::to_string).collect::<String>()
    };
    assert!(said(&with(0, &["--max-cost", "5"]), "limits").contains("more than this plan takes"));
    assert!(said(&with(0, &["--max-cost", "0.2"]), "limits").contains("ends the run early"));
    assert!(said(&with(1, &["--max-cost", "0.1"]), "conflicts").contains("before its plan"));
    assert!(said(&with(1, &["--max-cost", "0.0001"]), "conflicts").contains("never be sent"));
    let unpriced = plan(&bench, 2, &["--target", "openai:nobody-sells-this", "--max-cost", "1"]);
    assert!(said(&unpriced, "refused").contains("no price"));
    let images = r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]}"#
        .replace('\n', "");
    let bench = Bench::new().file("images.jsonl", &images);
    let found = plan(&bench, 2, &["--target", PAID, "--prompts", "images.jsonl", "--max-cost", "1"]);
    assert!(said(&found, "refused").contains("images"));
    assert!(found["targets"][0]["input_tokens_at_most"].is_null());
}

#[test]
fn a_wish_that_the_plan_cannot_meet_is_told() {
    let flags = ["--target", PAID, "-n", "50", "--precision", "ttft:p99:5%"];
    let found = plan(&Bench::new(), 2, &flags);
    assert!(found["refused"][0].as_str().unwrap().contains("--precision"));
}

#[test]
fn for_people() {
    let bench = Bench::new();
    let ended = bench.run(&["plan", "-n", "100"]).with(0);
    for text in
        ["nothing is sent", "sim-openai", "100 measured requests a target", "ttft p99 ± 5 %", "prices of 20"]
    {
        assert!(ended.stdout.contains(text), "expected `{text}` in:\n{}", ended.stdout);
    }
    bench.run(&["plan", "--target", "opnai:x"]).with(2).says("expected one of").is_one_message();
    bench.run(&["plan", "--pilot", "nope"]).with(2).says("--pilot").is_one_message();
}
