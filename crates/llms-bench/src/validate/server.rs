//! The counterparty of a validation: this program's own simulated vendors, in a process of their own, with a truth log.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use bench_mock::{TruthRecord, server::Protocol};
use rustix::process::{Pid, Signal, kill_process};

use crate::exit::Failure;

/// How long the truth log may take to hold the end of a run.
const SETTLE: Duration = Duration::from_secs(5);

/// A directory that is removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("llms-bench-validate-{}", uuid::Uuid::now_v7()));
        fs::create_dir_all(&dir).map(|()| Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The simulated vendors while they run.
pub(crate) struct Server {
    child: Child,
    bases: Vec<(Protocol, String)>,
    truth: PathBuf,
    _scratch: Scratch,
}

impl Server {
    /// Starts them with these profiles (TOML); `logged`: they write down what they do.
    ///
    /// # Errors
    /// When the program cannot start itself, or does not say where it serves.
    pub(crate) fn start(profiles: &str, logged: bool) -> Result<Self, Failure> {
        let cannot = |e: std::io::Error| Failure::run(format!("cannot start the simulated vendors: {e}"));
        let scratch = Scratch::new().map_err(cannot)?;
        let (file, truth) = (scratch.0.join("profiles.toml"), scratch.0.join("truth.jsonl"));
        fs::write(&file, profiles).map_err(cannot)?;
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command.args(["mock", "serve", "--port", "0", "--seed", "1", "--profiles"]).arg(&file);
        if logged {
            command.arg("--truth-log").arg(&truth);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
        let said = child.stdout.take().map(BufReader::new);
        let mut server = Self { child, bases: Vec::new(), truth, _scratch: scratch };
        for line in said.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let protocol = Protocol::ALL.into_iter().find(|p| words.first() == Some(&p.as_str()));
            let url = words.get(1).and_then(|w| w.split_once('=')).map(|(_, url)| url.to_owned());
            server.bases.extend(protocol.zip(url));
            if server.bases.len() == Protocol::ALL.len() {
                return Ok(server);
            }
        }
        Err(Failure::run("the simulated vendors ended before they said where they serve; see above"))
    }

    /// Where a protocol is served.
    pub(crate) fn base(&self, protocol: Protocol) -> &str {
        self.bases.iter().find(|(p, _)| *p == protocol).map_or("", |(_, url)| url)
    }

    /// Stops the process for so long, as a machine that swaps or a collector of garbage would.
    pub(crate) fn freeze(&self, time: Duration) {
        let pid = Pid::from_child(&self.child);
        if kill_process(pid, Signal::STOP).is_ok() {
            thread::sleep(time);
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    /// What it really sent in one run, once `expected` requests of it stand in the log; what there is after a while.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(crate) fn truth_of(&self, run_id: &str, expected: usize) -> Result<Vec<TruthRecord>, Failure> {
        let start = Instant::now();
        loop {
            let found = read(&self.truth, run_id)?;
            if found.len() >= expected || start.elapsed() > SETTLE {
                return Ok(found);
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn read(path: &Path, run_id: &str) -> Result<Vec<TruthRecord>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|e| Failure::run(format!("cannot read the truth log {}: {e}", path.display())))?;
    // The last line may still be on its way.
    Ok(text
        .lines()
        .filter_map(|line| serde_json::from_str::<TruthRecord>(line).ok())
        .filter(|t| t.request_id.starts_with(run_id))
        .collect())
}
