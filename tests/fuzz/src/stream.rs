//! Drives framer and decoder of a codec over one body, in the order in which `llms-core` does.

use llms_core::{
    ErrorCode, EventSink, Outcome, Result, Stamp, StreamEvent, TimedEvent,
    event::Collector,
    observe::Reported,
    wire::{Codec, Decoder, Frame, Framer},
};

use crate::{
    reads::Reads,
    secret::{check_error, keep_hook},
};

/// What came of one stream.
#[derive(Debug)]
pub struct Run {
    pub events: Vec<StreamEvent<'static>>,
    pub end: Result<Outcome>,
    pub hooks: Vec<(&'static str, Reported)>,
    /// Whether the terminal marker was seen.
    pub complete: bool,
}

impl Run {
    /// What must not depend on how the bytes arrived. Errors by their code: a message may name a place.
    pub fn verdict(&self) -> (&[StreamEvent<'static>], Result<&Outcome, ErrorCode>, String) {
        let end = self.end.as_ref().map_err(llms_core::Error::code);
        // As text: a NaN equals itself there.
        (&self.events, end, format!("{:?}", self.hooks))
    }
}

/// How frames reach the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frames {
    /// As the framer cut them.
    Plain,
    /// Each with white space behind its data that no other frame has: the same JSON, and a shape that no shortcut has
    /// learnt.
    Disguised,
}

/// Reads `body` to its end or to the terminal marker.
pub fn run<C: Codec>(codec: &C, body: &[u8], reads: Reads, frames: Frames) -> Run {
    let (mut framer, mut decoder) = (codec.framer(), codec.decoder());
    let mut timed: Vec<TimedEvent> = Vec::new();
    let read = read_all(&mut framer, &mut decoder, body, reads, frames, &mut timed);
    let complete = decoder.is_complete();
    let mut hooks = Vec::new();
    let end = read.and_then(|()| decoder.finish());
    if end.is_ok() {
        decoder.hooks(&mut |key, value| keep_hook(&mut hooks, key, value));
    }
    Run { events: timed.into_iter().map(|t| t.event).collect(), end, hooks, complete }
}

fn read_all(
    framer: &mut impl Framer,
    decoder: &mut impl Decoder,
    body: &[u8],
    reads: Reads,
    frames: Frames,
    sink: &mut dyn EventSink,
) -> Result<()> {
    let mut count = 0;
    let mut pass = |decoder: &mut dyn Decoder, frame: Frame<'_>| {
        count += 1;
        match frames {
            Frames::Plain => decoder.frame(frame, Stamp::default(), sink),
            Frames::Disguised => {
                let data = disguised(frame.data, count);
                decoder.frame(Frame { data: &data, ..frame }, Stamp::default(), sink)
            }
        }
    };
    for read in reads.of(body) {
        framer.buffer().extend_from_slice(read);
        while let Some(frame) = framer.next_frame()? {
            pass(decoder, frame)?;
            if decoder.is_complete() {
                return Ok(());
            }
        }
    }
    if let Some(frame) = framer.finish()? {
        pass(decoder, frame)?;
    }
    Ok(())
}

/// `data` and the number `n` behind it, written in blanks and tabs.
fn disguised(data: &str, n: u32) -> String {
    let digits = (0..u32::BITS - n.leading_zeros()).map(|bit| if n >> bit & 1 == 0 { ' ' } else { '\t' });
    data.chars().chain(digits).collect()
}

/// Every promise about streams, checked on one body.
pub fn check<C: Codec>(codec: &C, body: &[u8], seed: u8) {
    let whole = run(codec, body, Reads::Whole, Frames::Plain);
    check_run(&whole, body.len());
    for reads in [Reads::Drip, Reads::Drawn(seed)] {
        let other = run(codec, body, reads, Frames::Plain);
        assert_eq!(other.verdict(), whole.verdict(), "in reads of {reads:?}, and in one");
    }
    let slow = run(codec, body, Reads::Whole, Frames::Disguised);
    assert_eq!(slow.verdict(), whole.verdict(), "without shortcuts, and with them");
}

pub fn check_run(run: &Run, body: usize) {
    let mut said = 0;
    let mut collector = Collector::default();
    for event in &run.events {
        match event {
            StreamEvent::Text(t) | StreamEvent::Reasoning(t) => {
                assert!(!t.is_empty(), "an event with empty text: {event:?}");
                said += t.len();
            }
            StreamEvent::ToolCall(d) => said += d.arguments.len(),
            _ => {}
        }
        collector.event(event.clone(), Stamp::default());
    }
    assert!(said <= body, "{said} bytes said in a body of {body}");
    match &run.end {
        Err(error) => check_error(error),
        Ok(outcome) => {
            assert!(run.complete, "a stream that ended well without its terminal marker");
            let collected = collector.finish();
            assert_eq!(collected.finish_reason, outcome.finish_reason, "told by events, and in the end");
            assert_eq!(collected.usage, outcome.usage, "told by events, and in the end");
        }
    }
}
