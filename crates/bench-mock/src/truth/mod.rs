//! What was really sent when: one record a request, in memory (bounded) and, when asked, in a JSON-lines file.

mod file;

use std::{
    collections::VecDeque,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use llms_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::profile::FaultKind;

/// What was really sent in answer to one request, and when; instants are nanoseconds of `CLOCK_MONOTONIC` (of the
/// call's clock for in-process models).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TruthRecord {
    /// The request's `x-request-id`, else made up; a server's answer carries it too.
    pub request_id: String,
    /// Name of the profile.
    pub profile: String,
    /// Number of the connection, from 1; 0 in process. Streams of one HTTP/2 connection share it.
    pub conn: u64,
    /// What the stamps of the writes mean.
    #[serde(default, skip_serializing_if = "Stamps::is_call")]
    pub stamps: Stamps,
    /// When the last byte of the request came in: the kernel's stamp on Linux over HTTP/1.1, below TLS too; elsewhere, and over
    /// HTTP/2, the instant at which it had been read in full.
    pub arrival_ns: Timestamp,
    /// When it got its slot; `None` when it was refused, or left while waiting.
    pub service_start_ns: Option<Timestamp>,
    /// Each write, in order.
    pub writes: Vec<Write>,
    /// When each write was due.
    #[serde(default)]
    pub targets_ns: Vec<Timestamp>,
    /// When the answer was over.
    pub end_ns: Timestamp,
    /// HTTP status; `None` when none was sent.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: TruthOutcome,
    /// The fault that struck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultKind>,
}

impl TruthRecord {
    /// The first write that carried a token.
    pub fn first_token(&self) -> Option<&Write> {
        self.writes.iter().find(|w| w.tokens > 0)
    }

    /// The last write that carried a token.
    pub fn last_token(&self) -> Option<&Write> {
        self.writes.iter().rfind(|w| w.tokens > 0)
    }

    /// Tokens sent.
    pub fn tokens(&self) -> u64 {
        self.writes.iter().map(|w| u64::from(w.tokens)).sum()
    }
}

/// One write: the stamps around the system call and the tokens it carried. `[before, after, tokens]` in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(Timestamp, Timestamp, u32)", into = "(Timestamp, Timestamp, u32)")]
pub struct Write {
    /// Before the call.
    pub before: Timestamp,
    /// After it returned.
    pub after: Timestamp,
    /// Tokens in it; 0 for heads, preambles and endings.
    pub tokens: u32,
}

impl From<(Timestamp, Timestamp, u32)> for Write {
    fn from((before, after, tokens): (Timestamp, Timestamp, u32)) -> Self {
        Self { before, after, tokens }
    }
}

impl From<Write> for (Timestamp, Timestamp, u32) {
    fn from(w: Write) -> Self {
        (w.before, w.after, w.tokens)
    }
}

/// What the stamps of a write stand around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stamps {
    /// The system call that wrote to the socket; over TLS encryption and system call.
    #[default]
    Call,
    /// The hand-over to the HTTP/2 connection, which writes to the socket some microseconds later, or, with several
    /// streams or a full window, when their turn comes.
    HandOver,
}

impl Stamps {
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde asks by reference
    fn is_call(&self) -> bool {
        *self == Self::Call
    }
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruthOutcome {
    /// As the protocol wants it.
    Complete,
    /// Refused on arrival.
    Refused,
    /// By a fault that was asked for.
    Broken,
    /// The client left, or the server was stopped.
    Abandoned,
}

#[derive(Debug, Default)]
struct Kept {
    records: VecDeque<TruthRecord>,
    capacity: usize,
    /// Requests taken in that have no record yet.
    open: u64,
    total: u64,
    /// Records that fell out of memory.
    forgotten: u64,
    /// Records that the file did not take in time.
    unwritten: u64,
    file: Option<file::Writer>,
}

/// A bounded log of [`TruthRecord`]s, shared by cloning. Records stand in the order in which answers ended.
#[derive(Clone, Debug)]
pub struct TruthLog {
    kept: Arc<(Mutex<Kept>, Condvar)>,
}

impl Default for TruthLog {
    fn default() -> Self {
        Self::new(Self::CAPACITY)
    }
}

impl TruthLog {
    /// Records kept unless told otherwise.
    pub const CAPACITY: usize = 16_384;

