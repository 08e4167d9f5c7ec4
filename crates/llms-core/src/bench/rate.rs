//! Rates that change over time, as data: the pieces of an open-loop rate profile.
//!
//! A profile is a list of pieces one after another. Steps, bursts, pauses and ramps are all pieces; what follows the
//! last one is the steady rate of the load. How arrivals follow it is the runner's business.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::duration;
use crate::config::ConfigErrors;

/// How a rate goes from one value to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// By equal amounts in equal times.
    #[default]
    Linear,
    /// By equal factors in equal times; both rates above 0.
    Exponential,
}

/// A stretch of time with a rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatePiece {
    /// How long.
    #[serde(with = "duration")]
    pub duration: Duration,
    /// Requests per second at its beginning; 0 is a pause.
    pub from: f64,
    /// Requests per second at its end; `from` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
    /// How it gets there.
    #[serde(default)]
    pub curve: Curve,
}

impl RatePiece {
    /// One rate for a while.
    pub fn step(duration: Duration, rate: f64) -> Self {
        Self { duration, from: rate, to: None, curve: Curve::Linear }
    }

    /// From one rate to another.
    pub fn ramp(duration: Duration, from: f64, to: f64, curve: Curve) -> Self {
        Self { duration, from, to: Some(to), curve }
    }

    /// The rate at its end, requests per second.
    pub fn end_rate(&self) -> f64 {
        self.to.unwrap_or(self.from)
    }

    /// Expected arrivals in the whole piece: the integral of its rate.
    ///
    /// Linear: `d (from + to) / 2`; exponential: `d (to − from) / ln(to / from)`, the logarithmic mean.
    pub fn arrivals(&self) -> f64 {
        let (d, from, to) = (self.duration.as_secs_f64(), self.from, self.end_rate());
        match self.curve {
            Curve::Exponential if from != to => d * (to - from) / (to / from).ln(),
            _ => d * f64::midpoint(from, to),
        }
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        errors.check(!self.duration.is_zero(), "duration", "expected a duration above 0 s", "0 s");
        let fits = |rate: f64| {
            rate.is_finite() && if self.curve == Curve::Exponential { rate > 0.0 } else { rate >= 0.0 }
        };
        let expected = match self.curve {
            Curve::Linear => "expected requests per second, 0 or more",
            Curve::Exponential => "expected requests per second above 0, as an exponential never gets to 0",
        };
        errors.check(fits(self.from), "from", expected, self.from);
        errors.check(fits(self.end_rate()), "to", expected, self.end_rate());
        errors.into_result()
    }
}

/// Reads a whole profile: pieces separated by commas, `30s:5,1m:5->50,10s:0`.
///
/// # Errors
/// The piece that is wrong, and what was expected.
pub fn parse_profile(text: &str) -> Result<Vec<RatePiece>, String> {
    let pieces: Vec<RatePiece> = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
    for piece in &pieces {
        piece.validate().map_err(|e| format!("`{piece}`: {e}"))?;
    }
    Ok(pieces)
}

/// As [`RatePiece::from_str`] reads it.
impl fmt::Display for RatePiece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s:{}", self.duration.as_secs_f64(), self.from)?;
        match (self.to, self.curve) {
            (None, _) => Ok(()),
            (Some(to), Curve::Linear) => write!(f, "->{to}"),
            (Some(to), Curve::Exponential) => write!(f, "=>{to}"),
        }
    }
}

/// `30s:5` (a step), `1m:5->50` (a ramp) or `1m:5=>50` (an exponential one), as command lines give it.
impl FromStr for RatePiece {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            // What is left of an arrow when the shell took its head.
            let hint =
                if text.ends_with(['-', '=']) { "; quote it, or the shell takes `>` for itself" } else { "" };
            format!(
                "expected a piece such as 30s:5, 1m:5->50 (linear) or 1m:5=>50 (exponential), found `{text}`{hint}"
            )
        };
        let (length, rates) = text.split_once(':').ok_or_else(wrong)?;
        let number = |n: &str| n.trim().parse::<f64>().map_err(|_| wrong());
        let duration = duration::parse(length)?;
        if let Some((from, to)) = rates.split_once("=>") {
            Ok(Self::ramp(duration, number(from)?, number(to)?, Curve::Exponential))
        } else if let Some((from, to)) = rates.split_once("->") {
            Ok(Self::ramp(duration, number(from)?, number(to)?, Curve::Linear))
        } else {
            Ok(Self::step(duration, number(rates)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        let s = Duration::from_secs;
        for (text, piece) in [
            ("30s:5", RatePiece::step(s(30), 5.0)),
            ("1m:0->2.5", RatePiece::ramp(s(60), 0.0, 2.5, Curve::Linear)),
            ("60 : 5 => 50", RatePiece::ramp(s(60), 5.0, 50.0, Curve::Exponential)),
        ] {
            assert_eq!(text.parse(), Ok(piece), "{text}");
        }
        for text in ["", "5", "30s", "30s:", "x:5", "30s:5->", "30s:a=>b", "10@30s", "30s:5-50"] {
            assert!(text.parse::<RatePiece>().is_err(), "{text}");
        }
        assert!("1m:5-".parse::<RatePiece>().unwrap_err().contains("quote it"));
    }

    #[test]
    fn profiles_are_pieces_with_commas_and_read_back_as_written() {
        let text = "30s:10, 1m:10->40,10s:0,2m:40=>5";
        let pieces = parse_profile(text).unwrap();
        let written: Vec<String> = pieces.iter().map(ToString::to_string).collect();
        assert_eq!(written.join(","), "30s:10,60s:10->40,10s:0,120s:40=>5");
        assert_eq!(parse_profile(&written.join(",")).unwrap(), pieces);
        for (wrong, says) in [
            ("", "such as 30s:5"),
            ("30s:10,", "such as 30s:5"),
            ("0s:5", "`0s:5`: duration: expected"),
            ("30s:-5", "requests per second"),
            ("1s:5=>0", "an exponential never gets to 0"),
        ] {
            assert!(parse_profile(wrong).unwrap_err().contains(says), "{wrong}");
        }
    }

    #[test]
    fn arrivals_are_the_integral_of_the_rate() {
        let s = Duration::from_secs;
        for (piece, expected) in [
            (RatePiece::step(s(10), 3.0), 30.0),
            (RatePiece::ramp(s(10), 0.0, 4.0, Curve::Linear), 20.0),
            (RatePiece::ramp(s(10), 1.0, std::f64::consts::E, Curve::Exponential), 17.182_818_284_590_45),
            (RatePiece::ramp(s(10), 2.0, 2.0, Curve::Exponential), 20.0),
        ] {
            assert!((piece.arrivals() - expected).abs() < 1e-12, "{piece:?}");
        }
    }
}
