//! Reading requests: heads by `httparse`, bodies by length or in chunks, all bounded in bytes and time.

use std::{future::Future, io, time::Duration};

use llms_core::time::{Clock, RealClock, Timestamp};

use super::{link::Link, settings::Limits};

/// Bytes that may arrive beyond the request being answered.
pub(super) const MAX_AHEAD: usize = 1 << 20;
/// What HTTP/2 by prior knowledge begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request read in full.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Path without query, as sent.
    pub path: String,
    /// HTTP/1.0 or a wish to close.
    pub close: bool,
    /// HTTP/1.0 knows no chunks.
    pub chunks: bool,
    /// `x-request-id`.
    pub id: Option<String>,
    /// Anthropic's version header is there.
    pub anthropic: bool,
    /// All of them, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When its last byte had been read.
    pub arrival: Timestamp,
}

impl Request {
    /// A request for `target` (path and query) without headers.
    pub(super) fn new(method: &str, target: &str) -> Self {
        // A proxy's absolute form names the host first.
        let target =
            target.strip_prefix("http://").map_or(target, |t| t.find('/').map_or("/", |at| &t[at..]));
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            path: target.split(['?', '#']).next().unwrap_or("/").to_owned(),
            ..Self::default()
        }
    }

    /// Takes one header in; the name in lower case.
    pub(super) fn take(&mut self, name: String, value: String) {
        match name.as_str() {
            "x-request-id" if !value.is_empty() && value.len() <= 256 => self.id = Some(value.clone()),
            "anthropic-version" => self.anthropic = true,
            _ => {}
        }
        self.headers.push((name, value));
    }

    /// The first header of this name (in lower case).
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What came instead of a request.
#[derive(Debug)]
pub(super) enum Failed {
    /// The client is gone, never sent anything, or was idle for too long.
    Gone,
    /// Not HTTP, or beyond a limit: the status to answer with.
    Refuse(u16, &'static str),
    /// The client speaks HTTP/2; its first bytes are still in the buffer.
    Http2,
}

impl From<io::Error> for Failed {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Until when a request must be there.
struct Patience {
    until: tokio::time::Instant,
    limit: Duration,
    begun: bool,
}

impl Patience {
    /// Reads once; the instant at which it came to this machine.
    async fn read(&mut self, link: &mut Link, buf: &mut Vec<u8>) -> Result<Timestamp, Failed> {
        let read = self.within(link.read_some(buf)).await??;
        let arrival = link.arrived();
        if read == 0 {
            return Err(Failed::Gone);
        }
        self.begin();
        Ok(arrival)
    }

    /// The first byte is there.
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.until = tokio::time::Instant::now() + self.limit;
        }
    }

    async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, Failed> {
        let late =
            if self.begun { Failed::Refuse(408, "the request did not arrive in time") } else { Failed::Gone };
        tokio::time::timeout_at(self.until, future).await.map_err(|_| late)
    }
}

