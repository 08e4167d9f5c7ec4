//! What the tests of this crate share: a scripted [`Transport`], recordings, event-stream frames, a runtime without
//! timers.
//!
//! Each test binary uses a part of it, and helpers may unwrap as tests do.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod sigv4;

use std::{
    collections::{BTreeMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use async_trait::async_trait;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use llms_core::{
    CallContext, CallPhase, Error, ErrorCode, EventSink, Result, Stamp, StreamEvent, TimedEvent,
    config::ModelConfig,
    observe::{CallEvent, ConnectionInfo},
    time::{Timestamp, VirtualClock},
    wire::{Body, BodyCounters, Prepared, Reply, StampSource, Transport, TransportInfo},
};
use llms_providers_bedrock::{Config, Model, model};
use serde_json::Value;

/// Where the tests' requests go: loopback, so that no credentials are looked for.
pub const LOOPBACK: &str = "http://127.0.0.1:9";

/// One answer of the scripted transport.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// One socket read each.
    pub reads: Vec<Vec<u8>>,
    pub end: End,
}

/// How the body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Politely.
    Complete,
    /// The connection breaks.
    Broken,
    /// Never.
    Hangs,
}

impl Answer {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: HeaderMap::new(), reads: vec![body.into()], end: End::Complete }
    }

    pub fn stream(bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(200, bytes).header("content-type", "application/vnd.amazon.eventstream")
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.parse().unwrap());
        self
    }

    pub fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// The same bytes in reads of these sizes, repeated as often as needed.
    pub fn split(mut self, sizes: &[usize]) -> Self {
        let bytes = self.reads.concat();
        self.reads.clear();
        let (mut rest, mut sizes) = (bytes.as_slice(), sizes.iter().cycle());
        while !rest.is_empty() {
            let (read, tail) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            self.reads.push(read.to_vec());
            rest = tail;
        }
        self
    }
}

/// Serves answers in order, keeps the requests, stamps read `n` with `n` microseconds.
#[derive(Debug, Default)]
pub struct Scripted {
    answers: Mutex<VecDeque<Result<Answer, ErrorCode>>>,
    pub requests: Mutex<Vec<Prepared>>,
    /// Reads handed out, over all answers.
    pub reads: Arc<AtomicU32>,
    /// Bodies dropped before their end.
    pub abandoned: Arc<AtomicU32>,
}

impl Scripted {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().map(Ok).collect()), ..Self::default() })
    }

    pub fn failing(code: ErrorCode) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(VecDeque::from([Err(code)])), ..Self::default() })
    }

    pub fn request(&self) -> Prepared {
        self.requests.lock().unwrap().last().cloned().expect("a request was sent")
    }
}

/// When read `n` arrived.
pub fn arrival(n: u32) -> Timestamp {
    Timestamp::from_nanos(u64::from(n) * 1000)
}

#[async_trait]
impl Transport for Scripted {
    async fn send(&self, request: Prepared, ctx: &CallContext) -> Result<Reply> {
        let bytes = request.body.len() as u64;
        self.requests.lock().unwrap().push(request);
        let next = self.answers.lock().unwrap().pop_front();
        let answer = match next {
            Some(Ok(answer)) => answer,
            Some(Err(code)) => {
                return Err(Error::new("scripted.connect", code, "no route").with_phase(CallPhase::Connect));
            }
            None => std::future::pending().await,
        };
        let connection = ConnectionInfo { reused: Some(false), ..ConnectionInfo::default() };
        ctx.emit(|| CallEvent::Connected(&connection));
        ctx.emit(|| CallEvent::Written { at: ctx.now(), bytes });
        let head = Stamp::user(arrival(0), 0);
        ctx.emit(|| CallEvent::Head { stamp: head, status: answer.status, headers: &answer.headers });
        let body = ScriptedBody {
            reads: answer.reads.into(),
            end: answer.end,
            counters: BodyCounters::default(),
            // Every second poll finds nothing, so that wake-ups are tried too.
            idle: false,
            ended: false,
            served: self.reads.clone(),
            abandoned: self.abandoned.clone(),
        };
        Ok(Reply { status: answer.status, headers: answer.headers, head, connection, body: Box::new(body) })
    }

