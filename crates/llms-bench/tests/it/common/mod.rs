//! The real program in a clean environment, and what the tests put around it: a collector of telemetry, a server that
//! quotes everything it is sent, a page that is no API.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its part; a panic in a test is its report"
)]

pub(crate) mod collector;
pub(crate) mod echo;
pub(crate) mod http;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread::JoinHandle,
};

use bench_mock::server::{Server, ServerConfig};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The program in an empty directory, without any key, address or proxy of this machine's user.
pub(crate) struct Bench {
    pub(crate) dir: TempDir,
    env: Vec<(String, String)>,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stderr:\n{}\nstdout:\n{}", self.stderr, self.stdout);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(text), "expected `{text}` in:\n{all}");
        self
    }

    /// One clear message and nothing else.
    #[track_caller]
    pub(crate) fn is_one_message(&self) {
        assert!(self.stdout.is_empty(), "{}", self.stdout);
        let lines: Vec<_> = self.stderr.lines().filter(|l| !l.trim().is_empty()).collect();
        assert!((1..=6).contains(&lines.len()), "{}", self.stderr);
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), env: Vec::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.path().join(name), text).unwrap();
        self
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llms-bench"));
        command.current_dir(self.path()).args(args).stdin(Stdio::null());
        for (name, _) in std::env::vars() {
            const OURS: [&str; 7] = ["OPENAI_", "ANTHROPIC_", "AWS_", "AZURE_", "OLLAMA_", "LLMS_", "OTEL_"];
            if OURS.iter().any(|k| name.starts_with(k)) || name.to_ascii_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command.env("HOME", self.path()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        let output = self.command(args).output().unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it under a limit that the shell sets (`ulimit …`).
    #[cfg(unix)]
    pub(crate) fn run_limited(&self, limit: &str, args: &[&str]) -> Ended {
        let words: Vec<_> = args.iter().map(|a| format!("'{a}'")).collect();
        self.run_script(&["sh", "-c"], &format!("{limit} && exec $BENCH {}", words.join(" ")))
    }

    /// Runs a shell script in which `$BENCH` is the program.
    #[cfg(unix)]
    pub(crate) fn run_script(&self, shell: &[&str], script: &str) -> Ended {
        let inside = self.command(&[]);
        let mut command = Command::new(shell[0]);
        command.args(&shell[1..]).arg(script).current_dir(self.path()).stdin(Stdio::null());
        for (name, value) in inside.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let output = command.env("BENCH", env!("CARGO_BIN_EXE_llms-bench")).output().unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts it and lets it run.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Running { child, stdout, errors: Some(errors), read: String::new() }
    }

    /// Every file below its directory.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let (mut found, mut dirs) = (Vec::new(), vec![self.path().to_owned()]);
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

/// The program while it runs; killed when the test forgets it.
pub(crate) struct Running {
    child: Child,
    stdout: BufReader<ChildStdout>,
    errors: Option<JoinHandle<String>>,
    read: String,
}

impl Running {
    /// Reads standard output up to a line that holds `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).unwrap() > 0 {
            self.read.push_str(&line);
            if line.contains(text) {
                return line;
            }
            line.clear();
        }
        panic!("ended without `{text}`: {}", self.read);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn interrupt(self) -> Ended {
        self.signal(Signal::INT);
        self.end()
    }

    pub(crate) fn end(mut self) -> Ended {
        let mut stdout = std::mem::take(&mut self.read);
        self.stdout.read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        let stderr = self.errors.take().map(|e| e.join().unwrap()).unwrap_or_default();
        Ended { code, stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The four vendors in this process: fast, short answers, nothing random.
pub(crate) fn vendors() -> Server {
    quick(ServerConfig::default()).start().unwrap()
}

pub(crate) fn quick(config: ServerConfig) -> ServerConfig {
    config.map_profiles(|p| p.quiet().with_time_scale(0.02).with_output_tokens(4).with_seed(1))
}

/// An address where nobody listens: bound once, and closed again.
pub(crate) fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}
