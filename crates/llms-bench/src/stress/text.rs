//! A ladder for the terminal.

use std::fmt::Write as _;

use bench_analysis::soak::ladder::{FailureMode, RungFound, quantile_of};
use llms_core::bench::{Level, Measured};

use super::Found;
use crate::soak::text::{bounded, latency, percent, recovered, time};

/// All of it.
pub(super) fn render(found: &Found<'_>) -> String {
    let ladder = found.ladder;
    let simulated = if found.simulated { " (simulated)" } else { "" };
    let mut out = format!("{}{simulated}: {} of requests with ", found.target, percent(found.share));
    match ladder.good_within_s {
        Some(s) => {
            let _ = writeln!(out, "a whole answer within {} (3 × the baseline's p95)", latency(s));
        }
        None if found.objectives.is_empty() => out.push_str("a whole answer\n"),
        None => {
            let _ = writeln!(out, "{}", found.objectives.join(", "));
        }
    }
    let _ = writeln!(out, "\nstep    rate/s  offered/s  answered/s  goodput/s      good  verdict");
    for rung in ladder.baseline.iter().chain(&ladder.rungs) {
        row(&mut out, rung);
    }
    for rung in ladder.baseline.iter().chain(&ladder.rungs) {
        details(&mut out, rung);
    }
    out.push('\n');
    match (found.first_failing, found.highest_held) {
        (Some(rate), Some(held)) => {
            let _ = writeln!(out, "first failing step: {rate:.2}/s; {held:.2}/s held");
        }
        (Some(rate), None) => {
            let _ = writeln!(out, "first failing step: {rate:.2}/s; no step held below it");
        }
        (None, Some(held)) => {
            let _ = writeln!(out, "no step failed; the highest held was {held:.2}/s");
        }
        (None, None) => out.push_str("no step was climbed, or none could be offered\n"),
    }
    if found.collapsed {
        out.push_str(
            "goodput collapsed: after the load had dropped the service did not come back by itself\n",
        );
    }
    if found.interrupted {
        out.push_str("interrupted: the ladder is not whole\n");
    }
    out
}

fn name(rung: &RungFound) -> String {
    if rung.plan.number == 0 { "base".to_owned() } else { rung.plan.number.to_string() }
}

fn row(out: &mut String, rung: &RungFound) {
    let _ = writeln!(
        out,
        "{:>4}  {:>8.2}  {:>9}  {:>10}  {:>9.2}  {:>8}  {}",
        name(rung),
        rung.plan.rate,
        rung.offered.value().map_or("–".to_owned(), |v| format!("{v:.2}")),
        rung.achieved.value().and_then(|e| e.value.value).map_or("–".to_owned(), |v| format!("{v:.2}")),
        rung.goodput,
        rung.good_share.map_or("–".to_owned(), percent),
        match rung.failure {
            None => "holds",
            Some(FailureMode::Latency) => "fails: too slow",
            Some(FailureMode::RateLimited) => "fails: refused (429)",
            Some(FailureMode::ServerError) => "fails: server errors, refusals (5xx)",
            Some(FailureMode::Connection) => "fails: connections break",
            Some(FailureMode::Timeout) => "fails: timeouts",
            Some(FailureMode::Other) => "fails: errors",
            Some(FailureMode::Client) => "says nothing: this client could not offer the rate",
        }
    );
}

fn details(out: &mut String, rung: &RungFound) {
    let _ = writeln!(out, "\n{}, {:.2}/s:", name(rung), rung.plan.rate);
    for metric in ["ttft", "e2e"] {
        let shown: Vec<String> = [(0.5, "p50"), (0.99, "p99")]
            .into_iter()
            .filter_map(|(p, label)| {
                let (value, low, high) = quantile_of(rung, metric, p)?;
                let limits = match (low, high) {
                    (None, None) => "no interval".to_owned(),
                    _ => format!("{} to {}", bounded(low), bounded(high)),
                };
                Some(format!("{label} {} [{limits}]", bounded(Some(value))))
            })
            .collect();
        if !shown.is_empty() {
            let _ = writeln!(out, "  {:<4}  {}", metric.to_uppercase(), shown.join(" · "));
        }
    }
    for e in &rung.errors {
        let status = e.status.map_or_else(String::new, |s| format!(" (HTTP {s})"));
        let _ = writeln!(out, "  {} × {}{status}: {}", e.count, e.code.as_str(), e.advice);
    }
    if let Some(r) = rung.retry_after {
        let _ = writeln!(out, "  Retry-After in {} answers: {} to {}", r.count, time(r.min_s), time(r.max_s));
    }
    if rung.plan.number > 0 {
        match &rung.recovery {
            Measured::Value(r) => {
                let _ = writeln!(out, "  {}", recovered(r));
            }
            Measured::Absent { absent } => {
                let _ = writeln!(out, "  recovery: not measured: {absent}");
            }
        }
        if rung.collapsed {
            let _ = writeln!(
                out,
                "  COLLAPSED: at {:.2}/s again, {} good, and latency does not fall",
                rung.plan.base_rate,
                rung.good_after.map_or("–".to_owned(), percent)
            );
        }
        if rung.plan.not_at_rest {
            out.push_str("  before this step the service was not back to its latency at rest\n");
        }
    }
    if rung.validity != Level::Valid {
        let why = rung.validity_reasons.join("; ");
        let _ = writeln!(out, "  {}: {why}", rung.validity.as_str());
    }
}
