//! One step of a search: counts, limits, verdict.

use llms_core::bench::policy::{Look, Probe, ProbePurpose, StepEnd, StepReport, StepVerdict};

use super::CapacityOptions;
use crate::stats::anytime::{AnytimeProportion, Clumping};

/// A step under way.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) probe: Probe,
    target: f64,
    margin: f64,
    settle: u64,
    seen: u64,
    share: AnytimeProportion,
    clumps: Clumping,
}

impl Step {
    pub(super) fn new(probe: Probe, options: &CapacityOptions, confidence: f64) -> Self {
        Self {
            probe,
            target: options.target,
            margin: options.margin,
            settle: options.settle,
            seen: 0,
            share: AnytimeProportion::new(confidence).expect("invariant: options were checked"),
            clumps: Clumping::default(),
        }
    }

    pub(super) fn observe(&mut self, good: bool) -> Look {
        self.seen += 1;
        if self.settle < self.seen {
            self.share.observe(good);
            self.clumps.observe(good);
        }
        let ends = match self.verdict() {
            StepVerdict::Fail => true,
            // the confirming step is there to see what a short look would have missed
            StepVerdict::Pass => self.probe.purpose != ProbePurpose::Confirm,
            StepVerdict::Undecided => false,
        };
        if ends || self.probe.requests_max <= self.seen { Look::EndStep } else { Look::Continue }
    }

    /// By the limits, counts discounted for bad requests that come in clumps: a queue remembers, and a hundred late
    /// requests in one backlog are not a hundred pieces of evidence.
    fn verdict(&self) -> StepVerdict {
        let worth = self.clumps.worth();
        if self.share.below(self.target, worth) {
            StepVerdict::Fail
        } else if self.share.above(self.target - self.margin, worth) {
            StepVerdict::Pass
        } else {
            StepVerdict::Undecided
        }
    }

    pub(super) fn report(self, ended: Option<StepEnd>) -> StepReport {
        let verdict = match ended {
            // requests that were not offered at the rate say nothing about it
            Some(StepEnd::RateNotReached) => StepVerdict::Undecided,
            _ => self.verdict(),
        };
        let worth = self.clumps.worth();
        let limits = (0 < self.share.trials()).then(|| self.share.interval_discounted(worth));
        StepReport {
            probe: self.probe,
            requests: self.share.trials(),
            good: self.share.hits(),
            low: limits.map(|i| i.low),
            high: limits.map(|i| i.high),
            dependence: worth,
            verdict,
            ended,
        }
    }
}
