//! Commands over saved runs that send nothing: `study`, `aggregate`, `trend`, `gate`. Each reads runs, has them judged and prints a
//! page; what is judged is decided in `bench-analysis`, how it looks in `bench-report`.

mod aggregate;
mod gate;
mod study;
mod trend;

use std::path::PathBuf;

use bench_analysis::Analyzer;
use bench_report::Sheet;
use bench_store::{RunDir, StoredRecords};
use clap::Args;
use llms_core::bench::{Analysis, RunManifest};
use serde::Serialize;

use crate::{cli::Format, exit::Failure, output};

pub use aggregate::AggregateArgs;
pub(crate) use aggregate::execute as aggregate;
pub use gate::GateArgs;
pub(crate) use gate::execute as gate;
pub use study::StudyArgs;
pub(crate) use study::execute as study;
pub use trend::TrendArgs;
pub(crate) use trend::execute as trend;

/// Where saved runs are, what answers cost, and how the page is printed.
#[derive(Debug, Args)]
pub struct SavedArgs {
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = ".llms-bench")]
    pub output_dir: PathBuf,
    /// Price file, asked before the bundled one.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Form of standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

impl SavedArgs {
    fn analyzer(&self) -> Result<Analyzer, Failure> {
        output::analyzer(self.prices.as_deref())
    }

    /// The run that `name` means and where its records lie.
    fn open(&self, name: &str) -> Result<(RunManifest, StoredRecords), Failure> {
        let dir = RunDir::find(&self.output_dir, name).map_err(|e| Failure::usage(e.message()))?;
        dir.open().map_err(|e| Failure::run(e.message()))
    }

    /// The same, judged.
    fn judged(&self, analyzer: &Analyzer, name: &str) -> Result<(RunManifest, Analysis), Failure> {
        let (manifest, records) = self.open(name)?;
        let analysis = analyzer.analyze_from(&manifest, &records).map_err(|e| Failure::run(e.message()))?;
        Ok((manifest, analysis))
    }

    fn print(&self, sheet: &Sheet, data: &impl Serialize) -> Result<(), Failure> {
        let text = match self.format {
            Format::Text => sheet.text(&output::style()),
            Format::Markdown => sheet.markdown(),
            Format::Json => {
                let json = serde_json::to_string_pretty(data);
                json.map_err(|e| Failure::run(format!("cannot write JSON: {e}")))? + "\n"
            }
        };
        output::print(&text)
    }
}

/// What no run can be: names of runs that mean none.
fn at_least(runs: &[String], least: usize, what: &str) -> Result<(), Failure> {
    if runs.len() < least {
        return Err(Failure::usage(format!("{what} needs at least {least} runs, found {}", runs.len())));
    }
    Ok(())
}