    fn info(&self) -> TransportInfo {
        TransportInfo {
            name: "scripted".to_owned(),
            stamps: StampSource::User,
            connections: "none".to_owned(),
        }
    }
}

struct ScriptedBody {
    reads: VecDeque<Vec<u8>>,
    end: End,
    counters: BodyCounters,
    idle: bool,
    ended: bool,
    served: Arc<AtomicU32>,
    abandoned: Arc<AtomicU32>,
}

impl Body for ScriptedBody {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        assert!(!self.ended, "a body is not read beyond its end");
        self.idle = !self.idle;
        if self.idle {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(read) = self.reads.pop_front() {
            buf.extend_from_slice(&read);
            let stamp = Stamp::user(arrival(self.counters.reads), self.counters.reads);
            self.counters.bytes += read.len() as u64;
            self.counters.reads += 1;
            self.served.fetch_add(1, Relaxed);
            return Poll::Ready(Ok(Some(stamp)));
        }
        match self.end {
            End::Complete => {
                self.ended = true;
                Poll::Ready(Ok(None))
            }
            End::Broken => {
                self.ended = true;
                Poll::Ready(Err(Error::new("scripted.body", ErrorCode::StreamClosed, "the connection broke")))
            }
            End::Hangs => Poll::Pending,
        }
    }

    fn counters(&self) -> BodyCounters {
        self.counters
    }
}

impl Drop for ScriptedBody {
    fn drop(&mut self) {
        if !self.ended {
            self.abandoned.fetch_add(1, Relaxed);
        }
    }
}

/// A model at the scripted transport, with an empty environment.
pub async fn connect(transport: Arc<Scripted>) -> Model {
    connect_with(transport, |c| c, &[]).await.unwrap()
}

/// The same with changes to the configuration and with an environment.
pub async fn connect_with(
    transport: Arc<Scripted>,
    change: impl FnOnce(ModelConfig) -> ModelConfig,
    env: &[(&str, &str)],
) -> Result<Model> {
    let config = change(ModelConfig::new("bedrock", "amazon.nova-micro-v1:0").with_base_url(LOOPBACK));
    let vars: BTreeMap<String, String> =
        env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    model(Config::new(&config, &|name| vars.get(name).cloned())?, transport).await
}

/// Runs on a runtime without timers and sockets: nothing here may need them.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// A context on a virtual clock that stands still unless told.
pub fn context() -> CallContext {
    CallContext::with_clock(Arc::new(VirtualClock::new()))
}

/// Completes once `other` would have to wait: gives every task one more turn.
pub async fn turns(n: usize) {
    for _ in 0..n {
        tokio::task::yield_now().await;
    }
}

