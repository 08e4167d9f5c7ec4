//! What the fuzz targets share: cutting an input into reads, driving a codec as `llms-core` drives it, and the
//! promises that every decoder must keep.
//!
//! A broken promise is a panic, which libFuzzer reports with the input. Memory and time are bounded by its options (see
//! README.md).

pub mod answer;
#[cfg(feature = "bedrock")]
pub mod bedrock;
pub mod codecs;
pub mod frames;
pub mod reads;
pub mod secret;
pub mod stream;
