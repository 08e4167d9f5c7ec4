//! Newline-delimited JSON: one frame per line.
//!
//! Stands between [`Body`](super::Body) and [`Decoder`](super::Decoder). It does not look into the JSON.

use memchr::memchr;

use super::{DEFAULT_MAX_FRAME_BYTES, Frame, Framer, not_utf8, too_large};
use crate::error::Result;

const OP: &str = "ndjson.frame";

/// Cuts a body into its lines: LF or CRLF end a line, empty lines are skipped, the end of the body ends the
/// last line. Frames are borrowed from the buffer; no byte is searched twice.
///
/// After an error the stream is lost: drop the framer.
pub struct NdjsonFramer {
    buf: Vec<u8>,
    /// First byte of the line being read; what lies before is consumed.
    start: usize,
    /// The line being read has no end before this byte.
    scanned: usize,
    max_frame: usize,
}

impl NdjsonFramer {
    /// Accepts lines of up to [`DEFAULT_MAX_FRAME_BYTES`].
    pub fn new() -> Self {
        Self::with_max_frame(DEFAULT_MAX_FRAME_BYTES)
    }

    /// Accepts lines of up to `max_frame` bytes, without their LF.
    pub fn with_max_frame(max_frame: usize) -> Self {
        Self { buf: Vec::new(), start: 0, scanned: 0, max_frame }
    }

    /// The line from `start` to `end`; `None` when there is nothing in it.
    #[inline]
    fn line(&self, start: usize, end: usize) -> Result<Option<Frame<'_>>> {
        let line = &self.buf[start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return Ok(None);
        }
        let data = std::str::from_utf8(line).map_err(|e| not_utf8(OP, e))?;
        Ok(Some(Frame { event: None, data }))
    }

    #[inline]
    fn check_size(&self, end: usize) -> Result<()> {
        if end - self.start > self.max_frame { Err(too_large(OP, "line", self.max_frame)) } else { Ok(()) }
    }
}

impl Default for NdjsonFramer {
    fn default() -> Self {
        Self::new()
    }
}

impl Framer for NdjsonFramer {
    /// Consumed bytes are dropped here, when at least as many as the bytes to be moved.
    #[inline]
    fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start > 0 && self.start >= self.buf.len() - self.start {
            self.buf.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        &mut self.buf
    }

    #[inline]
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        loop {
            let Some(found) = memchr(b'\n', &self.buf[self.scanned..]) else {
                self.scanned = self.buf.len();
                self.check_size(self.scanned)?;
                return Ok(None);
            };
            let (start, end) = (self.start, self.scanned + found);
            self.check_size(end)?;
            self.start = end + 1;
            self.scanned = end + 1;
            if !matches!(&self.buf[start..end], b"" | b"\r") {
                return self.line(start, end);
            }
        }
    }

    fn finish(&mut self) -> Result<Option<Frame<'_>>> {
        let start = std::mem::replace(&mut self.start, self.buf.len());
        self.scanned = self.buf.len();
        self.line(start, self.buf.len())
    }
}
