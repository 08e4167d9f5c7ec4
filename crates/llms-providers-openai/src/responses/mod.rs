//! The Responses API.

mod items;
pub(crate) mod request;
pub(crate) mod stream;
mod wire;
