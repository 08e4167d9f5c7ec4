//! T034, T037: what a binary with the counting allocator learns about itself. One test, so that nothing else allocates.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    hint::black_box,
    sync::{Arc, Barrier},
    thread,
};

use bench_profiling::{
    CountingAllocator, CountingProbe, LeakDetector, LeakLimits, ProbeOptions, ProcessProbe,
    allocator::{GRAIN, counters, reset_peak},
};
use llms_core::bench::{AllocatorCounters, AllocatorProbe, ClientProbe, Measured};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::system();

/// What `work` added: allocations, bytes asked for, live bytes.
fn grown<T>(work: impl FnOnce() -> T) -> (T, [i64; 3]) {
    let before = counters().unwrap();
    let value = work();
    let after = counters().unwrap();
    let by = |of: fn(&AllocatorCounters) -> u64| of(&after) as i64 - of(&before) as i64;
    (value, [by(|c| c.allocations), by(|c| c.allocated_bytes), by(|c| c.live_bytes)])
}

#[test]
fn counts_are_exact_and_leaks_are_seen() {
    known_patterns();
    threads_lose_no_count();
    the_peak_is_within_its_bound();
    the_probe_tells_them();
    a_seeded_leak_is_found_and_clean_work_is_not();
}

fn known_patterns() {
    let (block, growth) = grown(|| black_box(Vec::<u8>::with_capacity(1000)));
    assert_eq!(growth, [1, 1000, 1000]);
    let ((), growth) = grown(|| drop(block));
    assert_eq!(growth, [0, 0, -1000]);
    // Zeroed memory goes another way through the allocator.
    let (zeros, growth) = grown(|| black_box(vec![0_u64; 512]));
    assert_eq!(growth, [1, 4096, 4096]);
    let (zeros, growth) = grown(move || {
        let mut zeros = zeros;
        zeros.reserve_exact(512);
        zeros
    });
    assert_eq!(growth, [1, 8192, 4096], "a reallocation is one more, of its new size");
    let ((), growth) = grown(|| drop(zeros));
    assert_eq!(growth, [0, 0, -8192]);
    let ((), growth) = grown(|| {
        for i in 1..=100 {
            drop(black_box(Box::new([0_u8; 64])));
            drop(black_box(vec![1_u8; i]));
        }
    });
    assert_eq!(growth, [200, 6400 + 5050, 0]);
    let ((), growth) = grown(|| ());
    assert_eq!(growth, [0, 0, 0], "asking allocates nothing");
}

