//! Statistics on slices of `f64`: quantiles, intervals, comparisons, sample sizes.
//!
//! Everything here is a pure function: no I/O, no clock, no global state; whatever resamples takes its seed as an
//! argument. The functions know nothing of requests or targets; [`crate::summary`] and [`crate::compare`] feed them,
//! `crate::search` and `crate::stop` steer a run by them.
//! Formulas carry their source; the reference values live in `tests/golden`.
//!
//! Conventions: quantile levels and confidence lie in (0, 1); a failed request enters as `+∞`; NaN is refused, never
//! skipped; a statistic that the sample cannot support is an error that names how much would be needed.

pub mod anytime;
pub mod arrivals;
pub mod bootstrap;
pub mod budget;
pub mod censor;
pub mod change;
pub mod ddsketch;
pub mod degradation;
pub mod dependence;
pub mod distribution;
pub mod equivalence;
pub mod interval;
pub mod little;
pub mod mean;
pub mod multiple;
pub mod order_interval;
pub mod paired;
pub mod pareto;
pub mod permutation;
pub mod plan;
pub mod power;
pub mod proportion;
pub mod quantile;
pub mod queueing;
pub mod ratio;
pub mod runs;
pub mod shape;
pub mod signed_rank;
pub mod steady;
pub mod summary;
pub mod trend;
pub mod two_sample;
pub mod usl;
pub mod warmup;

pub use interval::{Interval, StatsError};
pub use quantile::{QuantileType, Sample};
