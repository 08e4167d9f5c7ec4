//! Values that depend on their neighbours (queues remember): autocorrelation, effective sample size, batch means, and the
//! quantile interval that stays honest under it.
//!
//! The order of the input is the order in time. A naive interval on queueing data covers 15–55 % where 95 is claimed.

use std::cell::RefCell;

use super::distribution::{chi2_sf, t_quantile};
use super::interval::{Interval, StatsError, check_at_least, check_finite, check_unit};
use super::order_interval::{RankInterval, quantile_ranks};
use super::quantile::{QuantileType, Sample};
use super::summary::{compensated_sum, mean, variance};

/// Autocovariance at `lag`, divisor n, of values already centred.
fn autocovariance(centred: &[f64], lag: usize) -> f64 {
    // Sums side by side: the processor adds them at once, and rounding errors grow slower than in one.
    let (ahead, behind) = (&centred[lag..], &centred[..centred.len() - lag]);
    let mut sums = [0.0; 8];
    let (a, b) = (ahead.chunks_exact(8), behind.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    (sums.iter().sum::<f64>() + rest) / centred.len() as f64
}

/// Lags summed one by one; beyond, all of them come from one transform.
const DIRECT_LAGS: usize = 64;

/// Autocovariances of centred values, as many as are asked for: n log n at most, where lag by lag would be n² for a series
/// that drifts.
struct Autocovariances<'x> {
    centred: &'x [f64],
    /// all lags, once one beyond [`DIRECT_LAGS`] was asked for
    all: Vec<f64>,
}

impl<'x> Autocovariances<'x> {
    fn of(centred: &'x [f64]) -> Self {
        Self { centred, all: Vec::new() }
    }

    fn at(&mut self, lag: usize) -> f64 {
        if lag < DIRECT_LAGS {
            return autocovariance(self.centred, lag);
        }
        if self.all.is_empty() {
            self.all = autocovariances(self.centred);
        }
        self.all[lag]
    }
}

/// All autocovariances at once, divisor n: the inverse transform of the power spectrum (Wiener–Khinchin), padded so that
/// nothing wraps around.
fn autocovariances(centred: &[f64]) -> Vec<f64> {
    let n = centred.len();
    let size = (2 * n).next_power_of_two();
    // Twiddle factors cost as much as a transform, and a report makes dozens of one size.
    thread_local! {
        static PLANNER: RefCell<realfft::RealFftPlanner<f64>> = RefCell::new(realfft::RealFftPlanner::new());
    }
    let (forward, inverse) =
        PLANNER.with_borrow_mut(|p| (p.plan_fft_forward(size), p.plan_fft_inverse(size)));
    let mut values = centred.to_vec();
    values.resize(size, 0.0);
    let mut spectrum = forward.make_output_vec();
    forward.process(&mut values, &mut spectrum).expect("invariant: buffers of the planned lengths");
    for c in &mut spectrum {
        *c = realfft::num_complex::Complex::new(c.norm_sqr(), 0.0);
    }
    inverse.process(&mut spectrum, &mut values).expect("invariant: a power spectrum is real");
    values.truncate(n);
    let scale = 1.0 / (size as f64 * n as f64);
    for value in &mut values {
        *value *= scale;
    }
    values
}

fn centred(x: &[f64]) -> Vec<f64> {
    let m = mean(x);
    x.iter().map(|v| v - m).collect()
}

/// Autocorrelations at lags 1..=`lags`: `Σ dᵢ dᵢ₊ₖ / Σ dᵢ²`.
///
/// # Errors
/// `TooFew` unless n > lags; `Undefined` for constant values; `Infinite`, `NotANumber`.
pub fn autocorrelation(x: &[f64], lags: usize) -> Result<Vec<f64>, StatsError> {
    check_finite(x)?;
    check_at_least("an autocorrelation", x, lags + 1)?;
    let d = centred(x);
    let g0 = autocovariance(&d, 0);
    if g0 == 0.0 {
        return Err(StatsError::Undefined("expected values that differ: equal ones have no autocorrelation"));
    }
    Ok((1..=lags).map(|k| autocovariance(&d, k) / g0).collect())
}

/// Ljung and Box's test of "no autocorrelation up to `lags`": `(Q, p)`.
///
/// # Errors
/// As [`autocorrelation`].
pub fn ljung_box(x: &[f64], lags: usize) -> Result<(f64, f64), StatsError> {
    let n = x.len() as f64;
    let r = autocorrelation(x, lags)?;
    let sum: f64 = r.iter().enumerate().map(|(i, r)| r * r / (n - (i + 1) as f64)).sum();
    let q = n * (n + 2.0) * sum;
    Ok((q, chi2_sf(q, lags as f64)))
}

/// How much a dependent sample is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effective {
    /// integrated autocorrelation time: variance of the mean over that of an independent sample
    pub tau: f64,
    /// effective sample size n/τ; may exceed n for alternating data
    pub ess: f64,
}

