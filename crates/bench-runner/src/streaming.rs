//! The contract's analysis of streams: one answer read for one question.
//!
//! A sink of its own keeps what the questions need; stamps are the arrival (the kernel's where the transport has them), for
//! back-pressure those of the program, because bytes that the kernel took did wait. Nothing is shared between calls but the
//! options.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use llms_core::{
    CallContext, ChatRequest, Error, ErrorCode, EventSink, Message, Result, SharedModel, Stamp, StreamEvent,
    Usage,
    bench::{
        AllocatorCounters, AllocatorProbe, BackpressureResult, StreamPoint, StreamingAnalyzer,
        StreamingMemoryResult, StreamingOptions, StreamingThroughputResult, Target, TtftResult,
    },
    observe::Timeline,
    time::{SharedClock, Timestamp},
};

/// A gap this much shorter than the usual one is that of a chunk which had been waiting.
const WAITED: f64 = 0.5;
/// Chunks that a slow reader takes before its pause, so that their pace is known.
const BEFORE_PAUSE: usize = 5;

/// The analyzer; see the module.
pub struct StreamTests {
    options: StreamingOptions,
    allocator: Option<Arc<dyn AllocatorProbe>>,
}

impl std::fmt::Debug for StreamTests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamTests").field("options", &self.options).finish_non_exhaustive()
    }
}

impl StreamTests {
    /// With these options; without an allocator's counters, so that memory is absent.
    ///
    /// # Errors
    /// `invalid_config` for options that break a rule.
    pub fn new(options: StreamingOptions) -> Result<Self> {
        options
            .validate()
            .map_err(|e| Error::new("streaming.configure", ErrorCode::InvalidConfig, e.to_string()))?;
        Ok(Self { options, allocator: None })
    }

    /// Reads memory from `probe`.
    pub fn with_allocator(mut self, probe: Arc<dyn AllocatorProbe>) -> Self {
        self.allocator = Some(probe);
        self
    }

    /// Asks, once it is sure that it may, and reads to the end.
    async fn read(
        &self,
        asked: &Asked<'_>,
        sink: &mut Reader,
        ctx: &CallContext,
        allowance: Duration,
    ) -> Result<Read> {
        let timeline = Timeline::new();
        let started = ctx.now();
        let call = CallContext {
            deadline: Some(started + self.options.timeout + allowance),
            observer: Some(Arc::new(timeline.clone())),
            ..ctx.clone()
        };
        let outcome =
            call.run("streaming.read", asked.model.drive(&asked.request, &call, &mut *sink)).await?;
        if let Some(late) = outcome.usage {
            sink.usage = Some(sink.usage.map_or(late, |early| early.merge(late)));
        }
        let ended = ctx.now();
        let seen = timeline.take();
        Ok(Read { sent: seen.sent.unwrap_or(started), end: seen.end.unwrap_or(ended) })
    }

    fn ask<'t>(&self, target: &'t Target, prompt: &str, wanted: bool, what: &str) -> Result<Asked<'t>> {
        let wrong = |message: String| Err(Error::new("streaming.ask", ErrorCode::InvalidInput, message));
        if !wanted {
            return wrong(format!("{what} is switched off by the options"));
        }
        if prompt.trim().is_empty() {
            return wrong("expected a prompt, found an empty text".to_owned());
        }
        let Some(model) = &target.model else {
            let why = target.info.unavailable.as_deref().unwrap_or("no reason given");
            return wrong(format!("target {} has no model: {why}", target.info.name));
        };
        let mut request = ChatRequest::new(vec![Message::user(prompt)]);
        request.options.max_tokens = self.options.max_tokens;
        let info = model.info();
        Ok(Asked { model, request, provider: info.provider.clone(), name: info.model.clone() })
    }
}

/// One question, ready to be asked.
struct Asked<'t> {
    model: &'t SharedModel,
    request: ChatRequest,
    provider: String,
    name: String,
}

