//! The thread that writes truth records to a file.

use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use super::TruthRecord;

/// Records that may wait for the disk.
const QUEUE: usize = 8_192;
/// Idle time after which what is buffered goes to the disk.
const FLUSH_AFTER: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Writer {
    sender: SyncSender<TruthRecord>,
    thread: JoinHandle<io::Result<()>>,
}

impl Writer {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let out = BufWriter::with_capacity(1 << 16, File::create(path)?);
        let (sender, receiver) = sync_channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("mock-truth".to_owned()).spawn(move || write(out, &receiver))?;
        Ok(Self { sender, thread })
    }

    /// Whether there was room.
    pub(super) fn write(&self, record: TruthRecord) -> bool {
        self.sender.try_send(record).is_ok()
    }

    pub(super) fn close(self) -> io::Result<()> {
        drop(self.sender);
        self.thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread writing the truth log panicked")))
    }
}

fn write(mut out: BufWriter<File>, records: &Receiver<TruthRecord>) -> io::Result<()> {
    let mut dirty = false;
    loop {
        match records.recv_timeout(FLUSH_AFTER) {
            Ok(record) => {
                serde_json::to_writer(&mut out, &record)?;
                out.write_all(b"\n")?;
                dirty = true;
            }
            Err(RecvTimeoutError::Timeout) => {
                if std::mem::take(&mut dirty) {
                    out.flush()?;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return out.flush(),
        }
    }
}