/// Effective sample size by Geyer's initial monotone sequence, two values at least.
///
/// `Gₘ = g₂ₘ + g₂ₘ₊₁` while above 0, made non-increasing; `σ² = 2ΣG − g₀`, `τ = σ²/g₀`. Constant values: τ = 1.
///
/// # Errors
/// `TooFew`, `Infinite`, `NotANumber`.
///
/// # Source
/// Geyer 1992, 3.3.
pub fn effective_size(x: &[f64]) -> Result<Effective, StatsError> {
    check_finite(x)?;
    check_at_least("an effective sample size", x, 2)?;
    let d = centred(x);
    let n = d.len();
    let mut covariances = Autocovariances::of(&d);
    let g0 = covariances.at(0);
    if g0 == 0.0 {
        return Ok(Effective { tau: 1.0, ess: n as f64 });
    }
    let mut sum = 0.0;
    let mut envelope = f64::INFINITY;
    let mut lag = 0;
    while lag + 1 < n {
        let pair = covariances.at(lag) + covariances.at(lag + 1);
        if pair <= 0.0 {
            break;
        }
        envelope = envelope.min(pair);
        sum += envelope;
        lag += 2;
    }
    let tau = (2.0 * sum - g0) / g0;
    if tau <= 0.0 {
        // G₀ itself is not above ½ g₀: alternating data whose mean is known better than n values would tell
        return Ok(Effective { tau: 1.0, ess: n as f64 });
    }
    Ok(Effective { tau, ess: n as f64 / tau })
}

/// A quantile of dependent values with the interval of its effective sample size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DependentQuantile {
    /// the quantile, type 1 (an observed value)
    pub value: f64,
    /// effective sample size of the indicator "above the quantile"
    pub ess: f64,
    /// the whole number of independent values it is treated as: ⌊ess⌋ within 10..=n
    pub n_effective: usize,
    /// ranks for that many values
    pub ranks: RankInterval,
    /// limits read at the ranks mapped back to n
    pub interval: Interval,
}

/// Order-statistic interval for the `p`-quantile of dependent values, in time order, failures as `+∞`.
///
/// Ranks (l, u) of `n_e = clamp(⌊ESS of 1{x > q}⌋, 10, n)` values; limits `x₍⌊(l−1)n/nₑ⌋₊₁₎` and `x₍⌈u n/nₑ⌉₎`.
/// Covers 92–96 % where the naive interval covers 15–85.
///
/// # Errors
/// `TooFew` when `nₑ` cannot carry the interval; its `have` is the effective size. `NotANumber`, `Empty`, `OutOfRange`.
pub fn quantile_estimate(x: &[f64], p: f64, confidence: f64) -> Result<DependentQuantile, StatsError> {
    let sample = Sample::new(x)?;
    quantile_estimate_sorted(x, &sample, p, confidence)
}

/// [`quantile_estimate`] where the caller already has the values sorted.
///
/// # Errors
/// As [`quantile_estimate`].
pub fn quantile_estimate_sorted(
    x: &[f64],
    sample: &Sample,
    p: f64,
    confidence: f64,
) -> Result<DependentQuantile, StatsError> {
    check_unit("quantile level", p)?;
    let n = x.len();
    let value = sample.quantile(p, QuantileType::Type1)?;
    let above: Vec<f64> = x.iter().map(|v| f64::from(value < *v)).collect();
    let ess = if n < 2 { n as f64 } else { effective_size(&above)?.ess };
    let n_effective = (ess.floor() as usize).clamp(10.min(n), n);
    let ranks = quantile_ranks(n_effective, p, confidence)?;
    let (Some(lower), Some(upper)) = (ranks.lower, ranks.upper) else {
        return Err(StatsError::TooFew {
            what: "a two-sided interval for this quantile",
            needed: super::order_interval::smallest_n_two_sided(p, confidence)?,
            have: n_effective as u64,
        });
    };
    let scale = n as f64 / n_effective as f64;
    let low = sample.order_statistic(((lower - 1) as f64 * scale).floor() as usize + 1);
    let high = sample.order_statistic((upper as f64 * scale).ceil() as usize);
    Ok(DependentQuantile { value, ess, n_effective, ranks, interval: Interval::new(low, high) })
}

/// A mean by batches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchMeans {
    /// values in one batch
    pub batch: usize,
    /// mean of the batch means
    pub mean: f64,
    /// its standard error
    pub se: f64,
    /// t interval with `batches − 1` degrees of freedom
    pub interval: Interval,
}

