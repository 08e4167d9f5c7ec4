//! What the measuring process itself costs and suffers, so that a run can judge itself.
//!
//! [`ProcessProbe`] is the `ClientProbe` of `llms_core::bench`: a thread of its own reads the kernel's accounts of this
//! process and machine (processor time, run-queue wait, pressure, quota, steal, clocks, memory, descriptors, ports, threads)
//! and sends heartbeats through the async runtimes it was given. [`CountingAllocator`] counts allocations where a binary
//! opts in. [`LeakDetector`] compares two moments. Nothing here runs unless it is constructed and started.
//!
//! Judges nothing: thresholds live in `bench-analysis`. What a platform has not is absent with the reason; the accounts are
//! Linux's, other systems get what POSIX clocks and limits give, the allocator and the heartbeats.
//!
//! # Cost
//! See [`process`] and [`allocator`] for measured figures.

pub mod allocator;
mod beat;
mod cgroup;
mod clock;
mod file;
mod health;
mod histogram;
pub mod leak;
mod parse;
pub mod process;
mod reading;
mod threads;
mod timeline;
mod watch;

pub use allocator::{CountingAllocator, CountingProbe};
pub use leak::{Growth, LeakDetector, LeakLimits, LeakReport, Resources};
pub use process::{ProbeOptions, ProcessProbe};
