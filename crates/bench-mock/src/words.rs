//! The text of simulated answers: common short words, each one token of the usual vocabularies, so that an
//! offline tokenizer counts what the mock says it generated.

use rand::{Rng, RngExt};

/// Lower-case words; each with a leading blank is one token of OpenAI's `cl100k` and `o200k` vocabularies.
const WORDS: [&str; 128] = [
    "the", "of", "and", "to", "in", "that", "is", "was", "for", "it", "with", "as", "his", "on", "be", "at",
    "by", "this", "had", "not", "are", "but", "from", "or", "have", "an", "they", "which", "one", "you",
    "were", "her", "all", "she", "there", "would", "their", "we", "him", "been", "has", "when", "who",
    "will", "more", "no", "if", "out", "so", "said", "what", "up", "its", "about", "into", "than", "them",
    "can", "only", "other", "new", "some", "could", "time", "these", "two", "may", "then", "do", "first",
    "any", "my", "now", "such", "like", "our", "over", "man", "me", "even", "most", "made", "after", "also",
    "did", "many", "before", "must", "through", "back", "years", "where", "much", "your", "way", "well",
    "down", "should", "because", "each", "just", "those", "people", "how", "too", "little", "state", "good",
    "very", "make", "world", "still", "own", "see", "men", "work", "long", "get", "here", "between", "both",
    "life", "being", "under", "never", "day", "same", "another",
];

/// Appends `n` words to `text`, reporting where each ends. A blank goes before each but the first of all.
pub(crate) fn append(text: &mut String, n: u32, rng: &mut impl Rng, mut end: impl FnMut(usize)) {
    for i in 0..n {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[rng.random_range(0..WORDS.len())]);
        end(text.len());
    }
}

/// One word.
pub(crate) fn pick(rng: &mut impl Rng) -> &'static str {
    WORDS[rng.random_range(0..WORDS.len())]
}

/// Cuts a given answer into pieces before each blank that follows a word; the pieces joined are the answer.
pub(crate) fn pieces(answer: &str) -> impl Iterator<Item = &str> {
    let mut rest = answer;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut seen = false;
        let cut = rest
            .char_indices()
            .find(|(_, c)| {
                let blank = c.is_whitespace();
                let cut = blank && seen;
                seen |= !blank;
                cut
            })
            .map_or(rest.len(), |(at, _)| at);
        let (piece, after) = rest.split_at(cut);
        rest = after;
        Some(piece)
    })
}

/// Tokens of a prompt as the mock counts them: one for every four bytes begun, at least one.
pub(crate) fn count(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(4)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_joined_are_the_answer() {
        for answer in ["", "a", " a", "a b", "  two  blanks ", "line\nbreak – ünïcode"] {
            assert_eq!(pieces(answer).collect::<String>(), answer);
        }
        assert_eq!(pieces("a bc  d").collect::<Vec<_>>(), ["a", " bc", "  d"]);
    }
}
