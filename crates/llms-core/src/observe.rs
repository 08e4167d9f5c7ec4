//! The performance hook of a call: what happened when, and what the server said about itself.
//!
//! A call reports to the observer in its [`CallContext`](crate::CallContext) when there is one; without one
//! nothing is assembled and nothing is paid. [`Timeline`] is the ready-made observer that keeps everything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, ErrorCode},
    event::Stamp,
    time::Timestamp,
    wire::StampSource,
};

/// A stretch of time within a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
}

/// How the connection of a call came to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// `true`: taken from the pool; `false`: opened for this call; `None`: the transport cannot tell.
    pub reused: Option<bool>,
    /// Name resolution, when it happened within this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Span>,
    /// TCP handshake, when it happened within this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<Span>,
    /// TLS handshake, when it happened within this call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Span>,
    /// Whether the TLS session was resumed; `None` without TLS, or when the transport cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_resumed: Option<bool>,
    /// `HTTP/1.1`, `h2`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The instant that the stamps of this connection mean; `None` when the transport does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamps: Option<StampSource>,
}

/// One thing that happened during a call.
#[derive(Debug)]
#[non_exhaustive]
pub enum CallEvent<'a> {
    /// The prepared request was handed to the transport, before any connect. The origin of service time.
    Sent {
        /// When.
        at: Timestamp,
    },
    /// No connection was idle and one is being opened. From transports that can tell; an interruption before
    /// `Connected` is then one of phase connect.
    Connecting {
        /// When.
        at: Timestamp,
    },
    /// A connection is ready.
    Connected(&'a ConnectionInfo),
    /// The first copy died on a reused connection before a byte of the answer came, and the request was sent
    /// once more on a fresh one. The first copy may have been executed.
    Resent {
        /// When the second copy was begun.
        at: Timestamp,
    },
    /// The first byte of the request is about to be handed to the kernel: read immediately before the first write,
    /// on a connection that is ready. Of the second copy when the request was sent twice.
    Writing {
        /// When.
        at: Timestamp,
    },
    /// The last byte of the request was handed to the kernel.
    Written {
        /// When.
        at: Timestamp,
        /// Bytes of head and body.
        bytes: u64,
    },
    /// Status and headers are complete.
    Head {
        /// Stamp of the read that completed them.
        stamp: Stamp,
        /// HTTP status.
        status: u16,
        /// All headers of the answer.
        headers: &'a HeaderMap,
    },
    /// The first byte of the body.
    FirstByte {
        /// Stamp of its read.
        stamp: Stamp,
    },
    /// The first chunk of a stream that carries generated content.
    FirstToken {
        /// Stamp of its read.
        stamp: Stamp,
    },
    /// A chunk of a stream that carries generated content, the first one included. Only for observers that ask for
    /// chunks.
    Chunk {
        /// Stamp of its read.
        stamp: Stamp,
    },
    /// Something the server reports about itself, under a stable documented key (`openai.processing_ms`).
    Reported {
        /// The key, `provider.name_unit`.
        key: &'static str,
        /// The value.
        value: HookValue<'a>,
    },
    /// The body is complete, or reading it ended in an error.
    End {
        /// When.
        at: Timestamp,
        /// Payload bytes received.
        bytes: u64,
        /// Socket reads that brought them.
        reads: u32,
    },
    /// The attempt, or the call, failed; the last event of it.
    Failed {
        /// When.
        at: Timestamp,
        /// Why.
        error: &'a Error,
    },
    /// A layer gives the call another attempt; what follows until the next such event belongs to that.
    Retry {
        /// When the decision fell.
        at: Timestamp,
        /// Number of the attempt to come; the first attempt is 0.
        attempt: u32,
        /// How long it waits before.
        wait: Duration,
        /// Why the attempt before failed.
        error: &'a Error,
    },
    /// A layer held the call back (rate limit).
    Held {
        /// From when.
        at: Timestamp,
        /// For how long.
        wait: Duration,
    },
    /// A layer chose this model for the call.
    Routed {
        /// Its provider.
        provider: &'a str,
        /// Its model.
        model: &'a str,
        /// The rule that chose it, in words.
        why: &'a str,
    },
    /// The answer comes from a cache on this side: no measurement of any service.
    Replayed {
        /// When.
        at: Timestamp,
        /// Age of the answer.
        age: Duration,
    },
}

/// A value a server reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HookValue<'a> {
    /// A number in the unit its key names.
    Number(f64),
    /// A word: request id, service tier, fingerprint.
    Text(&'a str),
}

