//! `llms-bench tokens RUN…`: what the tokens of saved runs went into, what they cost, and what would save money.
//!
//! Sends nothing. What a saved run does not hold is said with the reason; every hint has its evidence beside it.

mod text;

use std::path::PathBuf;

use bench_analysis::{
    Analyzer,
    optimize::{Engine, EngineOptions},
};
use bench_store::RunDir;
use clap::Args;
use llms_core::bench::{
    HintCategory, OptimizationEngine, OptimizationReport, Recheck, RecordSource, RunManifest, UsageAnalysis,
    UsageAnalyzer,
};
use serde::Serialize;

use crate::{
    cli::Format,
    exit::{Exit, Failure},
    output, tokenizer,
};

/// Which runs, and what only you can say.
#[derive(Debug, Args)]
pub struct TokensArgs {
    /// Directories of runs, their ids, or `latest`. With several, what the first one shows is looked for again in the others.
    #[arg(default_value = "latest")]
    pub runs: Vec<String>,
    /// Where runs are kept.
    #[arg(long, value_name = "DIR", default_value = ".llms-bench")]
    pub output_dir: PathBuf,
    /// Price file, asked before the bundled one.
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Share of the traffic, 0 to 1, that may wait a day for its answer.
    #[arg(long, value_name = "SHARE")]
    pub deferrable: Option<f64>,
    /// Only hints of this category, repeatable.
    #[arg(long = "hint", value_name = "CATEGORY")]
    pub hints: Vec<HintCategory>,
    /// Form of standard output.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// What is said of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    pub(crate) run_id: String,
    pub(crate) usage: Vec<UsageAnalysis>,
    pub(crate) hints: OptimizationReport,
    /// What this run says about the first one's hints: title and answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rechecks: Vec<(String, Recheck)>,
}

/// Reads, judges, prints.
///
/// # Errors
/// When a run or the price file cannot be found or read.
pub fn execute(args: &TokensArgs) -> Result<Exit, Failure> {
    let analyzer = output::analyzer(args.prices.as_deref())?;
    let options = EngineOptions {
        deferrable_share: args.deferrable,
        categories: args.hints.clone(),
        ..EngineOptions::default()
    };
    let engine = Engine::new(analyzer.clone(), options).map_err(|e| Failure::usage(e.message()))?;
    let mut told: Vec<Told> = Vec::new();
    for name in &args.runs {
        let dir = RunDir::find(&args.output_dir, name).map_err(|e| Failure::usage(e.message()))?;
        let (manifest, records) = dir.open().map_err(|e| Failure::run(e.message()))?;
        let mut one = tell(&analyzer, &engine, &manifest, &records)?;
        if let Some(first) = told.first() {
            for earlier in &first.hints.recommendations {
                let now =
                    engine.recheck(earlier, &manifest, &records).map_err(|e| Failure::run(e.message()))?;
                one.rechecks.push((format!("{}: {}", earlier.target, earlier.title), now));
            }
        }
        told.push(one);
    }
    let shown = match args.format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&told);
            json.map_err(|e| Failure::run(format!("cannot write JSON: {e}")))? + "\n"
        }
        Format::Markdown => told.iter().map(|t| text::render(t, true)).collect(),
        Format::Text => told.iter().map(|t| text::render(t, false)).collect(),
    };
    output::print(&shown)?;
    Ok(Exit::Ok)
}

fn tell(
    analyzer: &Analyzer,
    engine: &Engine,
    manifest: &RunManifest,
    records: &dyn RecordSource,
) -> Result<Told, Failure> {
    // a vocabulary that is not here any more only makes the split of prompts an estimate
    let counter = tokenizer::load(&manifest.scenario).ok().flatten();
    let usage = analyzer
        .analyze_usage(manifest, records, counter.as_deref())
        .map_err(|e| Failure::run(e.message()))?;
    let hints = engine.optimize(manifest, records).map_err(|e| Failure::run(e.message()))?;
    Ok(Told { run_id: manifest.run_id.clone(), usage, hints, rechecks: Vec::new() })
}
