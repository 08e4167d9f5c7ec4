//! Laws of latencies whose quantiles and means are known: what the data sets of coverage simulations are drawn from.

use super::Draw;
use crate::stats::distribution::{norm_cdf, norm_quantile};

/// A stationary law of latencies in time order, all above 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Process {
    /// independent, `exp(sd·Z)`
    LogNormal(f64),
    /// independent: four in five about 1, one about 4, each log-normal with sd .25
    Bimodal,
    /// `exp(½Z)` with `Zₜ = φ Zₜ₋₁ + √(1−φ²) ε`
    Autoregressive(f64),
    /// times in an M/M/1 system with service rate 1 and this load, from stationarity on
    Queue(f64),
}

/// Share, median and log-sd of the two modes.
const MODES: [(f64, f64, f64); 2] = [(0.8, 1.0, 0.25), (0.2, 4.0, 0.25)];
/// Log-sd of the autoregressive process.
const SD: f64 = 0.5;

impl Process {
    /// Its name, as rows have it.
    pub fn name(self) -> String {
        match self {
            Self::LogNormal(sd) => format!("log-normal, sd {sd}"),
            Self::Bimodal => "bimodal".to_owned(),
            Self::Autoregressive(phi) => format!("AR(1) {phi}"),
            Self::Queue(rho) => format!("M/M/1 {rho}"),
        }
    }

    /// Whether values do not depend on one another.
    pub fn independent(self) -> bool {
        matches!(self, Self::LogNormal(_) | Self::Bimodal)
    }

    /// `n` values in time order.
    pub fn draw(self, n: usize, draw: &mut Draw) -> Vec<f64> {
        match self {
            Self::LogNormal(sd) => (0..n).map(|_| (sd * draw.normal()).exp()).collect(),
            Self::Bimodal => (0..n)
                .map(|_| {
                    let (_, median, sd) = MODES[usize::from(MODES[0].0 <= draw.uniform())];
                    median * (sd * draw.normal()).exp()
                })
                .collect(),
            Self::Autoregressive(phi) => {
                let mut z = draw.normal();
                let fresh = (1.0 - phi * phi).sqrt();
                (0..n)
                    .map(|_| {
                        z = phi * z + fresh * draw.normal();
                        (SD * z).exp()
                    })
                    .collect()
            }
            Self::Queue(rho) => {
                let mut time = draw.exponential() / (1.0 - rho);
                (0..n)
                    .map(|_| {
                        let waits = (time - draw.exponential() / rho).max(0.0);
                        time = waits + draw.exponential();
                        time
                    })
                    .collect()
            }
        }
    }

    /// The quantile of level `p`.
    pub fn quantile(self, p: f64) -> f64 {
        match self {
            Self::LogNormal(sd) => (sd * norm_quantile(p)).exp(),
            Self::Autoregressive(_) => (SD * norm_quantile(p)).exp(),
            Self::Queue(rho) => -(1.0 - p).ln() / (1.0 - rho),
            Self::Bimodal => {
                let cdf =
                    |x: f64| MODES.map(|(share, m, sd)| share * norm_cdf((x / m).ln() / sd)).iter().sum();
                let (mut low, mut high) = (1e-3, 1e3);
                for _ in 0..100 {
                    let middle = 0.5 * (low + high);
                    let below: f64 = cdf(middle);
                    if below < p { low = middle } else { high = middle }
                }
                high
            }
        }
    }

    /// The mean.
    pub fn mean(self) -> f64 {
        let log_normal = |median: f64, sd: f64| median * (0.5 * sd * sd).exp();
        match self {
            Self::LogNormal(sd) => log_normal(1.0, sd),
            Self::Autoregressive(_) => log_normal(1.0, SD),
            Self::Queue(rho) => 1.0 / (1.0 - rho),
            Self::Bimodal => MODES.iter().map(|(share, m, sd)| share * log_normal(*m, *sd)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::quantile::{QuantileType, Sample};
    use crate::stats::summary::mean;

    #[test]
    fn draws_have_the_quantiles_and_means_they_are_said_to_have() {
        let all = [
            Process::LogNormal(0.5),
            Process::LogNormal(1.0),
            Process::Bimodal,
            Process::Autoregressive(0.5),
            Process::Queue(0.5),
        ];
        for process in all {
            let x = process.draw(200_000, &mut Draw::new(1, 0));
            let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 0.02, "{}: {a} {b}", process.name());
            near(mean(&x), process.mean());
            let sample = Sample::new(x).unwrap();
            for p in [0.5, 0.9, 0.95] {
                near(sample.quantile(p, QuantileType::Type7).unwrap(), process.quantile(p));
            }
        }
    }
}
