//! Before anything is sent: how many requests a wanted precision needs, and how long they take.

use super::dependence::effective_size;
use super::distribution::norm_quantile;
use super::interval::{StatsError, check_at_least, check_unit};
use super::order_interval::{early_stopping_under, smallest_n_one_sided, smallest_n_two_sided};
use super::quantile::{QuantileType, Sample};

/// Requests for one quantile, and what they buy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantilePlan {
    /// quantile level
    pub quantile: f64,
    /// fewest requests for a finite two-sided interval: below it the quantile is not reported at all
    pub floor: u64,
    /// fewest requests for an upper bound alone
    pub floor_upper: u64,
    /// fewest requests for MLPerf's tail certificate, none over its estimate
    pub floor_certificate: u64,
    /// requests for ± the wanted precision, dependence included; never below `floor`
    pub requests: u64,
    /// requests for each independent one that the plan supposes
    pub dependence: f64,
}

impl QuantilePlan {
    /// Seconds of measured window at `rate` requests per second.
    pub fn duration_s(&self, rate: f64) -> f64 {
        self.requests as f64 / rate
    }
}

/// What is known or supposed of latencies before a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pilot {
    /// density of ln X at the quantile
    pub log_density: f64,
    /// requests for each independent one (n/ESS), at least 1; AR(1): (1+φ)/(1−φ)
    pub dependence: f64,
}

impl Pilot {
    /// A log-normal with standard deviation `sd_log` of its logarithm: `φ(Φ⁻¹(p))/s`.
    ///
    /// # Errors
    /// `OutOfRange` for p outside (0, 1), `sd_log ≤ 0` or `dependence < 1`.
    pub fn log_normal(p: f64, sd_log: f64, dependence: f64) -> Result<Self, StatsError> {
        check_unit("quantile level", p)?;
        if sd_log.is_nan() || sd_log <= 0.0 {
            return Err(StatsError::OutOfRange {
                what: "log standard deviation",
                range: "above 0",
                got: sd_log,
            });
        }
        if dependence.is_nan() || dependence < 1.0 {
            return Err(StatsError::OutOfRange { what: "dependence", range: "1 or more", got: dependence });
        }
        Ok(Self { log_density: super::distribution::norm_pdf(norm_quantile(p)) / sd_log, dependence })
    }

    /// From ≥ 50 latencies of an earlier run, in time order, above 0: density by the spacing of order statistics about the
    /// quantile (Siddiqui 1960; bandwidth of Hall and Sheather 1988, kept inside the sample), dependence by the ESS of
    /// "above the quantile".
    ///
    /// # Errors
    /// `TooFew`; `Infinite` when failures reach the quantile; `Undefined` when values about it are equal; `OutOfRange`.
    pub fn from_latencies(latencies: &[f64], p: f64) -> Result<Self, StatsError> {
        check_unit("quantile level", p)?;
        check_at_least("a pilot", latencies, 50)?;
        let sample = Sample::new(latencies)?;
        if sample.order_statistic(1) <= 0.0 {
            return Err(StatsError::OutOfRange {
                what: "latencies",
                range: "above 0",
                got: sample.order_statistic(1),
            });
        }
        let n = latencies.len() as f64;
        let x = norm_quantile(p);
        let z = norm_quantile(0.975);
        let wide = n.powf(-1.0 / 3.0)
            * z.powf(2.0 / 3.0)
            * (1.5 * super::distribution::norm_pdf(x).powi(2) / (2.0 * x * x + 1.0)).powf(1.0 / 3.0);
        let reach = wide.min(0.5 * p).min(0.5 * (1.0 - p)).max(1.0 / n);
        let at = |level: f64| sample.quantile(level.clamp(0.0, 1.0), QuantileType::Type7);
        let (low, high) = (at(p - reach)?, at(p + reach)?);
        if high.is_infinite() {
            return Err(StatsError::Infinite);
        }
        let spread = high.ln() - low.ln();
        if spread <= 0.0 {
            return Err(StatsError::Undefined("expected latencies that differ about the quantile"));
        }
        let value = at(p)?;
        let above: Vec<f64> = latencies.iter().map(|v| f64::from(value < *v)).collect();
        let share = ((p + reach).min(1.0) - (p - reach).max(0.0)) / spread;
        Ok(Self { log_density: share, dependence: effective_size(&above)?.tau.max(1.0) })
    }
}

/// Requests to know quantile `p` to ± `relative`.
///
/// `n = τ (z/ε)² p(1−p)/f²` with f the density of ln X at the quantile; ± 5 % of a log-normal with sd .5: p50 604, p95 1716,
/// p99 5355.
///
/// # Errors
/// `OutOfRange` for levels outside (0, 1) or `relative ≤ 0`.
pub fn plan_quantile(
    p: f64,
    relative: f64,
    confidence: f64,
    pilot: &Pilot,
) -> Result<QuantilePlan, StatsError> {
    check_unit("confidence", confidence)?;
    if relative.is_nan() || relative <= 0.0 {
        return Err(StatsError::OutOfRange { what: "relative precision", range: "above 0", got: relative });
    }
    let floor = smallest_n_two_sided(p, confidence)?;
    let z = norm_quantile(0.5 + 0.5 * confidence);
    let independent = (z / relative).powi(2) * p * (1.0 - p) / (pilot.log_density * pilot.log_density);
    let floor = (floor as f64 * pilot.dependence).ceil() as u64;
    Ok(QuantilePlan {
        quantile: p,
        floor,
        floor_upper: (smallest_n_one_sided(p, confidence)? as f64 * pilot.dependence).ceil() as u64,
        floor_certificate: early_stopping_under(1, p, confidence)? + 1,
        requests: ((independent * pilot.dependence).ceil() as u64).max(floor),
        dependence: pilot.dependence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, LogNormal};

    #[test]
    fn published_sizes() {
        let n =
            |p, sd| plan_quantile(p, 0.05, 0.95, &Pilot::log_normal(p, sd, 1.0).unwrap()).unwrap().requests;
        assert_eq!((n(0.5, 0.5), n(0.95, 0.5)), (604, 1716));
        assert!((5354..=5355).contains(&n(0.99, 0.5)));
        // wide precision never goes below what an interval needs at all
        let loose = plan_quantile(0.99, 5.0, 0.95, &Pilot::log_normal(0.99, 0.5, 1.0).unwrap()).unwrap();
        assert_eq!((loose.requests, loose.floor, loose.floor_upper), (368, 368, 299));
        assert_eq!(loose.duration_s(2.0), 184.0);
        let mlperf = plan_quantile(0.99, 5.0, 0.99, &Pilot::log_normal(0.99, 0.5, 1.0).unwrap()).unwrap();
        assert_eq!(mlperf.floor_certificate, 662);
    }

    #[test]
    fn a_pilot_comes_near_the_formula() {
        let law = LogNormal::new(0.0, 0.5).unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let x: Vec<f64> = (0..2000).map(|_| law.sample(&mut rng)).collect();
        for p in [0.5, 0.9, 0.95] {
            let (pilot, truth) =
                (Pilot::from_latencies(&x, p).unwrap(), Pilot::log_normal(p, 0.5, 1.0).unwrap());
            let ratio = pilot.log_density / truth.log_density;
            assert!((0.7..1.4).contains(&ratio), "p {p}: {ratio}");
            assert!(pilot.dependence < 1.6, "{pilot:?}");
        }
        assert!(Pilot::from_latencies(&[1.0; 60], 0.5).is_err());
    }
}
