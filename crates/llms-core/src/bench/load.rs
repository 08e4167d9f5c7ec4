//! How load is put on a service.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{metric::Origin, rate::RatePiece, trace::Trace};
use crate::config::ConfigErrors;

/// Least and greatest [`Arrivals::Gamma`] burstiness: beyond, arrivals are one heap or a metronome.
const BURSTINESS: std::ops::RangeInclusive<f64> = 0.01..=1000.0;

/// The law of arrivals under open loop. Drawn before the run from a seed, never rescaled to hit a count.
///
/// Each law is a renewal process of unit rate; the rate over time stretches it (see
/// [`Load::Open`]), so a ramp changes how fast arrivals come and never their law.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Equal gaps of `1/rate`.
    Constant,
    /// Exponential gaps, `-ln(U)/rate`.
    #[default]
    Poisson,
    /// Gamma-distributed gaps of shape `burstiness` and mean `1/rate`.
    Gamma {
        /// Shape k, 0.01–1000: the squared coefficient of variation of the gaps is `1/k`. 1 is Poisson, below 1
        /// arrivals come in bursts, above 1 they even out. The same number as vLLM's `--burstiness`.
        burstiness: f64,
    },
}

/// Fields with their default are not written: a scenario that does not use them keeps its hash.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The law of a user's pauses; their mean is given beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkLaw {
    /// Every pause is the mean.
    #[default]
    Constant,
    /// Exponential, `-ln(U) · mean`: users who do not think in step.
    Exponential,
}

/// Who decides when the next request is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", deny_unknown_fields)]
pub enum Load {
    /// Closed loop: users who wait for their answer before they ask again. With several targets each user asks
    /// every target in turn, in a seeded random order, so that `concurrency` is the number of requests in
    /// flight over all targets.
    Closed {
        /// Number of users, 1–10000.
        concurrency: u32,
        /// Mean pause of a user between answer and next request.
        #[serde(default, with = "super::duration")]
        think_time: Duration,
        /// The law of these pauses.
        #[serde(default, skip_serializing_if = "is_default")]
        think_law: ThinkLaw,
        /// Users join one by one over this time before the measured window, which begins when all are there.
        /// Requests scheduled before are [`RampUp`](super::RunPhase::RampUp) and in no statistic.
        #[serde(default, with = "super::duration", skip_serializing_if = "is_default")]
        ramp_up: Duration,
    },
    /// Open loop: arrivals follow a schedule regardless of completions. Each target sees the whole rate.
    ///
    /// Over time the rate is: the ramp-up (from 0 to the first rate, before the window and on top of its
    /// duration), then the pieces of `profile`, then `rate` for the rest.
    Open {
        /// Requests per second for each target wherever no piece of `profile` says otherwise. Above 0; may be
        /// left out (0: nothing comes after the last piece) when there is a profile.
        #[serde(default)]
        rate: f64,
        /// The law of arrivals.
        #[serde(default)]
        arrivals: Arrivals,
        /// Cap on requests in flight per target; arrivals above it wait, and their wait is part of the response
        /// time. `None`: no cap.
        #[serde(default)]
        max_concurrency: Option<u32>,
        /// The rate rises linearly from 0 over this time before the measured window begins. Requests scheduled
        /// before are [`RampUp`](super::RunPhase::RampUp) and in no statistic.
        #[serde(default, with = "super::duration", skip_serializing_if = "is_default")]
        ramp_up: Duration,
        /// Rates from the start of the window on, one piece after another: steps, bursts, ramps.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        profile: Vec<RatePiece>,
        /// Play recorded arrivals instead: prompts and answer lengths come with them, and there is no rate, no law, no
        /// ramp-up and no profile.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<Trace>,
    },
}

impl Default for Load {
    fn default() -> Self {
        Self::closed(1)
    }
}

impl Load {
    /// Closed loop without think time.
    pub fn closed(concurrency: u32) -> Self {
        Self::Closed {
            concurrency,
            think_time: Duration::ZERO,
            think_law: ThinkLaw::Constant,
            ramp_up: Duration::ZERO,
        }
    }

    /// Poisson arrivals without a cap.
    pub fn poisson(rate: f64) -> Self {
        Self::open(rate, Arrivals::Poisson)
    }

    /// Arrivals of that law at a steady rate, without a cap.
    pub fn open(rate: f64, arrivals: Arrivals) -> Self {
        Self::Open {
            rate,
            arrivals,
            max_concurrency: None,
            ramp_up: Duration::ZERO,
            profile: Vec::new(),
            trace: None,
        }
    }

    /// Recorded arrivals, without a cap.
    pub fn replay(recorded: Trace) -> Self {
        let mut load = Self::open(0.0, Arrivals::default());
        if let Self::Open { trace, .. } = &mut load {
            *trace = Some(recorded);
        }
        load
    }

    /// The same with at most `cap` requests in flight per target; a closed loop has its users and stays as it is.
    pub fn capped(mut self, cap: impl Into<Option<u32>>) -> Self {
        if let Self::Open { max_concurrency, .. } = &mut self {
            *max_concurrency = cap.into();
        }
        self
    }

    /// The same with a ramp-up before the window.
    pub fn ramped(mut self, over: Duration) -> Self {
        match &mut self {
            Self::Open { ramp_up, .. } | Self::Closed { ramp_up, .. } => *ramp_up = over,
        }
        self
    }

