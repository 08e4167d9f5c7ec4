//! Where runs live: a directory per run with `run.json` and a record file that is written while the run goes on.
//!
//! [`RunSink`] takes the runner's records; [`RunDir`] finds and reads runs back. A killed run is readable up to
//! its last second and says that it is incomplete. [`JsonlSink`] writes one JSON object per request for
//! anybody's tools; [`Tee`] feeds several sinks.
//!
//! Knows nothing of statistics; never deletes or overwrites a run.

mod columns;
mod fault;
mod jsonl;
mod reader;
mod run_dir;
mod sink;
mod tee;

pub use jsonl::JsonlSink;
pub use reader::{RecordReader, Tail};
pub use run_dir::{RunDir, RunEntry};
pub use sink::RunSink;
pub use tee::Tee;
