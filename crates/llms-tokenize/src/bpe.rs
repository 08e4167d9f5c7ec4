//! Byte-pair merging of one piece of text: the pair of least rank first, the leftmost among equals.
//!
//! O(n log n) with a heap, so that a piece of a million letters costs what it should.

use std::{cmp::Reverse, collections::BinaryHeap, collections::HashMap};

use crate::vocabulary::Vocabulary;

/// Numbered like no token: a symbol outside the vocabulary.
pub(crate) const UNKNOWN: u32 = u32::MAX;

/// What may be merged, and in which order.
#[derive(Clone)]
pub(crate) enum Merges {
    /// Two tokens whose bytes together are a token; its number is the rank (OpenAI's vocabularies).
    Joined,
    /// Listed pairs: rank and merged token by left and right (`tokenizer.json`).
    Pairs(HashMap<(u32, u32), (u32, u32)>),
}

impl Merges {
    /// Rank and number of what `left` and `right` make.
    fn merge(
        &self,
        vocabulary: &Vocabulary,
        left: u32,
        right: u32,
        joined: &mut Vec<u8>,
    ) -> Option<(u32, u32)> {
        if left == UNKNOWN || right == UNKNOWN {
            return None;
        }
        match self {
            Self::Pairs(pairs) => pairs.get(&(left, right)).copied(),
            Self::Joined => {
                joined.clear();
                joined.extend_from_slice(vocabulary.token(left));
                joined.extend_from_slice(vocabulary.token(right));
                vocabulary.get(joined).map(|n| (n, n))
            }
        }
    }
}

/// Merges `symbols` as far as it goes, in place.
pub(crate) fn merge(vocabulary: &Vocabulary, merges: &Merges, symbols: &mut Vec<u32>) {
    const GONE: usize = usize::MAX;
    let n = symbols.len();
    if n < 2 {
        return;
    }
    let mut joined = Vec::new();
    // The list of what is left: each symbol's neighbours; `next` of a merged-away one is GONE.
    let mut next: Vec<usize> = (1..=n).collect();
    let mut prev: Vec<usize> = (0..n).map(|i| i.wrapping_sub(1)).collect();
    let mut due = BinaryHeap::with_capacity(n);
    for i in 0..n - 1 {
        if let Some((rank, made)) = merges.merge(vocabulary, symbols[i], symbols[i + 1], &mut joined) {
            due.push(Reverse((rank, i, made, symbols[i], symbols[i + 1])));
        }
    }
    while let Some(Reverse((_, at, made, left, right))) = due.pop() {
        // Entries whose symbols have changed since are stale.
        let after = next[at];
        if after == GONE || after >= n || symbols[at] != left || symbols[after] != right {
            continue;
        }
        symbols[at] = made;
        next[at] = next[after];
        next[after] = GONE;
        if next[at] < n {
            prev[next[at]] = at;
            let right = symbols[next[at]];
            if let Some((rank, merged)) = merges.merge(vocabulary, made, right, &mut joined) {
                due.push(Reverse((rank, at, merged, made, right)));
            }
        }
        if prev[at] < n {
            let before = prev[at];
            let left = symbols[before];
            if let Some((rank, merged)) = merges.merge(vocabulary, left, made, &mut joined) {
                due.push(Reverse((rank, before, merged, left, made)));
            }
        }
    }
    let mut at = 0;
    let mut kept = 0;
    while at < n {
        symbols[kept] = symbols[at];
        kept += 1;
        at = next[at];
    }
    symbols.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(tokens: &[&str]) -> Vocabulary {
        let mut v = Vocabulary::with_capacity(tokens.len());
        for t in tokens {
            v.add(t.as_bytes()).unwrap();
        }
        v
    }

    #[track_caller]
    fn check(v: &Vocabulary, text: &str, expected: &[&str]) {
        let mut symbols: Vec<u32> = text.bytes().map(|b| v.get(&[b]).unwrap_or(UNKNOWN)).collect();
        merge(v, &Merges::Joined, &mut symbols);
        let made: Vec<&str> = symbols
            .iter()
            .map(|s| if *s == UNKNOWN { "?" } else { std::str::from_utf8(v.token(*s)).unwrap() })
            .collect();
        assert_eq!(made, expected, "{text}");
    }

    #[test]
    fn the_least_rank_goes_first_and_then_the_leftmost() {
        let v = vocabulary(&["a", "b", "c", "bc", "ab", "abc", "aa"]);
        check(&v, "", &[]);
        check(&v, "a", &["a"]);
        // bc before ab, and then a + bc.
        check(&v, "abc", &["abc"]);
        check(&v, "abb", &["ab", "b"]);
        check(&v, "aaa", &["aa", "a"]);
        check(&v, "aaaaa", &["aa", "aa", "a"]);
        check(&v, "axbc", &["a", "?", "bc"]);
    }

    #[test]
    fn long_pieces_take_no_square() {
        let v = vocabulary(&["a", "aa", "aaaa"]);
        let mut symbols = vec![0; 1_000_001];
        merge(&v, &Merges::Joined, &mut symbols);
        assert_eq!(symbols.len(), 250_001);
    }
}
