//! The cumulative rate Λ of an open-loop plan and its inverse.
//!
//! Arrivals are the points of a renewal process of unit rate, put through Λ⁻¹: so any law of arrivals follows any rate
//! over time, exactly and without thinning, and the points in between (the stagger of several targets) are mapped the
//! same way (Çinlar 1975; Lewis and Shedler 1979 for Poisson). Pure numbers: seconds of the plan, whose 0 is where the
//! ramp-up begins.

use std::time::Duration;

use llms_core::bench::{Curve, RatePiece};

#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    /// Seconds of the plan.
    start: f64,
    length: f64,
    from: f64,
    to: f64,
    curve: Curve,
    /// Λ at its start.
    before: f64,
    /// Λ at its end.
    after: f64,
}

/// A rate over time; see the module.
#[derive(Clone, Debug, PartialEq)]
pub struct RateProfile {
    pieces: Vec<Piece>,
    /// The rate for ever after the pieces, which end at `tail_start` with Λ = `tail_before`.
    tail: f64,
    tail_start: f64,
    tail_before: f64,
}

impl RateProfile {
    /// A linear rise from 0 over `ramp_up` to the first rate, then `pieces`, then `rate` for ever (0: nothing more).
    pub fn new(ramp_up: Duration, pieces: &[RatePiece], rate: f64) -> Self {
        let first = pieces.first().map_or(rate, |p| p.from);
        let rise = (!ramp_up.is_zero()).then(|| RatePiece::ramp(ramp_up, 0.0, first, Curve::Linear));
        let (mut start, mut before) = (0.0, 0.0);
        let pieces: Vec<Piece> = rise
            .iter()
            .chain(pieces)
            .map(|p| {
                let after = before + p.arrivals();
                let length = p.duration.as_secs_f64();
                let (from, to) = (p.from, p.end_rate());
                let piece = Piece { start, length, from, to, curve: p.curve, before, after };
                (start, before) = (start + length, after);
                piece
            })
            .collect();
        Self { pieces, tail: rate, tail_start: start, tail_before: before }
    }

    /// The rate at `t` ≥ 0 seconds; a piece holds its start, not its end.
    pub fn rate(&self, t: f64) -> f64 {
        let Some(p) = self.piece_at(t) else { return self.tail };
        let x = (t - p.start) / p.length;
        match p.curve {
            Curve::Linear => p.from + (p.to - p.from) * x,
            Curve::Exponential => p.from * (p.to / p.from).powf(x),
        }
    }

    /// Λ(t): arrivals expected in the first `t` ≥ 0 seconds.
    pub fn cumulative(&self, t: f64) -> f64 {
        let Some(p) = self.piece_at(t) else { return self.tail_before + self.tail * (t - self.tail_start) };
        let s = t - p.start;
        p.before
            + match p.curve {
                Curve::Exponential if p.from != p.to => {
                    let growth = (p.to / p.from).ln() / p.length;
                    p.from * (growth * s).exp_m1() / growth
                }
                _ => p.from * s + (p.to - p.from) * s * s / (2.0 * p.length),
            }
    }

    /// Λ⁻¹(y) in nanoseconds: the latest moment before which `y` ≥ 0 arrivals are expected, so that what falls on the
    /// border of two pieces, or into a pause, comes with the later one. `None`: never.
    pub fn inverse_ns(&self, y: f64) -> Option<f64> {
        let index = self.pieces.partition_point(|p| p.after <= y);
        let Some(p) = self.pieces.get(index) else {
            let rest = (y - self.tail_before).max(0.0);
            return (self.tail > 0.0).then(|| self.tail_start * 1e9 + rest * 1e9 / self.tail);
        };
        let y = (y - p.before).max(0.0);
        let s = match p.curve {
            Curve::Exponential if p.from != p.to => {
                let growth = (p.to / p.from).ln() / p.length;
                (y * growth / p.from).ln_1p() / growth
            }
            // The root of `from·s + slope·s²/2 = y` in the form that loses no digits when `slope` is small.
            _ if y == 0.0 => 0.0,
            _ => {
                let slope = (p.to - p.from) / p.length;
                2.0 * y / (p.from + (p.from * p.from + 2.0 * y * slope).max(0.0).sqrt())
            }
        };
        Some((p.start + s.clamp(0.0, p.length)) * 1e9)
    }

    fn piece_at(&self, t: f64) -> Option<&Piece> {
        self.pieces.get(self.pieces.partition_point(|p| p.start + p.length <= t))
    }
}
