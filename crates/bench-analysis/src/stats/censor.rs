//! Latencies of which some are only known to be longer than an age: Kaplan and Meier's estimate with Greenwood's error.
//!
//! For requests still in flight when somebody else ended the run: leaving them out would make the server look faster, as the
//! slow ones are the likelier to be in flight. A request that failed never answers: it stays at risk for ever (`+∞`), so that a
//! quantile among the failures is `+∞` here too. Without censoring this is the empirical distribution.

use super::distribution::norm_quantile;
use super::interval::{Interval, StatsError, check_unit};

/// One latency: seen to its end, or cut off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Observed {
    /// the latency; `+∞` for a request that failed
    At(f64),
    /// longer than this: the age at which it was cut off
    LongerThan(f64),
}

/// The estimate right after an instant at which an answer came.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// the instant
    pub at: f64,
    /// share of requests that last longer
    pub survival: f64,
    /// `Σ dᵢ/(nᵢ(nᵢ−dᵢ))` up to here, `+∞` once nothing is left at risk
    greenwood: f64,
}

impl Step {
    /// Greenwood's standard error: `S √(Σ dᵢ/(nᵢ(nᵢ−dᵢ)))`; 0 where S is 0.
    pub fn se(&self) -> f64 {
        if self.survival == 0.0 { 0.0 } else { self.survival * self.greenwood.sqrt() }
    }

    /// Limits of S on the log(−log) scale: they stay inside [0, 1].
    fn band(&self, z: f64) -> (f64, f64) {
        if self.survival == 0.0 || self.survival == 1.0 {
            return (self.survival, self.survival);
        }
        let reach = (z * self.greenwood.sqrt() / self.survival.ln().abs()).exp();
        (self.survival.powf(reach), self.survival.powf(1.0 / reach))
    }
}

/// Kaplan and Meier's estimate of how long requests last.
#[derive(Debug, Clone, PartialEq)]
pub struct KaplanMeier {
    /// values, cut off or not
    pub n: usize,
    /// of these, seen to their end
    pub events: usize,
    steps: Vec<Step>,
}

impl KaplanMeier {
    /// `S(t) = Π (1 − dᵢ/nᵢ)` over the instants up to t at which dᵢ of nᵢ at risk ended. One cut off at the very instant of an
    /// event was at risk then.
    ///
    /// # Errors
    /// `Empty`, `NotANumber`; `Undefined` when nothing was seen to its end.
    ///
    /// # Source
    /// Kaplan and Meier 1958; Greenwood 1926.
    pub fn new(observed: &[Observed]) -> Result<Self, StatsError> {
        if observed.is_empty() {
            return Err(StatsError::Empty);
        }
        let mut ends = Vec::new();
        let mut leaving = Vec::with_capacity(observed.len());
        for (position, o) in observed.iter().enumerate() {
            let (Observed::At(t) | Observed::LongerThan(t)) = *o;
            if t.is_nan() {
                return Err(StatsError::NotANumber { position });
            }
            leaving.push(t);
            if matches!(o, Observed::At(_)) && t.is_finite() {
                ends.push(t);
            }
        }
        if ends.is_empty() {
            return Err(StatsError::Undefined(
                "expected at least one request seen to its end: all were cut off",
            ));
        }
        ends.sort_unstable_by(f64::total_cmp);
        leaving.sort_unstable_by(f64::total_cmp);
        let (mut survival, mut greenwood) = (1.0, 0.0);
        let mut steps = Vec::new();
        for same in ends.chunk_by(|a, b| a == b) {
            let at = same[0];
            let d = same.len() as f64;
            let at_risk = (leaving.len() - leaving.partition_point(|t| *t < at)) as f64;
            survival *= 1.0 - d / at_risk;
            greenwood += d / (at_risk * (at_risk - d));
            if at_risk == d {
                survival = 0.0;
            }
            steps.push(Step { at, survival, greenwood });
        }
        Ok(Self { n: observed.len(), events: ends.len(), steps })
    }

