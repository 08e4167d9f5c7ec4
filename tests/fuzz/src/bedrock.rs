//! Bedrock's models over a transport that answers from memory: AWS's SDK and its frame codec included, since the provider
//! has no decoder without them.

use std::{
    collections::VecDeque,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    task::{Context, Poll},
};

use async_trait::async_trait;
use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderMap;
use llms_core::{
    CallContext, ChatModel, ChatRequest, Result, Stamp,
    observe::{CallEvent, ConnectionInfo, Timeline},
    time::{Timestamp, VirtualClock},
    wire::{Body, BodyCounters, Prepared, Reply, StampSource, Transport, TransportInfo},
};
use llms_providers_bedrock::{Config, Family, Model, model};
use tokio::runtime::Runtime;

use crate::{
    codecs::config,
    reads::Reads,
    secret,
    stream::{Run, check_run},
};

/// Serves the one answer that stands ready.
#[derive(Debug, Default)]
struct Memory(Mutex<Option<(u16, HeaderMap, VecDeque<Vec<u8>>)>>);

#[async_trait]
impl Transport for Memory {
    async fn send(&self, _: Prepared, ctx: &CallContext) -> Result<Reply> {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (status, headers, reads) = answer.expect("one request for one answer");
        let head = Stamp::user(Timestamp::from_nanos(0), 0);
        ctx.emit(|| CallEvent::Head { stamp: head, status, headers: &headers });
        let body = Box::new(MemoryBody { reads, counters: BodyCounters::default() });
        Ok(Reply { status, headers, head, connection: ConnectionInfo::default(), body })
    }

    fn info(&self) -> TransportInfo {
        TransportInfo { name: "memory".into(), stamps: StampSource::User, connections: "none".into() }
    }
}

struct MemoryBody {
    reads: VecDeque<Vec<u8>>,
    counters: BodyCounters,
}

impl Body for MemoryBody {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<Result<Option<Stamp>>> {
        let Some(read) = self.reads.pop_front() else { return Poll::Ready(Ok(None)) };
        buf.extend_from_slice(&read);
        let stamp = Stamp::user(Timestamp::from_nanos(u64::from(self.counters.reads)), self.counters.reads);
        self.counters.bytes += read.len() as u64;
        self.counters.reads += 1;
        Poll::Ready(Ok(Some(stamp)))
    }

    fn counters(&self) -> BodyCounters {
        self.counters
    }
}

/// Converse, and InvokeModel of every family.
pub struct Bedrock {
    runtime: Runtime,
    transport: Arc<Memory>,
    models: Vec<Model>,
}

/// All models, made once.
pub static BEDROCK: LazyLock<Bedrock> = LazyLock::new(|| {
    // No timers and no sockets: nothing under test may need them.
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let transport = Arc::new(Memory::default());
    let converse = config("bedrock", "http://127.0.0.1:9");
    let invoke = Family::ALL
        .map(|family| converse.clone().with_specific("api", "invoke").with_specific("body", family.name()));
    let models = std::iter::once(converse.clone()).chain(invoke).map(|config| {
        let config = Config::new(&config, &|_| None).expect("a valid configuration");
        runtime.block_on(model(config, transport.clone())).expect("a model")
    });
    let models = models.collect();
    Bedrock { runtime, transport, models }
});

impl Bedrock {
    /// Number `which` of the models, Converse first.
    pub fn model(&self, which: u8) -> &Model {
        &self.models[usize::from(which) % self.models.len()]
    }

