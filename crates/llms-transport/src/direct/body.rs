//! The body of an answer: reads in the task that polls it, straight into the caller's buffer, and takes the
//! transfer coding off there. No allocation per read.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use llms_core::{
    Error, Result,
    event::Stamp,
    wire::{Body, BodyCounters},
};

use super::{Shared, socket::Socket};
use crate::{
    fail,
    http1::{BodyDecoder, Framing},
    target::Origin,
};

/// Room made in the caller's buffer before a read: doubled when a read has filled it, so that streams of small
/// chunks stay small (10,000 of them are a target) and large bodies take few reads.
const ROOM: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;

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
    room: usize,
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
            // A long stream does not hold on to the buffer of its head.
            rest: if rest.is_empty() { Vec::new() } else { rest },
            head,
            counters: BodyCounters::default(),
            counted: None,
            room: *ROOM.start(),
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
        if let (Some(socket), Some((shared, origin)), true) = (self.socket.take(), self.home.take(), clean) {
            let now = socket.now();
            shared.pool.put(origin, socket, now);
        }
    }

    /// Fetches bytes to the end of `buf`: what came with the head, else one read. `None` at the end.
    fn poll_fetch(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        if !self.rest.is_empty() {
            buf.append(&mut std::mem::take(&mut self.rest));
            return Poll::Ready(Ok(Some(self.head)));
        }
        let Some(socket) = &mut self.socket else { return Poll::Ready(Err(fail::body_spent())) };
        let spare = buf.capacity() - buf.len();
        if spare < self.room {
            buf.reserve(self.room);
        }
        let spare = buf.capacity() - buf.len();
        match ready!(socket.poll_append(cx, buf)) {
            Ok(0) => Poll::Ready(Ok(None)),
            Ok(n) => {
                if n == spare {
                    self.room = (self.room * 2).min(*ROOM.end());
                }
                let read = socket.read_number().wrapping_sub(self.origin);
                Poll::Ready(Ok(Some(socket.stamp(read))))
            }
            Err(e) => Poll::Ready(Err(fail::body_broke(e))),
        }
    }

    fn count(&mut self, payload: usize, read: u32) {
        self.counters.bytes += payload as u64;
        if self.counted != Some(read) {
            self.counted = Some(read);
            self.counters.reads += 1;
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
            let start = buf.len();
            let Some(stamp) = (match ready!(self.poll_fetch(cx, buf)) {
                Ok(stamp) => stamp,
                Err(error) => return self.fail(error),
            }) else {
                if let Err(how) = self.decoder.end() {
                    return self.fail(fail::body_cut(&how));
                }
                self.socket = None;
                continue;
            };
            let given = buf.len() - start;
            let decoded = self.decoder.decode(&mut buf[start..]);
            buf.truncate(start + decoded.payload);
            if self.decoder.is_complete() {
                self.release(decoded.used == given);
            }
            self.fault = self.decoder.fault().map(fail::malformed_body);
            if decoded.payload > 0 {
                self.count(decoded.payload, stamp.read);
                return Poll::Ready(Ok(Some(stamp)));
            }
        }
    }

    fn counters(&self) -> BodyCounters {
        self.counters
    }
}
