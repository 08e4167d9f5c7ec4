//! T019: prompts made by length: how long, what they share, what no cache knows.

#![allow(clippy::unwrap_used, reason = "a panic in a helper is the report of its test")]

use crate::common;

use std::{collections::BTreeMap, sync::Arc};

use bench_runner::{
    Runner,
    workload::{data_hash, from_json, from_toml},
};
use common::*;
use llms_core::bench::{LengthLaw, Load, NullSink, Scenario, Seeds, SharedPrefix, Synthetic, TokenCounter};

fn made(synthetic: Synthetic, n: u64) -> Scenario {
    Scenario { prompts: Vec::new(), synthetic: Some(synthetic), ..scenario(&["x"], n) }
}

/// What the model was asked, by request; each as words, and the limit of its answer.
fn asked(runner: &Runner, scenario: &Scenario) -> Vec<(Vec<String>, Option<u32>)> {
    let model = Scripted::new("m", |_, _| after(MS));
    let result = simulate_with(runner, &[target(&model)], scenario, &mut NullSink, |_| {}).unwrap();
    assert!(result.records.iter().all(llms_core::bench::RequestRecord::is_ok));
    let seen = model.seen().into_iter();
    seen.map(|s| (s.text.split(' ').map(str::to_owned).collect(), s.max_tokens)).collect()
}

#[test]
fn prompts_are_as_long_as_asked_and_answers_limited() {
    let synthetic = Synthetic {
        output: Some(LengthLaw::Uniform { min: 5, max: 9 }),
        ..Synthetic::new(LengthLaw::Uniform { min: 100, max: 300 })
    };
    let all = asked(&Runner::new(), &made(synthetic.clone(), 400));
    let lengths: Vec<usize> = all.iter().map(|(words, _)| words.len()).collect();
    assert!(lengths.iter().all(|n| (100..=300).contains(n)));
    // Uniform with sd 58: the mean of 400 within 4 standard errors.
    let mean = lengths.iter().sum::<usize>() as f64 / 400.0;
    assert!((mean - 200.0).abs() < 11.6, "{mean}");
    let mut limits = BTreeMap::new();
    for (_, limit) in &all {
        *limits.entry(limit.unwrap()).or_insert(0) += 1;
    }
    assert_eq!(limits.keys().copied().collect::<Vec<_>>(), [5, 6, 7, 8, 9]);
    let mut texts: Vec<_> = all.iter().map(|(words, _)| words[..20].to_vec()).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 400, "no two begin alike");
    assert_eq!(asked(&Runner::new(), &made(synthetic, 400)), all, "the same seeds, the same bytes");
}

#[test]
fn every_seed_has_its_part() {
    let base = made(Synthetic::new(LengthLaw::Uniform { min: 10, max: 1000 }), 20);
    let with = |seeds: Seeds, bust: bool| {
        asked(&Runner::new(), &Scenario { seeds, cache_bust: bust, ..base.clone() })
    };
    let lengths = |all: &[(Vec<String>, Option<u32>)]| all.iter().map(|(w, _)| w.len()).collect::<Vec<_>>();
    let first = with(base.seeds.clone(), false);
    let other = with(Seeds { lengths: Some(9), ..base.seeds.clone() }, false);
    assert_ne!(lengths(&other), lengths(&first));
    assert_eq!(other[0].0[..10], first[0].0[..10]);
    let other = with(Seeds { prompts: Some(9), ..base.seeds.clone() }, false);
    assert_eq!(lengths(&other), lengths(&first));
    assert_ne!(other[0].0[..10], first[0].0[..10]);
    let busted = with(base.seeds.clone(), true);
    assert_eq!(lengths(&busted), lengths(&first), "no nonce in front: the words themselves are new");
    assert_ne!(busted[0].0[..10], first[0].0[..10]);
    assert_ne!(with(Seeds { nonce: Some(9), ..base.seeds.clone() }, true)[0].0[..10], busted[0].0[..10]);
}

#[test]
fn groups_share_their_beginning_and_nothing_else() {
    let prefix = SharedPrefix { groups: 4, tokens: 50 };
    let synthetic = Synthetic { prefix: Some(prefix), ..Synthetic::new(LengthLaw::Constant(30)) };
    for bust in [false, true] {
        let scenario = Scenario { cache_bust: bust, ..made(synthetic.clone(), 200) };
        let mut groups: BTreeMap<Vec<String>, Vec<Vec<String>>> = BTreeMap::new();
        for (words, _) in asked(&Runner::new(), &scenario) {
            assert_eq!(words.len(), 80, "the prefix comes on top");
            groups.entry(words[..50].to_vec()).or_default().push(words[50..].to_vec());
        }
        assert_eq!(groups.len(), 4);
        for own in groups.values() {
            // Binomial with mean 50, sd 6.1.
            assert!((26..=74).contains(&own.len()), "{}", own.len());
            for (i, a) in own.iter().enumerate() {
                assert!(own[..i].iter().all(|b| a[..10] != b[..10]));
            }
        }
    }
}

