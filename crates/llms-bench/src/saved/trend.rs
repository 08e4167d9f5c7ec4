//! `llms-bench trend [RUN…]`: where each number goes over runs, and what changed when.

use bench_analysis::Trends;
use bench_store::RunDir;
use clap::Args;
use llms_core::bench::{Analysis, RunManifest, TrendAnalyzer, TrendInput, TrendOptions};
use serde::Serialize;

use super::SavedArgs;
use crate::exit::{Exit, Failure};

/// Which runs, and how much counts.
#[derive(Debug, Args)]
pub struct TrendArgs {
    /// Directories of runs or their ids, in any order; without any, all that are kept.
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    /// Only runs with this label.
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// Only this target, as reports call it; repeatable.
    #[arg(long = "only-target", value_name = "NAME")]
    pub targets: Vec<String>,
    /// Only this metric (`e2e`, `ttft`, `error_rate`), repeatable.
    #[arg(long = "metric", value_name = "METRIC")]
    pub metrics: Vec<String>,
    /// Smallest change of level worth telling, relative.
    #[arg(long, value_name = "SHARE", default_value_t = TrendOptions::default().min_effect)]
    pub min_effect: f64,
    /// Where they are and how the page is printed.
    #[command(flatten)]
    pub saved: SavedArgs,
}

#[derive(Serialize)]
struct Told<'a> {
    analysis: &'a llms_core::bench::TrendAnalysis,
    series: &'a [llms_core::bench::TrendSeries],
}

pub(crate) fn execute(args: &TrendArgs) -> Result<Exit, Failure> {
    let analyzer = args.saved.analyzer()?;
    let named = if args.runs.is_empty() {
        let kept = RunDir::list(&args.saved.output_dir).map_err(|e| Failure::run(e.message()))?;
        kept.into_iter().map(|run| run.path.display().to_string()).collect()
    } else {
        args.runs.clone()
    };
    let mut runs: Vec<(RunManifest, Analysis)> = Vec::new();
    for name in &named {
        let (manifest, records) = args.saved.open(name)?;
        if args.label.as_ref().is_none_or(|l| manifest.label.as_ref() == Some(l)) {
            let judged = analyzer.analyze_from(&manifest, &records).map_err(|e| Failure::run(e.message()))?;
            runs.push((manifest, judged));
        }
    }
    let trends =
        Trends::with_options(TrendOptions { min_effect: args.min_effect, ..TrendOptions::default() })
            .map_err(|e| Failure::usage(e.message()))?;
    let borrowed: Vec<(&RunManifest, &Analysis)> = runs.iter().map(|(m, a)| (m, a)).collect();
    let mut series = trends.series(&borrowed);
    series.retain(|s| {
        (args.targets.is_empty() || args.targets.contains(&s.target))
            && (args.metrics.is_empty() || args.metrics.contains(&s.metric))
    });
    let input = TrendInput { series, annotations: Vec::new() };
    let analysis = trends.analyze(&input).map_err(|e| Failure::usage(e.message()))?;
    let sheet = bench_report::trend(&analysis, &input.series);
    args.saved.print(&sheet, &Told { analysis: &analysis, series: &input.series })?;
    Ok(Exit::Ok)
}
