//! Distributions of delays and lengths, with their true quantiles: what is drawn is also what can be checked.
//!
//! A [`Dist`] is plain data; its [`Sampler`] holds whatever is costly to work out. Values carry the unit of the
//! field they stand in (milliseconds, tokens, a bare factor).

use std::{fmt, sync::Arc};

use llms_core::config::ConfigErrors;
use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use statrs::distribution::{Continuous, ContinuousCDF, Gamma, Normal};

/// A distribution of values ≥ 0. In files a table with its `kind`, or a bare number, which is a constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Dist {
    /// Always the same.
    Constant {
        /// The value, ≥ 0.
        value: f64,
    },
    /// Evenly between two values.
    Uniform {
        /// Lowest value, ≥ 0.
        low: f64,
        /// Highest value, above `low`.
        high: f64,
    },
    /// Normal, cut off at both ends; drawn again, not piled up, where it is cut.
    Normal {
        /// Mean before cutting.
        mean: f64,
        /// Standard deviation before cutting, above 0.
        sd: f64,
        /// Lowest value, ≥ 0.
        #[serde(default)]
        low: f64,
        /// Highest value; none when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        high: Option<f64>,
    },
    /// Log-normal about `median` with 90 % of the draws within `median · (1 ± spread)`: what "± v" means.
    LogNormal {
        /// Half of the draws lie below; above 0.
        median: f64,
        /// The v of "± v", ≥ 0; 0 is a constant.
        spread: f64,
    },
    /// Gamma; `cv` 1 is the exponential distribution.
    Gamma {
        /// Mean, above 0.
        mean: f64,
        /// Standard deviation over mean, above 0.
        cv: f64,
    },
    /// One of these, each equally likely.
    Empirical {
        /// At least one value, each ≥ 0.
        values: Arc<[f64]>,
    },
    /// Another distribution, a share of whose draws is multiplied: tail spikes, or two modes.
    Spiked {
        /// Share of the draws, 0–1.
        share: f64,
        /// What they are multiplied with, ≥ 1.
        factor: f64,
        /// The other distribution.
        of: Box<Self>,
    },
}

