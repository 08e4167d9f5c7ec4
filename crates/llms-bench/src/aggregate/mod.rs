//! `llms-bench aggregate RUN RUN…`: several runs of one thing as one answer, with the run as the unit.
//!
//! Sends nothing. Percentiles are never averaged: distributions are merged, and intervals rest on how runs differ.

mod text;

use std::path::PathBuf;

use bench_analysis::Aggregator;
use bench_store::RunDir;
use clap::Args;
use llms_core::bench::{AggregateOptions, ResultAggregator};

use crate::{
    cli::Format,
    exit::{Exit, Failure},
    output,
};

/// Which runs, and how they are put together.
#[derive(Debug, Args)]
pub struct AggregateArgs {
    /// Directories of runs or their ids: the same targets and scenario, five or more for any claim.
    #[arg(required = true)]
    pub runs: Vec<String>,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = ".llms-bench")]
    pub output_dir: PathBuf,
    /// Price file, asked before the bundled one.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Confidence of the intervals, 0.5 to 0.99.
    #[arg(long, value_name = "SHARE", default_value_t = AggregateOptions::default().confidence)]
    pub confidence: f64,
    /// What starting a run costs, in requests: for the best number of requests a run.
    #[arg(long, value_name = "REQUESTS", default_value_t = AggregateOptions::default().start_cost)]
    pub start_cost: f64,
    /// Take runs that judged themselves INVALID too.
    #[arg(long)]
    pub include_invalid: bool,
    /// Form of standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Reads, puts together, prints.
///
/// # Errors
/// When a run or the price file cannot be found or read, and for runs that do not go together.
pub fn execute(args: &AggregateArgs) -> Result<Exit, Failure> {
    let options = AggregateOptions {
        confidence: args.confidence,
        start_cost: args.start_cost,
        include_invalid: args.include_invalid,
    };
    options.check().map_err(|e| Failure::usage(e.message()))?;
    let aggregator = Aggregator::new(output::analyzer(args.prices.as_deref())?);
    let mut digests = Vec::new();
    for name in &args.runs {
        let dir = RunDir::find(&args.output_dir, name).map_err(|e| Failure::usage(e.message()))?;
        let (manifest, records) = dir.open().map_err(|e| Failure::run(e.message()))?;
        digests.extend(aggregator.digest(&manifest, &records).map_err(|e| Failure::run(e.message()))?);
    }
    let found = aggregator.aggregate(&digests, &options).map_err(|e| Failure::usage(e.message()))?;
    let shown = match args.format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&found);
            json.map_err(|e| Failure::run(format!("cannot write JSON: {e}")))? + "\n"
        }
        Format::Markdown => found.iter().map(|t| text::render(t, true)).collect(),
        Format::Text => found.iter().map(|t| text::render(t, false)).collect(),
    };
    output::print(&shown)?;
    Ok(Exit::Ok)
}
