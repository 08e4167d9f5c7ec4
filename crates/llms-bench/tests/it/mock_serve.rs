//! `llms-bench mock serve`: each flag takes effect, the help lists every situation, wrong values are told.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::common;

use std::{fmt::Display, fs, io::Read, net::TcpStream, time::Instant};

use bench_mock::{Preset, SITUATIONS, server::Protocol};
use common::{Bench, Running, http};
use serde_json::Value;

/// A server with these flags, and where it is.
fn serving(bench: &Bench, flags: &[&str]) -> (Running, String) {
    let mut running = bench.start(&[&["mock", "serve", "--port", "0", "--seed", "1"][..], flags].concat());
    let line = running.wait_for("OPENAI_BASE_URL=");
    let base = line.split_once('=').unwrap().1.trim().trim_end_matches("/v1").to_owned();
    (running, base)
}

fn body(answer: &[u8]) -> Value {
    let at = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    serde_json::from_slice(&answer[at + 4..]).unwrap()
}

/// The profile that answers a protocol or a model.
fn profile(base: &str, name: impl Display) -> Value {
    body(&http::get(base, &format!("/mock/config/{name}"), &[]))
}

/// One whole answer of OpenAI's chat.
fn chat(base: &str) -> Vec<u8> {
    chat_with(base, "m")
}

/// The same of this model.
fn chat_with(base: &str, model: &str) -> Vec<u8> {
    let request = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}]}}"#);
    http::post(base, "/v1/chat/completions", &[("authorization", "Bearer k")], &request)
}

/// The status of the list of models, asked for with this key.
fn status(base: &str, key: &str) -> String {
    let answer = http::get(base, "/v1/models", &[("authorization", &format!("Bearer {key}"))]);
    String::from_utf8_lossy(&answer[9..12]).into_owned()
}

#[test]
fn announced_and_ended() {
    let bench = Bench::new();
    let (running, base) = serving(&bench, &["--truth-log", "truth.jsonl", "--time-scale", "0.01"]);
    assert!(String::from_utf8_lossy(&chat(&base)).starts_with("HTTP/1.1 200"));
    let ended = running.interrupt().with(0).says("served 1 requests");
    for said in ["seed 1", "OPENAI_BASE_URL=http://127.0.0.1:", "OLLAMA_HOST=", "ANTHROPIC_BASE_URL="] {
        assert!(ended.stdout.contains(said), "{}", ended.stdout);
    }
    assert!(ended.stdout.contains("AWS_ENDPOINT_URL_BEDROCK_RUNTIME="));
    assert_eq!(fs::read_to_string(bench.path().join("truth.jsonl")).unwrap().lines().count(), 1);
}

#[test]
fn terminated_like_interrupted() {
    let bench = Bench::new();
    let (running, base) = serving(&bench, &["--truth-log", "truth.jsonl", "--time-scale", "0.01"]);
    chat(&base);
    running.signal(rustix::process::Signal::TERM);
    running.end().with(0).says("served 1 requests");
    assert_eq!(fs::read_to_string(bench.path().join("truth.jsonl")).unwrap().lines().count(), 1);
}

