//! A run: what was asked, where, with what, and its records.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{probe::ClientHealth, record::RequestRecord, scenario::Scenario};
use crate::{model::ModelInfo, time::Timestamp, wire::TransportInfo};

/// Version of the run files; raised when a field changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// Named seeds, so that one choice can be varied while the others repeat. `None` in a scenario means "draw one";
/// a manifest has them all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Seeds {
    /// Arrival gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<u64>,
    /// Choice and order of prompts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<u64>,
    /// Lengths of synthetic prompts and answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lengths: Option<u64>,
    /// Order of targets within a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<u64>,
    /// Resampling in the analysis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<u64>,
    /// The cache-busting nonce; drawn anew on every run unless given, else a second run measures a warm cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<u64>,
}

impl Seeds {
    /// All seeds but the nonce's derived from one.
    pub fn from_one(seed: u64) -> Self {
        Self {
            arrivals: Some(seed),
            prompts: Some(seed),
            lengths: Some(seed),
            order: Some(seed),
            bootstrap: Some(seed),
            nonce: None,
        }
    }
}

/// One target of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetInfo {
    /// Unique within the run; what reports call it.
    pub name: String,
    /// Who answers, where.
    pub model: ModelInfo,
    /// Answers come from a simulation; said wherever the target is named.
    #[serde(default)]
    pub simulated: bool,
    /// What carried and stamped the requests; `None` in-process.
    #[serde(default)]
    pub transport: Option<TransportInfo>,
    /// Why nothing was measured on it, when it could not be reached or built.
    #[serde(default)]
    pub unavailable: Option<String>,
}

impl TargetInfo {
    /// The address that makes two runs of this target comparable, if it has one. The built-in simulation takes another port each
    /// time, which says nothing.
    pub fn stable_endpoint(&self) -> Option<&str> {
        if self.simulated { Some("simulated") } else { self.model.endpoint.as_deref() }
    }
}

/// Hashes that make two runs comparable: SHA-256, hex.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hashes {
    /// Of the scenario as resolved, without seeds.
    pub scenario: String,
    /// Of the planned sends.
    pub schedule: String,
    /// Of all prompts.
    pub data: String,
}

/// The measured window on the run's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The first instant a measured request could be scheduled.
    pub start: Timestamp,
    /// The end of scheduling: planned end under open loop and for a duration, the last send otherwise.
    pub end: Timestamp,
    /// When the last measured request was over or given up.
    pub drained: Timestamp,
}

/// Where and with what the client ran. Measured; unknown is `None`, never a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EnvironmentInfo {
    /// Operating system.
    pub os: String,
    /// Processor architecture.
    pub architecture: String,
    /// Kernel release.
    pub kernel: Option<String>,
    /// Processor model.
    pub cpu_model: Option<String>,
    /// Logical processors this process may use.
    pub cpu_cores: Option<u32>,
    /// Memory of the machine, bytes.
    pub memory_bytes: Option<u64>,
    /// One-minute load average before the run.
    pub load_before: Option<f64>,
    /// One-minute load average after the run.
    pub load_after: Option<f64>,
}

/// Which build measured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuildInfo {
    /// Version of the tool.
    pub version: String,
    /// `release`, `debug`, …; timings of a debug client are invalid.
    pub profile: String,
    /// Commit, when the build knew it.
    pub commit: Option<String>,
    /// Compiler.
    pub rustc: Option<String>,
}

/// Everything about a run but its records: `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunManifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Sorts by time.
    pub run_id: String,
    /// Given by the user.
    #[serde(default)]
    pub label: Option<String>,
    /// Wall clock at the start, for people.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// The monotonic clock at the same moment.
    pub started: Timestamp,
    /// The scenario as resolved, all seeds filled in.
    pub scenario: Scenario,
    /// What was measured.
    pub targets: Vec<TargetInfo>,
    /// What makes runs comparable.
    #[serde(default)]
    pub hashes: Hashes,
    /// The client's machine.
    #[serde(default)]
    pub environment: EnvironmentInfo,
    /// The client's build.
    #[serde(default)]
    pub build: BuildInfo,
    /// The measured window; `None` when it never began.
    #[serde(default)]
    pub window: Option<Window>,
    /// Measured requests planned, per target.
    #[serde(default)]
    pub planned: Vec<u64>,
    /// The run went to its planned end. A killed or interrupted one is readable all the same.
    #[serde(default)]
    pub complete: bool,
    /// Why a rule or a budget ended it before its plan did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// Whether the user interrupted it.
    #[serde(default)]
    pub interrupted: bool,
    /// What the client process suffered while it measured; `None` when nobody watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Box<ClientHealth>>,
    /// Further facts under stable keys (runtime flavour, pacer).
    #[serde(default)]
    pub facts: BTreeMap<String, String>,
}

/// A run with its records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    /// All but the records.
    pub manifest: RunManifest,
    /// In the order they ended, warm-up included.
    pub records: Vec<RequestRecord>,
}

impl RunResult {
    /// Records of one target inside the measured window.
    pub fn measured(&self, target: u32) -> impl Iterator<Item = &RequestRecord> {
        self.records.iter().filter(move |r| r.target == target && r.phase == super::RunPhase::Measured)
    }
}
