//! SSE framing against a reading of the whole input by the letter of the standard. First byte: the limit of an event, and
//! the reads.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llms_bench_fuzz::frames::{self, Cut, NO_LIMIT};
use llms_core::wire::sse::SseFramer;

/// HTML Living Standard, 9.2.6, with the one departure that `sse.rs` tells: an event whose data is empty is none.
fn reference(body: &[u8]) -> Cut {
    let mut cut = Cut::default();
    let mut rest = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
    let (mut event, mut data): (&[u8], Vec<u8>) = (b"", Vec::new());
    while let Some(end) = rest.iter().position(|b| matches!(b, b'\n' | b'\r')) {
        let line = &rest[..end];
        rest = &rest[end + 1 + usize::from(rest[end..].starts_with(b"\r\n"))..];
        if line.is_empty() {
            data.pop();
            if !data.is_empty() {
                let (Ok(name), Ok(text)) = (std::str::from_utf8(event), std::str::from_utf8(&data)) else {
                    cut.failed = true;
                    return cut;
                };
                cut.frames.push(((!name.is_empty()).then(|| name.to_owned()), text.to_owned()));
            }
            (event, data) = (b"", Vec::new());
            continue;
        }
        let colon = line.iter().position(|&b| b == b':');
        let (name, value) = match colon {
            Some(at) => (&line[..at], line[at + 1..].strip_prefix(b" ").unwrap_or(&line[at + 1..])),
            None => (line, &b""[..]),
        };
        match name {
            b"event" => event = value,
            b"data" => {
                data.extend_from_slice(value);
                data.push(b'\n');
            }
            _ => {}
        }
    }
    cut
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, body)) = data.split_first() else { return };
    let limit = frames::limit(seed);
    let framer = || SseFramer::with_max_frame(limit);
    if limit == NO_LIMIT {
        frames::check(framer, body, seed, &reference(body));
    } else {
        // Where exactly the limit strikes is told by the framer alone; the frames before must be those of the standard.
        let whole = frames::cut_whole(framer, body);
        let all = reference(body);
        assert!(all.frames.starts_with(&whole.frames), "{:?} begins not with {:?}", all.frames, whole.frames);
        assert!(whole.failed || whole.frames.len() == all.frames.len(), "frames are missing");
        frames::check(framer, body, seed, &whole);
    }
});
