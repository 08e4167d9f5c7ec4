//! The stopwatch: HTTP clients that stamp every read. The only crate of ours that opens sockets to servers.
//!
//! Two implementations of [`llms_core::wire::Transport`]: [`Direct`], an own HTTP/1.1 client on a stamped socket
//! with a clock on every phase, which benchmarks use; and [`Pooled`], reqwest with its defaults that falsify
//! benchmarks switched off, which shows what applications see. [`http1`] is the reader of `Direct` without
//! sockets: bytes in, head and payload out.
//!
//! Neither follows redirects, uses a proxy, asks for compression or retries, save one rule of connection reuse
//! that both share: a request on a *reused* connection that died without a byte of an answer is sent once more
//! on a fresh one, and reported as resent. A good answer in a content coding that was not asked for is refused, never
//! decoded. What servers that mean harm can do is tested in `tests/hostile`.

mod direct;
mod fail;
pub mod http1;
mod options;
mod pooled;
mod target;
mod tls;

pub use direct::{Direct, direct};
pub use options::{ConnectionPolicy, Options, Roots};
pub use pooled::{Pooled, pooled};
