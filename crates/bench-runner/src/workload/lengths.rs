//! Draws from the distributions of lengths.

use llms_core::bench::LengthLaw;

use crate::random::Stream;

/// Draws before a truncated law is taken at its nearer bound: the middle lies inside, so at worst every second draw
/// of a symmetric law fits.
const REDRAWS: u32 = 1000;

/// The next length, tokens, at least 1.
pub(crate) fn draw(law: &LengthLaw, draws: &mut Stream) -> u32 {
    match law {
        LengthLaw::Constant(n) => *n,
        LengthLaw::Uniform { min, max } => {
            let spread = u64::from(max.saturating_sub(*min)) + 1;
            min.saturating_add(draws.below(spread) as u32)
        }
        LengthLaw::Normal { mean, sd, min, max } => {
            truncated(*min, *max, *mean, || mean + sd * draws.normal())
        }
        LengthLaw::LogNormal { median, sigma, min, max } => {
            truncated(*min, *max, *median, || median * (sigma * draws.normal()).exp())
        }
        LengthLaw::Empirical(all) if all.is_empty() => 1,
        LengthLaw::Empirical(all) => all[draws.below(all.len() as u64) as usize],
    }
    .max(1)
}

fn truncated(min: u32, max: Option<u32>, middle: f64, mut next: impl FnMut() -> f64) -> u32 {
    let (low, high) = (f64::from(min.max(1)), max.map_or(f64::from(u32::MAX), f64::from));
    (0..REDRAWS)
        .map(|_| next().round())
        .find(|x| (low..=high).contains(x))
        .unwrap_or_else(|| middle.round().clamp(low, high.max(low))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    fn sample(law: &LengthLaw) -> Vec<f64> {
        law.validate().unwrap();
        let mut draws = Stream::new(3, Purpose::Lengths, 0);
        (0..40_000).map(|_| f64::from(draw(law, &mut draws))).collect()
    }

    #[track_caller]
    fn check(law: &LengthLaw, low: f64, high: f64, mean: f64, sd: f64) {
        let sample = sample(law);
        let n = sample.len() as f64;
        let m = sample.iter().sum::<f64>() / n;
        let s = (sample.iter().map(|x| (x - m).powi(2)).sum::<f64>() / n).sqrt();
        assert!(sample.iter().all(|x| (low..=high).contains(x)));
        assert!((m - mean).abs() < 5.0 * sd / n.sqrt() + 1e-9, "{law:?}: mean {m}, expected {mean}");
        assert!((s - sd).abs() < 0.03 * sd + 1e-9, "{law:?}: sd {s}, expected {sd}");
    }

    #[test]
    fn laws_have_their_moments_and_keep_their_bounds() {
        check(&LengthLaw::Constant(512), 512.0, 512.0, 512.0, 0.0);
        // Discrete uniform: sd √((n² − 1) / 12).
        check(&LengthLaw::Uniform { min: 10, max: 29 }, 10.0, 29.0, 19.5, 5.766);
        let normal = |sd, min, max| LengthLaw::Normal { mean: 500.0, sd, min, max };
        check(&normal(50.0, 1, None), 1.0, 1e9, 500.0, 50.0);
        check(&normal(0.0, 1, None), 500.0, 500.0, 500.0, 0.0);
        // Cut at ±1 sd: variance σ²(1 − 2φ(1)/(2Φ(1) − 1)) = 0.2911 σ².
        check(&normal(50.0, 450, Some(550)), 450.0, 550.0, 500.0, 26.98);
        // Log-normal: mean m·exp(σ²/2), sd mean·√(exp σ² − 1).
        let log = LengthLaw::LogNormal { median: 1000.0, sigma: 0.5, min: 1, max: None };
        check(&log, 1.0, 1e9, 1133.1, 603.9);
        check(&LengthLaw::Empirical(vec![1, 9]), 1.0, 9.0, 5.0, 4.0);
    }
}
