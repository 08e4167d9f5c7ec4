//! What goes on the wire: bytes with their framing, and where in them the tokens of a chunk are complete.

use crate::profile::Wire;

/// The payload of one write and the bytes around it, reused from write to write.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    /// What the protocol says.
    pub payload: Vec<u8>,
    /// What goes on the wire.
    pub wire: Vec<u8>,
    /// Bytes of the wire that are status line and headers.
    head: usize,
    /// Where the first payload begins.
    said_from: Option<usize>,
    /// Behind which byte so many tokens are there.
    marks: Vec<(usize, u32)>,
}

/// How the body of a streamed answer is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Chunked transfer coding.
    Chunked,
    /// By closing the connection (HTTP/1.0).
    UntilClose,
    /// By the frames of HTTP/2.
    Frames,
}

impl Buffers {
    /// What has been put on the wire so far is the head.
    pub(super) fn end_head(&mut self) {
        self.head = self.wire.len();
    }

    /// Moves the payload to the wire, framed; nothing for an empty payload. `tokens` are complete with it.
    pub(super) fn frame(&mut self, framing: Framing, tokens: u32) {
        if self.payload.is_empty() {
            return;
        }
        if framing == Framing::Chunked {
            let mut digits = [0; 16];
            let hex = hex(self.payload.len(), &mut digits);
            self.wire.extend_from_slice(hex);
            self.wire.extend_from_slice(b"\r\n");
        }
        self.said_from.get_or_insert(self.wire.len());
        self.wire.append(&mut self.payload);
        self.mark(tokens);
        if framing == Framing::Chunked {
            self.wire.extend_from_slice(b"\r\n");
        }
    }

    /// So many tokens are there with what is on the wire so far.
    pub(super) fn mark(&mut self, tokens: u32) {
        if tokens > 0 {
            self.marks.push((self.wire.len(), tokens));
        }
    }

    /// The end of the body.
    pub(super) fn finish(&mut self, framing: Framing) {
        if framing == Framing::Chunked {
            self.wire.extend_from_slice(b"0\r\n\r\n");
        }
    }

    /// Tokens complete within `from..to`.
    pub(super) fn tokens(&self, from: usize, to: usize) -> u32 {
        let within = |end: usize| from < end && end <= to;
        self.marks.iter().filter(|(end, _)| within(*end)).map(|(_, tokens)| tokens).sum()
    }

    /// Where the parts are that a plan cuts.
    pub(super) fn parts(&self) -> Parts {
        Parts { head: self.head, said_from: self.said_from.unwrap_or(self.head), len: self.wire.len() }
    }

    /// Everything was sent.
    pub(super) fn clear(&mut self) {
        self.wire.clear();
        self.marks.clear();
        (self.head, self.said_from) = (0, None);
    }
}

/// The parts of one write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    /// Bytes of the head.
    pub head: usize,
    /// Where the first payload begins.
    pub said_from: usize,
    /// All bytes.
    pub len: usize,
}

/// Whether chunk `n` (from 0) of `of` ends a write.
pub(super) fn ends_write(wire: &Wire, n: usize) -> bool {
    (n + 1).is_multiple_of(wire.chunks_per_write.max(1) as usize)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_hexadecimal() {
        for n in [0, 1, 15, 16, 255, 4096, 123_456_789] {
            assert_eq!(hex(n, &mut [0; 16]), format!("{n:x}").as_bytes());
        }
    }

    #[test]
    fn tokens_stand_where_their_chunk_is_complete() {
        let mut buffers = Buffers::default();
        buffers.wire.extend_from_slice(b"head");
        buffers.end_head();
        for (text, tokens) in [("ab", 1), ("cd", 2)] {
            buffers.payload.extend_from_slice(text.as_bytes());
            buffers.frame(Framing::Chunked, tokens);
        }
        assert_eq!(buffers.wire, b"head2\r\nab\r\n2\r\ncd\r\n");
        let parts = buffers.parts();
        assert_eq!((parts.head, parts.said_from, parts.len), (4, 7, 18));
        let each: Vec<u32> = (0..18).map(|i| buffers.tokens(i, i + 1)).collect();
        assert_eq!((each[8], each[15], each.iter().sum::<u32>()), (1, 2, 3));
    }
}
