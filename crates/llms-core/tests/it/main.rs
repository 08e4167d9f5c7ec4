//! The contract crate: framers, fixtures of HTTP models, the model trait. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod framers;
mod http_model;
mod model;
