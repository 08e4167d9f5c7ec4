//! Bedrock through AWS's SDK. First byte: the lower two bits say what the rest is (0 messages as text, see
//! `bedrock::messages`; 1 the bytes of an event stream; 2 and 3 a whole answer or refusal, see `Answer`), the next three
//! which model; all of it seeds the reads.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::{
    answer::Answer,
    bedrock::{self, BEDROCK},
};

fuzz_target!(init: { LazyLock::force(&BEDROCK); }, |data: &[u8]| {
    let Some((&seed, rest)) = data.split_first() else { return };
    let which = seed >> 2 & 7;
    match seed & 3 {
        0 => BEDROCK.check_stream(which, &bedrock::messages(rest), seed),
        1 => BEDROCK.check_stream(which, rest, seed),
        _ => {
            let Some(answer) = Answer::read(rest) else { return };
            BEDROCK.check_whole(which, answer.status, &answer.headers, answer.body, seed);
        }
    }
});
