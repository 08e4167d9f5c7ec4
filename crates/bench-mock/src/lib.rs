//! Simulated vendors: known delays, known faults, and a log of what was really sent when.
//!
//! A [`Profile`] says how a provider behaves (distributions, capacity, faults, content); every draw comes from a
//! seed. Two ways to meet it: [`MockModel`], a `ChatModel` in this process on any clock, virtual ones included;
//! and [`server`], the four wire protocols on one loopback port for anybody's client. Both run the same engine
//! and write the same truth log, so that a measurement can be checked against what happened.
//!
//! In process, on virtual time:
//!
//! ```
//! use std::sync::Arc;
//!
//! use bench_mock::{MockModel, Preset};
//! use llms_core::{CallContext, ChatModel, time::{Clock, VirtualClock}};
//!
//! let profile = Preset::OpenAi.profile().quiet().with_output_tokens(20).with_seed(7);
//! let (model, clock) = (MockModel::new(profile)?, VirtualClock::new());
//! let ctx = CallContext::with_clock(Arc::new(clock.clone())).with_request_id("r-1");
//! let answer = clock.block_on(async { model.generate(&"hello".into(), &ctx).await })?;
//! assert_eq!(answer.text.split(' ').count(), 20);
//! assert_eq!(model.truth()[0].end_ns, clock.now());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! As a server:
//!
//! ```
//! use bench_mock::server::{Protocol, ServerConfig};
//!
//! // Ten times as fast, short answers; who was slower than whom stays as it is.
//! let config = ServerConfig::default().map_profiles(|p| p.with_time_scale(0.1).with_output_tokens(8));
//! let server = config.start()?;
//! assert!(server.base_url(Protocol::OpenAi).ends_with("/v1"));
//! let record = server.truth().first().map(|r| r.request_id.clone());
//! assert_eq!(record, None, "nobody has asked yet");
//! server.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Written apart from the provider crates: it shares no wire type with the code that it is used to check.

mod ask;
mod ballast;
mod bucket;
mod configurator;
mod content;
mod dist;
mod draw;
mod engine;
mod flaky;
mod gate;
mod model;
mod pace;
mod plan;
mod prefix;
mod profile;
pub mod server;
mod situation;
mod tools;
mod truth;
mod words;

pub use configurator::{Aspects, Configurator};
pub use dist::{Dist, Sampler, log_normal_sigma};
pub use engine::ProfileHandle;
pub use model::{MockFactory, MockModel, MockModelBuilder};
pub use profile::{
    Batching, Capacity, Drip, FaultKind, FaultRule, MaxTokens, Memory, PrefixCache, Preset, Profile,
    RateLimit, Reasoning, SimulatedPrices, SlowReader, Split, ToolAnswers, Wire,
};
pub use situation::SITUATIONS;
pub use truth::{Stamps, TruthLog, TruthOutcome, TruthRecord, Write};
