//! The same numbers as Python's `tiktoken` and `tokenizers`; see `data/SOURCES.md`.

use std::collections::HashMap;

use llms_core::bench::TokenCounter as _;
use llms_tokenize::{NAMES, open};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    #[serde(flatten)]
    counts: HashMap<String, u64>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

#[track_caller]
fn check(name: &str, of: &str) {
    let tokenizer = open(of).unwrap();
    let mut held = 0;
    for case in cases() {
        let Some(expected) = case.counts.get(name) else { continue };
        let tokens = tokenizer.tokens(&case.text);
        assert_eq!(tokenizer.count(&case.text), tokens.len() as u64);
        assert_eq!(tokens.len() as u64, *expected, "{name}: {:?} {tokens:?}", case.text);
        held += 1;
    }
    assert!(held > 50, "{name}: {held}");
}

#[test]
fn bundled_vocabularies_count_as_tiktoken_does() {
    for name in NAMES {
        check(name, name);
    }
}

#[test]
fn tokens_are_the_text() {
    let tokenizer = open("o200k_base").unwrap();
    for case in cases() {
        assert_eq!(tokenizer.tokens(&case.text).concat(), case.text.as_bytes());
    }
}

#[test]
fn files_count_as_their_own_library_does() {
    for name in ["gpt2", "llama3", "qwen", "sp"] {
        let path = format!("{}/tests/it/{name}.json", env!("CARGO_MANIFEST_DIR"));
        check(name, &path);
    }
}

#[test]
fn what_is_neither_a_name_nor_a_file_is_refused() {
    for (name, says) in
        [("o300k", "o200k_base, cl100k_base or a tokenizer.json"), ("no/such.json", "cannot read")]
    {
        let e = open(name).unwrap_err();
        assert!(e.message().contains(says), "{e}");
    }
}
