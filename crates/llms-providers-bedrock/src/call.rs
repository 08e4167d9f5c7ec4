//! What one call shares between the side that drives the SDK and the side that serves as its HTTP client.
//!
//! It travels to the HTTP client as an extension of the SDK's request. Our own errors are kept here, because the
//! SDK would bury them in its own; so are the refusal's head and body and the stamps of the frames.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use http::HeaderMap;
use llms_core::{
    CallContext, CallPhase, Error, EventSink, Stamp,
    observe::CallEvent,
    time::Timestamp,
    wire::{BodyCounters, Delivery, progress::Progress, refusal::redact},
};

use crate::{config::Config, frames::FrameLog};

/// One call; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Call(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ctx: CallContext,
    delivery: Delivery,
    config: Arc<Config>,
    /// When the request was handed to the SDK.
    began: Timestamp,
    progress: Arc<Progress>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    /// What our side of the HTTP client failed with.
    pub(crate) error: Option<Error>,
    /// Status and headers of the answer.
    pub(crate) head: Option<Head>,
    /// The body of a refusal, as far as it came.
    pub(crate) refusal: Vec<u8>,
    /// Which read completed which frame.
    pub(crate) frames: FrameLog,
    /// Payload bytes and reads; `None` before the first poll of the body.
    pub(crate) counters: Option<BodyCounters>,
    /// The body is complete.
    pub(crate) ended: bool,
    /// Whether each read must be asked for; see [`Call::poll_with`].
    gated: bool,
    /// One read may be made.
    permit: bool,
    /// The SDK wanted to read and had no permit.
    starved: bool,
}

/// Status and headers of the answer.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
}

impl Head {
    /// Whether the status is outside 200–299.
    pub(crate) fn is_refusal(&self) -> bool {
        !(200..300).contains(&self.status)
    }
}

impl Call {
    /// A call that begins now.
    pub(crate) fn new(ctx: &CallContext, delivery: Delivery, config: Arc<Config>) -> Self {
        let state = State { gated: delivery == Delivery::Stream, ..State::default() };
        Self(Arc::new(Inner {
            ctx: ctx.clone(),
            delivery,
            config,
            began: ctx.now(),
            progress: Progress::new(ctx),
            state: Mutex::new(state),
        }))
    }

    pub(crate) fn ctx(&self) -> &CallContext {
        &self.0.ctx
    }

    pub(crate) fn delivery(&self) -> Delivery {
        self.0.delivery
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// When the request was handed to the SDK.
    pub(crate) fn began(&self) -> Timestamp {
        self.0.began
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the request has left the SDK.
    pub(crate) fn was_sent(&self) -> bool {
        self.phase() != CallPhase::Prepare
    }

    /// Where the call is, so that a deadline or cancellation can say what it interrupted.
    pub(crate) fn phase(&self) -> CallPhase {
        self.0.progress.get()
    }

    pub(crate) fn set_phase(&self, phase: CallPhase) {
        self.0.progress.set(phase);
    }

    /// The context for the transport: the call listens to where it is and passes everything on.
    pub(crate) fn watched(&self) -> CallContext {
        CallContext { observer: Some(self.0.progress.clone()), ..self.0.ctx.clone() }
    }

    /// Payload bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().counters.map_or(0, |c| c.bytes)
    }

    /// Keeps our own error; the first one counts.
    pub(crate) fn fail(&self, error: Error) {
        self.state().error.get_or_insert(error);
    }

    /// The server's request id.
    pub(crate) fn request_id(&self) -> Option<String> {
        let state = self.state();
        let id = state.head.as_ref()?.headers.get("x-amzn-requestid")?;
        Some(redact(id.to_str().ok()?, self.0.config.secrets()))
    }

    /// The stamp of the event that the SDK just yielded.
    pub(crate) fn next_stamp(&self) -> Stamp {
        self.state().frames.next_stamp()
    }

    /// Tells the observer that the body is over, if one began.
    pub(crate) fn end(&self) {
        let Some(counters) = self.state().counters else { return };
        let at = self.0.ctx.now();
        self.0.ctx.emit(|| CallEvent::End { at, bytes: counters.bytes, reads: counters.reads });
    }

    /// From here on reads need no permission.
    pub(crate) fn open_gate(&self) {
        self.state().gated = false;
    }

    /// Polls `step`, which may read from the body through the SDK, asking `sink` before each read: the hook for
    /// back-pressure. The SDK's body has no sight of the sink, so it starves without a permit and is polled again
    /// once the sink is ready.
    pub(crate) fn poll_with<T>(
        &self,
        cx: &mut Context<'_>,
        sink: &mut dyn EventSink,
        mut step: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        loop {
            if let Poll::Ready(out) = step(cx) {
                return Poll::Ready(out);
            }
            if !std::mem::take(&mut self.state().starved) {
                return Poll::Pending;
            }
            ready!(sink.poll_ready(cx));
            self.state().permit = true;
        }
    }
}

impl State {
    /// Whether the body may be read now; notes the wish when not.
    pub(crate) fn may_read(&mut self) -> bool {
        let may = !self.gated || self.permit;
        self.starved = !may;
        may
    }

    /// One read was made.
    pub(crate) fn use_permit(&mut self) {
        self.permit = false;
    }
}
