//! Writes a run while it goes on.
//!
//! `record` hands over to a writer thread through a bounded queue; the thread collects a block for at most a
//! second, so that a killed run loses no more than that. Durability (fsync) at the end of the run.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    mem,
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    thread::{self, JoinHandle},
    time::Duration,
};

use llms_core::{
    Error, ErrorCode, Result,
    bench::{RecordSink, RequestRecord, RunManifest},
};

use crate::{columns, fault::io_error};

/// Magic and version at the head of a record file.
pub(crate) const FILE_HEADER: &[u8; 8] = b"LBREC\0\0\x01";
pub(crate) const RECORDS: &str = "records.lbr";
pub(crate) const MANIFEST: &str = "run.json";

/// Records waiting for the writer.
const QUEUE: usize = 4096;
/// Most records of a block.
const BLOCK: usize = 2048;
/// Longest a record waits before it is written.
const FLUSH: Duration = Duration::from_millis(500);

/// The sink of one run directory.
#[derive(Debug)]
pub struct RunSink {
    dir: PathBuf,
    writer: Option<Writer>,
}

#[derive(Debug)]
struct Writer {
    queue: SyncSender<RequestRecord>,
    thread: JoinHandle<Result<()>>,
}

impl RunSink {
    /// A sink for run `run_id` under `root` (`<root>/runs/<run_id>`). Nothing is created before the run begins.
    pub fn new(root: &Path, run_id: &str) -> Self {
        Self { dir: root.join("runs").join(run_id), writer: None }
    }

    /// The directory of the run.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the writer died of.
    fn failure(&mut self) -> Error {
        let lost = || Error::new("store.record", ErrorCode::Internal, "the writer of records ended early");
        match self.writer.take().map(|w| w.thread.join()) {
            Some(Ok(Err(e))) => e,
            _ => lost(),
        }
    }
}

impl RecordSink for RunSink {
    fn begin(&mut self, manifest: &RunManifest) -> Result<()> {
        let parent = self.dir.parent().expect("a run directory has a parent");
        fs::create_dir_all(parent).map_err(|e| io_error("store.begin", parent, e))?;
        fs::create_dir(&self.dir).map_err(|e| io_error("store.begin", &self.dir, e))?;
        let path = self.dir.join(RECORDS);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| io_error("store.begin", &path, e))?;
        file.write_all(FILE_HEADER).map_err(|e| io_error("store.begin", &path, e))?;
        write_manifest(&self.dir, manifest)?;
        let (queue, records) = mpsc::sync_channel(QUEUE);
        let thread = thread::Builder::new()
            .name("bench-store".to_owned())
            .spawn(move || write_blocks(file, &path, &records))
            .map_err(|e| io_error("store.begin", &self.dir, e))?;
        self.writer = Some(Writer { queue, thread });
        Ok(())
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        let Some(writer) = &self.writer else {
            return Err(Error::new(
                "store.record",
                ErrorCode::InvalidInput,
                "a record before the beginning of the run",
            ));
        };
        if writer.queue.send(record.clone()).is_err() {
            return Err(self.failure());
        }
        Ok(())
    }

    fn finish(&mut self, manifest: &RunManifest) -> Result<()> {
        let Some(Writer { queue, thread }) = self.writer.take() else { return Ok(()) };
        drop(queue);
        let written = thread.join().unwrap_or_else(|_| {
            Err(Error::new("store.finish", ErrorCode::Internal, "the writer of records panicked"))
        });
        write_manifest(&self.dir, manifest).and(written)
    }
}

fn write_blocks(mut file: File, path: &Path, records: &Receiver<RequestRecord>) -> Result<()> {
    let mut block = Vec::with_capacity(BLOCK);
    loop {
        let ended = match records.recv_timeout(FLUSH) {
            Ok(record) => {
                block.push(record);
                let until = std::time::Instant::now() + FLUSH;
                loop {
                    if block.len() >= BLOCK {
                        break false;
                    }
                    match records.recv_timeout(until.saturating_duration_since(std::time::Instant::now())) {
                        Ok(record) => block.push(record),
                        Err(RecvTimeoutError::Timeout) => break false,
                        Err(RecvTimeoutError::Disconnected) => break true,
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        if !block.is_empty() {
            let bytes = columns::encode(&mem::take(&mut block))
                .map_err(|e| Error::new("store.record", ErrorCode::Internal, e))?;
            file.write_all(&bytes).map_err(|e| io_error("store.record", path, e))?;
        }
        if ended {
            return file.sync_all().map_err(|e| io_error("store.finish", path, e));
        }
    }
}

/// Replaces `run.json` in one step: readers see the old or the new one, never half.
fn write_manifest(dir: &Path, manifest: &RunManifest) -> Result<()> {
    let (path, part) = (dir.join(MANIFEST), dir.join("run.json.part"));
    let mut json = serde_json::to_vec_pretty(manifest).map_err(|e| {
        Error::new("store.manifest", ErrorCode::Internal, format!("cannot write the manifest as JSON: {e}"))
    })?;
    json.push(b'\n');
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&part)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    write().map_err(|e| io_error("store.manifest", &path, e))
}
