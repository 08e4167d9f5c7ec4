//! One connection: requests one after the other until either side closes.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use llms_core::time::Timestamp;
use tokio::net::TcpStream;

use super::{
    SETTLE, Shared, admin, http2,
    link::Link,
    listing,
    read::{self, Failed, MAX_AHEAD, Request},
    respond, route,
    socket::Socket,
    write::{Buffers, Framing},
};

/// Bytes of a refused request that are still read, so that the refusal is not lost in a reset.
const MAX_LINGER: usize = 4 << 20;
/// How long they are.
const LINGER: Duration = Duration::from_millis(500);

/// Whether the connection may carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    KeepAlive,
    Close,
    /// Without a word of parting, as a fault wants it.
    Cut,
}

/// The client has gone; nobody is there to tell.
#[derive(Debug)]
pub(super) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// A connection, or a stream of one, and its buffers.
pub(super) struct Connection {
    pub link: Link,
    pub number: u64,
    /// What has been read beyond the present request.
    ahead: Vec<u8>,
    pub buffers: Buffers,
}

/// Serves a new connection to its end.
pub(super) async fn serve(shared: &Arc<Shared>, socket: TcpStream, number: u64) {
    // A connection without this option works, only later.
    let _ = socket.set_nodelay(true);
    // So that the first write finds the socket known to be writable; here, because nothing may be waited for
    // between the arrival of a request and its place in the queue.
    if socket.writable().await.is_err() {
        return;
    }
    let Some(acceptor) = &shared.acceptor else {
        return requests(shared, Connection::new(Link::Tcp(Socket::new(socket)), number)).await;
    };
    let limit = shared.config.limits.request_timeout;
    let Ok(Ok(stream)) = tokio::time::timeout(limit, acceptor.accept(Socket::new(socket))).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2::serve(shared, stream, Vec::new(), number).await;
    }
    requests(shared, Connection::new(Link::Tls(Box::new(stream)), number)).await;
}

/// Reads and answers requests of HTTP/1.1, or goes on as HTTP/2.
async fn requests(shared: &Arc<Shared>, mut conn: Connection) {
    let mut served = 0;
    loop {
        let limits = &shared.config.limits;
        let read = tokio::select! {
            biased;
            read = read::request(&mut conn.link, &mut conn.ahead, limits, served == 0) => read,
            () = shared.stop.cancelled() => return,
        };
        served += 1;
        let last = shared.config.requests_per_connection.is_some_and(|most| served >= most);
        let after = match read {
            Ok(mut request) => {
                request.close |= last;
                answer(shared, &mut conn, request).await
            }
            Err(Failed::Gone) => return,
            Err(Failed::Http2) => {
                return match conn.link {
                    Link::Tcp(socket) => http2::serve(shared, socket, conn.ahead, conn.number).await,
                    Link::Tls(stream) => http2::serve(shared, *stream, conn.ahead, conn.number).await,
                    Link::Stream(_) => {}
                };
            }
            Err(Failed::Refuse(status, message)) => {
                if respond::refuse_http(shared, &mut conn, status, message).await.is_ok() {
                    conn.linger().await;
                }
                return;
            }
        };
        match after {
            Ok(After::KeepAlive) if !shared.stop.is_cancelled() => {}
            Ok(After::KeepAlive | After::Close) => return conn.link.shut().await,
            Ok(After::Cut) | Err(Gone) => return,
        }
    }
}

/// Answers a request of HTTP/2, or says what is wrong with it.
pub(super) async fn answer_or_refuse(
    shared: &Arc<Shared>,
    conn: &mut Connection,
    request: Result<Request, (u16, &'static str)>,
) -> Result<After, Gone> {
    match request {
        Ok(request) => answer(shared, conn, request).await,
        Err((status, message)) => respond::refuse_http(shared, conn, status, message).await,
    }
}

async fn answer(shared: &Arc<Shared>, conn: &mut Connection, request: Request) -> Result<After, Gone> {
    if let Some(reply) = admin::answer(shared, &request) {
        return respond::at_once(shared, conn, &request, &reply, false).await;
    }
    let route = route::route(&request.method, &request.path);
    let route::Route::Chat(target) = route else {
        if route == route::Route::Truth {
            let end = shared.clock.now() + SETTLE;
            while shared.log.open() > 0 && shared.clock.now() < end {
                shared.timer.sleep_until(shared.clock.now() + Duration::from_millis(1)).await;
            }
        }
        let reply = listing::answer(shared, &route, &request);
        let head_only = request.method == "HEAD";
        return respond::at_once(shared, conn, &request, &reply, head_only).await;
    };
    respond::chat(shared, conn, request, &target).await
}

impl Connection {
    pub(super) fn new(link: Link, number: u64) -> Self {
        Self { link, number, ahead: Vec::new(), buffers: Buffers::default() }
    }

    /// How a streamed answer is delimited, for a client that knows chunks or not.
    pub(super) fn framing(&self, chunks: bool) -> Framing {
        match self.link {
            Link::Stream(_) => Framing::Frames,
            _ if chunks => Framing::Chunked,
            _ => Framing::UntilClose,
        }
    }

    /// Waits for `future` while watching the client.
    ///
    /// # Errors
    /// When the client leaves first.
    pub(super) async fn unless_gone<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Gone> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                done = &mut future => return Ok(done),
                read = self.link.read_some(&mut self.ahead) => {
                    if read? == 0 || self.ahead.len() > MAX_AHEAD {
                        return Err(Gone);
                    }
                }
            }
        }
    }

    /// Waits for an instant, watching the client.
    pub(super) async fn until(&mut self, shared: &Shared, due: Timestamp) -> Result<(), Gone> {
        if shared.clock.now() >= due {
            return Ok(());
        }
        self.unless_gone(shared.timer.sleep_until(due)).await
    }

    /// Sends what lies in the wire buffer at once, and keeps no record.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let sent = self.link.write(&self.buffers.wire, 0).await;
        self.buffers.clear();
        sent.map(|_| ())
    }

    /// Ends the sending, and reads on for a little: a close with something unread would be a reset, which may
    /// overtake the answer.
    async fn linger(&mut self) {
        self.link.shut().await;
        let rest = async {
            let mut read = 0;
            let mut sink = Vec::new();
            while read < MAX_LINGER {
                sink.clear();
                match self.link.read_some(&mut sink).await {
                    Ok(0) | Err(_) => return,
                    Ok(n) => read += n,
                }
            }
        };
        // Whether the client went or the time is over: enough.
        let _ = tokio::time::timeout(LINGER, rest).await;
    }
}
