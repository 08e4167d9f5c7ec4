//! Takes the transfer coding off a body, in place.

use super::{Framing, Malformed, chunked::Chunked};

/// Decodes one body. Feed it the bytes as they arrive; it moves the payload to their front.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// Chunks begun, of a chunked body.
    chunks: Option<u64>,
}

#[derive(Debug)]
enum State {
    /// Bytes still missing, more than 0; of how many.
    Length {
        left: u64,
        total: u64,
    },
    Chunked(Chunked),
    Close,
    Complete,
    Broken(Malformed),
}

/// What a piece of a body came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Payload bytes, now at the front of the piece.
    pub payload: usize,
    /// Bytes that belonged to this body. Fewer than given only when the body is complete (what follows is not
    /// its business) or broken.
    pub used: usize,
}

impl BodyDecoder {
    /// A decoder for a body framed like this.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Complete,
            Framing::Length(total) => State::Length { left: total, total },
            Framing::Chunked => State::Chunked(Chunked::default()),
            Framing::Close => State::Close,
        };
        Self { state, chunks: (framing == Framing::Chunked).then_some(0) }
    }

    /// Decodes the next bytes, moving their payload to the front. Payload before a fault is still delivered;
    /// ask [`fault`](Self::fault) afterwards.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Decoded {
        if let State::Chunked(chunked) = &mut self.state {
            let (decoded, fault) = chunked.decode(bytes);
            return self.settle(decoded, fault);
        }
        self.decode_plain(bytes.len())
    }

    /// The same, appending the payload to `out`: copied once where [`decode`](Self::decode) would leave a second copy to
    /// the caller.
    pub fn decode_into(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Decoded {
        if let State::Chunked(chunked) = &mut self.state {
            let (decoded, fault) = chunked.decode_into(bytes, out);
            return self.settle(decoded, fault);
        }
        let decoded = self.decode_plain(bytes.len());
        out.extend_from_slice(&bytes[..decoded.payload]);
        decoded
    }

    /// After a piece of a chunked body.
    fn settle(&mut self, decoded: Decoded, fault: Option<Malformed>) -> Decoded {
        if let State::Chunked(chunked) = &self.state {
            self.chunks = Some(chunked.begun());
            if let Some(fault) = fault {
                self.state = State::Broken(fault);
            } else if chunked.is_complete() {
                self.state = State::Complete;
            }
        }
        decoded
    }

    /// So many bytes of a body without coding, which are their own payload.
    fn decode_plain(&mut self, available: usize) -> Decoded {
        match &mut self.state {
            State::Length { left, .. } => {
                let n = available.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= n as u64;
                if *left == 0 {
                    self.state = State::Complete;
                }
                Decoded { payload: n, used: n }
            }
            State::Close => Decoded { payload: available, used: available },
            State::Chunked(_) | State::Complete | State::Broken(_) => Decoded { payload: 0, used: 0 },
        }
    }

    /// Whether the whole body has been decoded.
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    /// Chunks begun so far, the empty last one left out; `None` when the body is not chunked.
    pub fn chunks(&self) -> Option<u64> {
        self.chunks
    }

    /// What is wrong with the coding, once something is.
    pub fn fault(&self) -> Option<&Malformed> {
        match &self.state {
            State::Broken(fault) => Some(fault),
            _ => None,
        }
    }

    /// The connection closed. Completes a body that ends this way.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn end(&mut self) -> Result<(), String> {
        match &self.state {
            State::Close => self.state = State::Complete,
            State::Complete => {}
            State::Length { left, total } => {
                return Err(format!("after {} of {total} bytes of the body", total - left));
            }
            State::Chunked(chunked) => return Err(chunked.missing()),
            State::Broken(fault) => return Err(format!("after a broken body: {fault}")),
        }
        Ok(())
    }
}