/// More threads than have cells of their own, all at once; blocks freed by others than those who made them.
fn threads_lose_no_count() {
    const THREADS: usize = 200;
    const EACH: usize = 500;
    let run = |blocks_each: usize| {
        let gate = Arc::new(Barrier::new(THREADS));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let gate = gate.clone();
                thread::spawn(move || {
                    gate.wait();
                    let kept: Vec<Box<[u8; 100]>> =
                        (0..blocks_each).map(|_| black_box(Box::new([7; 100]))).collect();
                    gate.wait();
                    kept
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect::<Vec<_>>()
    };
    // What threads cost without any block is taken off; vectors of blocks have exact sizes.
    let (none, base) = grown(|| run(0));
    drop(none);
    let (kept, growth) = grown(|| run(EACH));
    let blocks = (THREADS * EACH) as i64;
    let vectors = (THREADS * EACH * size_of::<usize>()) as i64;
    // One vector per thread besides its blocks, and the runtime's own small change.
    let near =
        |got: i64, wanted: i64, slack: i64| assert!((got - wanted).abs() <= slack, "{got} for {wanted}");
    near(growth[0] - base[0], blocks + THREADS as i64, 50);
    near(growth[1] - base[1], 100 * blocks + vectors, 20_000);
    let ((), freed) = grown(|| drop(kept));
    assert_eq!(freed[0], 0);
    let shells = (THREADS * size_of::<Vec<Box<[u8; 100]>>>()) as i64;
    assert_eq!(freed[2], -(100 * blocks + vectors + shells), "freed by one thread, made by others");
}

fn the_peak_is_within_its_bound() {
    const MIB: u64 = 1 << 20;
    reset_peak();
    let before = counters().unwrap();
    assert!(before.peak_live_bytes.abs_diff(before.live_bytes) < 64 * GRAIN as u64);
    drop(black_box(vec![1_u8; 16 * MIB as usize]));
    // Many small blocks on one thread: told in grains.
    let small: Vec<Vec<u8>> = (0..2000).map(|_| black_box(vec![1_u8; 100])).collect();
    drop(small);
    let after = counters().unwrap();
    let peak = after.peak_live_bytes - before.live_bytes;
    // The harness's thread keeps less than a grain to itself, this one too.
    assert!((16 * MIB - 2 * GRAIN as u64..17 * MIB).contains(&peak), "{peak}");
    assert_eq!(after.live_bytes, before.live_bytes);
    // Four threads hold 4 MiB each at one moment, in blocks far smaller than a grain.
    reset_peak();
    let before = counters().unwrap();
    let gate = Arc::new(Barrier::new(4));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let held: Vec<Vec<u8>> = (0..4096).map(|_| black_box(vec![1_u8; 1000])).collect();
                gate.wait();
                drop(held);
            });
        }
    });
    let peak = counters().unwrap().peak_live_bytes - before.live_bytes;
    let (held, shells) = (4 * 4096 * 1000_u64, 4 * 8192 * size_of::<Vec<u8>>() as u64);
    let error = 6 * GRAIN as u64;
    assert!(held - error <= peak && peak <= held + shells + error, "{peak} for {held}");
}

fn the_probe_tells_them() {
    assert!(matches!(CountingProbe.counters(), Measured::Value(c) if 0 < c.allocations));
    let probe = ProcessProbe::new(ProbeOptions::default());
    probe.start();
    let (kept, asked) = grown(|| black_box(vec![1_u8; 1_000_000]));
    assert_eq!(asked[0], 1);
    let health = probe.finish();
    let use_ = health.allocations.value().unwrap();
    assert!((1_000_000..1_100_000).contains(&use_.allocated_bytes), "{use_:?}");
    assert!(990_000 <= use_.end_live_bytes - use_.start_live_bytes, "{use_:?}");
    assert!(use_.end_live_bytes <= use_.peak_live_bytes, "{use_:?}");
    drop(kept);
    // Watching allocates nothing: only what start and finish need themselves.
    let fast = ProbeOptions { interval: std::time::Duration::from_millis(2), ..ProbeOptions::default() };
    let probe = ProcessProbe::new(fast);
    probe.start();
    // The thread's beginning ends in the first stretch, and does not count.
    thread::sleep(std::time::Duration::from_millis(200));
    let before = probe.sample().cost.value().unwrap().readings;
    let ((), growth) = grown(|| thread::sleep(std::time::Duration::from_millis(300)));
    let readings = probe.sample().cost.value().unwrap().readings - before;
    assert!(2 < readings, "{readings}");
    assert_eq!(growth, [0, 0, 0], "{readings} readings");
    probe.finish();
}

fn a_seeded_leak_is_found_and_clean_work_is_not() {
    let operation = || black_box((0..100).map(|i| vec![1_u8; i]).collect::<Vec<_>>()).len();
    let detector = LeakDetector::new(LeakLimits { heap_bytes: 0, ..LeakLimits::default() }, []);
    operation();
    let before = detector.mark();
    for _ in 0..100 {
        operation();
    }
    let report = detector.since(&before);
    assert!(report.is_clean(), "{report}");
    drop(report);
    for _ in 0..100 {
        operation();
        std::mem::forget(black_box(vec![1_u8; 10]));
    }
    let report = detector.since(&before);
    assert_eq!(report.growths.len(), 1, "{report}");
    let heap = &report.growths[0];
    assert_eq!((heap.resource, heap.after - heap.before), ("heap bytes", 1000), "{report}");
}
