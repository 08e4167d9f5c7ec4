//! The rules by which vocabularies split text before merging: hand-written scanners instead of regular expressions, which
//! would need a look-ahead that linear-time engines lack. The patterns stand in front of each.

use std::sync::LazyLock;

/// How text is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// Not at all.
    Whole,
    /// GPT-2's.
    Gpt2,
    /// That of GPT-4, Llama 3 and Qwen, who differ in how many digits go together.
    Cl100k {
        /// Most digits of a piece.
        digits: usize,
    },
    /// That of GPT-4o.
    O200k,
}

// Classes of characters; \s is `char::is_whitespace`.
const LETTER: u8 = 1;
const NUMBER: u8 = 2;
/// Lu, Lt, Lm, Lo, M.
const UPPER: u8 = 4;
/// Ll, Lm, Lo, M.
const LOWER: u8 = 8;

/// The classes of every character: 1.1 MB, made when first needed.
static CLASSES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut classes = vec![0; 0x11_0000];
    let patterns = [
        (r"\p{L}", LETTER),
        (r"\p{N}", NUMBER),
        (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", UPPER),
        (r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]", LOWER),
    ];
    for (pattern, class) in patterns {
        let parsed = regex_syntax::parse(pattern).expect("invariant: these classes are known");
        let regex_syntax::hir::HirKind::Class(regex_syntax::hir::Class::Unicode(set)) = parsed.kind() else {
            continue;
        };
        for range in set.ranges() {
            for of in &mut classes[range.start() as usize..=range.end() as usize] {
                *of |= class;
            }
        }
    }
    classes
});

fn is(c: char, class: u8) -> bool {
    CLASSES[c as usize] & class != 0
}

fn is_other(c: char) -> bool {
    !c.is_whitespace() && !is(c, LETTER | NUMBER)
}

