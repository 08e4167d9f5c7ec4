//! Streams of chat completions and of text completions. First byte: even for chat; it also seeds the reads.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::{codecs, stream};

fuzz_target!(init: { LazyLock::force(&codecs::OPENAI); }, |data: &[u8]| {
    let Some((&seed, body)) = data.split_first() else { return };
    let codec = if seed & 1 == 0 { &codecs::OPENAI.chat } else { &codecs::OPENAI.completions };
    stream::check(codec, body, seed);
});
