//! One connection: requests one after the other until either side closes.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use llms_core::time::Timestamp;
use secrecy::ExposeSecret;
use tokio::net::TcpStream;

use super::{
    SETTLE, Shared, listing,
    read::{self, Failed, MAX_AHEAD, Request, read_some},
    respond, route,
    write::{Buffers, send},
};

/// Whether the connection may carry another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    KeepAlive,
    Close,
}

/// The client has gone; nobody is there to tell.
#[derive(Debug)]
pub(super) struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// A connection and its buffers.
pub(super) struct Connection {
    pub stream: TcpStream,
    pub number: u64,
    /// What has been read beyond the present request.
    ahead: Vec<u8>,
    pub buffers: Buffers,
}

/// Serves a connection to its end.
pub(super) async fn serve(shared: &Arc<Shared>, stream: TcpStream, number: u64) {
    // A connection without this option works, only later.
    let _ = stream.set_nodelay(true);
    // So that the first write finds the socket known to be writable; here, because nothing may be waited for
    // between the arrival of a request and its place in the queue.
    if stream.writable().await.is_err() {
        return;
    }
    let mut conn = Connection { stream, number, ahead: Vec::new(), buffers: Buffers::default() };
    loop {
        let read = tokio::select! {
            biased;
            read = read::request(&mut conn.stream, &mut conn.ahead) => read,
            () = shared.stop.cancelled() => return,
        };
        let after = match read {
            Ok(request) => answer(shared, &mut conn, request).await,
            Err(Failed::Gone) => return,
            Err(Failed::Refuse(status, message)) => {
                respond::refuse_http(shared, &mut conn, status, message).await
            }
        };
        if !matches!(after, Ok(After::KeepAlive)) || shared.stop.is_cancelled() {
            return;
        }
    }
}

async fn answer(shared: &Arc<Shared>, conn: &mut Connection, request: Request) -> Result<After, Gone> {
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
                read = read_some(&self.stream, &mut self.ahead) => {
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

    /// Sends what lies in the wire buffer; whether the client had to be waited for is the second value.
    pub(super) async fn flush(&mut self, tokens: u32) -> io::Result<(crate::truth::Write, bool)> {
        let sent = send(&self.stream, &self.buffers.wire, tokens).await;
        self.buffers.wire.clear();
        sent
    }

    /// Makes the coming close a reset.
    pub(super) fn reset(&self) {
        let _ = self.stream.set_zero_linger();
    }
}

/// Whether the request carries the key that is wanted, if one is.
pub(super) fn authorized(shared: &Shared, request: &Request) -> bool {
    let Some(key) = &shared.config.api_key else { return true };
    let key = key.expose_secret();
    let bearer = request.authorization.as_deref().unwrap_or_default();
    request.x_api_key.as_deref() == Some(key)
        || bearer.strip_prefix("Bearer ") == Some(key)
        || bearer.starts_with("AWS4-HMAC-SHA256 ")
}
