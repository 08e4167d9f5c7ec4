//! The layers around scripted models, on virtual time.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod cache;
mod conformance;
mod limit;
mod retry;
mod router;
mod support;
