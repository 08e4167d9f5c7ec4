//! Quantiles of dependent latencies: the *ESS order-statistic* column of the published table.
//!
//! The naive interval covers 15 to 85 % here. The figures were measured once with another implementation (300 to 4000 data
//! sets); ours must agree within three standard errors of 2000
//! data sets, and the half point to which the figures are rounded. As there, a limit that the effective size cannot carry counts as
//! infinite: a report gives no interval then, and the share of those withheld would select among data sets.

use super::{Draw, Experiment, Process, Question, yes};
use crate::stats::dependence::effective_size;
use crate::stats::interval::{Interval, StatsError};
use crate::stats::order_interval::quantile_ranks;
use crate::stats::quantile::{QuantileType, Sample};

/// Law, values, level, coverage of nominal 95 %, in per cent.
const TABLE: [(Process, usize, f64, f64); 5] = [
    (Process::Autoregressive(0.5), 1000, 0.95, 96.0),
    (Process::Autoregressive(0.8), 1000, 0.95, 96.0),
    (Process::Queue(0.5), 5000, 0.95, 95.0),
    (Process::Queue(0.8), 20_000, 0.99, 93.0),
    (Process::Queue(0.8), 5000, 0.95, 92.0),
];
const DATA_SETS: u64 = 2000;
/// The figures are whole per cent.
const ROUNDED: f64 = 0.005;

pub(super) fn experiments() -> Vec<Experiment> {
    let one = |(number, (process, n, p, percent)): (u64, (Process, usize, f64, f64))| {
        let name =
            format!("{}, n {n}, p{:.0}: order statistics at the effective n", process.name(), p * 100.0);
        let questions = vec![Question::known(name, percent / 100.0, DATA_SETS).rounded(ROUNDED)];
        let trial = move |draw: &mut Draw, answers: &mut [Option<f64>]| {
            let interval = open_interval(&process.draw(n, draw), p);
            answers[0] = interval.ok().map(|i| yes(i.contains(process.quantile(p))));
        };
        Experiment::new("dependent quantiles", 400 + number, DATA_SETS, questions, trial)
    };
    (0..).zip(TABLE).map(one).collect()
}

/// [`quantile_estimate`](crate::stats::dependence::quantile_estimate)'s interval, with an infinite limit where there is no rank.
fn open_interval(x: &[f64], p: f64) -> Result<Interval, StatsError> {
    if let Ok(e) = crate::stats::dependence::quantile_estimate(x, p, 0.95) {
        return Ok(e.interval);
    }
    let sample = Sample::new(x)?;
    let value = sample.quantile(p, QuantileType::Type1)?;
    let above: Vec<f64> = x.iter().map(|v| f64::from(value < *v)).collect();
    let effective = (effective_size(&above)?.ess.floor() as usize).clamp(10, x.len());
    let ranks = quantile_ranks(effective, p, 0.95)?;
    let scale = x.len() as f64 / effective as f64;
    let low = |rank: usize| sample.order_statistic(((rank - 1) as f64 * scale).floor() as usize + 1);
    let high = |rank: usize| sample.order_statistic((rank as f64 * scale).ceil() as usize);
    Ok(Interval::new(ranks.lower.map_or(0.0, low), ranks.upper.map_or(f64::INFINITY, high)))
}
