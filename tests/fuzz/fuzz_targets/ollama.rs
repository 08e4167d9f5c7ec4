//! Ollama's chat and generate. First byte: bit 0 clear for a stream (it also seeds the reads), set for whole answers and
//! refusals, as `Answer` says; bit 1 set for generate.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::{
    answer::{self, Answer},
    codecs, stream,
};

fuzz_target!(init: { LazyLock::force(&codecs::OLLAMA); }, |data: &[u8]| {
    let Some((&seed, rest)) = data.split_first() else { return };
    let codec = if seed & 2 == 0 { &codecs::OLLAMA.chat } else { &codecs::OLLAMA.generate };
    if seed & 1 == 0 {
        stream::check(codec, rest, seed);
    } else if let Some(answer) = Answer::read(rest) {
        answer::check(codec, &answer);
    }
});
