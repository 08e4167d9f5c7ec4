//! Chat completions and Responses: requests, recorded answers, errors, secrets. One binary: each further one would be linked anew.
#![allow(clippy::unwrap_used, reason = "tests may panic")]

mod answers;
mod apis;
mod common;
mod real;
mod requests;
mod responses;
mod secrets;
mod stub;
mod t022_openai_hooks;
