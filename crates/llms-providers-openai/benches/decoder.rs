//! What one chunk costs: frame to event, without the framer. Run with
//! `cargo bench -p llms-providers-openai --bench decoder`; the time is per chunk.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use llms_core::{
    EventSink, Stamp, StreamEvent,
    config::ModelConfig,
    wire::{Codec as _, Decoder as _, Frame},
};
use llms_providers_openai::{Codec, Config};

struct Length(usize);

impl EventSink for Length {
    fn event(&mut self, event: StreamEvent<'_>, _stamp: Stamp) {
        if let StreamEvent::Text(t) | StreamEvent::Reasoning(t) = event {
            self.0 += t.len();
        }
    }
}

/// 256 chunks that differ in text (and, as OpenAI's do, in padding).
fn chunks(of: impl Fn(&str, &str) -> String) -> Vec<String> {
    const WORDS: [&str; 8] = [" the", " quick", " brown", " fox", " jumps", " over", " lazy", " dogs"];
    const PADDING: [&str; 3] = ["xTHNFiws", "rxbFj34jT8", "OXQfb"];
    (0..256).map(|i| of(WORDS[i % 8], PADDING[i % 3])).collect()
}

fn decoder(c: &mut Criterion) {
    let config = ModelConfig::new("openai", "m").with_base_url("http://127.0.0.1:8000/v1");
    let chat = Codec::new(Config::new(&config, &|_| None).expect("a good configuration"));
    let responses = Codec::new(Config::responses(&config, &|_| None).expect("a good configuration"));
    let mut group = c.benchmark_group("chunk");
    group.throughput(Throughput::Elements(256));
    for (name, chunks) in [
        (
            "plain_vllm",
            chunks(|word, _| {
                format!(
                    r#"{{"id":"chatcmpl-3f1c9a","object":"chat.completion.chunk","created":1774963582,"model":"meta-llama/Llama-3.1-8B-Instruct","choices":[{{"index":0,"delta":{{"content":"{word}"}},"logprobs":null,"finish_reason":null}}]}}"#
                )
            }),
        ),
        (
            "padded_openai",
            chunks(|word, padding| {
                format!(
                    r#"{{"id":"chatcmpl-DPTOoSg3GEW6cwObzuQmlXT3RWJ7H","object":"chat.completion.chunk","created":1774963582,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","system_fingerprint":"fp_b6f445fc1c","choices":[{{"index":0,"delta":{{"content":"{word}"}},"logprobs":null,"finish_reason":null}}],"usage":null,"obfuscation":"{padding}"}}"#
                )
            }),
        ),
        (
            // Counts change in every chunk, so every chunk is parsed in full.
            "usage_in_every_chunk",
            chunks(|word, padding| {
                format!(
                    r#"{{"id":"chatcmpl-3f1c9a","object":"chat.completion.chunk","created":1774963582,"model":"meta-llama/Llama-3.1-8B-Instruct","choices":[{{"index":0,"delta":{{"content":"{word}"}},"logprobs":null,"finish_reason":null}}],"usage":{{"prompt_tokens":12,"total_tokens":{0},"completion_tokens":{0}}}}}"#,
                    padding.len()
                )
            }),
        ),
        (
            "reasoning",
            chunks(|word, _| {
                format!(
                    r#"{{"id":"chatcmpl-3f1c9a","object":"chat.completion.chunk","created":1774963582,"model":"qwen3","choices":[{{"index":0,"delta":{{"reasoning_content":"{word}"}},"logprobs":null,"finish_reason":null}}]}}"#
                )
            }),
        ),
        (
            "tool_call",
            chunks(|word, _| {
                format!(
                    r#"{{"id":"chatcmpl-3f1c9a","object":"chat.completion.chunk","created":1774963582,"model":"qwen3","choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":0,"function":{{"arguments":"{word}"}}}}]}},"logprobs":null,"finish_reason":null}}]}}"#
                )
            }),
        ),
        (
            "responses_openai",
            chunks(|word, padding| {
                format!(
                    r#"{{"type":"response.output_text.delta","sequence_number":{},"item_id":"msg_0ecff685e411ca7b0069e063569c7c819bbc74c80d853802e6","output_index":0,"content_index":0,"delta":"{word}","logprobs":[],"obfuscation":"{padding}"}}"#,
                    word.len() * 100 + padding.len()
                )
            }),
        ),
    ] {
        let codec = if name.starts_with("responses") { &responses } else { &chat };
        group.bench_function(name, |b| {
            let mut decoder = codec.decoder();
            b.iter(|| {
                let mut sink = Length(0);
                for data in &chunks {
                    let frame = Frame { event: None, data: black_box(data) };
                    decoder.frame(frame, Stamp::default(), &mut sink).expect("a good chunk");
                }
                sink.0
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decoder);
criterion_main!(benches);