    /// Lets `model` read one answer, whole or streamed.
    fn run(&self, model: &Model, answer: (u16, &HeaderMap, &[u8]), reads: Reads, stream: bool) -> Run {
        let (status, headers, body) = answer;
        let answer = (status, headers.clone(), reads.of(body).map(<[u8]>::to_vec).collect());
        *self.transport.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        let seen = Timeline::new();
        let ctx =
            CallContext::with_clock(Arc::new(VirtualClock::new())).with_observer(Arc::new(seen.clone()));
        let request = ChatRequest::text("?");
        let mut timed = Vec::new();
        let end = if stream {
            self.runtime.block_on(model.drive(&request, &ctx, &mut timed))
        } else {
            self.runtime.block_on(model.generate(&request, &ctx)).map(|response| {
                let said = response.text.len() + response.reasoning.as_ref().map_or(0, String::len);
                assert!(said <= body.len(), "{said} bytes said in a body of {}", body.len());
                // To be compared between the ways to read.
                llms_core::Outcome { id: Some(format!("{response:?}")), ..Default::default() }
            })
        };
        // A map with an order of its own.
        let hooks = vec![("all", format!("{:?}", seen.take().reported))];
        for (_, said) in &hooks {
            for secret in [secret::KEY, secret::HEADER] {
                assert!(!said.contains(secret), "a hook shows the secret {secret}: {said}");
            }
        }
        let hooks =
            hooks.into_iter().map(|(key, said)| (key, llms_core::observe::Reported::Text(said))).collect();
        Run { events: timed.into_iter().map(|t| t.event).collect(), complete: end.is_ok(), end, hooks }
    }

    /// Every promise about streams, checked on one body.
    pub fn check_stream(&self, which: u8, body: &[u8], seed: u8) {
        let model = self.model(which);
        let mut headers = HeaderMap::new();
        headers.insert("content-type", http::HeaderValue::from_static("application/vnd.amazon.eventstream"));
        let whole = self.run(model, (200, &headers, body), Reads::Whole, true);
        check_run(&whole, body.len());
        for reads in [Reads::Drip, Reads::Drawn(seed)] {
            let other = self.run(model, (200, &headers, body), reads, true);
            assert_eq!(other.verdict(), whole.verdict(), "in reads of {reads:?}, and in one");
        }
    }

    /// Every promise about whole answers and refusals.
    pub fn check_whole(&self, which: u8, status: u16, headers: &HeaderMap, body: &[u8], seed: u8) {
        let model = self.model(which);
        let whole = self.run(model, (status, headers, body), Reads::Whole, false);
        if let Err(error) = &whole.end {
            secret::check_error(error);
        }
        let other = self.run(model, (status, headers, body), Reads::Drawn(seed), false);
        assert_eq!(other.verdict(), whole.verdict(), "in reads drawn from {seed}, and in one");
    }
}

/// An event stream of messages written as text, so that their checksums are right: one a line, `e NAME JSON` an event,
/// `c JSON` a chunk of InvokeModel, `x NAME JSON` an exception, `r CODE TEXT` an error without type. Other lines are none.
pub fn messages(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in text.split(|&b| b == b'\n') {
        let Some((kind, rest)) = line.split_first() else { continue };
        let rest = rest.strip_prefix(b" ").unwrap_or(rest);
        let space = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        let (name, payload) =
            (String::from_utf8_lossy(&rest[..space]), rest.get(space + 1..).unwrap_or_default());
        let json = (":content-type", "application/json");
        let message = match kind {
            b'e' => message(&[(":event-type", &name), json, (":message-type", "event")], payload),
            b'c' => {
                let payload = format!(r#"{{"bytes":"{}"}}"#, STANDARD.encode(rest));
                message(&[(":event-type", "chunk"), json, (":message-type", "event")], payload.as_bytes())
            }
            b'x' => message(&[(":exception-type", &name), json, (":message-type", "exception")], payload),
            b'r' => {
                let text = String::from_utf8_lossy(payload);
                message(&[(":error-code", &name), (":error-message", &text), (":message-type", "error")], b"")
            }
            _ => continue,
        };
        // A header that is too long cannot be written.
        let before = bytes.len();
        if write_message_to(&message, &mut bytes).is_err() {
            bytes.truncate(before);
        }
    }
    bytes
}

fn message(headers: &[(&'static str, &str)], payload: &[u8]) -> Message {
    headers.iter().fold(Message::new(payload.to_vec()), |message, (name, value)| {
        message.add_header(Header::new(*name, HeaderValue::String((*value).to_owned().into())))
    })
}
