//! `llms-bench aggregate RUN RUN…`: several runs of one thing, the run as the unit.

use bench_analysis::Aggregator;
use clap::Args;
use llms_core::bench::{AggregateOptions, ResultAggregator};

use super::{SavedArgs, at_least};
use crate::exit::{Exit, Failure};

/// Which runs, and how they are put together.
#[derive(Debug, Args)]
pub struct AggregateArgs {
    /// Directories of runs or their ids: of the same targets and the same work.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<String>,
    /// Of intervals.
    #[arg(long, value_name = "CHANCE", default_value_t = AggregateOptions::default().confidence)]
    pub confidence: f64,
    /// What starting a run costs, in requests: for the best number of requests a run.
    #[arg(long, value_name = "REQUESTS", default_value_t = AggregateOptions::default().start_cost)]
    pub start_cost: f64,
    /// Take runs that judged themselves INVALID too.
    #[arg(long)]
    pub include_invalid: bool,
    /// Where they are and how the page is printed.
    #[command(flatten)]
    pub saved: SavedArgs,
}

pub(crate) fn execute(args: &AggregateArgs) -> Result<Exit, Failure> {
    let options = AggregateOptions {
        confidence: args.confidence,
        start_cost: args.start_cost,
        include_invalid: args.include_invalid,
    };
    options.check().map_err(|e| Failure::usage(e.message()))?;
    at_least(&args.runs, 2, "aggregate")?;
    let aggregator = Aggregator::new(args.saved.analyzer()?);
    let mut digests = Vec::new();
    for name in &args.runs {
        let (manifest, records) = args.saved.open(name)?;
        let of_run = aggregator.digest(&manifest, &records).map_err(|e| Failure::run(e.message()))?;
        digests.extend(of_run);
    }
    let targets = aggregator.aggregate(&digests, &options).map_err(|e| Failure::usage(e.message()))?;
    args.saved.print(&bench_report::aggregate(&targets), &targets)?;
    Ok(Exit::Ok)
}
