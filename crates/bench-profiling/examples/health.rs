//! Watches itself for some seconds, with a share of the time burnt, and prints its health as JSON.
//!
//! `cargo run --release --example health -- 5 0.3`: five seconds, thirty percent of one processor. Run it under a quota, beside
//! a hog, or pinned to one processor, and see which signal tells.
#![allow(clippy::print_stdout, reason = "an example talks to its terminal")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bench_profiling::{CountingAllocator, ProbeOptions, ProcessProbe};
use llms_core::bench::ClientProbe;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::system();

/// Burns a share of each 10 ms until `seconds` are over.
async fn work(seconds: f64, share: f64) {
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < seconds {
        let slice = Instant::now();
        while slice.elapsed().as_secs_f64() < 0.01 * share {
            black_box(vec![1_u8; 100]);
        }
        tokio::time::sleep(Duration::from_secs_f64(0.01 * (1.0 - share))).await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(Ok(2.0), |a| a.parse())?;
    let share: f64 = arguments.next().map_or(Ok(0.3), |a| a.parse::<f64>())?.clamp(0.0, 1.0);
    let probe = ProcessProbe::here(ProbeOptions::default());
    probe.start();
    work(seconds, share).await;
    println!("{}", serde_json::to_string_pretty(&probe.finish())?);
    Ok(())
}
