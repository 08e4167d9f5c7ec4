//! The chunked transfer coding (RFC 9112, section 7.1): extensions skipped, trailers checked and dropped, both
//! bounded. Line ends must be CRLF: where readers differ on a bare LF, they differ on where the body ends.

use std::ops::Range;

use super::{Decoded, MAX_HEADERS, Malformed};

/// Longest chunk-size line (size, extensions) and longest trailer section, in bytes.
const MAX_LINE: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Chunked {
    at: At,
    /// Payload of the chunk under way still missing; while its size line is read, the size so far.
    left: u64,
    /// Bytes of the size line so far.
    line: usize,
    /// Chunks begun, the empty last one left out.
    begun: u64,
    /// The trailer section so far; empty, and unallocated, for nearly every server.
    trailer: Vec<u8>,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// First digit of a chunk size.
    #[default]
    Size,
    /// Another digit, or what follows them.
    MoreSize,
    /// White space behind the size.
    Blank,
    /// Inside a chunk extension.
    Extension,
    /// LF of the size line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// First byte of a line of the trailer section, or CR of the empty line that ends it.
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    End,
}

impl Chunked {
    pub(super) fn is_complete(&self) -> bool {
        self.at == At::End
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Where the body broke off, for the message of a premature close.
    pub(super) fn missing(&self) -> String {
        match self.at {
            At::Data => format!("inside a chunk, {} bytes before its end", self.left),
            At::TrailerStart | At::Trailer | At::TrailerLf | At::EndLf => {
                "inside the trailer of the chunked body".into()
            }
            _ => "before the final chunk of the body".into(),
        }
    }

    pub(super) fn decode(&mut self, bytes: &mut [u8]) -> (Decoded, Option<Malformed>) {
        let (mut from, mut to) = (0, 0);
        loop {
            match self.run(bytes, &mut from) {
                Ok(Some(run)) => {
                    let length = run.len();
                    if run.start != to {
                        bytes.copy_within(run, to);
                    }
                    to += length;
                }
                Ok(None) => return (Decoded { payload: to, used: from }, None),
                Err(fault) => return (Decoded { payload: to, used: from }, Some(fault)),
            }
        }
    }

    pub(super) fn decode_into(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> (Decoded, Option<Malformed>) {
        let (mut from, before) = (0, out.len());
        loop {
            let fault = match self.run(bytes, &mut from) {
                Ok(Some(run)) => {
                    out.extend_from_slice(&bytes[run]);
                    continue;
                }
                Ok(None) => None,
                Err(fault) => Some(fault),
            };
            return (Decoded { payload: out.len() - before, used: from }, fault);
        }
    }

    /// The next run of payload behind `from`, which moves behind it; `None` when there is no further one.
    #[inline]
    fn run(&mut self, bytes: &[u8], from: &mut usize) -> Result<Option<Range<usize>>, Malformed> {
        while *from < bytes.len() && self.at != At::End {
            if self.at == At::Data {
                let start = *from;
                let n = (bytes.len() - start).min(usize::try_from(self.left).unwrap_or(usize::MAX));
                *from += n;
                self.left -= n as u64;
                if self.left == 0 {
                    self.at = At::DataCr;
                }
                return Ok(Some(start..start + n));
            }
            if let Some(taken) = self.leap(&bytes[*from..]) {
                *from += taken;
                continue;
            }
            self.step(&bytes[*from..])?;
            *from += 1;
        }
        Ok(None)
    }

    /// The common case at once: CRLF behind a chunk, or a size line without extension, when all of it is there.
    /// Returns the bytes taken; `None` leaves the rest to [`step`](Self::step).
    #[inline]
    fn leap(&mut self, rest: &[u8]) -> Option<usize> {
        if self.at == At::DataCr && rest.starts_with(b"\r\n") {
            self.at = At::Size;
            return Some(2);
        }
        if self.at != At::Size {
            return None;
        }
        let (mut size, mut digits) = (0, 0);
        // Eight digits hold any chunk a server really sends.
        while digits < 8
            && let Some(digit) = rest.get(digits).and_then(|&b| (b as char).to_digit(16))
        {
            size = (size << 4) | u64::from(digit);
            digits += 1;
        }
        if digits == 0 || !rest[digits..].starts_with(b"\r\n") {
            return None;
        }
        (self.left, self.at) = (size, self.behind_size(size));
        Some(digits + 2)
    }

    /// Consumes the first byte of `rest`, which is not data.
    #[inline]
    fn step(&mut self, rest: &[u8]) -> Result<(), Malformed> {
        let byte = rest[0];
        self.at = match (self.at, byte) {
            (At::Size | At::MoreSize, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = u64::from((byte as char).to_digit(16).unwrap_or_default());
                if self.left >> 60 != 0 {
                    return Err(Malformed::found("a chunk size below 2^64", rest));
                }
                self.left = (self.left << 4) | digit;
                self.count_line(At::MoreSize)?
            }
            (At::MoreSize | At::Blank, b' ' | b'\t') => self.count_line(At::Blank)?,
            (At::MoreSize | At::Blank | At::Extension, b'\r') => At::SizeLf,
            (At::Extension, b'\n') => return Err(Malformed::found("CRLF after a chunk extension", rest)),
            (At::MoreSize | At::Blank, b';') | (At::Extension, _) => self.count_line(At::Extension)?,
            (At::SizeLf, b'\n') => {
                self.line = 0;
                self.behind_size(self.left)
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::TrailerStart, b'\r') => At::EndLf,
            (At::EndLf, b'\n') => {
                self.check_trailer()?;
                At::End
            }
            (At::Trailer, b'\r') => self.keep_trailer(byte, At::TrailerLf)?,
            (At::TrailerLf, b'\n') => self.keep_trailer(byte, At::TrailerStart)?,
            (At::TrailerStart | At::Trailer, b'\n') => {
                return Err(Malformed::found("CRLF at the end of a trailer line", rest));
            }
            (At::TrailerStart | At::Trailer, _) => self.keep_trailer(byte, At::Trailer)?,
            (At::Size, _) => return Err(Malformed::found("a chunk size in hexadecimal", rest)),
            (At::MoreSize | At::Blank, _) => {
                return Err(Malformed::found("the end of the chunk-size line", rest));
            }
            (At::SizeLf | At::EndLf | At::TrailerLf, _) => return Err(Malformed::found("LF after CR", rest)),
            (At::DataCr | At::DataLf, _) => return Err(Malformed::found("CRLF at the end of a chunk", rest)),
            // `decode` handles data and stops at the end.
            (state @ (At::Data | At::End), _) => state,
        };
        Ok(())
    }

    /// What follows a size line.
    fn behind_size(&mut self, size: u64) -> At {
        if size == 0 {
            At::TrailerStart
        } else {
            self.begun += 1;
            At::Data
        }
    }

    fn count_line(&mut self, next: At) -> Result<At, Malformed> {
        self.line += 1;
        if self.line > MAX_LINE {
            return Err(Malformed::new(format!("a chunk-size line longer than {MAX_LINE} bytes")));
        }
        Ok(next)
    }

    fn keep_trailer(&mut self, byte: u8, next: At) -> Result<At, Malformed> {
        if self.trailer.len() >= MAX_LINE {
            return Err(Malformed::new(format!("a trailer longer than {MAX_LINE} bytes")));
        }
        self.trailer.push(byte);
        Ok(next)
    }

    /// The trailer must be header lines; their values are of no use here.
    fn check_trailer(&mut self) -> Result<(), Malformed> {
        if self.trailer.is_empty() {
            return Ok(());
        }
        let mut trailer = std::mem::take(&mut self.trailer);
        trailer.extend_from_slice(b"\r\n");
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        match httparse::parse_headers(&trailer, &mut headers) {
            Ok(httparse::Status::Complete(_)) => Ok(()),
            Ok(httparse::Status::Partial) | Err(_) => {
                Err(Malformed::found("header lines in the trailer", &trailer))
            }
        }
    }
}