    /// The same with pauses of this mean and law; under open loop there is nobody who pauses.
    pub fn thinking(mut self, mean: Duration, law: ThinkLaw) -> Self {
        if let Self::Closed { think_time, think_law, .. } = &mut self {
            (*think_time, *think_law) = (mean, law);
        }
        self
    }

    /// The same with these rates at the beginning of the window; under closed loop there is no rate.
    pub fn shaped(mut self, pieces: impl IntoIterator<Item = RatePiece>) -> Self {
        if let Self::Open { profile, .. } = &mut self {
            *profile = pieces.into_iter().collect();
        }
        self
    }

    /// The recorded arrivals to play, if any.
    pub fn trace(&self) -> Option<&Trace> {
        match self {
            Self::Open { trace, .. } => trace.as_ref(),
            Self::Closed { .. } => None,
        }
    }

    /// The same, to be read or changed.
    pub fn trace_mut(&mut self) -> Option<&mut Trace> {
        match self {
            Self::Open { trace, .. } => trace.as_mut(),
            Self::Closed { .. } => None,
        }
    }

    /// Length of the ramp-up before the window.
    pub fn ramp_up(&self) -> Duration {
        match self {
            Self::Open { ramp_up, .. } | Self::Closed { ramp_up, .. } => *ramp_up,
        }
    }

    /// Length of the profile's pieces together: how long the window is when nothing else says. `None` without one.
    pub fn profile_length(&self) -> Option<Duration> {
        match self {
            Self::Open { profile, .. } if !profile.is_empty() => {
                Some(profile.iter().fold(Duration::ZERO, |sum, p| sum.saturating_add(p.duration)))
            }
            _ => None,
        }
    }

    /// Where a bare latency starts under this load: response time (from `scheduled`) under open loop, service
    /// time (from `sent`) under closed loop.
    pub fn headline_origin(&self) -> Origin {
        match self {
            Self::Closed { .. } => Origin::Service,
            Self::Open { .. } => Origin::Response,
        }
    }

    /// Expected arrivals of a target in the first `seconds` of the window (infinite: without end); a piece of the
    /// profile that the end cuts counts in full. 0 under closed loop.
    pub fn window_arrivals(&self, seconds: f64) -> f64 {
        let Self::Open { rate, profile, trace, .. } = self else { return 0.0 };
        if let Some(trace) = trace {
            return trace.requests.get().map_or(0.0, |r| r.len() as f64);
        }
        let (mut left, mut sum) = (seconds, 0.0);
        for piece in profile {
            sum += piece.arrivals();
            left -= piece.duration.as_secs_f64();
            if left <= 0.0 {
                return sum;
            }
        }
        if *rate > 0.0 { sum + rate * left } else { sum }
    }

    /// Expected arrivals of a target during the ramp-up; 0 under closed loop.
    pub fn ramp_up_arrivals(&self) -> f64 {
        let Self::Open { rate, ramp_up, profile, .. } = self else { return 0.0 };
        profile.first().map_or(*rate, |p| p.from) * ramp_up.as_secs_f64() / 2.0
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        match self {
            Self::Closed { concurrency, .. } => {
                errors.check(
                    (1..=10_000).contains(concurrency),
                    "concurrency",
                    "expected 1 to 10000 users",
                    concurrency,
                );
            }
            Self::Open { rate, arrivals, max_concurrency, ramp_up, profile, trace } => {
                if let Some(trace) = trace {
                    errors.nest("trace", trace.validate());
                    let alone = *rate == 0.0 && profile.is_empty() && ramp_up.is_zero();
                    errors.check(
                        alone && *arrivals == Arrivals::default(),
                        "trace",
                        "expected no rate, arrivals, ramp_up or profile beside it: a trace says when requests come",
                        &trace.file,
                    );
                }
                let enough = if profile.is_empty() && trace.is_none() { *rate > 0.0 } else { *rate >= 0.0 };
                errors.check(
                    rate.is_finite() && enough,
                    "rate",
                    "expected requests per second above 0",
                    rate,
                );
                if let Arrivals::Gamma { burstiness } = arrivals {
                    errors.check(
                        BURSTINESS.contains(burstiness),
                        "arrivals.gamma.burstiness",
                        "expected a shape from 0.01 to 1000",
                        burstiness,
                    );
                }
                if let Some(cap) = max_concurrency {
                    errors.check(
                        (1..=1_000_000).contains(cap),
                        "max_concurrency",
                        "expected 1 to 1000000",
                        cap,
                    );
                }
                for (i, piece) in profile.iter().enumerate() {
                    errors.nest(&format!("profile[{i}]"), piece.validate());
                }
                let no_rate = *rate == 0.0 && profile.iter().all(|p| p.arrivals() == 0.0);
                if !profile.is_empty() && no_rate {
                    errors.push("profile", "expected a rate above 0 somewhere", "0 everywhere");
                }
                if !ramp_up.is_zero() && profile.first().is_some_and(|p| p.from == 0.0) {
                    errors.push(
                        "ramp_up",
                        "expected a first rate above 0 to rise to; a profile that begins at 0 needs no ramp-up",
                        ramp_up.as_secs_f64(),
                    );
                }
            }
        }
        errors.into_result()
    }
}
