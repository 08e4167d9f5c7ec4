//! Servers that mean harm, against both transports: whatever they send and however long, a call ends in a clear error of
//! the right code, within bounded memory, and in time.
//!
//! Memory is measured by the allocator of this process, so the tests take turns; what the scripted server holds counts
//! too.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]
#![allow(unsafe_code, reason = "counting memory needs a global allocator, which is an unsafe trait")]
#![allow(dead_code, reason = "the helpers are shared with the other tests, which use more of them")]

mod bodies;
#[path = "../it/client.rs"]
mod client;
mod codec;
mod heads;
mod idle;
mod memory;
#[path = "../it/server.rs"]
mod server;