#[test]
fn preset_time_scale_tokens_and_slots_reach_every_profile() {
    let bench = Bench::new();
    let (_running, base) = serving(&bench, &[]);
    let (_own, changed) = serving(
        &bench,
        &[
            "--preset",
            "very-slow",
            "--time-scale",
            "0.001",
            "--output-tokens",
            "7",
            "--slots",
            "3",
            "--threads",
            "2",
        ],
    );
    for protocol in Protocol::ALL {
        let (before, after) = (profile(&base, protocol), profile(&changed, protocol));
        assert_ne!(before["ttft_ms"], after["ttft_ms"], "{protocol} {after}");
        assert_eq!((before["time_scale"].as_f64(), after["time_scale"].as_f64()), (Some(1.0), Some(0.001)));
        assert_eq!(after["capacity"]["slots"], 3, "{after}");
    }
    let start = Instant::now();
    let answer = body(&chat(&changed));
    assert_eq!(answer["usage"]["completion_tokens"], 7, "{answer}");
    // Very slow, a thousand times as fast.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}

#[test]
fn scale_seed_slots_and_tokens_reach_the_models_with_profiles_of_their_own() {
    let bench = Bench::new();
    let flags = ["--time-scale", "0.001", "--output-tokens", "7", "--slots", "3", "--model", "own=anthropic"];
    let (_running, base) = serving(&bench, &flags);
    let presets = Preset::ALL.map(|preset| format!("mock-{preset}"));
    for name in ["mock-slow", "mock-fast", "own"].into_iter().chain(presets.iter().map(String::as_str)) {
        let profile = profile(&base, name);
        assert_eq!(profile["time_scale"].as_f64(), Some(0.001), "{name}: {profile}");
        assert_eq!((&profile["seed"], &profile["capacity"]["slots"]), (&1.into(), &3.into()), "{name}");
    }
    let start = Instant::now();
    for (model, tokens) in
        [("mock-slow", 7), ("mock-fast", 7), ("mock-ollama", 7), ("own", 7), ("mock-long", 1000)]
    {
        let answer = body(&chat_with(&base, model));
        assert_eq!(answer["usage"]["completion_tokens"], tokens, "{model}: {answer}");
    }
    // 12 s in the first of them alone if it were not for the scale.
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

#[test]
fn models_of_ones_own_answer_as_their_preset_does() {
    let bench = Bench::new().file("p.toml", "[models.b]\npreset = \"openai\"\n");
    let flags = ["--profiles", "p.toml", "--model", "a=very-slow", "--model", "b=very-fast"];
    let (_running, base) = serving(&bench, &flags);
    assert_eq!(
        (&profile(&base, "a")["name"], &profile(&base, "b")["name"]),
        (&"very-slow".into(), &"very-fast".into())
    );
    let listed = String::from_utf8(http::get(&base, "/v1/models", &[])).unwrap();
    assert!(listed.contains(r#""id":"a""#) && listed.contains(r#""id":"b""#), "{listed}");
}

#[test]
fn connections_beyond_the_most_are_told_or_hung_up_on() {
    for (flags, said) in [
        (&["--max-connections", "1"][..], ""),
        (&["--max-connections", "1", "--when-full", "hang-up"], ""),
        (&["--max-connections", "1", "--when-full", "refuse"], "HTTP/1.1 503 "),
    ] {
        let bench = Bench::new();
        let (_running, base) = serving(&bench, flags);
        let address = base.trim_start_matches("http://");
        let _first = TcpStream::connect(address).unwrap();
        let (mut second, mut answer) = (TcpStream::connect(address).unwrap(), String::new());
        // Closed, or reset where that overtook it.
        let _ = second.read_to_string(&mut answer);
        assert!(answer.starts_with(said) && answer.is_empty() == said.is_empty(), "{flags:?}: {answer}");
    }
    let bench = Bench::new();
    let (_running, base) = serving(&bench, &["--max-connections", "1", "--when-full", "queue"]);
    let first = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    std::thread::scope(|s| {
        let second = s.spawn(|| chat(&base));
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert!(!second.is_finished(), "it waits for the first");
        drop(first);
        assert!(second.join().unwrap().starts_with(b"HTTP/1.1 200"));
    });
}

#[test]
fn profiles_are_changed_from_elsewhere_only_with_leave() {
    let bench = Bench::new();
    let status =
        |base: &str| String::from_utf8_lossy(&http::get(base, "/mock/config", &[])[9..12]).into_owned();
    let (closed, base) = serving(&bench, &["--host", "0.0.0.0"]);
    assert_eq!(status(&base), "403");
    let ended = closed.interrupt().with(0);
    assert!(ended.stderr.contains("warning") && !ended.stderr.contains("/mock/config"), "{}", ended.stderr);
    let (open, base) = serving(&bench, &["--host", "0.0.0.0", "--allow-remote-admin"]);
    assert_eq!(status(&base), "200");
    let ended = open.interrupt().with(0);
    assert!(ended.stderr.contains("warning") && ended.stderr.contains("/mock/config"), "{}", ended.stderr);
    // On loopback there is nothing to warn of.
    let (open, base) = serving(&bench, &["--allow-remote-admin"]);
    assert_eq!(status(&base), "200");
    let ended = open.interrupt().with(0);
    assert!(ended.stderr.is_empty(), "{}", ended.stderr);
}

#[test]
fn one_slot_serves_one_at_a_time() {
    let bench = Bench::new();
    let flags = ["--slots", "1", "--output-tokens", "4", "--time-scale", "0.1", "--truth-log", "truth.jsonl"];
    let (running, base) = serving(&bench, &flags);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| chat(&base));
        }
    });
    running.interrupt().with(0);
    let truth = fs::read_to_string(bench.path().join("truth.jsonl")).unwrap();
    // From the start of service to the instant at which the end was due: the slot is free then, however late a busy
    // machine sent it.
    let due = |r: &Value| r["targets_ns"].as_array().unwrap().last().unwrap().as_u64().unwrap();
    let mut spans: Vec<(u64, u64)> = truth
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap())
        .map(|r| (r["service_start_ns"].as_u64().unwrap(), due(&r)))
        .collect();
    spans.sort_unstable();
    assert!(spans.len() == 4 && spans.windows(2).all(|w| w[0].1 <= w[1].0), "{spans:?}");
}

