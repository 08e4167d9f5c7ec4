//! Bad input: one clear message that says what was wrong and what to do, the documented exit code, nothing
//! half-written. Run against the real binary.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{fs, path::Path, process::Command};

struct Outcome {
    code: Option<i32>,
    stderr: String,
    stdout: String,
}

fn llms_bench(dir: &Path, args: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llms-bench"));
    command.current_dir(dir).args(args);
    for (name, _) in std::env::vars() {
        let keys = ["OPENAI_", "ANTHROPIC_", "AWS_", "AZURE_", "OLLAMA_", "LLMS_"];
        if keys.iter().any(|k| name.starts_with(k)) || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
    // No credentials of this machine's user either.
    command.env("HOME", dir).env("AWS_EC2_METADATA_DISABLED", "true");
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
    }
}

#[track_caller]
fn check(args: &[&str], code: i32, says: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    check_in(dir.path(), args, code, says);
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[track_caller]
fn check_in(dir: &Path, args: &[&str], code: i32, says: &[&str]) {
    let out = llms_bench(dir, args);
    assert_eq!(out.code, Some(code), "{args:?}\n{}", out.stderr);
    for text in says {
        assert!(out.stderr.contains(text), "{args:?}: expected `{text}` in:\n{}", out.stderr);
    }
    assert!(out.stdout.is_empty(), "{args:?} printed a report:\n{}", out.stdout);
    assert!(out.stderr.lines().count() <= 8, "{args:?}: more than one clear message:\n{}", out.stderr);
    assert!(!out.stderr.contains("panicked"), "{}", out.stderr);
}

const NOBODY: &str = "openai:m@http://127.0.0.1:1/v1";

#[test]
fn unknown_provider() {
    check(&["run", "--target", "opnai:gpt-4o"], 2, &["opnai", "expected one of", "openai", "bedrock"]);
}

#[test]
fn missing_keys_name_the_variable() {
    check(&["run", "--target", "openai:gpt-4o"], 2, &["OPENAI_API_KEY"]);
    check(&["run", "--target", "anthropic:claude-haiku-4-5"], 2, &["ANTHROPIC_API_KEY"]);
    check(&["run", "--target", "bedrock:anthropic.claude-v2"], 2, &["AWS_"]);
    check(&["compare", "--target", "openai:gpt-4o", "--target", "ollama:x"], 2, &["OPENAI_API_KEY"]);
}

#[test]
fn unreachable_hosts() {
    check(&["run", "--target", NOBODY, "-n", "1"], 3, &["127.0.0.1:1", "running"]);
    check(&["run", "--target", "ollama:tiny@http://127.0.0.1:1", "-n", "1"], 3, &["127.0.0.1:1", "running"]);
    check(
        &["compare", "--target", NOBODY, "--target", "anthropic:m@http://127.0.0.1:2"],
        3,
        &["127.0.0.1:1", "127.0.0.1:2"],
    );
    check(
        &["run", "--target", "openai:m@http://no-such-host.invalid/v1", "-n", "1"],
        3,
        &["no-such-host.invalid"],
    );
}

#[test]
fn impossible_combinations() {
    check(&["compare", "--target", NOBODY], 2, &["at least two targets"]);
    check(&["run"], 2, &["run needs a target"]);
    check(&["run", "--target", NOBODY, "--target", NOBODY], 2, &["run measures one target"]);
    check(
        &["run", "--target", NOBODY, "--concurrency", "4", "--request-rate", "2"],
        2,
        &["--concurrency", "--request-rate"],
    );
    check(
        &["run", "--target", NOBODY, "--concurrency", "4", "--max-concurrency", "8"],
        2,
        &["--max-concurrency", "--request-rate"],
    );
    check(&["run", "--target", NOBODY, "--arrivals", "poisson"], 2, &["--request-rate"]);
    check(&["run", "--target", NOBODY, "--truth-log", "t.jsonl"], 2, &["--truth-log", "simulated"]);
    check(&["run", "--base-url", "http://127.0.0.1:1"], 2, &["--model"]);
}

#[test]
fn wrong_values() {
    check(&["run", "--target", "gpt-4o"], 2, &["provider:model"]);
    check(&["run", "--target", "openai:m@ftp://host/v1"], 2, &["http:// or https://"]);
    check(&["run", "--target", NOBODY, "--request-rate", "-1"], 2, &["above 0"]);
    check(
        &["run", "--target", NOBODY, "--request-rate", "5", "--duration", "9999999h"],
        2,
        &["duration", "30 days"],
    );
    check(
        &["run", "--target", NOBODY, "--request-rate", "1", "-n", "18446744073709551615"],
        2,
        &["10000000 arrivals"],
    );
    check(&["run", "--target", NOBODY, "-n", "2", "--warmup", "4294967295"], 2, &["warmup", "1000000"]);
    check(&["run", "--target", "openai:m@http://user:pw@h/v1"], 2, &["without credentials"]);
    check(&["run", "--target", NOBODY, "--concurrency", "0"], 2, &["concurrency", "1 to 10000"]);
    check(&["run", "--target", NOBODY, "--request-rate", "0"], 2, &["rate", "above 0"]);
    check(&["run", "--target", NOBODY, "-n", "0"], 2, &["requests", "at least 1"]);
    check(&["run", "--target", NOBODY, "--duration", "soon"], 2, &["--duration", "such as 250ms"]);
    check(&["run", "--target", NOBODY, "--temperature", "9"], 2, &["temperature", "from 0 to 2"]);
    check(&["run", "--target", NOBODY, "--goodput", "speed:5"], 2, &["--goodput", "ttft"]);
    check(&["run", "--target", NOBODY, "--slo", "ttft:p0<1s"], 2, &["--slo", "ttft:p99<500ms"]);
    check(&["run", "--target", NOBODY, "--scenario", "nope"], 2, &["--scenario", "simple", "nope"]);
    check(&["run", "--target", NOBODY, "--prompts", "nope.jsonl"], 2, &["nope.jsonl"]);
    check(&["run", "--target", NOBODY, "--prices", "nope.json"], 2, &["nope.json"]);
    check(&["run", "--target", NOBODY, "--max-error-rate", "7"], 2, &["--max-error-rate", "0 to 1"]);
    check(&["run", "--target", NOBODY, "--max-cost", "1"], 2, &["--max-cost", "price"]);
    check(&["run", "--target", NOBODY, "--max-cost", "1", "--max-tokens", "9"], 2, &["--max-cost", "price"]);
    check(&["run", "--target", NOBODY, "--max-cost", "-1", "--max-tokens", "9"], 2, &["--max-cost"]);
    check(&["run", "--target", NOBODY, "--burstiness", "2"], 2, &["--burstiness", "--request-rate"]);
    check(&["run", "--target", NOBODY, "--arrivals", "gamma", "--request-rate", "2"], 2, &["--burstiness"]);
    check(&["run", "--target", NOBODY, "--arrivals", "poisson"], 2, &["--arrivals", "--request-rate"]);
    check(&["run", "--target", NOBODY, "--rate-profile", "fast"], 2, &["--rate-profile", "1m:5->50"]);
    check(&["run", "--target", NOBODY, "--rate-profile", "10s:1,1m:5-"], 2, &["--rate-profile", "quote it"]);
    check(&["run", "--target", NOBODY, "--think-time", "1s", "--request-rate", "2"], 2, &["--think-time"]);
    check(&["run", "--target", NOBODY, "--precision", "ttft"], 2, &["--precision", "ttft:p95:5%"]);
    check(&["run", "--target", NOBODY, "--precision", "ttft:p99:5%", "-n", "50"], 2, &["--precision", "50"]);
    check(&["run", "--target", NOBODY, "--stop-error-rate", "7"], 2, &["--stop-error-rate"]);
    check(&["capacity", "--target", NOBODY], 2, &["--slo"]);
    check(&["capacity", "--target", NOBODY, "--slo", "ttft:p99<1s", "-n", "5"], 2, &["--num-requests"]);
    check(&["capacity", "--slo", "ttft:p99<1s"], 2, &["--target"]);
    check(
        &["capacity", "--target", NOBODY, "--slo", "ttft:p99<1s", "--max-requests", "9"],
        2,
        &["most requests a step"],
    );
    check(&["report", "nope"], 2, &["nope"]);
    check(&["report"], 2, &["no run is kept", "llms-bench compare"]);
}

/// One message each for flags that exclude or need one another.
#[test]
fn work_and_load_that_do_not_fit_together() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("t.jsonl"), "{\"timestamp\": 0, \"input_tokens\": 5}\n").unwrap();
    fs::write(dir.path().join("bad.csv"), "TIMESTAMP,ContextTokens,GeneratedTokens\nsoon,1,1\n").unwrap();
    fs::write(dir.path().join("bad.json"), "{").unwrap();
    for (flags, says) in [
        (&["--trace", "t.jsonl", "--request-rate", "2"][..], &["--trace", "--request-rate"][..]),
        (&["--trace", "t.jsonl", "--concurrency", "2"], &["--trace", "--concurrency"]),
        (&["--trace", "t.jsonl", "--rate-profile", "1s:2"], &["--trace", "--rate-profile"]),
        (&["--trace", "t.jsonl", "--input-len", "5"], &["--trace", "--input-len"]),
        (&["--trace", "t.jsonl", "--sessions"], &["--trace", "--sessions"]),
        (&["--trace", "nope.jsonl"], &["--trace", "nope.jsonl"]),
        (&["--trace", "bad.csv"], &["--trace", "bad.csv:2: TIMESTAMP", "soon"]),
        (&["--trace", "t.jsonl", "--time-scale", "0"], &["time_scale", "above 0"]),
        (&["--trace", "t.jsonl", "--trace-start", "1h"], &["at least one request"]),
        (&["--time-scale", "2"], &["--trace"]),
        (&["--trace-format", "azure"], &["--trace"]),
        (&["--input-len", "5", "--prompts", "t.jsonl"], &["--input-len", "--prompts"]),
        (&["--input-len", "many"], &["--input-len", "uniform:100-900"]),
        (&["--input-len", "uniform:9-3"], &["--input-len", "1 ≤ min ≤ max"]),
        (&["--output-len", "5"], &["--output-len", "--input-len"]),
        (&["--input-len", "5", "--output-len", "5", "--max-tokens", "9"], &["--output-len", "--max-tokens"]),
        (&["--prefix-len", "5"], &["--prefix-len", "--input-len"]),
        (&["--prefix-groups", "5", "--input-len", "5"], &["--prefix-len"]),
        (&["--sessions"], &["sessions", "a prompt with turns"]),
        (&["--max-turns", "2"], &["--max-turns", "--sessions"]),
        (&["--turn-think-time", "2s"], &["--turn-think-time", "--sessions"]),
        (&["--tokenizer", "o300k"], &["--tokenizer", "o200k_base"]),
        (&["--tokenizer", "bad.json"], &["--tokenizer", "bad.json"]),
        (&["--expect-matches", "("], &["expect.matches", "regular expression"]),
        (&["--expect-schema", "bad.json"], &["--expect-schema", "expected JSON"]),
        (&["--expect-schema", "nope.json"], &["--expect-schema", "cannot read"]),
    ] {
        check_in(dir.path(), &[&["run", "--target", NOBODY], flags].concat(), 2, says);
    }
    for (command, more) in [("capacity", &["--slo", "ttft:p99<1s"][..]), ("stress", &[])] {
        let args = [&[command, "--target", NOBODY, "--trace", "t.jsonl"], more].concat();
        check_in(dir.path(), &args, 2, &["--trace"]);
    }
}