fn is_line_end(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

impl Split {
    /// The pieces of `text`, in order; together they are the text.
    pub(crate) fn pieces(self, text: &str) -> impl Iterator<Item = &str> {
        let mut rest = text;
        std::iter::from_fn(move || {
            let first = rest.chars().next()?;
            let length = match self {
                Self::Whole => rest.len(),
                Self::Gpt2 => gpt2(rest),
                Self::Cl100k { digits } => cl100k(rest, digits),
                Self::O200k => o200k(rest),
            };
            let (piece, tail) = rest.split_at(length.max(first.len_utf8()));
            rest = tail;
            Some(piece)
        })
    }
}

/// Bytes of the characters at the beginning that are `like` it, at most `most` of them.
fn run(text: &str, most: usize, like: impl Fn(char) -> bool) -> usize {
    text.char_indices()
        .take(most)
        .find(|(_, c)| !like(*c))
        .map_or_else(|| text.char_indices().nth(most).map_or(text.len(), |(at, _)| at), |(at, _)| at)
}

/// `'s|'t|'re|'ve|'m|'ll|'d`: bytes; with `fold` in any case (to which ſ belongs).
fn contraction(text: &str, fold: bool) -> Option<usize> {
    let mut after = text.strip_prefix('\'')?.chars();
    let plain = |c: char| match c {
        'ſ' if fold => 's',
        _ if fold => c.to_ascii_lowercase(),
        _ => c,
    };
    let first = after.next()?;
    let second = after.next().map(plain);
    match (plain(first), second) {
        ('s' | 't' | 'm' | 'd', _) => Some(1 + first.len_utf8()),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => Some(3),
        _ => None,
    }
}

/// `\s*[\r\n]+` at a white space: up to the last line end of the white space; `\s+(?!\S)|\s+`: all of it at the end of the
/// text, else all but the last character.
fn white(text: &str, line_ends: bool) -> usize {
    let all = run(text, usize::MAX, char::is_whitespace);
    let space = &text[..all];
    if line_ends && let Some(last) = space.rfind(is_line_end) {
        return last + 1;
    }
    let last = space.chars().next_back().map_or(0, char::len_utf8);
    if all == text.len() || all == last { all } else { all - last }
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(text: &str) -> usize {
    if let Some(n) = contraction(text, false) {
        return n;
    }
    let blank = usize::from(text.starts_with(' '));
    let rest = &text[blank..];
    let found = rest.chars().next().map_or(0, |c| {
        if is(c, LETTER) {
            run(rest, usize::MAX, |c| is(c, LETTER))
        } else if is(c, NUMBER) {
            run(rest, usize::MAX, |c| is(c, NUMBER))
        } else {
            run(rest, usize::MAX, is_other)
        }
    });
    if found > 0 { blank + found } else { white(text, false) }
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn cl100k(text: &str, digits: usize) -> usize {
    if let Some(n) = contraction(text, true) {
        return n;
    }
    let front = prefix(text);
    let word = run(&text[front..], usize::MAX, |c| is(c, LETTER));
    if word > 0 {
        return front + word;
    }
    let number = run(text, digits, |c| is(c, NUMBER));
    if number > 0 {
        return number;
    }
    others(text, is_line_end).unwrap_or_else(|| white(text, true))
}

/// `[^\r\n\p{L}\p{N}]?`: bytes.
fn prefix(text: &str) -> usize {
    let first = text.chars().next().filter(|c| !is_line_end(*c) && !is(*c, LETTER | NUMBER));
    first.map_or(0, char::len_utf8)
}

/// ` ?[^\s\p{L}\p{N}]+` and what may follow it.
fn others(text: &str, tail: impl Fn(char) -> bool) -> Option<usize> {
    let blank = usize::from(text.starts_with(' '));
    let n = run(&text[blank..], usize::MAX, is_other);
    (n > 0).then(|| blank + n + run(&text[blank + n..], usize::MAX, tail))
}

/// With A = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`, B = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`, S = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`:
/// `[^\r\n\p{L}\p{N}]?A*B+S?|[^\r\n\p{L}\p{N}]?A+B*S?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn o200k(text: &str) -> usize {
    let front = prefix(text);
    // The optional character is taken first, and given back only when nothing fits behind it.
    let fronts = [front, 0];
    let fronts = if front == 0 { &fronts[1..] } else { &fronts[..] };
    for word in [lower_word, upper_word] {
        for front in fronts {
            let n = word(&text[*front..]);
            if n > 0 {
                let end = front + n;
                return end + contraction(&text[end..], true).unwrap_or(0);
            }
        }
    }
    let number = run(text, 3, |c| is(c, NUMBER));
    if number > 0 {
        return number;
    }
    others(text, |c| is_line_end(c) || c == '/').unwrap_or_else(|| white(text, true))
}

/// `A*B+`
fn lower_word(text: &str) -> usize {
    let upper = run(text, usize::MAX, |c| is(c, UPPER));
    let lower = run(&text[upper..], usize::MAX, |c| is(c, LOWER));
    if lower > 0 {
        return upper + lower;
    }
    // The last of A that is of B as well is given back.
    let back = text[..upper].char_indices().rev().find(|(_, c)| is(*c, LOWER));
    back.map_or(0, |(at, c)| at + c.len_utf8())
}

/// `A+B*`
fn upper_word(text: &str) -> usize {
    let upper = run(text, usize::MAX, |c| is(c, UPPER));
    if upper == 0 { 0 } else { upper + run(&text[upper..], usize::MAX, |c| is(c, LOWER)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(split: Split, text: &str, expected: &[&str]) {
        let pieces: Vec<&str> = split.pieces(text).collect();
        assert_eq!(pieces, expected);
        assert_eq!(pieces.concat(), text);
    }

    const FOUR: Split = Split::Cl100k { digits: 3 };

    #[test]
    fn words_digits_and_signs() {
        check(FOUR, "Hello world's 12345!!\n", &["Hello", " world", "'s", " ", "123", "45", "!!\n"]);
        check(Split::Cl100k { digits: 1 }, "42", &["4", "2"]);
        check(Split::Gpt2, "It's 12345 (ok)", &["It", "'s", " 12345", " (", "ok", ")"]);
        check(Split::O200k, "HTMLParser's won'T a/b//\n", &["HTMLParser's", " won'T", " a", "/b", "//\n"]);
        check(Split::O200k, "CamelCase ABC", &["Camel", "Case", " ABC"]);
        check(FOUR, "DON'T I'LL", &["DON", "'T", " I", "'LL"]);
        check(Split::Whole, "a b", &["a b"]);
        check(FOUR, "", &[]);
    }

    #[test]
    fn white_space_leaves_its_last_to_the_next_word() {
        for split in [FOUR, Split::O200k] {
            check(split, "a   b", &["a", "  ", " b"]);
            check(split, "a \n\n  b", &["a", " \n\n", " ", " b"]);
            check(split, "a\t\tb  ", &["a", "\t", "\tb", "  "]);
            check(split, "  \n", &["  \n"]);
            check(split, " 7", &[" ", "7"]);
        }
        check(Split::Gpt2, "a \n b", &["a", " \n", " b"]);
    }

    #[test]
    fn marks_and_letters_without_case() {
        // The mark is taken as the optional sign in front, then given back.
        check(Split::O200k, "\u{301}", &["\u{301}"]);
        check(Split::O200k, "e\u{301}t 你好吗A", &["e\u{301}t", " 你好吗", "A"]);
    }
}
