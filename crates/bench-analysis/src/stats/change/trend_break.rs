//! Breaks of a drifting series: stretches that follow a line, with noise that remembers its last value.
//!
//! Where neighbours stay alike after all changes of level are taken out, levels are the wrong picture. This one has a line and
//! AR(1) noise in each stretch, so that a slow climb or a wandering environment needs no change point at all; and where even
//! this leaves dependence behind (seasons, curves), it says that it cannot tell ([`Breaks::explained`]).

use crate::stats::dependence::ljung_box;
use crate::stats::interval::{StatsError, check_finite};

/// Price of a break in units of ln n: two coefficients and the memory, and the place twice (Zhang and Siegmund 2007).
pub const PRICE: f64 = 5.0;
/// Fewest values in a stretch.
pub const STRETCH_MIN: usize = 8;
/// Most values: the search grows with their square.
pub const VALUES_MAX: usize = 2000;
/// Below this p of what is left the lines explain nothing.
const EXPLAINED: f64 = 0.001;
/// Lags looked at in what is left.
const LAGS: usize = 20;
const PHI_MAX: f64 = 0.98;

/// One break.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Break {
    /// index of the first value of the new stretch
    pub at: usize,
    /// what it gains: n ln(squares without / squares with)
    pub gain: f64,
    /// line after less line before, at the break, unit of the values
    pub jump: f64,
    /// slopes of the lines before and after, per value
    pub slopes: (f64, f64),
}

/// Lines with AR(1) noise.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaks {
    /// breaks in order; empty when nothing is explained
    pub breaks: Vec<Break>,
    /// lag-1 autocorrelation about the lines, less its bias
    pub phi: f64,
    /// what the lines and the memory leave is independent (Ljung–Box, 20 lags, p ≥ 0.001)
    pub explained: bool,
}

/// Breaks by halving: the split with the least squares about two lines stays if it gains more than `PRICE · ln n`.
///
/// Squares are those after Prais and Winsten's transformation with the memory estimated about the lines at hand, so that
/// memory and breaks do not explain each other away. No break in fewer than two stretches of [`STRETCH_MIN`].
///
/// # Errors
/// `Infinite`, `NotANumber`, `Empty`; `OutOfRange` above [`VALUES_MAX`].
///
/// # Source
/// Perron and Yabu 2009 for the model; Prais and Winsten 1954; Chakar et al. 2017 for segmentation with AR(1) noise.
pub fn breaks(x: &[f64]) -> Result<Breaks, StatsError> {
    check_finite(x)?;
    if VALUES_MAX < x.len() {
        return Err(StatsError::OutOfRange {
            what: "number of values for a search for breaks",
            range: "at most 2000: take the newest",
            got: x.len() as f64,
        });
    }
    let mut found = Vec::new();
    halve(x, 0, PRICE * (x.len() as f64).ln(), &mut found);
    let mut rest = Vec::with_capacity(x.len());
    let mut start = 0;
    for end in found.iter().map(|b| b.at).chain([x.len()]) {
        Line::of(&x[start..end]).residuals(&x[start..end], &mut rest);
        start = end;
    }
    let phi = memory(&rest, 2.0 * (found.len() + 1) as f64);
    let innovations: Vec<f64> = rest.windows(2).map(|w| w[1] - phi * w[0]).collect();
    let lags = LAGS.min(innovations.len() / 4);
    let explained = lags == 0 || ljung_box(&innovations, lags).map_or(true, |(_, p)| EXPLAINED <= p);
    if !explained {
        found.clear();
    }
    Ok(Breaks { breaks: found, phi, explained })
}

fn halve(x: &[f64], offset: usize, price: f64, found: &mut Vec<Break>) {
    if x.len() < 2 * STRETCH_MIN {
        return;
    }
    let mut rest = Vec::with_capacity(x.len());
    let whole = Line::of(x);
    whole.residuals(x, &mut rest);
    let without = whitened_squares(x, memory(&rest, 2.0));
    let scale: f64 = x.iter().map(|v| v * v).sum();
    if without <= 1e-20 * scale {
        // a line to the last digit: what is left is rounding
        return;
    }
    let (mut at, mut with) = (0, f64::INFINITY);
    for k in STRETCH_MIN..=x.len() - STRETCH_MIN {
        let (before, after) = x.split_at(k);
        rest.clear();
        Line::of(before).residuals(before, &mut rest);
        Line::of(after).residuals(after, &mut rest);
        let phi = memory(&rest, 4.0);
        let squares = whitened_squares(before, phi) + whitened_squares(after, phi);
        if squares < with {
            (at, with) = (k, squares);
        }
    }
    let gain = x.len() as f64 * (without / with.max(1e-12 * without)).ln();
    if gain <= price {
        return;
    }
    let (before, after) = x.split_at(at);
    let (left, right) = (Line::of(before), Line::of(after));
    halve(before, offset, price, found);
    found.push(Break {
        at: offset + at,
        gain,
        jump: right.at(0.0) - left.at(before.len() as f64),
        slopes: (left.slope, right.slope),
    });
    halve(after, offset + at, price, found);
}