    /// A log that keeps the latest `capacity` records in memory; 0 keeps none.
    pub fn new(capacity: usize) -> Self {
        Self { kept: Arc::new((Mutex::new(Kept { capacity, ..Kept::default() }), Condvar::new())) }
    }

    /// Also writes each record as a line of JSON to `path`, which is created anew. A thread does the writing;
    /// what it cannot take in time is counted, never waited for.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn with_file(self, path: &Path) -> io::Result<Self> {
        self.lock().file = Some(file::Writer::create(path)?);
        Ok(self)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request was taken in; its record follows.
    pub(crate) fn begin(&self) {
        self.lock().open += 1;
    }

    /// The record of a request taken in.
    pub(crate) fn end(&self, record: TruthRecord) {
        self.push(record);
        self.lock().open -= 1;
        self.kept.1.notify_all();
    }

    /// Requests taken in that have no record yet.
    pub fn open(&self) -> u64 {
        self.lock().open
    }

    /// Waits until every request taken in has its record, at most so long; whether that is so. A client may have
    /// the last byte of an answer some microseconds before the server has logged it.
    pub fn settle(&self, limit: Duration) -> bool {
        let kept = self.kept.1.wait_timeout_while(self.lock(), limit, |kept| kept.open > 0);
        kept.unwrap_or_else(PoisonError::into_inner).0.open == 0
    }

    fn push(&self, record: TruthRecord) {
        let mut kept = self.lock();
        kept.total += 1;
        if let Some(file) = &kept.file
            && !file.write(record.clone())
        {
            kept.unwritten += 1;
        }
        if kept.records.len() >= kept.capacity {
            kept.forgotten += 1;
            if kept.records.pop_front().is_none() {
                return;
            }
        }
        kept.records.push_back(record);
    }

    /// A copy of what is in memory, oldest first.
    pub fn records(&self) -> Vec<TruthRecord> {
        self.lock().records.iter().cloned().collect()
    }

    /// Takes what is in memory, oldest first.
    pub fn take(&self) -> Vec<TruthRecord> {
        std::mem::take(&mut self.lock().records).into()
    }

    /// Records so far, kept or not.
    pub fn total(&self) -> u64 {
        self.lock().total
    }

    /// Records that are no longer in memory because newer ones took their place.
    pub fn forgotten(&self) -> u64 {
        self.lock().forgotten
    }

    /// Records missing from the file because its thread fell behind.
    pub fn unwritten(&self) -> u64 {
        self.lock().unwritten
    }

    /// Finishes the file, if there is one: every record is written when this returns. Later ones are not.
    ///
    /// # Errors
    /// The first error of writing.
    pub fn close_file(&self) -> io::Result<()> {
        let file = self.lock().file.take();
        file.map_or(Ok(()), file::Writer::close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u64) -> TruthRecord {
        let at = Timestamp::from_nanos;
        TruthRecord {
            request_id: format!("r-{n}"),
            profile: "p".to_owned(),
            conn: 1,
            stamps: Stamps::default(),
            arrival_ns: at(n),
            service_start_ns: Some(at(n)),
            writes: vec![Write { before: at(n + 1), after: at(n + 2), tokens: 3 }],
            targets_ns: vec![at(n + 1)],
            end_ns: at(n + 3),
            status: Some(200),
            outcome: TruthOutcome::Complete,
            fault: None,
        }
    }

    #[test]
    fn memory_keeps_the_latest_and_counts_the_rest() {
        let log = TruthLog::new(2);
        (0..5).for_each(|n| log.push(record(n)));
        let ids: Vec<_> = log.records().into_iter().map(|r| r.request_id).collect();
        assert_eq!((ids, log.total(), log.forgotten()), (vec!["r-3".to_owned(), "r-4".to_owned()], 5, 3));
        let none = TruthLog::new(0);
        none.push(record(1));
        assert_eq!((none.records().len(), none.forgotten()), (0, 1));
    }

    #[test]
    fn the_file_holds_every_record_in_the_agreed_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("truth.jsonl");
        let log = TruthLog::new(1).with_file(&path).unwrap();
        (0..100).for_each(|n| log.push(record(n)));
        log.close_file().unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let back: Vec<TruthRecord> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(back.len(), 100);
        assert_eq!(back[7], record(7));
        let value: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(value["writes"], serde_json::json!([[1, 2, 3]]));
        assert_eq!(log.unwritten(), 0);
    }
}
