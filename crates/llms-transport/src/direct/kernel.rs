//! Kernel receive stamps on Linux: `recvmsg` with `SO_TIMESTAMPNS`. Elsewhere there are none, and this module says so.
//!
//! The stamp is wall time of the *last* segment that a read took; [`super::realtime`] brings it onto the monotonic
//! clock. Bytes reach a socket below TLS, so this serves encrypted connections as well.
//!
//! The only unsafe code of this crate's library: two system calls that no safe wrapper in our graph has with this
//! control message. What the kernel writes is read by safe code ([`wall_stamp`]).
//!
//! Transmit stamps (`SOF_TIMESTAMPING_TX_SOFTWARE`) were weighed and left out; see [`super`].

/// What a read brought.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// Bytes, 0 at the end of the connection.
    pub(super) length: usize,
    /// When the last segment arrived, ns since 1970.
    pub(super) wall: Option<u64>,
}

/// A socket of this process that keeps the kernel stamping: the first such socket of a machine switches stamping on a
/// moment later, and without one that stays it would go on and off with the connections.
#[cfg(unix)]
#[cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "there is none where the kernel does not stamp")
)]
#[derive(Debug)]
pub(super) struct Keeper(#[allow(dead_code, reason = "held for its effect")] std::os::fd::OwnedFd);

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod linux {
    #![allow(unsafe_code, reason = "setsockopt and recvmsg for a control message that safe wrappers lack")]

    use std::{
        io,
        mem::{MaybeUninit, size_of, zeroed},
        os::fd::{AsFd, AsRawFd},
    };

    use super::{Keeper, Received, wall_stamp};

    /// Room for control messages. One of 32 bytes is asked for; what does not fit the kernel leaves out.
    #[repr(C, align(8))]
    struct Control([u8; 64]);

    pub(in super::super) fn enable(socket: &impl AsFd) -> io::Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: a descriptor that is open for the length of the call, and an option value of the size given.
        let done = unsafe {
            libc::setsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(in super::super) fn keeper() -> Option<Keeper> {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).ok()?;
        enable(&socket).ok()?;
        Some(Keeper(socket))
    }

    #[inline]
    pub(in super::super) fn receive(socket: &impl AsFd, buf: &mut [u8]) -> io::Result<Received> {
        let mut control = MaybeUninit::<Control>::uninit();
        let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
        // SAFETY: all fields of a msghdr are integers and pointers, for which zero is valid.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        let length = loop {
            // SAFETY: the message points to `buf` and `control`, both exclusively borrowed and of the lengths given.
            let n = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, 0) };
            if let Ok(length) = usize::try_from(n) {
                break length;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        };
        let written = (message.msg_controllen as usize).min(size_of::<Control>());
        // SAFETY: the kernel has written that many bytes there.
        let control = unsafe { std::slice::from_raw_parts(control.as_ptr().cast::<u8>(), written) };
        Ok(Received { length, wall: wall_stamp(control) })
    }
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(super) use linux::{enable, keeper, receive};

/// Where there are no such stamps: no keeper, therefore nobody enables or receives.
#[cfg(all(unix, not(all(target_os = "linux", target_pointer_width = "64"))))]
mod other {
    use std::{io, os::fd::AsFd};

    use super::{Keeper, Received};

    pub(in super::super) fn keeper() -> Option<Keeper> {
        None
    }

    pub(in super::super) fn enable(_socket: &impl AsFd) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(in super::super) fn receive(_socket: &impl AsFd, _buf: &mut [u8]) -> io::Result<Received> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(unix, not(all(target_os = "linux", target_pointer_width = "64"))))]
pub(super) use other::{enable, keeper, receive};

/// The stamp among control messages, in ns: each a length (header included), a level, a type, then data, and the next
/// at a multiple of 8. Ends at the first message that does not fit, so that nothing in there can make it run on.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn wall_stamp(mut control: &[u8]) -> Option<u64> {
    const HEADER: usize = 16;
    const STAMP: [i32; 2] = [libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS];
    fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
        bytes.get(at..)?.first_chunk().copied()
    }
    loop {
        let length = usize::from_ne_bytes(take(control, 0)?);
        let kind = [i32::from_ne_bytes(take(control, 8)?), i32::from_ne_bytes(take(control, 12)?)];
        let data = control.get(HEADER..length)?;
        if kind == STAMP {
            let seconds = u64::try_from(i64::from_ne_bytes(take(data, 0)?)).ok()?;
            let nanos = u64::try_from(i64::from_ne_bytes(take(data, 8)?)).ok()?;
            // A zero stamp is one the kernel did not take.
            return seconds.checked_mul(1_000_000_000)?.checked_add(nanos).filter(|&ns| ns > 0);
        }
        control = control.get(length.checked_next_multiple_of(8)?..)?;
    }
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;

    const SOCKET: i32 = libc::SOL_SOCKET;
    const NS: i32 = libc::SCM_TIMESTAMPNS;

    /// A control message as the kernel lays it out, padded to a multiple of 8.
    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut m = (16 + data.len()).to_ne_bytes().to_vec();
        m.extend(level.to_ne_bytes());
        m.extend(kind.to_ne_bytes());
        m.extend(data);
        m.resize(m.len().next_multiple_of(8), 0);
        m
    }

    fn stamp(seconds: i64, nanos: i64) -> Vec<u8> {
        message(SOCKET, NS, &[seconds.to_ne_bytes(), nanos.to_ne_bytes()].concat())
    }

    #[track_caller]
    fn check(control: &[u8], expected: Option<u64>) {
        assert_eq!(wall_stamp(control), expected);
    }

    #[test]
    fn the_stamp_is_found_among_control_messages() {
        check(&stamp(3, 7), Some(3_000_000_007));
        check(&[message(SOCKET, 2, b"abc"), stamp(3, 7)].concat(), Some(3_000_000_007));
        check(&[stamp(1, 0), stamp(2, 0)].concat(), Some(1_000_000_000));
        check(&[], None);
        check(&message(SOCKET, 2, b"abc"), None);
        check(&message(6, NS, &[0; 16]), None);
    }

    #[test]
    fn what_is_no_stamp_ends_the_search() {
        check(&stamp(0, 0), None);
        check(&stamp(-1, 0), None);
        check(&stamp(i64::MAX, 0), None);
        check(&message(SOCKET, NS, &[1; 15]), None);
        // Lengths that would stand still, run backwards, or run out of the buffer.
        for length in [0, 1, 15, usize::MAX, usize::MAX - 7, 33, 40] {
            let mut m = [message(SOCKET, 2, &[0; 16]), stamp(3, 7)].concat();
            m[..8].copy_from_slice(&usize::to_ne_bytes(length));
            check(&m, None);
        }
        let whole = [message(SOCKET, 2, b"abc"), stamp(3, 7)].concat();
        for cut in 0..whole.len() {
            check(&whole[..cut], None);
        }
    }
}
