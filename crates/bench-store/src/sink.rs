//! Writes a run while it goes on.
//!
//! `record` encodes into a block that a writer thread compresses and writes when it is full, and after half a second at the
//! latest, so that a killed run loses no more than that. Durability (fsync) at the end of the run.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::SystemTime,
};

use llms_core::{
    Error, ErrorCode, Result,
    bench::{RecordSink, RequestRecord, RunManifest},
};

use crate::{
    columns::{self, Block},
    fault::io_error,
    queue::Queue,
    reader::StoredRecords,
};

/// Magic and version at the head of a record file.
pub(crate) const FILE_HEADER: &[u8; 8] = b"LBREC\0\0\x02";
pub(crate) const RECORDS: &str = "records.lbr";
pub(crate) const MANIFEST: &str = "run.json";

/// The thread that writes a record file.
struct Writer {
    queue: Arc<Queue>,
    /// Gone once it was joined.
    thread: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    /// Writes the head of `file` and starts; `durable`: what is written survives the machine when it ends.
    fn start(mut file: File, path: PathBuf, durable: bool) -> Result<Self> {
        file.write_all(FILE_HEADER).map_err(|e| io_error("store.begin", &path, e))?;
        let queue = Arc::<Queue>::default();
        let (taken, place) = (queue.clone(), path.clone());
        let thread = thread::Builder::new()
            .name("bench-store".to_owned())
            .spawn(move || {
                let written = write_blocks(&mut file, &path, &taken);
                taken.abandon();
                written?;
                if durable { file.sync_all().map_err(|e| io_error("store.finish", &path, e)) } else { Ok(()) }
            })
            .map_err(|e| io_error("store.begin", &place, e))?;
        Ok(Self { queue, thread: Some(thread) })
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        match self.queue.push(record) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(e) => return Err(Error::new("store.record", ErrorCode::Internal, e)),
        }
        // What the writer died of.
        self.join("store.record").and_then(|()| {
            Err(Error::new("store.record", ErrorCode::Internal, "the writer of records ended early"))
        })
    }

    fn join(&mut self, op: &'static str) -> Result<()> {
        self.queue.close();
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::new(op, ErrorCode::Internal, "the writer of records panicked")))
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("running", &self.thread.is_some()).finish_non_exhaustive()
    }
}

impl Drop for Writer {
    /// A sink that is dropped in mid-run leaves what it has taken.
    fn drop(&mut self) {
        self.queue.close();
    }
}

fn too_early() -> Error {
    Error::new("store.record", ErrorCode::InvalidInput, "a record before the beginning of the run")
}

/// The sink of one run directory.
#[derive(Debug)]
pub struct RunSink {
    dir: PathBuf,
    writer: Option<Writer>,
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
}

impl RecordSink for RunSink {
    fn begin(&mut self, manifest: &RunManifest) -> Result<()> {
        let parent = self.dir.parent().expect("a run directory has a parent");
        fs::create_dir_all(parent).map_err(|e| io_error("store.begin", parent, e))?;
        fs::create_dir(&self.dir).map_err(|e| io_error("store.begin", &self.dir, e))?;
        let path = self.dir.join(RECORDS);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| io_error("store.begin", &path, e))?;
        write_manifest(&self.dir, manifest)?;
        self.writer = Some(Writer::start(file, path, true)?);
        Ok(())
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        self.writer.as_mut().ok_or_else(too_early)?.record(record)
    }

    fn finish(&mut self, manifest: &RunManifest) -> Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let written = writer.join("store.finish");
        write_manifest(&self.dir, manifest).and(written)
    }
}

/// The sink of a run that shall not be kept: a file without a name in the directory for temporary files, gone with the
/// program. So a run that saves nothing takes no more memory than one that does.
#[derive(Debug)]
pub struct ScratchSink {
    file: Arc<File>,
    writer: Option<Writer>,
}

impl ScratchSink {
    /// Makes the file.
    ///
    /// # Errors
    /// When the directory for temporary files cannot be written.
    pub fn new() -> Result<Self> {
        let file = unnamed(&std::env::temp_dir())?;
        Ok(Self { file: Arc::new(file), writer: None })
    }

    /// What was recorded; complete once the run has finished.
    pub fn records(&self) -> StoredRecords {
        StoredRecords::unnamed(self.file.clone())
    }
}

impl RecordSink for ScratchSink {
    fn begin(&mut self, _manifest: &RunManifest) -> Result<()> {
        let path = std::env::temp_dir();
        let file = self.file.try_clone().map_err(|e| io_error("store.begin", &path, e))?;
        self.writer = Some(Writer::start(file, path, false)?);
        Ok(())
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        self.writer.as_mut().ok_or_else(too_early)?.record(record)
    }

    fn finish(&mut self, _manifest: &RunManifest) -> Result<()> {
        self.writer.take().map_or(Ok(()), |mut writer| writer.join("store.finish"))
    }
}

/// A new file in `dir` that loses its name at once (elsewhere than on Unix: when it is closed), so that no end of the program
/// leaves it behind.
fn unnamed(dir: &Path) -> Result<File> {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    #[cfg(windows)]
    // FILE_FLAG_DELETE_ON_CLOSE
    std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, 0x0400_0000);
    loop {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (made, program) = (MADE.fetch_add(1, Relaxed), std::process::id());
        let path = dir.join(format!(".llms-bench-{program}-{made}-{}", now.as_nanos()));
        match options.open(&path) {
            // Somebody else's; another name.
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(io_error("store.begin", &path, e)),
            Ok(file) => {
                #[cfg(unix)]
                fs::remove_file(&path).map_err(|e| io_error("store.begin", &path, e))?;
                return Ok(file);
            }
        }
    }
}

fn write_blocks(file: &mut File, path: &Path, records: &Queue) -> Result<()> {
    let wrong = |e: String| Error::new("store.record", ErrorCode::Internal, e);
    let mut zstd = columns::compressor().map_err(wrong)?;
    let mut block = Block::default();
    while records.take(&mut block) {
        let bytes = block.take(&mut zstd).map_err(wrong)?;
        file.write_all(&bytes).map_err(|e| io_error("store.record", path, e))?;
    }
    Ok(())
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