/// When an answer was asked for, and when it was over.
struct Read {
    sent: Timestamp,
    end: Timestamp,
}

#[async_trait]
impl StreamingAnalyzer for StreamTests {
    async fn measure_ttft(&self, target: &Target, prompt: &str, ctx: &CallContext) -> Result<TtftResult> {
        let asked = self.ask(target, prompt, self.options.ttft, "time to first token")?;
        let timestamp = ctx.clock.wall();
        let mut sink = Reader::default();
        let read = self.read(&asked, &mut sink, ctx, Duration::ZERO).await?;
        let after = |at: Timestamp| seconds(read.sent, at);
        Ok(TtftResult {
            provider: asked.provider,
            model: asked.name,
            time_to_first_token_s: sink.chunks.first().map(|c| after(c.stamp.arrival())),
            time_to_first_answer_s: sink.first_answer.map(after),
            total_stream_time_s: after(read.end),
            timestamp,
        })
    }

    async fn analyze_throughput(
        &self,
        target: &Target,
        prompt: &str,
        ctx: &CallContext,
    ) -> Result<StreamingThroughputResult> {
        let asked = self.ask(target, prompt, self.options.throughput, "throughput")?;
        let mut sink = Reader::default();
        self.read(&asked, &mut sink, ctx, Duration::ZERO).await?;
        let chunks = &sink.chunks;
        let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else {
            return Err(Error::new(
                "streaming.throughput",
                ErrorCode::InvalidResponse,
                "expected an answer with a token, got one without",
            ));
        };
        let reported = sink.usage.and_then(|u| {
            // What was not shown was not streamed.
            let hidden = if sink.reasoned { 0 } else { u.reasoning_tokens.unwrap_or(0) };
            Some(u.output_tokens?.saturating_sub(hidden)).filter(|n| 0 < *n)
        });
        let total = reported.unwrap_or(chunks.len() as u64);
        let per_chunk = total as f64 / chunks.len() as f64;
        let (from, to) = (first.stamp.arrival(), last.stamp.arrival());
        let length = seconds(from, to);
        // Those of the first read have no time of their own.
        let behind = chunks.iter().filter(|c| c.stamp.read != first.stamp.read).count();
        Ok(StreamingThroughputResult {
            provider: asked.provider,
            model: asked.name,
            tokens_per_second: (0 < behind && 0.0 < length).then(|| behind as f64 * per_chunk / length),
            total_streaming_time_s: length,
            total_tokens_streamed: total,
            tokens_reported: reported.is_some(),
            throughput_curve: curve(chunks, per_chunk, self.options.window.as_secs_f64()),
        })
    }

    async fn test_backpressure_handling(
        &self,
        target: &Target,
        prompt: &str,
        ctx: &CallContext,
    ) -> Result<BackpressureResult> {
        let asked = self.ask(target, prompt, self.options.backpressure, "back-pressure")?;
        let mut control = Reader::default();
        self.read(&asked, &mut control, ctx, Duration::ZERO).await?;
        let mut slow = Reader::pausing(ctx.clock.clone(), BEFORE_PAUSE, self.options.pause);
        self.read(&asked, &mut slow, ctx, self.options.pause).await?;
        let (Some(gap), Some((began, ended))) = (usual_gap(&control.chunks), slow.paused) else {
            let message = format!(
                "expected answers of more than {BEFORE_PAUSE} chunks, in reads of their own, to pause in; ask for a longer one"
            );
            return Err(Error::new("streaming.backpressure", ErrorCode::InvalidResponse, message));
        };
        let behind = slow.chunks.iter().filter(|c| ended <= c.stamp.user);
        let mut before = ended;
        let waited: Vec<&Chunk> = behind
            .take_while(|c| {
                let soon = seconds(before, c.stamp.user) < WAITED * gap;
                before = c.stamp.user;
                soon
            })
            .collect();
        let could = (seconds(began, ended) / gap).min((control.chunks.len() - BEFORE_PAUSE) as f64);
        // On a simulated clock all that waited comes in no time at all.
        let recovery = waited.last().map_or(0.0, |c| seconds(ended, c.stamp.user).max(1e-9));
        Ok(BackpressureResult {
            provider: asked.provider,
            model: asked.name,
            backpressure_events: u64::from(!waited.is_empty()),
            max_buffer_size: waited.iter().map(|c| c.bytes).sum(),
            recovery_time_s: recovery,
            buffer_utilization: (waited.len() as f64 / could.max(1.0)).min(1.0),
            complete: slow.chunks.len() == control.chunks.len(),
        })
    }

