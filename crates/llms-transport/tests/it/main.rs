//! Both transports against scripted servers on loopback: connection reuse and its stale-connection rule, bodies
//! and their stamps, errors, TLS; and the reader against hyper's on the same bytes.

#![allow(clippy::unwrap_used, reason = "a panic in a test is its report")]

mod bodies;
mod client;
mod differential;
mod errors;
mod order;
mod reuse;
mod server;
mod stale;
mod stamps;
mod tls;
