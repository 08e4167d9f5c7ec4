//! The body of an answer as reqwest streams it: one frame of hyper's counts as one read. Frames that shared a
//! socket read cannot be told apart here.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_core::Stream;
use llms_core::{
    Result,
    event::Stamp,
    time::SharedClock,
    wire::{Body, BodyCounters},
};

use super::{is_incomplete, is_malformed};
use crate::fail;

type Frames = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

pub(super) struct PooledBody {
    /// Gone at the end, and after an error.
    frames: Option<Frames>,
    clock: SharedClock,
    counters: BodyCounters,
    failed: bool,
}

impl PooledBody {
    pub(super) fn new(response: reqwest::Response, clock: SharedClock) -> Self {
        let frames: Frames = Box::pin(response.bytes_stream());
        Self { frames: Some(frames), clock, counters: BodyCounters::default(), failed: false }
    }
}

impl Body for PooledBody {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        if self.failed {
            return Poll::Ready(Err(fail::body_spent()));
        }
        while let Some(frames) = &mut self.frames {
            match ready!(frames.as_mut().poll_next(cx)) {
                None => self.frames = None,
                Some(Ok(frame)) if frame.is_empty() => {}
                Some(Ok(frame)) => {
                    let at = self.clock.now();
                    buf.extend_from_slice(&frame);
                    self.counters.bytes += frame.len() as u64;
                    self.counters.reads += 1;
                    // The head has number 0; whether it shared its read with the first frame is unknown.
                    return Poll::Ready(Ok(Some(Stamp::user(at, self.counters.reads))));
                }
                Some(Err(error)) => {
                    self.frames = None;
                    self.failed = true;
                    return Poll::Ready(Err(explain(error.without_url())));
                }
            }
        }
        Poll::Ready(Ok(None))
    }

    fn counters(&self) -> BodyCounters {
        self.counters
    }
}

fn explain(error: reqwest::Error) -> llms_core::Error {
    if is_malformed(&error) {
        fail::malformed_body(fail::root_cause(&error)).with_source(error)
    } else if is_incomplete(&error) {
        fail::body_cut("before the end of the body").with_source(error)
    } else {
        fail::body_broke(error)
    }
}
