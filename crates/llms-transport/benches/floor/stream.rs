//! One connection of the raw floor: write a request, read and count until its end marker, keep stamps if they are wanted.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
};

use memchr::memmem::Finder;

use crate::{Totals, args::Args, now};

/// What a read came to.
pub(crate) enum Step {
    More,
    Done,
}

/// How a body of chunks ends.
const END: &[u8] = b"0\r\n\r\n";

pub(crate) struct Stream {
    socket: TcpStream,
    data: Finder<'static>,
    content: Finder<'static>,
    /// The last bytes seen, for an end marker cut in two.
    tail: [u8; 8],
    keep: bool,
    id: u64,
    start: u64,
    written: u64,
    headers: u64,
    end: u64,
    /// One per token, the stamp of its read.
    tokens: Vec<u64>,
    read_any: bool,
}

impl Stream {
    pub(crate) fn open(args: &Args) -> io::Result<Self> {
        let socket = TcpStream::connect(&args.host)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            data: Finder::new(b"data: "),
            content: Finder::new(b"\"content\":\""),
            tail: [0; 8],
            keep: args.records.is_some(),
            id: 0,
            start: 0,
            written: 0,
            headers: 0,
            end: 0,
            tokens: Vec::new(),
            read_any: false,
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    pub(crate) fn send(&mut self, id: u64, args: &Args) -> io::Result<()> {
        let request = args.request(id);
        self.id = id;
        self.tail = [0; 8];
        self.tokens.clear();
        self.read_any = false;
        self.start = now();
        self.socket.write_all(request.as_bytes())?;
        self.written = now();
        Ok(())
    }

    /// One read, one stamp, one search.
    pub(crate) fn read(&mut self, buf: &mut [u8], totals: &mut Totals) -> io::Result<Step> {
        let n = match self.socket.read(buf) {
            Ok(0) => return Err(io::Error::other("the server closed the connection within an answer")),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Step::More),
            Err(e) => return Err(e),
        };
        let at = now();
        let bytes = &buf[..n];
        totals.reads += 1;
        totals.bytes += n as u64;
        if !self.read_any {
            (self.read_any, self.headers) = (true, at);
            if !bytes.starts_with(b"HTTP/1.1 200") {
                return Err(io::Error::other(String::from_utf8_lossy(&bytes[..n.min(200)]).into_owned()));
            }
        }
        for line in self.data.find_iter(bytes) {
            totals.lines += 1;
            if self.keep && self.has_content(&bytes[line..]) {
                self.tokens.push(at);
            }
        }
        if self.ended(bytes) {
            self.end = at;
            return Ok(Step::Done);
        }
        Ok(Step::More)
    }

    /// Whether the line that begins here is a token: not the role, the finish reason, usage, or the end marker.
    fn has_content(&self, rest: &[u8]) -> bool {
        let line = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
        self.content.find(line).is_some_and(|found| line.get(found + 11) != Some(&b'"'))
    }

    fn ended(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() >= self.tail.len() {
            self.tail.copy_from_slice(&bytes[bytes.len() - 8..]);
        } else {
            self.tail.rotate_left(bytes.len());
            let at = self.tail.len() - bytes.len();
            self.tail[at..].copy_from_slice(bytes);
        }
        self.tail.ends_with(END)
    }

    pub(crate) fn write_record(&self, file: &mut impl Write) -> io::Result<()> {
        let list = self.tokens.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let opt = |t: Option<&u64>| t.map_or("null".to_owned(), u64::to_string);
        writeln!(
            file,
            "{{\"request_id\":\"floor-{}\",\"scheduled_ns\":{start},\"released_ns\":{start},\"start_ns\":{start},\"written_ns\":{},\"headers_ns\":{},\"first_token_ns\":{},\"token_ns\":[{list}],\"chunk_tokens\":null,\"last_token_ns\":{},\"end_ns\":{},\"output_tokens\":{},\"error\":null,\"stamp\":\"user\",\"user_ns\":[{list}]}}",
            self.id,
            self.written,
            self.headers,
            opt(self.tokens.first()),
            opt(self.tokens.last()),
            self.end,
            self.tokens.len(),
            start = self.start,
        )
    }
}