/// Reads the next request; what follows it stays in `buf`. `first` of its connection, it may turn out to be HTTP/2.
pub(super) async fn request(
    link: &mut Link,
    buf: &mut Vec<u8>,
    limits: &Limits,
    first: bool,
) -> Result<Request, Failed> {
    let until = tokio::time::Instant::now() + limits.keep_alive;
    let mut patience = Patience { until, limit: limits.request_timeout, begun: false };
    if !buf.is_empty() {
        patience.begin();
    }
    let mut arrival = RealClock.now();
    let mut parsed = 0;
    let (mut request, head_len, framing) = loop {
        let preface = first && !buf.is_empty() && PREFACE.starts_with(&buf[..buf.len().min(PREFACE.len())]);
        if preface && buf.len() >= PREFACE.len() {
            return Err(Failed::Http2);
        }
        // Parsed anew only where there may be more to see, so that dribbled heads cost no more than others.
        if !preface && (buf.len() >= 2 * parsed || ends_head(&buf[parsed.saturating_sub(3)..])) {
            if let Some(head) = parse_head(buf, limits)? {
                break head;
            }
            parsed = buf.len();
        }
        if buf.len() > limits.head_bytes {
            return Err(Failed::Refuse(431, "the head of the request is too large"));
        }
        arrival = patience.read(link, buf).await?;
    };
    let too_large = Failed::Refuse(413, "the body is too large");
    if matches!(framing.length, Length::Known(n) if n > limits.body_bytes) {
        return Err(too_large);
    }
    if framing.expects_continue && buf.len() == head_len {
        patience.within(link.write(b"HTTP/1.1 100 Continue\r\n\r\n", 0)).await??;
    }
    let mut unchunked = Unchunked { at: head_len, body: Vec::new(), limit: limits.body_bytes };
    let end = loop {
        let complete = match framing.length {
            Length::Known(n) => (buf.len() >= head_len + n).then_some(head_len + n),
            Length::Chunks => unchunked.advance(buf)?,
        };
        if let Some(end) = complete {
            break end;
        }
        arrival = patience.read(link, buf).await?;
    };
    request.body = match framing.length {
        Length::Known(_) => buf[head_len..end].to_vec(),
        Length::Chunks => unchunked.body,
    };
    request.arrival = arrival;
    buf.drain(..end);
    Ok(request)
}

fn ends_head(new: &[u8]) -> bool {
    memchr::memmem::find(new, b"\n\r\n").is_some() || memchr::memmem::find(new, b"\n\n").is_some()
}

#[derive(Clone, Copy)]
enum Length {
    Known(usize),
    Chunks,
}

struct Framing {
    length: Length,
    expects_continue: bool,
}

fn parse_head(buf: &[u8], limits: &Limits) -> Result<Option<(Request, usize, Framing)>, Failed> {
    let mut headers = vec![httparse::EMPTY_HEADER; limits.headers];
    let mut head = httparse::Request::new(&mut headers);
    let bad = Failed::Refuse(400, "the request is not HTTP/1.1");
    let len = match head.parse(buf) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Failed::Refuse(431, "the request has too many headers"));
        }
        Err(_) => return Err(bad),
    };
    if len > limits.head_bytes {
        return Err(Failed::Refuse(431, "the head of the request is too large"));
    }
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(bad);
    };
    let mut request = Request::new(method, target);
    (request.close, request.chunks) = (version == 0, version == 1);
    request.headers.reserve_exact(head.headers.len());
    let mut length = None;
    let mut framing = Framing { length: Length::Known(0), expects_continue: false };
    for header in head.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        let name = header.name.to_ascii_lowercase();
        match name.as_str() {
            "content-length" => {
                // Digits only: no sign, no list.
                let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
                let n = value.parse().ok().filter(|_| digits);
                let n = n.ok_or(Failed::Refuse(400, "content-length is no number"))?;
                if length.is_some_and(|before| before != n) {
                    return Err(Failed::Refuse(400, "there are two lengths"));
                }
                length = Some(n);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => framing.length = Length::Chunks,
            "transfer-encoding" => return Err(Failed::Refuse(501, "transfer coding other than chunked")),
            "expect" => framing.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "connection" if value.eq_ignore_ascii_case("close") => request.close = true,
            "connection" if value.eq_ignore_ascii_case("keep-alive") => request.close = false,
            _ => {}
        }
        request.take(name, value);
    }
    match (length, framing.length) {
        (Some(_), Length::Chunks) => return Err(Failed::Refuse(400, "there are two ways to end the body")),
        (Some(n), Length::Known(_)) => framing.length = Length::Known(n),
        (None, _) => {}
    }
    Ok(Some((request, len, framing)))
}

/// Takes the chunk coding off a body.
struct Unchunked {
    at: usize,
    body: Vec<u8>,
    limit: usize,
}

