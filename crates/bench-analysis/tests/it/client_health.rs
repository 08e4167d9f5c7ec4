//! The verdict on the client process: each signal alone, in bounds and out, and absent.
#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::support;

use bench_analysis::Analyzer;
use llms_core::bench::{
    ClientHealth, Level, Measured, PerformanceAnalyzer as _,
    probe::{
        ClockTrouble, Course, CpuUse, Descriptors, LocalPorts, Pressure, RunQueue, RuntimeLag, Steal,
        Throttling,
    },
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
    found("runtime_lag", Level::Suspect, |h| set(&mut h.runtime_lag, |l| l.p99_s = 6e-3));
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