/// A [`HookValue`] that owns its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reported {
    /// A number in the unit its key names.
    Number(f64),
    /// A word.
    Text(String),
}

impl From<HookValue<'_>> for Reported {
    fn from(v: HookValue<'_>) -> Self {
        match v {
            HookValue::Number(n) => Self::Number(n),
            HookValue::Text(t) => Self::Text(t.to_owned()),
        }
    }
}

/// Receives what happens during calls. Must not block.
pub trait CallObserver: Send + Sync {
    /// One event.
    fn observe(&self, event: &CallEvent<'_>);

    /// Whether [`CallEvent::Chunk`] is wanted; asked once a call.
    fn wants_chunks(&self) -> bool {
        false
    }
}

/// Everything observed of one call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallTimeline {
    /// The prepared request was handed to the transport.
    pub sent: Option<Timestamp>,
    /// Connection phases and reuse.
    pub connection: ConnectionInfo,
    /// Whether the request was sent a second time on a fresh connection.
    pub resent: bool,
    /// Immediately before the first write of the request, the connection being ready; from transports that can tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub writing: Option<Timestamp>,
    /// The last byte of the request was handed to the kernel.
    pub written: Option<Timestamp>,
    /// Status and headers were complete.
    pub headers: Option<Stamp>,
    /// HTTP status.
    pub status: Option<u16>,
    /// First byte of the body.
    pub first_byte: Option<Stamp>,
    /// The body was complete.
    pub end: Option<Timestamp>,
    /// Bytes of request head and body.
    pub bytes_out: Option<u64>,
    /// Payload bytes of the answer.
    pub bytes_in: Option<u64>,
    /// Socket reads that brought them.
    pub reads: Option<u32>,
    /// What the server reported about itself.
    pub reported: BTreeMap<String, Reported>,
    /// First chunk of a stream with generated content.
    pub first_token: Option<Stamp>,
    /// Attempts before the one described here, oldest first.
    pub retries: Vec<RetryNote>,
    /// How long layers held the call back, retries not counted.
    pub held: Duration,
    /// The model a router chose: provider, model, rule.
    pub routed: Option<(String, String, String)>,
    /// Whether the answer came from a cache on this side.
    pub replayed: bool,
}

/// An attempt that failed and was followed by another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryNote {
    /// When the decision for another attempt fell.
    pub at: Timestamp,
    /// When the failed attempt was handed to the transport.
    #[serde(default)]
    pub sent: Option<Timestamp>,
    /// How long was waited before the next.
    pub wait: Duration,
    /// Why it failed.
    pub code: ErrorCode,
    /// HTTP status of the failed attempt.
    #[serde(default)]
    pub status: Option<u16>,
}

/// An observer that keeps a [`CallTimeline`].
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    inner: Arc<Mutex<Seen>>,
}

/// A timeline in the making.
#[derive(Debug, Default)]
struct Seen {
    timeline: CallTimeline,
    reported: Said,
}

/// What a server has reported, as a list until the timeline is taken: a map of a few short strings is mostly room and
/// allocations, in each of thousands of calls in flight.
#[derive(Debug, Default)]
struct Said {
    /// The texts, end to end.
    text: String,
    entries: Vec<(&'static str, Value)>,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Number(f64),
    /// Length of the text.
    Text(usize),
}

impl Said {
    fn add(&mut self, key: &'static str, value: HookValue<'_>) {
        /// Room made at once: a few entries more, not twice as many.
        const ENTRIES: usize = 4;
        const TEXT: usize = 64;
        let value = match value {
            HookValue::Number(n) => Value::Number(n),
            HookValue::Text(text) => {
                if self.text.capacity() - self.text.len() < text.len() {
                    self.text.reserve_exact(text.len().max(TEXT));
                }
                self.text.push_str(text);
                Value::Text(text.len())
            }
        };
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(ENTRIES);
        }
        self.entries.push((key, value));
    }

    fn clear(&mut self) {
        self.text.clear();
        self.entries.clear();
    }

    /// In order: of two values under one key the later stands.
    fn into_map(self) -> BTreeMap<String, Reported> {
        let mut rest = self.text.as_str();
        let entry = |(key, value): (&str, Value)| {
            let value = match value {
                Value::Number(n) => Reported::Number(n),
                Value::Text(length) => {
                    let (text, behind) = rest.split_at(length);
                    rest = behind;
                    Reported::Text(text.to_owned())
                }
            };
            (key.to_owned(), value)
        };
        self.entries.into_iter().map(entry).collect()
    }
}

