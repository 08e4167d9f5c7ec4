//! One block of records as bytes: scalars as rows of [`pack`], chunk stamps as columns of u32 deltas, all under zstd.
//!
//! Layout of a block: magic `LBK2`, number of records, raw length, compressed length, CRC-32 of the compressed
//! bytes (all u32, little endian), then the compressed bytes. Raw: length of the rows (u32), the rows, number of
//! chunks per record (twice it, plus one when their tokens are known), then per column all chunks of all records in order:
//! user-stamp delta to the chunk before (first: to `scheduled`), kernel stamp as distance below the user stamp
//! plus one (0: none), read-number delta, tokens plus one (0: unknown; only of records that know any).
//!
//! Blocks of format 1 (magic `LBK1`) have a JSON array of the records for rows, plain numbers of chunks, and tokens of all.
//!
//! A value that does not fit in a u32 stands as [`ESCAPE`] and, as a u64, in the escape column. Deltas wrap, so
//! that stamps out of order survive too.

use llms_core::{
    Stamp,
    bench::{ChunkStamp, RequestRecord},
    time::Timestamp,
};
use zstd::bulk::Compressor;

use crate::pack::{self, Strings};

pub(crate) const BLOCK_MAGIC: &[u8; 4] = b"LBK2";
pub(crate) const HEADER: usize = 20;
/// Longest raw block accepted when reading: a guard against nonsense lengths.
pub(crate) const MAX_RAW: usize = 1 << 30;
const ESCAPE: u32 = u32::MAX;
const LEVEL: i32 = 3;

#[derive(Default)]
struct Column {
    narrow: Vec<u8>,
    wide: Vec<u8>,
}

impl Column {
    fn push(&mut self, value: u64) {
        match u32::try_from(value) {
            Ok(v) if v != ESCAPE => self.narrow.extend_from_slice(&v.to_le_bytes()),
            _ => {
                self.narrow.extend_from_slice(&ESCAPE.to_le_bytes());
                self.wide.extend_from_slice(&value.to_le_bytes());
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        push_u32(out, self.narrow.len() / 4);
        out.extend_from_slice(&self.narrow);
        push_u32(out, self.wide.len() / 8);
        out.extend_from_slice(&self.wide);
    }
}

fn push_u32(out: &mut Vec<u8>, n: usize) {
    out.extend_from_slice(&u32::try_from(n).expect("a block holds far fewer than 2^32 items").to_le_bytes());
}

/// A block while it is filled. Each record is encoded as it comes, so that no more than its bytes are held.
#[derive(Default)]
pub(crate) struct Block {
    rows: Vec<u8>,
    strings: Strings,
    records: usize,
    counts: Column,
    columns: [Column; 4],
}

impl Block {
    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes so far before compression, and some for each record: a reader has a block's records in memory.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
            + self.columns.iter().map(|c| c.narrow.len() + c.wide.len()).sum::<usize>()
            + self.records * size_of::<RequestRecord>()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn add(&mut self, record: &RequestRecord) -> Result<(), String> {
        let start = self.rows.len();
        if let Err(e) = pack::write(record, &mut self.strings, &mut self.rows) {
            self.rows.truncate(start);
            return Err(e);
        }
        self.records += 1;
        let chunks = &record.chunks;
        let counted = chunks.iter().any(|c| c.tokens.is_some());
        self.counts.push((chunks.len() as u64) << 1 | u64::from(counted));
        let [user, kernel, read, tokens] = &mut self.columns;
        for column in [&mut *user, &mut *kernel, &mut *read] {
            column.narrow.reserve(chunks.len() * 4);
        }
        let mut before = Stamp { user: record.scheduled, kernel: None, read: 0 };
        for chunk in chunks {
            let s = chunk.stamp;
            user.push(s.user.as_nanos().wrapping_sub(before.user.as_nanos()));
            kernel.push(s.kernel.map_or(0, |k| s.user.as_nanos().wrapping_sub(k.as_nanos()).wrapping_add(1)));
            read.push(u64::from(s.read.wrapping_sub(before.read)));
            if counted {
                tokens.push(chunk.tokens.map_or(0, |t| u64::from(t) + 1));
            }
            before = s;
        }
        Ok(())
    }

    /// The bytes of the block, compressed by `zstd`; it is empty afterwards.
    ///
    /// # Errors
    /// When zstd fails.
    pub(crate) fn take(&mut self, zstd: &mut Compressor<'_>) -> Result<Vec<u8>, String> {
        let mut raw = Vec::with_capacity(self.len() + 64 + self.counts.narrow.len());
        push_u32(&mut raw, self.rows.len());
        raw.extend_from_slice(&self.rows);
        self.counts.write(&mut raw);
        for column in &self.columns {
            column.write(&mut raw);
        }
        let packed = zstd.compress(&raw).map_err(|e| format!("cannot compress records: {e}"))?;
        let mut block = Vec::with_capacity(HEADER + packed.len());
        block.extend_from_slice(BLOCK_MAGIC);
        push_u32(&mut block, self.records);
        push_u32(&mut block, raw.len());
        push_u32(&mut block, packed.len());
        block.extend_from_slice(&crc32fast::hash(&packed).to_le_bytes());
        block.extend_from_slice(&packed);
        self.rows.clear();
        self.strings.clear();
        self.records = 0;
        for column in self.columns.iter_mut().chain([&mut self.counts]) {
            column.narrow.clear();
            column.wide.clear();
        }
        Ok(block)
    }
}

/// What compresses blocks.
///
/// # Errors
/// When zstd cannot be set up.
pub(crate) fn compressor() -> Result<Compressor<'static>, String> {
    Compressor::new(LEVEL).map_err(|e| format!("cannot compress records: {e}"))
}

/// How the scalars of a block's records stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalars {
    /// As a JSON array: blocks of format 1.
    Json,
    /// As rows of [`pack`].
    Rows,
}

