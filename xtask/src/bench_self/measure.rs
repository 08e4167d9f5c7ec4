//! The measurements of `bench-self`: clients run in turn against a server of their own, and the rows that come of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    child::{self, Server, Used},
    machine::Watch,
    table::{Bound, Row},
    truth::{self, Account, quantile},
};
use crate::process;

/// Models of the server. `paced` gives a first token after 200 ms and one every 20 ms, `crowd` one every 5 ms; `whole` all at once, in one write;
/// `one` a single token at once; `slow` one every two seconds.
const PROFILES: &str = include_str!("profiles.toml");
/// Tokens of an answer.
const TOKENS: u64 = 128;
/// What an answer may be off where both sides are at their limit, in percent of the truth, unless the run says so.
const CROWD_OFF: f64 = 5.0;
/// Longest wait for the server to have written its truth log.
const LOGGED: Duration = Duration::from_secs(5);

/// A program that makes load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    /// The raw reader.
    Floor,
    /// The transport with OpenAI's codec, to events.
    Streams,
    /// The tool itself, with everything that it does.
    Run,
}

/// One load.
#[derive(Clone, Copy)]
struct Work {
    model: &'static str,
    streams: u32,
    requests: u64,
    tokens: u64,
}

/// One kind of distance.
type List = fn(&Account) -> &Vec<f64>;

/// What is measured, and what was.
pub(super) struct Bench {
    pairs: u32,
    floor: bool,
    dir: PathBuf,
    pub(super) rows: Vec<Row>,
}

impl Bench {
    /// Writes what the server needs to the working directory.
    pub(super) fn new(pairs: u32, floor: bool) -> Result<Self, String> {
        let dir = process::target_dir().join("bench-self");
        fs::create_dir_all(&dir).map_err(|e| format!("cannot write to {}: {e}", dir.display()))?;
        // Absolute: the programs run there.
        let dir = dir.canonicalize().map_err(|e| format!("{}: {e}", dir.display()))?;
        let profiles = dir.join("profiles.toml");
        fs::write(&profiles, PROFILES).map_err(|e| format!("cannot write {}: {e}", profiles.display()))?;
        Ok(Self { pairs, floor, dir, rows: Vec::new() })
    }

    /// CPU time and stamps under closed loop.
    pub(super) fn loads(&mut self) -> Result<(), String> {
        // A million tokens, so that what a run costs once is no more than its share of that.
        let whole = Work { model: "whole", streams: 100, requests: 8000, tokens: TOKENS };
        let paced = Work { model: "paced", streams: 100, requests: 100, tokens: TOKENS };
        self.cpu(paced, "100 paced streams", [None, Some(1.5), Some(1.2)])?;
        self.cpu(whole, "whole responses", [Some(0.7), Some(3.0), Some(2.0)])?;
        // As many chunks a second, for a shorter time.
        self.truth(Work { tokens: 32, ..paced })?;
        self.truth(Work { streams: 1000, requests: 1000, tokens: 32, ..paced })?;
        self.crowd(Work { model: "crowd", streams: 1000, requests: 1000, tokens: TOKENS })
    }

    fn server(&self, truth: Option<&Path>) -> Result<Server, String> {
        let mut command = Command::new(process::binary_path());
        command.args(["mock", "serve", "--port", "0", "--seed", "1", "--profiles", "profiles.toml"]);
        if let Some(path) = truth {
            command.arg("--truth-log").arg(path);
        }
        Server::start(command.current_dir(&self.dir))
    }

    /// One of the programs beside the benches.
    fn example(name: &str) -> Command {
        let path = process::target_dir().join("release").join("examples").join(name);
        Command::new(format!("{}{}", path.display(), std::env::consts::EXE_SUFFIX))
    }

