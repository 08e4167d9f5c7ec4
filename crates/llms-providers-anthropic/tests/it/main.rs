//! The Messages API: requests, recorded answers, errors, secrets. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod content;
mod counts;
mod live;
mod properties;
mod requests;
mod secrets;
mod stub;
mod t023_anthropic_hooks;
