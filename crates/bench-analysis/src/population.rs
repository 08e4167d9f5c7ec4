//! The measured requests of one target, in the order they were scheduled, and what each of them counts as.
//!
//! Everything later (metrics, throughput, comparison, cost) starts from here, so that all of it agrees on which requests
//! exist. A failed request ranks as `+∞`. One that was still in flight when the drain ended ranks so too: it waited longer
//! than anybody allowed. One cut off by the user's interrupt is unknown, counted and left out of the ranks.

use llms_core::bench::{Origin, RecordOutcome, RequestRecord, RunResult};

use crate::request::Request;

/// The requests of one target that were scheduled in the measured window.
#[derive(Debug)]
pub struct Population<'a> {
    /// in the order of their schedule
    pub requests: Vec<Request<'a>>,
    /// where a bare latency name starts
    pub headline: Origin,
    /// requests still in flight at the end rank as +∞ (drained) or are left out (interrupted)
    pub censored_rank: bool,
    /// what is known of a +∞: more than this many seconds
    pub timeout: f64,
}

/// What a request counts as in a percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// a complete answer
    Ok,
    /// ranks as +∞
    Failed,
    /// unknown: left out
    Unknown,
}

impl<'a> Population<'a> {
    /// The measured requests of target number `target`.
    pub fn of(run: &'a RunResult, target: u32) -> Self {
        let scenario = &run.manifest.scenario;
        let mut records: Vec<&RequestRecord> = run.measured(target).collect();
        records.sort_by_key(|a| (a.scheduled, a.block));
        Self {
            requests: records.into_iter().map(|r| Request::new(r, scenario.streaming)).collect(),
            headline: scenario.load.headline_origin(),
            censored_rank: !run.manifest.interrupted,
            timeout: scenario.timeout.as_secs_f64(),
        }
    }

    /// What a request counts as.
    pub fn standing(&self, record: &RequestRecord) -> Standing {
        match record.outcome {
            RecordOutcome::Ok => Standing::Ok,
            RecordOutcome::Failed(_) => Standing::Failed,
            RecordOutcome::Censored if self.censored_rank => Standing::Failed,
            RecordOutcome::Censored => Standing::Unknown,
        }
    }

    /// Complete answers.
    pub fn ok(&self) -> impl Iterator<Item = &Request<'a>> {
        self.requests.iter().filter(|r| r.record.is_ok())
    }

    /// Complete answers, failures, censored requests.
    pub fn counts(&self) -> (u64, u64, u64) {
        self.requests.iter().fold((0, 0, 0), |(ok, failed, censored), r| match r.record.outcome {
            RecordOutcome::Ok => (ok + 1, failed, censored),
            RecordOutcome::Failed(_) => (ok, failed + 1, censored),
            RecordOutcome::Censored => (ok, failed, censored + 1),
        })
    }

    /// Requests that rank as +∞.
    pub fn ranked_failures(&self) -> u64 {
        self.requests.iter().filter(|r| self.standing(r.record) == Standing::Failed).count() as u64
    }
}
