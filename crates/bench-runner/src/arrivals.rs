//! When blocks of an open-loop plan arrive: a renewal process of unit rate, mapped through the inverse cumulative rate.
//!
//! Points lie in *operational time*, in which one arrival is expected per unit whatever the rate does; [`Law::due`]
//! turns a point into a moment of the plan. Pure, and repeated exactly from its seed.

use std::{sync::Arc, time::Duration};

use llms_core::bench::{Arrivals, Load};

use crate::{
    random::{Purpose, Stream},
    rate::RateProfile,
};

/// How arrivals come, and how several targets share them.
#[derive(Clone, Debug)]
pub(crate) struct Law {
    arrivals: Arrivals,
    profile: Arc<RateProfile>,
    targets: f64,
}

impl Law {
    /// The law of an open loop on `targets` targets; `None` under closed loop.
    pub(crate) fn new(load: &Load, targets: u32) -> Option<Self> {
        let Load::Open { rate, arrivals, ramp_up, profile, .. } = load else { return None };
        let profile = Arc::new(RateProfile::new(*ramp_up, profile, *rate));
        Some(Self { arrivals: *arrivals, profile, targets: f64::from(targets) })
    }

    /// The points of the process, in order, without end.
    pub(crate) fn points(&self, seed: u64) -> Points {
        Points {
            arrivals: self.arrivals,
            next: 0.0,
            first: true,
            gaps: Stream::new(seed, Purpose::Arrivals, 0),
        }
    }

    /// Whether targets keep a fixed phase (and thus a fixed order) within a block.
    pub(crate) fn fixed_order(&self) -> bool {
        !matches!(self.arrivals, Arrivals::Poisson)
    }

    /// When the request at `position` to `target` of the block at `point` is due; `None` when the rate has ended.
    pub(crate) fn due(&self, point: f64, position: u32, target: u32) -> Option<Duration> {
        let phase = f64::from(if self.fixed_order() { target } else { position }) / self.targets;
        self.profile.inverse_ns(point + phase).map(|ns| Duration::from_nanos(ns.round() as u64))
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
