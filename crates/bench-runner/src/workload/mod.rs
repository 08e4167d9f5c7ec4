//! What is asked: scenarios from files, from the built-in set or from code, made ready for a run.
//!
//! Pure, but for reading the file it is told to read. [`load_scenario`] and [`ScenarioRegistry`] yield a
//! [`Scenario`](llms_core::bench::Scenario); [`resolve`](fn@resolve) fills in what a run leaves open (ids, seeds, warm-up
//! prompts); the hashes make two runs comparable. Nothing here sends anything.

mod builtin;
mod csv;
mod file;
mod hash;
mod lengths;
mod passage;
mod prompts;
mod registry;
mod resolve;
pub(crate) mod schema;
mod source;
mod trace;
mod words;

pub use file::{from_json, from_toml, load_scenario, read_files};
pub(crate) use hash::hex;
pub use hash::{data_hash, scenario_hash};
pub use prompts::{load_prompts, parse_prompts};
pub use registry::ScenarioRegistry;
pub(crate) use resolve::nonce;
pub use resolve::resolve;
pub(crate) use source::{Source, is_made};
pub use source::{made_prompt, planned_tokens};
pub use trace::{parse_trace, read_trace};
