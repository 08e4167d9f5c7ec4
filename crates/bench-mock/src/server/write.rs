//! Writing answers: one system call a chunk, stamped on both sides.

use std::io;

use llms_core::time::{Clock, RealClock};
use tokio::net::TcpStream;

use crate::truth::Write;

/// The payload of one write and the bytes around it, reused from write to write.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// What the protocol says.
    pub payload: Vec<u8>,
    /// What goes on the wire.
    pub wire: Vec<u8>,
}

/// How the body of a streamed answer is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Chunked transfer coding.
    Chunked,
    /// By closing the connection (HTTP/1.0).
    UntilClose,
}

impl Buffers {
    /// Moves the payload to the wire, framed; nothing for an empty payload.
    pub(super) fn frame(&mut self, framing: Framing) {
        if self.payload.is_empty() {
            return;
        }
        match framing {
            Framing::Chunked => {
                let mut digits = [0; 16];
                let hex = hex(self.payload.len(), &mut digits);
                self.wire.extend_from_slice(hex);
                self.wire.extend_from_slice(b"\r\n");
                self.wire.append(&mut self.payload);
                self.wire.extend_from_slice(b"\r\n");
            }
            Framing::UntilClose => self.wire.append(&mut self.payload),
        }
    }

    /// The end of the body.
    pub(super) fn finish(&mut self, framing: Framing) {
        if framing == Framing::Chunked {
            self.wire.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

fn hex(mut n: usize, digits: &mut [u8; 16]) -> &[u8] {
    let mut at = digits.len();
    while at == digits.len() || n > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[n & 15];
        n >>= 4;
    }
    &digits[at..]
}

/// Sends everything and says when: `before` the first system call, `after` the last. One call unless the
/// client reads too slowly; whether it had to be waited for is the second value.
pub(super) async fn send(stream: &TcpStream, bytes: &[u8], tokens: u32) -> io::Result<(Write, bool)> {
    let before = RealClock.now();
    let mut rest = bytes;
    let mut waited = false;
    loop {
        match stream.try_write(rest) {
            Ok(n) => {
                rest = &rest[n..];
                if rest.is_empty() {
                    return Ok((Write { before, after: RealClock.now(), tokens }, waited));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                waited = true;
                stream.writable().await?;
            }
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for n in [0, 1, 15, 16, 255, 4096, 123_456_789] {
            assert_eq!(hex(n, &mut [0; 16]), format!("{n:x}").as_bytes());
        }
    }
}
