//! `llms-bench gate RUN --baseline RUN`: no worse than before, as an exit code.

use bench_analysis::{Analyzer, Trends};
use clap::Args;
use llms_core::bench::{Analysis, RegressionOutcome, RunManifest, TrendAnalyzer, TrendOptions, TrendSeries};

use super::SavedArgs;
use crate::exit::{Exit, Failure};

/// What is judged, against what, and how much worse it may be.
#[derive(Debug, Args)]
pub struct GateArgs {
    /// Directory of the run, its id, or `latest`; several are one side.
    #[arg(value_name = "RUN", default_value = "latest")]
    pub runs: Vec<String>,
    /// Directory of a run to hold against, or its id; repeatable: more runs tell more.
    #[arg(long, value_name = "RUN", required = true)]
    pub baseline: Vec<String>,
    /// How much worse is allowed, relative.
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = percent)]
    pub max_regression: f64,
    /// The same for shares, as a difference: 1 % is one point.
    #[arg(long, value_name = "PERCENT", default_value = "1%", value_parser = percent)]
    pub max_share: f64,
    /// Only these: METRIC or METRIC:STATISTIC, as `e2e:p95`; repeatable. Without any, all.
    #[arg(long = "on", value_name = "METRIC[:STATISTIC]")]
    pub on: Vec<String>,
    /// Confidence of the verdict.
    #[arg(long, value_name = "CHANCE", default_value_t = TrendOptions::default().confidence)]
    pub confidence: f64,
    /// Where they are and how the page is printed.
    #[command(flatten)]
    pub saved: SavedArgs,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').map(str::trim_end);
    number
        .and_then(|t| t.parse::<f64>().ok())
        .filter(|p| *p > 0.0 && *p < 1000.0)
        .map(|p| p / 100.0)
        .ok_or_else(|| format!("expected a percentage above 0, such as 5%, found `{text}`"))
}

pub(crate) fn execute(args: &GateArgs) -> Result<Exit, Failure> {
    let trends = Trends::with_options(TrendOptions {
        confidence: args.confidence,
        margin: args.max_regression,
        margin_share: args.max_share,
        ..TrendOptions::default()
    })
    .map_err(|e| Failure::usage(e.message()))?;
    let analyzer = args.saved.analyzer()?;
    let baseline = side(args, &analyzer, &trends, &args.baseline)?;
    let mut current = side(args, &analyzer, &trends, &args.runs)?;
    let asked = |s: &TrendSeries| {
        args.on.iter().any(|on| *on == s.metric || *on == format!("{}:{}", s.metric, s.statistic))
    };
    if !args.on.is_empty() {
        let had: Vec<String> = current.iter().map(|s| format!("{}:{}", s.metric, s.statistic)).collect();
        current.retain(asked);
        if current.is_empty() {
            let mut had = had;
            had.sort();
            had.dedup();
            return Err(Failure::usage(format!(
                "--on: the run has none of {}; it has {}",
                args.on.join(", "),
                had.join(", ")
            )));
        }
    }
    let checks = trends.check(&baseline, &current).map_err(|e| Failure::usage(e.message()))?;
    let any = |outcome| checks.iter().any(|c| c.outcome == outcome);
    let (title, exit) = if any(RegressionOutcome::Fail) {
        ("FAIL: worse than the baseline allows", Exit::Gate)
    } else if any(RegressionOutcome::Inconclusive) {
        ("INCONCLUSIVE: nothing is proved to be worse, and not everything to be as good", Exit::Inconclusive)
    } else {
        ("PASS: no worse than the baseline allows", Exit::Ok)
    };
    args.saved.print(&bench_report::checks(title, &checks), &checks)?;
    Ok(exit)
}

fn side(
    args: &GateArgs,
    analyzer: &Analyzer,
    trends: &Trends,
    names: &[String],
) -> Result<Vec<TrendSeries>, Failure> {
    let judged: Vec<(RunManifest, Analysis)> =
        names.iter().map(|name| args.saved.judged(analyzer, name)).collect::<Result<_, _>>()?;
    let borrowed: Vec<(&RunManifest, &Analysis)> = judged.iter().map(|(m, a)| (m, a)).collect();
    Ok(trends.series(&borrowed))
}

#[cfg(test)]
mod tests {
    #[test]
    fn percentages_have_a_sign_and_a_range() {
        assert_eq!(super::percent("5%").unwrap(), 0.05);
        assert_eq!(super::percent("2.5 %").unwrap(), 0.025);
        for wrong in ["5", "0%", "-1%", "x%", "NaN%", "inf%", ""] {
            assert!(super::percent(wrong).unwrap_err().contains("percentage"), "{wrong}");
        }
    }
}
