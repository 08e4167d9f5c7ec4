//! The verdict on the client process: each signal alone, in bounds and out, and absent.
#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::support;

use bench_analysis::Analyzer;
use llms_core::{
    Error, ErrorCode,
    bench::{
        Calibration, ClientHealth, Level, Load, Measured, PerformanceAnalyzer as _, RecordOutcome,
        RequestRecord, RunResult, TwinError,
        probe::{
            ClockTrouble, Course, CpuUse, Descriptors, LocalPorts, Pressure, RunQueue, RuntimeLag, Steal,
            Throttling,
        },
    },
    wire::{OWN_LIMIT, TransportCounters},
};

/// A client that suffered nothing.
fn well() -> ClientHealth {
    let course = Course { start: 10, end: 10, max: 12 };
    ClientHealth {
        cpu: Measured::Value(CpuUse {
            total_s: 1.0,
            user_s: None,
            system_s: None,
            allowed_cores: Some(2.0),
            share: Some(0.1),
        }),
        run_queue: Measured::Value(RunQueue {
            wait_s: 0.1,
            share: 0.01,
            worst_thread_share: 0.01,
            wanting_share: None,
            run_s: 1.0,
            unseen_run_s: None,
            threads_ended: 0,
        }),
        throttling: Measured::Value(Throttling {
            quota_cores: Some(0.5),
            throttled_periods: 0,
            throttled_s: 0.0,
            share: 0.0,
        }),
        pressure: Measured::Value(Pressure {
            avg10: 0.0,
            avg10_start: 0.0,
            avg10_max: 0.0,
            stalled_s: 0.0,
            share: 0.0,
        }),
        steal: Measured::Value(Steal { share: 0.0, wanted_share: Some(0.0) }),
        clock: Measured::Value(ClockTrouble {
            drift_ppm: 20.0,
            drift_error_ppm: 1.0,
            largest_step_s: 0.0,
            steps: 0,
            slew_ppm: None,
            suspended_s: None,
        }),
        descriptors: Measured::Value(Descriptors { open: course, limit: Some(1024) }),
        ports: Measured::Value(LocalPorts { range: Some(28_000), in_use: 10, time_wait: course }),
        runtime_lag: Measured::Value(RuntimeLag {
            beats: 100,
            period_s: 0.05,
            runtimes: 1,
            workers: 2,
            p50_s: 1e-5,
            p99_s: 1e-4,
            max_s: 1e-3,
            method: "test".to_owned(),
        }),
        ..ClientHealth::unwatched("not watched here")
    }
}

/// Level of the signal's finding, if there is one, and whether it was checked.
fn judged(health: Option<ClientHealth>, signal: &str) -> (Option<Level>, bool, Vec<String>) {
    let one = |i: u64| {
        let at = support::at_ms(i as f64 * 10.0);
        support::answered(support::record(&format!("r{i}"), 0, i, at), 50.0, 10.0, 8)
    };
    let records = (0..40).map(one).collect();
    let mut run = support::run(&["a"], records);
    run.manifest.client = health.map(Box::new);
    let analysis = Analyzer::new().analyze(&run).unwrap();
    let finding = analysis.validity.findings.iter().find(|f| f.signal == signal);
    if let Some(f) = finding {
        assert!(!f.measured.is_empty() && !f.threshold.is_empty() && !f.cure.is_empty(), "{f:?}");
    }
    let checked = analysis.validity.checked.iter().any(|c| c == signal);
    (finding.map(|f| f.level), checked, analysis.not_measured.clone())
}

#[track_caller]
fn found(signal: &str, level: Level, change: impl Fn(&mut ClientHealth)) {
    assert_eq!(judged(Some(well()), signal).0, None, "{signal} of a well client");
    assert!(judged(Some(well()), signal).1, "{signal} is checked");
    let mut ill = well();
    change(&mut ill);
    assert_eq!(judged(Some(ill), signal).0, Some(level), "{signal}");
}

fn set<T>(of: &mut Measured<T>, change: impl Fn(&mut T)) {
    match of {
        Measured::Value(v) => change(v),
        Measured::Absent { .. } => panic!("measured above"),
    }
}