#[test]
fn files_that_cannot_be_written_are_known_before_anything_is_sent() {
    for flag in ["--json", "--markdown", "--records"] {
        check(&["run", "--target", NOBODY, flag, "no/such/dir/file"], 2, &["no/such/dir"]);
        // A directory is no file.
        check(&["run", "--target", NOBODY, flag, "."], 2, &["cannot write"]);
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    check_in(
        dir.path(),
        &["run", "--target", NOBODY, "--output-dir", "file"],
        2,
        &["--output-dir", "not a directory"],
    );
}

#[test]
fn prompt_files_that_cannot_be_read_say_why() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("latin.txt"), b"caf\xe9\n").unwrap();
    fs::write(dir.path().join("bad.jsonl"), "{\"prompt\": \"a\"}\n{\"prompt\": \n").unwrap();
    fs::write(dir.path().join("empty.txt"), "\n\n").unwrap();
    for (file, says) in [
        ("nope.txt", vec!["nope.txt", "No such file"]),
        ("latin.txt", vec!["latin.txt", "UTF-8"]),
        ("bad.jsonl", vec!["bad.jsonl:2", "expected JSON", "EOF"]),
        ("empty.txt", vec!["empty.txt", "at least one prompt"]),
    ] {
        check_in(dir.path(), &["run", "--target", NOBODY, "--prompts", file], 2, &says);
    }
}

