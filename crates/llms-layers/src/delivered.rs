//! Whether a stream has delivered content: from then on another attempt would say things twice.

use std::task::{Context, Poll};

use llms_core::{EventSink, Stamp, StreamEvent};

/// Passes events on and notes whether one carried content.
pub(crate) struct Delivered<'s> {
    pub(crate) sink: &'s mut dyn EventSink,
    pub(crate) content: bool,
}

impl<'s> Delivered<'s> {
    pub(crate) fn new(sink: &'s mut dyn EventSink) -> Self {
        Self { sink, content: false }
    }
}

impl EventSink for Delivered<'_> {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        self.content |= event.is_token();
        self.sink.event(event, stamp);
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sink.poll_ready(cx)
    }
}
