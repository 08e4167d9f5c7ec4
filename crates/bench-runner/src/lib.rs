//! Scenario → [`RunResult`](llms_core::bench::RunResult): executes load, judges nothing.
//!
//! [`workload`] reads what is asked, [`schedule`] draws the whole plan from seeds (both pure); [`Runner`] carries
//! it out: warm-up, measured window, drain, closed or open loop, several targets interleaved with the same
//! prompts. Each request becomes one record with every stamp, streamed to a
//! [`RecordSink`](llms_core::bench::RecordSink) while the run goes on.
//!
//! It knows no vendor, computes no statistics and reads time only through the context's clock, so everything here
//! runs on simulated time as well.

mod arrivals;
pub mod capacity;
mod closed;
mod collector;
mod environment;
mod executor;
mod expectations;
mod gate;
mod lines;
mod load_test;
mod open;
mod pacer;
mod phases;
mod purse;
mod random;
pub mod rate;
mod recorder;
mod runner;
pub mod schedule;
mod session;
mod sink;
pub mod slow_reader;
pub mod soak;
mod streaming;
pub mod stress;
pub mod workload;

pub use capacity::{Capacity, CapacityLimits, StepLoad, search_capacity};
pub use collector::Collector;
pub use environment::{capture_environment, load_average};
pub use executor::ResponseValidator;
pub use expectations::Expectations;
pub use load_test::LoadTests;
pub use purse::most_input;
pub use runner::{Runner, RunnerBuilder};
pub use schedule::Schedule;
pub use streaming::StreamTests;
pub use workload::{ScenarioRegistry, load_prompts, load_scenario};
