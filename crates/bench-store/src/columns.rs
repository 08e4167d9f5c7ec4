//! One block of records as bytes: scalars as JSON, chunk stamps as columns of u32 deltas, all under zstd.
//!
//! Layout of a block: magic `LBK1`, number of records, raw length, compressed length, CRC-32 of the compressed
//! bytes (all u32, little endian), then the compressed bytes. Raw: length of the JSON (u32), the JSON array of
//! records without their chunks, number of chunks per record, then per column all chunks of all records in order:
//! user-stamp delta to the chunk before (first: to `scheduled`), kernel stamp as distance below the user stamp
//! plus one (0: none), read-number delta, tokens plus one (0: unknown).
//!
//! A value that does not fit in a u32 stands as [`ESCAPE`] and, as a u64, in the escape column. Deltas wrap, so
//! that stamps out of order survive too.

use llms_core::{
    Stamp,
    bench::{ChunkStamp, RequestRecord},
    time::Timestamp,
};

pub(crate) const BLOCK_MAGIC: &[u8; 4] = b"LBK1";
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
pub(crate) struct Block {
    json: Vec<u8>,
    records: usize,
    counts: Column,
    columns: [Column; 4],
    zstd: zstd::bulk::Compressor<'static>,
}

impl Block {
    /// An empty one.
    ///
    /// # Errors
    /// When zstd cannot be set up.
    pub(crate) fn new() -> Result<Self, String> {
        let zstd = zstd::bulk::Compressor::new(LEVEL).map_err(|e| format!("cannot compress records: {e}"))?;
        Ok(Self {
            json: vec![b'['],
            records: 0,
            counts: Column::default(),
            columns: Default::default(),
            zstd,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes so far, before compression.
    pub(crate) fn len(&self) -> usize {
        self.json.len() + self.columns.iter().map(|c| c.narrow.len() + c.wide.len()).sum::<usize>()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(crate) fn add(&mut self, mut record: RequestRecord) -> Result<(), String> {
        let chunks = std::mem::take(&mut record.chunks);
        self.counts.push(chunks.len() as u64);
        let mut before = Stamp { user: record.scheduled, kernel: None, read: 0 };
        let columns = &mut self.columns;
        for chunk in &chunks {
            let s = chunk.stamp;
            columns[0].push(s.user.as_nanos().wrapping_sub(before.user.as_nanos()));
            columns[1]
                .push(s.kernel.map_or(0, |k| s.user.as_nanos().wrapping_sub(k.as_nanos()).wrapping_add(1)));
            columns[2].push(u64::from(s.read.wrapping_sub(before.read)));
            columns[3].push(chunk.tokens.map_or(0, |t| u64::from(t) + 1));
            before = s;
        }
        if self.records > 0 {
            self.json.push(b',');
        }
        self.records += 1;
        serde_json::to_writer(&mut self.json, &record)
            .map_err(|e| format!("cannot write records as JSON: {e}"))
    }

    /// The bytes of the block; it is empty afterwards.
    ///
    /// # Errors
    /// When zstd fails.
    pub(crate) fn take(&mut self) -> Result<Vec<u8>, String> {
        self.json.push(b']');
        let mut raw = Vec::with_capacity(self.len() + 64 + self.counts.narrow.len());
        push_u32(&mut raw, self.json.len());
        raw.extend_from_slice(&self.json);
        self.counts.write(&mut raw);
        for column in &self.columns {
            column.write(&mut raw);
        }
        let packed = self.zstd.compress(&raw).map_err(|e| format!("cannot compress records: {e}"))?;
        let mut block = Vec::with_capacity(HEADER + packed.len());
        block.extend_from_slice(BLOCK_MAGIC);
        push_u32(&mut block, self.records);
        push_u32(&mut block, raw.len());
        push_u32(&mut block, packed.len());
        block.extend_from_slice(&crc32fast::hash(&packed).to_le_bytes());
        block.extend_from_slice(&packed);
        self.json.clear();
        self.json.push(b'[');
        self.records = 0;
        for column in self.columns.iter_mut().chain([&mut self.counts]) {
            column.narrow.clear();
            column.wide.clear();
        }
        Ok(block)
    }
}

/// Lengths in a block's header: records, raw bytes, packed bytes, checksum.
pub(crate) fn header(bytes: &[u8; HEADER]) -> Option<(usize, usize, usize, u32)> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    (&bytes[..4] == BLOCK_MAGIC).then(|| (word(4) as usize, word(8) as usize, word(12) as usize, word(16)))
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

    fn column(&mut self) -> Result<Vec<u64>, String> {
        let n = self.length()?;
        let narrow = self.take(n.checked_mul(4).ok_or("a column is too long")?)?;
        let n = self.length()?;
        let wide = self.take(n.checked_mul(8).ok_or("a column is too long")?)?;
        let mut wide = wide.chunks_exact(8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
        narrow
            .chunks_exact(4)
            .map(|b| match u32::from_le_bytes(b.try_into().expect("four bytes")) {
                ESCAPE => wide.next().ok_or_else(|| "an escaped value is missing".to_owned()),
                v => Ok(u64::from(v)),
            })
            .collect()
    }
}

/// Decodes the packed bytes of a block.
///
/// # Errors
/// What does not fit.
pub(crate) fn decode(packed: &[u8], raw_len: usize, n_records: usize) -> Result<Vec<RequestRecord>, String> {
    let raw = zstd::bulk::decompress(packed, raw_len).map_err(|e| format!("cannot decompress: {e}"))?;
    let mut cursor = Cursor(&raw);
    let json_len = cursor.length()?;
    let json = cursor.take(json_len)?;
    let mut records: Vec<RequestRecord> =
        serde_json::from_slice(json).map_err(|e| format!("cannot read records: {e}"))?;
    if records.len() != n_records {
        return Err(format!("{} records where the header says {n_records}", records.len()));
    }
    let counts = cursor.column()?;
    let [user, kernel, read, tokens] =
        [cursor.column()?, cursor.column()?, cursor.column()?, cursor.column()?];
    let total = counts.iter().try_fold(0_u64, |a, n| a.checked_add(*n));
    if counts.len() != n_records
        || [&user, &kernel, &read, &tokens].iter().any(|c| Some(c.len() as u64) != total)
    {
        return Err("columns of different lengths".to_owned());
    }
    let mut at = 0;
    for (record, n) in records.iter_mut().zip(counts) {
        let mut before = Stamp { user: record.scheduled, kernel: None, read: 0 };
        record.chunks.reserve_exact(n as usize);
        for i in at..at + n as usize {
            let nanos = before.user.as_nanos().wrapping_add(user[i]);
            let stamp = Stamp {
                user: Timestamp::from_nanos(nanos),
                kernel: (kernel[i] > 0).then(|| Timestamp::from_nanos(nanos.wrapping_sub(kernel[i] - 1))),
                read: before.read.wrapping_add(read[i] as u32),
            };
            let tokens = tokens[i]
                .checked_sub(1)
                .map(u32::try_from)
                .transpose()
                .map_err(|_| "a token count is too large".to_owned())?;
            record.chunks.push(ChunkStamp { stamp, tokens });
            before = stamp;
        }
        at += n as usize;
    }
    Ok(records)
}