impl Unchunked {
    /// Goes on as far as `buf` permits; the offset after the body once it is complete.
    fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, Failed> {
        loop {
            let rest = &buf[self.at.min(buf.len())..];
            let bad = Failed::Refuse(400, "the chunks of the body are broken");
            let Some(line) = memchr::memchr(b'\n', &rest[..rest.len().min(1024)]) else {
                // A size with its extensions is short.
                return if rest.len() < 1024 { Ok(None) } else { Err(bad) };
            };
            let text = std::str::from_utf8(&rest[..line]).unwrap_or_default();
            let size = text.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(size, 16) else { return Err(bad) };
            if size > self.limit || self.body.len() + size > self.limit {
                return Err(Failed::Refuse(413, "the body is too large"));
            }
            let data = line + 1;
            if size == 0 {
                // Trailers end in an empty line.
                let after = &rest[data..];
                let end = if after.starts_with(b"\r\n") {
                    Some(2)
                } else {
                    memchr::memmem::find(after, b"\r\n\r\n").map(|at| at + 4)
                };
                if end.is_none() && after.len() > MAX_TRAILERS {
                    return Err(Failed::Refuse(431, "the trailers of the request are too large"));
                }
                return Ok(end.map(|n| self.at + data + n));
            }
            if rest.len() < data + size + 2 {
                return Ok(None);
            }
            self.body.extend_from_slice(&rest[data..data + size]);
            self.at += data + size + 2;
        }
    }
}

/// Bytes of trailers.
const MAX_TRAILERS: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let wire = b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nt: 1\r\n\r\nGET";
        for cut in 0..wire.len() {
            let mut chunks = Unchunked { at: 0, body: Vec::new(), limit: 100 };
            let mut end = chunks.advance(&wire[..cut]).unwrap();
            if end.is_none() {
                end = chunks.advance(wire).unwrap();
            }
            assert_eq!((end, chunks.body.as_slice()), (Some(wire.len() - 3), &b"hello, world"[..]), "{cut}");
        }
        let mut small = Unchunked { at: 0, body: Vec::new(), limit: 8 };
        assert!(matches!(small.advance(wire), Err(Failed::Refuse(413, _))));
        let mut endless = Unchunked { at: 0, body: Vec::new(), limit: 8 };
        assert!(matches!(endless.advance(&[b'0'; 2000]), Err(Failed::Refuse(400, _))));
    }

    #[test]
    fn heads_are_read_as_far_as_needed() {
        let limits = Limits { head_bytes: 300, headers: 4, ..Limits::default() };
        let read = |wire: &[u8]| parse_head(wire, &limits);
        let wire = b"POST http://h:1/v1/x?y=1 HTTP/1.1\r\nX-Request-ID: r-1\r\nContent-Length: 3\r\n\r\nabc";
        assert!(read(&wire[..40]).unwrap().is_none());
        let (request, len, framing) = read(wire).unwrap().unwrap();
        assert_eq!((request.path.as_str(), request.id.as_deref()), ("/v1/x", Some("r-1")));
        assert_eq!(request.target, "/v1/x?y=1");
        assert_eq!(len, wire.len() - 3);
        assert!(matches!(framing.length, Length::Known(3)) && !request.close);
        let status = |wire: &str| match read(wire.as_bytes()) {
            Err(Failed::Refuse(status, _)) => status,
            _ => 0,
        };
        assert_eq!(status("\x16\x03\x01 tls?\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\na: 1\r\nb: 1\r\nc: 1\r\nd: 1\r\ne: 1\r\n\r\n"), 431);
        assert_eq!(status(&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(400))), 431);
        assert_eq!(status("POST / HTTP/1.1\r\ncontent-length: +3\r\n\r\n"), 400);
        assert_eq!(status("POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n"), 400);
        let two = "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(status(two), 400, "no request is smuggled in");
        assert_eq!(status("POST / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n"), 501);
    }
}
