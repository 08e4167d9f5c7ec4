//! What the runner is given and what the contract asks for; each small, each with one real implementation.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{
    analysis::Analysis,
    comparison::Comparison,
    record::{RequestRecord, RunPhase},
    result::{RunManifest, RunResult, TargetInfo},
    scenario::Scenario,
    study::{ComparisonStudy, StudyOptions},
    summary::BenchmarkResult,
};
use crate::{context::CallContext, error::Result, model::SharedModel};

/// Receives records while the run goes on. Implemented by `bench-store`; [`Vec<RequestRecord>`] keeps them in
/// memory.
pub trait RecordSink: Send {
    /// The run begins: the manifest as far as it is known. Called once, before the first record.
    ///
    /// # Errors
    /// When the run cannot be stored; nothing has been sent yet.
    fn begin(&mut self, manifest: &RunManifest) -> Result<()>;

    /// One finished request, in the order they end. Must not block on the disk.
    ///
    /// # Errors
    /// When storing failed for good (disk full): the run ends with what there is.
    fn record(&mut self, record: &RequestRecord) -> Result<()>;

    /// The run is over, complete or not. Everything is durable when this returns.
    ///
    /// # Errors
    /// When it could not be made durable.
    fn finish(&mut self, manifest: &RunManifest) -> Result<()>;
}

impl RecordSink for Vec<RequestRecord> {
    fn begin(&mut self, _manifest: &RunManifest) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        self.push(record.clone());
        Ok(())
    }

    fn finish(&mut self, _manifest: &RunManifest) -> Result<()> {
        Ok(())
    }
}

/// Where the records of a run can be read, as often as needed: memory, or the files of a sink.
pub trait RecordSource {
    /// Hands each record to `take`, in the order they ended.
    ///
    /// # Errors
    /// When they cannot be read; errors of `take`, which end the reading.
    fn each(&self, take: &mut dyn FnMut(&RequestRecord) -> Result<()>) -> Result<()>;
}

impl RecordSource for Vec<RequestRecord> {
    fn each(&self, take: &mut dyn FnMut(&RequestRecord) -> Result<()>) -> Result<()> {
        self.iter().try_for_each(take)
    }
}

/// Discards everything (`--no-save`).
#[derive(Clone, Copy, Debug, Default)]
pub struct NullSink;

impl RecordSink for NullSink {
    fn begin(&mut self, _manifest: &RunManifest) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, _record: &RequestRecord) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self, _manifest: &RunManifest) -> Result<()> {
        Ok(())
    }
}

/// Where a run stands; sent after each request at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressUpdate {
    /// Part of the run.
    pub phase: RunPhase,
    /// Seconds since the run began.
    pub elapsed_s: f64,
    /// Measured requests planned over all targets, when the plan is counted.
    pub planned: Option<u64>,
    /// Seconds of the measured window planned, when the plan is timed.
    pub planned_s: Option<f64>,
    /// Measured requests that ended.
    pub done: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Requests in flight.
    pub in_flight: u64,
}

/// Shows where a run stands. Must not block.
pub trait Progress: Send + Sync {
    /// A new state.
    fn update(&self, update: &ProgressUpdate);
}

/// No display.
impl Progress for () {
    fn update(&self, _update: &ProgressUpdate) {}
}

/// A model under a name, to be measured.
#[derive(Clone)]
pub struct Target {
    /// What the run's files say about it.
    pub info: TargetInfo,
    /// The model; `None` when it could not be built (see [`TargetInfo::unavailable`]).
    pub model: Option<SharedModel>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Runs scenarios. It executes, it does not judge. One runner serves several runs at once.
#[async_trait]
pub trait BenchmarkRunner: Send + Sync {
    /// Runs `scenario` on `targets`, interleaved when there are several. One target's failure never loses the
    /// others; cancelling `ctx` ends the run with what there is, marked interrupted.
    ///
    /// # Errors
    /// `invalid_config` when the scenario is not valid or there is no target, `invalid_request` when a target
    /// lacks a capability the scenario needs, `context_canceled` when `ctx` was cancelled before the start;
    /// errors of `sink`.
    async fn run(
        &self,
        targets: &[Target],
        scenario: &Scenario,
        sink: &mut dyn RecordSink,
        ctx: &CallContext,
    ) -> Result<RunResult>;

    /// Names in the metric table that runs of this runner can yield.
    fn supported_metrics(&self) -> Vec<&'static str>;
}

/// Judges a run: pure, no I/O, no clock, seeded.
pub trait PerformanceAnalyzer: Send + Sync {
    /// Everything the records say.
    ///
    /// # Errors
    /// `invalid_input` when there is nothing to analyse, or the records do not fit the manifest.
    fn analyze(&self, run: &RunResult) -> Result<Analysis>;
}

/// Compares the targets of a run: interleaved pairs, intervals, ties reported as ties.
pub trait ProviderComparator: Send + Sync {
    /// The comparison of all targets.
    ///
    /// # Errors
    /// `invalid_input` below two targets.
    fn compare(&self, run: &RunResult) -> Result<Comparison>;

    /// How sure the ranks are, who is on the Pareto front, tails, gates, the noise floor. Takes a bootstrap; seeded.
    ///
    /// # Errors
    /// `invalid_input` below two targets, `invalid_config` for options outside their ranges.
    fn study(&self, run: &RunResult, options: &StudyOptions) -> Result<ComparisonStudy>;
}

/// The contract's summary of a run: one [`BenchmarkResult`] per target on which something was measured.
pub trait Summarizer: Send + Sync {
    /// In the order of the run's targets; a target without a single ended request has no result.
    ///
    /// # Errors
    /// `invalid_input` when the records do not fit the manifest.
    fn summarize(&self, run: &RunResult) -> Result<Vec<BenchmarkResult>>;
}
