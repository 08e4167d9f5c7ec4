//! RunResult to Analysis: metrics, exact quantiles and intervals, paired comparison, cost.
//!
//! Judging is a step of its own over recorded data: nothing here reads a clock, a file or a socket, and whatever draws
//! random numbers takes its seed as an argument, so that the same records always give the same verdict.
//!
//! [`request`] (one record) → [`row`] (what is kept of it), [`tally`] and [`clusters`] (what is counted) →
//! [`population`] (one target's measured requests) → [`summary`], [`throughput`], [`errors`],
//! [`cost`] → [`compare`] (pairs of targets) and [`validity`]; [`Analyzer`] puts them together. [`stats`] knows nothing of
//! all this and works on slices of numbers. While a run goes on, [`search`] and [`stop`] steer it by the same statistics
//! through traits of `llms_core::bench::policy`.

pub mod aggregate;
mod analyzer;
pub mod backpressure;
pub mod clusters;
pub mod compare;
mod contract;
pub mod cost;
mod cutoff;
pub mod errors;
pub mod estimate;
pub mod optimize;
mod parallel;
pub mod population;
pub mod request;
pub mod row;
mod scores;
pub mod search;
pub mod simulate;
pub mod soak;
pub mod stats;
pub mod stop;
pub mod summary;
pub mod tally;
pub mod throughput;
pub mod trend;
pub mod validity;

pub use aggregate::Aggregator;
pub use analyzer::Analyzer;
pub use scores::{ResultOptions, Results, scores};
pub use throughput::SloJudge;
pub use trend::Trends;
