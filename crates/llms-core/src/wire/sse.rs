//! Server-sent events: bytes to frames by the rules of the WHATWG event stream.
//!
//! Stands between [`Body`](super::Body) and [`Decoder`](super::Decoder). Reconnection (`id`, `retry`) is not
//! its business: those fields are skipped. It reads no socket and knows no vendor's end marker.
//!
//! # Source
//! HTML Living Standard, section 9.2.6 "Interpreting an event stream". One departure: an event whose data is the
//! empty text is skipped also when an empty `data:` field is there, because servers use it to keep connections
//! alive and no protocol of ours gives it a meaning.

use std::ops::Range;

use memchr::memchr2;

use super::{DEFAULT_MAX_FRAME_BYTES, Frame, Framer, not_utf8, too_large};
use crate::error::Result;

const OP: &str = "sse.frame";
const EVENT: &[u8] = b"event: ";
const DATA: &[u8] = b"data: ";
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// Cuts a `text/event-stream` body into its events.
///
/// Lines end with LF, CRLF or a lone CR; an event is dispatched at the *first* byte that ends its blank line, so
/// a CRLF cut in half delays nothing. The data of an event with one data line is borrowed from the buffer;
/// several data lines are joined in a second buffer that is kept. No byte is searched twice for a line end, and
/// consumed bytes are moved out of the way at most once each.
///
/// After an error the stream is lost: drop the framer.
pub struct SseFramer {
    buf: Vec<u8>,
    /// First byte of the event being read; what lies before is consumed.
    start: usize,
    /// First byte of the line being read.
    line: usize,
    /// The line being read has no end before this byte.
    scanned: usize,
    /// The last line ended with the CR that was then the last byte: an LF that follows belongs to it.
    after_cr: bool,
    /// The first three bytes have not been seen yet.
    at_head: bool,
    event: Option<Range<usize>>,
    data: Data,
    joined: Vec<u8>,
    max_frame: usize,
}

/// Where the data of the event being read stands.
#[derive(Default)]
enum Data {
    /// No data line yet.
    #[default]
    Absent,
    /// One data line: there, in the buffer.
    Line(Range<usize>),
    /// Several, joined.
    Joined,
}

/// A complete event: event name, data.
type Cut = (Option<Range<usize>>, Data);

impl SseFramer {
    /// Accepts events of up to [`DEFAULT_MAX_FRAME_BYTES`].
    pub fn new() -> Self {
        Self::with_max_frame(DEFAULT_MAX_FRAME_BYTES)
    }

    /// Accepts events of up to `max_frame` bytes, counted from the first field of the event to the end of its
    /// last line.
    pub fn with_max_frame(max_frame: usize) -> Self {
        Self {
            buf: Vec::new(),
            start: 0,
            line: 0,
            scanned: 0,
            after_cr: false,
            at_head: true,
            event: None,
            data: Data::Absent,
            joined: Vec::new(),
            max_frame,
        }
    }

    /// The common event, whole and alone: perhaps its name, one data line and a blank one, all ended by LF.
    /// `None` says nothing: [`cut`](Self::cut) has to look.
    #[inline]
    fn cut_plain(&mut self) -> Option<(Option<Range<usize>>, Range<usize>)> {
        if self.scanned != self.start || self.after_cr || self.at_head {
            return None;
        }
        let mut at = self.start;
        let mut event = None;
        if let Some(rest) = self.buf[at..].strip_prefix(EVENT) {
            let length = memchr2(b'\n', b'\r', rest)?;
            at += EVENT.len() + length + 1;
            if self.buf[at - 1] != b'\n' || length == 0 {
                return None;
            }
            event = Some(at - 1 - length..at - 1);
        }
        let rest = self.buf[at..].strip_prefix(DATA)?;
        let length = memchr2(b'\n', b'\r', rest)?;
        at += DATA.len();
        let end = at + length;
        if length == 0 || end - self.start > self.max_frame || rest[length..].first_chunk() != Some(b"\n\n") {
            return None;
        }
        self.consume(end + 2);
        Some((event, at..end))
    }