impl Serialize for Dist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Dist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Dist;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or a table with the `kind` of a distribution")
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Dist, E> {
                Ok(Dist::constant(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Dist, E> {
                Ok(Dist::constant(value as f64))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Dist, E> {
                Ok(Dist::constant(value as f64))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Dist, A::Error> {
                Dist::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl Dist {
    /// Always `value`.
    pub fn constant(value: f64) -> Self {
        Self::Constant { value }
    }

    /// Log-normal "median ± spread".
    pub fn log_normal(median: f64, spread: f64) -> Self {
        Self::LogNormal { median, spread }
    }

    /// Exponential with this mean.
    pub fn exponential(mean: f64) -> Self {
        Self::Gamma { mean, cv: 1.0 }
    }

    /// One of `values`, each equally likely.
    pub fn empirical(values: impl Into<Arc<[f64]>>) -> Self {
        Self::Empirical { values: values.into() }
    }

    /// This one with a share of its draws multiplied by `factor`.
    pub fn spiked(self, share: f64, factor: f64) -> Self {
        Self::Spiked { share, factor, of: Box::new(self) }
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// All that are wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        let at_least_0 = |e: &mut ConfigErrors, field: &str, v: f64| {
            e.check(v >= 0.0 && v.is_finite(), field, "expected a number ≥ 0", v);
        };
        let above_0 = |e: &mut ConfigErrors, field: &str, v: f64| {
            e.check(v > 0.0 && v.is_finite(), field, "expected a number above 0", v);
        };
        match self {
            Self::Constant { value } => at_least_0(&mut e, "value", *value),
            Self::Uniform { low, high } => {
                at_least_0(&mut e, "low", *low);
                e.check(high > low && high.is_finite(), "high", "expected a number above `low`", high);
            }
            Self::Normal { mean, sd, low, high } => {
                e.check(mean.is_finite(), "mean", "expected a number", mean);
                above_0(&mut e, "sd", *sd);
                at_least_0(&mut e, "low", *low);
                if let Some(high) = high {
                    e.check(high > low, "high", "expected a number above `low`", high);
                }
                if e.errors.is_empty() {
                    let (from, to) = truncation(*mean, *sd, *low, *high);
                    let kept = to - from;
                    e.check(
                        kept > 1e-4,
                        "low",
                        "expected limits that keep at least 1/10000 of the draws",
                        format!("{kept:.2e}"),
                    );
                }
            }
            Self::LogNormal { median, spread } => {
                above_0(&mut e, "median", *median);
                at_least_0(&mut e, "spread", *spread);
            }
            Self::Gamma { mean, cv } => {
                above_0(&mut e, "mean", *mean);
                above_0(&mut e, "cv", *cv);
            }
            Self::Empirical { values } => {
                e.check(!values.is_empty(), "values", "expected at least one value", "none");
                if let Some(bad) = values.iter().find(|v| !(v.is_finite() && **v >= 0.0)) {
                    e.push("values", "expected numbers ≥ 0", bad);
                }
            }
            Self::Spiked { share, factor, of } => {
                e.check((0.0..=1.0).contains(share), "share", "expected a share from 0 to 1", share);
                e.check(*factor >= 1.0 && factor.is_finite(), "factor", "expected a number ≥ 1", factor);
                e.nest("of", of.validate());
            }
        }
        e.into_result()
    }

    /// A sampler of a valid distribution.
    pub fn sampler(&self) -> Sampler {
        match self {
            Self::Constant { value } => Sampler::Constant(*value),
            Self::Uniform { low, high } => Sampler::Uniform { low: *low, width: high - low },
            Self::Normal { mean, sd, low, high } => {
                let (from, to) = truncation(*mean, *sd, *low, *high);
                let normal = Normal::new(*mean, *sd).ok();
                Sampler::Normal { normal, from, width: to - from, low: *low, high: high.unwrap_or(f64::MAX) }
            }
            Self::LogNormal { median, spread } => {
                Sampler::LogNormal { median: *median, sigma: log_normal_sigma(*spread) }
            }
            Self::Gamma { mean, cv } => rand_distr::Gamma::new(1.0 / (cv * cv), mean * cv * cv)
                .map_or(Sampler::Constant(*mean), Sampler::Gamma),
            Self::Empirical { values } => Sampler::Empirical(values.clone()),
            Self::Spiked { share, factor, of } => {
                Sampler::Spiked { share: *share, factor: *factor, of: Box::new(of.sampler()) }
            }
        }
    }

    /// Probability of a draw ≤ `x`.
    pub fn cdf(&self, x: f64) -> f64 {
        match self {
            Self::Constant { value } => f64::from(u8::from(x >= *value)),
            Self::Uniform { low, high } => ((x - low) / (high - low)).clamp(0.0, 1.0),
            Self::Normal { mean, sd, low, high } => {
                let (from, to) = truncation(*mean, *sd, *low, *high);
                if x < *low { 0.0 } else { ((phi((x - mean) / sd) - from) / (to - from)).clamp(0.0, 1.0) }
            }
            Self::LogNormal { median, spread } => {
                let sigma = log_normal_sigma(*spread);
                if sigma == 0.0 {
                    f64::from(u8::from(x >= *median))
                } else if x <= 0.0 {
                    0.0
                } else {
                    phi((x / median).ln() / sigma)
                }
            }
            Self::Gamma { mean, cv } => gamma(*mean, *cv).map_or(f64::NAN, |g| g.cdf(x)),
            Self::Empirical { values } => {
                values.iter().filter(|v| **v <= x).count() as f64 / values.len() as f64
            }
            Self::Spiked { share, factor, of } => (1.0 - share) * of.cdf(x) + share * of.cdf(x / factor),
        }
    }

    /// The smallest value that a share `p` (0–1) of the draws does not exceed.
    pub fn quantile(&self, p: f64) -> f64 {
        match self {
            Self::Constant { value } => *value,
            Self::Uniform { low, high } => low + p * (high - low),
            Self::Normal { mean, sd, low, high } => {
                let (from, to) = truncation(*mean, *sd, *low, *high);
                (mean + sd * probit(from + p * (to - from))).clamp(*low, high.unwrap_or(f64::INFINITY))
            }
            Self::LogNormal { median, spread } => {
                let sigma = log_normal_sigma(*spread);
                if sigma == 0.0 { *median } else { median * (sigma * probit(p)).exp() }
            }
            Self::Gamma { mean, cv } => gamma(*mean, *cv).map_or(f64::NAN, |g| g.inverse_cdf(p)),
            Self::Empirical { values } => {
                let mut sorted = values.to_vec();
                sorted.sort_by(f64::total_cmp);
                let rank = (p * sorted.len() as f64).ceil().max(1.0) as usize;
                sorted[rank.min(sorted.len()) - 1]
            }
            Self::Spiked { factor, of, .. } => {
                let (mut low, mut high) = (of.quantile(p), factor * of.quantile(p));
                for _ in 0..200 {
                    let middle = f64::midpoint(low, high);
                    if self.cdf(middle) >= p { high = middle } else { low = middle }
                }
                high
            }
        }
    }

    /// Half of the draws do not exceed it.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The expected value.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant { value } => *value,
            Self::Uniform { low, high } => f64::midpoint(*low, *high),
            Self::Normal { mean, sd, low, high } => {
                let (from, to) = truncation(*mean, *sd, *low, *high);
                let unit = Normal::standard();
                let above = high.map_or(0.0, |h| unit.pdf((h - mean) / sd));
                mean + sd * (unit.pdf((low - mean) / sd) - above) / (to - from)
            }
            Self::LogNormal { median, spread } => median * (log_normal_sigma(*spread).powi(2) / 2.0).exp(),
            Self::Gamma { mean, .. } => *mean,
            Self::Empirical { values } => values.iter().sum::<f64>() / values.len() as f64,
            Self::Spiked { share, factor, of } => of.mean() * (1.0 + share * (factor - 1.0)),
        }
    }

    /// Whether every draw is the same.
    pub fn is_constant(&self) -> bool {
        match self {
            Self::Constant { .. } => true,
            Self::LogNormal { spread, .. } => *spread == 0.0,
            _ => false,
        }
    }
}

/// Draws from a [`Dist`].
#[derive(Clone, Debug)]
pub enum Sampler {
    /// Always the same.
    Constant(f64),
    /// Evenly between two values.
    Uniform {
        /// Lowest value.
        low: f64,
        /// Highest less lowest.
        width: f64,
    },
    /// Cut normal, by inversion: one uniform draw each.
    Normal {
        /// Before cutting.
        normal: Option<Normal>,
        /// Probability below the lower limit.
        from: f64,
        /// Probability kept.
        width: f64,
        /// Lower limit.
        low: f64,
        /// Upper limit.
        high: f64,
    },
    /// Log-normal.
    LogNormal {
        /// Median.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
    },
    /// Gamma.
    Gamma(rand_distr::Gamma<f64>),
    /// One of these.
    Empirical(Arc<[f64]>),
    /// A share is multiplied.
    Spiked {
        /// Share of the draws.
        share: f64,
        /// Factor.
        factor: f64,
        /// The rest.
        of: Box<Self>,
    },
}

impl Sampler {
    /// One draw.
    pub fn draw(&self, rng: &mut impl Rng) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::Uniform { low, width } => low + rng.random::<f64>() * width,
            Self::Normal { normal, from, width, low, high } => {
                let p = from + rng.random::<f64>() * width;
                normal.as_ref().map_or(*low, |n| n.inverse_cdf(p)).clamp(*low, *high)
            }
            Self::LogNormal { median, sigma } => {
                let z: f64 = StandardNormal.sample(rng);
                median * (sigma * z).exp()
            }
            Self::Gamma(gamma) => gamma.sample(rng),
            Self::Empirical(values) => values[rng.random_range(0..values.len())],
            Self::Spiked { share, factor, of } => {
                let spike = rng.random::<f64>() < *share;
                of.draw(rng) * if spike { *factor } else { 1.0 }
            }
        }
    }
}

/// Standard deviation of the logarithm for which 90 % of the draws of a log-normal distribution lie within
/// `median · (1 ± spread)`: the σ with `Φ(ln(1+v)/σ) − Φ(ln(1−v)/σ) = 0.9`, by bisection.
///
/// `spread` ≥ 0; from 1 on the lower limit is 0 and only the upper one binds.
pub fn log_normal_sigma(spread: f64) -> f64 {
    if spread <= 0.0 {
        return 0.0;
    }
    let upper = spread.ln_1p();
    let lower = if spread < 1.0 { (-spread).ln_1p() } else { f64::NEG_INFINITY };
    let inside = |sigma: f64| phi(upper / sigma) - phi(lower / sigma);
    let (mut low, mut high) = (upper / 10.0, upper * 10.0);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if inside(middle) > 0.9 { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

fn phi(z: f64) -> f64 {
    Normal::standard().cdf(z)
}

fn probit(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p.clamp(0.0, 1.0))
}

fn gamma(mean: f64, cv: f64) -> Option<Gamma> {
    Gamma::new(1.0 / (cv * cv), 1.0 / (mean * cv * cv)).ok()
}

/// Probabilities below the lower and the upper limit.
fn truncation(mean: f64, sd: f64, low: f64, high: Option<f64>) -> (f64, f64) {
    (phi((low - mean) / sd), high.map_or(1.0, |h| phi((h - mean) / sd)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bare_number_is_a_constant_and_a_table_is_read_strictly() {
        let read = |value| serde_json::from_value::<Dist>(value).map_err(|e| e.to_string());
        assert_eq!(read(json!(12)), Ok(Dist::constant(12.0)));
        assert_eq!(read(json!(0.5)), Ok(Dist::constant(0.5)));
        assert_eq!(read(json!({"kind": "gamma", "mean": 3, "cv": 1})), Ok(Dist::exponential(3.0)));
        let spiked = json!({"kind": "spiked", "share": 0.1, "factor": 3, "of": 20});
        assert_eq!(read(spiked), Ok(Dist::constant(20.0).spiked(0.1, 3.0)));
        assert!(read(json!("12")).unwrap_err().contains("a number, or a table"));
        assert!(read(json!({"kind": "constant", "value": 1, "mean": 2})).unwrap_err().contains("mean"));
        let dist = Dist::log_normal(3.0, 0.1);
        assert_eq!(read(serde_json::to_value(&dist).unwrap()), Ok(dist));
    }
}
