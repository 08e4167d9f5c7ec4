//! Records held against the truth log of the server that they measured. Pure: data in, findings out.
//!
//! The two logs share `CLOCK_MONOTONIC`, so instants are compared with instants. A write took place between two instants;
//! what was reported is wrong by its distance from that bracket (measurement page of the guide: "Validating the tool").

use std::collections::BTreeMap;

use bench_analysis::stats::{QuantileType, Sample};
use bench_mock::{TruthOutcome, TruthRecord};
use llms_core::{
    bench::{RecordOutcome, RequestRecord},
    time::Timestamp,
};

/// Signed distances from the truth, in seconds: positive is too late or too long.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Errors(Vec<f64>);

impl From<Vec<f64>> for Errors {
    fn from(seconds: Vec<f64>) -> Self {
        Self(seconds)
    }
}

impl Errors {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The quantile of the distances without their sign, in seconds; `None` when there are none.
    pub fn quantile(&self, p: f64) -> Option<f64> {
        let sizes: Vec<f64> = self.0.iter().map(|e| e.abs()).collect();
        Sample::new(sizes).ok()?.quantile(p, QuantileType::Type7).ok()
    }

    /// The most negative one, in seconds: something reported before it can have happened.
    pub fn earliest(&self) -> Option<f64> {
        self.0.iter().copied().min_by(f64::total_cmp)
    }
}

/// What holding one target's records against the truth gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Arrival of each chunk against its write.
    pub arrival: Errors,
    /// Time to first token as reported, against the server's arrival of the request to its first write.
    pub ttft: Errors,
    /// Gaps between chunks that came in different reads.
    pub icl: Errors,
    /// First write to last, and the same from the request.
    pub e2e: Errors,
    /// Gaps whose ends shared one read.
    pub merged: u64,
    /// All gaps.
    pub gaps: u64,
    /// Answers whose number of chunks is not that of the writes.
    pub miscounted: u64,
    /// Answers whose token count is not that of the writes.
    pub mistold: u64,
    /// Records that the server knows nothing of, though they were sent.
    pub unknown: u64,
    /// Requests that the server answered and no record tells of.
    pub lost: u64,
    /// Records sent after the server had them, which cannot be.
    pub impossible: u64,
    /// Ends that disagree: what the record says → what the server says → how often.
    pub disagreements: BTreeMap<(String, String), u64>,
    /// Records.
    pub records: u64,
    /// Of these, ok, failed, and censored or never sent.
    pub ends: [u64; 3],
}

impl Account {
    /// Whether nothing was lost, invented or told wrongly.
    pub fn balances(&self) -> bool {
        self.miscounted + self.mistold + self.unknown + self.lost + self.impossible == 0
            && self.disagreements.is_empty()
            && self.ends.iter().sum::<u64>() == self.records
    }

    /// What does not balance, in words; empty when all does.
    pub fn complaints(&self) -> Vec<String> {
        let counted = [
            (self.miscounted, "answers with another number of chunks than were written"),
            (self.mistold, "answers with another number of tokens than were written"),
            (self.unknown, "records of requests that the server never saw"),
            (self.lost, "answers of the server without a record"),
            (self.impossible, "requests sent after the server had them"),
        ];
        let mut all: Vec<String> =
            counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        for ((ours, theirs), n) in &self.disagreements {
            all.push(format!("{n} recorded as {ours} that the server calls {theirs}"));
        }
        all
    }
}

/// Holds records against the truth; both of one target and one run, in any order.
pub fn hold<'r>(
    records: impl IntoIterator<Item = &'r RequestRecord>,
    truth: impl IntoIterator<Item = &'r TruthRecord>,
) -> Account {
    let mut account = Account::default();
    let mut told: BTreeMap<&str, &TruthRecord> =
        truth.into_iter().map(|t| (t.request_id.as_str(), t)).collect();
    for record in records {
        account.records += 1;
        account.ends[match record.outcome {
            RecordOutcome::Ok => 0,
            RecordOutcome::Failed(_) => 1,
            RecordOutcome::Censored => 2,
        }] += 1;
        match told.remove(&*record.request_id) {
            Some(truth) => account.one(record, truth),
            // One that ended before it was written may never have reached the server.
            None => account.unknown += u64::from(record.written.is_some()),
        }
    }
    account.lost = told.len() as u64;
    account
}

