//! `study`, `aggregate`, `trend`, `gate` and `tokens`: saved runs judged again and together, without sending anything.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use serde_json::Value;

use crate::common::Bench;

/// A run of a simulated vendor in process, kept: its id.
fn kept(bench: &Bench, command: &str, targets: &[&str], more: &[&str]) -> String {
    let mut flags = vec![command, "--format", "json", "-n", "30", "--warmup", "0"];
    for target in targets {
        flags.extend(["--target", target]);
    }
    let ended = bench.run(&[&flags[..], more].concat()).with(0);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    found["manifest"]["run_id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn told(bench: &Bench, code: i32, flags: &[&str]) -> (Value, String) {
    let json = bench.run(&[flags, &["--format", "json"]].concat()).with(code).stdout;
    let text = bench.run(flags).with(code).stdout;
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    assert!(bench.run(&[flags, &["--format", "markdown"]].concat()).with(code).stdout.contains("## "));
    (serde_json::from_str(&json).unwrap(), text)
}

#[test]
fn saved_runs_are_judged_alone_and_together() {
    let bench = Bench::new();
    let scaled = ["--port", "0", "--seed", "1", "--time-scale", "0.3", "--output-tokens", "8"];
    let mut server = bench.start(&[&["mock", "serve"][..], &scaled].concat());
    let base = server.wait_for("OPENAI_BASE_URL=").split_once('=').unwrap().1.trim().to_owned();
    let vendors = [format!("openai:m@{base}"), format!("openai:n@{base}")];
    let vendors = [vendors[0].as_str(), vendors[1].as_str()];
    let runs: Vec<String> = ["1", "2", "3", "4", "5"]
        .iter()
        .map(|seed| {
            kept(&bench, "compare", &vendors, &["--seed", seed, "--max-tokens", "8", "--concurrency", "6"])
        })
        .collect();
    let names: Vec<&str> = runs.iter().map(String::as_str).collect();

    let (study, text) = told(&bench, 0, &["study"]);
    assert_eq!(study["blocks"], 30);
    let first: f64 =
        study["standings"]["ttft"].as_array().unwrap().iter().map(|r| r["p_first"].as_f64().unwrap()).sum();
    assert!((first - 1.0).abs() < 1e-9, "{study}");
    assert!(text.contains("Ranks by time to first token") && text.contains("Beaten by nobody"), "{text}");

    let (together, text) = told(&bench, 0, &[&["aggregate", "--include-invalid"], &names[..]].concat());
    assert_eq!(together.as_array().unwrap().len(), 2);
    assert_eq!(together[0]["runs"].as_array().unwrap().len(), 5);
    assert_eq!(together[0]["metrics"]["e2e"]["mean"]["n"], 5);
    assert!(text.contains("over 5 runs"), "{text}");

    let (trend, text) = told(&bench, 0, &["trend", "--metric", "e2e"]);
    assert!(text.contains("openai:m") && !text.contains("TTFT"), "{text}");
    // A busy machine may make a run call itself INVALID: such a one is nobody's equal.
    let points = trend["series"][0]["points"].as_array().unwrap();
    let good: Vec<&str> =
        points.iter().filter(|p| p["validity"] != "INVALID").map(|p| p["run_id"].as_str().unwrap()).collect();
    assert!(points.len() == 5 && 3 <= good.len(), "{trend}");

    // Answers are 8 tokens long in all runs.
    let gate = ["gate", good[2], "--on", "output_tokens", "--baseline", good[0], "--baseline", good[1]];
    let (checks, text) = told(&bench, 0, &gate);
    assert_eq!(checks[0]["outcome"], "pass", "{checks}");
    assert!(text.starts_with("PASS"), "{text}");

    let (tokens, text) = told(&bench, 0, &["tokens", names[0]]);
    assert_eq!(tokens[0]["usage"][0]["attempts"], 30);
    assert!(text.contains("output 240"), "{text}");
}

#[test]
fn a_run_that_got_worse_fails_the_gate() {
    let bench = Bench::new();
    let short = kept(&bench, "run", &["mock:very-fast"], &["--seed", "1", "--max-tokens", "8"]);
    let long = kept(&bench, "run", &["mock:very-fast"], &["--seed", "1", "--max-tokens", "64"]);
    // Another length of answers is another configuration: nothing to compare, never a pass.
    let (checks, text) = told(&bench, 5, &["gate", &long, "--baseline", &short]);
    assert!(checks.as_array().unwrap().iter().all(|c| c["outcome"] == "inconclusive"), "{checks}");
    assert!(text.contains("configuration"), "{text}");
}

#[test]
fn wrong_questions_are_answered_in_one_line() {
    let bench = Bench::new();
    let id = kept(&bench, "run", &["mock:very-fast"], &["--seed", "1"]);
    for (flags, says) in [
        (vec!["study", "latest"], "two targets"),
        (vec!["study", "nowhere"], "nowhere"),
        (vec!["study", "--margin", "0.9"], "margin"),
        (vec!["aggregate", &id], "at least 2 runs"),
        (vec!["aggregate", &id, &id], "twice"),
        (vec!["trend"], "at least 3"),
        (vec!["gate", &id, "--baseline", &id, "--on", "e2e:p42"], "e2e:p50"),
        (vec!["gate", &id, "--baseline", &id, "--max-regression", "5"], "such as 5%"),
        (vec!["tokens", "nowhere"], "nowhere"),
    ] {
        let ended = bench.run(&flags).with(2);
        assert!(ended.stderr.contains(says), "{flags:?}: {}", ended.stderr);
    }
}
