//! The Universal Scalability Law fitted to closed-loop points: a description of how throughput grows and falls.
//!
//! Never the answer to "how much load holds the objective": that is the capacity search.

use super::distribution::t_quantile;
use super::interval::{Interval, StatsError, check_finite, check_unit};
use super::summary::{compensated_sum, mean};

/// Fewest different concurrencies for a fit.
pub const LEVELS_MIN: usize = 6;
/// The largest concurrency must be at least this many times the smallest.
pub const SPAN_MIN: f64 = 10.0;

/// One parameter with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// least-squares estimate
    pub value: f64,
    /// limits by the linearised fit; `None` when the parameter sits on its bound (0) or nothing is left over
    pub interval: Option<Interval>,
}

/// `X(N) = γN / (1 + σ(N−1) + κN(N−1))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UslFit {
    /// contention: share of the work that cannot run side by side, ≥ 0
    pub sigma: Parameter,
    /// coherency: cost of each pair that must agree, ≥ 0
    pub kappa: Parameter,
    /// throughput of one, > 0
    pub gamma: Parameter,
    /// concurrency of the highest throughput, √((1−σ)/κ); `None` when the fit never falls (κ = 0) or never rises
    pub peak: Option<f64>,
    /// throughput there
    pub peak_throughput: Option<f64>,
    /// share of the variance explained
    pub r_squared: f64,
    /// points fitted
    pub points: usize,
}

impl UslFit {
    /// Throughput at concurrency `n`.
    pub fn at(&self, n: f64) -> f64 {
        model([self.gamma.value, self.sigma.value, self.kappa.value], n)
    }
}

fn model([gamma, sigma, kappa]: [f64; 3], n: f64) -> f64 {
    gamma * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
}

/// Derivatives of the model by γ, σ, κ.
fn gradient([gamma, sigma, kappa]: [f64; 3], n: f64) -> [f64; 3] {
    let load = 1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0);
    let slope = -gamma * n / (load * load);
    [n / load, slope * (n - 1.0), slope * n * (n - 1.0)]
}

/// Least squares on concurrencies N ≥ 1 and throughputs X > 0; several points at one N are fine.
///
/// Starts from the linear form N/X, then Levenberg and Marquardt with σ, κ ≥ 0; limits from `s² (JᵀJ)⁻¹` and t.
///
/// # Errors
/// `TooFew` below six different N, `OutOfRange` when they span less than a decade or a value is out of range,
/// `Unpaired`, `Infinite`, `NotANumber`: then there is no fit worth showing.
///
/// # Source
/// Gunther 1993; 2007.
pub fn usl(concurrency: &[f64], throughput: &[f64], confidence: f64) -> Result<UslFit, StatsError> {
    check_unit("confidence", confidence)?;
    check_finite(concurrency)?;
    check_finite(throughput)?;
    if concurrency.len() != throughput.len() {
        return Err(StatsError::Unpaired { left: concurrency.len(), right: throughput.len() });
    }
    if let Some(got) = concurrency.iter().copied().find(|n| *n < 1.0) {
        return Err(StatsError::OutOfRange { what: "concurrency", range: "1 or more", got });
    }
    if let Some(got) = throughput.iter().copied().find(|x| *x <= 0.0) {
        return Err(StatsError::OutOfRange { what: "throughput", range: "above 0", got });
    }
    let mut levels = concurrency.to_vec();
    levels.sort_unstable_by(f64::total_cmp);
    levels.dedup();
    if levels.len() < LEVELS_MIN {
        return Err(StatsError::TooFew {
            what: "a scalability fit (different concurrencies)",
            needed: LEVELS_MIN as u64,
            have: levels.len() as u64,
        });
    }
    let span = levels[levels.len() - 1] / levels[0];
    if span < SPAN_MIN {
        return Err(StatsError::OutOfRange {
            what: "largest over smallest concurrency",
            range: "a decade or more",
            got: span,
        });
    }
    let points: Vec<(f64, f64)> = concurrency.iter().copied().zip(throughput.iter().copied()).collect();
    // a parameter on its bound leaves the fit: try all three, then without κ, without σ, without both; keep the best
    let mut best: Option<([f64; 3], [bool; 3], f64)> = None;
    for free in [[true, true, true], [true, true, false], [true, false, true], [true, false, false]] {
        let (theta, residual) = fit(&points, free);
        let allowed = 0.0 < theta[0] && 0.0 <= theta[1] && 0.0 <= theta[2];
        if allowed && residual.is_finite() && best.is_none_or(|(_, _, least)| residual < least) {
            best = Some((theta, free, residual));
        }
    }
    let Some((theta, free, residual)) = best else {
        return Err(StatsError::Undefined("expected throughputs that a scalability law can follow"));
    };
    let centre = mean(throughput);
    let total = compensated_sum(throughput.iter().map(|x| (x - centre) * (x - centre)));
    let reach = reaches(&points, theta, free, residual, confidence);
    let parameter = |i: usize| Parameter {
        value: theta[i],
        interval: reach[i].map(|r| Interval::new((theta[i] - r).max(0.0), theta[i] + r)),
    };
    let peak = (0.0 < theta[2] && theta[1] < 1.0).then(|| ((1.0 - theta[1]) / theta[2]).sqrt());
    Ok(UslFit {
        gamma: parameter(0),
        sigma: parameter(1),
        kappa: parameter(2),
        peak,
        peak_throughput: peak.map(|n| model(theta, n)),
        r_squared: if 0.0 < total { 1.0 - residual / total } else { 0.0 },
        points: points.len(),
    })
}