    /// The steps, in order of time.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Share of requests that last longer than `t`, and Greenwood's standard error.
    pub fn survival(&self, t: f64) -> (f64, f64) {
        let before = self.steps.partition_point(|s| s.at <= t);
        before.checked_sub(1).map_or((1.0, 0.0), |i| (self.steps[i].survival, self.steps[i].se()))
    }

    /// The quantile: the smallest t with S(t) ≤ 1 − p; `None` when the estimate never falls so far (cut off, or failed).
    ///
    /// # Errors
    /// `OutOfRange` for p outside (0, 1).
    pub fn quantile(&self, p: f64) -> Result<Option<f64>, StatsError> {
        check_unit("quantile level", p)?;
        Ok(self.first(p, |s| s.survival))
    }

    /// Where the log(−log) band of S crosses 1 − p; a limit that it does not reach is `+∞`.
    ///
    /// # Errors
    /// `OutOfRange` for levels outside (0, 1).
    ///
    /// # Source
    /// Brookmeyer and Crowley 1982; R's `survfit(conf.type = "log-log")`.
    pub fn quantile_interval(&self, p: f64, confidence: f64) -> Result<Interval, StatsError> {
        check_unit("quantile level", p)?;
        check_unit("confidence", confidence)?;
        let z = norm_quantile(0.5 + 0.5 * confidence);
        let limit = |x: Option<f64>| x.unwrap_or(f64::INFINITY);
        let low = self.first(p, |s| s.band(z).0);
        let high = self.first(p, |s| s.band(z).1);
        Ok(Interval::new(limit(low), limit(high)))
    }

    /// The first instant at which a falling function of the step is at most 1 − p, products being rounded.
    fn first(&self, p: f64, of: impl Fn(&Step) -> f64) -> Option<f64> {
        let goal = (1.0 - p) * (1.0 + 64.0 * f64::EPSILON);
        self.steps.iter().find(|s| of(s) <= goal).map(|s| s.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::quantile::{QuantileType, Sample};

    #[test]
    fn without_censoring_it_is_the_sample() {
        let x: Vec<f64> = (1..=200).map(|i| f64::from(i * 37 % 211)).collect();
        let km = KaplanMeier::new(&x.iter().map(|v| Observed::At(*v)).collect::<Vec<_>>()).unwrap();
        let sample = Sample::new(x).unwrap();
        for p in [0.05, 0.25, 0.5, 0.9, 0.95, 0.99] {
            assert_eq!(km.quantile(p).unwrap(), sample.quantile(p, QuantileType::Type1).ok(), "{p}");
        }
        let (s, se) = km.survival(sample.order_statistic(100));
        assert!(
            (s - 0.5).abs() < 1e-12 && (se - (0.25_f64 / 200.0).sqrt()).abs() < 1e-12,
            "binomial: {s} {se}"
        );
    }

    #[test]
    fn failures_never_end_and_the_cut_off_are_not_left_out() {
        let at = |list: &[f64]| list.iter().map(|v| Observed::At(*v)).collect::<Vec<_>>();
        let mut some = at(&[1.0, 2.0, 3.0, f64::INFINITY]);
        assert_eq!(KaplanMeier::new(&some).unwrap().quantile(0.9).unwrap(), None);
        some.extend([Observed::LongerThan(2.5); 4]);
        let km = KaplanMeier::new(&some).unwrap();
        assert_eq!((km.n, km.events), (8, 3));
        assert!(km.quantile(0.5).unwrap() > Some(2.0), "four more that last beyond 2.5");
        assert!(KaplanMeier::new(&[Observed::LongerThan(1.0)]).is_err());
        assert_eq!(KaplanMeier::new(&[]), Err(StatsError::Empty));
        assert!(KaplanMeier::new(&at(&[f64::NAN])).is_err());
    }
}
