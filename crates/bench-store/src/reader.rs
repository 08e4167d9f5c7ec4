//! Reads a record file, block by block. What lies behind a damaged or half-written block is lost and said so;
//! what lies before it never is.

use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read},
    path::{Path, PathBuf},
    vec,
};

use llms_core::{Result, bench::RequestRecord};

use crate::{
    columns::{self, HEADER, MAX_RAW},
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
    file: BufReader<File>,
    block: vec::IntoIter<RequestRecord>,
    tail: Option<Tail>,
}

impl RecordReader {
    /// Opens a record file.
    ///
    /// # Errors
    /// When it cannot be read, is no record file, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| io_error("store.read", path, e))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
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

    fn next_block(&mut self) -> Result<Option<Vec<RequestRecord>>> {
        let torn = |what: &str| Ok(Err(Tail::Torn(what.to_owned())));
        let mut read = || -> std::io::Result<std::result::Result<Vec<RequestRecord>, Tail>> {
            let mut head = [0; HEADER];
            match fill(&mut self.file, &mut head)? {
                0 => return Ok(Err(Tail::Clean)),
                HEADER => {}
                _ => return torn("the last block has no complete header"),
            }
            let Some((records, raw, packed, crc)) = columns::header(&head) else {
                return torn("a block does not begin as it should");
            };
            if raw > MAX_RAW || packed > MAX_RAW {
                return torn("a block claims to be larger than any can be");
            }
            let mut bytes = vec![0; packed];
            if fill(&mut self.file, &mut bytes)? < packed {
                return torn("the last block is cut off");
            }
            if crc32fast::hash(&bytes) != crc {
                return torn("the checksum of a block does not match");
            }
            Ok(columns::decode(&bytes, raw, records).map_err(Tail::Torn))
        };
        match read().map_err(|e| io_error("store.read", &self.path, e))? {
            Ok(records) => Ok(Some(records)),
            Err(tail) => {
                self.tail = Some(tail);
                Ok(None)
            }
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