fn residual(points: &[(f64, f64)], theta: [f64; 3]) -> f64 {
    compensated_sum(points.iter().map(|(n, x)| (x - model(theta, *n)).powi(2)))
}

/// `JᵀJ` and `Jᵀr` over the free parameters (the others: unit row, zero).
fn normal(points: &[(f64, f64)], theta: [f64; 3], free: [bool; 3]) -> ([[f64; 3]; 3], [f64; 3]) {
    let (mut a, mut b) = ([[0.0; 3]; 3], [0.0; 3]);
    for (n, x) in points {
        let g = gradient(theta, *n);
        let r = x - model(theta, *n);
        for i in (0..3).filter(|i| free[*i]) {
            b[i] += g[i] * r;
            for j in (0..3).filter(|j| free[*j]) {
                a[i][j] += g[i] * g[j];
            }
        }
    }
    for i in (0..3).filter(|i| !free[*i]) {
        a[i][i] = 1.0;
    }
    (a, b)
}

fn fit(points: &[(f64, f64)], free: [bool; 3]) -> ([f64; 3], f64) {
    // N/X = 1/γ + (σ/γ)(N−1) + (κ/γ)N(N−1) is linear: it gives the start
    let (mut a, mut b) = ([[0.0; 3]; 3], [0.0; 3]);
    for (n, x) in points {
        let row = [1.0, n - 1.0, n * (n - 1.0)];
        for i in (0..3).filter(|i| free[*i]) {
            b[i] += row[i] * n / x;
            for j in (0..3).filter(|j| free[*j]) {
                a[i][j] += row[i] * row[j];
            }
        }
    }
    for i in (0..3).filter(|i| !free[*i]) {
        a[i][i] = 1.0;
    }
    let mut theta = [mean(&points.iter().map(|(n, x)| x / n).collect::<Vec<_>>()), 0.0, 0.0];
    if let Some(linear) = solve(a, b).filter(|l| 0.0 < l[0]) {
        theta = [1.0 / linear[0], linear[1] / linear[0], linear[2] / linear[0]];
    }
    let mut least = residual(points, theta);
    let mut damping = 1e-3;
    for _ in 0..500 {
        let (mut a, b) = normal(points, theta, free);
        for (i, row) in a.iter_mut().enumerate() {
            row[i] *= 1.0 + damping;
        }
        let Some(step) = solve(a, b) else { break };
        let next = [theta[0] + step[0], theta[1] + step[1], theta[2] + step[2]];
        let value = residual(points, next);
        if value.is_finite() && value <= least {
            let small = step.iter().zip(&next).all(|(s, t)| s.abs() <= 1e-14 * t.abs().max(1e-12));
            (theta, least, damping) = (next, value, (damping * 0.2).max(1e-15));
            if small {
                break;
            }
        } else {
            damping *= 8.0;
            if 1e12 < damping {
                break;
            }
        }
    }
    (theta, least)
}

