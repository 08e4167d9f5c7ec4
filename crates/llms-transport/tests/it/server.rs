//! A server that does what a script says, byte by byte, one thread per connection.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

/// An answer with a length, which keeps the connection alive.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A request as it came over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// One connection, seen from the server.
pub(crate) struct Peer {
    stream: TcpStream,
    /// Number of the connection, from 0.
    pub(crate) number: usize,
    requests: Arc<AtomicUsize>,
}

impl Peer {
    /// The next request, head and body; `None` when the client has closed.
    pub(crate) fn request(&mut self) -> Option<Request> {
        let mut head = self.head()?;
        let length = head
            .to_ascii_lowercase()
            .find("content-length: ")
            .map_or(0, |at| head[at + 16..].lines().next().and_then(|n| n.trim().parse().ok()).unwrap_or(0));
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        head.truncate(head.trim_end().len());
        Some(Request { head, body })
    }

    /// The next head, leaving its body unread.
    pub(crate) fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            self.stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        self.requests.fetch_add(1, SeqCst);
        Some(String::from_utf8(head).unwrap())
    }

    /// Fills `buf`.
    pub(crate) fn read_exact(&mut self, buf: &mut [u8]) {
        self.stream.read_exact(buf).unwrap();
    }

    /// One write. A client that has gone is no failure of the server.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes);
    }

    /// One write; whether the client still takes it.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Says that nothing more will come, and waits for the client to close: no reset, whatever is unread.
    pub(crate) fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.wait_for_close();
    }

    /// Reads whatever comes until the client closes, at most 10 s.
    pub(crate) fn wait_for_close(&mut self) -> bool {
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(10)));
        let mut sink = [0; 8192];
        loop {
            match self.stream.read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(e) => return e.kind() == std::io::ErrorKind::ConnectionReset,
            }
        }
    }
}

/// A server on loopback; what it has seen.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Runs `script` for each connection, which closes when it returns.
    pub(crate) fn start(script: impl Fn(&mut Peer) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            connections: Arc::default(),
            requests: Arc::default(),
        };
        let (seen, script) = (server.clone(), Arc::new(script));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                stream.set_nodelay(true).unwrap();
                let number = seen.connections.fetch_add(1, SeqCst);
                let (requests, script) = (seen.requests.clone(), script.clone());
                thread::spawn(move || script(&mut Peer { stream, number, requests }));
            }
        });
        server
    }

    /// Answers every request with `answer` as long as the client stays.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |peer| {
            while peer.request().is_some() {
                peer.send(&answer);
            }
        })
    }

    /// Answers the first request with `answer`, then waits for the client to close.
    pub(crate) fn answering_once(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |peer| {
            if peer.request().is_some() {
                peer.send(&answer);
            }
            peer.finish();
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// Request heads read so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(SeqCst)
    }
}
