//! The stamped socket: the one place where bytes come in, and where each read gets its stamps, below TLS too.
//!
//! [`Tcp::poll_receive`] is the only reader of the socket: one system call a read, which brings the bytes and, on Linux,
//! the kernel's receive stamp of the last segment among them ([`super::kernel`]); the user-space stamp is taken when it
//! returns. Where the kernel does not stamp there is only the latter, and the connection says so.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use llms_core::{
    event::Stamp,
    time::{SharedClock, Timestamp},
    wire::StampSource,
};
#[cfg(unix)]
use tokio::io::Interest;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{
    kernel::{self, Received},
    meter::{Meter, Tally},
};

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
    meter: Arc<Meter>,
    /// Whether the kernel stamps what arrives here.
    stamped: bool,
    latest: Arrival,
    /// What arrives has arrived after this: the latest kernel stamp, at first the opening of the connection.
    earliest: Timestamp,
    /// Reads that brought bytes, over the life of the connection, modulo 2^32.
    reads: u32,
    /// Not yet in the meter.
    tally: Tally,
}

impl Tcp {
    pub(super) fn new(
        stream: TcpStream,
        clock: SharedClock,
        opened: Timestamp,
        meter: Arc<Meter>,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(unix)]
        {
            use rustix::net::sockopt;
            sockopt::set_socket_keepalive(&stream, true)?;
            sockopt::set_tcp_keepidle(&stream, KEEPALIVE)?;
            sockopt::set_tcp_keepintvl(&stream, KEEPALIVE)?;
            sockopt::set_tcp_keepcnt(&stream, 3)?;
        }
        #[cfg(unix)]
        let stamped = meter.stamps() == StampSource::Kernel && kernel::enable(&stream).is_ok();
        #[cfg(not(unix))]
        let stamped = false;
        Ok(Self {
            stream,
            clock,
            meter,
            stamped,
            latest: Arrival::default(),
            earliest: opened,
            reads: 0,
            tally: Tally::default(),
        })
    }

    /// One read, stamped; 0 at the end of the connection.
    #[inline]
    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Received { length, wall } = if self.stamped {
            ready!(self.poll_receive_stamped(cx, buf))?
        } else {
            let mut buf = ReadBuf::new(buf);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            self.tally.calls += 1;
            Received { length: buf.filled().len(), wall: None }
        };
        if length > 0 {
            let user = self.clock.now();
            // Kernel stamps lie on the machine's clock, and are of no meaning on another.
            let kernel = wall
                .filter(|_| self.clock.is_real())
                .and_then(|wall| self.meter.realtime.convert(wall, self.earliest, user));
            if let Some(kernel) = kernel {
                self.earliest = kernel;
                self.tally.stamped += 1;
            }
            self.latest = Arrival { user, kernel };
            self.reads = self.reads.wrapping_add(1);
            self.tally.reads += 1;
            self.tally.bytes += length as u64;
        }
        Poll::Ready(Ok(length))
    }

    /// `recvmsg` once a read. Bytes that did not fill the buffer were all there were: saying so to the reactor (by the
    /// only word it knows, `WouldBlock`) spares the call that would find nothing. What comes meanwhile wakes anew.
    #[cfg(unix)]
    #[inline]
    fn poll_receive_stamped(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<Received>> {
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            let mut got = None;
            let calls = &mut self.tally.calls;
            let tried = self.stream.try_io(Interest::READABLE, || {
                *calls += 1;
                let received = got.insert(kernel::receive(&self.stream, buf)?);
                if (1..buf.len()).contains(&received.length) {
                    Err(io::ErrorKind::WouldBlock.into())
                } else {
                    Ok(())
                }
            });
            match (got, tried) {
                (Some(received), _) => return Poll::Ready(Ok(received)),
                (None, Err(e)) if e.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(e)),
                (None, _) => {}
            }
        }
    }

    #[cfg(not(unix))]
    fn poll_receive_stamped(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<Received>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
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

impl Drop for Tcp {
    fn drop(&mut self) {
        self.meter.add(&mut self.tally);
    }
}

/// What TLS reads through.
impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = ready!(self.get_mut().poll_receive(cx, buf.initialize_unfilled()))?;
        buf.advance(length);
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

    /// The instant that stamps of this connection mean.
    pub(super) fn stamps(&self) -> StampSource {
        if self.tcp().stamped { StampSource::Kernel } else { StampSource::User }
    }

    /// A read of a chunked body brought payload, merged from several chunks or not.
    pub(super) fn count_chunked(&mut self, merged: bool) {
        let tally = &mut self.tcp_mut().tally;
        tally.chunked += 1;
        tally.merged += u64::from(merged);
    }

    /// What was counted so far goes to the meter: an answer has ended.
    pub(super) fn settle(&mut self) {
        let tcp = self.tcp_mut();
        tcp.meter.add(&mut tcp.tally);
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

    /// Fills `buf` from its front with what is there; 0 at the end of the connection. On a plain connection one
    /// socket read; under TLS those that complete a record.
    #[inline]
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        debug_assert!(!buf.is_empty(), "a read without room would look like the end");
        match self {
            Self::Plain(tcp) => tcp.poll_receive(cx, buf),
            Self::Tls(tls) => {
                let mut buf = ReadBuf::new(buf);
                ready!(Pin::new(&mut **tls).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }

    /// Whether an idle connection can take a request: the server has not closed it, nor sent anything unasked.
    pub(super) fn is_alive(&mut self) -> bool {
        match self.tcp().is_silent() {
            Some(silent) => silent,
            None if cfg!(unix) && matches!(self, Self::Plain(_)) => false,
            // TLS may have something of its own to say (session tickets) on a healthy connection.
            None => {
                let mut cx = Context::from_waker(Waker::noop());
                self.poll_receive(&mut cx, &mut [0; 1]).is_pending()
            }
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
