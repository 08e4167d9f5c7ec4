//! `tokenizer.json`, as Hugging Face writes it, for byte-pair models: byte-level ones (GPT-2, Llama 3, Qwen, …) and those of
//! SentencePiece (Llama 2, Mistral, Gemma). Anything else is refused by name: a count that is nearly right is worse than none.
//!
//! Texts are taken as they are where the file asks for NFC: nearly all text is in that form already. Added and special tokens
//! are not looked for.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    bpe::Merges,
    split::Split,
    tokenizer::{Change, Start, Tokenizer},
    vocabulary::Vocabulary,
};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    normalizer: Option<Value>,
    #[serde(default)]
    pre_tokenizer: Option<Value>,
    model: Value,
}

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    continuing_subword_prefix: Option<String>,
    #[serde(default)]
    end_of_word_suffix: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Text(String),
    Pair([String; 2]),
}

impl Merge {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Text(text) => text.split_once(' '),
            Self::Pair([left, right]) => Some((left, right)),
        }
    }
}

/// How a file splits and spells.
struct Rule {
    split: Split,
    changes: Vec<Change>,
    /// Its tokens are spelled byte by byte in printable characters.
    byte_level: bool,
}

/// Reads a file; `name` is what reports call it.
pub(crate) fn parse(text: &str, name: &str) -> Result<Tokenizer, String> {
    let file: File = serde_json::from_str(text).map_err(|e| format!("expected a tokenizer.json: {e}"))?;
    let kind = file.model["type"].as_str().unwrap_or("without a type");
    // Old files leave the type out; their merges tell.
    if kind != "BPE" && file.model.get("merges").is_none() {
        return Err(format!("expected a model of type BPE, found {kind}; its tokens cannot be counted here"));
    }
    let mut rule = rule(file.pre_tokenizer.as_ref())?;
    let mut changes = Vec::new();
    if let Some(normalizer) = &file.normalizer {
        normalize(normalizer, &mut changes)?;
    }
    changes.append(&mut rule.changes);
    let model: Model = serde_json::from_value(file.model).map_err(|e| format!("model: {e}"))?;
    let marks = [&model.continuing_subword_prefix, &model.end_of_word_suffix];
    if marks.iter().any(|m| m.as_deref().is_some_and(|m| !m.is_empty())) {
        return Err(
            "expected a model without marks inside words; its tokens cannot be counted here".to_owned()
        );
    }
    let spell = |token: &str| if rule.byte_level { bytes_of(token) } else { Some(token.as_bytes().to_vec()) };
    let mut vocabulary = Vocabulary::with_capacity(model.vocab.len());
    for token in model.vocab.keys() {
        // Special tokens may be spelled outside the alphabet of bytes: no text makes them.
        if let Some(bytes) = spell(token) {
            vocabulary.add(&bytes).ok_or("expected fewer tokens")?;
        }
    }
    let number = |token: &str| vocabulary.get(&spell(token)?);
    let mut pairs = HashMap::with_capacity(model.merges.len());
    for (rank, merge) in (0..).zip(&model.merges) {
        let made = merge.parts().and_then(|(left, right)| {
            Some(((number(left)?, number(right)?), (rank, number(&format!("{left}{right}"))?)))
        });
        let (pair, made) =
            made.ok_or_else(|| format!("model.merges[{rank}]: expected two tokens that make a third"))?;
        pairs.entry(pair).or_insert(made);
    }
    if !rule.byte_level && !model.byte_fallback {
        return Err("expected a model that falls back to bytes; its tokens cannot be counted here".to_owned());
    }
    Ok(Tokenizer {
        name: name.to_owned(),
        vocabulary,
        merges: Merges::Pairs(pairs),
        changes,
        split: rule.split,
        start: if rule.byte_level { Start::Bytes } else { Start::Chars },
        whole_first: model.ignore_merges,
    })
}

/// What splits, out of a pre-tokenizer or a sequence of them.
fn rule(pre_tokenizer: Option<&Value>) -> Result<Rule, String> {
    let mut rule = Rule { split: Split::Whole, changes: Vec::new(), byte_level: false };
    let Some(pre) = pre_tokenizer else { return Ok(rule) };
    let single = std::slice::from_ref(pre);
    let all = pre["pretokenizers"].as_array().map_or(single, Vec::as_slice);
    for step in all {
        let kind = step["type"].as_str().unwrap_or_default();
        match kind {
            "ByteLevel" => {
                rule.byte_level = true;
                if step["add_prefix_space"].as_bool() == Some(true) {
                    rule.changes.push(Change::PrependOnce(" ".to_owned()));
                }
                if step["use_regex"].as_bool().unwrap_or(true) {
                    if rule.split != Split::Whole {
                        return Err("pre_tokenizer: expected one rule of splitting, found two".to_owned());
                    }
                    rule.split = Split::Gpt2;
                }
            }
            "Split" => {
                let pattern = step["pattern"]["Regex"].as_str();
                // Blanks are gone by then: nothing is split.
                if step["pattern"]["String"].as_str() == Some(" ") {
                    continue;
                }
                let known = pattern.and_then(known);
                match (known, rule.split) {
                    (Some(split), Split::Whole) => rule.split = split,
                    _ => {
                        return Err(format!(
                            "pre_tokenizer: expected the splitting of GPT-2, GPT-4, GPT-4o, Llama 3 or Qwen, found {}",
                            step["pattern"]
                        ));
                    }
                }
            }
            "Metaspace" => {
                let mark = step["replacement"].as_str().unwrap_or("▁");
                if step["split"].as_bool() != Some(false) {
                    return Err("pre_tokenizer: expected a Metaspace that does not split".to_owned());
                }
                rule.changes.push(Change::Replace(" ".to_owned(), mark.to_owned()));
                if step["prepend_scheme"].as_str() != Some("never") {
                    rule.changes.push(Change::PrependOnce(mark.to_owned()));
                }
            }
            _ => return Err(format!("pre_tokenizer: expected ByteLevel, Split or Metaspace, found {kind}")),
        }
    }
    Ok(rule)
}