/// Three bytes a token, the rest rounded up: no word is one token.
struct Thirds;

impl TokenCounter for Thirds {
    fn name(&self) -> &'static str {
        "thirds"
    }

    fn count(&self, text: &str) -> u64 {
        text.len().div_ceil(3) as u64
    }
}

#[test]
fn a_vocabulary_makes_lengths_exact_and_its_name_is_recorded() {
    let model = Scripted::new("m", |_, _| after(MS));
    let runner = Runner::builder().token_counter(Arc::new(Thirds)).build();
    let scenario = made(Synthetic::new(LengthLaw::Uniform { min: 20, max: 400 }), 50);
    let result = simulate_with(&runner, &[target(&model)], &scenario, &mut NullSink, |_| {}).unwrap();
    assert_eq!(result.manifest.facts["prompt_tokens"], "exact by thirds, without chat template");
    let approximate = simulate(&[target(&model)], &scenario).unwrap();
    assert!(approximate.manifest.facts["prompt_tokens"].starts_with("approximate"));
    let counts: Vec<u64> = model.seen().iter().map(|s| Thirds.count(&s.text)).collect();
    let wanted: Vec<u64> = model.seen()[50..].iter().map(|s| s.text.split(' ').count() as u64).collect();
    // Words of three bytes and a blank step over some counts of this odd vocabulary: by at most two.
    assert!(counts[..50].iter().zip(&wanted).all(|(c, w)| c.abs_diff(*w) <= 2), "{counts:?} {wanted:?}");
}

#[test]
fn files_give_lengths_in_few_words() {
    let s = from_toml(
        "name = \"x\"\nrequests = 5\n[synthetic]\ninput = { log_normal = { median = 1000, sigma = 0.8, max = 8000 } }\n\
         output = 128\nprefix = { groups = 10, tokens = 512 }\n",
    )
    .unwrap();
    let synthetic = s.synthetic.clone().unwrap();
    assert_eq!(synthetic.input, LengthLaw::LogNormal { median: 1000.0, sigma: 0.8, min: 1, max: Some(8000) });
    assert_eq!(synthetic.output, Some(LengthLaw::Constant(128)));
    assert_eq!(from_json(&serde_json::to_string(&s).unwrap()).unwrap(), s);
    assert_eq!(from_toml(&toml::to_string(&s).unwrap()).unwrap(), s);
    let other = Scenario { synthetic: Some(Synthetic { output: None, ..synthetic }), ..s.clone() };
    assert_ne!(data_hash(&s), data_hash(&other));
}

#[track_caller]
fn refuses(synthetic: &str, expected: &str) {
    let text = format!("name = \"x\"\nrequests = 5\n[synthetic]\n{synthetic}\n");
    let e = from_toml(&text).unwrap_err();
    assert!(e.message().contains(expected), "expected `{expected}` in: {}", e.message());
}

#[test]
fn messages_say_where_and_what() {
    refuses("input = 0", "scenario:4: synthetic.input.constant: expected 1 to 10000000 tokens, found 0");
    refuses("input = \"long\"", "expected a number of tokens, or one of { uniform = { min, max } }");
    refuses("input = { uniform = { min = 5, max = 4 } }", "expected 1 ≤ min ≤ max");
    refuses("input = { normal = { mean = 5, sd = -1 } }", "expected a width of 0 or more, found -1");
    refuses("input = { normal = { mean = 5, sd = 1, min = 6 } }", "expected the middle between min and max");
    refuses("input = { empirical = [] }", "expected at least one length");
    refuses("input = 5\nprefix = { groups = 0, tokens = 5 }", "synthetic.prefix.groups: expected at least 1");
    refuses("input = 5\noutput = 0", "synthetic.output.constant: expected 1");
    let both = Scenario { synthetic: Some(Synthetic::new(LengthLaw::Constant(5))), ..scenario(&["a"], 1) };
    assert!(both.validate().unwrap_err().to_string().contains("prompts: expected none"));
}

/// Open loop, several targets: all see the same prompts.
#[test]
fn targets_are_asked_the_same() {
    let models: Vec<_> = (0..3).map(|i| Scripted::new(&format!("m{i}"), |_, _| after(MS))).collect();
    let targets: Vec<_> = models.iter().map(target).collect();
    let synthetic = Synthetic::new(LengthLaw::Uniform { min: 5, max: 50 });
    for load in [Load::poisson(50.0), Load::closed(3)] {
        let before = models[0].seen().len();
        simulate(&targets, &Scenario { load, ..made(synthetic.clone(), 20) }).unwrap();
        let texts = |m: &Arc<Scripted>| {
            let mut all: Vec<_> = m.seen().into_iter().skip(before).map(|s| s.text).collect();
            all.sort();
            all
        };
        assert_eq!(texts(&models[0]).len(), 20);
        assert!(models.iter().all(|m| texts(m) == texts(&models[0])));
    }
}
