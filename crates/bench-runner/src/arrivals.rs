//! When blocks of an open-loop plan arrive: a renewal process of unit rate, mapped through the inverse cumulative rate;
//! or the moments of a recorded trace.
//!
//! Points lie in *operational time*, in which one arrival is expected per unit whatever the rate does; [`Law::due`]
//! turns a point into a moment of the plan. Pure, and repeated exactly from its seed.

use std::{sync::Arc, time::Duration};

use llms_core::bench::{Arrivals, Load, TraceRequest};

use crate::{
    random::{Purpose, Stream},
    rate::RateProfile,
};

/// How arrivals come, and how several targets share them.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    times: Times,
    targets: f64,
}

#[derive(Clone)]
enum Times {
    Drawn { arrivals: Arrivals, profile: Arc<RateProfile> },
    Recorded { requests: Arc<[TraceRequest]>, scale: f64, mean_gap: f64, sha256: Option<String> },
}

impl std::fmt::Debug for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Drawn { arrivals, profile } => write!(f, "{arrivals:?} {profile:?}"),
            Self::Recorded { scale, sha256, .. } => write!(f, "{sha256:?} × {scale}"),
        }
    }
}

impl Law {
    /// The law of an open loop on `targets` targets; `None` under closed loop.
    pub(crate) fn new(load: &Load, targets: u32) -> Option<Self> {
        let Load::Open { rate, arrivals, ramp_up, profile, trace, .. } = load else { return None };
        let times = if let Some(trace) = trace {
            let requests = trace.requests.get().cloned().unwrap_or_default();
            let span = requests.last().map_or(0.0, |r| r.offset.as_nanos() as f64);
            let gaps = requests.len().saturating_sub(1).max(1) as f64;
            let scale = trace.time_scale;
            Times::Recorded { requests, scale, mean_gap: span * scale / gaps, sha256: trace.sha256.clone() }
        } else {
            let profile = Arc::new(RateProfile::new(*ramp_up, profile, *rate));
            Times::Drawn { arrivals: *arrivals, profile }
        };
        Some(Self { times, targets: f64::from(targets) })
    }

    /// Where the plan of a trace ends when nothing else says: a mean gap after its last request.
    pub(crate) fn recorded_end(&self) -> Option<Duration> {
        let Times::Recorded { requests, scale, mean_gap, .. } = &self.times else { return None };
        let last = requests.last().map_or(0.0, |r| r.offset.as_nanos() as f64);
        Some(Duration::from_nanos((last * scale + mean_gap).round() as u64))
    }

    /// The points of the process, in order, without end: the plan ends where one of them is never [due](Self::due).
    pub(crate) fn points(&self, seed: u64) -> Points {
        let arrivals = match self.times {
            Times::Drawn { arrivals, .. } => arrivals,
            // The point of a recorded request is its number.
            Times::Recorded { .. } => Arrivals::Constant,
        };
        Points { arrivals, next: 0.0, first: true, gaps: Stream::new(seed, Purpose::Arrivals, 0) }
    }

    /// Whether targets keep a fixed phase (and thus a fixed order) within a block.
    pub(crate) fn fixed_order(&self) -> bool {
        !matches!(self.times, Times::Drawn { arrivals: Arrivals::Poisson, .. })
    }

    /// When the request at `position` to `target` of the block at `point` is due; `None` when the rate has ended.
    pub(crate) fn due(&self, point: f64, position: u32, target: u32) -> Option<Duration> {
        let phase = f64::from(if self.fixed_order() { target } else { position }) / self.targets;
        let ns = match &self.times {
            Times::Drawn { profile, .. } => profile.inverse_ns(point + phase)?,
            Times::Recorded { requests, scale, mean_gap, .. } => {
                let recorded = requests.get(point as usize)?.offset;
                recorded.as_nanos() as f64 * scale + phase * mean_gap
            }
        };
        Some(Duration::from_nanos(ns.round() as u64))
    }
}

/// See [`Law::points`].
#[derive(Clone)]
pub(crate) struct Points {
    arrivals: Arrivals,
    next: f64,
    first: bool,
    gaps: Stream,
}

impl Iterator for Points {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let first = std::mem::replace(&mut self.first, false);
        match self.arrivals {
            Arrivals::Constant => {
                let point = self.next;
                self.next += 1.0;
                return Some(point);
            }
            Arrivals::Poisson => self.next += self.gaps.exponential(),
            // The plan begins at any moment of a process long under way, so its first gap is what is left of the
            // one it falls into: uniform share of a gap drawn in proportion to its length, Gamma(k + 1). Then
            // counts have the mean Λ from the first instant, however bursty (Cox, Renewal Theory, 1962, ch. 5).
            Arrivals::Gamma { burstiness: k } if first => {
                self.next = self.gaps.unit() * self.gaps.gamma(k + 1.0) / k;
            }
            Arrivals::Gamma { burstiness: k } => self.next += self.gaps.gamma(k) / k,
        }
        Some(self.next)
    }
}
