//! Where runs live: a directory per run with `run.json` and a record file that is written while the run goes on.
//!
//! [`RunSink`] takes the runner's records, [`ScratchSink`] those of a run that is not kept; [`RunDir`] finds and reads runs back,
//! [`StoredRecords`] hands them out one by one. A killed run is readable up to
//! its last second and says that it is incomplete. [`JsonlSink`] writes one JSON object per request for
//! anybody's tools; [`Tee`] feeds several sinks.
//!
//! Knows nothing of statistics; never deletes or overwrites a run.

mod columns;
mod fault;
mod jsonl;
mod pack;
mod queue;
mod reader;
mod run_dir;
mod sink;
mod tee;

pub use jsonl::JsonlSink;
pub use reader::{RecordReader, StoredRecords, Tail};
pub use run_dir::{RunDir, RunEntry};
pub use sink::{RunSink, ScratchSink};
pub use tee::Tee;
