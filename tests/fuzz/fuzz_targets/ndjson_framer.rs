//! NDJSON framing against a reading of the whole input by the letter. First byte: the limit of a line, and the reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::frames::{self, Cut};
use llms_core::wire::ndjson::NdjsonFramer;

/// By the letter: lines ended by LF, perhaps a CR before it; empty ones are none; the end ends the last one.
fn reference(body: &[u8], limit: usize) -> Cut {
    let mut cut = Cut::default();
    let mut lines: Vec<&[u8]> = body.split(|&b| b == b'\n').collect();
    // What follows the last LF is no line when it is empty.
    let last = lines.len() - 1;
    for (i, line) in lines.drain(..).enumerate() {
        if line.len() > limit {
            cut.failed = true;
            break;
        }
        let line =
            if i < last || line.ends_with(b"\r") { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        if line.is_empty() {
            continue;
        }
        match std::str::from_utf8(line) {
            Ok(text) => cut.frames.push((None, text.to_owned())),
            Err(_) => {
                cut.failed = true;
                break;
            }
        }
    }
    cut
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, body)) = data.split_first() else { return };
    let limit = frames::limit(seed);
    frames::check(|| NdjsonFramer::with_max_frame(limit), body, seed, &reference(body, limit));
});