    async fn analyze_streaming_memory(
        &self,
        target: &Target,
        prompt: &str,
        ctx: &CallContext,
    ) -> Result<StreamingMemoryResult> {
        let asked = self.ask(target, prompt, self.options.memory, "memory")?;
        let counters = self.allocator.as_ref().map(|probe| probe.counters());
        let before = counters.as_ref().and_then(|c| c.value().copied());
        let absent = match &counters {
            None => Some("no allocator was given to read".to_owned()),
            Some(counters) => counters.reason().map(str::to_owned),
        };
        let every = (1.0 / self.options.sample_rate).round().max(1.0) as usize;
        let mut sink =
            Reader { memory: self.allocator.clone().map(|probe| (probe, every)), ..Reader::default() };
        self.read(&asked, &mut sink, ctx, Duration::ZERO).await?;
        let text: u64 = sink.chunks.iter().map(|c| c.bytes).sum();
        let found =
            before.filter(|_| !sink.samples.is_empty()).map(|before| Memory::of(&sink.samples, before));
        let absent =
            absent.or_else(|| found.is_none().then(|| "no chunk came at which to read it".to_owned()));
        let peak = found.as_ref().map(|m| m.peak);
        Ok(StreamingMemoryResult {
            provider: asked.provider,
            model: asked.name,
            peak_bytes: peak,
            average_bytes: found.as_ref().map(|m| m.average),
            memory_growth_rate: found.as_ref().and_then(|m| m.growth),
            memory_efficiency_score: peak
                .filter(|p| 0 < p + text)
                .map(|p| 100.0 * text as f64 / (text + p) as f64),
            memory_pressure: peak.zip(before).map(|(p, b)| p as f64 / (p + b.live_bytes).max(1) as f64),
            samples: sink.samples.len() as u64,
            absent,
        })
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.saturating_since(from).as_secs_f64()
}

/// Tokens per second, window by window from the first chunk on.
fn curve(chunks: &[Chunk], per_chunk: f64, width: f64) -> Vec<StreamPoint> {
    let (Some(first), Some(last)) = (chunks.first(), chunks.last()) else { return Vec::new() };
    let from = first.stamp.arrival();
    let length = seconds(from, last.stamp.arrival());
    let windows = (length / width).floor() as usize + 1;
    let mut counts = vec![0_u64; windows];
    for chunk in chunks {
        counts[((seconds(from, chunk.stamp.arrival()) / width) as usize).min(windows - 1)] += 1;
    }
    let points = counts.into_iter().enumerate().map(|(i, n)| {
        let at_s = i as f64 * width;
        let long = (length - at_s).min(width);
        // A last window of no length has the rate of a whole one.
        let long = if 0.0 < long { long } else { width };
        StreamPoint { at_s, tokens_per_second: n as f64 * per_chunk / long }
    });
    points.collect()
}

/// The median gap between chunks of different reads, by the program's stamps.
fn usual_gap(chunks: &[Chunk]) -> Option<f64> {
    let gaps = chunks.windows(2).filter(|w| w[0].stamp.read != w[1].stamp.read);
    let mut gaps: Vec<f64> = gaps.map(|w| seconds(w[0].stamp.user, w[1].stamp.user)).collect();
    if chunks.len() <= BEFORE_PAUSE || gaps.is_empty() {
        return None;
    }
    gaps.sort_unstable_by(f64::total_cmp);
    Some(gaps[gaps.len() / 2]).filter(|gap| 0.0 < *gap)
}

/// Memory beyond what was live before.
struct Memory {
    peak: u64,
    average: f64,
    growth: Option<f64>,
}

impl Memory {
    fn of(samples: &[(Timestamp, AllocatorCounters)], before: AllocatorCounters) -> Self {
        let beyond = |c: &AllocatorCounters| c.live_bytes.saturating_sub(before.live_bytes);
        let n = samples.len() as f64;
        let average = samples.iter().map(|(_, c)| beyond(c) as f64).sum::<f64>() / n;
        let start = samples[0].0;
        let at: Vec<f64> = samples.iter().map(|(t, _)| seconds(start, *t)).collect();
        let mean = at.iter().sum::<f64>() / n;
        let spread: f64 = at.iter().map(|t| (t - mean).powi(2)).sum();
        let along =
            at.iter().zip(samples).map(|(t, (_, c))| (t - mean) * (beyond(c) as f64 - average)).sum::<f64>();
        Self {
            peak: samples.iter().map(|(_, c)| beyond(c)).max().unwrap_or(0),
            average,
            growth: (samples.len() >= 3 && 0.0 < spread).then(|| along / spread),
        }
    }
}

/// A token-bearing chunk: when it came and how many bytes of text it had.
struct Chunk {
    stamp: Stamp,
    bytes: u64,
}

/// A rest: since when, until when, by which clock.
struct Rest {
    began: Timestamp,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    clock: SharedClock,
}

/// Keeps what the questions need of an answer; may take a rest, once.
#[derive(Default)]
struct Reader {
    chunks: Vec<Chunk>,
    first_answer: Option<Timestamp>,
    reasoned: bool,
    usage: Option<Usage>,
    /// Read at every so many chunks.
    memory: Option<(Arc<dyn AllocatorProbe>, usize)>,
    samples: Vec<(Timestamp, AllocatorCounters)>,
    /// Clock, chunks before the rest, and its length, until it is taken.
    pause: Option<(SharedClock, usize, Duration)>,
    /// While it is taken.
    rest: Option<Rest>,
    /// Beginning and end of the rest.
    paused: Option<(Timestamp, Timestamp)>,
}

impl Reader {
    fn pausing(clock: SharedClock, after: usize, pause: Duration) -> Self {
        Self { pause: Some((clock, after, pause)), ..Self::default() }
    }
}

impl EventSink for Reader {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        let bytes = match &event {
            StreamEvent::Text(t) | StreamEvent::Reasoning(t) => t.len(),
            StreamEvent::ToolCall(d) => d.arguments.len(),
            StreamEvent::Usage(usage) => {
                self.usage = Some(self.usage.map_or(*usage, |early| early.merge(*usage)));
                0
            }
            _ => 0,
        };
        if !event.is_token() {
            return;
        }
        self.reasoned |= matches!(event, StreamEvent::Reasoning(_));
        if event.is_answer_token() {
            self.first_answer.get_or_insert(stamp.arrival());
        }
        if let Some((probe, every)) = &self.memory
            && self.chunks.len().is_multiple_of(*every)
            && let Some(counters) = probe.counters().value()
        {
            self.samples.push((stamp.user, *counters));
        }
        self.chunks.push(Chunk { stamp, bytes: bytes as u64 });
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((clock, _, length)) = self.pause.take_if(|(_, after, _)| *after <= self.chunks.len()) {
            let now = clock.now();
            self.rest = Some(Rest { began: now, over: clock.sleep_until(now + length), clock });
        }
        let Some(Rest { began, over, clock }) = &mut self.rest else { return Poll::Ready(()) };
        if over.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.paused = Some((*began, clock.now()));
        self.rest = None;
        Poll::Ready(())
    }
}
