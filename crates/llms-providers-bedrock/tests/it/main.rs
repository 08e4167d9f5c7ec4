//! The runtime API through AWS's own client: requests, recorded answers, signatures, secrets. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod calls;
mod chain;
mod configuration;
mod invoke_replay;
mod invoke_requests;
mod loopback;
mod requests;
mod secrets;
mod support;
mod t024_bedrock_hooks;