/// Polls a future once.
pub fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// One frame of an event stream.
pub fn frame(headers: &[(&'static str, &str)], payload: &str) -> Vec<u8> {
    let mut message = Message::new(payload.as_bytes().to_vec());
    for (name, value) in headers {
        message = message.add_header(Header::new(*name, HeaderValue::String((*value).to_owned().into())));
    }
    let mut bytes = Vec::new();
    write_message_to(&message, &mut bytes).unwrap();
    bytes
}

/// An event frame.
pub fn event(kind: &str, payload: &str) -> Vec<u8> {
    frame(
        &[(":event-type", kind), (":content-type", "application/json"), (":message-type", "event")],
        payload,
    )
}

/// An exception frame.
pub fn exception(kind: &str, payload: &str) -> Vec<u8> {
    frame(
        &[(":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception")],
        payload,
    )
}

/// A short complete stream, one frame each: start, two texts, end of block, stop, metadata.
pub fn short_stream() -> Vec<Vec<u8>> {
    let text = |t: &str| {
        event("contentBlockDelta", &format!(r#"{{"contentBlockIndex":0,"delta":{{"text":"{t}"}}}}"#))
    };
    vec![
        event("messageStart", r#"{"role":"assistant"}"#),
        text("Hel"),
        text("lo"),
        event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        event("messageStop", r#"{"stopReason":"end_turn"}"#),
        event(
            "metadata",
            r#"{"metrics":{"latencyMs":12},"usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}"#,
        ),
    ]
}

/// Where each frame ends.
pub fn frame_ends(bytes: &[u8]) -> Vec<usize> {
    let (mut ends, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        at += u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        ends.push(at);
    }
    ends
}

/// The `:event-type` of a frame.
pub fn event_type(frame: &[u8]) -> String {
    let message = aws_smithy_eventstream::frame::read_message_from(frame).unwrap();
    let header = message.headers().iter().find(|h| h.name().as_str() == ":event-type").unwrap();
    header.value().as_string().unwrap().as_str().to_owned()
}

/// The chunk of an InvokeModel stream that carries this JSON.
pub fn chunk(json: &str) -> Vec<u8> {
    event("chunk", &format!(r#"{{"bytes":"{}","p":"abcd"}}"#, STANDARD.encode(json)))
}

/// One recorded exchange.
pub struct Recording {
    pub id: String,
    pub stream: bool,
    pub model: String,
    pub answer: Answer,
    /// What boto3 makes of it.
    pub expected: Value,
}

/// The recorded exchanges of Converse and ConverseStream.
pub fn recordings() -> Vec<Recording> {
    read(include_str!("../../recordings/bedrock.jsonl"), include_str!("../../recordings/expected.json"))
}

/// Those of InvokeModel and its stream.
pub fn invoke_recordings() -> Vec<Recording> {
    read(include_str!("../../recordings/invoke.jsonl"), include_str!("../../recordings/invoke.expected.json"))
}

/// Those of CountTokens.
pub fn count_recordings() -> Vec<Recording> {
    read(
        include_str!("../../recordings/count-tokens.jsonl"),
        include_str!("../../recordings/count-tokens.expected.json"),
    )
}

fn read(lines: &str, expected: &str) -> Vec<Recording> {
    let expected: Value = serde_json::from_str(expected).unwrap();
    lines
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let id = line["id"].as_str().unwrap().to_owned();
            let response = &line["response"];
            let body = match response["body_base64"].as_str() {
                Some(text) => STANDARD.decode(text).unwrap(),
                None => response["body"].as_str().unwrap().as_bytes().to_vec(),
            };
            let mut answer = Answer::new(response["status"].as_u64().unwrap() as u16, body);
            for (name, value) in response["headers"].as_object().unwrap() {
                // The transport removes the transfer coding.
                if name != "transfer-encoding" {
                    let name = http::HeaderName::try_from(name.as_str()).unwrap();
                    answer.headers.insert(name, value.as_str().unwrap().parse().unwrap());
                }
            }
            let path = line["request"]["path"].as_str().unwrap();
            Recording {
                stream: line["stream"].as_bool().unwrap(),
                model: path.split('/').nth(2).unwrap().replace("%3A", ":"),
                answer,
                expected: expected["recordings"][&id].clone(),
                id,
            }
        })
        .collect()
}

/// An observer that prints every event.
#[derive(Default)]
pub struct Printed(pub Mutex<String>);

impl llms_core::observe::CallObserver for Printed {
    fn observe(&self, event: &CallEvent<'_>) {
        use std::fmt::Write;
        writeln!(self.0.lock().unwrap(), "{event:?}").unwrap();
    }

    fn wants_chunks(&self) -> bool {
        true
    }
}

/// All events as if they had come in one read.
pub fn in_one_read(events: &[TimedEvent]) -> Vec<TimedEvent> {
    events.iter().map(|e| TimedEvent { stamp: Stamp::user(arrival(0), 0), ..e.clone() }).collect()
}

/// Notes for each event the read that brought it.
#[derive(Default)]
pub struct Noting {
    pub events: Vec<(StreamEvent<'static>, u32)>,
}

impl EventSink for Noting {
    fn event(&mut self, event: StreamEvent<'_>, stamp: Stamp) {
        assert_eq!(stamp.user, arrival(stamp.read), "the stamp is one the transport gave");
        self.events.push((event.into_owned(), stamp.read));
    }
}
