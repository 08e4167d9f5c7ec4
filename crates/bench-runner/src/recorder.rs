//! The one task that takes records: to the sink, to the progress display, into the counts.
//!
//! It runs apart from the tasks that send and stamp; between them lies a bounded channel, filled when a request
//! has ended. Memory stays flat: a record is kept only when the caller asked for it.

use llms_core::{
    Error,
    bench::{Progress, ProgressUpdate, RecordOutcome, RecordSink, RequestRecord, RunPhase, StopRule},
    time::{SharedClock, Timestamp},
};
use tokio::sync::mpsc;

use crate::phases::Ending;

/// Records on their way to the collector at most; a sender that ended a request waits beyond.
pub(crate) const QUEUED_RECORDS: usize = 1024;

/// Records taken at once.
const BATCH: usize = 256;

/// How long the collector leaves records lie after a batch: waking it for each one costs more than the record.
const GATHER: std::time::Duration = std::time::Duration::from_millis(5);

/// A send later than this after its release is counted as late.
const LATE: std::time::Duration = std::time::Duration::from_millis(1);

/// What the sending side says.
pub(crate) enum Message {
    /// A phase begins.
    Phase(RunPhase),
    /// A request ended.
    Record(Box<RequestRecord>),
    /// Nothing more may be sent, and why.
    Enough(String),
}

/// See the module.
pub(crate) struct Recorder<'a> {
    pub(crate) sink: &'a mut dyn RecordSink,
    pub(crate) progress: &'a dyn Progress,
    pub(crate) clock: SharedClock,
    pub(crate) started: Timestamp,
    pub(crate) planned: Option<u64>,
    pub(crate) planned_s: Option<f64>,
    /// Keep the records for the caller.
    pub(crate) keep: bool,
    /// Asked after each record.
    pub(crate) rules: Vec<Box<dyn StopRule>>,
}

/// What the recorder has at the end.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) records: Vec<RequestRecord>,
    pub(crate) done: u64,
    pub(crate) failed: u64,
    /// Measured requests sent more than [`LATE`] after their release.
    pub(crate) late: u64,
    /// The largest such distance.
    pub(crate) max_lag: std::time::Duration,
    /// The first error of the sink.
    pub(crate) error: Option<Error>,
    /// Why nothing more was sent.
    pub(crate) stopped: Option<String>,
}

impl Recorder<'_> {
    /// Takes everything until the senders are gone. An error of the sink cuts the run off, and what still comes is
    /// counted and not stored; a rule with a reason ends the sending.
    pub(crate) async fn collect(
        mut self,
        mut messages: mpsc::Receiver<Message>,
        in_flight: impl Fn() -> u64,
        ending: &Ending,
    ) -> Recorded {
        let mut so_far = Recorded::default();
        let mut phase = RunPhase::Warmup;
        let mut batch = Vec::with_capacity(BATCH);
        while messages.recv_many(&mut batch, BATCH).await > 0 {
            for message in batch.drain(..) {
                match message {
                    Message::Phase(p) => phase = p,
                    Message::Record(record) => self.record(*record, &mut so_far, in_flight(), ending),
                    Message::Enough(why) => {
                        so_far.stopped.get_or_insert(why);
                        ending.enough.cancel();
                    }
                }
            }
            self.progress.update(&ProgressUpdate {
                phase,
                elapsed_s: self.clock.now().saturating_since(self.started).as_secs_f64(),
                planned: self.planned,
                planned_s: self.planned_s,
                done: so_far.done,
                failed: so_far.failed,
                in_flight: in_flight(),
            });
            if self.clock.is_real() && messages.len() < BATCH {
                tokio::time::sleep(GATHER).await;
            }
        }
        so_far
    }

    fn record(&mut self, mut record: RequestRecord, so_far: &mut Recorded, in_flight: u64, ending: &Ending) {
        if record.phase == RunPhase::Measured {
            so_far.done += 1;
            so_far.failed += u64::from(matches!(record.outcome, RecordOutcome::Failed(_)));
            if let Some(lag) = record.sent.and_then(|s| s.since(record.released)) {
                so_far.late += u64::from(lag > LATE);
                so_far.max_lag = so_far.max_lag.max(lag);
            }
        }
        if so_far.error.is_none()
            && let Err(e) = self.sink.record(&record)
        {
            so_far.error = Some(e);
            ending.cut.cancel();
        }
        for rule in &mut self.rules {
            if let Some(reason) = rule.observe(&record, in_flight)
                && so_far.stopped.is_none()
            {
                so_far.stopped = Some(reason.to_string());
                ending.enough.cancel();
            }
        }
        if self.keep {
            record.chunks.shrink_to_fit();
            so_far.records.push(record);
        }
    }
}
