//! Benchmark entities and traits.
