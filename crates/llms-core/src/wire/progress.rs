//! Where a call is, and what its observer is told on the way: shared by all models that talk to a network.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use crate::{
    context::CallContext,
    error::CallPhase,
    event::{EventSink, Stamp, StreamEvent},
    observe::{CallEvent, CallObserver},
};

/// Where a call is, so that a deadline or cancellation can say what it interrupted: it listens to the transport
/// and passes everything on.
pub struct Progress {
    phase: AtomicU8,
    observer: Option<Arc<dyn CallObserver>>,
}

const PHASES: [CallPhase; 6] = [
    CallPhase::Prepare,
    CallPhase::Connect,
    CallPhase::Send,
    CallPhase::Headers,
    CallPhase::Body,
    CallPhase::Stream,
];

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("phase", &self.get()).finish_non_exhaustive()
    }
}

impl Progress {
    /// Before anything was sent; events go on to the observer of `ctx`.
    pub fn new(ctx: &CallContext) -> Arc<Self> {
        Arc::new(Self { phase: AtomicU8::new(0), observer: ctx.observer.clone() })
    }

    /// The call is in `phase` now.
    pub fn set(&self, phase: CallPhase) {
        self.phase.store(PHASES.iter().position(|p| *p == phase).unwrap_or(0) as u8, Relaxed);
    }

    /// Where the call is.
    pub fn get(&self) -> CallPhase {
        PHASES[usize::from(self.phase.load(Relaxed))]
    }
}

impl CallObserver for Progress {
    fn observe(&self, event: &CallEvent<'_>) {
        match event {
            CallEvent::Connecting { .. } => self.set(CallPhase::Connect),
            CallEvent::Connected(_) => self.set(CallPhase::Send),
            CallEvent::Written { .. } => self.set(CallPhase::Headers),
            _ => {}
        }
        if let Some(observer) = &self.observer {
            observer.observe(event);
        }
    }
}

/// A sink that tells an observer of the first token, and of every chunk when it wants them. Use [`watched`].
pub struct Watch<'s> {
    inner: &'s mut dyn EventSink,
    observer: &'s dyn CallObserver,
    chunks: bool,
    last: Option<Stamp>,
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").field("last", &self.last).finish_non_exhaustive()
    }
}

/// `sink` watched for the observer of `ctx`; `sink` itself when there is none. `room` holds the wrapper.
pub fn watched<'s>(
    sink: &'s mut dyn EventSink,
    ctx: &'s CallContext,
    room: &'s mut Option<Watch<'s>>,
) -> &'s mut dyn EventSink {
    match &ctx.observer {
        None => sink,
        Some(observer) => {
            let chunks = observer.wants_chunks();
            room.insert(Watch { inner: sink, observer: &**observer, chunks, last: None })
        }
    }
}

impl EventSink for Watch<'_> {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        if (self.last.is_none() || self.chunks) && event.is_token() {
            if self.last.is_none() {
                self.observer.observe(&CallEvent::FirstToken { stamp });
            }
            if self.chunks {
                self.observer.observe(&CallEvent::Chunk { stamp });
            }
            self.last = Some(stamp);
        }
        self.inner.event(event, stamp);
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_ready(cx)
    }
}