/// Batch means: `batches` batches of ⌊n/batches⌋ values, the rest at the end left out; for means of dependent values.
///
/// 20 batches cover 94–96 % where the effective size is above 400.
///
/// # Errors
/// `TooFew` unless every batch holds a value and there are two; `Infinite`, `NotANumber`, `OutOfRange`.
pub fn batch_means(x: &[f64], batches: usize, confidence: f64) -> Result<BatchMeans, StatsError> {
    check_unit("confidence", confidence)?;
    check_finite(x)?;
    check_at_least("batch means", x, batches.max(2))?;
    if batches < 2 {
        return Err(StatsError::OutOfRange {
            what: "number of batches",
            range: "2 or more",
            got: batches as f64,
        });
    }
    let batch = x.len() / batches;
    let means: Vec<f64> = x.chunks_exact(batch).take(batches).map(mean).collect();
    let k = batches as f64;
    let m = mean(&means);
    let se = (variance(&means).expect("invariant: two batches or more") / k).sqrt();
    let reach = t_quantile(0.5 + 0.5 * confidence, k - 1.0) * se;
    Ok(BatchMeans { batch, mean: m, se, interval: Interval::new(m - reach, m + reach) })
}

/// Overlapping batch means with batches of round(√n): `(batch, standard error of the mean)`.
///
/// `var = b Σ(yⱼ − x̄)² / ((n−b)(n−b+1))` over all n − b + 1 batches.
///
/// # Errors
/// `TooFew` below four values; `Infinite`, `NotANumber`.
pub fn overlapping_batch_means(x: &[f64]) -> Result<(usize, f64), StatsError> {
    check_finite(x)?;
    check_at_least("overlapping batch means", x, 4)?;
    let n = x.len();
    let b = (n as f64).sqrt().round() as usize;
    let d = centred(x);
    let mut window: f64 = d[..b].iter().sum();
    let mut squares = vec![(window / b as f64).powi(2)];
    for i in b..n {
        window += d[i] - d[i - b];
        squares.push((window / b as f64).powi(2));
    }
    let (n, b_f) = (n as f64, b as f64);
    let var = b_f * compensated_sum(squares.into_iter()) / ((n - b_f) * (n - b_f + 1.0));
    Ok((b, var.sqrt()))
}

/// Politis and White's automatic block length for the stationary and the circular bootstrap: `(stationary, circular)`.
///
/// # Errors
/// `TooFew` below ten values; `Undefined` for constant values; `Infinite`, `NotANumber`.
///
/// # Source
/// Politis and White 2004, with Patton's correction of 2009; as in Python's `arch`.
pub fn automatic_block_length(x: &[f64]) -> Result<(f64, f64), StatsError> {
    check_finite(x)?;
    check_at_least("an automatic block length", x, 10)?;
    let d = centred(x);
    let n = d.len();
    let n_f = n as f64;
    let longest = (3.0 * n_f.sqrt()).min(n_f / 3.0).ceil();
    let quiet = 5.max(n_f.log10() as usize);
    let last = n_f.sqrt().ceil() as usize + quiet;
    let bound = 2.0 * (n_f.log10() / n_f).sqrt();
    let g: Vec<f64> = (0..=last).map(|k| autocovariance(&d, k)).collect();
    if g[0] == 0.0 {
        return Err(StatsError::Undefined("expected values that differ: equal ones have no block length"));
    }
    let strength: Vec<f64> = (0..=last)
        .map(|k| {
            let (head, tail) = (&d[..n - k - 1], &d[k + 1..]);
            let energy = |s: &[f64]| s.iter().map(|v| v * v).sum::<f64>();
            (g[k] * n_f).abs() / (energy(head) * energy(tail)).sqrt()
        })
        .collect();
    let calm = (quiet..=last).find(|&i| strength[i - quiet..i].iter().all(|s| *s < bound)).map(|i| i - quiet);
    let m = calm.map_or(last, |c| 2 * c.max(1)).min(last);
    let (mut slope, mut long_run) = (0.0, g[0]);
    for (k, g_k) in g.iter().enumerate().take(m + 1).skip(1) {
        let taper = (2.0 * (1.0 - k as f64 / m as f64)).min(1.0);
        slope += 2.0 * taper * k as f64 * g_k;
        long_run += 2.0 * taper * g_k;
    }
    let length = |d: f64| ((2.0 * slope * slope / d).cbrt() * n_f.cbrt()).min(longest);
    Ok((length(2.0 * long_run * long_run), length(4.0 / 3.0 * long_run * long_run)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transform_gives_what_the_sums_give() {
        for n in [65, 128, 1000] {
            let drifting: Vec<f64> = (0..n).map(|i| f64::from(i).sqrt() + f64::from(i * 7919 % 31)).collect();
            let d = centred(&drifting);
            let all = autocovariances(&d);
            for (lag, found) in all.iter().enumerate() {
                let naive: f64 = (0..d.len() - lag).map(|i| d[i] * d[i + lag]).sum::<f64>() / d.len() as f64;
                for value in [*found, autocovariance(&d, lag)] {
                    assert!((value - naive).abs() < 1e-11 * all[0], "n {n}, lag {lag}: {value} for {naive}");
                }
            }
        }
    }
}
