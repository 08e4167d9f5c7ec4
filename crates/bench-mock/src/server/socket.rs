//! A connection's socket that knows when the kernel took its last bytes in: how late this program reads is then no part of the
//! truth about when a request arrived.
//!
//! On Linux each read brings the kernel's stamp of the last segment it took (`SO_TIMESTAMPNS`, inherited from the listener),
//! which is wall time and is brought onto the monotonic clock by the two clocks' readings at that moment. Elsewhere, and where
//! the stamp makes no sense (the wall clock was set in between), the instant of the read stands for it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use llms_core::time::{Clock, RealClock, Timestamp};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Beyond this a stamp is of a clock that was set, not of bytes that waited.
#[cfg(target_os = "linux")]
const OLDEST: Duration = Duration::from_secs(60);

/// A TCP connection and the arrival of what was read last.
pub(super) struct Socket {
    tcp: TcpStream,
    arrived: Timestamp,
}

/// Asks the kernel to stamp what comes to the connections of this listener. One that does not is not an error: the instants of
/// reads stand in.
pub(super) fn stamp_arrivals(listener: &tokio::net::TcpListener) {
    #[cfg(target_os = "linux")]
    let _ = kernel::stamp(listener);
    #[cfg(not(target_os = "linux"))]
    let _ = listener;
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, arrived: RealClock.now() }
    }

    /// The connection.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// When the last bytes that were read came in.
    pub(super) fn arrived(&self) -> Timestamp {
        self.arrived
    }

    /// Reads what is there into `buf`, which has room.
    #[cfg(target_os = "linux")]
    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let tcp = &self.tcp;
        let (n, wall) = tcp.try_io(tokio::io::Interest::READABLE, || kernel::receive(tcp, buf))?;
        self.arrived = monotonic(wall.unwrap_or_default());
        Ok(n)
    }

    #[cfg(not(target_os = "linux"))]
    fn read_now(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.tcp.try_read(buf)?;
        self.arrived = RealClock.now();
        Ok(n)
    }
}

/// The two system calls, which no safe wrapper in our graph has with this control message. The client has its own
/// (`llms-transport`), so that one mistake cannot be on both sides of a comparison.
#[cfg(target_os = "linux")]
mod kernel {
    #![allow(unsafe_code, reason = "setsockopt and recvmsg for a control message that safe wrappers lack")]

    use std::{io, mem, os::fd::AsRawFd, ptr, time::Duration};

    /// Room for one control message with a timespec, and more: 32 bytes are asked for.
    #[repr(C, align(8))]
    struct Control([u8; 64]);

    pub(super) fn stamp(socket: &impl AsRawFd) -> io::Result<()> {
        let on: libc::c_int = 1;
        let size = mem::size_of_val(&on) as libc::socklen_t;
        // SAFETY: an open descriptor and an option value of the size given.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                (&raw const on).cast(),
                size,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Bytes read, and the wall time at which the kernel took in the last of them, if it tells.
    pub(super) fn receive(socket: &impl AsRawFd, buf: &mut [u8]) -> io::Result<(usize, Option<Duration>)> {
        let mut control = Control([0; 64]);
        let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        // SAFETY: all fields of a msghdr are integers and pointers, for which zero is valid.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = mem::size_of::<Control>() as _;
        // SAFETY: the message points to `buf` and `control`, both exclusively borrowed and of the lengths given.
        let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
        let Ok(read) = usize::try_from(read) else { return Err(io::Error::last_os_error()) };
        // SAFETY: the kernel has put well-formed control messages where the header says, within `control`.
        let stamp = unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const message);
            let ours = !first.is_null()
                && (*first).cmsg_level == libc::SOL_SOCKET
                && (*first).cmsg_type == libc::SCM_TIMESTAMPNS;
            ours.then(|| ptr::read_unaligned(libc::CMSG_DATA(first).cast::<libc::timespec>()))
        };
        let whole = |t: libc::timespec| {
            Some(Duration::new(u64::try_from(t.tv_sec).ok()?, u32::try_from(t.tv_nsec).ok()?))
        };
        Ok((read, stamp.and_then(whole)))
    }
}

/// A stamp of the wall clock on the monotonic one: as long ago as it is by the wall clock now.
#[cfg(target_os = "linux")]
fn monotonic(wall: Duration) -> Timestamp {
    use std::time::{SystemTime, UNIX_EPOCH};
    let now = RealClock.now();
    let Ok(wall_now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return now };
    let ago = wall_now.checked_sub(wall).filter(|ago| *ago < OLDEST);
    ago.map_or(now, |ago| now - ago)
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(this.tcp.poll_read_ready(cx))?;
            match this.read_now(buf.initialize_unfilled()) {
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(e) => return Poll::Ready(Err(e)),
                Ok(n) => {
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::Write;

    use tokio::io::AsyncReadExt;

    use super::*;

    /// What was sent before the server got round to reading it arrived when it was sent.
    #[tokio::test]
    async fn the_arrival_is_not_the_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        stamp_arrivals(&listener);
        let mut client =
            std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let mut socket = Socket::new(listener.accept().await.expect("a connection").0);
        // The first socket of a machine that asks for stamps gets them a moment later.
        std::thread::sleep(Duration::from_millis(50));
        let before = RealClock.now();
        client.write_all(b"ask").expect("sent");
        let after = RealClock.now();
        std::thread::sleep(Duration::from_millis(50));
        let mut buf = [0; 8];
        assert_eq!(socket.read(&mut buf).await.expect("read"), 3);
        let slack = Duration::from_millis(20);
        assert!(
            before <= socket.arrived() + slack && socket.arrived() <= after + slack,
            "{before:?} {:?} {after:?}",
            socket.arrived()
        );
    }

    #[test]
    fn a_stamp_of_a_clock_that_was_set_is_not_believed() {
        for wall in [Duration::ZERO, Duration::from_secs(1 << 40)] {
            let before = RealClock.now();
            assert!(before <= monotonic(wall));
        }
    }
}
