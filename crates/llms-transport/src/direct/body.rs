//! The body of an answer: reads in the task that polls it, into the buffer of the thread ([`scratch`]), takes the
//! transfer coding off there, and appends the payload to the caller's buffer. No allocation per read, and a stream
//! that waits holds no buffer here.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use llms_core::{
    Error, Result,
    event::Stamp,
    wire::{Body, BodyCounters},
};

use super::{Shared, scratch, socket::Socket};
use crate::{
    fail,
    http1::{BodyDecoder, Decoded, Framing},
    target::Origin,
};

pub(super) struct DirectBody {
    /// Gone once the body is complete or has failed.
    socket: Option<Socket>,
    /// Where the connection goes after a complete body, if it may.
    home: Option<(Arc<Shared>, Origin)>,
    decoder: BodyDecoder,
    /// What came with the head, until the first poll.
    rest: Vec<u8>,
    head: Stamp,
    /// The connection's read number of read 0 of this response.
    origin: u32,
    counters: BodyCounters,
    /// Number of the latest read that brought payload.
    counted: Option<u32>,
    /// Chunks of a chunked body before the latest read.
    chunks: u64,
    /// A fault found behind payload that was delivered first.
    fault: Option<Error>,
}

impl DirectBody {
    pub(super) fn new(
        socket: Socket,
        home: Option<(Arc<Shared>, Origin)>,
        framing: Framing,
        rest: Vec<u8>,
        head: Stamp,
    ) -> Self {
        let mut body = Self {
            origin: socket.read_number(),
            socket: Some(socket),
            home,
            decoder: BodyDecoder::new(framing),
            rest,
            head,
            counters: BodyCounters::default(),
            counted: None,
            chunks: 0,
            fault: None,
        };
        if body.decoder.is_complete() {
            let clean = body.rest.is_empty();
            body.release(clean);
        }
        body
    }

    /// Lets the connection go: home after a complete body with nothing behind it, else it is closed.
    fn release(&mut self, clean: bool) {
        if let (Some(mut socket), Some((shared, origin)), true) =
            (self.socket.take(), self.home.take(), clean)
        {
            socket.settle();
            let now = socket.now();
            shared.pool.put(origin, socket, now);
        }
    }

    /// One read, or what came with the head, decoded. `Ok(None)` when it brought no payload.
    fn poll_piece(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        if !self.rest.is_empty() {
            let mut rest = std::mem::take(&mut self.rest);
            let (given, decoded) = (rest.len(), self.decoder.decode(&mut rest));
            rest.truncate(decoded.payload);
            if out.is_empty() {
                // A whole answer in one read is handed over, not copied.
                *out = rest;
            } else {
                out.append(&mut rest);
            }
            return Poll::Ready(Ok(self.took(decoded, given, self.head)));
        }
        scratch::with(|buf| {
            let Some(socket) = &mut self.socket else { return Poll::Ready(Err(fail::body_spent())) };
            match ready!(socket.poll_receive(cx, buf)) {
                Ok(0) => {
                    let ended = self.decoder.end().map_err(|how| fail::body_cut(&how));
                    self.socket = None;
                    Poll::Ready(ended.map(|()| None))
                }
                Ok(n) => {
                    let stamp = socket.stamp(socket.read_number().wrapping_sub(self.origin));
                    let decoded = self.decoder.decode_into(&buf[..n], out);
                    Poll::Ready(Ok(self.took(decoded, n, stamp)))
                }
                Err(e) => Poll::Ready(Err(fail::body_broke(e))),
            }
        })
    }

    /// Keeps the books on a read of `given` bytes; `None` when there was no payload in it.
    fn took(&mut self, decoded: Decoded, given: usize, stamp: Stamp) -> Option<Stamp> {
        if decoded.payload > 0 {
            self.count(decoded.payload, stamp.read);
        }
        if self.decoder.is_complete() {
            self.release(decoded.used == given);
        }
        self.fault = self.decoder.fault().map(fail::malformed_body);
        (decoded.payload > 0).then_some(stamp)
    }

    fn count(&mut self, payload: usize, read: u32) {
        self.counters.bytes += payload as u64;
        if self.counted != Some(read) {
            self.counted = Some(read);
            self.counters.reads += 1;
        }
        if let (Some(chunks), Some(socket)) = (self.decoder.chunks(), &mut self.socket) {
            socket.count_chunked(chunks - self.chunks > 1);
            self.chunks = chunks;
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Result<Option<Stamp>>> {
        self.socket = None;
        Poll::Ready(Err(error))
    }
}

impl Body for DirectBody {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        // A read that brings framing only (the size of a chunk to come) is no news to the caller: read on. The
        // decoder bounds how many there can be.
        loop {
            if self.decoder.is_complete() {
                return Poll::Ready(Ok(None));
            }
            if let Some(fault) = self.fault.take() {
                return self.fail(fault);
            }
            match ready!(self.poll_piece(cx, buf)) {
                Ok(None) => {}
                Ok(stamp) => return Poll::Ready(Ok(stamp)),
                Err(error) => return self.fail(error),
            }
        }
    }

    fn counters(&self) -> BodyCounters {
        self.counters
    }
}