#[test]
fn malformed_configuration_files() {
    for (text, says) in [
        ("[[target]\n", vec!["llms-bench.toml", "line 1"]),
        ("[[target]]\nprovider = \"openai\"\nmodle = \"m\"\n", vec!["llms-bench.toml", "line 3", "modle"]),
        ("[scenario]\nprompts = []\nrequests = 1\n", vec!["prompts", "at least one prompt"]),
        ("[scenario]\nprompts = [\"a\"]\nrequests = 1\ntimeout = \"soon\"\n", vec!["line 4", "such as"]),
        (
            "[[target]]\nprovider = \"openai\"\nmodel = \"m\"\nbase_url = \"http://127.0.0.1:1\"\napi_key_env = \"NOT_SET_HERE\"\n",
            vec!["NOT_SET_HERE"],
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("llms-bench.toml"), text).unwrap();
        let command: &[&str] = if text.contains("[scenario]") { &["compare"] } else { &["run"] };
        check_in(dir.path(), command, 2, &says);
    }
}

#[test]
fn a_key_is_not_sent_to_a_stranger() {
    // The server answers 401 without a key; the message must not hold one either way.
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_llms-bench"))
        .current_dir(dir.path())
        .env("OPENAI_API_KEY", "sk-very-secret-value-0123456789")
        .args(["run", "--target", "openai:m@http://no-such-host.invalid/v1", "-n", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stderr).into_owned() + &String::from_utf8_lossy(&out.stdout);
    assert!(!text.contains("very-secret"), "{text}");
}
