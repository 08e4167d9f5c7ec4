//! Findings as text and as JSON.

use std::fmt::Write;

use llms_core::health::HealthState;

use super::{Finding, Findings, Mark, TargetFinding, facts};

fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Ok => "ok  ",
        Mark::Warn => "warn",
        Mark::Fail => "FAIL",
    }
}

pub(super) fn text(found: &Findings) -> String {
    let mut out = String::new();
    for (title, findings) in [("Keys", &found.keys), ("This machine", &found.machine)] {
        section(&mut out, title, findings);
    }
    out.push_str("Targets\n");
    if found.targets.is_empty() {
        out.push_str("  none named: add --target provider:model, or [[target]] tables in llms-bench.toml\n");
    }
    for target in &found.targets {
        describe(&mut out, target);
    }
    out
}

fn section(out: &mut String, title: &str, findings: &[Finding]) {
    let width = findings.iter().map(|f| f.what.chars().count()).max().unwrap_or(0);
    let _ = writeln!(out, "{title}");
    for f in findings {
        let _ = writeln!(out, "  {}  {:width$}  {}", mark(f.mark), f.what, f.found);
    }
    out.push('\n');
}

fn describe(out: &mut String, t: &TargetFinding) {
    let endpoint = t.endpoint.as_deref().unwrap_or("–");
    let _ = writeln!(out, "  {}  {}  {endpoint}", mark(t.mark), t.name);
    let mut line = |text: &str| {
        let _ = writeln!(out, "        {text}");
    };
    if let Some(advice) = &t.advice {
        line(advice);
    }
    let mut times = Vec::new();
    if let Some(latency) = t.latency_ms {
        // A refusal is an answer; no connection is none.
        let verb = if t.health == Some(HealthState::Unhealthy) { "probe ended after" } else { "answered in" };
        times.push(format!("{verb} {latency:.1} ms"));
    }
    for (what, ms) in [("DNS", t.dns_ms), ("TCP", t.tcp_ms), ("TLS", t.tls_ms)] {
        times.extend(ms.map(|ms| format!("{what} {ms:.1} ms")));
    }
    if let Some(ahead) = t.clock_ahead_s.filter(|s| *s != 0.0) {
        times.push(format!("our clock is {ahead:+.0} s against the server's"));
    }
    if !times.is_empty() {
        line(&times.join(" · "));
    }
    if !t.details.is_empty() {
        line(&facts(&t.details));
    }
}

pub(super) fn json(found: &Findings) -> String {
    serde_json::to_string_pretty(found).expect("invariant: findings are plain data") + "\n"
}
