//! Counts held against the original implementations, and prompts of exact length.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod exact_lengths;
mod golden;
