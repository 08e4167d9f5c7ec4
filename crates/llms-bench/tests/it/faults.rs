//! Bad circumstances, on the real program against the simulated vendors in a process of their own: what is killed,
//! interrupted, out of space, descriptors or ports, starved or frozen says so, and keeps what it had.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use bench_store::RunDir;
use llms_core::bench::{RecordOutcome, RequestRecord, RunPhase, RunResult};
use rustix::process::Signal;
use serde_json::Value;

use crate::common::{Bench, Running};

/// The simulated vendors, and a target on them.
fn serving(bench: &Bench, flags: &[&str]) -> (Running, String) {
    serving_on(bench, "0", flags)
}

fn serving_on(bench: &Bench, port: &str, flags: &[&str]) -> (Running, String) {
    let mut running = bench.start(&[&["mock", "serve", "--port", port, "--seed", "1"][..], flags].concat());
    let line = running.wait_for("OPENAI_BASE_URL=");
    let base = line.split_once('=').unwrap().1.trim().to_owned();
    (running, format!("openai:m@{base}"))
}

/// Short answers, fast.
const QUICK: [&str; 4] = ["--time-scale", "0.1", "--output-tokens", "8"];

/// The directory of the one run kept in `kept`, once it is there.
fn run_dir(bench: &Bench) -> PathBuf {
    let start = Instant::now();
    loop {
        if let Ok(runs) = RunDir::list(&bench.path().join("kept"))
            && let [run] = &runs[..]
        {
            return run.path.clone();
        }
        assert!(start.elapsed() < Duration::from_secs(60), "no run was begun");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The one run kept in `kept`.
fn kept(bench: &Bench) -> RunResult {
    RunDir::at(run_dir(bench)).load().unwrap()
}

fn measured(run: &RunResult) -> Vec<&RequestRecord> {
    run.records.iter().filter(|r| r.phase == RunPhase::Measured).collect()
}

fn failures(run: &RunResult) -> Vec<&str> {
    fn message(record: &RequestRecord) -> Option<&str> {
        match &record.outcome {
            RecordOutcome::Failed(e) => Some(&e.message),
            _ => None,
        }
    }
    run.records.iter().filter_map(message).collect()
}

/// The findings of a result in JSON: signal and level.
fn findings(json: &str) -> Vec<(String, String)> {
    let json: Value = serde_json::from_str(json).unwrap_or_else(|e| panic!("{e}: {json}"));
    let all = json["analysis"]["validity"]["findings"].as_array().unwrap().clone();
    all.iter()
        .map(|f| (f["signal"].as_str().unwrap().to_owned(), f["level"].as_str().unwrap().to_owned()))
        .collect()
}

/// Waits until so many bytes of records are on disk.
fn wait_for_records(bench: &Bench, bytes: u64) {
    let file = run_dir(bench).join("records.lbr");
    let start = Instant::now();
    while file.metadata().map_or(0, |m| m.len()) < bytes {
        assert!(start.elapsed() < Duration::from_secs(60), "no records were written");
        thread::sleep(Duration::from_millis(20));
    }
}

fn run_args<'a>(target: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["run", "--target", target, "-q", "--output-dir", "kept"][..], more].concat()
}

#[test]
fn a_killed_run_keeps_all_but_its_last_second() {
    let bench = Bench::new();
    let (_server, target) = serving(&bench, &QUICK);
    let running = bench.start(&run_args(&target, &["--concurrency", "4", "--duration", "60s"]));
    wait_for_records(&bench, 4096);
    thread::sleep(Duration::from_millis(1500));
    let killed = llms_core::time::real_clock().now();
    running.signal(Signal::KILL);
    running.end();

    let run = kept(&bench);
    assert!(!run.manifest.complete, "nobody said that it ended");
    let ends: Vec<_> = measured(&run).iter().filter_map(|r| r.end).collect();
    let last = ends.iter().max().unwrap();
    // Written at least twice a second; a busy machine may be later with it.
    assert!(killed.saturating_since(*last) < Duration::from_secs(3), "{killed:?} {last:?}");
    // In a closed loop blocks are numbered as they begin: none is missing before the last ones.
    let mut blocks: Vec<u64> = measured(&run).iter().map(|r| r.block).collect();
    blocks.sort_unstable();
    let gaps = blocks.windows(2).filter(|w| w[1] != w[0] + 1).count();
    assert!(gaps <= 4, "only the four in flight may be missing: {blocks:?}");
    bench.run(&["report", "--output-dir", "kept"]).with(0).says("INCOMPLETE");
}

#[test]
fn an_interrupted_run_tells_what_it_has_and_ends_with_130() {
    let bench = Bench::new();
    let (_server, target) = serving(&bench, &QUICK);
    for signal in [Signal::INT, Signal::TERM] {
        let dir = format!("{signal:?}");
        let args = ["run", "--target", &target, "-q", "--output-dir", &dir, "--concurrency", "4"];
        let running = bench.start(&[&args[..], &["--duration", "60s"]].concat());
        let root = bench.path().join(&dir);
        let start = Instant::now();
        let records = loop {
            assert!(start.elapsed() < Duration::from_secs(60), "no records");
            thread::sleep(Duration::from_millis(50));
            let Some(run) = RunDir::list(&root).unwrap_or_default().pop() else { continue };
            let records = run.path.join("records.lbr");
            if records.metadata().is_ok_and(|m| m.len() > 4096) {
                break run.path;
            }
        };
        running.signal(signal);
        running.end().with(130).says("INTERRUPTED").says("TTFT");
        let run = RunDir::at(records).load().unwrap();
        assert!(run.manifest.interrupted && !run.manifest.complete);
        assert!(run.manifest.window.is_some() && measured(&run).len() > 10);
    }
}

#[test]
fn a_file_that_may_not_grow_is_named_and_what_was_written_can_be_read() {
    let bench = Bench::new();
    let (_server, target) = serving(&bench, &QUICK);
    // 48 blocks of 1024 bytes (of 512 in some shells), as a small disk.
    let args = run_args(&target, &["--concurrency", "16", "--duration", "60s"]);
    let ended = bench.run_limited("ulimit -f 48", &args).with(3);
    let message = &ended.stderr;
    assert!(message.contains("records.lbr") && message.contains("too large"), "{message}");
    assert!(message.contains("ulimit -f") && message.contains("--output-dir"), "{message}");
    let run = kept(&bench);
    assert!(!run.manifest.complete && measured(&run).len() > 10, "{} records", run.records.len());
    bench.run(&["report", "--output-dir", "kept"]).with(0).says("INCOMPLETE");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named() {
    let bench = Bench::new();
    let (_server, target) = serving(&bench, &QUICK);
    let args = run_args(&target, &["--num-requests", "200", "--concurrency", "8", "--records", "/dev/full"]);
    let ended = bench.run(&args).with(3);
    assert!(ended.stderr.contains("/dev/full") && ended.stderr.contains("No space left"), "{}", ended.stderr);
    // The run's own directory, on another disk, has what was measured.
    assert!(!kept(&bench).manifest.complete);
    // A report that cannot be kept was printed before.
    let args = run_args(&target, &["--num-requests", "8", "--no-save", "--json", "/dev/full"]);
    let ended = bench.run(&args).with(3);
    assert!(ended.stdout.contains("8 measured requests"), "{}", ended.stdout);
    assert!(ended.stderr.contains("/dev/full") && ended.stderr.contains("No space left"), "{}", ended.stderr);
}

#[test]
fn running_out_of_descriptors_is_this_clients_failure() {
    let bench = Bench::new();
    let (_server, target) = serving(&bench, &QUICK);
    let args = run_args(&target, &["--concurrency", "64", "--num-requests", "300", "--format", "json"]);
    let ended = bench.run_limited("ulimit -n 40", &args).with(3);
    let own: Vec<_> = findings(&ended.stdout).into_iter().filter(|(s, _)| s == "own_limits").collect();
    assert_eq!(own, [("own_limits".to_owned(), "INVALID".to_owned())], "{}", ended.stdout);
    let run = kept(&bench);
    let failed = failures(&run);
    assert!(failed.iter().all(|m| m.contains("ulimit -n, 40 at present")), "{failed:?}");
    assert!(!failed.is_empty() && failed.len() < measured(&run).len(), "those that fit are served");
    assert_eq!(measured(&run).len(), 300, "planned = ok + failed");
}

/// Needs a network of its own, which not everybody may make: then there is nothing to try here, and the classes of errors
/// are tested where they are made.
#[test]
#[cfg(target_os = "linux")]
fn running_out_of_local_ports_is_this_clients_failure() {
    let bench = Bench::new();
    let own_network = "ip link set lo up && echo 40000 40019 > /proc/sys/net/ipv4/ip_local_port_range";
    let may = std::process::Command::new("unshare").args(["-rn", "sh", "-c", own_network]).output();
    if !may.is_ok_and(|o| o.status.success()) {
        return;
    }
    // Server and client in one network of 20 ports.
    let script = format!(
        "{own_network}; $BENCH mock serve --port 8399 --seed 1 --time-scale 0.1 --output-tokens 8 > served & server=$!; \
         until grep -q OPENAI served 2> /dev/null; do sleep 0.1; done; \
         $BENCH run --target openai:m@http://127.0.0.1:8399/v1 -q --output-dir kept --concurrency 64 --num-requests 300 \
         --format json; code=$?; kill $server; exit $code"
    );
    let ended = bench.run_script(&["unshare", "-rn", "bash", "-c"], &script).with(3);
    let own: Vec<_> = findings(&ended.stdout).into_iter().filter(|(s, _)| s == "own_limits").collect();
    assert_eq!(own, [("own_limits".to_owned(), "INVALID".to_owned())], "{}", ended.stdout);
    let run = kept(&bench);
    let failed = failures(&run);
    assert!(failed.iter().all(|m| m.contains("no free local port")), "{failed:?}");
    assert!(failed.iter().any(|m| m.contains("net.ipv4.ip_local_port_range")), "{failed:?}");
    assert_eq!(measured(&run).len(), 300, "planned = ok + failed");
}

#[test]
fn a_server_that_is_restarted_costs_the_requests_of_that_time_and_no_more() {
    let bench = Bench::new();
    let (server, target) = serving(&bench, &QUICK);
    let port = target.rsplit_once(':').unwrap().1.trim_end_matches("/v1").to_owned();
    let running = bench.start(&run_args(
        &target,
        &["--concurrency", "4", "--duration", "8s", "--format", "json", "--max-error-rate", "1"],
    ));
    wait_for_records(&bench, 4096);
    server.signal(Signal::KILL);
    server.end();
    thread::sleep(Duration::from_millis(500));
    let (_again, _) = serving_on(&bench, &port, &QUICK);
    let ended = running.end().with(0);
    let run = kept(&bench);
    assert!(run.manifest.complete, "the run went on");
    let failed = failures(&run);
    assert!(failed.iter().any(|m| m.contains("connection refused")), "{failed:?}");
    let all = measured(&run);
    let last_failure = all.iter().filter(|r| !r.is_ok()).filter_map(|r| r.end).max().unwrap();
    let after = all.iter().filter(|r| r.is_ok() && r.scheduled > last_failure).count();
    assert!(after > 10, "{after} answers after the last failure");
    assert!(findings(&ended.stdout).iter().all(|(s, _)| s != "own_limits"), "the server's failures");
}

/// Response times count from the schedule, so that a server that stands still shows; and it is no fault of the client.
#[test]
#[cfg(unix)]
fn a_frozen_server_shows_in_the_response_times_and_blames_nobody_else() {
    let bench = Bench::new();
    let (server, target) = serving(&bench, &["--time-scale", "0.05", "--output-tokens", "2"]);
    let running = bench.start(&run_args(
        &target,
        &["--request-rate", "40", "--arrivals", "constant", "--duration", "10s", "--format", "json"],
    ));
    wait_for_records(&bench, 4096);
    server.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(2));
    server.signal(Signal::CONT);
    let ended = running.end().with(0);
    let run = kept(&bench);
    let all = measured(&run);
    assert_eq!(all.len(), 400, "none was skipped");
    assert!(failures(&run).is_empty());
    // 80 of 400 arrivals fell into the freeze; their times run from 2 s down to 0.
    let response = |r: &RequestRecord| r.end.unwrap().saturating_since(r.scheduled);
    let long = all.iter().filter(|r| response(r) > Duration::from_secs(1)).count();
    assert!(long >= 35, "{long} response times above 1 s");
    // The client sent all the same, on time as far as the machine let it.
    let sent_within: Vec<_> = all
        .iter()
        .filter(|r| response(r) > Duration::from_secs(1))
        .filter(|r| r.sent.unwrap().saturating_since(r.released) < Duration::from_millis(500))
        .collect();
    assert!(sent_within.len() * 2 > long, "the freeze is the server's, not a late client's");
    // Whatever this machine did meanwhile, no signal of the client is raised by the freeze itself.
    let shown = findings(&ended.stdout);
    assert!(shown.iter().all(|(s, _)| s != "cap_wait" && s != "clock_trouble"), "{shown:?}");
}

/// Six busy loops and the client on one processor, the client the last in line.
#[test]
#[cfg(target_os = "linux")]
fn a_starved_client_says_invalid_why_and_what_to_do() {
    let bench = Bench::new();
    let (_server, target) = serving(&bench, &QUICK);
    let script = format!(
        "for i in 1 2 3 4 5 6; do taskset -c 0 sh -c 'while :; do :; done' & loops=\"$loops $!\"; done; \
         taskset -c 0 nice -n 19 $BENCH run --target {target} -q --no-save --request-rate 20 --duration 4s --strict; \
         code=$?; kill $loops; exit $code"
    );
    let ended = bench.run_script(&["sh", "-c"], &script).with(4);
    assert!(ended.stdout.contains("INVALID run_queue"), "{}", ended.stdout);
    for said in ["waited", "for a", "quieter or larger machine"] {
        assert!(ended.stdout.contains(said), "{said}: {}", ended.stdout);
    }
}

#[test]
fn a_twin_says_what_this_client_is_wrong_by_here() {
    let bench = Bench::new();
    let (_server, target) = serving(&bench, &QUICK);
    let args = run_args(&target, &["--concurrency", "4", "--num-requests", "8", "--calibrate=5ms"]);
    bench.run(&args).with(0).says("calibrated on a twin on this machine (4 at once");
    let run = kept(&bench);
    let health = run.manifest.client.as_ref().unwrap();
    let twin = health.calibration.as_ref().unwrap();
    assert!(twin.requests > 20 && twin.unaccounted == 0, "{twin:?}");
    assert!(twin.arrival.unwrap().n > 200 && twin.ttft.unwrap().p50_s > 0.0, "{twin:?}");
    // The run's own connections were opened before its window.
    assert_eq!(run.manifest.facts["connections_opened"], "4 before the window");
    assert!(health.transport.unwrap().reads > 0);
    assert!(measured(&run).iter().all(|r| r.connection.reused == Some(true)), "none paid for a handshake");
    bench.run(&["report", "--output-dir", "kept"]).with(0).says("calibrated on a twin");
}
