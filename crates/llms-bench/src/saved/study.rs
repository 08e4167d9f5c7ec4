//! `llms-bench study RUN`: how sure the ranks of a comparison are, who is beaten by nobody, what gates say.

use clap::Args;
use llms_core::bench::StudyOptions;

use super::SavedArgs;
use crate::exit::{Exit, Failure};

/// Which run, and what it is asked.
#[derive(Debug, Args)]
pub struct StudyArgs {
    /// Directory of the run, its id, or `latest`.
    #[arg(default_value = "latest")]
    pub run: String,
    /// A ratio up to this is acceptable: 1.1 for at most 10 % slower.
    #[arg(long, value_name = "RATIO", default_value_t = StudyOptions::default().margin)]
    pub margin: f64,
    /// A ratio that you would like to see if it were there.
    #[arg(long, value_name = "RATIO", default_value_t = StudyOptions::default().wanted)]
    pub wanted: f64,
    /// Chance with which it should be seen.
    #[arg(long, value_name = "CHANCE", default_value_t = StudyOptions::default().power)]
    pub power: f64,
    /// Resamples of the blocks.
    #[arg(long, value_name = "N", default_value_t = StudyOptions::default().resamples)]
    pub resamples: u32,
    /// Where it is and how it is printed.
    #[command(flatten)]
    pub saved: SavedArgs,
}

pub(crate) fn execute(args: &StudyArgs) -> Result<Exit, Failure> {
    let options = StudyOptions {
        margin: args.margin,
        wanted: args.wanted,
        power: args.power,
        resamples: args.resamples,
    };
    options.check().map_err(|e| Failure::usage(e.message()))?;
    let analyzer = args.saved.analyzer()?;
    let (manifest, records) = args.saved.open(&args.run)?;
    let study =
        analyzer.study_from(&manifest, &records, &options).map_err(|e| Failure::usage(e.message()))?;
    args.saved.print(&bench_report::study(&manifest.run_id, &study), &study)?;
    Ok(Exit::Ok)
}
