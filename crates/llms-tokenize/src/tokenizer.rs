//! A tokenizer: normalize, split, merge, count.

use llms_core::bench::TokenCounter;

use crate::{
    bpe::{Merges, UNKNOWN, merge},
    split::Split,
    vocabulary::Vocabulary,
};

/// What a piece of text is made of before anything is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// Its bytes.
    Bytes,
    /// Its characters; one outside the vocabulary by the tokens of its bytes (`<0x41>`), where there are such.
    Chars,
}

/// A change of the text before it is split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Put in front.
    Prepend(String),
    /// The same, unless the text begins with it.
    PrependOnce(String),
    /// Everywhere.
    Replace(String, String),
}

/// See [`open`](crate::open).
#[derive(Clone)]
pub struct Tokenizer {
    pub(crate) name: String,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) merges: Merges,
    pub(crate) changes: Vec<Change>,
    pub(crate) split: Split,
    pub(crate) start: Start,
    /// A piece that is a token is not merged together.
    pub(crate) whole_first: bool,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tokens = self.vocabulary.len();
        f.debug_struct("Tokenizer").field("name", &self.name).field("tokens", &tokens).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// The tokens of `text`, as their bytes.
    pub fn tokens(&self, text: &str) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        self.each(text, |symbols| {
            let bytes = |s: &u32| if *s == UNKNOWN { Vec::new() } else { self.vocabulary.token(*s).to_vec() };
            all.extend(symbols.iter().map(bytes));
        });
        all
    }

    fn each(&self, text: &str, mut take: impl FnMut(&[u32])) {
        let mut changed = None;
        for change in &self.changes {
            let text = changed.as_deref().unwrap_or(text);
            let new = match change {
                _ if text.is_empty() => continue,
                Change::PrependOnce(front) if text.starts_with(front.as_str()) => continue,
                Change::Prepend(front) | Change::PrependOnce(front) => format!("{front}{text}"),
                Change::Replace(old, new) => text.replace(old.as_str(), new),
            };
            changed = Some(new);
        }
        let mut symbols = Vec::new();
        for piece in self.split.pieces(changed.as_deref().unwrap_or(text)) {
            symbols.clear();
            match self.vocabulary.get(piece.as_bytes()).filter(|_| self.whole_first) {
                Some(whole) => symbols.push(whole),
                None => {
                    self.symbols(piece, &mut symbols);
                    merge(&self.vocabulary, &self.merges, &mut symbols);
                }
            }
            take(&symbols);
        }
    }

    fn symbols(&self, piece: &str, symbols: &mut Vec<u32>) {
        let get = |bytes: &[u8]| self.vocabulary.get(bytes);
        match self.start {
            Start::Bytes => symbols.extend(piece.bytes().map(|b| get(&[b]).unwrap_or(UNKNOWN))),
            Start::Chars => {
                for c in piece.chars() {
                    let mut room = [0; 4];
                    let c = c.encode_utf8(&mut room);
                    if let Some(known) = get(c.as_bytes()) {
                        symbols.push(known);
                        continue;
                    }
                    let bytes: Option<Vec<u32>> =
                        c.bytes().map(|b| get(format!("<0x{b:02X}>").as_bytes())).collect();
                    symbols.extend(bytes.unwrap_or_else(|| vec![UNKNOWN]));
                }
            }
        }
    }
}

impl TokenCounter for Tokenizer {
    fn name(&self) -> &str {
        &self.name
    }

    fn count(&self, text: &str) -> u64 {
        let mut count = 0;
        self.each(text, |symbols| count += symbols.len() as u64);
        count
    }
}
