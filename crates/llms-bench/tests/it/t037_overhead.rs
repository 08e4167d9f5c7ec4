//! T037: the engine takes less than 10 MB beside what it measures, and no more for 100,000 operations than for 1,000.
//!
//! In-process models, 100 operations at a time, records written to disk while the run goes on; counted by the allocator. Each
//! run is a process of its own (this test binary, asked for one test), so that no other test allocates meanwhile.

use std::{
    io::Write as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bench_mock::{Dist, Memory, MockModel, Preset, Profile};
use bench_profiling::{CountingAllocator, LeakDetector, LeakLimits, allocator};
use bench_runner::Runner;
use bench_store::RunSink;
use llms_core::{
    CallContext, ChatModel as _,
    bench::{BenchmarkRunner as _, Load, Progress, ProgressUpdate, Scenario, Target, TargetInfo, Warmup},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::system();

/// The contract's limit, in bytes.
const LIMIT: u64 = 10 * 1024 * 1024;
const CONCURRENT: u32 = 100;
const OPERATIONS: &str = "T037_OPERATIONS";

/// The most bytes live at a time, looked at after each operation: what the thread that asks has allocated counts at once.
#[derive(Default)]
struct Highest(AtomicU64);

impl Progress for Highest {
    fn update(&self, _: &ProgressUpdate) {
        self.0.fetch_max(allocator::counters().unwrap().live_bytes, Relaxed);
    }
}

/// A run of as many operations as it is told: bytes at the highest beyond those before it. It leaves nothing behind.
#[test]
#[ignore = "one half of the_engine_takes_less_than_its_limit, which starts it"]
fn one_run() {
    let Ok(operations) = std::env::var(OPERATIONS) else { return };
    let requests: u64 = operations.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let profile =
        Profile { memory: Memory::default(), ttft_ms: Dist::constant(1.0), ..Preset::VeryFast.profile() };
    let model =
        MockModel::builder().profile(profile.with_output_tokens(16)).truth_capacity(0).build().unwrap();
    let info = TargetInfo {
        name: "mock".to_owned(),
        model: model.info().clone(),
        simulated: true,
        transport: None,
        unavailable: None,
    };
    let target = [Target { info, model: Some(Arc::new(model)) }];
    let scenario = |requests| Scenario {
        requests: Some(requests),
        warmup: Warmup { requests: 0, prompts: Vec::new() },
        load: Load::closed(CONCURRENT),
        ..Scenario::new("overhead", ["What is 2+2?"])
    };
    let root = tempfile::tempdir().unwrap();
    let highest = Arc::new(Highest::default());
    let runner = Runner::builder().keep_records(false).progress(highest.clone()).build();
    let run = |name: &str, requests| {
        let mut sink = RunSink::new(root.path(), name);
        runtime.block_on(async {
            runner.run(&target, &scenario(requests), &mut sink, &CallContext::new()).await.unwrap()
        })
    };
    // Tables, buffers and threads that stay for the life of the process are no cost of a run.
    run("first", 100);
    let limits = LeakLimits { heap_bytes: 256 * 1024, ..LeakLimits::default() };
    let detector = LeakDetector::new(limits, [runtime.handle().clone()]);
    let held = detector.mark();
    let before = allocator::counters().unwrap().live_bytes;
    highest.0.store(0, Relaxed);
    let manifest = run("measured", requests).manifest;
    assert!(manifest.complete, "{manifest:?}");
    let extra = highest.0.load(Relaxed).saturating_sub(before);
    let leaks = detector.settled(&held, Duration::from_secs(20));
    assert!(leaks.is_clean(), "{leaks}");
    writeln!(std::io::stdout(), "{OPERATIONS} extra={extra} {leaks}").unwrap();
}

#[track_caller]
fn measure(operations: u64) -> u64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "t037_overhead::one_run", "--ignored", "--nocapture"])
        .env(OPERATIONS, operations.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|l| l.split_once(OPERATIONS)).expect("the run says what it took").1;
    line.split_whitespace().find_map(|w| w.strip_prefix("extra=")?.parse().ok()).expect("a number")
}

#[test]
fn the_engine_takes_less_than_its_limit_and_no_more_for_more_operations() {
    let (few, many) = (measure(1_000), measure(100_000));
    assert!(few < LIMIT && many < LIMIT, "{few} and {many} bytes");
    // What waits for the disk is bounded by bytes, and the disk may be slower later.
    assert!(many < few + 4 * 1024 * 1024, "{few} bytes for 1,000 operations, {many} for 100,000");
}
