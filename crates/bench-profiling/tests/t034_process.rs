//! T034: what the process probe says about this process, and what it says where the kernel is silent.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use bench_profiling::{ProbeOptions, ProcessProbe};
use llms_core::bench::{ClientHealth, ClientProbe};

fn fast() -> ProbeOptions {
    let (interval, beat) = (Duration::from_millis(20), Some(Duration::from_millis(10)));
    ProbeOptions { interval, beat, ..ProbeOptions::default() }
}

fn burn(time: Duration) {
    let began = Instant::now();
    let mut x = 1_u64;
    while began.elapsed() < time {
        for _ in 0..1000 {
            x = black_box(x.wrapping_mul(6364136223846793005).wrapping_add(1));
        }
    }
}

/// The health of a span in which `work` is done.
fn watch(work: impl FnOnce()) -> ClientHealth {
    let probe = ProcessProbe::new(fast());
    probe.start();
    work();
    probe.finish()
}

#[test]
fn without_a_start_everything_is_absent_with_the_reason() {
    let probe = ProcessProbe::new(fast());
    for health in [probe.sample(), probe.finish()] {
        assert_eq!(health.not_measured().len(), 16);
        assert!(health.not_measured().iter().all(|(_, why)| why.contains("not started")));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn this_process_is_measured() {
    let health = watch(|| {
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        thread::spawn(|| burn(Duration::from_millis(60))).join().unwrap();
        let memory = black_box(vec![1_u8; 8 << 20]);
        thread::sleep(Duration::from_millis(60));
        drop((file, memory));
    });
    assert!(0.12 <= health.wall_s, "{}", health.wall_s);
    let cpu = health.cpu.value().unwrap();
    assert!(0.0 < cpu.total_s && cpu.allowed_cores.is_some_and(|c| 0.0 < c), "{cpu:?}");
    let share = cpu.total_s / health.wall_s / cpu.allowed_cores.unwrap();
    assert!((cpu.share.unwrap() - share).abs() < 1e-9, "{cpu:?}");
    let memory = health.memory.value().unwrap();
    assert!(memory.end_bytes <= memory.high_water_bytes && 8 << 20 <= memory.high_water_bytes, "{memory:?}");
    let open = health.descriptors.value().unwrap();
    assert!(3 < open.open.start && open.limit.is_none_or(|l| open.open.max <= l), "{open:?}");
    let threads = health.threads.value().unwrap();
    // This test's thread, the harness's and the probe's own at both ends; other tests' come and go.
    assert!(2 <= threads.start.min(threads.end) && threads.end <= threads.max, "{threads:?}");
    assert!(health.clock.value().is_some_and(|c| c.drift_error_ppm < 1e4), "{:?}", health.clock);
    assert!(health.ports.value().is_some_and(|p| p.range.is_some_and(|r| 0 < r)), "{:?}", health.ports);
    assert_eq!(health.tasks.reason(), Some("no async runtime was given to the probe"));
    assert_eq!(health.allocations.reason(), Some("this binary's allocator does not count"));
    let cost = health.cost.value().unwrap();
    assert!(2 <= cost.readings && 0.0 < cost.cpu_s && cost.cpu_s <= cpu.total_s, "{cost:?}");
    let (first, last) = (health.samples.first().unwrap(), health.samples.last().unwrap());
    assert_eq!((first.at, last.at), (health.started, health.ended));
    assert!(health.samples.windows(2).all(|w| w[0].at < w[1].at && w[0].cpu_s <= w[1].cpu_s));
    let json = serde_json::to_string(&health).unwrap();
    assert_eq!(serde_json::from_str::<ClientHealth>(&json).unwrap(), health);
}

#[test]
fn a_second_start_forgets_the_first_and_a_sample_does_not_end() {
    let probe = ProcessProbe::new(fast());
    probe.start();
    thread::sleep(Duration::from_millis(50));
    let (early, late) = (probe.sample(), probe.sample());
    assert!(early.started == late.started && early.ended < late.ended);
    probe.start();
    let anew = probe.finish();
    assert!(late.ended < anew.started);
    assert_eq!(probe.finish().wall_s, 0.0);
}

#[test]
#[cfg(target_os = "linux")]
fn samples_stay_bounded() {
    let options = ProbeOptions { interval: Duration::from_millis(1), samples: 8, ..ProbeOptions::default() };
    let probe = ProcessProbe::new(options);
    probe.start();
    while probe.sample().cost.value().unwrap().readings < 40 {
        thread::sleep(Duration::from_millis(5));
    }
    let health = probe.finish();
    assert!(health.samples.len() <= 9, "{}", health.samples.len());
    assert!(0.001 < health.sample_interval_s, "{}", health.sample_interval_s);
}

/// More threads that want a processor than there are processors wait for it: more the more they are.
#[test]
#[cfg(target_os = "linux")]
fn threads_that_have_no_processor_are_seen_waiting() {
    let cores = thread::available_parallelism().unwrap().get();
    let crowd = |n: usize| {
        watch(|| {
            let burning: Vec<_> =
                (0..n).map(|_| thread::spawn(|| burn(Duration::from_millis(400)))).collect();
            for thread in burning {
                thread.join().unwrap();
            }
        })
    };
    let busy = crowd(4 * cores);
    let Some(queue) = busy.run_queue.value() else {
        // A kernel without the account says so.
        assert!(busy.run_queue.reason().is_some_and(|r| r.contains("CONFIG_SCHED_INFO")));
        return;
    };
    // Of four that want one processor each waits three quarters of the time; half of that is asked for.
    assert!(1.5 < queue.share, "{queue:?}");
    assert!(0.37 < queue.worst_thread_share && queue.worst_thread_share < 1.1, "{queue:?}");
    assert!(queue.wanting_share.is_some_and(|s| 0.37 < s && s <= 1.0), "{queue:?}");
    assert!(4 * cores as u64 <= queue.threads_ended, "{queue:?}");
    let cpu = busy.cpu.value().unwrap();
    assert!(queue.run_s <= cpu.total_s * 1.1, "{queue:?} {cpu:?}");
    let switches = busy.switches.value().unwrap();
    assert!(0 < switches.scheduled, "{switches:?}");
    let alone = crowd(1);
    let waited = alone.run_queue.value().unwrap().share;
    assert!(waited < queue.share, "{waited} alone, {} in a crowd", queue.share);
}

/// The same with everything on one processor, beside a process that burns it: this test runs itself again, pinned.
#[test]
#[cfg(target_os = "linux")]
fn a_hog_on_the_same_processor_shows_as_waiting() {
    const CHILD: &str = "BENCH_PROFILING_PINNED";
    let me = std::env::current_exe().unwrap();
    let name = "a_hog_on_the_same_processor_shows_as_waiting";
    if std::env::var_os(CHILD).is_some() {
        let health = watch(|| burn(Duration::from_millis(500)));
        let (cpu, queue) = (health.cpu.value().unwrap(), health.run_queue.value());
        println!("\n{} {}", cpu.allowed_cores.unwrap(), queue.map_or(-1.0, |q| q.worst_thread_share));
        return;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|l| l.strip_prefix("Cpus_allowed_list:")).unwrap();
    let processor = allowed.trim().split(['-', ',']).next().unwrap();
    let pinned = |command: &str| {
        let mut taskset = std::process::Command::new("taskset");
        taskset
            .args(["-c", processor, "sh", "-c", command])
            .env(CHILD, "1")
            .stdout(std::process::Stdio::piped());
        taskset
    };
    let measure = || {
        let command = format!("'{}' --exact {name} --nocapture", me.display());
        let out = pinned(&command).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        text.lines().find_map(|l| {
            let (cores, waited) = l.split_once(' ')?;
            Some((cores.parse::<f64>().ok()?, waited.parse::<f64>().ok()?))
        })
    };
    let Some((cores, quiet)) = measure() else {
        assert!(
            pinned("true").status().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound),
            "pinned, this test said nothing"
        );
        return;
    };
    assert!(cores <= 1.0, "one processor allowed, {cores} told");
    let mut hogs: Vec<_> =
        (0..3).map(|_| pinned("exec timeout 20 sh -c 'while :; do :; done'").spawn().unwrap()).collect();
    let crowded = measure();
    for hog in &mut hogs {
        // `timeout` ends its child when it is ended itself; a hog that is over already is no fault.
        let _ = std::process::Command::new("kill").arg(hog.id().to_string()).status();
        let _ = hog.wait();
    }
    let (_, crowded) = crowded.unwrap();
    assert!(!(0.0..=0.3).contains(&crowded), "{crowded} beside three hogs");
    assert!(crowded < 0.0 || quiet < crowded, "{quiet} alone, {crowded} beside three hogs");
}

#[test]
fn a_stalled_runtime_is_late_and_its_tasks_are_counted() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let health = runtime.block_on(async {
        let probe = ProcessProbe::here(fast());
        let held = tokio::spawn(std::future::pending::<()>());
        probe.start();
        tokio::time::sleep(Duration::from_millis(100)).await;
        // A task that does not give its thread back.
        thread::sleep(Duration::from_millis(300));
        tokio::time::sleep(Duration::from_millis(100)).await;
        held.abort();
        probe.finish()
    });
    let lag = health.runtime_lag.value().unwrap();
    assert!(0.25 < lag.max_s, "{lag:?}");
    assert!(0.05 < lag.p99_s, "thirty beats fell into the stall: {lag:?}");
    assert!(lag.p50_s < 0.25 && 10 < lag.beats, "{lag:?}");
    assert_eq!((lag.runtimes, lag.workers), (1, 1));
    let tasks = health.tasks.value().unwrap();
    assert_eq!((tasks.start, tasks.max), (1, 1), "the probe's own task is not counted: {tasks:?}");
    assert!(health.samples.iter().any(|s| s.lag_max_s.is_some_and(|l| 0.25 < l)));
}

