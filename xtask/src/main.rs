//! `cargo xtask …`: builds the release binary and runs comparisons and checks with it.
//!
//! Opens no sockets and knows no provider: it calls cargo and `llms-bench`.

mod bench_self;
mod fuzz;
mod process;
mod sdk_check;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::process::{Step, run_steps};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Comparisons and checks over the llms-bench workspace", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compare providers: four simulated ones without arguments, or those named with --target (all arguments of
    /// `llms-bench compare`).
    #[command(disable_help_flag = true)]
    BenchCompare {
        /// Passed on to `llms-bench compare`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Prove on this machine that the instrument is right, and that the house is in order (all arguments of
    /// `llms-bench validate`).
    #[command(disable_help_flag = true)]
    Validate {
        /// Passed on to `llms-bench validate`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Run any `llms-bench` command with the release binary.
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to `llms-bench`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// What measuring costs on this machine, and how far the stamps are from the truth: docs/performance.md.
    BenchSelf(bench_self::BenchSelf),
    /// All tests, in release (a debug client's timings are worthless): nextest where installed, else cargo test.
    Test,
    /// Formatting, clippy, tests, docs, tidy, and the default comparison: what must pass before anything lands.
    Ci,
    /// The vendors' own SDKs (Python and Node, installed into a directory of their own) against `mock serve`.
    SdkCheck(sdk_check::SdkCheck),
    /// Fuzz the decoders with cargo-fuzz, each target of `tests/fuzz` for some seconds.
    Fuzz(fuzz::Fuzz),
    /// Check the house: the arrows between crates, the files every crate must have.
    Tidy,
}

fn main() -> ExitCode {
    match Cli::parse().task {
        Task::BenchCompare { args } => bench(&[&["compare".to_owned()], args.as_slice()].concat()),
        Task::Validate { args } => validate(&args),
        Task::Bench { args } => bench(&args),
        Task::BenchSelf(bench) => bench.run(),
        Task::Test => run_steps(&tests()),
        Task::Ci => ci(),
        Task::SdkCheck(check) => check.run(),
        Task::Fuzz(fuzz) => fuzz.run(),
        Task::Tidy => tidy::run(),
    }
}

/// Builds the release binary and hands over to it.
fn bench(args: &[String]) -> ExitCode {
    match process::build_binary() {
        Ok(()) => process::binary(args),
        Err(code) => code,
    }
}

fn validate(args: &[String]) -> ExitCode {
    let tidy = tidy::run();
    if tidy == ExitCode::SUCCESS { bench(&[&["validate".to_owned()], args].concat()) } else { tidy }
}

fn tests() -> Vec<Step> {
    let mut steps = Vec::new();
    if process::has_nextest() {
        steps.push(Step::new("tests", ["nextest", "run", "--release", "--workspace"]));
        steps.push(Step::new("doc tests", ["test", "--quiet", "--release", "--workspace", "--doc"]));
    } else {
        steps.push(Step::new("tests", ["test", "--release", "--workspace"]));
    }
    steps
}

fn ci() -> ExitCode {
    let mut steps = vec![Step::new("formatting", ["fmt", "--all", "--check"])];
    steps.extend(tests());
    steps.push(Step::new(
        "clippy",
        ["clippy", "--release", "--workspace", "--all-targets", "--", "--deny", "warnings"],
    ));
    steps.push(
        Step::new("docs", ["doc", "--release", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "--deny warnings"),
    );
    let checked = run_steps(&steps);
    if checked != ExitCode::SUCCESS {
        return checked;
    }
    let tidy = tidy::run();
    if tidy != ExitCode::SUCCESS {
        return tidy;
    }
    process::say("bench-compare");
    bench(&["compare".to_owned()])
}
