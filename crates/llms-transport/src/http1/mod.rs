//! HTTP/1.1 as a pure state machine: bytes in; head, payload and state out. No I/O, no clock.
//!
//! [`write_request_head`] writes a request head; [`HeadParser`] reads the head of an answer and decides its [`Framing`];
//! [`BodyDecoder`] takes the transfer coding off in place, in the caller's buffer. Any split of the bytes gives
//! the same result. The `direct` transport feeds it from a stamped socket, tests and benches from memory.
//!
//! Deliberately strict where two readers could disagree about where an answer ends (RFC 9112, section 6.3): a
//! benchmark that guesses would time the wrong bytes. Content codings are never offered, so never undone.

mod body;
mod chunked;
mod head;
mod request;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt};

pub use body::{BodyDecoder, Decoded};
pub use head::{Framing, HeadParser, MAX_HEAD, MAX_HEADERS, ResponseHead};
pub use request::write_request_head;

/// What in an answer breaks HTTP/1.1: lower case, says what was expected and what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(Cow<'static, str>);

impl Malformed {
    fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self(what.into())
    }

    /// `expected X, found "…"`, with at most the first 24 bytes of what was found.
    fn found(expected: &str, found: &[u8]) -> Self {
        const SHOWN: usize = 24;
        let more = if found.len() > SHOWN { "…" } else { "" };
        let shown = found[..found.len().min(SHOWN)].escape_ascii();
        Self(format!("expected {expected}, found \"{shown}{more}\"").into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}
