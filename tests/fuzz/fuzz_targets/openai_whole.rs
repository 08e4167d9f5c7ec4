//! Whole answers and refusals of all three APIs, and of Azure. First byte: which; then as [`Answer`] says.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::{
    answer::{self, Answer},
    codecs,
};

fuzz_target!(init: { LazyLock::force(&codecs::OPENAI); }, |data: &[u8]| {
    let Some((&which, rest)) = data.split_first() else { return };
    let Some(answer) = Answer::read(rest) else { return };
    let codecs = &*codecs::OPENAI;
    let codec = match which & 3 {
        0 => &codecs.chat,
        1 => &codecs.completions,
        2 => &codecs.responses,
        _ => &codecs.azure,
    };
    answer::check(codec, &answer);
});
