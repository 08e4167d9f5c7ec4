//! RunResult to Analysis: metrics, exact quantiles and intervals, paired comparison, cost.
//!
//! Judging is a step of its own over recorded data: nothing here reads a clock, a file or a socket, and whatever draws
//! random numbers takes its seed as an argument, so that the same records always give the same verdict.

pub mod stats;
