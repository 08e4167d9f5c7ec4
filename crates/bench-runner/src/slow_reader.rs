//! Reads answers at full speed and slowly: the readings that back-pressure is judged by.
//!
//! A slow reader takes some chunks, then asks the socket for nothing for a while
//! ([`EventSink::poll_ready`]), then reads on. What the server did about it shows in what comes
//! afterwards. Judges nothing; the transport's receive buffer should be small, or the kernel reads in the reader's place.

use std::{
    future::Future,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::join_all;
use llms_core::{
    CallContext, ChatRequest, ErrorCode, EventSink, Result, SharedModel, Stamp, StreamEvent,
    bench::{PauseRead, ReadFailure, StreamRead},
    observe::Timeline,
    time::{SharedClock, Timestamp},
};

/// What comes so soon after a pause was waiting.
const BURST: Duration = Duration::from_millis(100);

/// How a slow reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slowly {
    /// Chunks before it stops.
    pub after: u64,
    /// How long it does not read.
    pub pause: Duration,
}

/// What was read of one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SlowReadings {
    /// At full speed, one after the other.
    pub controls: Vec<StreamRead>,
    /// Slowly, one after the other.
    pub slow: Vec<StreamRead>,
    /// Neighbours at full speed: first without slow readers, then beside them.
    pub pairs: Vec<(StreamRead, StreamRead)>,
}

/// How much is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowPlan {
    /// How slow readers read.
    pub slowly: Slowly,
    /// Answers at full speed to compare with; two show whether texts repeat.
    pub controls: u32,
    /// Slow readers, one after the other.
    pub readers: u32,
    /// Neighbours that are read at full speed, one after the other, alone and beside slow readers; 0 leaves that out.
    pub neighbours: u32,
    /// Slow readers at once beside each neighbour.
    pub crowd: u32,
    /// Longest time of one answer, the pause not counted.
    pub timeout: Duration,
}

/// Reads answers of `model` to `request` as `plan` has it.
///
/// # Errors
/// `cancelled` when `ctx` is. That an answer fails is data.
pub async fn read_slowly(
    model: &SharedModel,
    request: &ChatRequest,
    plan: &SlowPlan,
    ctx: &CallContext,
) -> Result<SlowReadings> {
    let mut readings = SlowReadings::default();
    let read = |slowly| read(model, request, slowly, plan.timeout, ctx);
    for _ in 0..plan.controls {
        readings.controls.push(read(None).await);
        check(ctx)?;
    }
    for _ in 0..plan.readers {
        readings.slow.push(read(Some(plan.slowly)).await);
        check(ctx)?;
    }
    for _ in 0..plan.neighbours {
        let alone = read(None).await;
        check(ctx)?;
        let crowd = join_all((0..plan.crowd).map(|_| read(Some(plan.slowly))));
        // Behind them, when they have stopped reading or soon will.
        let beside = async {
            ctx.clock.sleep_until(ctx.now() + plan.slowly.pause / 4).await;
            read(None).await
        };
        let (_, beside) = futures_util::join!(crowd, beside);
        check(ctx)?;
        readings.pairs.push((alone, beside));
    }
    Ok(readings)
}

fn check(ctx: &CallContext) -> Result<()> {
    if ctx.cancel.is_cancelled() {
        return Err(llms_core::Error::cancelled("slow_reader.read"));
    }
    Ok(())
}

async fn read(
    model: &SharedModel,
    request: &ChatRequest,
    slowly: Option<Slowly>,
    timeout: Duration,
    ctx: &CallContext,
) -> StreamRead {
    let timeline = Timeline::new();
    let limit = timeout + slowly.map_or(Duration::ZERO, |s| s.pause);
    let started = ctx.now();
    let call = CallContext {
        deadline: Some(started + limit),
        observer: Some(Arc::new(timeline.clone())),
        ..ctx.clone()
    };
    let mut reader = Reader::new(ctx.clock.clone(), slowly);
    let outcome = call.run("slow_reader.read", model.drive(request, &call, &mut reader)).await;
    let called = timeline.take();
    let sent = called.sent.unwrap_or(started);
    let failed = outcome.err().map(|e| ReadFailure {
        own: matches!(e.code(), ErrorCode::Timeout | ErrorCode::Cancelled) && e.status().is_none(),
        message: e.message().to_owned(),
    });
    let bytes = called.bytes_in.unwrap_or(reader.bytes);
    reader.told(sent, bytes, failed)
}

/// Takes an answer and, once, a rest.
struct Reader {
    clock: SharedClock,
    slowly: Option<Slowly>,
    chunks: u64,
    bytes: u64,
    text: DefaultHasher,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    rest: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Chunks before the pause, its beginning, its end.
    paused: Option<(u64, Timestamp, Timestamp)>,
    burst: u64,
}

impl Reader {
    fn new(clock: SharedClock, slowly: Option<Slowly>) -> Self {
        Self {
            clock,
            slowly,
            chunks: 0,
            bytes: 0,
            text: DefaultHasher::new(),
            first: None,
            last: None,
            rest: None,
            paused: None,
            burst: 0,
        }
    }

    fn told(self, sent: Timestamp, bytes: u64, failed: Option<ReadFailure>) -> StreamRead {
        let seconds = |from: Timestamp, to: Timestamp| to.saturating_since(from).as_secs_f64();
        let first = self.first;
        let pause = self.paused.zip(first).map(|((before, began, ended), first)| PauseRead {
            before,
            began_s: seconds(first, began),
            length_s: seconds(began, ended),
            burst: self.burst,
        });
        StreamRead {
            chunks: self.chunks,
            bytes,
            text: self.text.finish(),
            ttft_s: first.map(|at| seconds(sent, at)),
            stream_s: first.zip(self.last).map_or(0.0, |(first, last)| seconds(first, last)),
            failed,
            pause,
        }
    }
}

impl EventSink for Reader {
    /// Stamps of the program: the kernel's say when bytes came into a buffer that nobody read.
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        let text = match &event {
            StreamEvent::Text(t) | StreamEvent::Reasoning(t) => t,
            StreamEvent::ToolCall(d) => &d.arguments,
            _ => return,
        };
        // Byte by byte the same however the text was cut into chunks.
        text.bytes().for_each(|b| b.hash(&mut self.text));
        self.bytes += text.len() as u64;
        if !event.is_token() {
            return;
        }
        self.chunks += 1;
        self.first.get_or_insert(stamp.user);
        self.last = Some(stamp.user);
        if let Some((_, _, ended)) = self.paused
            && stamp.user <= ended + BURST
        {
            self.burst += 1;
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(Slowly { after, pause }) = self.slowly.filter(|s| s.after <= self.chunks) else {
            return Poll::Ready(());
        };
        let now = self.clock.now();
        if self.rest.is_none() && self.paused.is_none() {
            debug_assert!(after <= self.chunks, "a rest after so many chunks");
            self.paused = Some((self.chunks, now, now + pause));
            self.rest = Some(self.clock.sleep_until(now + pause));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(()) };
        if rest.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.rest = None;
        if let Some((_, _, ended)) = &mut self.paused {
            *ended = self.clock.now();
        }
        Poll::Ready(())
    }
}
