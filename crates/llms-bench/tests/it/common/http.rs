//! A server that hands every request to a function, one thread a connection.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

/// A request: head as it came, body.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let line = |l: &'_ str| l.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().skip(1).find(|l| line(l)).and_then(|l| l.split_once(": ")).map(|(_, v)| v.trim())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// An answer, the head included.
pub(crate) fn answer(status: u16, content_type: &str, more: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\n{more}content-length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Serves on a free port until the test's process ends; gives the address.
pub(crate) fn serve(f: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let f = Arc::new(f);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let f = f.clone();
            thread::spawn(move || connection(stream.unwrap(), &*f));
        }
    });
    address
}

fn connection(mut stream: TcpStream, f: &dyn Fn(&Request) -> Vec<u8>) {
    let (mut bytes, mut buf) = (Vec::new(), [0; 16 << 10]);
    loop {
        let n = stream.read(&mut buf).unwrap_or(0);
        if n == 0 {
            return;
        }
        bytes.extend_from_slice(&buf[..n]);
        while let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let mut request = Request { head, body: Vec::new() };
            let length = request.header("content-length").map_or(0, |l| l.parse().unwrap());
            if bytes.len() < end + 4 + length {
                break;
            }
            request.body = bytes[end + 4..end + 4 + length].to_vec();
            bytes.drain(..end + 4 + length);
            if stream.write_all(&f(&request)).is_err() {
                return;
            }
        }
    }
}

/// The bytes that a GET brings, head included.
pub(crate) fn get(base: &str, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let host = base.split("://").nth(1).unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let more: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let more = more.concat();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// The bytes that a POST brings, head included.
pub(crate) fn post(base: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let host = base.split("://").nth(1).unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let more: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let more = more.concat();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{more}\r\n{body}"
    )
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}
