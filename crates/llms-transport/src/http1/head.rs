//! Reads the head of an answer and decides how its body is framed.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Malformed;

/// Largest head accepted, interim (1xx) answers included, in bytes.
pub const MAX_HEAD: usize = 64 << 10;
/// Most header lines accepted in one head or trailer.
pub const MAX_HEADERS: usize = 128;

/// How the end of a body is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body: answer to HEAD, 204, 304.
    Empty,
    /// This many bytes.
    Length(u64),
    /// `transfer-encoding: chunked`.
    Chunked,
    /// Everything until the connection closes.
    Close,
}

/// The head of a final answer.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// HTTP status, 200–999.
    pub status: u16,
    /// All headers, in order of arrival per name.
    pub headers: HeaderMap,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the server lets the connection live on after this answer.
    pub keep_alive: bool,
}

/// Reads one head; skips interim answers (100 to 199) before it.
///
/// Feed it the growing buffer: it parses again only when the new bytes can have completed a line, so a head
/// that drips in byte by byte costs no more than its lines.
#[derive(Debug, Default)]
pub struct HeadParser {
    to_head_request: bool,
    /// Where the answer under way begins: behind the interim ones.
    start: usize,
    /// Up to where earlier calls have looked.
    seen: usize,
}

impl HeadParser {
    /// A parser for one answer, to a HEAD request or to any other.
    pub fn new(to_head_request: bool) -> Self {
        Self { to_head_request, ..Self::default() }
    }

    /// The head, and the number of bytes it and the interim answers before it take; `None` when bytes are
    /// missing. `bytes` is everything received so far.
    ///
    /// # Errors
    /// What breaks HTTP/1.1: not HTTP at all, more than [`MAX_HEAD`] bytes or [`MAX_HEADERS`] headers, or
    /// framing that two readers could understand differently.
    pub fn parse(&mut self, bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, Malformed> {
        loop {
            let fresh = &bytes[self.seen..];
            // A status line that is not one is refused at once; else only a line end can complete a head.
            let worthwhile = self.seen < self.start + 16 || memchr::memchr(b'\n', fresh).is_some();
            let parsed = if worthwhile { self.parse_one(&bytes[self.start..])? } else { Parsed::Incomplete };
            match parsed {
                Parsed::Incomplete => {
                    self.seen = bytes.len();
                    return if bytes.len() > MAX_HEAD { Err(too_large()) } else { Ok(None) };
                }
                Parsed::Interim(len) => {
                    self.start += len;
                    self.seen = self.start;
                }
                Parsed::Final(head, len) => {
                    let used = self.start + len;
                    return if used > MAX_HEAD { Err(too_large()) } else { Ok(Some((head, used))) };
                }
            }
        }
    }

    /// Whether the end of the connection at this point cuts an answer short (`Ok`), or shows that it never was
    /// one.
    ///
    /// # Errors
    /// What about the bytes is not HTTP/1.1.
    pub fn end(&self, bytes: &[u8]) -> Result<(), Malformed> {
        self.parse_one(&bytes[self.start..]).map(|_| ())
    }

    fn parse_one(&self, bytes: &[u8]) -> Result<Parsed, Malformed> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut headers,
        );
        let len = match parsed {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(Parsed::Incomplete),
            Err(e) => return Err(explain(e, bytes)),
        };
        let status = response.code.unwrap_or_default();
        let version_minor = response.version.unwrap_or_default();
        match status {
            101 => return Err(Malformed::new("the server switched protocols (101) without being asked")),
            100..=199 => return Ok(Parsed::Interim(len)),
            200..=999 => {}
            _ => return Err(Malformed::found("a status of 100 or more", &bytes[..len])),
        }
        let headers = collect(response.headers, &bytes[..len])?;
        let framing = framing(status, version_minor, &headers, self.to_head_request)?;
        let keep_alive = framing != Framing::Close && persists(version_minor, &headers);
        Ok(Parsed::Final(ResponseHead { status, headers, framing, keep_alive }, len))
    }
}

enum Parsed {
    Incomplete,
    /// An interim answer of this many bytes.
    Interim(usize),
    Final(ResponseHead, usize),
}