/// Least squares over 0, 1, 2, …
struct Line {
    centre: f64,
    mean: f64,
    slope: f64,
}

impl Line {
    fn of(x: &[f64]) -> Self {
        let n = x.len() as f64;
        let centre = 0.5 * (n - 1.0);
        let mean = x.iter().sum::<f64>() / n;
        let (mut sxy, mut sxx) = (0.0, 0.0);
        for (i, v) in x.iter().enumerate() {
            let t = i as f64 - centre;
            sxy += t * (v - mean);
            sxx += t * t;
        }
        Self { centre, mean, slope: if 0.0 < sxx { sxy / sxx } else { 0.0 } }
    }

    fn at(&self, t: f64) -> f64 {
        self.mean + self.slope * (t - self.centre)
    }

    fn residuals(&self, x: &[f64], out: &mut Vec<f64>) {
        out.extend(x.iter().enumerate().map(|(i, v)| v - self.at(i as f64)));
    }
}

/// Lag-1 autocorrelation of residuals about `coefficients` estimated ones, less its bias, in 0 to [`PHI_MAX`].
fn memory(rest: &[f64], coefficients: f64) -> f64 {
    let squares: f64 = rest.iter().map(|r| r * r).sum();
    if squares <= 0.0 {
        return 0.0;
    }
    let n = rest.len() as f64;
    let phi = rest.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / squares;
    ((n * phi + coefficients) / (n - 2.0 - coefficients).max(1.0)).clamp(0.0, PHI_MAX)
}

/// Squares about the best line after `x_t − φ x_(t−1)`, the first value weighted by √(1 − φ²).
fn whitened_squares(x: &[f64], phi: f64) -> f64 {
    let first = (1.0 - phi * phi).sqrt();
    let origin = x[0];
    let row = |i: usize| {
        let v = x[i] - origin;
        if i == 0 {
            (first, 0.0, first * v)
        } else {
            (1.0 - phi, i as f64 - phi * (i as f64 - 1.0), v - phi * (x[i - 1] - origin))
        }
    };
    let (mut uu, mut uv, mut vv, mut uy, mut vy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for i in 0..x.len() {
        let (u, v, y) = row(i);
        uu += u * u;
        uv += u * v;
        vv += v * v;
        uy += u * y;
        vy += v * y;
    }
    let determinant = uu * vv - uv * uv;
    let (level, slope) = if determinant <= 1e-12 * uu * vv {
        (uy / uu, 0.0)
    } else {
        ((uy * vv - uv * vy) / determinant, (uu * vy - uv * uy) / determinant)
    };
    (0..x.len())
        .map(|i| {
            let (u, v, y) = row(i);
            (y - level * u - slope * v).powi(2)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    fn wandering(phi: f64, n: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut at = 0.0;
        (0..n)
            .map(|_| {
                let fresh: f64 = StandardNormal.sample(&mut rng);
                at = phi * at + fresh;
                at
            })
            .collect()
    }

    #[test]
    fn a_wandering_series_seldom_breaks() {
        let broken =
            (0..200).filter(|s| !breaks(&wandering(0.9, 100, *s)).unwrap().breaks.is_empty()).count();
        assert!(broken <= 12, "{broken} of 200");
    }

    #[test]
    fn a_bend_and_a_jump_are_found() {
        let bend: Vec<f64> = wandering(0.3, 100, 4)
            .iter()
            .enumerate()
            .map(|(i, e)| 0.3 * e + if i < 60 { 0.0 } else { 0.5 * (i as f64 - 60.0) })
            .collect();
        let found = breaks(&bend).unwrap();
        assert!(
            found.explained && found.breaks.len() == 1 && found.breaks[0].at.abs_diff(60) <= 3,
            "{found:?}"
        );
        assert!((found.breaks[0].slopes.1 - 0.5).abs() < 0.05, "{found:?}");
        let jump: Vec<f64> = wandering(0.5, 80, 5)
            .iter()
            .enumerate()
            .map(|(i, e)| 0.2 * e + 0.1 * i as f64 + if i < 40 { 0.0 } else { 4.0 })
            .collect();
        let found = breaks(&jump).unwrap();
        assert!(found.breaks.len() == 1 && found.breaks[0].at == 40, "{found:?}");
        assert!((found.breaks[0].jump - 4.0).abs() < 0.6, "{found:?}");
    }

    #[test]
    fn lines_seasons_and_constants_break_nowhere() {
        let line: Vec<f64> = (0..60).map(|i| 3.0 + 0.1 * f64::from(i)).collect();
        assert!(breaks(&line).unwrap().breaks.is_empty());
        assert!(breaks(&[5.0; 60]).unwrap().breaks.is_empty());
        let season: Vec<f64> =
            (0..240).map(|i| (f64::from(i) * std::f64::consts::TAU / 12.0).sin()).collect();
        let found = breaks(&season).unwrap();
        assert!(!found.explained && found.breaks.is_empty());
        assert!(breaks(&vec![0.0; 2001]).is_err());
    }
}