    /// The command of a client under a load.
    fn command(&self, client: Client, work: Work, server: &Server) -> Command {
        let url = format!("http://{}/v1", server.address);
        let example = match client {
            Client::Floor => "floor",
            Client::Streams => "streams",
            Client::Run => {
                let mut command = Command::new(process::binary_path());
                command.args(["run", "--quiet", "--seed", "1"]);
                command.args(["--target", &format!("openai:{}@{url}", work.model)]);
                command.args(["--max-tokens", &work.tokens.to_string(), "-n", &work.requests.to_string()]);
                command.current_dir(&self.dir).env("OPENAI_API_KEY", "bench-self");
                return command;
            }
        };
        let mut command = Self::example(example);
        command.args(["--url", &format!("{url}/chat/completions"), "--model", work.model]);
        command.args(["--streams", &work.streams.to_string(), "--requests", &work.requests.to_string()]);
        command.args(["--tokens", &work.tokens.to_string()]);
        if client == Client::Streams {
            command.args(["--as", "chat"]);
        }
        command.current_dir(&self.dir);
        command
    }

    fn run(&self, command: &mut Command) -> Result<Used, String> {
        child::run(command, &self.dir.join("stderr.txt"))
    }

    /// The tool under a closed loop, not kept.
    fn closed(&self, work: Work, server: &Server) -> Command {
        let mut command = self.command(Client::Run, work, server);
        command.args(["--no-save", "--warmup", "0", "--concurrency", &work.streams.to_string()]);
        command
    }

    /// The clients in this order in one pair, the other way round in the next.
    fn in_turn(&self, pair: u32, clients: &[Client]) -> Vec<Client> {
        let mut order: Vec<_> =
            clients.iter().copied().filter(|c| *c != Client::Floor || self.floor).collect();
        if pair % 2 == 1 {
            order.reverse();
        }
        order
    }

    fn row(&mut self, what: &str, unit: &'static str, ours: &[f64], other: &[f64], bounds: [Bound; 2]) {
        let [required, aim] = bounds;
        let (ours, other) = (ours.to_vec(), other.to_vec());
        self.rows.push(Row { what: what.to_owned(), unit, ours, other, required, aim, steady: false });
    }

    /// Peak memory of the tool at three numbers of requests, and with ten thousand streams open.
    pub(super) fn memory(&mut self) -> Result<(), String> {
        process::say("peak memory");
        let server = self.server(None)?;
        let kept = self.dir.join("runs");
        let mut peaks = Vec::new();
        for requests in [1_000, 10_000, 30_000] {
            let work = Work { model: "whole", streams: 64, requests, tokens: TOKENS };
            let mut command = self.command(Client::Run, work, &server);
            command.args(["--warmup", "0", "--concurrency", "64", "--output-dir"]).arg(&kept);
            let used = self.run(&mut command)?;
            peaks.push(used.peak_rss as f64 / 1e6);
            // Runs are kept while they run, as users have it, not for ever.
            fs::remove_dir_all(&kept).map_err(|e| format!("cannot remove {}: {e}", kept.display()))?;
            let last = requests == 30_000;
            let bounds = if last { [Bound::AtMost(40.0), Bound::AtMost(20.0)] } else { [Bound::Nothing; 2] };
            let what = format!("peak memory, {requests} requests × {TOKENS} tokens, records on disk");
            self.row(&what, "MB", &peaks[peaks.len() - 1..], &[], bounds);
        }
        let ends = (peaks[2..].to_vec(), peaks[..1].to_vec());
        let flat = [Bound::RatioAtMost(1.25), Bound::RatioAtMost(1.1)];
        self.row("peak memory, 30000 requests against 1000: flat", "MB", &ends.0, &ends.1, flat);
        let work = Work { model: "slow", streams: 10_000, requests: 10_000, tokens: 8 };
        let used = self.run(&mut self.closed(work, &server))?;
        let bounds = [Bound::AtMost(120.0), Bound::AtMost(80.0)];
        let what = "peak memory, 10000 streams at once, a token every 2 s";
        self.row(what, "MB", &[used.peak_rss as f64 / 1e6], &[], bounds);
        self.rows.iter_mut().for_each(|r| r.steady = true);
        Ok(())
    }

