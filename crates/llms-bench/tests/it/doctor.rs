//! `llms-bench doctor`: what it finds, says and ends with, for each provider against the simulated vendors.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use crate::common;

use bench_mock::server::{Protocol, ServerConfig};
use common::{
    Bench, Ended,
    http::{answer, serve},
    nobody, quick, vendors,
};
use secrecy::SecretString;
use serde_json::Value;

const KEY: &str = "plum-right-key";

/// Keys for everybody.
fn with_keys(key: &str) -> Bench {
    let bench = Bench::new().env("OPENAI_API_KEY", key).env("ANTHROPIC_API_KEY", key);
    bench.env("AWS_BEARER_TOKEN_BEDROCK", key).env("AWS_REGION", "us-east-1")
}

fn name(protocol: Protocol) -> &'static str {
    protocol.as_str()
}

/// The targets found, after the exit code was looked at.
#[track_caller]
fn targets(ended: Ended, code: i32) -> Vec<Value> {
    let ended = ended.with(code);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    for section in ["keys", "machine", "targets"] {
        assert!(found[section].is_array(), "{found}");
    }
    found["targets"].as_array().unwrap().clone()
}

const JSON: [&str; 3] = ["doctor", "--format", "json"];

#[test]
fn all_well_with_every_provider_over_both_clients_and_both_probes() {
    let server = vendors();
    for transport in ["direct", "pooled"] {
        for probe in ["cheap", "one-token"] {
            for protocol in Protocol::ALL {
                let target = format!("{}:mock@{}", name(protocol), server.base_url(protocol));
                let args =
                    [&JSON[..], &["--transport", transport, "--probe", probe, "--target", &target]].concat();
                let found = targets(with_keys(KEY).run(&args), 0);
                let found = &found[0];
                assert_eq!(found["mark"], "ok", "{args:?} {found}");
                assert_eq!(found["health"], "healthy", "{found}");
                assert!(found["advice"].is_null() && found["latency_ms"].is_f64(), "{found}");
                if transport == "direct" {
                    assert!(found["tcp_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{found}");
                }
            }
        }
    }
}

#[test]
fn the_cheap_probe_generates_nothing_and_the_other_one_token() {
    for (probe, tokens) in [("cheap", false), ("one-token", true)] {
        for protocol in Protocol::ALL {
            let server = vendors();
            let target = format!("{}:mock@{}", name(protocol), server.base_url(protocol));
            let args = ["doctor", "--probe", probe, "--target", &target];
            let ended = with_keys(KEY).run(&args).with(0).says("ok");
            let generated: Vec<u32> = server
                .truth()
                .iter()
                .map(|t| t.writes.iter().map(|w| w.tokens).sum())
                .filter(|n| *n > 0)
                .collect();
            // Bedrock has no list of models at the address of its runtime.
            if tokens || protocol == Protocol::Bedrock {
                assert!(
                    generated.len() <= 1 && generated.iter().all(|n| *n <= 1),
                    "{protocol}: {generated:?}"
                );
            } else {
                assert!(generated.is_empty(), "{protocol}: {generated:?}");
            }
            assert_eq!(tokens, !generated.is_empty(), "{protocol} {probe}\n{}", ended.stdout);
        }
    }
}

#[track_caller]
fn broken(protocol: Protocol, model: &str, base: &str, key: &str, probe: &str, says: &[&str]) {
    let target = format!("{}:{model}@{base}", name(protocol));
    let args = ["doctor", "--probe", probe, "--target", &target, "--timeout", "5s"];
    let text = with_keys(key).run(&args).with(3);
    assert!(text.stderr.is_empty(), "{}", text.stderr);
    let lower = text.stdout.to_lowercase();
    for word in says {
        assert!(lower.contains(&word.to_lowercase()), "{args:?}: expected `{word}` in:\n{}", text.stdout);
    }
    assert!(text.stdout.contains("FAIL") && !text.stdout.contains(key), "{}", text.stdout);
    let found = targets(with_keys(key).run(&[&args[..], &["--format", "json"]].concat()), 3);
    assert_eq!(found[0]["mark"], "fail");
    let reason = found[0]["advice"].as_str().unwrap();
    assert!(!reason.contains(key) && text.stdout.contains(reason.lines().next().unwrap()), "{reason}");
}

#[test]
fn wrong_keys() {
    let config = ServerConfig { api_key: Some(SecretString::from(KEY)), ..ServerConfig::default() };
    let server = quick(config).start().unwrap();
    for protocol in [Protocol::OpenAi, Protocol::Anthropic, Protocol::Bedrock] {
        for probe in ["cheap", "one-token"] {
            if (protocol, probe) != (Protocol::Bedrock, "cheap") {
                broken(
                    protocol,
                    "mock",
                    &server.base_url(protocol),
                    "plum-wrong-key",
                    probe,
                    &["key", "authentication"],
                );
            }
        }
        let target = format!("{}:mock@{}", name(protocol), server.base_url(protocol));
        with_keys(KEY).run(&["doctor", "--probe", "one-token", "--target", &target]).with(0);
    }
}

#[test]
fn missing_models() {
    let server = vendors();
    for protocol in Protocol::ALL {
        broken(protocol, "mock-missing", &server.base_url(protocol), KEY, "one-token", &["mock-missing"]);
        if protocol != Protocol::Bedrock {
            broken(protocol, "mock-missing", &server.base_url(protocol), KEY, "cheap", &["mock-missing"]);
        }
    }
}

#[test]
fn nobody_there() {
    let nobody = nobody();
    let host = nobody.trim_start_matches("http://").to_owned();
    for protocol in Protocol::ALL {
        for probe in ["cheap", "one-token"] {
            broken(protocol, "mock", &nobody, KEY, probe, &[&host]);
        }
    }
}

#[test]
fn something_else_there() {
    let page = serve(|_| answer(200, "text/html", "", b"<html><body>It works!</body></html>"));
    for protocol in Protocol::ALL {
        broken(protocol, "mock", &page, KEY, "one-token", &[name(protocol)]);
        if protocol != Protocol::Bedrock {
            broken(protocol, "mock", &page, KEY, "cheap", &[]);
        }
    }
    // The right vendors by the wrong protocol.
    let server = vendors();
    broken(Protocol::Ollama, "mock", &server.base_url(Protocol::OpenAi), KEY, "one-token", &["/v1"]);
    // HTTPS where plain HTTP is spoken.
    let https = server.base_url(Protocol::Anthropic).replace("http:", "https:");
    broken(Protocol::Anthropic, "mock", &https, KEY, "cheap", &["tls"]);
}

#[test]
fn one_broken_target_among_others_is_told_and_the_others_too() {
    let server = vendors();
    let (well, broken) = (format!("ollama:mock@{}", server.base_url(Protocol::Ollama)), nobody());
    let broken = format!("openai:gone@{broken}");
    let found =
        targets(with_keys(KEY).run(&[&JSON[..], &["--target", &broken, "--target", &well]].concat()), 3);
    let marks: Vec<_> =
        found.iter().map(|t| (t["name"].as_str().unwrap(), t["mark"].as_str().unwrap())).collect();
    assert_eq!(marks, [("openai:gone", "fail"), ("ollama:mock", "ok")]);
}

#[test]
fn targets_of_a_configuration_file() {
    let server = vendors();
    let url = server.base_url(Protocol::OpenAi);
    let table = format!(
        "[[target]]\nname = \"mine\"\nprovider = \"openai\"\nmodel = \"mock\"\nbase_url = \"{url}\"\nhealth = \"one_token\"\n"
    );
    // Found in the working directory, and where --config points; flags are added.
    let found = targets(with_keys(KEY).file("llms-bench.toml", &table).run(&JSON), 0);
    assert_eq!((found.len(), &found[0]["name"]), (1, &Value::from("mine")));
    assert_eq!(
        server.truth().last().unwrap().writes.iter().map(|w| w.tokens).sum::<u32>(),
        1,
        "the table asked for a call of one token"
    );
    let bench = with_keys(KEY).file("other.toml", &table);
    let args = ["--config", "other.toml", "--target", "mock:default", "--probe", "cheap"];
    let found = targets(bench.run(&[&JSON[..], &args].concat()), 0);
    assert_eq!(found.len(), 2);
    assert!(found[1]["endpoint"].is_null() && found[1]["mark"] == "ok", "{found:?}");
    // A table that cannot be used is a finding like others; one that cannot be read is wrong usage.
    let unset = format!("{table}api_key_env = \"NOT_SET_HERE\"\n");
    Bench::new().file("llms-bench.toml", &unset).run(&["doctor"]).says("NOT_SET_HERE");
    let wrong = Bench::new().file("llms-bench.toml", "[[target]\n").run(&["doctor"]).with(2).says("line 1");
    wrong.is_one_message();
}

#[test]
fn keys_are_named_and_never_shown() {
    let bench = with_keys(KEY).env("OLLAMA_HOST", "http://me:plum-password@10.0.0.1:1");
    let bench = bench.env("OPENAI_BASE_URL", "http://127.0.0.1:9/v1?key=plum-query");
    for args in [&["doctor"][..], &JSON] {
        let ended = bench.run(args).with(0);
        for said in
            ["OPENAI_API_KEY set", "ANTHROPIC_API_KEY set", "AWS_BEARER_TOKEN_BEDROCK set", "us-east-1"]
        {
            assert!(ended.stdout.contains(said), "expected {said} in {}", ended.stdout);
        }
        assert!(
            ended.stdout.contains("127.0.0.1:9") && ended.stdout.contains("10.0.0.1"),
            "{}",
            ended.stdout
        );
        assert!(!ended.stdout.contains("plum"), "{}", ended.stdout);
    }
    Bench::new().run(&["doctor"]).with(0).says("no key; set OPENAI_API_KEY").says("none named: add --target");
}

#[test]
fn proxies_are_told_to_be_unused() {
    let bench = Bench::new().env("HTTPS_PROXY", "http://me:plum-proxy@127.0.0.1:1");
    let ended = bench.run(&["doctor"]).with(0).says("HTTPS_PROXY set, and not used");
    assert!(!ended.stdout.contains("plum"));
}

#[test]
fn a_missing_key_is_a_finding_with_advice() {
    let found = targets(Bench::new().run(&[&JSON[..], &["--target", "openai:gpt-4o"]].concat()), 3);
    assert!(found[0]["advice"].as_str().unwrap().contains("OPENAI_API_KEY"), "{found:?}");
    assert!(found[0]["health"].is_null());
}

#[test]
fn wrong_usage() {
    for (args, says) in [
        (&["doctor", "--target", "gpt-4o"][..], "provider:model"),
        (&["doctor", "--probe", "deep"], "one-token"),
        (&["doctor", "--format", "xml"], "json"),
        (&["doctor", "--timeout", "soon"], "such as"),
        (&["doctor", "--config", "nope.toml"], "nope.toml"),
        (&["doctor", "--log", "llms=loud"], "--log"),
    ] {
        Bench::new().run(args).with(2).says(says).is_one_message();
    }
}

#[test]
fn the_help_says_what_it_looks_at_and_what_it_costs() {
    let help = Bench::new().run(&["doctor", "--help"]).with(0);
    for said in [
        "Keys, addresses, clock",
        "--target",
        "--config",
        "--probe",
        "one-token",
        "costs",
        "--timeout",
        "--format",
    ] {
        assert!(help.stdout.contains(said), "expected {said} in {}", help.stdout);
    }
    Bench::new().run(&["--help"]).with(0).says("doctor").says("Exit codes");
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let bench = with_keys(KEY);
    let serve = ["mock", "serve", "--port", "0", "--tls", "--tls-cert", "root.pem"];
    let mut server = bench.start(&serve);
    let line = server.wait_for("OPENAI_BASE_URL=");
    let target = format!("openai:mock@{}", line.split_once('=').unwrap().1.trim());
    for transport in ["direct", "pooled"] {
        let args = ["doctor", "--transport", transport, "--target", &target];
        bench.run(&args).with(3).says("--ca-cert");
        bench.run(&[&args[..], &["--ca-cert", "root.pem"]].concat()).with(0).says("ok");
    }
    let bench = bench.env("SSL_CERT_FILE", "root.pem");
    bench.run(&["doctor", "--target", &target]).with(0).says("ok");
    let bench = bench.env("SSL_CERT_FILE", "nowhere.pem");
    let ended = bench.run(&["doctor", "--target", &target]).with(2);
    assert!(ended.stderr.contains("SSL_CERT_FILE: nowhere.pem: cannot read"), "{}", ended.stderr);
    std::fs::write(bench.path().join("other.pem"), "no certificate").unwrap();
    let bench = bench.env("SSL_CERT_FILE", "");
    let ended = bench.run(&["doctor", "--target", &target, "--ca-cert", "other.pem"]).with(2);
    assert!(
        ended.stderr.contains("--ca-cert: other.pem: expected at least one PEM block"),
        "{}",
        ended.stderr
    );
}