    /// Reads lines until one completes an event; `None` when the bytes do not suffice.
    fn cut(&mut self) -> Result<Option<Cut>> {
        if self.at_head {
            if self.buf.len() < BOM.len() && BOM.starts_with(&self.buf) {
                return Ok(None);
            }
            self.at_head = false;
            if self.buf.starts_with(BOM) {
                self.consume(BOM.len());
            }
        }
        if self.after_cr {
            match self.buf.get(self.line) {
                None => return Ok(None),
                Some(b'\n') => self.next_line(self.line + 1),
                Some(_) => {}
            }
            self.after_cr = false;
        }
        loop {
            let Some(found) = memchr2(b'\n', b'\r', &self.buf[self.scanned..]) else {
                self.scanned = self.buf.len();
                // A line not begun may be the blank one, which does not count.
                if self.scanned > self.line {
                    self.check_size(self.scanned)?;
                }
                return Ok(None);
            };
            let end = self.scanned + found;
            let next = match (self.buf[end], self.buf.get(end + 1)) {
                (b'\r', Some(b'\n')) => end + 2,
                (b'\r', None) => {
                    self.after_cr = true;
                    end + 1
                }
                _ => end + 1,
            };
            if end == self.line {
                let cut = (self.event.take(), std::mem::take(&mut self.data));
                self.consume(next);
                match &cut.1 {
                    Data::Absent => {}
                    Data::Line(data) if data.is_empty() => {}
                    Data::Line(_) | Data::Joined => return Ok(Some(cut)),
                }
            } else {
                self.check_size(end)?;
                self.field(end);
                self.next_line(next);
            }
        }
    }

    /// Takes in the line that ends before `end`.
    #[inline]
    fn field(&mut self, end: usize) {
        let line = &self.buf[self.line..end];
        if let Some(value) = value_of(b"data", line) {
            let data = end - value.len()..end;
            match &self.data {
                Data::Absent => self.data = Data::Line(data),
                Data::Line(first) => {
                    self.joined.clear();
                    self.joined.extend_from_slice(&self.buf[first.clone()]);
                    self.data = Data::Joined;
                    self.join(data);
                }
                Data::Joined => self.join(data),
            }
        } else if let Some(value) = value_of(b"event", line) {
            self.event = Some(end - value.len()..end);
        }
    }

    fn join(&mut self, data: Range<usize>) {
        self.joined.push(b'\n');
        self.joined.extend_from_slice(&self.buf[data]);
    }

    /// The next line begins at `at`. What was read belongs to an event only if a field of it was kept.
    #[inline]
    fn next_line(&mut self, at: usize) {
        if self.event.is_none() && matches!(self.data, Data::Absent) {
            self.start = at;
        }
        self.line = at;
        self.scanned = at;
    }

    /// The next event begins at `at`.
    #[inline]
    fn consume(&mut self, at: usize) {
        self.start = at;
        self.line = at;
        self.scanned = at;
    }

    /// Where the event's last line ends, or the bytes end, must lie within the limit.
    #[inline]
    fn check_size(&self, end: usize) -> Result<()> {
        if end - self.start > self.max_frame { Err(too_large(OP, "event", self.max_frame)) } else { Ok(()) }
    }

    /// Moves what is not consumed to the front.
    fn compact(&mut self) {
        let n = self.start;
        self.buf.drain(..n);
        self.start = 0;
        self.line -= n;
        self.scanned -= n;
        for range in self.event.iter_mut().chain(match &mut self.data {
            Data::Line(range) => Some(range),
            Data::Absent | Data::Joined => None,
        }) {
            *range = range.start - n..range.end - n;
        }
    }
}

impl Default for SseFramer {
    fn default() -> Self {
        Self::new()
    }
}

/// The value of `line` if it is the field `name`: after the colon, less one space; empty without a colon.
#[inline]
fn value_of<'l>(name: &[u8], line: &'l [u8]) -> Option<&'l [u8]> {
    let rest = line.strip_prefix(name)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

impl Framer for SseFramer {
    /// Consumed bytes are dropped here, when at least as many as the bytes to be moved: a read at most moves
    /// what a read brought.
    #[inline]
    fn buffer(&mut self) -> &mut Vec<u8> {
        if self.start == self.buf.len() {
            self.buf.clear();
            self.consume(0);
        } else if self.start >= self.buf.len() - self.start {
            self.compact();
        }
        &mut self.buf
    }

    #[inline]
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>> {
        if self.scanned == self.buf.len() {
            return Ok(None);
        }
        let (event, data) = match self.cut_plain() {
            Some((event, data)) => (event, Data::Line(data)),
            None => match self.cut()? {
                Some(cut) => cut,
                None => return Ok(None),
            },
        };
        let data = match data {
            Data::Line(range) => &self.buf[range],
            Data::Joined => &self.joined,
            Data::Absent => &[],
        };
        let data = std::str::from_utf8(data).map_err(|e| not_utf8(OP, e))?;
        let event = match event {
            Some(range) if !range.is_empty() => {
                Some(std::str::from_utf8(&self.buf[range]).map_err(|e| not_utf8(OP, e))?)
            }
            _ => None,
        };
        Ok(Some(Frame { event, data }))
    }

    /// Never a frame: an event without its blank line may be half of one.
    fn finish(&mut self) -> Result<Option<Frame<'_>>> {
        Ok(None)
    }
}
