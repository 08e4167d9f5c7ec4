//! Draws follow the distribution that the configuration names, and its stated quantiles and means are true.
#![allow(clippy::unwrap_used)] // a panic in a test is its report

use crate::common;

use bench_mock::{Dist, log_normal_sigma};
use common::kolmogorov;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const N: usize = 20_000;

fn continuous() -> Vec<Dist> {
    vec![
        Dist::Uniform { low: 3.0, high: 9.0 },
        Dist::Normal { mean: 10.0, sd: 2.0, low: 0.0, high: None },
        Dist::Normal { mean: 1.0, sd: 2.0, low: 0.5, high: Some(4.0) },
        Dist::log_normal(200.0, 0.3),
        Dist::log_normal(5000.0, 0.8),
        Dist::log_normal(1.0, 1.0),
        Dist::exponential(25.0),
        Dist::Gamma { mean: 40.0, cv: 0.35 },
        Dist::Gamma { mean: 40.0, cv: 2.0 },
        Dist::log_normal(20.0, 0.2).spiked(0.05, 10.0),
        Dist::Gamma { mean: 40.0, cv: 0.2 }.spiked(0.5, 3.0),
    ]
}

fn draws(dist: &Dist, seed: u64) -> Vec<f64> {
    dist.validate().unwrap();
    let (sampler, mut rng) = (dist.sampler(), ChaCha8Rng::seed_from_u64(seed));
    (0..N).map(|_| sampler.draw(&mut rng)).collect()
}

#[test]
fn draws_follow_the_cdf() {
    for (seed, dist) in continuous().iter().enumerate() {
        let d = kolmogorov(&draws(dist, seed as u64), |x| dist.cdf(x));
        assert!(d < 1.95, "{dist:?}: {d}");
    }
}

#[test]
fn the_test_notices_a_wrong_distribution() {
    let wrong = Dist::log_normal(200.0, 0.33);
    let d = kolmogorov(&draws(&Dist::log_normal(200.0, 0.3), 1), |x| wrong.cdf(x));
    assert!(d > 1.95, "{d}");
}

#[test]
fn quantiles_invert_the_cdf_and_means_are_true() {
    for dist in continuous() {
        for p in [0.01, 0.25, 0.5, 0.9, 0.99] {
            let back = dist.cdf(dist.quantile(p));
            assert!((back - p).abs() < 1e-6, "{dist:?} at {p}: {back}");
        }
        let sample = draws(&dist, 77);
        let mean = sample.iter().sum::<f64>() / N as f64;
        let var = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (N - 1) as f64;
        let error = (mean - dist.mean()).abs() / (var / N as f64).sqrt();
        assert!(error < 4.0, "{dist:?}: sample mean {mean}, stated {}", dist.mean());
    }
}

#[test]
fn plus_minus_v_holds_ninety_per_cent() {
    for v in [0.01, 0.05, 0.1, 0.3, 0.8, 0.99] {
        let dist = Dist::log_normal(200.0, v);
        let inside = dist.cdf(200.0 * (1.0 + v)) - dist.cdf(200.0 * (1.0 - v));
        assert!((inside - 0.9).abs() < 1e-9, "± {v}: {inside}");
        assert!((dist.median() - 200.0).abs() < 1e-9);
    }
    assert_eq!(log_normal_sigma(0.0), 0.0);
    // From 1 on only the upper limit binds: ln(1 + v) = 1.2815… σ.
    assert!((log_normal_sigma(1.0) - 2_f64.ln() / 1.281_551_565_544_6).abs() < 1e-9);
    assert!(Dist::log_normal(7.0, 0.0).is_constant());
    assert_eq!(Dist::log_normal(7.0, 0.0).quantile(0.9), 7.0);
}

#[test]
fn empirical_values_come_with_equal_chances() {
    let dist = Dist::empirical([10.0, 20.0, 20.0, 70.0]);
    let sample = draws(&dist, 3);
    for (value, share) in [(10.0, 0.25), (20.0, 0.5), (70.0, 0.25)] {
        let seen = sample.iter().filter(|x| **x == value).count() as f64 / N as f64;
        assert!((seen - share).abs() < 0.015, "{value}: {seen}");
    }
    assert_eq!([0.2, 0.5, 0.75, 0.76].map(|p| dist.quantile(p)), [10.0, 20.0, 20.0, 70.0]);
    assert_eq!((dist.mean(), dist.cdf(19.9), dist.cdf(20.0)), (30.0, 0.25, 0.75));
}

#[test]
fn wrong_parameters_are_refused() {
    for dist in [
        Dist::constant(-1.0),
        Dist::constant(f64::NAN),
        Dist::Uniform { low: 2.0, high: 2.0 },
        Dist::Normal { mean: 1.0, sd: 0.0, low: 0.0, high: None },
        Dist::Normal { mean: 1.0, sd: 1.0, low: 100.0, high: None },
        Dist::log_normal(0.0, 0.1),
        Dist::log_normal(1.0, -0.1),
        Dist::Gamma { mean: 1.0, cv: 0.0 },
        Dist::empirical([]),
        Dist::empirical([1.0, -1.0]),
        Dist::constant(1.0).spiked(1.5, 2.0),
        Dist::constant(1.0).spiked(0.5, 0.5),
    ] {
        assert!(dist.validate().is_err(), "{dist:?}");
    }
}
