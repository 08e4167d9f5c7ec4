//! Simulated vendors: known delays, known faults, and a log of what was really sent when.
//!
//! A [`Profile`] says how a provider behaves (distributions, capacity, faults, content); every draw comes from a
//! seed. Two ways to meet it: [`MockModel`], a `ChatModel` in this process on any clock, virtual ones included;
//! and [`server`], the four wire protocols on one loopback port for anybody's client. Both run the same engine
//! and write the same truth log, so that a measurement can be checked against what happened.
//!
//! Written apart from the provider crates: it shares no wire type with the code that it is used to check.

mod ask;
mod ballast;
mod bucket;
mod configurator;
mod dist;
mod draw;
mod engine;
mod gate;
mod model;
mod plan;
mod profile;
pub mod server;
mod tools;
mod truth;
mod words;

pub use configurator::{Aspects, Configurator};
pub use dist::{Dist, Sampler, log_normal_sigma};
pub use engine::ProfileHandle;
pub use model::{MockFactory, MockModel, MockModelBuilder};
pub use profile::{
    Capacity, FaultKind, FaultRule, MaxTokens, Memory, Preset, Profile, RateLimit, Reasoning,
    SimulatedPrices, ToolAnswers,
};
pub use truth::{TruthLog, TruthOutcome, TruthRecord, Write};
