//! What a paired comparison can see: sample size for a wanted difference, smallest difference for a given size.

use super::distribution::{norm_quantile, t_quantile};
use super::interval::{StatsError, check_unit};

/// Pairs needed to show "no worse than `margin`" (a ratio, 1.1 = 10 %) if there is no true difference.
///
/// `((z₁₋ₐ + z_power) sd / ln margin)²`, not rounded; take the ceiling.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1), sd ≤ 0 or margin ≤ 1.
pub fn noninferiority_pairs(sd_log: f64, margin: f64, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_unit("alpha", alpha)?;
    pairs(sd_log, margin, norm_quantile(1.0 - alpha), power)
}

/// Pairs needed to detect a true ratio of `ratio` ≠ 1 in a two-sided test.
///
/// `((z₁₋ₐ/₂ + z_power) sd / ln ratio)²`, not rounded; take the ceiling.
///
/// # Errors
/// As [`noninferiority_pairs`].
pub fn difference_pairs(sd_log: f64, ratio: f64, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_unit("alpha", alpha)?;
    pairs(sd_log, ratio, norm_quantile(1.0 - 0.5 * alpha), power)
}

fn pairs(sd_log: f64, ratio: f64, z_alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_unit("power", power)?;
    if sd_log.is_nan() || sd_log <= 0.0 {
        return Err(StatsError::OutOfRange { what: "sd of the log ratios", range: "above 0", got: sd_log });
    }
    if ratio.is_nan() || ratio <= 0.0 || ratio == 1.0 {
        return Err(StatsError::OutOfRange { what: "ratio", range: "above 0 and not 1", got: ratio });
    }
    Ok(((z_alpha + norm_quantile(power)) * sd_log / ratio.ln()).powi(2))
}

/// Smallest ratio above 1 that `n` pairs with this spread show with probability `power` in a two-sided test at `alpha`.
///
/// `exp((t₁₋ₐ/₂,ₙ₋₁ + t_power,ₙ₋₁) sd/√n)`; with `alpha` divided by the family size it is the figure after Holm's first
/// step. "Smallest difference this run could see" is this ratio − 1, in per cent.
///
/// # Errors
/// `TooFew` below two pairs, `OutOfRange` for levels outside (0, 1).
pub fn smallest_detectable_ratio(sd_log: f64, n: usize, alpha: f64, power: f64) -> Result<f64, StatsError> {
    check_unit("alpha", alpha)?;
    check_unit("power", power)?;
    if n < 2 {
        return Err(StatsError::TooFew { what: "a detectable difference", needed: 2, have: n as u64 });
    }
    let df = n as f64 - 1.0;
    let reach = t_quantile(1.0 - 0.5 * alpha, df) + t_quantile(power, df);
    Ok((reach * sd_log / (n as f64).sqrt()).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_size() {
        let n = noninferiority_pairs(0.3, 1.1, 0.05, 0.9).unwrap();
        assert!((n - 84.84628846441208).abs() < 1e-9, "{n}");
    }

    #[test]
    fn size_and_smallest_difference_are_inverse() {
        let ratio = smallest_detectable_ratio(0.2, 400, 0.05, 0.8).unwrap();
        let n = difference_pairs(0.2, ratio, 0.05, 0.8).unwrap();
        assert!((n - 400.0).abs() < 4.0, "t against z at 400: {n}");
    }
}