impl Account {
    fn one(&mut self, record: &RequestRecord, truth: &TruthRecord) {
        let (ours, theirs) = (end_of(record), truth.outcome);
        if !agree(ours, theirs) {
            *self.disagreements.entry((ours.to_owned(), words(theirs).to_owned())).or_default() += 1;
        }
        let Some(sent) = record.sent else { return };
        self.impossible += u64::from(sent > truth.arrival_ns);
        let writes: Vec<_> = truth.writes.iter().filter(|w| w.tokens > 0).collect();
        if record.is_ok() {
            if writes.len() != record.chunks.len() {
                self.miscounted += 1;
                return;
            }
            let written: u64 = writes.iter().map(|w| u64::from(w.tokens)).sum();
            self.mistold += u64::from(record.output_tokens().is_some_and(|n| n != written));
        }
        for (write, chunk) in writes.iter().zip(&record.chunks) {
            self.arrival.0.push(outside(chunk.stamp.arrival(), write.before, write.after));
        }
        let since = |at: Timestamp, start: Timestamp| signed(at, start);
        let ends = [(0, &mut self.ttft), (record.chunks.len().wrapping_sub(1), &mut self.e2e)];
        for (i, errors) in ends {
            let (Some(chunk), Some(write)) = (record.chunks.get(i), writes.get(i)) else { continue };
            let bracket = (since(write.before, truth.arrival_ns), since(write.after, truth.arrival_ns));
            errors.0.push(beyond(since(chunk.stamp.arrival(), sent), bracket));
        }
        for (chunks, writes) in record.chunks.windows(2).zip(writes.windows(2)) {
            self.gaps += 1;
            let (a, b) = (chunks[0].stamp, chunks[1].stamp);
            if a.read == b.read {
                self.merged += 1;
                continue;
            }
            let least = since(writes[1].before, writes[0].after);
            let most = since(writes[1].after, writes[0].before);
            self.icl.0.push(beyond(since(b.arrival(), a.arrival()), (least, most)));
        }
    }
}

/// How a record says that its request ended.
fn end_of(record: &RequestRecord) -> &'static str {
    match &record.outcome {
        RecordOutcome::Ok => "ok",
        RecordOutcome::Failed(_) if record.status.is_some_and(|s| !(200..300).contains(&s)) => "refused",
        RecordOutcome::Failed(_) => "failed",
        RecordOutcome::Censored => "censored",
    }
}

fn agree(ours: &str, theirs: TruthOutcome) -> bool {
    match theirs {
        TruthOutcome::Complete => ours == "ok",
        TruthOutcome::Refused => ours == "refused",
        TruthOutcome::Broken => matches!(ours, "failed" | "refused"),
        // The client left: it had enough, or its time was over.
        TruthOutcome::Abandoned => matches!(ours, "censored" | "failed"),
    }
}

fn words(outcome: TruthOutcome) -> &'static str {
    match outcome {
        TruthOutcome::Complete => "complete",
        TruthOutcome::Refused => "refused",
        TruthOutcome::Broken => "broken",
        TruthOutcome::Abandoned => "abandoned",
    }
}

fn signed(at: Timestamp, start: Timestamp) -> f64 {
    if at >= start {
        at.saturating_since(start).as_secs_f64()
    } else {
        -start.saturating_since(at).as_secs_f64()
    }
}

fn outside(at: Timestamp, before: Timestamp, after: Timestamp) -> f64 {
    if at < before { signed(at, before) } else { signed(at.max(after), after) }
}

fn beyond(value: f64, (least, most): (f64, f64)) -> f64 {
    if value < least { value - least } else { (value - most).max(0.0) }
}