    /// CPU time of each client. `bounds`: in seconds, required and aimed ratio.
    fn cpu(&mut self, work: Work, name: &str, bounds: [Option<f64>; 3]) -> Result<(), String> {
        process::say(&format!("CPU time, {name}"));
        let server = self.server(None)?;
        let (mut floor, mut streams, mut run) = (vec![], vec![], vec![]);
        let millions = (work.requests * work.tokens) as f64 / 1e6;
        // What the tool uses for one request: its start, its probes, its report.
        let least = Work { model: "one", streams: 1, requests: 1, tokens: 1 };
        let least = self.run(&mut self.closed(least, &server))?.cpu_s;
        for pair in 0..self.pairs {
            for client in self.in_turn(pair, &[Client::Floor, Client::Streams, Client::Run]) {
                if client == Client::Run {
                    let used = self.run(&mut self.closed(work, &server))?;
                    run.push((used.cpu_s - least) / millions);
                } else {
                    let used = self.run(&mut self.command(client, work, &server))?;
                    let said = number(&used.stdout, "cpu_s_per_million_tokens")?;
                    (if client == Client::Floor { &mut floor } else { &mut streams }).push(said);
                }
            }
        }
        let [seconds, ratio, aimed] = bounds;
        let judged = match (seconds, ratio.zip(aimed)) {
            (_, Some((required, aim))) if self.floor => {
                [Bound::RatioAtMost(required), Bound::RatioAtMost(aim)]
            }
            (Some(seconds), _) => [Bound::AtMost(seconds), Bound::Nothing],
            _ => [Bound::Nothing; 2],
        };
        let unit = "CPU-s per million tokens";
        self.row(&format!("{name}: transport and codec, to events"), unit, &streams, &floor, judged);
        self.row(
            &format!("{name}: `llms-bench run`, whole process less one request"),
            unit,
            &run,
            &floor,
            judged,
        );
        Ok(())
    }

    /// Stamps against the truth log of the server.
    fn truth(&mut self, work: Work) -> Result<(), String> {
        process::say(&format!("stamps against the truth log, {} streams", work.streams));
        let (mut floor, mut run) = (Vec::new(), Vec::new());
        for pair in 0..self.pairs {
            for client in self.in_turn(pair, &[Client::Floor, Client::Run]) {
                let account = self.held(client, work, &[])?;
                (if client == Client::Floor { &mut floor } else { &mut run }).push(account);
            }
        }
        let of = |from: &[Account], list: List, p: f64| -> Vec<f64> {
            from.iter().filter_map(|a| quantile(list(a), p)).collect()
        };
        let many = work.streams >= 1000;
        let n = work.streams;
        let absolute = |required, aim| [Bound::AtMost(required), Bound::AtMost(aim)];
        let ratio = |required, aim| {
            if self.floor {
                [Bound::RatioAtMost(required), Bound::RatioAtMost(aim)]
            } else {
                [Bound::Nothing; 2]
            }
        };
        let nothing = [Bound::Nothing; 2];
        let arrival = if many { [absolute(0.02, 0.01), absolute(0.2, 0.05)] } else { [nothing; 2] };
        let measured: [(&str, List, [[Bound; 2]; 2]); 5] = [
            ("arrival by the kernel's stamp", |a| &a.arrival, arrival),
            ("arrival by the stamp of user space", |a| &a.user, [nothing; 2]),
            ("TTFT as printed", |a| &a.ttft, [absolute(0.2, 0.05), ratio(1.0, 1.0)]),
            ("`sent` to the server's arrival", |a| &a.sent, [ratio(1.2, 1.0); 2]),
            ("chunk gaps, ends in different reads", |a| &a.gap, [nothing, absolute(5.0, 0.5)]),
        ];
        let mut rows = Vec::new();
        for (what, list, bounds) in measured {
            for (p, name, bounds) in [(0.5, "p50", bounds[0]), (0.99, "p99", bounds[1])] {
                let what = format!("{n} streams: {what}, {name}");
                rows.push((what, "ms", of(&run, list, p), of(&floor, list, p), bounds));
            }
        }
        let share =
            |from: &[Account]| -> Vec<f64> { from.iter().filter_map(Account::merged_share).collect() };
        let merged = ratio(1.5, 1.0);
        rows.push((
            format!("{n} streams: gaps within one read"),
            "share",
            share(&run),
            share(&floor),
            merged,
        ));
        for (what, unit, ours, other, bounds) in rows {
            self.row(&what, unit, &ours, &other, bounds);
        }
        Ok(())
    }

