//! T020: scenario files with messages that say where and what, and a stable configuration hash.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use std::{fs, time::Duration};

use bench_runner::{
    ScenarioRegistry, load_prompts, load_scenario,
    workload::{data_hash, from_json, from_toml, scenario_hash},
};
use llms_core::{
    ErrorCode,
    bench::{Arrivals, Load, Scenario, Seeds},
};

const FULL: &str = r#"
name = "chat under load"
description = "what it is for"
prompts = ["What is 2+2?", { id = "haiku", text = "Write a haiku." }]
system = "Be brief."
duration = "90s"
timeout = "2m"
drain = 5
cache_bust = true
slo = ["ttft:p99<500ms", "tpot:50"]
order = "sequential"

[load]
mode = "open"
rate = 12.5
arrivals = "constant"
max_concurrency = 64

[warmup]
requests = 8

[options]
max_tokens = 100
temperature = 0.0

[seeds]
arrivals = 7
"#;

#[test]
fn a_full_file_reads() {
    let s = from_toml(FULL).unwrap();
    assert_eq!(s.name, "chat under load");
    assert_eq!(s.prompts.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["p0", "haiku"]);
    assert_eq!(s.load, Load::open(12.5, Arrivals::Constant).capped(64));
    assert_eq!((s.duration, s.timeout), (Some(Duration::from_secs(90)), Duration::from_mins(2)));
    assert_eq!((s.slo.len(), s.warmup.requests, s.seeds.arrivals), (2, 8, Some(7)));
}

#[track_caller]
fn refuses(toml: &str, expected: &[&str]) {
    let e = from_toml(toml).unwrap_err();
    assert_eq!(e.code(), ErrorCode::InvalidConfig);
    for part in expected {
        assert!(e.message().contains(part), "expected `{part}` in: {}", e.message());
    }
}

#[test]
fn messages_say_where_and_what() {
    refuses("name = \"x\"\nprompts = [\"a\"\n", &["scenario:"]);
    refuses("name = \"x\"\nconcurency = 4\n", &["scenario:2:1", "unknown field `concurency`"]);
    refuses("name = \"x\"\nprompts = [5]\n", &["scenario:2:", "expected a prompt: a text"]);
    refuses("prompts = [\"a\"]\ntimeout = \"soon\"\n", &["scenario:2:", "expected a duration such as 250ms"]);
    refuses(
        "prompts = [\"a\"]\nslo = [\"speed:5\"]\n",
        &["scenario:2:", "no latency metric is called `speed`"],
    );
    // Out of range: all of them at once, each with its line.
    refuses(
        "name = \"x\"\nrequests = 0\nprompts = [\"a\"]\n\n[load]\nmode = \"open\"\nrate = 0\n\n[options]\ntemperature = 9\n",
        &[
            "scenario:2: requests: expected at least 1, found 0",
            "scenario:7: load.rate: expected requests per second above 0, found 0",
            "scenario:10: options.temperature: expected a number from 0 to 2, found 9",
        ],
    );
    refuses(
        "requests = 1\nprompts = [\n  { id = \"a\", text = \"x\" },\n  { id = \"a\", text = \"y\" },\n]\n",
        &["scenario:4: prompts[1].id: expected an id used once"],
    );
    refuses(
        "name = \"x\"\nprompts = [\"a\"]\n",
        &["scenario: requests: expected a number of requests or a duration"],
    );
}

#[test]
fn json_files_say_where_too() {
    let e = from_json("{\n  \"name\": \"x\",\n  \"promts\": []\n}").unwrap_err();
    assert!(e.message().starts_with("scenario:3:10: unknown field `promts`"), "{e}");
    let e = from_json(r#"{"name": "x", "prompts": ["a"], "requests": 0}"#).unwrap_err();
    assert!(e.message().contains("requests: expected at least 1"), "{e}");
}

#[test]
fn files_are_read_by_their_extension() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let toml = load_scenario(&write("s.toml", FULL)).unwrap();
    let json = load_scenario(&write("s.json", &serde_json::to_string(&toml).unwrap())).unwrap();
    assert_eq!(toml, json);
    for (path, expected) in [
        (write("s.yaml", "name: x"), "ending in .toml or .json"),
        (dir.path().join("missing.toml"), "cannot read the scenario file"),
        (write("bad.toml", "name = \n"), "bad.toml:1:"),
    ] {
        let e = load_scenario(&path).unwrap_err();
        assert!(e.message().contains(expected), "{e}");
    }
    assert_eq!(load_prompts(&write("p.txt", "one\n\ntwo\n")).unwrap().len(), 2);
    assert!(load_prompts(&write("empty.jsonl", "\n")).unwrap_err().message().contains("at least one prompt"));
}

#[test]
fn the_configuration_hash_is_stable() {
    let s = from_toml(FULL).unwrap();
    let hash = scenario_hash(&s);
    assert_eq!(hash.len(), 64);
    let elsewhere = from_json(&serde_json::to_string(&s).unwrap()).unwrap();
    assert_eq!(scenario_hash(&elsewhere), hash, "the file format does not matter");
    assert_eq!(scenario_hash(&Scenario { seeds: Seeds::from_one(9), ..s.clone() }), hash, "nor do seeds");
    let other = [
        Scenario { name: "other".to_owned(), ..s.clone() },
        Scenario { timeout: Duration::from_secs(1), ..s.clone() },
        Scenario { load: Load::closed(3), ..s.clone() },
        Scenario { streaming: false, ..s.clone() },
    ];
    assert!(other.iter().all(|o| scenario_hash(o) != hash));
    assert_eq!(data_hash(&other[0]), data_hash(&s));
}

/// A hash that changes makes old runs incomparable with new ones: change it only on purpose, and say so in the
/// changelog. Expected values by another implementation (Python's json and hashlib).
#[test]
fn the_hash_of_a_known_scenario_is_pinned() {
    let s = Scenario { requests: Some(10), ..Scenario::new("pinned", ["What is 2+2?"]) };
    assert_eq!(scenario_hash(&s), "f4d1aa4e4490f82edfb68c2bb086f30beef06bb7eb13688a93c607e6a19a93c2");
    assert_eq!(data_hash(&s), "ddaddfdd90cd6f88b06baf2c8c6febbaa3b0af8b504e0b6dde6a39ce20acb16e");
    let registry = ScenarioRegistry::builtin();
    let all: Vec<String> = registry.iter().map(scenario_hash).collect();
    assert!(all.iter().enumerate().all(|(i, h)| all[..i].iter().all(|o| o != h)));
}