/// The scanner for a pattern, which files spell alike.
fn known(pattern: &str) -> Option<Split> {
    const CONTRACTION: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    const WHITE: &str = r"\s*[\r\n]+|\s+(?!\S)|\s+";
    let cl100k = |digits: &str| {
        format!(
            r"{CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{WHITE}"
        )
    };
    let upper = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]";
    let lower = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]";
    let o200k = format!(
        r"[^\r\n\p{{L}}\p{{N}}]?{upper}*{lower}+{CONTRACTION}?|[^\r\n\p{{L}}\p{{N}}]?{upper}+{lower}*{CONTRACTION}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{WHITE}"
    );
    let gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    match pattern {
        p if p == gpt2 => Some(Split::Gpt2),
        p if p == cl100k(r"\p{N}{1,3}") => Some(Split::Cl100k { digits: 3 }),
        p if p == cl100k(r"\p{N}") => Some(Split::Cl100k { digits: 1 }),
        p if p == o200k => Some(Split::O200k),
        _ => None,
    }
}

fn normalize(normalizer: &Value, changes: &mut Vec<Change>) -> Result<(), String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match normalizer["type"].as_str().unwrap_or_default() {
        "Sequence" => {
            let all = normalizer["normalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().try_for_each(|n| normalize(n, changes))
        }
        "NFC" => Ok(()),
        "Prepend" => {
            changes.extend(text(&normalizer["prepend"]).map(Change::Prepend));
            Ok(())
        }
        "Replace" => {
            let (old, new) = (text(&normalizer["pattern"]["String"]), text(&normalizer["content"]));
            let (old, new) = old.zip(new).ok_or("normalizer: expected a Replace of a plain text")?;
            changes.push(Change::Replace(old, new));
            Ok(())
        }
        kind => Err(format!("normalizer: expected NFC, Prepend or Replace, found {kind}")),
    }
}

/// The bytes that a byte-level token stands for: GPT-2's alphabet of printable characters.
fn bytes_of(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

fn byte_of(c: char) -> Option<u8> {
    let code = u32::from(c);
    match code {
        // Printable ones stand for themselves; the others follow from U+0100 on, in order.
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121 + 0x7f) as u8),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use llms_core::bench::TokenCounter as _;

    use super::*;

    #[test]
    fn every_byte_has_one_printable_character() {
        let mut bytes: Vec<u8> = (0x21..=0x143).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((byte_of('Ġ'), byte_of('Ċ'), byte_of('€')), (Some(b' '), Some(b'\n'), None));
    }

    const WORDS: &str = r#"{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "Ġ": 2, "ab": 3, "Ġa": 4, "Ġab": 5, "<s>€": 9},
        "merges": ["a b", ["Ġ", "ab"], "Ġ a"]},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}}"#;

    #[test]
    fn byte_level_files() {
        let t = parse(WORDS, "t").unwrap();
        let tokens: Vec<String> =
            t.tokens("ab ab a b").into_iter().map(|b| String::from_utf8(b).unwrap()).collect();
        assert_eq!(tokens, ["ab", " ab", " a", " ", "b"]);
        assert_eq!((t.name(), t.count("ab ab a b"), t.count("")), ("t", 5, 0));
    }

    #[test]
    fn files_that_count_otherwise_are_refused() {
        for (text, says) in [
            ("[]", "expected a tokenizer.json"),
            (r#"{"model": {"type": "Unigram", "vocab": []}}"#, "found Unigram"),
            (&WORDS.replace("\"a b\"", "\"a c\""), "model.merges[0]"),
            (&WORDS.replace("ByteLevel", "Bert"), "found Bert"),
            (
                &WORDS.replace(
                    r#""pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false}"#,
                    r#""pre_tokenizer": null"#,
                ),
                "falls back to bytes",
            ),
            (
                &WORDS.replace(r#""model""#, r#""normalizer": {"type": "Lowercase"}, "model""#),
                "found Lowercase",
            ),
            (
                &WORDS.replace(
                    r#"{"type": "ByteLevel", "add_prefix_space": false}"#,
                    r#"{"type": "Split", "pattern": {"Regex": "x+"}}"#,
                ),
                "splitting of GPT-2",
            ),
        ] {
            let e = parse(text, "t").unwrap_err();
            assert!(e.contains(says), "expected `{says}` in: {e}");
        }
    }
}