#[test]
fn heartbeats_can_be_switched_off() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let health = runtime.block_on(async {
        let probe = ProcessProbe::here(ProbeOptions { beat: None, ..fast() });
        probe.start();
        tokio::task::yield_now().await;
        probe.finish()
    });
    assert_eq!(health.runtime_lag.reason(), Some("heartbeats are switched off"));
    assert_eq!(health.tasks.value().map(|t| t.start), Some(0));
}

/// Files as an odd kernel would have them, below a directory of the test's.
#[test]
#[cfg(target_os = "linux")]
fn what_the_kernel_does_not_tell_is_absent_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let probe = ProcessProbe::reading_from(dir.path(), fast());
    probe.start();
    thread::sleep(Duration::from_millis(30));
    let health = probe.finish();
    for (signal, why) in health.not_measured() {
        assert!(!why.is_empty() && !why.contains("known here"), "{signal}: {why}");
    }
    assert!(health.steal.reason().unwrap().contains("stat: No such file"), "{:?}", health.steal);
    assert!(health.pressure.reason().unwrap().contains("pressure/cpu: No such file"));
    // What needs no file stays.
    assert!(health.cpu.value().is_some_and(|c| c.share.is_none() && c.user_s.is_none()), "{:?}", health.cpu);
    assert!(health.clock.value().is_some() && health.cost.value().is_some());

    // Present, but of another kind: the file is named, no number is made up.
    let own = dir.path().join("self");
    std::fs::create_dir_all(own.join("task/1")).unwrap();
    std::fs::create_dir_all(dir.path().join("pressure")).unwrap();
    for (file, text) in [
        ("stat", "cpu  1 2 3 4 5 6 7\n"),
        ("pressure/cpu", "nothing\n"),
        ("self/status", "Name:\tx\n"),
        ("self/task/1/schedstat", "0 0 0\n"),
    ] {
        std::fs::write(dir.path().join(file), text).unwrap();
    }
    probe.start();
    let health = probe.finish();
    for (signal, file) in [
        (health.steal.reason(), "/stat does not say it"),
        (health.pressure.reason(), "pressure/cpu does not say it"),
        (health.memory.reason(), "status does not say it"),
        (health.run_queue.reason(), "CONFIG_SCHED_INFO"),
    ] {
        assert!(signal.is_some_and(|why| why.contains(file)), "{file}: {signal:?}");
    }
}
