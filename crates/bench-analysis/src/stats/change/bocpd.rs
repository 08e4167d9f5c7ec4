//! Bayesian online change-point detection: after each run, how long ago did the level last change?
//!
//! A picture and a vote, never an alarm: its posterior is only as right as its prior and its hazard.

use crate::stats::distribution::ln_beta;
use crate::stats::interval::{StatsError, check_unit};

/// Normal–Gamma prior of the level and the precision of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prior {
    /// expected level
    pub mean: f64,
    /// how many values the expectation is worth, above 0
    pub worth: f64,
    /// shape of the precision, above 0
    pub shape: f64,
    /// rate of the precision, unit of the values squared, above 0
    pub rate: f64,
}

/// The run-length filter. Its convention: whether the level changes is drawn after each value.
#[derive(Debug, Clone)]
pub struct Bocpd {
    hazard: f64,
    prior: Prior,
    segments: Vec<Prior>,
    posterior: Vec<f64>,
    log_evidence: f64,
}

impl Bocpd {
    /// A filter with constant `hazard`: the chance of a change after any value.
    ///
    /// # Errors
    /// `OutOfRange` for a hazard outside (0, 1) or a prior whose worth, shape or rate is not above 0.
    pub fn new(hazard: f64, prior: Prior) -> Result<Self, StatsError> {
        check_unit("hazard", hazard)?;
        for (what, value) in [
            ("worth of the prior", prior.worth),
            ("shape of the prior", prior.shape),
            ("rate of the prior", prior.rate),
        ] {
            if value.is_nan() || value <= 0.0 {
                return Err(StatsError::OutOfRange { what, range: "above 0", got: value });
            }
        }
        if !prior.mean.is_finite() {
            return Err(StatsError::Infinite);
        }
        Ok(Self { hazard, prior, segments: vec![prior], posterior: vec![1.0], log_evidence: 0.0 })
    }

    /// One more value; O(values so far).
    ///
    /// # Errors
    /// `Infinite` for a value that is not finite.
    ///
    /// # Source
    /// Adams and MacKay 2007; predictive Student t with 2a degrees of freedom about the segment's mean, scale² b(k+1)/(ak).
    pub fn observe(&mut self, x: f64) -> Result<(), StatsError> {
        if !x.is_finite() {
            return Err(StatsError::Infinite);
        }
        // in logs about the largest, so that a value far from every segment underflows nothing
        let logs: Vec<f64> =
            self.segments.iter().zip(&self.posterior).map(|(s, p)| predictive(s, x) + p.ln()).collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let joint: Vec<f64> = logs.iter().map(|l| (l - largest).exp()).collect();
        let total: f64 = joint.iter().sum();
        self.log_evidence += largest + total.ln();
        self.posterior.clear();
        self.posterior.push(self.hazard);
        self.posterior.extend(joint.iter().map(|j| (1.0 - self.hazard) * j / total));
        for s in &mut self.segments {
            let next = s.worth + 1.0;
            s.rate += 0.5 * s.worth * (x - s.mean).powi(2) / next;
            s.mean += (x - s.mean) / next;
            s.worth = next;
            s.shape += 0.5;
        }
        self.segments.insert(0, self.prior);
        Ok(())
    }

    /// P(the current segment holds r values), r = 0 ..= values seen; r = 0 has the hazard, always.
    pub fn posterior(&self) -> &[f64] {
        &self.posterior
    }

    /// Natural logarithm of the density of all values seen.
    pub fn log_evidence(&self) -> f64 {
        self.log_evidence
    }

    /// The most probable length of the current segment.
    pub fn most_probable(&self) -> usize {
        let mut best = 0;
        for (r, p) in self.posterior.iter().enumerate() {
            if self.posterior[best] < *p {
                best = r;
            }
        }
        best
    }
}

fn predictive(s: &Prior, x: f64) -> f64 {
    let df = 2.0 * s.shape;
    let scale2 = s.rate * (s.worth + 1.0) / (s.shape * s.worth);
    -ln_beta(0.5, 0.5 * df)
        - 0.5 * (df * scale2).ln()
        - 0.5 * (df + 1.0) * ((x - s.mean).powi(2) / (df * scale2)).ln_1p()
}

/// Change points by walking back from the end: the most probable length there, then that before it, and so on.
///
/// # Errors
/// As [`Bocpd::new`] and [`Bocpd::observe`].
pub fn changes(x: &[f64], hazard: f64, prior: Prior) -> Result<Vec<usize>, StatsError> {
    let mut filter = Bocpd::new(hazard, prior)?;
    let mut lengths = Vec::with_capacity(x.len());
    for v in x {
        filter.observe(*v)?;
        lengths.push(filter.most_probable());
    }
    let mut found = Vec::new();
    let mut end = x.len();
    while 0 < end {
        let start = end.saturating_sub(lengths[end - 1].max(1));
        if 0 < start {
            found.push(start);
        }
        end = start;
    }
    found.reverse();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIOR: Prior = Prior { mean: 0.0, worth: 1.0, shape: 1.0, rate: 1.0 };

    #[test]
    fn published_case() {
        let mut filter = Bocpd::new(0.1, PRIOR).unwrap();
        for x in [0.0, 0.1, 5.0, 5.1] {
            filter.observe(x).unwrap();
        }
        assert!((filter.log_evidence() + 11.204556222333164).abs() < 1e-12);
        for (p, expected) in
            filter.posterior().iter().zip([0.1, 0.01924856, 0.5350701, 0.08430327, 0.26137807])
        {
            assert!((p - expected).abs() < 1e-7, "{p} {expected}");
        }
        assert_eq!(filter.most_probable(), 2);
    }

    #[test]
    fn a_step_is_walked_back_to_and_wild_values_break_nothing() {
        let x: Vec<f64> = (0..60).map(|i| if i < 25 { 0.0 } else { 6.0 } + 0.1 * f64::from(i % 5)).collect();
        assert_eq!(changes(&x, 0.01, PRIOR).unwrap(), [25]);
        let mut filter = Bocpd::new(0.01, PRIOR).unwrap();
        for x in [0.0, 1e100, -1e100, 1.0] {
            filter.observe(x).unwrap();
            assert!((filter.posterior().iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
        assert!(filter.observe(f64::INFINITY).is_err() && Bocpd::new(0.0, PRIOR).is_err());
    }
}
