//! Synthetic prompts have exactly the length that was asked for, whatever it is.

use std::sync::Arc;

use bench_runner::workload::{made_prompt, resolve};
use llms_core::bench::{LengthLaw, Scenario, Seeds, SharedPrefix, Synthetic};
use llms_tokenize::load;

#[track_caller]
fn check(tokenizer: &str, prefix: Option<SharedPrefix>) {
    let counter = load(tokenizer).unwrap();
    let wanted = |n: u32| u64::from(n + prefix.map_or(0, |p| p.tokens));
    // Lengths from 1 to some thousands, spread evenly over the scales.
    let lengths: Vec<u32> = (0..60).map(|i| (1.16_f64.powi(i) as u32).max(1)).collect();
    for (i, length) in lengths.iter().enumerate() {
        let scenario = Scenario {
            synthetic: Some(Synthetic { prefix, ..Synthetic::new(LengthLaw::Constant(*length)) }),
            requests: Some(100),
            seeds: Seeds { nonce: Some(1), ..Seeds::from_one(i as u64) },
            ..Scenario::default()
        };
        let prompt = made_prompt(&resolve(&scenario), Some(Arc::clone(&counter)), i).unwrap();
        let text = prompt.messages[0].text();
        assert_eq!(counter.count(&text), wanted(*length), "{text}");
    }
}

#[test]
fn exact_by_the_bundled_vocabularies() {
    for name in llms_tokenize::NAMES {
        check(name, None);
        check(name, Some(SharedPrefix { groups: 3, tokens: 100 }));
    }
}