#[test]
fn one_key_or_any_but_bad_ones() {
    let bench = Bench::new();
    let (_any, any) = serving(&bench, &[]);
    let (_one, one) = serving(&bench, &["--api-key", "plum-key"]);
    assert_eq!(
        [status(&any, "plum-key"), status(&any, "other"), status(&any, "bad-key")],
        ["200", "200", "401"]
    );
    assert_eq!([status(&one, "plum-key"), status(&one, "other")], ["200", "401"]);
}

#[test]
fn secrets_are_taken_from_the_environment_and_never_shown() {
    let bench = Bench::new().env("LLMS_MOCK_API_KEY", "plum-key").env("LLMS_MOCK_AWS_SECRET", "plum-secret");
    let (running, base) = serving(&bench, &["--aws-key-id", "AKIDEXAMPLE", "--time-scale", "0.01"]);
    assert_eq!([status(&base, "plum-key"), status(&base, "other")], ["200", "401"]);
    let target = format!("bedrock:anthropic.m-v1:0@{base}");
    for (secret, code) in [("plum-secret", 0), ("other-secret", 3)] {
        let client =
            Bench::new().env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", secret);
        let client = client.env("AWS_REGION", "us-east-1");
        client.run(&["doctor", "--probe", "one-token", "--target", &target]).with(code);
    }
    let ended = running.interrupt().with(0);
    let help = bench
        .run(&["mock", "serve", "--help"])
        .with(0)
        .says("LLMS_MOCK_API_KEY")
        .says("LLMS_MOCK_AWS_SECRET");
    // Without the id of the key the secret is of no use.
    let alone = bench
        .run(&["mock", "serve", "--port", "0"])
        .with(2)
        .says("--aws-key-id")
        .says("LLMS_MOCK_AWS_SECRET");
    alone.is_one_message();
    let wrong = bench.run(&["mock", "serve", "--port", "x"]).with(2);
    for said in [&ended, &help, &alone, &wrong] {
        assert!(
            !format!("{}{}", said.stdout, said.stderr).contains("plum"),
            "{}{}",
            said.stdout,
            said.stderr
        );
    }
    // An argument wins over the environment; a variable that is set to nothing is no key.
    let (_running, base) =
        serving(&Bench::new().env("LLMS_MOCK_API_KEY", "plum-key"), &["--api-key", "pear-key"]);
    assert_eq!([status(&base, "plum-key"), status(&base, "pear-key")], ["401", "200"]);
    let empty = Bench::new().env("LLMS_MOCK_API_KEY", "");
    empty.run(&["mock", "serve", "--port", "0"]).with(2).says("--api-key").is_one_message();
}

#[test]
fn signatures_are_checked_against_the_pair() {
    let bench = Bench::new();
    let (_running, base) = serving(
        &bench,
        &["--aws-key-id", "AKIDEXAMPLE", "--aws-secret", "plum-secret", "--time-scale", "0.01"],
    );
    let target = format!("bedrock:anthropic.m-v1:0@{base}");
    for (id, secret, code) in [
        ("AKIDEXAMPLE", "plum-secret", 0),
        ("AKIDEXAMPLE", "other-secret", 3),
        ("AKIDOTHER", "plum-secret", 3),
    ] {
        let client = Bench::new().env("AWS_ACCESS_KEY_ID", id).env("AWS_SECRET_ACCESS_KEY", secret);
        let client = client.env("AWS_REGION", "us-east-1");
        client.run(&["doctor", "--probe", "one-token", "--target", &target]).with(code);
    }
}

#[test]
fn https_with_a_certificate_to_trust() {
    let bench = Bench::new();
    let (_running, base) = serving(&bench, &["--tls", "--tls-cert", "cert.pem"]);
    assert!(base.starts_with("https://"), "{base}");
    let pem = fs::read_to_string(bench.path().join("cert.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"), "{pem}");
    assert!(!pem.contains("PRIVATE"), "{pem}");
    let target = format!("ollama:m@{base}");
    // Trusted by whoever is told to, by nobody else.
    Bench::new().run(&["doctor", "--target", &target]).with(3).says("certificate");
}

