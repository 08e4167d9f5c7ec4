//! Collections of metrics outside a run: whoever calls models in a program of their own tells what happened, and gets the
//! contract's [`BenchmarkResult`].
//!
//! A [`Collection`] is had from [`MetricsCollector::start`] and given up at [`Collection::stop`]; what records into it goes
//! through a [`MetricsRecorder`] of that collection and no other, so several collections at once cannot mix. Implemented by
//! `bench-runner`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::summary::{BenchmarkResult, TokenUsage};
use crate::{
    chat::Usage,
    context::CallContext,
    error::{ErrorCode, Result},
    time::Timestamp,
};

/// What a collection is about: the names of its result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionInfo {
    /// Names the collection; used by one at a time.
    pub benchmark_id: String,
    /// What is being tested.
    pub test_name: String,
    /// Registry name of the provider.
    pub provider_name: String,
    /// The model.
    pub model_name: String,
    /// The scenario.
    pub scenario_name: String,
    /// Users, or the cap on requests in flight, where there is one.
    pub concurrency_level: Option<u32>,
    /// Free labels.
    pub tags: BTreeMap<String, String>,
}

/// One operation as its caller saw it. Instants are of the clock of the context that the collection was started with.
#[derive(Clone, Debug, PartialEq)]
pub struct OperationMetrics {
    /// What was done (`generate`, `stream`, …).
    pub operation: Arc<str>,
    /// When it was sent.
    pub start: Timestamp,
    /// When its first token came, where it streamed.
    pub first_token: Option<Timestamp>,
    /// When it was over.
    pub end: Timestamp,
    /// Tokens, where they were told.
    pub usage: Option<Usage>,
    /// Bytes in both directions, where they were counted.
    pub bytes: Option<u64>,
    /// Why it failed; its duration then counts as beyond every other.
    pub error: Option<ErrorCode>,
}

/// Starts collections.
pub trait MetricsCollector: Send + Sync {
    /// Begins a collection now, by the clock of `ctx`. It outlives the cancellation of `ctx`.
    ///
    /// # Errors
    /// `invalid_input` for a name that is empty, or an id that another collection has now.
    fn start(&self, info: CollectionInfo, ctx: &CallContext) -> Result<Box<dyn Collection>>;

    /// Ids of the collections not stopped yet.
    fn active(&self) -> Vec<String>;
}

/// A collection under way. Dropped without [`stop`](Self::stop) it frees its id, and what it had is lost.
pub trait Collection: Send + Sync + std::fmt::Debug {
    /// Its id.
    fn id(&self) -> &str;

    /// A recorder for one thread or task, as many as there are; they do not wait for one another.
    fn recorder(&self) -> Arc<dyn MetricsRecorder>;

    /// What was collected so far.
    ///
    /// # Errors
    /// `invalid_input` while no operation was recorded: a result has one at least.
    fn snapshot(&self) -> Result<BenchmarkResult>;

    /// Ends it and gives what it collected; its id is free again, whatever comes of this. Recorders that are left refuse.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    fn stop(self: Box<Self>) -> Result<BenchmarkResult>;
}

/// Records into one collection. Cheap enough for every call: no allocation after the first of a kind, no waiting for others.
pub trait MetricsRecorder: Send + Sync + std::fmt::Debug {
    /// One operation, with its tokens.
    ///
    /// # Errors
    /// `invalid_input` when its instants are out of order, or the collection has ended.
    fn record_operation(&self, operation: &OperationMetrics) -> Result<()>;

    /// A latency beside the operations: a sample of its kind, no operation more.
    ///
    /// # Errors
    /// `invalid_input` when the collection has ended.
    fn record_latency(&self, latency: Duration, operation: &str) -> Result<()>;

    /// Tokens that no recorded operation carries. An operation's own are told with it, never here again.
    ///
    /// # Errors
    /// `invalid_input` when the usage breaks a rule of [`TokenUsage::validate`], or the collection has ended.
    fn record_token_usage(&self, usage: &TokenUsage) -> Result<()>;
}