    /// More than both sides can do: near the truth, or the run says itself that it cannot tell.
    fn crowd(&mut self, work: Work) -> Result<(), String> {
        process::say("200,000 chunks/s: near the truth, or told");
        let result = self.dir.join("crowd.json");
        let (mut p50, mut p99, mut told, mut silent) = (vec![], vec![], vec![], vec![]);
        for _ in 0..self.pairs {
            let account = self.held(Client::Run, work, &["--json", "crowd.json"])?;
            let off = |p| quantile(&account.e2e_share, p).map(|share| share * 100.0);
            let (typical, tail) = (off(0.5).unwrap_or(f64::INFINITY), off(0.99).unwrap_or(f64::INFINITY));
            let json = fs::read_to_string(&result).map_err(|e| format!("{}: {e}", result.display()))?;
            let json: Value =
                serde_json::from_str(&json).map_err(|e| format!("{}: {e}", result.display()))?;
            let level = json["analysis"]["validity"]["level"].as_str().ok_or("the result has no verdict")?;
            told.push(f64::from(u8::from(level != "VALID")));
            silent.push(f64::from(u8::from(level == "VALID" && CROWD_OFF < tail)));
            p50.push(typical);
            p99.push(tail);
        }
        let name = "1000 streams, a token every 5 ms";
        let nothing = [Bound::Nothing; 2];
        self.row(&format!("{name}: E2E off, p50"), "% of the truth", &p50, &[], nothing);
        self.row(&format!("{name}: E2E off, p99"), "% of the truth", &p99, &[], nothing);
        self.row(&format!("{name}: the run says that it cannot"), "0 or 1", &told, &[], nothing);
        let never = [Bound::AtMost(0.0); 2];
        let what = format!("{name}: p99 off by more than {CROWD_OFF} %, and VALID");
        self.row(&what, "0 or 1", &silent, &[], never);
        Ok(())
    }

    /// One client under a load, held against the truth log of a server of its own.
    fn held(&self, client: Client, work: Work, more: &[&str]) -> Result<Account, String> {
        let (records, truth) = (self.dir.join("records.jsonl"), self.dir.join("truth.jsonl"));
        let server = self.server(Some(&truth))?;
        let mut command = self.command(client, work, &server);
        if client == Client::Run {
            // Warmed up, so that connections stand before the clock starts, as the raw reader's do.
            let streams = work.streams.to_string();
            command.args(["--no-save", "--concurrency", &streams, "--warmup", &streams]);
        }
        self.run(command.arg("--records").arg(&records).args(more))?;
        let asked = Instant::now();
        let account = loop {
            // The server writes its log when it has been idle for a while.
            thread::sleep(Duration::from_millis(300));
            match truth::hold(&records, Some(&truth)) {
                Ok(account) if account.wrong == 0 || asked.elapsed() > LOGGED => break account,
                Err(e) if asked.elapsed() > LOGGED => return Err(e),
                _ => {}
            }
        };
        drop(server);
        if account.answers != work.requests || account.wrong > 0 {
            return Err(format!(
                "{} of {} answers are not as the server wrote them; `cargo xtask validate` says more",
                account.wrong + work.requests.saturating_sub(account.answers),
                work.requests
            ));
        }
        Ok(account)
    }

