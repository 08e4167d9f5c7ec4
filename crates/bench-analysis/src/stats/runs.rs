//! Several runs of one configuration: the run is the unit, never the pooled requests.
//!
//! Pooling all requests of several runs covers 33–86 % where 95 is claimed, t on run values 95 % at 3, 5 or 10 runs.

use super::distribution::f_sf;
use super::interval::{StatsError, check_finite};
use super::mean::{MeanEstimate, t_interval};
use super::summary::{mean, variance};

/// Variance within and between runs of equal length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RunVariance {
    /// grand mean with the t interval of the run means
    pub mean: MeanEstimate,
    /// S₁²: mean variance within runs
    pub within: f64,
    /// S₂²: variance of the run means
    pub of_means: f64,
    /// T₂² = S₂² − S₁²/m: variance between runs; may come out negative, then there is none to see
    pub between: f64,
    /// share of the variance that lies between runs, between floored at 0
    pub intraclass: f64,
    /// requests a run that cost least for a given precision; `None` when runs do not differ
    pub best_requests: Option<u64>,
    /// one-way analysis of variance: F
    pub anova_f: f64,
    /// and its p
    pub anova_p: f64,
}

/// Two-level variance of r ≥ 2 runs of m ≥ 2 values each; `cost_ratio` = cost of starting a run in requests.
///
/// `best_requests = ⌈√(cost_ratio · S₁²/T₂²)⌉`.
///
/// # Errors
/// `TooFew`, `Unpaired` for runs of different lengths, `Infinite`, `NotANumber`.
///
/// # Source
/// Kalibera and Jones 2013.
pub fn run_variance(runs: &[Vec<f64>], cost_ratio: f64, confidence: f64) -> Result<RunVariance, StatsError> {
    if runs.len() < 2 {
        return Err(StatsError::TooFew {
            what: "a variance between runs",
            needed: 2,
            have: runs.len() as u64,
        });
    }
    let m = runs[0].len();
    for run in runs {
        check_finite(run)?;
        if run.len() != m {
            return Err(StatsError::Unpaired { left: m, right: run.len() });
        }
    }
    if m < 2 {
        return Err(StatsError::TooFew { what: "a variance within a run", needed: 2, have: m as u64 });
    }
    let means: Vec<f64> = runs.iter().map(|r| mean(r)).collect();
    let spread = |x: &[f64]| variance(x).expect("invariant: two values or more");
    let within = mean(&runs.iter().map(|r| spread(r)).collect::<Vec<_>>());
    let of_means = spread(&means);
    let m = m as f64;
    let between = of_means - within / m;
    let floored = between.max(0.0);
    let anova_f = m * of_means / within;
    let groups = runs.len() as f64;
    Ok(RunVariance {
        mean: t_interval(&means, confidence)?,
        within,
        of_means,
        between,
        intraclass: if floored + within == 0.0 { 0.0 } else { floored / (floored + within) },
        best_requests: (0.0 < between).then(|| (cost_ratio * within / between).sqrt().ceil() as u64),
        anova_f,
        anova_p: f_sf(anova_f, groups - 1.0, groups * (m - 1.0)),
    })
}
