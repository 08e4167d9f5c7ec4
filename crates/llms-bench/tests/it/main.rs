//! The program as its users start it. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod aggregate;
mod backpressure;
mod cli;
mod common;
mod doctor;
mod faults;
mod forecast;
mod mock_serve;
mod otlp;
mod preflight;
mod saved;
mod secrets;
mod t037_overhead;
mod tokens;
mod validate_mutations;
mod work_flags;
