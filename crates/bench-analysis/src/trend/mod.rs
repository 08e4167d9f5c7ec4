//! Runs over time: slopes, change points, directions, checks against a baseline.
//!
//! [`points`] takes one number per run, metric and statistic; `stretch` keeps the comparable ones and splits them at declared
//! changes; `judge` looks at one series (the statistics are [`crate::stats::change`] and [`crate::stats::trend`]), `decide`
//! turns that into better, worse or steady; [`confirm`] plans the re-run that settles a candidate and reads its result;
//! `check` holds a current side against a baseline. Reads no clock and no file; draws from a seed.

mod check;
pub mod confirm;
mod decide;
mod judge;
pub mod points;
mod stretch;

use llms_core::bench::{
    Analysis, BenchmarkResult, RegressionCheck, RunManifest, TrendAnalysis, TrendAnalyzer, TrendInput,
    TrendOptions, TrendSeries,
};
use llms_core::error::{Error, ErrorCode, Result};

use crate::stats::StatsError;

/// Fewest comparable runs of a trend, as the contract says.
pub const RUNS_MIN: usize = 3;

/// The trend analyzer. The same input gives the same analysis, byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Trends {
    options: TrendOptions,
}

impl Trends {
    /// 95 %, changes of 5 % and more, a margin of 10 %.
    pub fn new() -> Self {
        Self::default()
    }

    /// With other options.
    ///
    /// # Errors
    /// `invalid_config` for options outside their range.
    pub fn with_options(options: TrendOptions) -> Result<Self> {
        options.validate()?;
        Ok(Self { options })
    }

    /// The trend over the contract's summaries, one of a run and provider: what a profile keeps. Order does not matter; the list stays
    /// as it is. Summaries have no intervals, so that plans rest on the spread between runs.
    ///
    /// # Errors
    /// `invalid_input` below three comparable results.
    pub fn of_results(&self, results: &[BenchmarkResult]) -> Result<TrendAnalysis> {
        self.analyze(&TrendInput { series: points::series_of_results(results), annotations: Vec::new() })
    }
}

impl TrendAnalyzer for Trends {
    fn series(&self, runs: &[(&RunManifest, &Analysis)]) -> Vec<TrendSeries> {
        points::series(runs)
    }

    fn analyze(&self, input: &TrendInput) -> Result<TrendAnalysis> {
        self.options.validate()?;
        let most = input.series.iter().map(|s| s.points.len()).max().unwrap_or(0);
        if most < RUNS_MIN {
            return Err(wrong(format!("expected a series of at least {RUNS_MIN} runs, found {most}")));
        }
        let judged = input
            .series
            .iter()
            .map(|s| judge::judge(s, &input.annotations, &self.options, input.series.len()))
            .collect::<std::result::Result<Vec<_>, StatsError>>()
            .map_err(|e| wrong(e.to_string()))?;
        let comparable = judged.iter().map(|j| j.trend.data_points).max().unwrap_or(0);
        if comparable < RUNS_MIN as u64 {
            return Err(wrong(format!(
                "expected a series of at least {RUNS_MIN} comparable runs, found {comparable}: the others differ in their \
                 environment or are INVALID"
            )));
        }
        Ok(decide::decide(judged, &self.options))
    }

    fn check(&self, baseline: &[TrendSeries], current: &[TrendSeries]) -> Result<Vec<RegressionCheck>> {
        self.options.validate()?;
        if current.iter().all(|s| s.points.is_empty()) {
            return Err(wrong("expected a current run to check, found none".to_owned()));
        }
        check::check(baseline, current, &self.options).map_err(|e| wrong(e.to_string()))
    }
}

fn wrong(message: String) -> Error {
    Error::new("trend.analyze", ErrorCode::InvalidInput, message)
}
