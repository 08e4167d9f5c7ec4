//! Reads a record file, block by block. What lies behind a damaged or half-written block is lost and said so;
//! what lies before it never is.

use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read, Seek as _, SeekFrom, Take},
    path::{Path, PathBuf},
    sync::Arc,
    vec,
};

use llms_core::{
    Result,
    bench::{RecordSource, RequestRecord},
};

use crate::{
    columns::{self, HEADER, Header, MAX_RAW},
    fault::{corrupt, io_error},
    sink::FILE_HEADER,
};

/// How the file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// At the end of a block.
    Clean,
    /// In the middle of one, as after a kill; why, in words.
    Torn(String),
}

/// Iterates over the records of a file, in the order they were written.
#[derive(Debug)]
pub struct RecordReader {
    path: PathBuf,
    file: BufReader<Take<File>>,
    block: vec::IntoIter<RequestRecord>,
    tail: Option<Tail>,
}

impl RecordReader {
    /// Opens a record file.
    ///
    /// # Errors
    /// When it cannot be read, is no record file, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        Self::of(File::open(path).map_err(|e| io_error("store.read", path, e))?, path, u64::MAX)
    }

    /// Reads the first `length` bytes of `file`, from its beginning.
    fn of(mut file: File, path: &Path, length: u64) -> Result<Self> {
        file.seek(SeekFrom::Start(0)).map_err(|e| io_error("store.read", path, e))?;
        let mut file = BufReader::with_capacity(1 << 16, file.take(length));
        let mut head = [0; FILE_HEADER.len()];
        match file.read_exact(&mut head) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                return Err(corrupt("store.read", path, "too short to be a record file"));
            }
            Err(e) => return Err(io_error("store.read", path, e)),
            Ok(()) => {}
        }
        if head[..7] != FILE_HEADER[..7] {
            return Err(corrupt("store.read", path, "not a record file of llms-bench"));
        }
        if head[7] > FILE_HEADER[7] {
            return Err(corrupt(
                "store.read",
                path,
                format!(
                    "written in format {}, this program reads up to {}; use a newer llms-bench",
                    head[7], FILE_HEADER[7]
                ),
            ));
        }
        Ok(Self { path: path.to_owned(), file, block: Vec::new().into_iter(), tail: None })
    }

    /// How the file ended; `None` before its end was reached.
    pub fn tail(&self) -> Option<&Tail> {
        self.tail.as_ref()
    }

    /// The next block, whose checksum is right.
    fn next_packed(&mut self) -> Result<std::result::Result<Packed, Tail>> {
        let torn = |why: &str| Ok(Err(Tail::Torn(why.to_owned())));
        let mut read = || -> std::io::Result<_> {
            let mut head = [0; HEADER];
            match fill(&mut self.file, &mut head)? {
                0 => return Ok(Err(Tail::Clean)),
                HEADER => {}
                _ => return torn("the last block has no complete header"),
            }
            let Some(header) = columns::header(&head) else {
                return torn("a block does not begin as it should");
            };
            if header.raw > MAX_RAW || header.packed > MAX_RAW {
                return torn("a block claims to be larger than any can be");
            }
            let mut bytes = vec![0; header.packed];
            if fill(&mut self.file, &mut bytes)? < header.packed {
                return torn("the last block is cut off");
            }
            if crc32fast::hash(&bytes) != header.checksum {
                return torn("the checksum of a block does not match");
            }
            Ok(Ok(Packed { header, bytes }))
        };
        read().map_err(|e| io_error("store.read", &self.path, e))
    }

    fn next_block(&mut self) -> Result<Option<Vec<RequestRecord>>> {
        let decoded = match self.next_packed()? {
            Ok(block) => columns::decode(&block.bytes, &block.header).map_err(Tail::Torn),
            Err(tail) => Err(tail),
        };
        match decoded {
            Ok(records) => Ok(Some(records)),
            Err(tail) => {
                self.tail = Some(tail);
                Ok(None)
            }
        }
    }
}

/// A block as it lies in the file.
struct Packed {
    header: Header,
    bytes: Vec<u8>,
}

/// The records of a run where a sink wrote them, to be read as often as needed, a block at a time.
#[derive(Debug)]
pub struct StoredRecords {
    place: Place,
    /// Bytes that hold whole blocks; what came later is not read, so that every reading gives the same.
    length: u64,
}

#[derive(Debug)]
enum Place {
    Path(PathBuf),
    /// A file that has no name any more.
    Unnamed(Arc<File>),
}

impl StoredRecords {
    /// Looks through a record file for where its whole blocks end, and how it ends.
    pub(crate) fn at(path: PathBuf) -> Result<(Self, Tail)> {
        let mut reader = RecordReader::open(&path)?;
        let mut length = FILE_HEADER.len() as u64;
        let tail = loop {
            match reader.next_packed()? {
                Ok(block) => length += (HEADER + block.bytes.len()) as u64,
                Err(tail) => break tail,
            }
        };
        Ok((Self { place: Place::Path(path), length }, tail))
    }

    pub(crate) fn unnamed(file: Arc<File>) -> Self {
        Self { place: Place::Unnamed(file), length: u64::MAX }
    }
}

impl RecordSource for StoredRecords {
    fn each(&self, take: &mut dyn FnMut(&RequestRecord) -> Result<()>) -> Result<()> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |e| io_error("store.read", &path, e)
        };
        let (file, path) = match &self.place {
            Place::Path(path) => (File::open(path).map_err(failed(path))?, path.clone()),
            Place::Unnamed(file) => {
                let path = std::env::temp_dir();
                (file.try_clone().map_err(failed(&path))?, path)
            }
        };
        let mut reader = RecordReader::of(file, &path, self.length)?;
        reader.by_ref().try_for_each(|record| take(&record?))?;
        match reader.tail() {
            Some(Tail::Torn(why)) => {
                Err(corrupt("store.read", &path, format!("cannot be read further: {why}")))
            }
            _ => Ok(()),
        }
    }
}

/// Reads until `buf` is full or the file ends; returns the bytes read.
fn fill(file: &mut impl Read, buf: &mut [u8]) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match file.read(&mut buf[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

impl Iterator for RecordReader {
    type Item = Result<RequestRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.block.next() {
                return Some(Ok(record));
            }
            if self.tail.is_some() {
                return None;
            }
            match self.next_block() {
                Ok(Some(records)) => self.block = records.into_iter(),
                Ok(None) => return None,
                Err(e) => {
                    self.tail = Some(Tail::Torn(e.message().to_owned()));
                    return Some(Err(e));
                }
            }
        }
    }
}