impl Timeline {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was seen so far, leaving it empty.
    pub fn take(&self) -> CallTimeline {
        let mut seen = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { mut timeline, reported } = std::mem::take(&mut *seen);
        timeline.reported = reported.into_map();
        timeline
    }
}

impl CallObserver for Timeline {
    fn observe(&self, event: &CallEvent<'_>) {
        let mut seen = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { timeline: t, reported } = &mut *seen;
        match event {
            CallEvent::Sent { at } => t.sent = Some(*at),
            CallEvent::Connecting { .. } | CallEvent::Chunk { .. } | CallEvent::Failed { .. } => {}
            CallEvent::Connected(info) => t.connection = (*info).clone(),
            CallEvent::Resent { .. } => t.resent = true,
            CallEvent::Writing { at } => t.writing = Some(*at),
            CallEvent::Written { at, bytes } => {
                t.written = Some(*at);
                t.bytes_out = Some(*bytes);
            }
            CallEvent::Head { stamp, status, .. } => {
                t.headers = Some(*stamp);
                t.status = Some(*status);
            }
            CallEvent::FirstByte { stamp } => t.first_byte = Some(*stamp),
            CallEvent::FirstToken { stamp } => t.first_token = Some(*stamp),
            CallEvent::Retry { at, wait, error, .. } => {
                let mut retries = std::mem::take(&mut t.retries);
                retries.push(RetryNote {
                    at: *at,
                    sent: t.sent,
                    wait: *wait,
                    code: error.code(),
                    status: error.status(),
                });
                // What was seen so far belongs to the attempt that failed.
                let (held, routed) = (t.held, t.routed.take());
                *t = CallTimeline { retries, held, routed, ..CallTimeline::default() };
                reported.clear();
            }
            CallEvent::Held { wait, .. } => t.held += *wait,
            CallEvent::Routed { provider, model, why } => {
                t.routed = Some(((*provider).to_owned(), (*model).to_owned(), (*why).to_owned()));
            }
            CallEvent::Replayed { .. } => t.replayed = true,
            CallEvent::Reported { key, value } => {
                reported.add(key, *value);
            }
            CallEvent::End { at, bytes, reads } => {
                t.end = Some(*at);
                t.bytes_in = Some(*bytes);
                t.reads = Some(*reads);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_reports_comes_back_as_a_map() {
        let timeline = Timeline::new();
        let say = |key, value| timeline.observe(&CallEvent::Reported { key, value });
        for (n, key) in ["toy.n0", "toy.n1", "toy.n2", "toy.n3", "toy.n4", "toy.n5"].into_iter().enumerate() {
            say(key, HookValue::Number(n as f64));
        }
        say("toy.id", HookValue::Text("ä1"));
        say("toy.empty", HookValue::Text(""));
        say("toy.n3", HookValue::Text("later"));
        let reported = timeline.take().reported;
        assert_eq!(reported.len(), 8);
        assert_eq!(reported["toy.id"], Reported::Text("ä1".to_owned()));
        assert_eq!(reported["toy.empty"], Reported::Text(String::new()));
        assert_eq!(reported["toy.n3"], Reported::Text("later".to_owned()));
        assert_eq!(reported["toy.n5"], Reported::Number(5.0));
        assert!(timeline.take().reported.is_empty());
    }

    #[test]
    fn a_timeline_describes_the_last_attempt_and_notes_those_before() {
        let timeline = Timeline::new();
        let at = |ms: u64| Timestamp::from_nanos(ms * 1_000_000);
        let error = Error::new("toy.stream", ErrorCode::RateLimit, "slow down").with_status(429);
        timeline.observe(&CallEvent::Held { at: at(0), wait: Duration::from_millis(5) });
        timeline.observe(&CallEvent::Sent { at: at(5) });
        timeline.observe(&CallEvent::Reported { key: "toy.left", value: HookValue::Number(0.0) });
        timeline.observe(&CallEvent::Failed { at: at(7), error: &error });
        let wait = Duration::from_millis(3);
        timeline.observe(&CallEvent::Retry { at: at(7), attempt: 1, wait, error: &error });
        timeline.observe(&CallEvent::Sent { at: at(10) });
        let seen = timeline.take();
        assert_eq!((seen.sent, seen.held), (Some(at(10)), Duration::from_millis(5)));
        assert!(seen.reported.is_empty(), "what the failed attempt reported is not the last one's");
        let [note] = &seen.retries[..] else { panic!("one retry: {seen:?}") };
        assert_eq!((note.sent, note.at, note.wait), (Some(at(5)), at(7), wait));
        assert_eq!((note.code, note.status), (ErrorCode::RateLimit, Some(429)));
    }
}
