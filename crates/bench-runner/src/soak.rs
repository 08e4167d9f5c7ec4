//! Soak: one long run whose records go to disk and to a log, and nowhere else, so that memory stays flat.
//!
//! It is an ordinary run of one target; what the records say is the log's affair, which the caller brings (`bench-analysis` has
//! one). Judges nothing.

use std::time::Duration;

use llms_core::{
    CallContext, Error, ErrorCode, Result,
    bench::{
        BenchmarkRunner as _, Load, RatePiece, RecordSink, RequestRecord, RunManifest, Scenario, Target,
    },
};

use crate::RunnerBuilder;

/// A burst within a long run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burst {
    /// Requests per second while it lasts.
    pub rate: f64,
    /// When it begins, from the start of the window.
    pub at: Duration,
    /// How long it lasts.
    pub length: Duration,
}

impl Burst {
    /// The open-loop load with this burst in it.
    ///
    /// # Errors
    /// `invalid_config` for a closed loop, a load that has a profile of its own, or a burst without a steady load before it.
    pub fn within(self, load: &Load) -> Result<Load> {
        let wrong = |message: &str| Err(Error::new("soak.burst", ErrorCode::InvalidConfig, message));
        match load {
            Load::Closed { .. } => {
                wrong("a burst needs an open loop: give --request-rate instead of --concurrency")
            }
            Load::Open { profile, .. } if !profile.is_empty() => {
                wrong("the load has a rate profile of its own: put the burst into it")
            }
            Load::Open { .. } if self.at.is_zero() => {
                wrong("expected a burst after a while of steady load, which is its baseline")
            }
            Load::Open { rate, .. } => {
                let pieces = [RatePiece::step(self.at, *rate), RatePiece::step(self.length, self.rate)];
                Ok(load.clone().shaped(pieces))
            }
        }
    }
}

/// Runs `scenario` on one target; every record goes to `sink` and to `log`, and none is kept.
///
/// # Errors
/// Those of [`Runner::run`](llms_core::bench::BenchmarkRunner::run). Cancelling `ctx` ends the run with what there is.
pub async fn sustain(
    target: &Target,
    scenario: &Scenario,
    (builder, sink): (RunnerBuilder, Box<dyn RecordSink>),
    log: &mut dyn RecordSink,
    ctx: &CallContext,
) -> Result<RunManifest> {
    let mut both = Both { sink, log };
    let runner = builder.keep_records(false).build();
    Ok(runner.run(std::slice::from_ref(target), scenario, &mut both, ctx).await?.manifest)
}

/// Feeds the sink of the run and the log.
struct Both<'l> {
    sink: Box<dyn RecordSink>,
    log: &'l mut dyn RecordSink,
}

impl RecordSink for Both<'_> {
    fn begin(&mut self, manifest: &RunManifest) -> Result<()> {
        self.sink.begin(manifest)?;
        self.log.begin(manifest)
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        self.log.record(record)?;
        self.sink.record(record)
    }

    fn finish(&mut self, manifest: &RunManifest) -> Result<()> {
        self.log.finish(manifest)?;
        self.sink.finish(manifest)
    }
}
