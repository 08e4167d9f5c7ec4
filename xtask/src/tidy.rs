//! Checks the house: arrows between crates from `cargo metadata`, files every room must have.
#![allow(clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

use std::{fs, process::ExitCode};

use serde_json::Value;

use crate::process;

/// Crates that may depend on any of ours: the wiring, and the end-to-end tests.
const WIRING: &[&str] = &["llms-bench", "llms-bench-tests"];
/// Every other crate may depend on this one of ours, outside dev-dependencies.
const CORE: &str = "llms-core";
/// Packages that must not be in the closure of the core: no sockets, no vendors, no telemetry.
const HEAVY: &[&str] =
    &["reqwest", "hyper", "rustls", "aws-sdk-bedrockruntime", "aws-config", "opentelemetry"];
/// Files that every provider crate has, so that who has learned one knows them all.
const PROVIDER_FILES: &[&str] = &[
    "src/lib.rs",
    "src/config.rs",
    "src/wire.rs",
    "src/request.rs",
    "src/stream.rs",
    "src/error.rs",
    "src/hooks.rs",
    "tests/replay.rs",
    "tests/recordings/SOURCES.md",
    "WIRE.md",
];
const ROOT_FILES: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "clippy.toml",
    "rustfmt.toml",
    "deny.toml",
    ".ci/run",
    "Cargo.lock",
];

pub(crate) fn run() -> ExitCode {
    process::say("tidy");
    match problems() {
        Ok(problems) if problems.is_empty() => {
            eprintln!("── tidy passed");
            ExitCode::SUCCESS
        }
        Ok(problems) => {
            for p in problems {
                eprintln!("tidy: {p}");
            }
            ExitCode::FAILURE
        }
        Err(e) => {
            eprintln!("tidy: {e}");
            ExitCode::FAILURE
        }
    }
}

fn problems() -> Result<Vec<String>, String> {
    let out = process::cargo_output(["metadata", "--format-version", "1", "--no-deps", "--locked"])?;
    let metadata: Value = serde_json::from_slice(&out).map_err(|e| format!("cargo metadata: {e}"))?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata: no packages")?;
    let ours: Vec<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut problems = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        if !package["source"].is_null() {
            continue;
        }
        for dep in package["dependencies"].as_array().into_iter().flatten() {
            problems.extend(arrow(name, dep, &ours));
        }
        if name.starts_with("llms-providers-") {
            let dir = process::root().join("crates").join(name);
            problems.extend(
                PROVIDER_FILES
                    .iter()
                    .filter(|f| !dir.join(f).exists())
                    .map(|f| format!("{name} lacks {f}; every provider crate has the same files")),
            );
        }
    }
    problems.extend(
        ROOT_FILES
            .iter()
            .filter(|f| !process::root().join(f).exists())
            .map(|f| format!("the root lacks {f}")),
    );
    problems.extend(core_closure()?);
    problems.extend(undescribed(&ours));
    Ok(problems)
}

/// The rule of the house: every crate but the wiring depends, of ours, on the core alone.
fn arrow(name: &str, dep: &Value, ours: &[&str]) -> Option<String> {
    let to = dep["name"].as_str()?;
    let dev = dep["kind"].as_str() == Some("dev");
    let provider_transport =
        name.starts_with("llms-providers-") && to == "llms-transport" && dep["optional"] == Value::Bool(true);
    let allowed = !ours.contains(&to) || to == CORE || dev || WIRING.contains(&name) || provider_transport;
    (!allowed).then(|| format!("{name} -> {to} is no arrow of the house; pass the part in as a trait of {CORE}, or change ARCHITECTURE.md"))
}

fn core_closure() -> Result<Vec<String>, String> {
    let out = process::cargo_output([
        "tree",
        "--package",
        CORE,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--locked",
    ])?;
    let tree = String::from_utf8_lossy(&out);
    let has = |heavy: &&&str| tree.lines().any(|l| l.split(' ').next() == Some(**heavy));
    Ok(HEAVY.iter().filter(has).map(|h| format!("{CORE} pulls in {h}; the core stays light")).collect())
}

/// ARCHITECTURE.md has a paragraph for every crate.
fn undescribed(ours: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(process::root().join("ARCHITECTURE.md")).unwrap_or_default();
    let provider = |n: &str| n.starts_with("llms-providers-") && text.contains("llms-providers-");
    ours.iter()
        .filter(|n| **n != "llms-bench-tests" && !text.contains(&format!("`{n}`")) && !provider(n))
        .map(|n| format!("ARCHITECTURE.md does not describe `{n}`"))
        .collect()
}
