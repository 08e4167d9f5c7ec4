//! Lists the built-in scenarios.

use std::io::Write;

use bench_runner::ScenarioRegistry;
use llms_core::bench::Load;

use crate::exit::Exit;

/// Prints name, load and purpose of each.
pub(crate) fn list() -> Exit {
    let mut out = std::io::stdout().lock();
    for s in ScenarioRegistry::builtin().iter() {
        let load = match &s.load {
            Load::Closed { concurrency, .. } => format!("{concurrency} users"),
            Load::Open { rate, .. } => format!("{rate}/s"),
        };
        let amount = match (s.requests, s.duration) {
            (Some(n), _) => format!("{n} requests"),
            (None, Some(d)) => format!("{} s", d.as_secs_f64()),
            (None, None) => String::new(),
        };
        if writeln!(out, "{:<14} {:<9} {:<14} {}", s.name, load, amount, s.description).is_err() {
            break;
        }
    }
    Exit::Ok
}
