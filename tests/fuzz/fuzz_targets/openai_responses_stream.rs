//! Streams of the Responses API. First byte: seeds the reads.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::{codecs, stream};

fuzz_target!(init: { LazyLock::force(&codecs::OPENAI); }, |data: &[u8]| {
    let Some((&seed, body)) = data.split_first() else { return };
    stream::check(&codecs::OPENAI.responses, body, seed);
});
