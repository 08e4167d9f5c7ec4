//! Cost of watching: one reading with few and with many threads and descriptors, a span's start and finish, and the share of a
//! processor that the probe and its heartbeats take while it watches. Processor time where it can be told, since wall time on a
//! shared machine is others' too.
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark talks to its terminal")]

use std::{
    fs::File,
    hint::black_box,
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use bench_profiling::{ProbeOptions, ProcessProbe};
use llms_core::bench::ClientProbe;
use rustix::time::{ClockId, clock_gettime};

fn thread_cpu_us() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 * 1e6 + t.tv_nsec as f64 / 1e3
}

/// Least and median of processor time and of wall time on this thread, microseconds.
fn cost(what: &str, times: usize, mut work: impl FnMut()) {
    let mut taken: Vec<(f64, f64)> = (0..times)
        .map(|_| {
            let (cpu, wall) = (thread_cpu_us(), Instant::now());
            work();
            (thread_cpu_us() - cpu, wall.elapsed().as_secs_f64() * 1e6)
        })
        .collect();
    taken.sort_by(|a, b| a.0.total_cmp(&b.0));
    let cpu = (taken[0].0, taken[times / 2].0);
    taken.sort_by(|a, b| a.1.total_cmp(&b.1));
    let wall = (taken[0].1, taken[times / 2].1);
    println!(
        "{what}: processor {:.0} / {:.0} us, wall {:.0} / {:.0} us (least / median of {times})",
        cpu.0, cpu.1, wall.0, wall.1
    );
}

fn calls() {
    let quiet = ProbeOptions { interval: Duration::from_secs(3600), beat: None, samples: 512 };
    let probe = ProcessProbe::new(quiet);
    cost("start", 200, || probe.start());
    cost("sample (a reading and its telling)", 500, || drop(black_box(probe.sample())));
    let (hold, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let threads: Vec<_> = (0..32)
        .map(|_| {
            let held = held.clone();
            thread::spawn(move || held.lock().is_ok_and(|held| held.recv().is_err()))
        })
        .collect();
    cost("sample with 32 threads more", 200, || drop(black_box(probe.sample())));
    let files: Vec<_> = (0..10_000).map_while(|_| File::open("/dev/null").ok()).collect();
    cost(&format!("sample with {} descriptors more", files.len()), 200, || drop(black_box(probe.sample())));
    drop(hold);
    for thread in threads {
        let _ = thread.join();
    }
}

/// What an idle process pays for being watched.
fn idle(runtime: &tokio::runtime::Runtime, name: &str, options: ProbeOptions) {
    let probe = ProcessProbe::new(options);
    probe.watch_runtime(runtime.handle().clone());
    probe.start();
    runtime.block_on(async { tokio::time::sleep(Duration::from_secs(10)).await });
    let health = probe.finish();
    let percent = |cpu_s: Option<f64>| cpu_s.map_or(f64::NAN, |s| s / health.wall_s * 100.0);
    let all = percent(health.cpu.value().map(|c| c.total_s));
    let cost = health.cost.value();
    let own = percent(cost.map(|c| c.cpu_s));
    let readings = cost.map_or(0, |c| c.readings);
    let lag = health.runtime_lag.value().map_or_else(
        || "no lag".to_owned(),
        |l| format!("lag p50 {:.0} us, p99 {:.0} us of {} beats", l.p50_s * 1e6, l.p99_s * 1e6, l.beats),
    );
    println!(
        "  {name}: process {all:.3} %, of it the probe's thread {own:.3} % ({readings} readings); {lag}"
    );
}

fn main() {
    calls();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    println!("an idle process with two workers, watched for 10 s, percent of one processor:");
    let default = ProbeOptions::default();
    for (name, beat) in [
        ("readings only", None),
        ("and a beat each 50 ms", Some(Duration::from_millis(50))),
        ("and a beat each 10 ms", Some(Duration::from_millis(10))),
        ("and a beat each 1 ms", Some(Duration::from_millis(1))),
    ] {
        idle(&runtime, name, ProbeOptions { beat, ..default });
    }
}
