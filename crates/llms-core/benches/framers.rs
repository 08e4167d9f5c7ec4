//! Speed of the frame decoders, in nanoseconds per chunk.
//!
//! A chunk is a line of 290 bytes as OpenAI-compatible servers send it. `one_per_read`: every read brings one
//! chunk, the usual case of a paced stream. `reads_of_8KiB`: a whole burst, chunks cut at the read's end.
//! The cost of copying the bytes into the buffer, which a real read does in the kernel, is included.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use llms_core::wire::{Framer, ndjson::NdjsonFramer, sse::SseFramer};

const CHUNKS: usize = 1000;

fn json(bytes: usize) -> String {
    let head = r#"{"id":"chatcmpl-B9MBs8Cjcv","object":"chat.completion.chunk","created":1741569952,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_72ed7ab54c","choices":[{"index":0,"delta":{"content":" "#;
    let tail = r#""},"logprobs":null,"finish_reason":null}]}"#;
    let text = bytes.checked_sub(head.len() + tail.len()).expect("the chunk is longer than its frame");
    format!("{head}{}{tail}", "w".repeat(text))
}

/// Feeds the reads and counts the bytes of all frames.
fn run(mut framer: impl Framer, reads: &[&[u8]]) -> usize {
    let mut bytes = 0;
    for read in reads {
        framer.buffer().extend_from_slice(read);
        while let Some(frame) = framer.next_frame().expect("the bench sends valid frames") {
            bytes += frame.data.len();
        }
    }
    bytes
}

fn bench<F: Framer>(c: &mut Criterion, name: &str, chunk: &str, framer: impl Fn() -> F) {
    let stream = chunk.repeat(CHUNKS);
    let mut group = c.benchmark_group(name);
    // One "element" is one chunk: the inverse of the rate shown is the time per chunk.
    group.throughput(Throughput::Elements(CHUNKS as u64));
    for (case, size) in [("one_per_read", chunk.len()), ("reads_of_8KiB", 8192)] {
        let reads: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
        group.bench_function(case, |b| {
            b.iter_batched(&framer, |f| run(f, &reads), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn framers(c: &mut Criterion) {
    bench(c, "sse", &format!("data: {}\n\n", json(282)), SseFramer::new);
    bench(c, "sse_named", &format!("event: content_block_delta\ndata: {}\n\n", json(255)), SseFramer::new);
    bench(c, "ndjson", &format!("{}\n", json(289)), NdjsonFramer::new);
    // The floor under all three: copying the bytes and checking that they are UTF-8.
    let chunk = format!("data: {}\n\n", json(282));
    let mut buf = Vec::with_capacity(chunk.len());
    c.bench_function("floor/copy_and_utf8", |b| {
        b.iter(|| {
            buf.clear();
            buf.extend_from_slice(std::hint::black_box(chunk.as_bytes()));
            std::str::from_utf8(&buf).map(str::len)
        });
    });
}

criterion_group!(benches, framers);
criterion_main!(benches);
