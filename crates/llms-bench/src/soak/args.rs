//! The arguments of `soak` and `stress`. Everything of `run`, and what they add.

use std::time::Duration;

use bench_analysis::stats::budget::BurnPair;
use clap::Args;
use llms_core::bench::duration;

use crate::cli::RunArgs;

/// A long run, and what it must hold.
#[derive(Debug, Args)]
pub struct SoakArgs {
    /// Target, work, load and output.
    #[command(flatten)]
    pub run: RunArgs,
    /// Share of requests that must be good (complete, and within every --goodput and --slo limit): 99.9%. Reports the error
    /// budget and its burn rates.
    #[arg(long, value_name = "SHARE", value_parser = percentage, help_heading = "Soak")]
    pub budget: Option<f64>,
    /// Pairs of windows that alarm together when both burn the budget faster than the rate behind them.
    #[arg(
        long,
        value_name = "LONG/SHORT:RATE",
        value_parser = burn_pair,
        value_delimiter = ',',
        default_value = "1h/5m:14.4,6h/30m:6",
        help_heading = "Soak"
    )]
    pub windows: Vec<BurnPair>,
    /// Confidence of all intervals.
    #[arg(long, value_name = "SHARE", value_parser = percentage, default_value = "0.95", help_heading = "Soak")]
    pub confidence: f64,
    /// A burst of this rate within the run: how long it is felt is reported.
    #[arg(long, value_name = "RATE", value_parser = above_zero, requires_all = ["burst_at", "request_rate"], help_heading = "Soak")]
    pub burst_rate: Option<f64>,
    /// When the burst begins, from the start of the window.
    #[arg(long, value_name = "TIME", value_parser = some_time, requires = "burst_rate", help_heading = "Soak")]
    pub burst_at: Option<Duration>,
    /// How long the burst lasts.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "1m", help_heading = "Soak")]
    pub burst_for: Duration,
}

/// A ladder of rates.
#[derive(Debug, Args)]
pub struct StressArgs {
    /// Target, work and output.
    #[command(flatten)]
    pub run: RunArgs,
    /// Rates to climb, requests per second: 10,20,40,80.
    #[arg(
        long,
        value_name = "RATES",
        value_parser = above_zero,
        value_delimiter = ',',
        conflicts_with_all = ["start", "factor", "steps"],
        help_heading = "Ladder"
    )]
    pub rates: Vec<f64>,
    /// First rate, requests per second.
    #[arg(long, value_name = "RATE", value_parser = above_zero, default_value = "10", help_heading = "Ladder")]
    pub start: f64,
    /// Each rate over the one before it.
    #[arg(long, value_name = "N", value_parser = above_one, default_value = "2", help_heading = "Ladder")]
    pub factor: f64,
    /// How many rates.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64), default_value_t = 6, help_heading = "Ladder")]
    pub steps: u32,
    /// How long each rate is held.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "30s", help_heading = "Ladder")]
    pub hold: Duration,
    /// How long the base rate follows each of them.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "10s", help_heading = "Ladder")]
    pub recover: Duration,
    /// Rate of the baseline and after each step; half of the lowest unless given.
    #[arg(long, value_name = "RATE", value_parser = above_zero, help_heading = "Ladder")]
    pub base_rate: Option<f64>,
    /// Width of the windows by which recovery is told; a tenth of --recover, and at least eight requests, unless given.
    #[arg(long, value_name = "TIME", value_parser = some_time, help_heading = "Ladder")]
    pub window: Option<Duration>,
    /// Longest wait between steps for the latency at rest.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "1m", help_heading = "Ladder")]
    pub rest: Duration,
    /// Share of requests that must be good for a step to hold.
    #[arg(long, value_name = "SHARE", value_parser = percentage, default_value = "0.99", help_heading = "Ladder")]
    pub share: f64,
    /// Stop after the first step that fails instead of climbing on.
    #[arg(long, help_heading = "Ladder")]
    pub stop_at_failure: bool,
}

impl StressArgs {
    /// The rates to climb.
    pub fn ladder(&self) -> Vec<f64> {
        if self.rates.is_empty() {
            (0..self.steps.cast_signed()).map(|i| self.start * self.factor.powi(i)).collect()
        } else {
            self.rates.clone()
        }
    }
}

fn above_zero(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 0.0);
    number.ok_or_else(|| "expected a number above 0".to_owned())
}

fn above_one(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|n: &f64| n.is_finite() && *n > 1.0);
    number.ok_or_else(|| "expected a number above 1".to_owned())
}

fn some_time(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("expected a time above 0, such as 30s".to_owned()),
        time => Ok(time),
    }
}

/// A share strictly between 0 and 1, as `99.9%` or `0.999`.
fn percentage(text: &str) -> Result<f64, String> {
    let share = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse().map(|p: f64| p / 100.0),
        None => text.trim().parse(),
    };
    let share = share.ok().filter(|s: &f64| *s > 0.0 && *s < 1.0);
    share.ok_or_else(|| "expected a share between 0 and 1, such as 99.9% or 0.999".to_owned())
}

/// `1h/5m:14.4`.
fn burn_pair(text: &str) -> Result<BurnPair, String> {
    let wrong = || format!("expected LONG/SHORT:RATE such as 1h/5m:14.4, found `{text}`");
    let (windows, burn) = text.split_once(':').ok_or_else(wrong)?;
    let (long, short) = windows.split_once('/').ok_or_else(wrong)?;
    let (long, short) = (some_time(long)?.as_secs_f64(), some_time(short)?.as_secs_f64());
    if long <= short {
        return Err(format!("expected the longer window first, found `{text}`"));
    }
    Ok(BurnPair { long_s: long, short_s: short, burn: above_zero(burn)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_pairs_are_read_as_people_write_them() {
        assert!((percentage("99.9%").unwrap() - 0.999).abs() < 1e-12);
        assert_eq!(percentage("0.95"), Ok(0.95));
        for wrong in ["100%", "1", "0", "-1", "NaN", "many"] {
            assert!(percentage(wrong).is_err(), "{wrong}");
        }
        let pair = burn_pair("10m/1m:6").unwrap();
        assert_eq!((pair.long_s, pair.short_s, pair.burn), (600.0, 60.0, 6.0));
        for wrong in ["10m", "1m/10m:6", "10m/1m:0", "10m/1m", "x/1m:2"] {
            assert!(burn_pair(wrong).is_err(), "{wrong}");
        }
    }
}