fn too_large() -> Malformed {
    Malformed::new(format!("the head of the answer exceeds the limit of {MAX_HEAD} bytes"))
}

fn explain(error: httparse::Error, bytes: &[u8]) -> Malformed {
    match error {
        httparse::Error::TooManyHeaders => {
            Malformed::new(format!("the answer has more than {MAX_HEADERS} headers"))
        }
        // A TLS record: content type alert or handshake, version 3.x.
        _ if matches!(bytes, [0x15 | 0x16, 3, ..]) => {
            Malformed::new("the server speaks TLS here; use https:// in its URL")
        }
        httparse::Error::Version if bytes.starts_with(b"HTTP/") => Malformed::found("HTTP/1.1", bytes),
        httparse::Error::Version => Malformed::found("an HTTP/1.1 answer", bytes),
        e => Malformed::found(&format!("an HTTP/1.1 head ({e})"), bytes),
    }
}

/// The headers, sharing one copy of the head: no allocation per value.
fn collect(parsed: &[httparse::Header<'_>], head: &[u8]) -> Result<HeaderMap, Malformed> {
    let shared = Bytes::copy_from_slice(head);
    let mut headers = HeaderMap::with_capacity(parsed.len());
    for h in parsed {
        let name = HeaderName::from_bytes(h.name.as_bytes())
            .map_err(|_| Malformed::found("a header name", h.name.as_bytes()))?;
        // An empty value need not lie inside the head.
        let value = if h.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            let at = h.value.as_ptr().addr() - head.as_ptr().addr();
            HeaderValue::from_maybe_shared(shared.slice(at..at + h.value.len()))
                .map_err(|_| Malformed::found("a header value", h.value))?
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// RFC 9112, section 6.3, refusing what it calls an error or an attempt at request smuggling.
fn framing(
    status: u16,
    version_minor: u8,
    headers: &HeaderMap,
    to_head_request: bool,
) -> Result<Framing, Malformed> {
    if to_head_request || matches!(status, 204 | 304) {
        return Ok(Framing::Empty);
    }
    if !headers.contains_key(header::TRANSFER_ENCODING) {
        return Ok(content_length(headers)?.map_or(Framing::Close, Framing::Length));
    }
    if version_minor == 0 {
        return Err(Malformed::new("transfer-encoding in an HTTP/1.0 answer"));
    }
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err(Malformed::new("both content-length and transfer-encoding: the end is ambiguous"));
    }
    // Empty elements count: readers differ on whether `chunked,` is chunked.
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter().flat_map(elements);
    let (first, second) = (codings.next().unwrap_or_default(), codings.next());
    match second {
        None if first.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        // Dropped from HTTP, still sent by some: no coding, so the connection ends the body.
        None if first.eq_ignore_ascii_case(b"identity") => Ok(Framing::Close),
        _ => Err(Malformed::found("transfer-encoding chunked alone", first)),
    }
}

/// The one length all values agree on.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut length = None;
    for text in headers.get_all(header::CONTENT_LENGTH).iter().flat_map(elements) {
        let n = match text {
            // `parse` alone would take a leading `+`.
            [b'0'..=b'9', ..] => std::str::from_utf8(text).ok().and_then(|t| t.parse::<u64>().ok()),
            _ => None,
        };
        // The two highest values are kept out of the way of arithmetic; no body is that long.
        let n = n.filter(|&n| n < u64::MAX - 1).ok_or_else(|| Malformed::found("a content-length", text))?;
        if length.is_some_and(|known| known != n) {
            return Err(Malformed::new("content-length values that contradict each other"));
        }
        length = Some(n);
    }
    Ok(length)
}

fn persists(version_minor: u8, headers: &HeaderMap) -> bool {
    let says = |word: &[u8]| {
        headers.get_all(header::CONNECTION).iter().flat_map(elements).any(|t| t.eq_ignore_ascii_case(word))
    };
    !says(b"close") && (version_minor == 1 || says(b"keep-alive"))
}

/// The elements of a comma-separated list, white space removed.
fn elements(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&b| b == b',').map(<[u8]>::trim_ascii)
}
