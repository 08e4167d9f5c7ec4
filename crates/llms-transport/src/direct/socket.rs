//! The stamped socket: the one place where bytes come in, and where each read gets its stamp, below TLS too.
//!
//! Kernel receive stamps (`recvmsg` with `SO_TIMESTAMPNS`) belong into [`Tcp::poll_read`], the only reader of
//! the socket: it would fill [`Arrival::kernel`], and nothing else changes.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use llms_core::{
    event::Stamp,
    time::{SharedClock, Timestamp},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

/// Probes of an idle peer: first after this much silence, then at this interval. A vanished host must not look
/// like a slow model for ever.
#[cfg(unix)]
const KEEPALIVE: Duration = Duration::from_secs(15);

/// When the latest read brought bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Arrival {
    user: Timestamp,
    kernel: Option<Timestamp>,
}

/// A TCP connection that notes the instant of each read.
#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    clock: SharedClock,
    latest: Arrival,
    /// Reads that brought bytes, over the life of the connection, modulo 2^32.
    reads: u32,
}

impl Tcp {
    pub(super) fn new(stream: TcpStream, clock: SharedClock) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(unix)]
        {
            use rustix::net::sockopt;
            sockopt::set_socket_keepalive(&stream, true)?;
            sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
            sockopt::set_tcp_keepintvl(&stream, KEEPALIVE)?;
            sockopt::set_tcp_keepcnt(&stream, 3)?;
        }
        Ok(Self { stream, clock, latest: Arrival::default(), reads: 0 })
    }

    /// Whether nothing has arrived since the last read. Asks the kernel, not the reactor, whose knowledge may
    /// be one turn old. `None`: bytes wait to be read.
    fn is_silent(&self) -> Option<bool> {
        #[cfg(unix)]
        {
            use rustix::{
                io::Errno,
                net::{RecvFlags, recv},
            };
            match recv(&self.stream, &mut [0_u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
                Err(Errno::AGAIN) => Some(true),
                Ok((_, n)) if n > 0 => None,
                Ok(_) | Err(_) => Some(false),
            }
        }
        #[cfg(not(unix))]
        None
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut me.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            me.latest = Arrival { user: me.clock.now(), kernel: None };
            me.reads = me.reads.wrapping_add(1);
        }
        Poll::Ready(Ok(()))
    }
}

/// Hands writing through to a field or variant.
macro_rules! write_through {
    ($type:ty, $me:ident => $inner:expr) => {
        impl AsyncWrite for $type {
            fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                let $me = self.get_mut();
                $inner.poll_write(cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                let $me = self.get_mut();
                $inner.poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $me = self.get_mut();
                $inner.poll_flush(cx)
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                let $me = self.get_mut();
                $inner.poll_shutdown(cx)
            }
        }
    };
}

write_through!(Tcp, me => Pin::new(&mut me.stream));

/// A connection, plain or encrypted.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(Tcp),
    Tls(Box<TlsStream<Tcp>>),
}

impl Socket {
    fn tcp(&self) -> &Tcp {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    fn tcp_mut(&mut self) -> &mut Tcp {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0,
        }
    }

    /// From now on stamps are read from this clock.
    pub(super) fn set_clock(&mut self, clock: &SharedClock) {
        self.tcp_mut().clock.clone_from(clock);
    }

    pub(super) fn now(&self) -> Timestamp {
        self.tcp().clock.now()
    }

    /// Number of the latest socket read over the life of the connection; what is read without the number
    /// changing (decrypted earlier, delivered now) came with that same read.
    pub(super) fn read_number(&self) -> u32 {
        self.tcp().reads
    }

    /// Stamp of the latest socket read, as read number `read` of a response.
    pub(super) fn stamp(&self, read: u32) -> Stamp {
        let Arrival { user, kernel } = self.tcp().latest;
        Stamp { user, kernel, read }
    }

    /// Appends to `buf` what is there, at most its spare capacity; 0 at the end of the connection. Never
    /// allocates: make room first. On a plain connection one socket read; under TLS those that complete a record.
    pub(super) fn poll_append(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        debug_assert!(buf.capacity() > buf.len(), "a read without room would look like the end");
        pin!(self.read_buf(buf)).poll(cx)
    }

    /// Whether an idle connection can take a request: the server has not closed it, nor sent anything unasked.
    pub(super) fn is_alive(&mut self) -> bool {
        match self.tcp().is_silent() {
            Some(silent) => silent,
            None if cfg!(unix) && matches!(self, Self::Plain(_)) => false,
            // TLS may have something of its own to say (session tickets) on a healthy connection.
            None => {
                let mut byte = [0; 1];
                let mut cx = Context::from_waker(Waker::noop());
                Pin::new(self).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(&mut **tls).poll_read(cx, buf),
        }
    }
}

impl Socket {
    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Unpin + Send)> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp),
            Self::Tls(tls) => Pin::new(&mut **tls),
        }
    }
}

write_through!(Socket, me => me.writer());