/// Gauss with pivots on three unknowns; `None` when singular. Columns are scaled first: κ is tiny beside γ.
fn solve(mut a: [[f64; 3]; 3], mut b: [f64; 3]) -> Option<[f64; 3]> {
    let scale: [f64; 3] = std::array::from_fn(|i| a[i][i].abs().sqrt());
    if scale.iter().any(|s| *s == 0.0 || !s.is_finite()) {
        return None;
    }
    for i in 0..3 {
        b[i] /= scale[i];
        for j in 0..3 {
            a[i][j] /= scale[i] * scale[j];
        }
    }
    for i in 0..3 {
        let pivot = (i..3).max_by(|p, q| a[*p][i].abs().total_cmp(&a[*q][i].abs())).unwrap_or(i);
        a.swap(i, pivot);
        b.swap(i, pivot);
        if a[i][i].abs() < 1e-14 {
            return None;
        }
        let pivot_row = a[i];
        for row in i + 1..3 {
            let factor = a[row][i] / pivot_row[i];
            for (value, above) in a[row].iter_mut().zip(pivot_row) {
                *value -= factor * above;
            }
            b[row] -= factor * b[i];
        }
    }
    let mut x = [0.0; 3];
    for i in (0..3).rev() {
        let known: f64 = (i + 1..3).map(|j| a[i][j] * x[j]).sum();
        x[i] = (b[i] - known) / a[i][i];
    }
    Some(std::array::from_fn(|i| x[i] / scale[i]))
}

/// Half-widths of the free parameters.
fn reaches(
    points: &[(f64, f64)],
    theta: [f64; 3],
    free: [bool; 3],
    residual: f64,
    confidence: f64,
) -> [Option<f64>; 3] {
    let df = points.len() as f64 - free.iter().filter(|f| **f).count() as f64;
    let (a, _) = normal(points, theta, free);
    std::array::from_fn(|i| {
        let mut unit = [0.0; 3];
        unit[i] = 1.0;
        let column = solve(a, unit).filter(|_| free[i] && 0.0 < df)?;
        Some(t_quantile(0.5 + 0.5 * confidence, df) * (column[i].max(0.0) * residual / df).sqrt())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    const LEVELS: [f64; 8] = [1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 64.0];

    #[test]
    fn too_little_is_refused_with_the_reason() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert!(matches!(usl(&x, &x, 0.95), Err(StatsError::TooFew { needed: 6, have: 5, .. })));
        let n = [10.0, 12.0, 14.0, 16.0, 18.0, 20.0];
        let text = usl(&n, &n, 0.95).unwrap_err().to_string();
        assert!(text.contains("a decade"), "{text}");
    }

    #[test]
    fn growth_without_limit_has_no_peak() {
        let x = LEVELS.map(|n| 5.0 * n);
        let fit = usl(&LEVELS, &x, 0.95).unwrap();
        assert!(fit.peak.is_none_or(|p| 1e4 < p), "{fit:?}");
        assert!((fit.gamma.value - 5.0).abs() < 1e-6 && 0.999 < fit.r_squared, "{fit:?}");
    }

    proptest! {
        #[test]
        fn noise_free_points_give_the_parameters_back(g in 0.5..500.0_f64, s in 0.001..0.5_f64, k in 1e-5..0.01_f64) {
            let x = LEVELS.map(|n| model([g, s, k], n));
            let fit = usl(&LEVELS, &x, 0.95).unwrap();
            prop_assert!((fit.gamma.value - g).abs() < 1e-6 * g, "{fit:?}");
            prop_assert!((fit.sigma.value - s).abs() < 1e-6, "{fit:?}");
            prop_assert!((fit.kappa.value - k).abs() < 1e-7, "{fit:?}");
            prop_assert!((fit.peak.unwrap() - ((1.0 - s) / k).sqrt()).abs() < 1e-3 * fit.peak.unwrap());
        }
    }

    /// Three measurements at each level with 2 % noise: the limits of σ hold the truth about 95 times in 100.
    #[test]
    fn limits_hold_the_truth() {
        let n: Vec<f64> = LEVELS.iter().flat_map(|n| [*n; 3]).collect();
        let (truth, runs) = ([12.0, 0.03, 0.0005], 300);
        let mut held = 0;
        for seed in 0..runs {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let x: Vec<f64> = n
                .iter()
                .map(|n| {
                    let noise: f64 = StandardNormal.sample(&mut rng);
                    model(truth, *n) + noise
                })
                .collect();
            let fit = usl(&n, &x, 0.95).unwrap();
            held += u64::from(fit.sigma.interval.is_some_and(|i| i.contains(truth[1])));
        }
        assert!((270..=299).contains(&held), "{held} of {runs}");
    }
}
