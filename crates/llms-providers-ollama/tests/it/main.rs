//! Chat and generate: requests, recorded answers, errors, secrets. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod common;
mod generate;
mod properties;
mod real;
mod requests;
mod secrets;
mod server;
mod t025_ollama_hooks;
