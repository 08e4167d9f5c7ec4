//! What one frame costs: frame to event, without the framer. Run with
//! `cargo bench -p llms-providers-anthropic --bench decoder`; the time is per frame.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use llms_core::{
    EventSink, Stamp, StreamEvent,
    config::ModelConfig,
    wire::{Codec as _, Decoder as _, Frame},
};
use llms_providers_anthropic::{Codec, Config};

struct Length(usize);

impl EventSink for Length {
    fn event(&mut self, event: StreamEvent<'_>, _stamp: Stamp) {
        if let StreamEvent::Text(t) | StreamEvent::Reasoning(t) = event {
            self.0 += t.len();
        }
    }
}

/// 256 frames that differ in text and number.
fn frames(of: impl Fn(&str, usize) -> String) -> Vec<String> {
    const WORDS: [&str; 8] = [" the", " quick", " brown", " fox", " jumps", " over", " lazy", " dogs"];
    (0..256).map(|i| of(WORDS[i % 8], i)).collect()
}

fn decoder(c: &mut Criterion) {
    let config = ModelConfig::new("anthropic", "m").with_base_url("http://127.0.0.1:9");
    let codec = Codec::new(Config::new(&config, &|_| None).expect("a good configuration"));
    let mut group = c.benchmark_group("anthropic");
    group.throughput(Throughput::Elements(256));
    for (name, event, frames) in [
        (
            "plain",
            Some("content_block_delta"),
            frames(|word, i| {
                format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{word}"}}{blanks}}}"#,
                    blanks = " ".repeat(i % 16)
                )
            }),
        ),
        (
            "plain_without_names",
            None,
            frames(|word, i| {
                format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{word}"}}{blanks}}}"#,
                    blanks = " ".repeat(i % 16)
                )
            }),
        ),
        (
            "thinking",
            Some("content_block_delta"),
            frames(|word, i| {
                format!(
                    r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"thinking_delta","thinking":"{word}"}}{blanks}}}"#,
                    blanks = " ".repeat(i % 16)
                )
            }),
        ),
    ] {
        group.bench_function(name, |b| {
            let mut decoder = codec.decoder();
            b.iter(|| {
                let mut sink = Length(0);
                for data in &frames {
                    let frame = Frame { event, data: black_box(data) };
                    decoder.frame(frame, Stamp::default(), &mut sink).expect("a good frame");
                }
                sink.0
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoder);
criterion_main!(benches);
