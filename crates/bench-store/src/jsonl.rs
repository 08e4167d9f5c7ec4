//! One JSON object per request, absolute nanoseconds of `CLOCK_MONOTONIC`, for anybody's tools.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use llms_core::{
    Result,
    bench::{ErrorRecord, RecordOutcome, RecordSink, RequestRecord, RunManifest, RunPhase},
    observe::Reported,
    time::Timestamp,
    wire::StampSource,
};
use serde::Serialize;

use crate::fault::io_error;

/// One line. `stamp` says which instant the stamps mean; `user_ns` has the user-space ones beside.
#[derive(Serialize)]
struct Line<'r> {
    request_id: &'r str,
    target: &'r str,
    block: u64,
    attempt: u32,
    phase: RunPhase,
    scheduled_ns: Timestamp,
    released_ns: Timestamp,
    start_ns: Option<Timestamp>,
    written_ns: Option<Timestamp>,
    headers_ns: Option<Timestamp>,
    first_token_ns: Option<Timestamp>,
    token_ns: Vec<Timestamp>,
    chunk_tokens: Option<Vec<u32>>,
    last_token_ns: Option<Timestamp>,
    end_ns: Option<Timestamp>,
    output_tokens: Option<u64>,
    finish_reason: Option<&'r str>,
    model: Option<&'r str>,
    bytes_out: Option<u64>,
    bytes_in: Option<u64>,
    reads: Option<u32>,
    /// What the server said about itself, under the keys of the providers' `hooks`.
    reported: &'r BTreeMap<String, Reported>,
    error: Option<&'r ErrorRecord>,
    censored: bool,
    stamp: StampSource,
    user_ns: Vec<Timestamp>,
}

/// Writes records as JSON lines (`--records`).
#[derive(Debug)]
pub struct JsonlSink {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    targets: Vec<String>,
}

impl JsonlSink {
    /// A sink that creates `path` when the run begins, replacing what is there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), file: None, targets: Vec::new() }
    }

    /// Where it writes.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn line<'r>(&'r self, r: &'r RequestRecord) -> Line<'r> {
        let kernel = !r.chunks.is_empty() && r.chunks.iter().all(|c| c.stamp.kernel.is_some());
        let pick = |s: llms_core::Stamp| if kernel { s.arrival() } else { s.user };
        let token_ns: Vec<Timestamp> = r.chunks.iter().map(|c| pick(c.stamp)).collect();
        Line {
            request_id: &r.request_id,
            target: self.targets.get(r.target as usize).map_or("", String::as_str),
            block: r.block,
            attempt: r.attempt,
            phase: r.phase,
            scheduled_ns: r.scheduled,
            released_ns: r.released,
            start_ns: r.sent,
            written_ns: r.written,
            headers_ns: r.headers.map(pick),
            first_token_ns: token_ns.first().copied(),
            last_token_ns: token_ns.last().copied(),
            chunk_tokens: r
                .chunks
                .iter()
                .map(|c| c.tokens)
                .collect::<Option<Vec<u32>>>()
                .filter(|c| !c.is_empty()),
            token_ns,
            end_ns: r.end,
            output_tokens: r.output_tokens(),
            finish_reason: r.finish_reason.as_ref().map(llms_core::FinishReason::as_str),
            model: r.model.as_deref(),
            bytes_out: r.bytes_out,
            bytes_in: r.bytes_in,
            reads: r.reads,
            reported: &r.reported,
            error: if let RecordOutcome::Failed(e) = &r.outcome { Some(e) } else { None },
            censored: r.outcome == RecordOutcome::Censored,
            stamp: if kernel { StampSource::Kernel } else { StampSource::User },
            user_ns: r.chunks.iter().map(|c| c.stamp.user).collect(),
        }
    }
}

impl RecordSink for JsonlSink {
    fn begin(&mut self, manifest: &RunManifest) -> Result<()> {
        self.targets = manifest.targets.iter().map(|t| t.name.clone()).collect();
        let file = File::create(&self.path).map_err(|e| io_error("store.records", &self.path, e))?;
        self.file = Some(BufWriter::with_capacity(1 << 16, file));
        Ok(())
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let written = serde_json::to_writer(&mut file, &self.line(record))
            .map_err(std::io::Error::from)
            .and_then(|()| file.write_all(b"\n"));
        self.file = Some(file);
        written.map_err(|e| io_error("store.records", &self.path, e))
    }

    fn finish(&mut self, _manifest: &RunManifest) -> Result<()> {
        match self.file.take() {
            Some(mut file) => file.flush().map_err(|e| io_error("store.records", &self.path, e)),
            None => Ok(()),
        }
    }
}