/// What a block's header says.
pub(crate) struct Header {
    pub(crate) scalars: Scalars,
    pub(crate) records: usize,
    /// Bytes unpacked.
    pub(crate) raw: usize,
    /// Bytes as they lie in the file.
    pub(crate) packed: usize,
    pub(crate) checksum: u32,
}

/// The header of a block; `None` when it is none.
pub(crate) fn header(bytes: &[u8; HEADER]) -> Option<Header> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let scalars = match &bytes[..4] {
        b"LBK1" => Scalars::Json,
        magic if magic == BLOCK_MAGIC => Scalars::Rows,
        _ => return None,
    };
    let [records, raw, packed] = [4, 8, 12].map(|at| word(at) as usize);
    Some(Header { scalars, records, raw, packed, checksum: word(16) })
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(n).ok_or("a column is shorter than its length says")?;
        self.0 = rest;
        Ok(head)
    }

    fn length(&mut self) -> Result<usize, String> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")) as usize)
    }

    fn column(&mut self) -> Result<Values<'a>, String> {
        let n = self.length()?;
        let narrow = self.take(n.checked_mul(4).ok_or("a column is too long")?)?;
        let n = self.length()?;
        let wide = self.take(n.checked_mul(8).ok_or("a column is too long")?)?;
        Ok(Values { narrow: narrow.as_chunks().0, wide: wide.as_chunks().0 })
    }
}

/// A column while it is read.
struct Values<'a> {
    narrow: &'a [[u8; 4]],
    wide: &'a [[u8; 8]],
}

impl Values<'_> {
    fn next(&mut self) -> Result<u64, String> {
        let (first, rest) = self.narrow.split_first().ok_or("a column is too short")?;
        self.narrow = rest;
        match u32::from_le_bytes(*first) {
            ESCAPE => {
                let (first, rest) = self.wide.split_first().ok_or("an escaped value is missing")?;
                self.wide = rest;
                Ok(u64::from_le_bytes(*first))
            }
            v => Ok(u64::from(v)),
        }
    }

    fn is_empty(&self) -> bool {
        self.narrow.is_empty() && self.wide.is_empty()
    }
}

/// Decodes the packed bytes of a block.
///
/// # Errors
/// What does not fit.
pub(crate) fn decode(packed: &[u8], header: &Header) -> Result<Vec<RequestRecord>, String> {
    let raw = zstd::bulk::decompress(packed, header.raw).map_err(|e| format!("cannot decompress: {e}"))?;
    let mut cursor = Cursor(&raw);
    let length = cursor.length()?;
    let mut records = scalars(cursor.take(length)?, header)?;
    let mut counts = cursor.column()?;
    let [mut user, mut kernel, mut read, mut tokens] =
        [cursor.column()?, cursor.column()?, cursor.column()?, cursor.column()?];
    for record in &mut records {
        let (n, counted) = match (counts.next()?, header.scalars) {
            (n, Scalars::Json) => (n, true),
            (n, Scalars::Rows) => (n >> 1, n & 1 == 1),
        };
        let n = usize::try_from(n).ok().filter(|n| *n <= user.narrow.len()).ok_or("a column is too short")?;
        record.chunks.reserve_exact(n);
        let mut before = Stamp { user: record.scheduled, kernel: None, read: 0 };
        for _ in 0..n {
            let nanos = before.user.as_nanos().wrapping_add(user.next()?);
            let below = kernel.next()?;
            let stamp = Stamp {
                user: Timestamp::from_nanos(nanos),
                kernel: (below > 0).then(|| Timestamp::from_nanos(nanos.wrapping_sub(below - 1))),
                read: before.read.wrapping_add(read.next()? as u32),
            };
            let tokens = if counted { tokens.next()?.checked_sub(1) } else { None };
            let tokens =
                tokens.map(u32::try_from).transpose().map_err(|_| "a token count is too large".to_owned())?;
            record.chunks.push(ChunkStamp { stamp, tokens });
            before = stamp;
        }
    }
    if [counts, user, kernel, read, tokens].iter().all(Values::is_empty) {
        Ok(records)
    } else {
        Err("columns of different lengths".to_owned())
    }
}

/// The records of a block without their chunks.
fn scalars(bytes: &[u8], header: &Header) -> Result<Vec<RequestRecord>, String> {
    let expected = header.records;
    let records: Vec<RequestRecord> = match header.scalars {
        Scalars::Json => serde_json::from_slice(bytes).map_err(|e| format!("cannot read records: {e}"))?,
        Scalars::Rows => {
            let mut rows = pack::Rows::new(bytes);
            let mut records = Vec::new();
            while !rows.is_empty() {
                records.push(rows.read()?);
            }
            records
        }
    };
    if records.len() == expected {
        Ok(records)
    } else {
        Err(format!("{} records where the header says {expected}", records.len()))
    }
}
