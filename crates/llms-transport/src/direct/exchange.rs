//! Writes one request and reads the head of its answer, in one task and as soon as either is possible.
//!
//! An answer that comes while the request is still being written (a refusal of a large body) is read, even when
//! the server then closes: it must not be reported as a broken pipe.

use std::{
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, buf::Chain};
use llms_core::{CallContext, Error, event::Stamp, observe::CallEvent};
use tokio::io::AsyncWrite;

use super::{scratch, socket::Socket};
use crate::{
    fail,
    http1::{HeadParser, ResponseHead},
};

/// The head of an answer, and what came with it.
pub(super) struct Answer {
    pub(super) head: ResponseHead,
    /// Of the read that completed the head: read 0 of the response.
    pub(super) stamp: Stamp,
    /// Bytes of the body that came with the head, coding included.
    pub(super) rest: Vec<u8>,
    /// Whether the request was written to its end; else the connection is of no further use.
    pub(super) sent_whole: bool,
}

/// Why there is no answer.
pub(super) struct Failure {
    pub(super) error: Error,
    /// The other side has gone and not one byte came back: on a reused connection, reason to send once more.
    pub(super) silent: bool,
}

pub(super) async fn exchange(
    socket: &mut Socket,
    head: &[u8],
    body: &[u8],
    to_head_request: bool,
    whom: &str,
    ctx: &CallContext,
) -> Result<Answer, Failure> {
    socket.set_clock(&ctx.clock);
    let mut exchange = Exchange {
        socket,
        whom,
        ctx,
        total: head.len() as u64 + body.len() as u64,
        out: head.chain(body),
        sending: Sending::Ready,
        received: Vec::new(),
        parser: HeadParser::new(to_head_request),
        head: None,
    };
    poll_fn(|cx| exchange.poll(cx)).await
}

struct Exchange<'a> {
    socket: &'a mut Socket,
    whom: &'a str,
    ctx: &'a CallContext,
    total: u64,
    out: Chain<&'a [u8], &'a [u8]>,
    sending: Sending,
    /// What has come of a head that did not come in one read.
    received: Vec<u8>,
    parser: HeadParser,
    /// A head that is complete while the request is still being written.
    head: Option<Headed>,
}

/// A head, what came with it of the body, and the stamp of the read that completed it.
type Headed = (ResponseHead, Vec<u8>, Stamp);

enum Sending {
    /// Nothing has been written.
    Ready,
    Writing,
    Flushing,
    Done,
    /// It will not get further; an answer may still be readable.
    Failed(Option<io::Error>),
}

impl Exchange<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Failure>> {
        let sending = self.poll_send(cx);
        if self.head.is_none() {
            match ready!(self.poll_head(cx)) {
                Ok(head) => self.head = Some(head),
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
        // A refusal ends the sending; a server that begins a good answer early still wants the rest.
        if sending.is_pending() && self.head.as_ref().is_some_and(|(head, ..)| head.status < 400) {
            return Poll::Pending;
        }
        let Some((head, rest, stamp)) = self.head.take() else { return Poll::Pending };
        Poll::Ready(Ok(Answer { head, stamp, rest, sent_whole: matches!(self.sending, Sending::Done) }))
    }

    /// Ready when nothing is left to send, or sending has failed.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let step = match self.sending {
                Sending::Ready => {
                    self.sending = Sending::Writing;
                    let at = self.socket.now();
                    self.ctx.emit(|| CallEvent::Writing { at });
                    continue;
                }
                Sending::Done | Sending::Failed(_) => return Poll::Ready(()),
                Sending::Writing => {
                    let mut slices = [IoSlice::new(&[]); 2];
                    let n = self.out.chunks_vectored(&mut slices);
                    Pin::new(&mut *self.socket).poll_write_vectored(cx, &slices[..n])
                }
                Sending::Flushing => Pin::new(&mut *self.socket).poll_flush(cx).map_ok(|()| 0),
            };
            match (ready!(step), &self.sending) {
                (Ok(0), Sending::Writing) => {
                    self.sending = Sending::Failed(Some(io::ErrorKind::WriteZero.into()));
                }
                (Ok(n), Sending::Writing) => {
                    self.out.advance(n);
                    if !self.out.has_remaining() {
                        self.sending = Sending::Flushing;
                    }
                }
                (Ok(_), _) => {
                    self.sending = Sending::Done;
                    let (at, bytes) = (self.socket.now(), self.total);
                    self.ctx.emit(|| CallEvent::Written { at, bytes });
                }
                (Err(e), _) => self.sending = Sending::Failed(Some(e)),
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Headed, Failure>> {
        loop {
            if let Sending::Failed(error) = &mut self.sending
                && let Some(e) = error.take_if(|e| !fail::peer_gone(e.kind()))
            {
                // Not the peer's doing, so there is nothing to wait for.
                return Poll::Ready(Err(Failure { error: fail::send(self.whom, e), silent: false }));
            }
            match ready!(scratch::with(|buf| self.poll_parse(cx, buf))) {
                Ok(None) => {}
                Ok(Some(headed)) => return Poll::Ready(Ok(headed)),
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
    }

    /// One read, parsed where it lies; nearly every head comes whole, and is not copied.
    fn poll_parse(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<Result<Option<Headed>, Failure>> {
        let read = match ready!(self.socket.poll_receive(cx, buf)) {
            Ok(n) if n > 0 => &buf[..n],
            ended => return Poll::Ready(Err(self.no_answer(ended.err()))),
        };
        let seen = if self.received.is_empty() {
            read
        } else {
            self.received.extend_from_slice(read);
            &self.received
        };
        Poll::Ready(match self.parser.parse(seen) {
            Ok(Some((head, used))) => Ok(Some((head, seen[used..].to_vec(), self.socket.stamp(0)))),
            Ok(None) => {
                if self.received.is_empty() {
                    self.received.extend_from_slice(read);
                }
                Ok(None)
            }
            Err(fault) => Err(Failure { error: fail::malformed_head(self.whom, fault), silent: false }),
        })
    }

    /// The connection ended, politely (`None`) or not, before the head was complete.
    fn no_answer(&mut self, read_error: Option<io::Error>) -> Failure {
        let nothing = self.received.is_empty();
        if !nothing
            && read_error.is_none()
            && let Err(fault) = self.parser.end(&self.received)
        {
            return Failure { error: fail::malformed_head(self.whom, fault), silent: false };
        }
        let gone = read_error.as_ref().is_none_or(|e| fail::peer_gone(e.kind()));
        let error = match (&mut self.sending, read_error) {
            (Sending::Failed(error), _) if error.is_some() => {
                fail::send(self.whom, error.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into()))
            }
            (_, Some(e)) => fail::headers(self.whom, e),
            (_, None) => fail::closed_in_headers(self.whom, self.received.len()),
        };
        Failure { error, silent: nothing && gone }
    }
}
