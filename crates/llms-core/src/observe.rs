//! The performance hook of a call: what happened when, and what the server said about itself.
//!
//! A call reports to the observer in its [`CallContext`](crate::CallContext) when there is one; without one
//! nothing is assembled and nothing is paid. [`Timeline`] is the ready-made observer that keeps everything.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::{event::Stamp, time::Timestamp};

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
    /// `HTTP/1.1`, `h2`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
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
}

/// An observer that keeps a [`CallTimeline`].
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    inner: Arc<Mutex<CallTimeline>>,
}

impl Timeline {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what was seen so far, leaving it empty.
    pub fn take(&self) -> CallTimeline {
        std::mem::take(&mut *self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl CallObserver for Timeline {
    fn observe(&self, event: &CallEvent<'_>) {
        let mut t = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            CallEvent::Sent { at } => t.sent = Some(*at),
            CallEvent::Connecting { .. } => {}
            CallEvent::Connected(info) => t.connection = (*info).clone(),
            CallEvent::Resent { .. } => t.resent = true,
            CallEvent::Written { at, bytes } => {
                t.written = Some(*at);
                t.bytes_out = Some(*bytes);
            }
            CallEvent::Head { stamp, status, .. } => {
                t.headers = Some(*stamp);
                t.status = Some(*status);
            }
            CallEvent::FirstByte { stamp } => t.first_byte = Some(*stamp),
            CallEvent::Reported { key, value } => {
                t.reported.insert((*key).to_owned(), (*value).into());
            }
            CallEvent::End { at, bytes, reads } => {
                t.end = Some(*at);
                t.bytes_in = Some(*bytes);
                t.reads = Some(*reads);
            }
        }
    }
}
