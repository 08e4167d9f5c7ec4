//! `cargo xtask fuzz`: the fuzz targets of `tests/fuzz`, each for a while, from corpora made of the recordings.
//!
//! Needs the nightly toolchain, cargo-fuzz and Python. Opt-in; no other step calls it. Each target is bounded in time per
//! input, in memory and in the size of one allocation; what breaks a bound or a promise of the target ends it and leaves
//! the input in `tests/fuzz/artifacts`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

use std::{
    collections::VecDeque,
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use clap::Args;

use crate::process;

/// What a run may take, in libFuzzer's words. An input is 16 KiB at most: bodies of megabytes are tested elsewhere.
const LIMITS: [&str; 5] =
    ["-max_len=16384", "-timeout=5", "-rss_limit_mb=512", "-malloc_limit_mb=32", "-print_final_stats=1"];
/// Freed memory kept back by the address sanitizer counts as used: little of it, so that growth is ours.
const SANITIZER: (&str, &str) = ("ASAN_OPTIONS", "quarantine_size_mb=16");
const NEEDS: &str = "the fuzz targets need the nightly toolchain and cargo-fuzz: `rustup toolchain install nightly` and \
                     `cargo install cargo-fuzz`, then call again";
/// Lines shown of a target that failed.
const SHOWN: usize = 60;

/// What to fuzz, and for how long.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// Seconds for each target.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Build and prepare the corpora, run nothing.
    #[arg(long)]
    build_only: bool,
    /// Only these targets [default: all].
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// What libFuzzer says of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    executions: Option<String>,
    edges: Option<String>,
    corpus: Option<String>,
    peak_mb: Option<String>,
}

impl Fuzz {
    pub(crate) fn run(&self) -> ExitCode {
        match self.all() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(message) => {
                eprintln!("{message}");
                ExitCode::from(2)
            }
        }
    }

    /// Whether every target passed.
    fn all(&self) -> Result<bool, String> {
        if !fuzz("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
        {
            return Err(NEEDS.to_owned());
        }
        let known = known()?;
        if let Some(unknown) = self.targets.iter().find(|t| !known.contains(t)) {
            return Err(format!("no target {unknown}; expected one of {}", known.join(", ")));
        }
        prepare()?;
        process::say("building the fuzz targets; the first time takes some minutes");
        let targets = if self.targets.is_empty() { &known } else { &self.targets };
        for target in targets {
            let status = fuzz("build").args(options(target)).arg(target).status();
            if !status.is_ok_and(|s| s.success()) {
                return Err(format!("cannot build {target}"));
            }
        }
        let mut passed = true;
        for target in targets.iter().filter(|_| !self.build_only) {
            passed &= self.one(target)?;
        }
        Ok(passed)
    }

    /// Runs one target and prints what came of it.
    fn one(&self, target: &str) -> Result<bool, String> {
        let cannot = |e: std::io::Error| format!("cannot run {target}: {e}");
        let start = Instant::now();
        let mut child = fuzz("run")
            .args(options(target))
            .args([target, "--"])
            .args(LIMITS)
            .arg(format!("-max_total_time={}", self.seconds))
            .arg(format!("-dict={}", home().join("dictionary").join(target).display()))
            .env(SANITIZER.0, SANITIZER.1)
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let mut report = Report::default();
        let mut last = VecDeque::new();
        let said = child.stderr.take().into_iter().flat_map(|e| BufReader::new(e).lines());
        for line in said.map_while(Result::ok) {
            report.read(&line);
            if last.len() == SHOWN {
                last.pop_front();
            }
            last.push_back(line);
        }
        let passed = child.wait().map_err(cannot)?.success();
        if !passed {
            for line in &last {
                eprintln!("{line}");
            }
        }
        let dash = |value: &Option<String>| value.clone().unwrap_or_else(|| "–".to_owned());
        println!(
            "{target}: {} executions in {:.0} s, {} edges, corpus {}, peak {} MB: {}",
            dash(&report.executions),
            start.elapsed().as_secs_f64(),
            dash(&report.edges),
            dash(&report.corpus),
            dash(&report.peak_mb),
            if passed { "passed" } else { "failed" },
        );
        Ok(passed)
    }
}

impl Report {
    /// `#1234 DONE cov: 560 ft: 900 corp: 120/34Kb …` and `stat::number_of_executed_units: 1234`.
    fn read(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let field = match word {
                "cov:" => &mut self.edges,
                "corp:" => &mut self.corpus,
                "stat::number_of_executed_units:" => &mut self.executions,
                "stat::peak_rss_mb:" => &mut self.peak_mb,
                _ => continue,
            };
            *field = words.next().map(|w| w.split('/').next().unwrap_or(w).to_owned());
        }
    }
}

/// The workspace of the targets.
fn home() -> PathBuf {
    process::root().join("tests").join("fuzz")
}

/// `cargo fuzz` on nightly: by rustup's own cargo, since the one that runs us is of another toolchain.
fn fuzz(verb: &str) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(process::root()).args(["+nightly", "fuzz", verb]).env_remove("CARGO");
    command
}

/// Where `cargo fuzz` finds the targets and puts what it builds; AWS's SDK only for the target that needs it.
fn options(target: &str) -> Vec<String> {
    let target_dir = process::target_dir().join("fuzz").display().to_string();
    let mut options = vec!["--fuzz-dir".into(), "tests/fuzz".into(), "--target-dir".into(), target_dir];
    if target == "bedrock" {
        options.extend(["--features".into(), target.to_owned()]);
    }
    options
}

/// The targets there are, by their files.
fn known() -> Result<Vec<String>, String> {
    let folder = home().join("fuzz_targets");
    let files = fs::read_dir(&folder).map_err(|e| format!("cannot read {}: {e}", folder.display()))?;
    let mut names: Vec<String> = files
        .filter_map(|file| Some(file.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// The corpora, and the workspace's choice of versions.
fn prepare() -> Result<(), String> {
    process::say("corpora from the recordings");
    let script = home().join("corpus.py");
    let status = Command::new("python3").arg(&script).stdout(Stdio::null()).status();
    if !status.is_ok_and(|s| s.success()) {
        return Err(format!("cannot run {} with python3", script.display()));
    }
    // Cargo adds what only the targets need.
    let (ours, theirs) = (process::root().join("Cargo.lock"), home().join("Cargo.lock"));
    let age = |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified()).ok();
    if age(&theirs) < age(&ours) {
        fs::copy(&ours, &theirs).map_err(|e| format!("cannot write {}: {e}", theirs.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_read() {
        let mut report = Report::default();
        for line in [
            "#2048\tpulse  cov: 100 ft: 200 corp: 10/400b lim: 21 exec/s: 1024 rss: 60Mb",
            "#9000\tDONE   cov: 560 ft: 900 corp: 120/34Kb lim: 16384 exec/s: 300 rss: 99Mb",
            "stat::number_of_executed_units: 9000",
            "stat::peak_rss_mb:              99",
        ] {
            report.read(line);
        }
        let some = |text: &str| Some(text.to_owned());
        let expected =
            Report { executions: some("9000"), edges: some("560"), corpus: some("120"), peak_mb: some("99") };
        assert_eq!(report, expected);
    }
}
