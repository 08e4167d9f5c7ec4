//! Chat completions, and text completions' answers, which are the same but for one field.

mod calls;
pub(crate) mod request;
pub(crate) mod stream;
mod wire;
