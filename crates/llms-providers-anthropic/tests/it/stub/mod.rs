//! A transport that answers from a script: one status, headers, and a body in the given reads, stamped 1 ms apart.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use llms_core::{
    CallContext, Error, ErrorCode, Result, Stamp, StreamEvent, TimedEvent,
    config::ModelConfig,
    observe::{CallEvent, CallObserver, ConnectionInfo},
    time::Timestamp,
    wire::{Body, BodyCounters, HttpModel, Prepared, Reply, StampSource, Transport, TransportInfo},
};
use llms_providers_anthropic::{Codec, Config};
use serde_json::Value;

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// One read each.
    pub(crate) reads: Vec<String>,
    /// Whether the connection breaks after them.
    pub(crate) breaks: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, reads: &[&str]) -> Self {
        let reads = reads.iter().map(|r| (*r).to_owned()).collect();
        Self { status, headers: Vec::new(), reads, breaks: false }
    }

    pub(crate) fn with_headers(mut self, headers: &[(&'static str, &str)]) -> Self {
        self.headers.extend(headers.iter().map(|(n, v)| (*n, (*v).to_owned())));
        self
    }

    /// A stream of these events, each in a read of its own, named as the service names them.
    pub(crate) fn stream(events: &[&str]) -> Self {
        let frames: Vec<String> = events.iter().map(|data| frame(data)).collect();
        Self { status: 200, headers: Vec::new(), reads: frames, breaks: false }
    }
}

pub(crate) fn frame(data: &str) -> String {
    let parsed: Value = serde_json::from_str(data).unwrap();
    format!("event: {}\ndata: {data}\n\n", parsed["type"].as_str().unwrap())
}

/// Answers in order; every request sent is kept.
pub(crate) struct Stub {
    answers: Mutex<VecDeque<Answer>>,
    pub(crate) sent: Mutex<Vec<Prepared>>,
}

impl std::fmt::Debug for Stub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stub").finish_non_exhaustive()
    }
}

impl Stub {
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self { answers: Mutex::new(answers.into_iter().collect()), sent: Mutex::default() })
    }

    /// The body of the `n`-th request.
    pub(crate) fn body(&self, n: usize) -> Value {
        serde_json::from_slice(&self.sent.lock().unwrap()[n].body).unwrap()
    }
}

struct Reads {
    left: VecDeque<String>,
    breaks: bool,
    counters: BodyCounters,
}

/// Read `n` of a body comes at `n` + 1 ms.
pub(crate) fn stamp(read: u32) -> Stamp {
    Stamp::user(Timestamp::ZERO + Duration::from_millis(u64::from(read) + 1), read)
}

impl Body for Reads {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        let Some(text) = self.left.pop_front() else {
            let broken = || Error::new("stub.read", ErrorCode::StreamClosed, "the connection broke");
            return Poll::Ready(if self.breaks { Err(broken()) } else { Ok(None) });
        };
        buf.extend_from_slice(text.as_bytes());
        let stamp = stamp(self.counters.reads);
        self.counters.reads += 1;
        self.counters.bytes += text.len() as u64;
        Poll::Ready(Ok(Some(stamp)))
    }

    fn counters(&self) -> BodyCounters {
        self.counters
    }
}

#[async_trait::async_trait]
impl Transport for Stub {
    async fn send(&self, request: Prepared, ctx: &CallContext) -> Result<Reply> {
        let bytes = request.body.len() as u64;
        self.sent.lock().unwrap().push(request);
        let answer = self.answers.lock().unwrap().pop_front().expect("an answer for every request");
        ctx.emit(|| CallEvent::Written { at: Timestamp::ZERO, bytes });
        let headers = answer.headers.iter().map(|(n, v)| (n.parse().unwrap(), v.parse().unwrap())).collect();
        let head = stamp(0);
        let reply = Reply {
            status: answer.status,
            headers,
            head,
            connection: ConnectionInfo::default(),
            body: Box::new(Reads {
                left: answer.reads.into(),
                breaks: answer.breaks,
                counters: BodyCounters::default(),
            }),
        };
        ctx.emit(|| CallEvent::Head { stamp: head, status: reply.status, headers: &reply.headers });
        Ok(reply)
    }

    fn info(&self) -> TransportInfo {
        TransportInfo { name: "stub".into(), stamps: StampSource::User, connections: "none".into() }
    }
}

/// Everything an observer is told, as text.
#[derive(Debug, Default)]
pub(crate) struct Log(pub(crate) Mutex<Vec<String>>);

impl CallObserver for Log {
    fn observe(&self, event: &CallEvent<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }

    fn wants_chunks(&self) -> bool {
        true
    }
}

pub(crate) fn config() -> ModelConfig {
    ModelConfig::new("anthropic", "claude-test")
        .with_base_url("http://127.0.0.1:9")
        .with_api_key("hunter2hunter2")
}

pub(crate) fn model(config: &ModelConfig, stub: &Arc<Stub>) -> HttpModel<Codec, Stub> {
    llms_providers_anthropic::model(Config::new(config, &|_| None).unwrap(), stub.clone())
}

/// Runs a future with timers, without sockets.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

/// The events without stamps.
pub(crate) fn bare(events: Vec<TimedEvent>) -> Vec<StreamEvent<'static>> {
    events.into_iter().map(|e| e.event).collect()
}
