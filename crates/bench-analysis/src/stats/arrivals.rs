//! Are the arrivals what was asked for? Checks of gaps between arrivals against a Poisson process of known rate.
//!
//! Looks at gaps only; where they come from (schedule, trace, server's log) is the caller's business.

use super::interval::{StatsError, check_at_least, check_finite};
use super::summary::{mean, variance};
use super::two_sample::KolmogorovSmirnov;

/// What gaps between arrivals say of the process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ArrivalCheck {
    /// distance of the gaps from the exponential law of the given rate, with exact p
    pub exponential: KolmogorovSmirnov,
    /// sd over mean of the gaps: 1 for Poisson, 0 for a metronome
    pub cv: f64,
    /// Gamma shape that has this variation, 1/cv²; `None` for a metronome
    pub gamma_shape: Option<f64>,
    /// variance over mean of the counts in bins of one second: 1 for Poisson, above for bursts; `None` below two whole
    /// seconds or without an arrival in them
    pub dispersion: Option<f64>,
}

/// Holds ≥ 2 gaps in seconds, in order, against a Poisson process of `rate` per second.
///
/// # Errors
/// `TooFew`, `Infinite`, `NotANumber`; `OutOfRange` for `rate ≤ 0`.
pub fn poisson_check(gaps: &[f64], rate: f64) -> Result<ArrivalCheck, StatsError> {
    check_finite(gaps)?;
    check_at_least("a check of arrivals", gaps, 2)?;
    if rate.is_nan() || rate <= 0.0 {
        return Err(StatsError::OutOfRange { what: "rate", range: "above 0", got: rate });
    }
    let levels: Vec<f64> = gaps.iter().map(|g| -(-rate * g).exp_m1()).collect();
    let sd = variance(gaps).expect("invariant: two gaps or more").sqrt();
    let cv = sd / mean(gaps);
    let mut at = 0.0;
    let arrivals: Vec<f64> = gaps
        .iter()
        .map(|g| {
            at += g;
            at
        })
        .collect();
    let mut counts = vec![0.0; at.floor() as usize];
    for second in arrivals.iter().map(|t| t.floor() as usize) {
        if let Some(count) = counts.get_mut(second) {
            *count += 1.0;
        }
    }
    Ok(ArrivalCheck {
        exponential: uniform_ks(&levels)?,
        cv,
        gamma_shape: (0.0 < cv).then(|| 1.0 / (cv * cv)),
        dispersion: variance(&counts).map(|v| v / mean(&counts)).filter(|d| d.is_finite()),
    })
}

/// One-sample Kolmogorov–Smirnov test of values against the uniform law on [0, 1]: feed F(x) to test any continuous F.
///
/// Exact p up to n = 1000 (Marsaglia, Tsang and Wang 2003), above that Kolmogorov's series with Stephens' correction,
/// within 0.002.
///
/// # Errors
/// `Empty`, `Infinite`, `NotANumber`.
pub fn uniform_ks(levels: &[f64]) -> Result<KolmogorovSmirnov, StatsError> {
    check_finite(levels)?;
    let mut sorted = levels.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let n = sorted.len() as f64;
    let d = sorted
        .iter()
        .enumerate()
        .map(|(i, v)| (v - i as f64 / n).max((i + 1) as f64 / n - v))
        .fold(0.0, f64::max);
    let p = if sorted.len() <= 1000 { 1.0 - ks_cdf(sorted.len(), d) } else { kolmogorov_sf(n, d) };
    Ok(KolmogorovSmirnov { d, p: p.clamp(0.0, 1.0) })
}

fn kolmogorov_sf(n: f64, d: f64) -> f64 {
    let x = d * (n.sqrt() + 0.12 + 0.11 / n.sqrt());
    if x < 0.3 {
        return 1.0;
    }
    2.0 * (1..101_i32)
        .map(|k| {
            let term = (-2.0 * f64::from(k * k) * x * x).exp();
            if k % 2 == 1 { term } else { -term }
        })
        .sum::<f64>()
}

/// P(D < d) for n values by the matrix power of Marsaglia, Tsang and Wang.
fn ks_cdf(n: usize, d: f64) -> f64 {
    let nd = n as f64 * d;
    // far in the tail the answer is 1 to all digits that matter, and the matrix large
    if 18.0 < nd * d {
        return 1.0 - 2.0 * (-2.0 * nd * d - 0.67 * d).exp();
    }
    let k = nd.floor() as usize + 1;
    let m = 2 * k - 1;
    let h = k as f64 - nd;
    let mut step = vec![0.0; m * m];
    for i in 0..m {
        for j in 0..m {
            if j < i + 2 {
                step[i * m + j] = 1.0;
            }
        }
    }
    for i in 0..m {
        step[i * m] -= h.powi(i as i32 + 1);
        step[(m - 1) * m + i] -= h.powi((m - i) as i32);
    }
    step[(m - 1) * m] += if 0.0 < 2.0 * h - 1.0 { (2.0 * h - 1.0).powi(m as i32) } else { 0.0 };
    for i in 0..m {
        for j in 0..m {
            if j < i + 1 {
                for g in 1..=(i + 1 - j) {
                    step[i * m + j] /= g as f64;
                }
            }
        }
    }
    // power by squaring, the exponent of ten kept aside; then n!/nⁿ factor by factor
    let multiply = |a: &[f64], b: &[f64]| {
        let mut c = vec![0.0; m * m];
        for i in 0..m {
            for k in 0..m {
                let v = a[i * m + k];
                if v != 0.0 {
                    for j in 0..m {
                        c[i * m + j] += v * b[k * m + j];
                    }
                }
            }
        }
        c
    };
    let centre = (k - 1) * m + k - 1;
    let rescale = |v: &mut Vec<f64>, power: &mut i32| {
        if 1e140 < v[centre] {
            for x in v.iter_mut() {
                *x *= 1e-140;
            }
            *power += 140;
        }
    };
    let (mut result, mut result_power) = (None::<Vec<f64>>, 0);
    let (mut square, mut square_power) = (step, 0);
    let mut left = n;
    while 0 < left {
        if left % 2 == 1 {
            let mut next = result.map_or_else(|| square.clone(), |r| multiply(&r, &square));
            result_power += square_power;
            rescale(&mut next, &mut result_power);
            result = Some(next);
        }
        left /= 2;
        if 0 < left {
            square = multiply(&square, &square);
            square_power *= 2;
            rescale(&mut square, &mut square_power);
        }
    }
    let mut value = result.expect("invariant: one value or more")[centre];
    for i in 1..=n {
        value *= i as f64 / n as f64;
        if value < 1e-140 {
            value *= 1e140;
            result_power -= 140;
        }
    }
    value * 10.0_f64.powi(result_power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_tails() {
        // Marsaglia, Tsang and Wang: P(D₁₀ < 0.274) = 0.6284796154565043
        assert!((ks_cdf(10, 0.274) - 0.6284796154565043).abs() < 1e-13);
        // the series and the matrix meet
        assert!((kolmogorov_sf(1000.0, 0.03) - (1.0 - ks_cdf(1000, 0.03))).abs() < 3e-3);
        assert!((1.0 - ks_cdf(1000, 0.03) - 0.32269024641330624).abs() < 1e-10);
    }

    #[test]
    fn a_metronome_is_not_poisson() {
        let check = poisson_check(&[0.1; 200], 10.0).unwrap();
        assert!(check.exponential.p < 1e-9 && check.cv < 1e-9, "{check:?}");
        assert!(check.dispersion.unwrap() < 0.05, "{check:?}");
        assert!(poisson_check(&[0.1], 10.0).is_err());
    }
}
