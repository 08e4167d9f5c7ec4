//! `HttpModel` on a scripted transport, a toy codec and virtual time.
#![allow(clippy::unwrap_used, reason = "a panic in a fixture is the report")]

use std::{
    error::Error as _,
    fmt::Write as _,
    mem,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method};
use llms_core::{
    CallContext, CallPhase, Capabilities, ChatModel, ChatRequest, ChatResponse, Error, ErrorCode, EventSink,
    FinishReason, ModelInfo, Outcome, Result, Stamp, StreamEvent, TimedEvent, Usage,
    health::{HealthProbe, HealthState},
    observe::{CallEvent, CallObserver, ConnectionInfo, HookValue},
    time::{Clock, SharedClock, Sleep, Timestamp, VirtualClock},
    wire::{
        Body, BodyCounters, Codec, Decoder, Delivery, Frame, Hooks, HttpModel, Prepared, Probe, Reply,
        StampSource, Transport, TransportInfo, sse::SseFramer,
    },
};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

fn at(d: Duration) -> Timestamp {
    Timestamp::ZERO + d
}

// ---------------------------------------------------------------------------------------------- the transport

/// One thing the scripted server does with the body.
#[derive(Clone, Debug)]
enum Step {
    /// These bytes in one read.
    Read(&'static str),
    /// Nothing for a while.
    Wait(Duration),
    /// The connection breaks.
    Break,
    /// Nothing, ever; the connection stays open.
    Hang,
    /// These bytes in one read, again and again.
    Forever(&'static str),
}
use Step::{Break, Forever, Hang, Read, Wait};

#[derive(Clone, Debug)]
struct Script {
    connect: Duration,
    write: Duration,
    headers: Duration,
    status: u16,
    refuses: bool,
    steps: Vec<Step>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Prepared>,
    /// When each read was made.
    reads: Vec<Timestamp>,
    /// The body was read to its end.
    ended: bool,
    /// The body was dropped.
    dropped: bool,
}

#[derive(Debug)]
struct Scripted {
    clock: SharedClock,
    script: Script,
    seen: Arc<Mutex<Seen>>,
}

struct ScriptedBody {
    clock: SharedClock,
    steps: std::vec::IntoIter<Step>,
    current: Option<Step>,
    sleep: Option<Sleep>,
    counters: BodyCounters,
    seen: Arc<Mutex<Seen>>,
}

impl ScriptedBody {
    fn read(&mut self, text: &str, buf: &mut Vec<u8>) -> Stamp {
        buf.extend_from_slice(text.as_bytes());
        let stamp = Stamp::user(self.clock.now(), self.counters.reads);
        self.counters.bytes += text.len() as u64;
        self.counters.reads += 1;
        self.seen.lock().unwrap().reads.push(self.clock.now());
        stamp
    }
}

impl Body for ScriptedBody {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        loop {
            if let Some(sleep) = &mut self.sleep {
                ready!(sleep.as_mut().poll(cx));
                self.sleep = None;
            }
            match self.current.take().or_else(|| self.steps.next()) {
                Some(Read(text)) => return Poll::Ready(Ok(Some(self.read(text, buf)))),
                Some(Forever(text)) => {
                    self.current = Some(Forever(text));
                    return Poll::Ready(Ok(Some(self.read(text, buf))));
                }
                Some(Wait(d)) => self.sleep = Some(self.clock.sleep_until(self.clock.now() + d)),
                Some(Break) => {
                    let e = Error::new("test.read", ErrorCode::StreamClosed, "the connection broke");
                    return Poll::Ready(Err(e.with_source(std::io::Error::other("reset by peer"))));
                }
                Some(Hang) => {
                    self.current = Some(Hang);
                    return Poll::Pending;
                }
                None => {
                    assert!(!mem::replace(&mut self.seen.lock().unwrap().ended, true), "read after the end");
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }

    fn counters(&self) -> BodyCounters {
        self.counters
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        self.seen.lock().unwrap().dropped = true;
    }
}

#[async_trait]
impl Transport for Scripted {
    async fn send(&self, request: Prepared, ctx: &CallContext) -> Result<Reply> {
        let sleep = |d| self.clock.sleep_until(self.clock.now() + d);
        let bytes = request.body.len() as u64;
        self.seen.lock().unwrap().requests.push(request);
        ctx.emit(|| CallEvent::Connecting { at: ctx.now() });
        sleep(self.script.connect).await;
        if self.script.refuses {
            return Err(Error::new("test.connect", ErrorCode::NetworkError, "connection refused")
                .with_phase(CallPhase::Connect));
        }
        let connection = ConnectionInfo { reused: Some(false), ..Default::default() };
        ctx.emit(|| CallEvent::Connected(&connection));
        sleep(self.script.write).await;
        ctx.emit(|| CallEvent::Written { at: ctx.now(), bytes });
        sleep(self.script.headers).await;
        let mut headers = HeaderMap::new();
        headers.insert("x-took-ms", "7".parse().unwrap());
        let head = Stamp::user(ctx.now(), 0);
        ctx.emit(|| CallEvent::Head { stamp: head, status: self.script.status, headers: &headers });
        let body = Box::new(ScriptedBody {
            clock: self.clock.clone(),
            steps: self.script.steps.clone().into_iter(),
            current: None,
            sleep: None,
            counters: BodyCounters::default(),
            seen: self.seen.clone(),
        });
        Ok(Reply { status: self.script.status, headers, head, connection, body })
    }

    fn info(&self) -> TransportInfo {
        TransportInfo { name: "scripted".into(), stamps: StampSource::User, connections: "new".into() }
    }
}

// -------------------------------------------------------------------------------------------------- the codec

/// SSE whose data is text; `[DONE]` ends it; events named `usage` and `error` say what they are.
#[derive(Debug)]
struct Toy(ModelInfo);

#[derive(Default)]
struct ToyDecoder {
    done: bool,
    tokens: u64,
}

impl Decoder for ToyDecoder {
    fn frame(&mut self, frame: Frame<'_>, stamp: Stamp, sink: &mut dyn EventSink) -> Result<()> {
        match (frame.event, frame.data) {
            (None, "[DONE]") => {
                self.done = true;
                sink.event(StreamEvent::Finish(FinishReason::Stop), stamp);
            }
            (Some("usage"), _) => {
                let usage = Usage { output_tokens: Some(self.tokens), ..Usage::default() };
                sink.event(StreamEvent::Usage(usage), stamp);
            }
            (Some("error"), text) => return Err(Error::new("toy.stream", ErrorCode::Stream, text)),
            (_, text) => {
                self.tokens += 1;
                sink.event(StreamEvent::Text(text.into()), stamp);
            }
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.done
    }

    fn finish(&mut self) -> Result<Outcome> {
        if !self.done {
            return Err(Error::new(
                "toy.stream",
                ErrorCode::StreamTruncated,
                "expected [DONE] before the end",
            ));
        }
        Ok(Outcome { finish_reason: Some(FinishReason::Stop), ..Outcome::default() })
    }

    fn hooks(&self, report: &mut Hooks<'_>) {
        report("toy.tokens", HookValue::Number(self.tokens as f64));
    }
}

impl Toy {
    fn request(path: &'static str, body: String) -> Prepared {
        Prepared {
            method: Method::POST,
            uri: path.parse().unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from(body),
        }
    }
}

impl Codec for Toy {
    type Framer = SseFramer;
    type Decoder = ToyDecoder;

    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn encode(&self, request: &ChatRequest, delivery: Delivery) -> Result<Prepared> {
        let Some(message) = request.messages.first() else {
            return Err(Error::new("toy.encode", ErrorCode::InvalidRequest, "expected at least one message"));
        };
        Ok(Self::request("http://toy/chat", format!("{delivery:?}: {}", message.text())))
    }

    fn framer(&self) -> SseFramer {
        SseFramer::new()
    }

    fn decoder(&self) -> ToyDecoder {
        ToyDecoder::default()
    }

    fn decode(&self, body: &[u8], hooks: &mut Hooks<'_>) -> Result<ChatResponse> {
        hooks("toy.bytes", HookValue::Number(body.len() as f64));
        let text = std::str::from_utf8(body).map_err(|e| {
            Error::new("toy.decode", ErrorCode::MalformedResponse, "not UTF-8").with_source(e)
        })?;
        Ok(ChatResponse { text: text.into(), ..ChatResponse::default() })
    }

    fn classify(&self, status: u16, _headers: &HeaderMap, body: &[u8]) -> Error {
        let code = match status {
            404 => ErrorCode::ModelNotAvailable,
            429 => ErrorCode::RateLimit,
            _ => ErrorCode::Internal,
        };
        Error::new("toy.refused", code, String::from_utf8_lossy(body))
    }

    fn hooks(&self, headers: &HeaderMap, report: &mut Hooks<'_>) {
        if let Some(ms) = headers.get("x-took-ms").and_then(|v| v.to_str().ok()?.parse().ok()) {
            report("toy.took_ms", HookValue::Number(ms));
        }
    }

    fn probe(&self) -> Result<Probe> {
        if self.0.model == "unprobeable" {
            return Err(Error::new(
                "toy.probe",
                ErrorCode::InvalidConfig,
                "expected a model that can be probed",
            ));
        }
        Ok(Probe { request: Self::request("http://toy/probe", String::new()), timeout: S })
    }

    fn judge_probe(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Result<Vec<(String, String)>> {
        if status == 200 {
            Ok(vec![("version".into(), String::from_utf8_lossy(body).into_owned())])
        } else {
            Err(self.classify(status, headers, body))
        }
    }
}

// ----------------------------------------------------------------------------------------------- the fixtures

struct Bench {
    clock: VirtualClock,
    model: HttpModel<Toy>,
    seen: Arc<Mutex<Seen>>,
    ctx: CallContext,
}

fn script(steps: &[Step]) -> Script {
    Script {
        connect: Duration::ZERO,
        write: Duration::ZERO,
        headers: Duration::ZERO,
        status: 200,
        refuses: false,
        steps: steps.to_vec(),
    }
}

fn bench(script: Script) -> Bench {
    bench_of("toy-1", script)
}

fn bench_of(model: &str, script: Script) -> Bench {
    let clock = VirtualClock::new();
    let shared: SharedClock = Arc::new(clock.clone());
    let seen = Arc::default();
    let transport = Scripted { clock: shared.clone(), script, seen: Arc::clone(&seen) };
    let info = ModelInfo {
        provider: "toy".into(),
        model: model.into(),
        endpoint: None,
        capabilities: Capabilities::default(),
    };
    let transport: Arc<dyn Transport> = Arc::new(transport);
    Bench { clock, model: HttpModel::new(Toy(info), transport), seen, ctx: CallContext::with_clock(shared) }
}

impl Bench {
    fn drive(&self) -> (Vec<TimedEvent>, Result<Outcome>) {
        let mut events = Vec::new();
        let result = self.clock.block_on(self.model.drive(&"hello".into(), &self.ctx, &mut events));
        (events, result)
    }

    fn generate(&self) -> Result<ChatResponse> {
        self.clock.block_on(self.model.generate(&"hello".into(), &self.ctx))
    }

    fn with_timeout(mut self, timeout: Duration) -> Self {
        self.ctx = self.ctx.with_timeout(timeout);
        self
    }

    fn ended(&self) -> bool {
        self.seen.lock().unwrap().ended
    }
}

/// `a@3` for text `a` of read 3, joined by blanks.
fn in_short<'e>(events: impl IntoIterator<Item = &'e TimedEvent>) -> String {
    let mut out = String::new();
    for e in events {
        let what = match &e.event {
            StreamEvent::Text(t) => t.to_string(),
            StreamEvent::Finish(r) => r.as_str().to_owned(),
            StreamEvent::Usage(u) => format!("usage:{}", u.output_tokens.unwrap()),
            other => format!("{other:?}"),
        };
        write!(out, " {what}@{}", e.stamp.read).unwrap();
    }
    out.trim_start().to_owned()
}

#[track_caller]
fn check_error(e: &Error, code: ErrorCode, phase: CallPhase) {
    assert_eq!((e.code(), e.phase(), e.provider()), (code, Some(phase), Some("toy")), "{e}");
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl CallObserver for Log {
    fn observe(&self, event: &CallEvent<'_>) {
        self.0.lock().unwrap().push(match event {
            CallEvent::Sent { at } => format!("sent {at}"),
            CallEvent::Connecting { at } => format!("connecting {at}"),
            CallEvent::Connected(_) => "connected".into(),
            CallEvent::Written { at, bytes } => format!("written {at} {bytes} bytes"),
            CallEvent::Head { stamp, status, .. } => format!("head {} {status}", stamp.user),
            CallEvent::FirstByte { stamp } => format!("first byte {} read {}", stamp.user, stamp.read),
            CallEvent::Reported { key, value } => format!("{key} {value:?}"),
            CallEvent::FirstToken { stamp } => format!("first token {} read {}", stamp.user, stamp.read),
            CallEvent::Chunk { stamp } => format!("chunk {} read {}", stamp.user, stamp.read),
            CallEvent::Failed { at, error } => format!("failed {at} {}", error.code()),
            CallEvent::End { at, bytes, reads } => format!("end {at} {bytes} bytes {reads} reads"),
            other => format!("{other:?}"),
        });
    }
}

// -------------------------------------------------------------------------------------------------- the tests

#[test]
fn events_come_in_order_with_the_stamp_of_the_read_that_completed_them() {
    let b = bench(script(&[
        Wait(10 * MS),
        Read("data: a\n\ndata: b\n\ndata: "),
        Wait(20 * MS),
        Read("c\n\n"),
        Read("event: usage\ndata: {}\n\ndata: [DO"),
        Wait(5 * MS),
        Read("NE]\n\n"),
    ]));
    let (events, outcome) = b.drive();
    assert_eq!(in_short(&events), "a@0 b@0 c@1 usage:3@2 stop@3");
    let times: Vec<_> = events.iter().map(|e| e.stamp.user).collect();
    assert_eq!(times, [at(10 * MS), at(10 * MS), at(30 * MS), at(30 * MS), at(35 * MS)]);
    assert_eq!(outcome.unwrap().finish_reason, Some(FinishReason::Stop));
    assert!(b.ended(), "the body was not read to its end: the connection is lost");
    assert_eq!(b.seen.lock().unwrap().requests[0].body, "Stream: hello");
}

#[test]
fn a_stream_without_its_terminal_marker_is_truncated() {
    for steps in [
        vec![],
        vec![Read("data: a\n\n")],
        vec![Read("data: a\n\ndata: [DONE]")],
        vec![Read("data: a\n\ndata: [DONE]\n")],
    ] {
        let before = usize::from(!steps.is_empty());
        let (events, outcome) = bench(script(&steps)).drive();
        assert_eq!(events.len(), before, "{steps:?}");
        check_error(&outcome.unwrap_err(), ErrorCode::StreamTruncated, CallPhase::Stream);
    }
}

#[test]
fn a_broken_connection_or_an_error_object_ends_the_stream_after_its_events() {
    let cases = [
        (vec![Read("data: a\n\n"), Break], ErrorCode::StreamClosed),
        (vec![Read("data: a\n\nevent: error\ndata: busy\n\ndata: b\n\n")], ErrorCode::Stream),
    ];
    for (steps, code) in cases {
        let (events, outcome) = bench(script(&steps)).drive();
        assert_eq!(in_short(&events), "a@0");
        check_error(&outcome.unwrap_err(), code, CallPhase::Stream);
    }
    let e = bench(script(&[Break])).drive().1.unwrap_err();
    assert_eq!(e.source().unwrap().to_string(), "reset by peer");
}

#[test]
fn a_refusal_is_classified_with_its_body() {
    let refused = |status, steps: &[Step]| bench(Script { status, ..script(steps) });
    for verb in [|b: &Bench| b.generate().unwrap_err(), |b: &Bench| b.drive().1.unwrap_err()] {
        let b = refused(429, &[Read("slow "), Wait(S), Read("down")]);
        let e = verb(&b);
        check_error(&e, ErrorCode::RateLimit, CallPhase::Headers);
        assert_eq!((e.status(), e.message()), (Some(429), "slow down"));
        assert!(b.ended());

        let e = verb(&refused(500, &[Read("oops"), Break]));
        check_error(&e, ErrorCode::Internal, CallPhase::Headers);
        assert_eq!(e.message(), "oops", "a body that breaks off leaves the refusal what it is");

        // A refusal whose text never ends: judged by what has come, neither hanging nor a timeout.
        for timeout in [None, Some(2 * S)] {
            let mut b = refused(429, &[Read("slow down"), Hang]);
            b.ctx.deadline = timeout.map(at);
            let e = verb(&b);
            check_error(&e, ErrorCode::RateLimit, CallPhase::Headers);
            assert_eq!(e.message(), "slow down");
            assert_eq!(b.clock.now(), at(timeout.unwrap_or(5 * S)));
        }

        let e = verb(&refused(500, &[Forever("0123456789")]));
        assert_eq!(e.code(), ErrorCode::Internal);
        assert!(e.message().len() < 2 << 20, "the text of a refusal is bounded");
    }
}

#[test]
fn a_deadline_says_which_phase_it_interrupted() {
    let slow = |connect, write, headers, steps: &[Step]| Script { connect, write, headers, ..script(steps) };
    let body = [Read("data: a\n\n"), Hang];
    let z = Duration::ZERO;
    for (script, phase) in [
        (slow(9 * S, z, z, &body), CallPhase::Connect),
        (slow(z, 9 * S, z, &body), CallPhase::Send),
        (slow(z, z, 9 * S, &body), CallPhase::Headers),
        (slow(S, S, S, &body), CallPhase::Stream),
    ] {
        let b = bench(script.clone()).with_timeout(4 * S);
        let (events, outcome) = b.drive();
        let e = outcome.unwrap_err();
        check_error(&e, ErrorCode::DeadlineExceeded, phase);
        assert_eq!((e.op(), b.clock.now()), ("toy.stream", at(4 * S)));
        assert_eq!(events.len(), usize::from(phase == CallPhase::Stream));

        let e = bench(script).with_timeout(4 * S).generate().unwrap_err();
        let phase = if phase == CallPhase::Stream { CallPhase::Body } else { phase };
        check_error(&e, ErrorCode::DeadlineExceeded, phase);
        assert_eq!(e.op(), "toy.generate");
    }
}

#[test]
fn the_models_own_limit_counts_where_the_caller_has_none() {
    let mut b = bench(script(&[Hang]));
    b.model = b.model.with_timeout(3 * S);
    check_error(&b.generate().unwrap_err(), ErrorCode::DeadlineExceeded, CallPhase::Body);
    assert_eq!(b.clock.now(), at(3 * S));
    let b = b.with_timeout(9 * S); // from now, 3 s
    assert_eq!(b.drive().1.unwrap_err().code(), ErrorCode::DeadlineExceeded);
    assert_eq!(b.clock.now(), at(12 * S));
}

#[test]
fn cancelling_ends_a_call_at_once() {
    for steps in [vec![Hang], vec![Read("data: a\n\n"), Hang]] {
        let b = bench(script(&steps));
        let e = b.clock.block_on(async {
            let (request, mut events) = ("hello".into(), Vec::new());
            let call = b.model.drive(&request, &b.ctx, &mut events);
            let cancel = async {
                b.ctx.clock.sleep_until(at(2 * S)).await;
                b.ctx.cancel.cancel();
            };
            tokio::join!(call, cancel).0.unwrap_err()
        });
        check_error(&e, ErrorCode::Cancelled, CallPhase::Stream);
        assert_eq!(b.clock.now(), at(2 * S));
        assert!(b.seen.lock().unwrap().dropped, "the connection is still open");
    }
    // Also while the text of a refusal is awaited.
    let b = bench(Script { status: 500, ..script(&[Read("data: a\n\n"), Hang]) });
    let e = b.clock.block_on(async {
        let request = "hello".into();
        let cancel = async {
            b.ctx.clock.sleep_until(at(S)).await;
            b.ctx.cancel.cancel();
        };
        tokio::join!(b.model.generate(&request, &b.ctx), cancel).0.unwrap_err()
    });
    check_error(&e, ErrorCode::Cancelled, CallPhase::Body);
    assert_eq!(e.op(), "toy.generate");
}

#[test]
fn nothing_is_sent_for_a_caller_who_has_gone() {
    let b = bench(script(&[]));
    b.ctx.cancel.cancel();
    check_error(&b.generate().unwrap_err(), ErrorCode::Cancelled, CallPhase::Prepare);
    check_error(&b.drive().1.unwrap_err(), ErrorCode::Cancelled, CallPhase::Prepare);
    assert!(b.seen.lock().unwrap().requests.is_empty());

    let b = bench(script(&[])).with_timeout(Duration::ZERO);
    check_error(&b.generate().unwrap_err(), ErrorCode::DeadlineExceeded, CallPhase::Prepare);
    check_error(&b.drive().1.unwrap_err(), ErrorCode::DeadlineExceeded, CallPhase::Prepare);
    assert!(b.seen.lock().unwrap().requests.is_empty());
}

#[test]
fn errors_before_the_answer_keep_their_phase() {
    let b = bench(Script { refuses: true, ..script(&[]) });
    check_error(&b.generate().unwrap_err(), ErrorCode::NetworkError, CallPhase::Connect);
    let b = bench(script(&[]));
    let e = b.clock.block_on(b.model.generate(&ChatRequest::default(), &b.ctx)).unwrap_err();
    check_error(&e, ErrorCode::InvalidRequest, CallPhase::Prepare);
}

#[test]
fn the_request_id_is_sent_or_refused() {
    let mut b = bench(script(&[]));
    b.ctx.request_id = Some("run-1/7".into());
    b.generate().unwrap();
    assert_eq!(b.seen.lock().unwrap().requests[0].headers["x-request-id"], "run-1/7");
    b.ctx.request_id = Some("two\nlines".into());
    check_error(&b.generate().unwrap_err(), ErrorCode::InvalidInput, CallPhase::Prepare);
    assert_eq!(b.seen.lock().unwrap().requests.len(), 1);
}

#[test]
fn the_callers_span_is_sent() {
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let b = bench(script(&[]));
    b.generate().unwrap();
    assert!(!b.seen.lock().unwrap().requests[0].headers.contains_key("traceparent"));
    let mut b = bench(script(&[]));
    b.ctx = b.ctx.with_trace_parent(PARENT);
    b.generate().unwrap();
    assert_eq!(b.seen.lock().unwrap().requests[0].headers["traceparent"], PARENT);
}

/// Takes a second for each read's events before it wants more.
struct SlowReader {
    clock: SharedClock,
    busy: Option<Sleep>,
    events: Vec<TimedEvent>,
}

impl EventSink for SlowReader {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        self.busy = Some(self.clock.sleep_until(stamp.user + S));
        self.events.event(event, stamp);
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(busy) = &mut self.busy {
            ready!(busy.as_mut().poll(cx));
            self.busy = None;
        }
        Poll::Ready(())
    }
}

#[test]
fn no_read_is_made_before_the_sink_is_ready() {
    let b = bench(script(&[
        Read("data: a\n\ndata: b\n\n"),
        Read("data: c\n\n"),
        Read(": nothing to do\n\n"),
        Read("data: [DONE]\n\n"),
    ]));
    let mut sink = SlowReader { clock: b.ctx.clock.clone(), busy: None, events: Vec::new() };
    b.clock.block_on(b.model.drive(&"hello".into(), &b.ctx, &mut sink)).unwrap();
    assert_eq!(b.seen.lock().unwrap().reads, [at(Duration::ZERO), at(S), at(2 * S), at(2 * S)]);
    // A sink that is never ready does not outlive the deadline.
    let b = bench(script(&[Read("data: a\n\n"), Read("data: [DONE]\n\n")])).with_timeout(MS);
    let mut sink = SlowReader { clock: b.ctx.clock.clone(), busy: None, events: Vec::new() };
    let e = b.clock.block_on(b.model.drive(&"hello".into(), &b.ctx, &mut sink)).unwrap_err();
    check_error(&e, ErrorCode::DeadlineExceeded, CallPhase::Stream);
}

#[test]
fn after_the_marker_the_body_is_drained_without_waiting_for_ever() {
    let done = Read("data: a\n\ndata: [DONE]\n\ndata: not part of the answer\n\n");
    // (what follows the marker, when the call is over, whether the body came to its end)
    for (tail, over, ended) in [
        (vec![], Duration::ZERO, true),
        (vec![Wait(300 * MS)], 300 * MS, true),
        (vec![Read("data: nor this\n\n"), Wait(MS), Read("\n")], MS, true),
        (vec![Hang], S, false),
        (vec![Break], Duration::ZERO, false),
        (vec![Forever("data: x\n\n")], Duration::ZERO, false),
        (vec![Wait(10 * MS), Read("\n"), Wait(5 * S)], S, false),
    ] {
        let steps: Vec<_> = [done.clone()].into_iter().chain(tail).collect();
        let b = bench(script(&steps));
        let (events, outcome) = b.drive();
        assert_eq!(in_short(&events), "a@0 stop@0", "{steps:?}");
        outcome.unwrap();
        assert_eq!((b.clock.now(), b.ended()), (at(over), ended), "{steps:?}");
        assert!(b.seen.lock().unwrap().dropped);
    }
}

#[test]
fn a_deadline_or_cancellation_after_the_marker_does_not_cost_the_answer() {
    let steps = [Read("data: a\n\ndata: [DONE]\n\n"), Hang];
    let b = bench(script(&steps)).with_timeout(200 * MS);
    b.drive().1.unwrap();
    assert_eq!(b.clock.now(), at(200 * MS));

    let b = bench(script(&steps));
    b.clock.block_on(async {
        let (request, mut events) = ("hello".into(), Vec::new());
        let cancel = async {
            b.ctx.clock.sleep_until(at(100 * MS)).await;
            b.ctx.cancel.cancel();
        };
        tokio::join!(b.model.drive(&request, &b.ctx, &mut events), cancel).0.unwrap();
    });
    assert_eq!(b.clock.now(), at(100 * MS));
}

const LIVELY: [Step; 7] = [
    Wait(Duration::from_millis(10)),
    Read("data: a\n\ndata: b\n\ndata: "),
    Wait(Duration::from_millis(20)),
    Read("c\n\n"),
    Read(": comment\n\n"),
    Read("event: usage\ndata: {}\n\n"),
    Read("data: [DONE]\n\n"),
];

#[test]
fn stream_yields_what_drive_pushes() {
    let (driven, outcome) = bench(script(&LIVELY)).drive();
    outcome.unwrap();
    let b = bench(script(&LIVELY));
    let streamed: Vec<_> = b
        .clock
        .block_on(async { b.model.stream(&"hello".into(), &b.ctx).map(Result::unwrap).collect().await });
    assert_eq!(streamed, driven);
    assert_eq!(streamed.len(), 5);
    assert!(b.ended());
}

#[test]
fn stream_reads_no_further_than_its_consumer() {
    let b = bench(script(&LIVELY));
    b.clock.block_on(async {
        let request = "hello".into();
        let mut stream = b.model.stream(&request, &b.ctx);
        assert_eq!(b.seen.lock().unwrap().requests.len(), 0, "a stream that is not polled does nothing");
        for (taken, reads) in [("a@0", 1), ("b@0", 1), ("c@1", 2), ("usage:3@3", 4), ("stop@4", 5)] {
            assert_eq!(in_short(&[stream.next().await.unwrap().unwrap()]), taken);
            assert_eq!(b.seen.lock().unwrap().reads.len(), reads);
        }
        assert!(stream.next().await.is_none());
        assert!(stream.next().await.is_none(), "the end is not an end");
    });
}

#[test]
fn dropping_the_stream_drops_the_connection() {
    let b = bench(script(&[Read("data: a\n\n"), Hang]));
    b.clock.block_on(async {
        let request = "hello".into();
        let mut stream = b.model.stream(&request, &b.ctx);
        stream.next().await.unwrap().unwrap();
        assert!(!b.seen.lock().unwrap().dropped);
        drop(stream);
        assert!(b.seen.lock().unwrap().dropped);
    });
}

#[test]
fn the_error_of_a_stream_comes_after_its_events_and_once() {
    for (steps, code) in [
        (vec![Read("data: a\n\ndata: b\n\nevent: error\ndata: busy\n\n")], ErrorCode::Stream),
        (vec![Read("data: a\n\ndata: b\n\n")], ErrorCode::StreamTruncated),
        (vec![Read("data: a\n\ndata: b\n\n"), Wait(S), Break], ErrorCode::StreamClosed),
    ] {
        let b = bench(script(&steps));
        let items: Vec<_> =
            b.clock.block_on(async { b.model.stream(&"hello".into(), &b.ctx).collect().await });
        let (events, errors): (Vec<_>, Vec<_>) = items.iter().partition(|i| i.is_ok());
        assert_eq!(in_short(events.into_iter().flatten()), "a@0 b@0");
        assert_eq!(errors.len(), 1);
        assert_eq!(items.last().unwrap().as_ref().unwrap_err().code(), code);
    }
}

#[test]
fn the_observer_is_told_in_order() {
    let timed = |steps: &[Step]| Script { connect: MS, write: 2 * MS, headers: 3 * MS, ..script(steps) };
    let observed = |script, timeout: Option<Duration>| {
        let (log, mut b) = (Arc::new(Log::default()), bench(script));
        b.ctx = b.ctx.with_observer(log.clone());
        b.ctx.deadline = timeout.map(at);
        (log, b)
    };
    let before = [
        "sent 0.000000 s",
        "connecting 0.000000 s",
        "connected",
        "written 0.003000 s 13 bytes",
        "head 0.006000 s 200",
        "toy.took_ms Number(7.0)",
        "first byte 0.006000 s read 0",
    ];
    let token = "first token 0.006000 s read 0";
    let steps = [Read("data: a\n\n"), Wait(4 * MS), Read("data: [DONE]\n\n")];
    let (log, b) = observed(timed(&steps), None);
    b.drive().1.unwrap();
    let log = log.0.lock().unwrap();
    assert_eq!(log[..7], before);
    assert_eq!(log[7..], [token, "end 0.010000 s 23 bytes 2 reads", "toy.tokens Number(1.0)"]);

    // An interrupted stream closes its books too.
    let (log, b) = observed(timed(&[Read("data: a\n\n"), Hang]), Some(8 * MS));
    b.drive().1.unwrap_err();
    let log = log.0.lock().unwrap();
    assert_eq!(log[..7], before);
    assert_eq!(log[7..], [token, "end 0.008000 s 9 bytes 1 reads", "failed 0.008000 s context_timeout"]);

    let (log, b) = observed(timed(&[Read("whole answer")]), None);
    b.generate().unwrap();
    let log = log.0.lock().unwrap();
    assert_eq!(
        log[6..],
        ["first byte 0.006000 s read 0", "end 0.006000 s 12 bytes 1 reads", "toy.bytes Number(12.0)"]
    );

    let (log, b) = observed(Script { status: 429, ..timed(&[Read("slow down")]) }, None);
    b.drive().1.unwrap_err();
    let log = log.0.lock().unwrap();
    assert_eq!(
        log[4..],
        [
            "head 0.006000 s 429",
            "toy.took_ms Number(7.0)",
            "first byte 0.006000 s read 0",
            "end 0.006000 s 9 bytes 1 reads",
            "failed 0.006000 s rate_limit"
        ]
    );
}

/// An observer that wants every chunk.
#[derive(Default)]
struct Chunks(Log);

impl CallObserver for Chunks {
    fn observe(&self, event: &CallEvent<'_>) {
        if matches!(event, CallEvent::FirstToken { .. } | CallEvent::Chunk { .. }) {
            self.0.observe(event);
        }
    }

    fn wants_chunks(&self) -> bool {
        true
    }
}

#[test]
fn chunks_are_told_to_those_who_ask() {
    let mut b = bench(script(&[
        Read("data: a\n\ndata: b\n\n"),
        Wait(4 * MS),
        Read("event: usage\ndata: {}\n\ndata: c\n\ndata: [DONE]\n\n"),
    ]));
    let chunks = Arc::new(Chunks::default());
    b.ctx = b.ctx.with_observer(chunks.clone());
    assert_eq!(in_short(&b.drive().0), "a@0 b@0 usage:2@1 c@1 stop@1", "events pass unchanged");
    assert_eq!(
        *chunks.0.0.lock().unwrap(),
        [
            "first token 0.000000 s read 0",
            "chunk 0.000000 s read 0",
            "chunk 0.000000 s read 0",
            "chunk 0.004000 s read 1"
        ]
    );
}

#[test]
fn generate_reads_and_decodes_the_whole_body() {
    let b = bench(script(&[Read("whole "), Wait(S), Read("answer")]));
    assert_eq!(b.generate().unwrap().text, "whole answer");
    assert_eq!(b.seen.lock().unwrap().requests[0].body, "Whole: hello");
    let e = bench(script(&[Read("whole "), Break])).generate().unwrap_err();
    check_error(&e, ErrorCode::StreamClosed, CallPhase::Body);
}

#[track_caller]
fn check_health(script: Script, state: HealthState, latency: Option<Duration>, reason: &str) {
    let b = bench(script);
    let health = b.clock.block_on(b.model.check_health(&b.ctx));
    assert_eq!((health.state, health.latency), (state, latency));
    assert!(health.reason.as_deref().unwrap_or_default().contains(reason), "{health:?}");
    assert_eq!(health.details.contains_key("version"), state == HealthState::Healthy);
    assert_eq!((health.provider.as_str(), health.model.as_str()), ("toy", "toy-1"));
}

#[test]
fn health_says_how_the_service_is_and_how_long_the_probe_took() {
    let after = |steps: &[Step]| Script { headers: 40 * MS, ..script(steps) };
    check_health(after(&[Read("1.2.3")]), HealthState::Healthy, Some(40 * MS), "");
    let missing = Script { status: 404, ..after(&[Read("no such model"), Break]) };
    check_health(missing, HealthState::Degraded, Some(40 * MS), "no such model");
    let refuses = Script { refuses: true, ..script(&[]) };
    check_health(refuses, HealthState::Unhealthy, Some(Duration::ZERO), "connection refused");
    check_health(after(&[Hang]), HealthState::Unhealthy, Some(S), "deadline");
    check_health(after(&[Break]), HealthState::Unhealthy, Some(40 * MS), "broke");
}

#[test]
fn health_can_be_asked_for_a_token() {
    let mut b = bench(Script { headers: 40 * MS, ..script(&[Read("pong")]) });
    b.model = b.model.with_health_probe(HealthProbe::OneToken);
    let health = b.clock.block_on(b.model.check_health(&b.ctx));
    assert_eq!((health.state, health.latency), (HealthState::Healthy, Some(40 * MS)), "{health:?}");
    assert_eq!(b.seen.lock().unwrap().requests[0].body, "Whole: ping");

    let mut b = bench(Script { status: 429, ..script(&[Read("slow down")]) });
    b.model = b.model.with_health_probe(HealthProbe::OneToken);
    let health = b.clock.block_on(b.model.check_health(&b.ctx));
    assert_eq!(health.state, HealthState::Degraded);
    assert!(health.reason.unwrap().contains("slow down"));
}

#[test]
fn a_probe_that_cannot_be_made_has_no_latency_and_a_callers_deadline_counts() {
    let b = bench_of("unprobeable", script(&[]));
    let health = b.clock.block_on(b.model.check_health(&b.ctx));
    assert_eq!((health.state, health.latency), (HealthState::Unhealthy, None));

    let b = bench(script(&[Hang])).with_timeout(10 * MS);
    let health = b.clock.block_on(b.model.check_health(&b.ctx));
    assert_eq!(health.latency, Some(10 * MS));
}
