//! Counts tokens offline: OpenAI's vocabularies, bundled, and byte-pair `tokenizer.json` files.
//!
//! [`load`] gives a [`TokenCounter`] by name or file. Nothing is loaded before: a program that
//! never asks pays with 1.3 MB of its file and no memory. Texts are counted as they are: no chat template, no special tokens.
//!
//! Own code instead of a library, because both candidates cost more than the rest of the program: `bpe-openai` 0.3.2 takes two
//! CPU minutes to build, 35 MB of binary and 65 MB of memory, `tokenizers` a graph of seventy crates. What is here is the
//! splitting rules as scanners (`split`), the merging (`bpe`), and two readers (`bundled`, `file`); the tests hold them
//! against counts of the original implementations.

mod bpe;
mod bundled;
mod file;
mod split;
mod tokenizer;
mod vocabulary;

use std::{path::Path, sync::Arc};

use llms_core::{Error, ErrorCode, Result, bench::TokenCounter};

pub use bundled::NAMES;
pub use tokenizer::Tokenizer;

/// The tokenizer of that name ([`NAMES`]), or in that `tokenizer.json`.
///
/// # Errors
/// `invalid_config`: neither a name nor a file, or a file whose model, splitting rule or normalizer is not known here.
pub fn load(name_or_file: &str) -> Result<Arc<dyn TokenCounter>> {
    open(name_or_file).map(|tokenizer| Arc::new(tokenizer) as Arc<dyn TokenCounter>)
}

/// The same as a type of its own, which also encodes.
///
/// # Errors
/// Those of [`load`].
pub fn open(name_or_file: &str) -> Result<Tokenizer> {
    let wrong = |message: String| Error::new("tokenizer.load", ErrorCode::InvalidConfig, message);
    if let Some(tokenizer) = bundled::open(name_or_file) {
        return Ok(tokenizer);
    }
    let path = Path::new(name_or_file);
    if !path.exists() && path.extension().is_none() {
        let names = NAMES.join(", ");
        return Err(wrong(format!("expected {names} or a tokenizer.json, found `{name_or_file}`")));
    }
    let text = std::fs::read_to_string(path)
        .map_err(|e| wrong(format!("cannot read the tokenizer `{name_or_file}`")).with_source(e))?;
    file::parse(&text, name_or_file).map_err(|why| wrong(format!("{name_or_file}: {why}")))
}