#[test]
fn profiles_of_a_file_and_a_port_in_use() {
    let bench = Bench::new().file("p.toml", "[openai]\ntime_scale = 0.5\n[models.mine]\ntime_scale = 0.25\n");
    let (_running, base) = serving(&bench, &["--profiles", "p.toml"]);
    assert_eq!(profile(&base, Protocol::OpenAi)["time_scale"].as_f64(), Some(0.5));
    assert_eq!(body(&http::get(&base, "/mock/config/mine", &[]))["time_scale"].as_f64(), Some(0.25));
    let port = base.rsplit(':').next().unwrap();
    bench.run(&["mock", "serve", "--port", port]).with(2).says(port).is_one_message();
}

#[test]
fn every_situation_and_flag_is_in_the_help() {
    let help = Bench::new().run(&["mock", "serve", "--help"]).with(0).stdout;
    let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for (name, what) in SITUATIONS {
        // Long ones are wrapped.
        assert!(words.contains(&format!(" {name} {what}")), "{name} in:\n{help}");
    }
    for flag in [
        "--port",
        "--host",
        "--profiles",
        "--seed",
        "--truth-log",
        "--preset",
        "--time-scale",
        "--output-tokens",
        "--slots",
        "--threads",
        "--api-key",
        "--aws-key-id",
        "--aws-secret",
        "--allow-remote-admin",
        "--model",
        "--max-connections",
        "--when-full",
        "--tls",
        "--tls-cert",
        "/mock/config",
    ] {
        assert!(help.contains(flag), "{flag} in:\n{help}");
    }
}

#[track_caller]
fn refused(flags: &[&str], says: &[&str]) {
    let bench = Bench::new().file("p.toml", "[openai]\nfirst_tokn_ms = 5\n");
    let mut ended = bench.run(&[&["mock", "serve", "--port", "0"][..], flags].concat()).with(2);
    for text in says {
        ended = ended.says(text);
    }
    ended.is_one_message();
}

#[test]
fn wrong_values_are_told_before_anything_is_served() {
    refused(&["--preset", "gpt"], &["--preset", "very-slow", "gpt"]);
    for factor in ["0", "-1", "nan", "inf", "fast"] {
        refused(&[&format!("--time-scale={factor}")], &["time", "scale"]);
    }
    refused(&["--output-tokens=-1"], &["output-tokens"]);
    refused(&["--output-tokens", "0"], &["output", "tokens"]);
    refused(&["--slots", "0"], &["slots"]);
    refused(&["--threads", "0"], &["threads"]);
    refused(&["--threads", "100000"], &["threads"]);
    refused(&["--api-key", ""], &["api-key"]);
    refused(&["--api-key", "bad-secret-one"], &["--api-key", "bad-"]);
    refused(&["--aws-key-id", "AKIDEXAMPLE"], &["--aws-secret"]);
    refused(&["--aws-secret", "s"], &["--aws-key-id"]);
    refused(&["--aws-key-id", "AKIDEXAMPLE", "--aws-secret", ""], &["aws-secret"]);
    refused(&["--model", "own"], &["--model", "NAME=PRESET"]);
    refused(&["--model", "=openai"], &["--model", "NAME=PRESET"]);
    refused(&["--model", "own=gpt"], &["--model", "gpt", "very-slow"]);
    refused(&["--model", "a=openai", "--model", "a=ollama"], &["--model", "`a`", "twice"]);
    refused(&["--max-connections", "0"], &["max-connections"]);
    refused(&["--when-full", "cry"], &["when-full", "hang-up", "refuse", "queue"]);
    refused(&["--tls-cert", "c.pem"], &["--tls"]);
    refused(&["--tls", "--tls-cert", "no/such/c.pem"], &["no/such/c.pem"]);
    refused(&["--truth-log", "no/such/t.jsonl"], &["no/such/t.jsonl"]);
    refused(&["--profiles", "nope.toml"], &["--profiles", "nope.toml"]);
    refused(&["--profiles", "p.toml"], &["p.toml", "first_tokn_ms"]);
    refused(&["--host", "nowhere"], &["--host"]);
    refused(&["--port", "70000"], &["--port"]);
}