    /// One-token streamed answers over 64 connections. Returns the version of oha, or why it was left out.
    pub(super) fn rate(&mut self) -> Result<Result<String, String>, String> {
        process::say("requests/s, one-token streamed answers, 64 connections");
        let server = self.server(None)?;
        let work = Work { model: "one", streams: 64, requests: 40_000, tokens: 1 };
        let version = self.run(Command::new("oha").arg("--version"));
        let oha = version
            .map(|v| v.stdout.trim().to_owned())
            .map_err(|_| "oha is not on the path: requests/s are set against the raw reader only".to_owned());
        let records = self.dir.join("records.jsonl");
        let (mut ours, mut floor, mut other) = (vec![], vec![], vec![]);
        for pair in 0..self.pairs {
            for client in self.in_turn(pair, &[Client::Floor, Client::Run]) {
                if client == Client::Floor {
                    let said = self.run(&mut self.command(client, work, &server))?.stdout;
                    floor.push(number(&said, "requests")? / number(&said, "wall_s")?);
                } else {
                    let mut command = self.command(client, work, &server);
                    command.args(["--no-save", "--warmup", "64", "--concurrency", "64", "--records"]);
                    self.run(command.arg(&records))?;
                    let account = truth::hold(&records, None)?;
                    if account.wrong > 0 {
                        return Err(format!(
                            "{} of {} one-token answers failed",
                            account.wrong, account.answers
                        ));
                    }
                    ours.push(account.answers as f64 / account.window_s);
                }
            }
            if oha.is_ok() {
                let body = r#"{"model":"one","messages":[{"role":"user","content":"oha"}],"stream":true,"max_tokens":1}"#;
                let mut command = Command::new("oha");
                command.args([
                    "--no-tui",
                    "--output-format",
                    "json",
                    "-n",
                    "40000",
                    "-c",
                    "64",
                    "-m",
                    "POST",
                ]);
                command.args(["-T", "application/json", "-d", body]);
                command.arg(format!("http://{}/v1/chat/completions", server.address));
                let said = self.run(&mut command)?.stdout;
                let said: Value =
                    serde_json::from_str(&said).map_err(|e| format!("oha printed no JSON: {e}"))?;
                other.push(said["summary"]["requestsPerSec"].as_f64().ok_or("oha told no requests/s")?);
            }
        }
        let bounds = [Bound::RatioAtLeast(0.9), Bound::RatioAtLeast(1.1)];
        self.row("one-token answers, 64 connections, against oha", "requests/s", &ours, &other, bounds);
        if self.floor {
            let nothing = [Bound::Nothing; 2];
            self.row("one-token answers, 64 connections", "requests/s", &ours, &floor, nothing);
        }
        Ok(oha)
    }

    /// How late requests leave under open loop, beside a bare timer loop of the same rate in turn. Where the host takes processors
    /// away meanwhile no program wakes in time: then the loop is what the lag is judged by.
    pub(super) fn send_lag(&mut self) -> Result<(), String> {
        process::say("send lag, 2,000 sends/s");
        let server = self.server(None)?;
        let work = Work { model: "one", streams: 0, requests: 3000, tokens: 1 };
        let records = self.dir.join("records.jsonl");
        let (mut lags, mut bare) = ([vec![], vec![]], [vec![], vec![]]);
        let watch = Watch::begin();
        for _ in 0..self.pairs {
            let mut command = self.command(Client::Run, work, &server);
            command.args([
                "--no-save",
                "--warmup",
                "64",
                "--request-rate",
                "2000",
                "--arrivals",
                "constant",
                "--records",
            ]);
            self.run(command.arg(&records))?;
            let account = truth::hold(&records, None)?;
            for (p, lags) in [0.5, 0.99].into_iter().zip(&mut lags) {
                lags.extend(quantile(&account.send_lag, p));
            }
            if self.floor {
                let said =
                    self.run(Self::example("timer").args(["--rate", "2000", "--count", "3000"]))?.stdout;
                for (key, bare) in ["p50_ms", "p99_ms"].into_iter().zip(&mut bare) {
                    bare.push(number(&said, key)?);
                }
            }
        }
        let stolen = self.floor && watch.stolen();
        for (((name, required), lags), bare) in [("p50", 0.1), ("p99", 1.0)].into_iter().zip(lags).zip(bare) {
            let what = format!("send lag at 2000 sends/s, against a bare timer loop, {name}");
            let bound = if stolen { Bound::RatioAtMost(1.5) } else { Bound::AtMost(required) };
            self.row(&what, "ms", &lags, &bare, [bound, Bound::Nothing]);
            // Both sides had the same minute, and that it was a bad one is why they are compared.
            if stolen && let Some(row) = self.rows.last_mut() {
                row.steady = true;
            }
        }
        Ok(())
    }
}

/// A number of the JSON object that a program printed.
fn number(said: &str, key: &str) -> Result<f64, String> {
    let value: Value =
        serde_json::from_str(said).map_err(|e| format!("expected JSON, found {said:?}: {e}"))?;
    value[key].as_f64().ok_or_else(|| format!("expected `{key}` in {said:?}"))
}
