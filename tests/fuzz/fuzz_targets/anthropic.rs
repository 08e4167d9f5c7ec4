//! Anthropic's messages. First byte: even for a stream (it also seeds the reads), odd for whole answers and refusals, as
//! `Answer` says.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::{
    answer::{self, Answer},
    codecs, stream,
};

fuzz_target!(init: { LazyLock::force(&codecs::ANTHROPIC); }, |data: &[u8]| {
    let Some((&seed, rest)) = data.split_first() else { return };
    if seed & 1 == 0 {
        stream::check(&*codecs::ANTHROPIC, rest, seed);
    } else if let Some(answer) = Answer::read(rest) {
        answer::check(&*codecs::ANTHROPIC, &answer);
    }
});
