//! End-to-end tests live in `tests/tests/e2e`. Here only the README's Rust, compiled as a doc test.

/// The README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