#[test]
fn each_signal_is_judged_by_its_limit() {
    found("run_queue", Level::Invalid, |h| set(&mut h.run_queue, |q| q.worst_thread_share = 0.06));
    found("cpu_quota", Level::Invalid, |h| set(&mut h.throttling, |t| t.share = 0.02));
    found("clock_trouble", Level::Invalid, |h| set(&mut h.clock, |c| c.largest_step_s = 2e-4));
    found("clock_trouble", Level::Invalid, |h| set(&mut h.clock, |c| c.drift_ppm = -600.0));
    // These records have user stamps.
    found("runtime_lag", Level::Invalid, |h| set(&mut h.runtime_lag, |l| l.p99_s = 6e-3));
    found("client_cpu", Level::Suspect, |h| set(&mut h.cpu, |c| c.share = Some(0.71)));
    found("cpu_pressure", Level::Suspect, |h| set(&mut h.pressure, |p| p.share = 0.2));
    found("steal", Level::Suspect, |h| set(&mut h.steal, |s| s.wanted_share = Some(0.03)));
    found("descriptors", Level::Suspect, |h| set(&mut h.descriptors, |d| d.open.max = 1000));
    found("local_ports", Level::Suspect, |h| set(&mut h.ports, |p| p.time_wait.max = 27_000));
}

#[test]
fn drift_within_the_error_of_its_reading_is_no_trouble() {
    let mut health = well();
    set(&mut health.clock, |c| (c.drift_ppm, c.drift_error_ppm) = (900.0, 500.0));
    assert_eq!(judged(Some(health), "clock_trouble").0, None);
}

#[test]
fn what_was_not_measured_is_said_and_never_taken_for_good() {
    let (finding, checked, not_measured) = judged(None, "run_queue");
    assert!(finding.is_none() && !checked);
    assert!(not_measured.iter().any(|n| n.contains("no process probe")), "{not_measured:?}");
    let mut half = well();
    half.run_queue = Measured::absent("this platform has no schedstat");
    let (finding, checked, not_measured) = judged(Some(half), "run_queue");
    assert!(finding.is_none() && !checked);
    assert!(
        not_measured.iter().any(|n| n == "run_queue: this platform has no schedstat"),
        "{not_measured:?}"
    );
}

/// A run of `n` streamed answers with kernel stamps, changed by `change` one by one.
fn stamped(n: u64, open: bool, change: impl Fn(u64, &mut RequestRecord)) -> RunResult {
    let one = |i: u64| {
        let at = support::at_ms(i as f64 * 10.0);
        let mut record = support::answered(support::record(&format!("r{i}"), 0, i, at), 50.0, 10.0, 8);
        for chunk in &mut record.chunks {
            chunk.stamp.kernel = Some(chunk.stamp.user);
        }
        change(i, &mut record);
        record
    };
    let mut run = support::run(&["a"], (0..n).map(one).collect());
    run.manifest.client = Some(Box::new(well()));
    if open {
        run.manifest.scenario.load = Load::poisson(100.0);
    }
    run
}

/// Level and words of a finding.
fn finding(run: &RunResult, signal: &str) -> Option<(Level, String, String)> {
    let analysis = Analyzer::new().analyze(run).unwrap();
    let found = analysis.validity.findings.into_iter().find(|f| f.signal == signal)?;
    Some((found.level, found.measured, found.cure))
}

fn counted(change: impl Fn(&mut TransportCounters)) -> TransportCounters {
    let mut counters = TransportCounters::default();
    (counters.reads, counters.kernel_stamped, counters.chunked_reads) = (1000, 1000, 900);
    change(&mut counters);
    counters
}

#[test]
fn a_late_runtime_is_worse_where_its_lateness_is_in_the_stamps() {
    let mut run = stamped(40, false, |_, _| {});
    set(&mut run.manifest.client.as_mut().unwrap().runtime_lag, |l| l.p99_s = 6e-3);
    assert_eq!(finding(&run, "runtime_lag").unwrap().0, Level::Suspect, "kernel stamps do not contain it");
    for record in &mut run.records {
        for chunk in &mut record.chunks {
            chunk.stamp.kernel = None;
        }
    }
    assert_eq!(finding(&run, "runtime_lag").unwrap().0, Level::Invalid, "user stamps do");
}

#[test]
fn a_clock_that_jumped_under_the_kernel_stamps_is_named() {
    let mut run = stamped(40, false, |_, _| {});
    run.manifest.client.as_mut().unwrap().transport = Some(counted(|_| {}));
    assert_eq!(finding(&run, "clock_trouble"), None);
    run.manifest.client.as_mut().unwrap().transport =
        Some(counted(|c| (c.clock_jumps, c.clock_jump_max_ns) = (2, 700_000_000)));
    let (level, measured, _) = finding(&run, "clock_trouble").unwrap();
    assert_eq!(level, Level::Invalid);
    assert!(measured.contains("2 times") && measured.contains("700.00 ms"), "{measured}");
}

#[test]
fn reads_of_both_kinds_of_stamp_are_suspect() {
    let mut run = stamped(40, false, |_, _| {});
    for (stamped, refused, suspect) in [(1000, 0, false), (0, 0, false), (900, 0, true), (1000, 100, true)] {
        run.manifest.client.as_mut().unwrap().transport =
            Some(counted(|c| (c.kernel_stamped, c.stamps_refused) = (stamped, refused)));
        let found = finding(&run, "mixed_stamps").map(|f| f.0);
        assert_eq!(found, suspect.then_some(Level::Suspect), "{stamped} stamped, {refused} refused");
    }
}

