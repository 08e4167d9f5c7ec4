//! Intervals for shares (errors, goodput), differences of shares and rates of events.

use super::distribution::{beta_quantile, chi2_quantile, fair_coin_p, norm_quantile};
use super::interval::{Interval, StatsError, check_unit};

fn check_counts(k: u64, n: u64) -> Result<(), StatsError> {
    if n == 0 {
        return Err(StatsError::Empty);
    }
    if n < k {
        return Err(StatsError::OutOfRange {
            what: "count of hits",
            range: "at most the number of trials",
            got: k as f64,
        });
    }
    Ok(())
}

/// Wilson's score interval for k hits in n trials: what reports show beside a share.
///
/// `(p̂ + z²/2n ± z √(p̂(1−p̂)/n + z²/4n²)) / (1 + z²/n)`; never leaves [0, 1], sane at k = 0 and k = n.
///
/// # Errors
/// `Empty` for n = 0, `OutOfRange` for k > n or confidence outside (0, 1).
pub fn wilson(k: u64, n: u64, confidence: f64) -> Result<Interval, StatsError> {
    check_unit("confidence", confidence)?;
    check_counts(k, n)?;
    let z = norm_quantile(0.5 + 0.5 * confidence);
    let (n_f, share) = (n as f64, k as f64 / n as f64);
    let z2 = z * z;
    let scale = 1.0 + z2 / n_f;
    let centre = (share + z2 / (2.0 * n_f)) / scale;
    let reach = z * (share * (1.0 - share) / n_f + z2 / (4.0 * n_f * n_f)).sqrt() / scale;
    let low = if k == 0 { 0.0 } else { (centre - reach).max(0.0) };
    let high = if k == n { 1.0 } else { (centre + reach).min(1.0) };
    Ok(Interval::new(low, high))
}

/// Clopper and Pearson's exact interval for k hits in n trials: covers at least the confidence, for gates.
///
/// Beta quantiles `(α/2; k, n−k+1)` and `(1−α/2; k+1, n−k)`.
///
/// # Errors
/// As [`wilson`].
pub fn clopper_pearson(k: u64, n: u64, confidence: f64) -> Result<Interval, StatsError> {
    check_unit("confidence", confidence)?;
    check_counts(k, n)?;
    let half = 0.5 * (1.0 - confidence);
    let (k_f, n_f) = (k as f64, n as f64);
    let low = if k == 0 { 0.0 } else { beta_quantile(k_f, n_f - k_f + 1.0, half) };
    let high = if k == n { 1.0 } else { beta_quantile(k_f + 1.0, n_f - k_f, 1.0 - half) };
    Ok(Interval::new(low, high))
}

/// Interval for a share that stays valid at every n at once: one may look after each request and stop at will.
///
/// `{p : B(½+k, ½+n−k)/B(½, ½) < p^k (1−p)^(n−k)/α}`, the beta-binomial mixture martingale; by Ville's inequality the
/// chance of ever excluding the true share is at most α. [`AnytimeProportion`](super::anytime::AnytimeProportion) feeds
/// it one trial at a time.
///
/// # Errors
/// As [`wilson`].
///
/// # Source
/// Robbins 1970; Howard et al. 2021.
pub fn anytime(k: u64, n: u64, confidence: f64) -> Result<Interval, StatsError> {
    check_unit("confidence", confidence)?;
    check_counts(k, n)?;
    Ok(super::anytime::limits(k as f64, (n - k) as f64, -(1.0 - confidence).ln()))
}

/// Newcombe's hybrid score interval for the difference of two independent shares `k1/n1 − k2/n2`.
///
/// Returns the difference and its interval.
///
/// # Errors
/// As [`wilson`], for either share.
///
/// # Source
/// Newcombe 1998, method 10.
pub fn newcombe(k1: u64, n1: u64, k2: u64, n2: u64, confidence: f64) -> Result<(f64, Interval), StatsError> {
    let (first, second) = (wilson(k1, n1, confidence)?, wilson(k2, n2, confidence)?);
    let (p1, p2) = (k1 as f64 / n1 as f64, k2 as f64 / n2 as f64);
    let difference = p1 - p2;
    let low = difference - (p1 - first.low).hypot(second.high - p2);
    let high = difference + (first.high - p1).hypot(p2 - second.low);
    Ok((difference, Interval::new(low, high)))
}

/// Garwood's exact interval for a rate from k events in `exposure` (seconds, requests …): per unit of exposure.
///
/// `χ²(α/2; 2k)/2T`, `χ²(1−α/2; 2k+2)/2T`.
///
/// # Errors
/// `OutOfRange` for exposure ≤ 0 or confidence outside (0, 1).
pub fn garwood(k: u64, exposure: f64, confidence: f64) -> Result<Interval, StatsError> {
    check_unit("confidence", confidence)?;
    if exposure.is_nan() || exposure <= 0.0 {
        return Err(StatsError::OutOfRange { what: "exposure", range: "above 0", got: exposure });
    }
    let half = 0.5 * (1.0 - confidence);
    let low = if k == 0 { 0.0 } else { chi2_quantile(half, 2.0 * k as f64) / (2.0 * exposure) };
    let high = chi2_quantile(1.0 - half, 2.0 * k as f64 + 2.0) / (2.0 * exposure);
    Ok(Interval::new(low, high))
}

/// McNemar's exact test on pairs of successes and failures.
///
/// `only_first`, `only_second`: pairs in which only that side succeeded. Two-sided binomial p; 1 when no pair is
/// discordant (then the data say nothing about a difference).
pub fn mcnemar_exact(only_first: u64, only_second: u64) -> f64 {
    let n = only_first + only_second;
    if n == 0 { 1.0 } else { fair_coin_p(only_first, n) }
}
