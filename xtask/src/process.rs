//! Running cargo and the binary; what a step costs is printed, because builds are what people wait for.
#![allow(clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

/// One cargo command of a longer job.
pub(crate) struct Step {
    name: &'static str,
    args: Vec<&'static str>,
    env: Vec<(&'static str, &'static str)>,
}

impl Step {
    pub(crate) fn new<const N: usize>(name: &'static str, args: [&'static str; N]) -> Self {
        Self { name, args: args.to_vec(), env: Vec::new() }
    }

    pub(crate) fn env(mut self, key: &'static str, value: &'static str) -> Self {
        self.env.push((key, value));
        self
    }
}

/// The root of the checkout.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies one level below the root")
}

fn cargo_command() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

pub(crate) fn say(step: &str) {
    eprintln!("── {step}");
}

/// Runs the steps in order and stops at the first that fails.
pub(crate) fn run_steps(steps: &[Step]) -> ExitCode {
    for step in steps {
        say(&format!("{}: cargo {}", step.name, step.args.join(" ")));
        let start = Instant::now();
        let mut command = cargo_command();
        command.args(&step.args).envs(step.env.iter().copied());
        if let Err(code) = status(&mut command) {
            eprintln!("── {} failed; mend it and run `cargo {}` again", step.name, step.args.join(" "));
            return code;
        }
        eprintln!("── {} passed in {:.0} s", step.name, start.elapsed().as_secs_f64());
    }
    ExitCode::SUCCESS
}

/// The standard output of cargo with `args`.
pub(crate) fn cargo_output<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(args: I) -> Result<Vec<u8>, String> {
    let output = cargo_command()
        .args(args)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| format!("cannot run cargo: {e}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("cargo ended with {}", output.status))
    }
}

/// Whether `cargo nextest` is installed.
pub(crate) fn has_nextest() -> bool {
    cargo_command()
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// Hands over to the release binary, in the caller's directory. On Unix this process becomes it, so that Ctrl-C
/// and the exit code are its own.
pub(crate) fn binary(args: &[String]) -> ExitCode {
    let mut command = Command::new(binary_path());
    command.args(args);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let error = command.exec();
        eprintln!("cannot run {}: {error}", command.get_program().to_string_lossy());
        ExitCode::from(2)
    }
    #[cfg(not(unix))]
    status(&mut command).map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

/// Builds the release binary: silent when there is little to do; cargo's own progress while a newcomer waits for the
/// first build.
pub(crate) fn build_binary() -> Result<(), ExitCode> {
    let mut build = vec!["build", "--release", "--package", "llms-bench"];
    if binary_path().exists() {
        build.push("--quiet");
    } else {
        say("building llms-bench; the first time takes some minutes");
    }
    status(cargo_command().args(build))
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The release binary.
pub(crate) fn binary_path() -> PathBuf {
    target_dir().join("release").join(format!("llms-bench{}", env::consts::EXE_SUFFIX))
}

fn status(command: &mut Command) -> Result<(), ExitCode> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        // 130: ended by a signal, as shells say it.
        Ok(status) => Err(ExitCode::from(u8::try_from(status.code().unwrap_or(130)).unwrap_or(1))),
        Err(e) => {
            eprintln!("cannot run {}: {e}", command.get_program().to_string_lossy());
            Err(ExitCode::from(2))
        }
    }
}
