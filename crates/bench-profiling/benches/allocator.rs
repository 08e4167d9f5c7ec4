//! Cost of counting: nanoseconds per allocation and release, through the counting allocator and past it, in batches that take
//! turns, so that a noisy machine touches both alike.
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark talks to its terminal")]
#![allow(unsafe_code, reason = "the allocators are called as a container calls them")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Instant,
};

use bench_profiling::{CountingAllocator, allocator};

static COUNTING: CountingAllocator = CountingAllocator::system();
const BATCH: u32 = 10_000;
const BATCHES: usize = 1_000;

/// Nanoseconds per pair of one batch.
fn batch(allocator: &impl GlobalAlloc, layout: Layout) -> f64 {
    let began = Instant::now();
    for _ in 0..BATCH {
        // SAFETY: the layout has a size, and the block goes back with it.
        unsafe {
            let block = black_box(allocator.alloc(black_box(layout)));
            allocator.dealloc(block, layout);
        }
    }
    began.elapsed().as_nanos() as f64 / f64::from(BATCH)
}

/// Least and median.
fn low_and_middle(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2])
}

fn side_by_side(bytes: usize) {
    let layout = Layout::from_size_align(bytes, 8).expect("a small layout");
    let (system, counting) = (0..BATCHES)
        .map(|_| (batch(&System, layout), batch(&COUNTING, layout)))
        .collect::<(Vec<_>, Vec<_>)>();
    let (system, counting) = (low_and_middle(system), low_and_middle(counting));
    println!(
        "alloc + dealloc of {bytes} bytes, ns (least / median of {BATCHES} batches): system {:.1} / {:.1}, counting {:.1} / {:.1}",
        system.0, system.1, counting.0, counting.1
    );
}

fn main() {
    for bytes in [64, 512, 4096] {
        side_by_side(bytes);
    }
    println!("the same beside a thread that allocates:");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let layout = Layout::new::<[u8; 64]>();
            while !stop.load(Relaxed) {
                black_box(batch(&COUNTING, layout));
            }
        });
        side_by_side(64);
        stop.store(true, Relaxed);
    });
    let read = |_| {
        let began = Instant::now();
        for _ in 0..100 {
            black_box(allocator::counters());
        }
        began.elapsed().as_nanos() as f64 / 100.0
    };
    let (least, median) = low_and_middle((0..BATCHES).map(read).collect());
    println!("reading the counters: {least:.0} / {median:.0} ns");
}
