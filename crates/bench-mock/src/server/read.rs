//! Reading requests: heads by `httparse`, bodies by length or in chunks, all bounded.

use std::io;

use llms_core::time::{Clock, RealClock, Timestamp};
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// Largest head.
const MAX_HEAD: usize = 64 << 10;
/// Largest body: prompts with images.
const MAX_BODY: usize = 64 << 20;
/// Bytes that may arrive beyond the request being answered.
pub(super) const MAX_AHEAD: usize = 1 << 20;

/// A request read in full.
#[derive(Debug)]
pub(super) struct Request {
    pub method: String,
    /// Path without query, as sent.
    pub path: String,
    /// HTTP/1.0 or a wish to close.
    pub close: bool,
    /// HTTP/1.0 knows no chunks.
    pub chunks: bool,
    /// `x-request-id`.
    pub id: Option<String>,
    pub authorization: Option<String>,
    pub x_api_key: Option<String>,
    /// Anthropic's version header is there.
    pub anthropic: bool,
    /// All of them, names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// When its last byte had been read.
    pub arrival: Timestamp,
}

impl Request {
    /// The first header of this name (in lower case).
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What came instead of a request.
#[derive(Debug)]
pub(super) enum Failed {
    /// The client is gone, or never sent anything.
    Gone,
    /// Not HTTP, or beyond a limit: the status to answer with.
    Refuse(u16, &'static str),
}

impl From<io::Error> for Failed {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Appends one read to `buf`; 0 is the end.
pub(super) async fn read_some(stream: &TcpStream, buf: &mut Vec<u8>) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        buf.reserve(16 << 10);
        match stream.try_read_buf(buf) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

/// Reads the next request; what follows it stays in `buf`.
pub(super) async fn request(stream: &mut TcpStream, buf: &mut Vec<u8>) -> Result<Request, Failed> {
    let mut arrival = RealClock.now();
    let (mut request, head_len, framing) = loop {
        if let Some(head) = parse_head(buf)? {
            break head;
        }
        if buf.len() > MAX_HEAD {
            return Err(Failed::Refuse(431, "the head of the request is too large"));
        }
        if read_some(stream, buf).await? == 0 {
            return Err(Failed::Gone);
        }
        arrival = RealClock.now();
    };
    if framing.expects_continue && buf.len() == head_len {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut unchunked = Unchunked { at: head_len, body: Vec::new() };
    let end = loop {
        let complete = match framing.length {
            Length::Known(n) if n > MAX_BODY => return Err(Failed::Refuse(413, "the body is too large")),
            Length::Known(n) => (buf.len() >= head_len + n).then_some(head_len + n),
            Length::Chunks => unchunked.advance(buf)?,
        };
        if let Some(end) = complete {
            break end;
        }
        if read_some(stream, buf).await? == 0 {
            return Err(Failed::Gone);
        }
        arrival = RealClock.now();
    };
    request.body = match framing.length {
        Length::Known(_) => buf[head_len..end].to_vec(),
        Length::Chunks => unchunked.body,
    };
    request.arrival = arrival;
    buf.drain(..end);
    Ok(request)
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

fn parse_head(buf: &[u8]) -> Result<Option<(Request, usize, Framing)>, Failed> {
    let mut headers = [httparse::EMPTY_HEADER; 96];
    let mut head = httparse::Request::new(&mut headers);
    let bad = Failed::Refuse(400, "the request is not HTTP/1.1");
    let len = match head.parse(buf) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(bad),
    };
    let (Some(method), Some(target), Some(version)) = (head.method, head.path, head.version) else {
        return Err(bad);
    };
    // A proxy's absolute form names the host first.
    let target = target.strip_prefix("http://").map_or(target, |t| t.find('/').map_or("/", |at| &t[at..]));
    let mut request = Request {
        method: method.to_owned(),
        path: target.split(['?', '#']).next().unwrap_or("/").to_owned(),
        close: version == 0,
        chunks: version == 1,
        id: None,
        authorization: None,
        x_api_key: None,
        anthropic: false,
        headers: Vec::with_capacity(head.headers.len()),
        body: Vec::new(),
        arrival: Timestamp::ZERO,
    };
    let mut framing = Framing { length: Length::Known(0), expects_continue: false };
    for header in head.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        let name = header.name.to_ascii_lowercase();
        request.headers.push((name.clone(), value.clone()));
        match name.as_str() {
            "content-length" => {
                let n = value.parse().map_err(|_| Failed::Refuse(400, "content-length is no number"))?;
                framing.length = Length::Known(n);
            }
            "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => framing.length = Length::Chunks,
            "transfer-encoding" => return Err(Failed::Refuse(501, "transfer coding other than chunked")),
            "expect" => framing.expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "connection" if value.eq_ignore_ascii_case("close") => request.close = true,
            "connection" if value.eq_ignore_ascii_case("keep-alive") => request.close = false,
            "x-request-id" => request.id = Some(value).filter(|v| !v.is_empty() && v.len() <= 256),
            "authorization" => request.authorization = Some(value),
            "x-api-key" => request.x_api_key = Some(value),
            "anthropic-version" => request.anthropic = true,
            _ => {}
        }
    }
    Ok(Some((request, len, framing)))
}

/// Takes the chunk coding off a body.
struct Unchunked {
    at: usize,
    body: Vec<u8>,
}

impl Unchunked {
    /// Goes on as far as `buf` permits; the offset after the body once it is complete.
    fn advance(&mut self, buf: &[u8]) -> Result<Option<usize>, Failed> {
        loop {
            let rest = &buf[self.at.min(buf.len())..];
            let Some(line) = memchr::memchr(b'\n', rest) else { return Ok(None) };
            let bad = Failed::Refuse(400, "the chunks of the body are broken");
            let text = std::str::from_utf8(&rest[..line]).unwrap_or_default();
            let size = text.split(';').next().unwrap_or_default().trim();
            let Ok(size) = usize::from_str_radix(size, 16) else { return Err(bad) };
            if size > MAX_BODY || self.body.len() + size > MAX_BODY {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let wire = b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nt: 1\r\n\r\nGET";
        for cut in 0..wire.len() {
            let mut chunks = Unchunked { at: 0, body: Vec::new() };
            let mut end = chunks.advance(&wire[..cut]).unwrap();
            if end.is_none() {
                end = chunks.advance(wire).unwrap();
            }
            assert_eq!((end, chunks.body.as_slice()), (Some(wire.len() - 3), &b"hello, world"[..]), "{cut}");
        }
    }

    #[test]
    fn heads_are_read_as_far_as_needed() {
        let wire = b"POST http://h:1/v1/x?y=1 HTTP/1.1\r\nX-Request-ID: r-1\r\nContent-Length: 3\r\n\r\nabc";
        assert!(parse_head(&wire[..40]).unwrap().is_none());
        let (request, len, framing) = parse_head(wire).unwrap().unwrap();
        assert_eq!((request.path.as_str(), request.id.as_deref()), ("/v1/x", Some("r-1")));
        assert_eq!(len, wire.len() - 3);
        assert!(matches!(framing.length, Length::Known(3)) && !request.close);
        assert!(matches!(parse_head(b"\x16\x03\x01 tls?\r\n\r\n"), Err(Failed::Refuse(400, _))));
    }
}
