//! `cargo xtask bench-self`: what it costs to measure with this tool, and how far its stamps are from the truth.
//!
//! Builds the release binary and the programs of `crates/llms-transport/benches/floor`, starts `mock serve` in a process
//! of its own, runs the clients in turn and reads what they wrote: records, truth logs, and what the kernel says of each
//! process. Opens no socket. What is measured and why stands in docs/performance.md; `validate` proves correctness, this
//! shows cost.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod child;
mod machine;
mod measure;
mod table;
mod truth;

use std::{process::ExitCode, thread, time::Instant};

use clap::Args;
use serde_json::json;

use self::{machine::Rest, measure::Bench, table::Verdict};
use crate::process::{Step, run_steps};

/// What to measure.
#[derive(Args)]
pub(crate) struct BenchSelf {
    /// Run the raw reader in turn with the client, and judge the ratios too.
    #[arg(long)]
    floor: bool,
    /// How often each is measured; medians and ranges are over these.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Print JSON instead of the table.
    #[arg(long)]
    json: bool,
    /// Measure what was built before.
    #[arg(long)]
    no_build: bool,
}

impl BenchSelf {
    pub(crate) fn run(&self) -> ExitCode {
        if !self.no_build {
            let built = run_steps(&[
                Step::new("the tool", ["build", "--release", "--quiet", "--package", "llms-bench"]),
                Step::new(
                    "the raw reader",
                    ["build", "--release", "--quiet", "--package", "llms-transport", "--examples"],
                ),
            ]);
            if built != ExitCode::SUCCESS {
                return built;
            }
        }
        self.measure().unwrap_or_else(|why| {
            eprintln!("bench-self: {why}");
            ExitCode::from(2)
        })
    }

    fn measure(&self) -> Result<ExitCode, String> {
        let cpus = thread::available_parallelism().map_or(1, usize::from);
        let started = Instant::now();
        let before = Rest::watch();
        let mut bench = Bench::new(self.pairs, self.floor)?;
        // First, while this process is small: see child::Used::peak_rss.
        bench.memory()?;
        bench.loads()?;
        let oha = bench.rate()?;
        bench.send_lag()?;
        let after = Rest::watch();
        let busy = before.busy(cpus, false) || after.busy(cpus, true);
        let rows = bench.rows;
        if self.json {
            let rest = |r: &Rest| json!({ "load_average": r.load, "cpu_pressure_percent": r.pressure, "steal_percent": r.steal });
            let all = json!({
                "machine": machine::describe(cpus), "before": rest(&before), "after": rest(&after), "busy": busy,
                "pairs": self.pairs, "oha": oha.as_ref().ok(), "rows": table::json(&rows, busy),
                "seconds": started.elapsed().as_secs_f64(),
            });
            println!("{all:#}");
        } else {
            println!("{}", table::text(&rows, busy));
            println!("machine: {}", machine::describe(cpus));
            println!("before:  {}", before.words());
            println!("after:   {}", after.words());
            if busy {
                println!(
                    "The machine was busy: ratios and what exceeds its bound say nothing; repeat when it is quiet."
                );
            }
            if let Some(without) = oha.err() {
                println!("{without}");
            }
            println!(
                "medians of {} [least, greatest]; took {:.0} s",
                self.pairs,
                started.elapsed().as_secs_f64()
            );
        }
        let missed = rows.iter().any(|r| r.verdict(busy) == Verdict::Miss);
        Ok(if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
