//! OpenAI's vocabularies, bundled: see `data/SOURCES.md` for origin and form.

use crate::{
    bpe::Merges,
    split::Split,
    tokenizer::{Start, Tokenizer},
    vocabulary::Vocabulary,
};

/// The names that [`load`](crate::load) knows.
pub const NAMES: [&str; 2] = ["o200k_base", "cl100k_base"];

/// Most bytes of an unpacked vocabulary.
const UNPACKED: usize = 4 << 20;

pub(crate) fn open(name: &str) -> Option<Tokenizer> {
    let (packed, tokens, split): (&[u8], usize, Split) = match name {
        "o200k_base" => (include_bytes!("../data/o200k_base.zst"), 199_998, Split::O200k),
        "cl100k_base" => (include_bytes!("../data/cl100k_base.zst"), 100_256, Split::Cl100k { digits: 3 }),
        _ => return None,
    };
    let bytes = zstd::bulk::decompress(packed, UNPACKED).expect("invariant: the bundled file unpacks");
    let mut vocabulary = Vocabulary::with_capacity(tokens);
    let mut rest = &bytes[..];
    while let Some((length, tail)) = rest.split_first() {
        let (token, tail) = tail.split_at(usize::from(*length));
        vocabulary.add(token).expect("invariant: room for every bundled token");
        rest = tail;
    }
    Some(Tokenizer {
        name: name.to_owned(),
        vocabulary,
        merges: Merges::Joined,
        changes: Vec::new(),
        split,
        start: Start::Bytes,
        whole_first: true,
    })
}
