//! Where the bytes of an answer go: a socket, TLS over one, or one stream of an HTTP/2 connection.

use std::io;

use llms_core::time::{Clock, RealClock, Timestamp};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{http2, socket::Socket};
use crate::truth::{Stamps, Write};

/// Where bytes go.
pub(super) enum Link {
    Tcp(Socket),
    Tls(Box<TlsStream<Socket>>),
    Stream(http2::Stream),
}

impl Link {
    /// What the stamps of a write mean.
    pub(super) fn stamps(&self) -> Stamps {
        if matches!(self, Self::Stream(_)) { Stamps::HandOver } else { Stamps::Call }
    }

    /// Appends one read to `buf`; 0 is the end. Nothing is lost when it is dropped before it is done.
    pub(super) async fn read_some(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => {
                buf.reserve(16 << 10);
                stream.read_buf(buf).await
            }
            Self::Tls(stream) => {
                buf.reserve(16 << 10);
                stream.read_buf(buf).await
            }
            Self::Stream(stream) => {
                stream.gone().await;
                Ok(0)
            }
        }
    }

    /// When the bytes that were read last came to this machine.
    pub(super) fn arrived(&self) -> Timestamp {
        match self {
            Self::Tcp(stream) => stream.arrived(),
            Self::Tls(stream) => stream.get_ref().0.arrived(),
            Self::Stream(_) => RealClock.now(),
        }
    }

    /// Sends everything and says when: `before` the first system call, `after` the last. One call unless the client
    /// reads too slowly; whether it had to be waited for is the second value.
    pub(super) async fn write(&mut self, bytes: &[u8], tokens: u32) -> io::Result<(Write, bool)> {
        let before = RealClock.now();
        let waited = match self {
            Self::Tcp(stream) => write_all(stream.tcp(), bytes).await?,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
                // What fits into the socket's buffer is never that slow.
                RealClock.now().saturating_since(before).as_millis() > 20
            }
            Self::Stream(stream) => stream.hand_over(bytes).await?,
        };
        Ok((Write { before, after: RealClock.now(), tokens }, waited))
    }

    /// Limits what the kernel holds of what is sent; a socket that will not have it keeps its own measure.
    pub(super) fn send_buffer(&self, bytes: usize) {
        #[cfg(unix)]
        if let Self::Tcp(stream) = self {
            let _ = rustix::net::sockopt::set_socket_send_buffer_size(stream.tcp(), bytes);
        }
        #[cfg(not(unix))]
        let _ = bytes;
    }

    /// Makes the coming end one that no client takes for a good one: a reset of the socket or of the stream.
    pub(super) fn reset(&mut self) {
        match self {
            Self::Tcp(stream) => _ = stream.tcp().set_zero_linger(),
            Self::Tls(stream) => _ = stream.get_ref().0.tcp().set_zero_linger(),
            Self::Stream(stream) => stream.break_off(),
        }
    }

    /// The same where an end of the connection would be taken for a good one.
    pub(super) fn cut(&mut self) {
        if let Self::Stream(stream) = self {
            stream.break_off();
        }
    }

    /// No more will be sent.
    pub(super) async fn shut(&mut self) {
        // The client may be gone: then there is nobody to tell.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
            Self::Stream(_) => Ok(()),
        };
    }
}

async fn write_all(stream: &TcpStream, bytes: &[u8]) -> io::Result<bool> {
    let mut rest = bytes;
    let mut waited = false;
    while !rest.is_empty() {
        match stream.try_write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                waited = true;
                stream.writable().await?;
            }
            Err(e) => return Err(e),
        }
    }
    Ok(waited)
}