#[test]
fn merged_reads_are_the_servers_doing_when_the_transport_saw_no_merged_chunks() {
    let mut run = stamped(40, false, |_, record| {
        record.chunks[3].stamp.read = record.chunks[2].stamp.read;
    });
    assert_eq!(finding(&run, "merged_reads").unwrap().0, Level::Invalid, "nobody counted");
    for (merged, level) in [(0, Level::Valid), (40, Level::Valid), (90, Level::Invalid)] {
        run.manifest.client.as_mut().unwrap().transport = Some(counted(|c| c.merged_reads = merged));
        assert_eq!(finding(&run, "merged_reads").unwrap().0, level, "{merged} merged reads");
    }
}

#[test]
fn many_requests_sent_once_more_are_suspect() {
    let resent = |every: u64| stamped(400, false, move |i, r| r.resent = i % every == 1);
    assert_eq!(finding(&resent(200), "resent"), None, "the report tells of them with the errors");
    let (level, measured, _) = finding(&resent(40), "resent").unwrap();
    assert_eq!(level, Level::Suspect);
    assert!(measured.contains("10 of 400"), "{measured}");
    assert_eq!(finding(&stamped(40, false, |_, _| {}), "resent"), None);
}

#[test]
fn a_client_that_falls_behind_more_and_more_is_found_before_its_p99_is() {
    let lag = |us: f64| {
        move |i: u64, r: &mut RequestRecord| {
            r.sent = r.sent.map(|s| s + std::time::Duration::from_secs_f64(us * i as f64 / 1e6));
            for chunk in &mut r.chunks {
                chunk.stamp.user = chunk.stamp.user + std::time::Duration::from_millis(1);
                chunk.stamp.kernel = Some(chunk.stamp.user);
            }
            r.end = r.chunks.last().map(|c| c.stamp.user);
        }
    };
    // 0.8 ms late at the end of 400 requests: below the limit of the p99, and growing.
    let run = stamped(400, true, lag(2.0));
    assert_eq!(finding(&run, "send_lag"), None);
    let (level, measured, _) = finding(&run, "send_lag_trend").unwrap();
    assert_eq!(level, Level::Suspect, "{measured}");
    assert_eq!(finding(&stamped(400, true, lag(0.5)), "send_lag_trend"), None, "growth that does not matter");
    assert_eq!(
        finding(&stamped(400, false, lag(2.0)), "send_lag_trend"),
        None,
        "closed loops have no schedule"
    );
    assert_eq!(finding(&stamped(60, true, lag(13.0)), "send_lag_trend"), None, "too few to tell");
}

#[test]
fn an_error_on_the_twin_that_is_large_beside_what_was_measured_is_suspect() {
    let mut run = stamped(40, false, |_, _| {});
    let calibration = |p99_s: f64, unaccounted: u64| {
        let error = TwinError { n: 100, p50_s: 1e-4, p99_s };
        Calibration { requests: 100, unaccounted, ttft: Some(error), ..Calibration::default() }
    };
    // The median time to first token is 50 ms.
    for (p99_s, lost, suspect) in [(2.4e-3, 0, None), (2.6e-3, 0, Some(Level::Suspect))] {
        run.manifest.client.as_mut().unwrap().calibration = Some(calibration(p99_s, lost));
        assert_eq!(finding(&run, "calibration").map(|f| f.0), suspect, "{p99_s}");
        assert_eq!(finding(&run, "calibration_lost"), None);
    }
    run.manifest.client.as_mut().unwrap().calibration = Some(calibration(1e-3, 3));
    assert_eq!(finding(&run, "calibration_lost").unwrap().1, "3 of 100 requests");
}

#[test]
fn failures_of_this_machine_are_not_the_servers() {
    let own = format!("no free local port towards 127.0.0.1:1 ({OWN_LIMIT}): keep connections alive");
    let failing = |message: &str, share: u64| {
        let message = message.to_owned();
        stamped(40, false, move |i, r| {
            if i % share == 1 {
                let error = Error::new("http.connect", ErrorCode::NetworkError, message.clone());
                r.outcome = RecordOutcome::Failed((&error).into());
                r.chunks.clear();
            }
        })
    };
    let (level, measured, _) = finding(&failing(&own, 10), "own_limits").unwrap();
    assert_eq!(level, Level::Invalid);
    assert!(measured.contains("4 of 40") && measured.contains("no free local port"), "{measured}");
    assert_eq!(finding(&failing("connection refused by 127.0.0.1:1", 10), "own_limits"), None);
}
