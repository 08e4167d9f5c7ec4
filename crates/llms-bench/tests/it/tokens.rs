//! `llms-bench tokens`: what was planted in answers of simulated vendors comes out of the saved run, to the token and the cent.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use serde_json::Value;

use crate::common::{Bench, Running};

/// A model that caches, fails and runs into the limit, one that reasons in secret, and a plain one.
const PROFILES: &str = r#"
[models.gpt-4o]
ttft_ms = { kind = "constant", value = 2.0 }
gap_ms = { kind = "constant", value = 0.1 }
output_tokens = { kind = "log_normal", median = 60.0, spread = 0.6 }
cached_share = 0.25

[[models.gpt-4o.faults]]
kind = "server"
share = 0.1

[models.o4-mini]
ttft_ms = { kind = "constant", value = 2.0 }
gap_ms = { kind = "constant", value = 0.1 }
output_tokens = { kind = "constant", value = 20.0 }
reasoning = { tokens = { kind = "constant", value = 30.0 }, visible = false }

[models.plain]
ttft_ms = { kind = "constant", value = 2.0 }
gap_ms = { kind = "constant", value = 0.1 }
output_tokens = { kind = "constant", value = 20.0 }
"#;

const PRICES: &str = r#"{ "schema": 1, "source": "our contract", "date": "2026-05-01", "unit": "US dollars per million tokens",
  "models": [
    { "provider": "openai", "model": "gpt-4o", "input": "2.5", "output": "10", "cache_read": "1.25" },
    { "provider": "openai", "model": "o4-mini", "input": "1", "output": "4" } ] }"#;

/// A saved comparison of the three.
fn saved() -> (Bench, Running) {
    let bench = Bench::new().file("profiles.toml", PROFILES).file("prices.json", PRICES);
    let mut server =
        bench.start(&["mock", "serve", "--port", "0", "--seed", "1", "--profiles", "profiles.toml"]);
    let base = server.wait_for("OPENAI_BASE_URL=").split_once('=').unwrap().1.trim().to_owned();
    let targets = ["gpt-4o", "o4-mini", "plain"].map(|m| format!("openai:{m}@{base}"));
    let mut args = vec!["compare", "-n", "150", "--seed", "7", "--max-tokens", "64", "--concurrency", "4"];
    for t in &targets {
        args.extend(["--target", t]);
    }
    bench.run(&args);
    (bench, server)
}

#[test]
fn what_was_planted_comes_out_of_a_saved_run() {
    let (bench, _server) = saved();
    let ended = bench.run(&["tokens", "latest", "--prices", "prices.json", "--format", "json"]).with(0);
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    let of = |i: usize| &told[0]["usage"][i];
    let whole = |v: &Value| v.as_u64().unwrap_or_else(|| panic!("{v} in {told:#}"));
    let (cached, reasons, plain) = (of(0), of(1), of(2));

    let (input, read) = (&cached["tokens"]["input_uncached"], &cached["tokens"]["cache_read"]);
    let share = whole(read) as f64 / (whole(read) + whole(input)) as f64;
    assert!((0.15..=0.25).contains(&share), "a quarter, rounded down: {share}");
    assert!(whole(&cached["waste"]["failed"]["requests"]) > 0);
    assert!(whole(&cached["waste"]["truncated"]["requests"]) > 0);
    assert_eq!(
        whole(&cached["attempts"]),
        whole(&cached["ok"]) + whole(&cached["waste"]["failed"]["requests"])
    );
    assert_eq!(
        whole(&cached["useful"]),
        whole(&cached["ok"]) - whole(&cached["waste"]["truncated"]["requests"])
    );
    // disjoint classes at their prices, to the last digit
    let micro = 2.5 * whole(input) as f64
        + 1.25 * whole(read) as f64
        + 10.0 * whole(&cached["tokens"]["output"]) as f64;
    let total: f64 = cached["cost"]["total_usd"].as_str().unwrap().parse().unwrap();
    assert!((total - micro / 1e6).abs() < 1e-12, "{total} where {micro} millionths are due");

    let ok = whole(&reasons["ok"]);
    assert_eq!(whole(&reasons["tokens"]["reasoning"]), 30 * ok);
    assert_eq!(whole(&reasons["tokens"]["output"]), 50 * ok);
    assert!(plain["cost"]["total_usd"].is_null(), "no price, no cost");
    let hints = told[0]["hints"]["recommendations"].as_array().unwrap();
    let rules: Vec<_> =
        hints.iter().map(|h| (h["rule"].as_str().unwrap(), h["target"].as_str().unwrap())).collect();
    assert!(
        rules.iter().any(|(rule, of)| *rule == "reasoning_effort" && of.contains("o4-mini")),
        "{rules:?}"
    );
    assert!(
        rules.iter().any(|(rule, of)| *rule == "max_tokens_too_low" && of.contains("gpt-4o")),
        "{rules:?}"
    );
    assert!(hints.iter().all(|h| 0.0 < h["effect"]["low"]["value"].as_f64().unwrap()), "{hints:#?}");
}

#[test]
fn text_has_the_numbers_and_what_was_not_judged() {
    let (bench, _server) = saved();
    let asked = ["tokens", "latest", "--prices", "prices.json"];
    let text =
        bench.run(&asked).with(0).says("reasoning)").says("our contract, openai:gpt-4o").says("Not judged");
    let wide = text.stdout.lines().map(|l| l.chars().count()).max().unwrap();
    assert!(wide <= 80, "{wide} columns:\n{}", text.stdout);
    let again = [&asked[..], &["latest", "--hint", "cost_optimization", "--format", "markdown"]].concat();
    bench.run(&again).with(0).says("# Tokens and cost of run").says("looked for again");
    bench.run(&["tokens", "latest", "--hint", "caching"]).with(2).says("cost_optimization");
    bench.run(&["tokens", "latest", "--deferrable", "2"]).with(2);
    bench.run(&["tokens", "nothing-of-that-name"]).with(2).is_one_message();
}
