//! T034: tasks, threads and descriptors that stay behind are found; work that cleans up is not accused. One test, so that no
//! other thread of the process comes and goes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{sync::mpsc, thread, time::Duration};

use bench_profiling::{LeakDetector, LeakLimits, LeakReport};

const PATIENCE: Duration = Duration::from_secs(20);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// An operation with a task, a thread and a file of its own.
fn operation(runtime: &tokio::runtime::Runtime) {
    let task = runtime.spawn(async { tokio::task::yield_now().await });
    let thread = thread::spawn(|| std::fs::File::open("/proc/self/stat").unwrap());
    drop(thread.join().unwrap());
    runtime.block_on(task).unwrap();
}

fn grown(report: &LeakReport) -> Vec<(&'static str, u64)> {
    report.growths.iter().map(|g| (g.resource, g.after - g.before)).collect()
}

#[test]
fn a_seeded_leak_of_each_kind_is_found_and_clean_work_is_not() {
    let runtime = runtime();
    let detector = LeakDetector::new(LeakLimits::default(), [runtime.handle().clone()]);
    operation(&runtime);
    let before = detector.mark();
    assert!(
        before.threads.is_some_and(|n| 3 <= n) && before.descriptors.is_some_and(|n| 3 < n),
        "{before:?}"
    );
    for _ in 0..50 {
        operation(&runtime);
    }
    let report = detector.settled(&before, PATIENCE);
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.not_compared.len(), 1, "this test's allocator does not count: {report}");

    let (hold, held) = mpsc::channel::<()>();
    let thread = thread::spawn(move || held.recv().is_err());
    let task = runtime.spawn(std::future::pending::<()>());
    let files: Vec<_> = (0..3).map(|_| std::fs::File::open("/proc/self/stat").unwrap()).collect();
    operation(&runtime);
    let report = detector.settled(&before, Duration::from_millis(300));
    assert_eq!(grown(&report), [("tasks", 1), ("threads", 1), ("descriptors", 3)], "{report}");

    task.abort();
    drop((hold, files));
    assert!(thread.join().unwrap());
    let report = detector.settled(&before, PATIENCE);
    assert!(report.is_clean(), "what ended is no leak: {report}");
}
