//! What one frame costs: frame to event, without the framer. Run with
//! `cargo bench -p llms-providers-ollama --bench decoder`; the time is per frame.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use llms_core::{
    EventSink, Stamp, StreamEvent,
    config::ModelConfig,
    wire::{Codec as _, Decoder as _, Frame},
};
use llms_providers_ollama::{Codec, Config};

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
    let config = ModelConfig::new("ollama", "m").with_base_url("http://127.0.0.1:9");
    let codec = Codec::new(Config::new(&config, &|_| None).expect("a good configuration"));
    let mut group = c.benchmark_group("ollama");
    group.throughput(Throughput::Elements(256));
    for (name, event, frames) in [
        (
            "plain",
            None,
            frames(|word, i| {
                format!(
                    r#"{{"model":"llama3.2:1b","created_at":"2026-11-22T13:34:12.{time}Z","message":{{"role":"assistant","content":"{word}"}},"done":false}}"#,
                    time = 433_262_778 + i
                )
            }),
        ),
        (
            "thinking",
            None,
            frames(|word, i| {
                format!(
                    r#"{{"model":"llama3.2:1b","created_at":"2026-11-22T13:34:12.{time}Z","message":{{"role":"assistant","thinking":"{word}"}},"done":false}}"#,
                    time = 433_262_778 + i
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
