//! A transport without a network: answers by path from a script, a read a piece, and keeps what it was sent.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use async_trait::async_trait;
use http::HeaderMap;
use llms_core::{
    CallContext, Error, ErrorCode, Result, Stamp,
    config::ModelConfig,
    observe::{CallEvent, ConnectionInfo},
    time::Timestamp,
    wire::{Body, BodyCounters, Prepared, Reply, StampSource, Transport, TransportInfo},
};
use llms_providers_ollama::{Config, Model};

/// One scripted answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// One read each.
    pub(crate) pieces: Vec<String>,
    /// The connection breaks after the last piece.
    pub(crate) breaks: bool,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self { status: 200, pieces: vec![body.into()], ..Self::default() }
    }

    pub(crate) fn lines(lines: &[&str]) -> Self {
        Self { status: 200, pieces: lines.iter().map(|l| format!("{l}\n")).collect(), ..Self::default() }
    }

    pub(crate) fn refused(status: u16, body: impl Into<String>) -> Self {
        Self { status, pieces: vec![body.into()], ..Self::default() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Answers by path; a path without a script is a page that is not there.
#[derive(Default)]
pub(crate) struct Stub {
    answers: BTreeMap<&'static str, Answer>,
    pub(crate) sent: Mutex<Vec<Prepared>>,
}

/// Without its script, which holds what servers repeat.
impl std::fmt::Debug for Stub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stub").finish_non_exhaustive()
    }
}

impl Stub {
    pub(crate) fn new(answers: impl IntoIterator<Item = (&'static str, Answer)>) -> Arc<Self> {
        Arc::new(Self { answers: answers.into_iter().collect(), sent: Mutex::default() })
    }

    /// Paths asked so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.sent.lock().unwrap().iter().map(|p| p.uri.path().to_owned()).collect()
    }

    /// The body of the request number `at`.
    pub(crate) fn body(&self, at: usize) -> serde_json::Value {
        serde_json::from_slice(&self.sent.lock().unwrap()[at].body).unwrap()
    }
}

#[async_trait]
impl Transport for Stub {
    async fn send(&self, request: Prepared, ctx: &CallContext) -> Result<Reply> {
        let answer = self
            .answers
            .get(request.uri.path())
            .cloned()
            .unwrap_or_else(|| Answer::refused(404, "404 page not found"));
        let bytes = request.body.len() as u64;
        self.sent.lock().unwrap().push(request);
        let connection = ConnectionInfo { reused: Some(false), ..ConnectionInfo::default() };
        ctx.emit(|| CallEvent::Connected(&connection));
        ctx.emit(|| CallEvent::Written { at: ctx.now(), bytes });
        let mut headers = HeaderMap::new();
        for (name, value) in answer.headers {
            headers.insert(name, value.parse().unwrap());
        }
        let head = stamp(0);
        ctx.emit(|| CallEvent::Head { stamp: head, status: answer.status, headers: &headers });
        let body = Pieces {
            left: answer.pieces.into_iter(),
            breaks: answer.breaks,
            counters: BodyCounters::default(),
        };
        Ok(Reply { status: answer.status, headers, head, connection, body: Box::new(body) })
    }

    fn info(&self) -> TransportInfo {
        TransportInfo { name: "stub".into(), stamps: StampSource::User, connections: "none".into() }
    }
}

/// Read number `read` came that many milliseconds after the beginning.
pub(crate) fn stamp(read: u32) -> Stamp {
    Stamp::user(Timestamp::from_nanos(u64::from(read) * 1_000_000), read)
}

struct Pieces {
    left: std::vec::IntoIter<String>,
    breaks: bool,
    counters: BodyCounters,
}

impl Body for Pieces {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        let Some(piece) = self.left.next() else {
            let broken = || Error::new("stub.body", ErrorCode::StreamClosed, "the connection broke");
            return Poll::Ready(if self.breaks { Err(broken()) } else { Ok(None) });
        };
        self.counters.bytes += piece.len() as u64;
        self.counters.reads += 1;
        buf.extend_from_slice(piece.as_bytes());
        Poll::Ready(Ok(Some(stamp(self.counters.reads))))
    }

    fn counters(&self) -> BodyCounters {
        self.counters
    }
}

/// A model of this configuration over the stub.
pub(crate) fn model_of(config: &ModelConfig, stub: &Arc<Stub>) -> Model<Stub> {
    llms_providers_ollama::model(Config::new(config, &|_| None).unwrap(), stub.clone())
}

/// Runs `future` to its end.
pub(crate) fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}
