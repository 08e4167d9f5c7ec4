//! HTTP/2: by prior knowledge on the same port, or agreed on by TLS.
//!
//! hyper speaks the protocol; each stream's answer is made by the same code as over HTTP/1.1, in a task of its own,
//! and handed over piece by piece. The truth log's stamps are those of the hand-over.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::{Response, body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use llms_core::time::{Clock, RealClock};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{mpsc, oneshot},
};

use super::{
    Shared,
    conn::{self, Connection},
    dialect::Reply,
    link::Link,
    read::Request,
};

/// Pieces of one stream that may wait for the connection to take them.
const QUEUE: usize = 16;

/// The client left, or the answer is to break off.
#[derive(Debug, thiserror::Error)]
#[error("the stream ended before its answer")]
pub(super) struct Broken;

enum Piece {
    Data(Bytes),
    /// The answer is complete.
    End,
}

/// One stream's answer on its way to the connection.
pub(super) struct Stream {
    head: Option<oneshot::Sender<Response<()>>>,
    /// The head, until the first write.
    waiting: Option<Response<()>>,
    pieces: mpsc::Sender<Piece>,
    broken: bool,
}

impl Stream {
    fn new() -> (Self, oneshot::Receiver<Response<()>>, Answer) {
        let (head, head_out) = oneshot::channel();
        let (pieces, out) = mpsc::channel(QUEUE);
        let stream = Self { head: Some(head), waiting: None, pieces, broken: false };
        (stream, head_out, Answer { pieces: out })
    }

    /// Sets the head, to be sent with the first write.
    pub(super) fn begin(&mut self, reply: &Reply, date: String, length: Option<usize>) {
        let mut head = Response::builder().status(reply.status).header("date", date);
        head = head.header("content-type", reply.content_type);
        head = head.header("server", "llms-bench-mock (simulated)");
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        for (name, value) in &reply.headers {
            // A request id given by the client comes back in a header: no line may be smuggled in.
            let value: String = value.chars().filter(|c| !c.is_control()).collect();
            head = head.header(*name, value);
        }
        self.waiting = head.body(()).ok();
    }

    /// Waits until the client has left.
    pub(super) async fn gone(&mut self) {
        match &mut self.head {
            Some(head) => head.closed().await,
            None => self.pieces.closed().await,
        }
    }

    /// Hands bytes over, the head first; whether there was no room at once.
    pub(super) async fn hand_over(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        if let Some(head) = self.head.take() {
            let response = self.waiting.take().ok_or_else(gone)?;
            head.send(response).map_err(|_| gone())?;
        }
        if bytes.is_empty() {
            return Ok(false);
        }
        let piece = Piece::Data(Bytes::copy_from_slice(bytes));
        match self.pieces.try_send(piece) {
            Ok(()) => Ok(false),
            Err(mpsc::error::TrySendError::Full(piece)) => {
                self.pieces.send(piece).await.map_err(|_| gone())?;
                Ok(true)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(gone()),
        }
    }

    /// The answer will not be complete.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
    }

    /// The answer is complete, unless it broke off: then the stream is reset.
    async fn finish(self) {
        if !self.broken {
            // A client that left needs no end.
            let _ = self.pieces.send(Piece::End).await;
        }
    }
}

/// The body that the connection polls.
struct Answer {
    pieces: mpsc::Receiver<Piece>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Data(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            None => Some(Err(Broken)),
        })
    }
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(shared: &Arc<Shared>, socket: S, ahead: Vec<u8>, number: u64)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = shared.config.limits;
    let service = service_fn(|request| answer(shared.clone(), number, request));
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.keep_alive.max(std::time::Duration::from_secs(1)))
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams)
        .auto_date_header(false);
    let io = TokioIo::new(Ahead { socket, read: ahead, at: 0 });
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    // Whatever ends it, the client knows.
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        () = shared.stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(
    shared: Arc<Shared>,
    number: u64,
    request: hyper::Request<Incoming>,
) -> Result<Response<Answer>, Broken> {
    let (stream, head, body) = Stream::new();
    let request = read(&shared, request).await;
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let mut conn = Connection::new(Link::Stream(stream), number);
        let answered = tokio::select! {
            biased;
            () = shared.abort.cancelled() => return,
            answered = conn::answer_or_refuse(&shared, &mut conn, request) => answered,
        };
        if let (Ok(_), Link::Stream(stream)) = (answered, conn.link) {
            stream.finish().await;
        }
    });
    let (parts, ()) = head.await.map_err(|_| Broken)?.into_parts();
    Ok(Response::from_parts(parts, body))
}

/// Reads a request in full.
async fn read(shared: &Shared, request: hyper::Request<Incoming>) -> Result<Request, (u16, &'static str)> {
    let limits = &shared.config.limits;
    let (parts, mut incoming) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |t| t.as_str());
    let mut request = Request { chunks: true, ..Request::new(parts.method.as_str(), target) };
    if parts.headers.len() > limits.headers {
        return Err((431, "the request has too many headers"));
    }
    if let Some(host) = parts.uri.authority().filter(|_| !parts.headers.contains_key("host")) {
        request.take("host".to_owned(), host.to_string());
    }
    for (name, value) in &parts.headers {
        request.take(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let whole = async {
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut incoming).poll_frame(cx)).await {
            let Ok(frame) = frame else { return Err((400, "the body broke off")) };
            if let Ok(data) = frame.into_data() {
                if request.body.len() + data.len() > limits.body_bytes {
                    return Err((413, "the body is too large"));
                }
                request.body.extend_from_slice(&data);
            }
        }
        Ok(())
    };
    let late = Err((408, "the request did not arrive in time"));
    tokio::time::timeout(limits.request_timeout, whole).await.unwrap_or(late)?;
    request.arrival = RealClock.now();
    Ok(request)
}

/// A socket of which some bytes have been read already.
struct Ahead<S> {
    socket: S,
    read: Vec<u8>,
    at: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = &this.read[this.at..];
        if rest.is_empty() {
            return Pin::new(&mut this.socket).poll_read(cx, buf);
        }
        let n = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..n]);
        this.at += n;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
