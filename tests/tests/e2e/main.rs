//! End to end: providers, transports, runner, analysis and files put together as a user does, against the simulated
//! vendors over real HTTP, or in process on simulated time where the clock must not matter.
//!
//! One binary, a module per task of the contract. No assertion compares a duration of the wall clock with a number:
//! what is real is checked by order and by count, what is timed runs on the virtual clock.

#![allow(unreachable_pub, missing_docs, clippy::unwrap_used, reason = "a panic in a test is its report")]

mod conformance;
mod files;
mod quickstart;
mod readme;
mod schema;
mod support;
mod t010_comparison;
mod t011_cancel;
mod t011_streaming;
mod t012_capacity;
mod t012_load;
mod t012_soak;
mod t014_runner;
mod t031_comparator;
mod t036_concurrent;
