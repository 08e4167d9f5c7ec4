//! `llms-bench backpressure`: a server that does each of the four things, and one whose kernel hid it.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use serde_json::Value;

use crate::common::{Bench, Running};

/// About 160 kB in 1.6 s, of which the server's kernel holds some 16 kB; one model for each thing that a server can do, and
/// one whose system holds megabytes.
fn serving() -> (Bench, Running, String) {
    let mut profiles = String::new();
    for (mode, buffer) in [
        ("pause", "send_buffer = 8192"),
        ("buffer", "send_buffer = 8192"),
        ("drop", "send_buffer = 8192"),
        ("kill", "send_buffer = 8192"),
        ("hidden", ""),
    ] {
        let does = if mode == "hidden" { "pause" } else { mode };
        let wire =
            [&format!("slow_reader = \"{does}\""), buffer].join(if buffer.is_empty() { "" } else { ", " });
        profiles.push_str(&format!(
            "[models.{mode}]\nttft_ms = {{ kind = \"constant\", value = 20.0 }}\ngap_ms = {{ kind = \"constant\", value = 2.0 }}\n\
             output_tokens = {{ kind = \"constant\", value = 800.0 }}\nwire = {{ {wire} }}\n"
        ));
    }
    let bench = Bench::new().file("profiles.toml", &profiles);
    let mut server =
        bench.start(&["mock", "serve", "--port", "0", "--seed", "1", "--profiles", "profiles.toml"]);
    let line = server.wait_for("OPENAI_BASE_URL=");
    let base = line.split_once('=').unwrap().1.trim().to_owned();
    (bench, server, base)
}

fn found(bench: &Bench, base: &str, model: &str, more: &[&str], code: i32) -> Value {
    let target = format!("openai:{model}@{base}");
    let args =
        ["backpressure", "--target", &target, "--pause", "1200ms", "--max-tokens", "800", "--format", "json"];
    let ended = bench.run(&[&args[..], more].concat()).with(code);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn each_thing_that_a_server_can_do_is_named() {
    let (bench, _server, base) = serving();
    for class in ["pause", "buffer", "drop", "kill"] {
        let json = found(&bench, &base, class, &["--buffers", "65536", "--neighbours", "0"], 0);
        assert_eq!(json["class"], class, "{json:#}");
        assert_eq!(json["readers"].as_array().unwrap().len(), 3);
        assert!(json["neighbours"].is_null(), "not asked for");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn what_the_kernels_hold_is_inconclusive() {
    let (bench, _server, base) = serving();
    let json = found(&bench, &base, "hidden", &["--readers", "1", "--neighbours", "0"], 5);
    assert_eq!(json["class"], "inconclusive", "{json:#}");
    let why = json["readers"][0]["why"].as_str().unwrap();
    assert!(why.contains("may hold") && why.contains("longer answer"), "{why}");
}

#[test]
fn neighbours_are_judged_by_pairs_and_the_text_says_so() {
    let (bench, _server, base) = serving();
    let target = format!("openai:kill@{base}");
    let ended = bench
        .run(&[
            "backpressure",
            "--target",
            &target,
            "--pause",
            "1200ms",
            "--max-tokens",
            "400",
            "--buffers",
            "32768",
            "--readers",
            "1",
            "--neighbours",
            "3",
            "--crowd",
            "2",
        ])
        .with(0);
    for said in ["KILL", "at full speed: 400 chunks", "did not read for", "neighbours", "(3 pairs)"] {
        assert!(ended.stdout.contains(said), "{said}: {}", ended.stdout);
    }
}

#[test]
fn what_cannot_be_honoured_is_refused() {
    let bench = Bench::new();
    let nobody = "openai:m@http://127.0.0.1:1/v1";
    bench
        .run(&["backpressure", "--target", nobody, "--transport", "pooled"])
        .with(2)
        .says("pooled")
        .is_one_message();
    bench.run(&["backpressure", "--target", nobody]).with(3).is_one_message();
    bench.run(&["backpressure"]).with(2).says("--target");
}
