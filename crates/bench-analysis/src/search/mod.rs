//! The highest rate that holds an objective: bracket, narrow, confirm, each step by an anytime-valid interval.
//!
//! A fixed number of requests per rate and "did it hold?" reports a rate that violates the objective in about half of all
//! searches (`tests/it/capacity_search.rs` shows it). Here a step passes when the lower limit of the share of good requests
//! lies above target − margin, fails when the upper limit lies below the target, and is no answer otherwise; the error
//! probability is divided over all steps declared beforehand, and the answer is asked once more with fresh requests.
//!
//! It sends nothing and reads no clock: the runner drives it through [`SearchPolicy`].

mod options;
mod step;

use llms_core::bench::policy::{
    Certified, Look, NotCertified, Probe, ProbePurpose, SearchFailure, SearchPolicy, SearchStep, StepEnd,
    StepReport, StepVerdict,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub use options::{CapacityOptions, GROWTH};
use step::Step;

/// Attempts to confirm, the first included.
const CONFIRMATIONS: u32 = 3;

/// Capacity search: grow × 1.5 to a bracket, narrow it in random order, confirm with a fresh step of full length.
///
/// The answer is an interval: the certified rate, and the lowest rate that failed.
#[derive(Debug)]
pub struct CapacitySearch {
    options: CapacityOptions,
    /// confidence of one step: 1 − α over the number of steps declared
    step_confidence: f64,
    rng: ChaCha8Rng,
    current: Option<Step>,
    reports: Vec<StepReport>,
    finished: Option<SearchStep>,
    /// rates that passed and have not been refuted since, rising
    passed: Vec<f64>,
    /// lowest rate above all of these that did not pass
    open: Option<f64>,
    /// lowest rate that failed
    failed: Option<f64>,
    /// the bracket is closed
    narrowing: bool,
    narrow_left: u32,
    confirm_left: u32,
}

impl CapacitySearch {
    /// A search; nothing is drawn or decided yet.
    ///
    /// # Errors
    /// What is wrong with the options, and which value would do.
    pub fn new(options: CapacityOptions) -> Result<Self, crate::stats::StatsError> {
        options.check(CONFIRMATIONS)?;
        Ok(Self {
            step_confidence: options.step_confidence(CONFIRMATIONS),
            rng: ChaCha8Rng::seed_from_u64(options.seed),
            current: None,
            reports: Vec::new(),
            finished: None,
            passed: Vec::new(),
            open: None,
            failed: None,
            narrowing: false,
            narrow_left: options.narrow_steps(),
            confirm_left: CONFIRMATIONS,
            options,
        })
    }

    /// Confidence of one step.
    pub fn step_confidence(&self) -> f64 {
        self.step_confidence
    }

    fn decide(&mut self) -> SearchStep {
        if let Some(confirmed) = self.confirmed() {
            return confirmed;
        }
        let Some(last) = self.reports.last().map(|r| (r.probe.rate, r.verdict, r.ended)) else {
            return self.probe(self.options.rate_start, ProbePurpose::Bracket);
        };
        if !self.narrowing {
            match self.bracket(last) {
                Some(step) => return step,
                None => self.narrowing = true,
            }
        }
        let low = *self.passed.last().expect("invariant: a closed bracket has a rate that passed");
        // the last attempt to confirm goes to a rate that is safer than the sharpest one
        if let Some(open) = self.open
            && 0 < self.narrow_left
            && 1 < self.confirm_left
            && self.options.resolution < open / low - 1.0
        {
            self.narrow_left -= 1;
            // any rate of the middle half, evenly on the log scale: a drift of the server cannot follow the order
            let at: f64 = self.rng.random_range(0.25..0.75);
            return self.probe(low * (open / low).powf(at), ProbePurpose::Narrow);
        }
        if self.confirm_left == 0 {
            return not_certified(SearchFailure::NotConfirmed { rate: low }, self.failed);
        }
        self.confirm_left -= 1;
        self.probe(low, ProbePurpose::Confirm)
    }

    /// The answer, when the last step confirmed it; the end, when nothing is left to confirm.
    fn confirmed(&self) -> Option<SearchStep> {
        let last = self.reports.last().filter(|r| r.probe.purpose == ProbePurpose::Confirm)?;
        if last.verdict == StepVerdict::Pass {
            return Some(SearchStep::Certified(Certified {
                low: last.probe.rate,
                high: self.failed,
                confidence: self.options.confidence,
            }));
        }
        let nothing_left = self.passed.is_empty() || self.confirm_left == 0;
        nothing_left
            .then(|| not_certified(SearchFailure::NotConfirmed { rate: last.probe.rate }, self.failed))
    }

    /// The next step towards a rate that passes below one that does not; `None` when there is one, or no need.
    fn bracket(&mut self, (rate, verdict, ended): (f64, StepVerdict, Option<StepEnd>)) -> Option<SearchStep> {
        let o = &self.options;
        if self.passed.is_empty() {
            if rate <= o.rate_min {
                let reason = match verdict {
                    StepVerdict::Fail => SearchFailure::LowestRateFailed { rate },
                    _ => SearchFailure::LowestRateUndecided { rate },
                };
                return Some(not_certified(reason, self.failed));
            }
            return Some(self.probe((rate / GROWTH).max(o.rate_min), ProbePurpose::Bracket));
        }
        // an undecided step closes the bracket for the answer, but the interval wants a rate that failed
        let downwards = rate < self.options.rate_start;
        let can_grow = rate < o.rate_max && ended != Some(StepEnd::RateNotReached);
        if downwards || self.failed.is_some() || !can_grow {
            return None;
        }
        Some(self.probe((rate * GROWTH).min(o.rate_max), ProbePurpose::Bracket))
    }

    /// Gives up rates near one that was not confirmed, more of them each time: the sharpest of many that passed once has
    /// passed by luck more often than not. A second plain failure means that the server has changed: back to the lowest.
    fn step_back(&mut self, rate: f64, verdict: StepVerdict) {
        let attempt = CONFIRMATIONS - self.confirm_left;
        let Some(lowest) = self.passed.first().copied() else { return };
        let near = if attempt == 1 { 1.0 } else { 4.0 };
        let safe = if 1 < attempt && verdict == StepVerdict::Fail {
            lowest
        } else {
            (rate / (1.0 + near * self.options.resolution)).max(lowest)
        };
        self.passed.retain(|low| *low <= safe);
    }

    fn probe(&mut self, rate: f64, purpose: ProbePurpose) -> SearchStep {
        let probe = Probe {
            step: self.reports.len() as u32 + 1,
            rate,
            requests_max: self.options.requests_max,
            purpose,
            recover_first: self.reports.last().is_some_and(|r| r.verdict != StepVerdict::Pass),
        };
        self.current = Some(Step::new(probe, &self.options, self.step_confidence));
        SearchStep::Probe(probe)
    }

    fn close(&mut self, ended: Option<StepEnd>) {
        let Some(step) = self.current.take() else { return };
        let report = step.report(ended);
        let rate = report.probe.rate;
        match report.verdict {
            StepVerdict::Pass => {
                if self.passed.last().is_none_or(|low| *low < rate) {
                    self.passed.push(rate);
                }
                // an undecided rate below one that passes is no bound any more
                if self.open.is_some_and(|open| open <= rate) {
                    self.open = self.failed.filter(|failed| rate < *failed);
                }
            }
            StepVerdict::Fail | StepVerdict::Undecided => {
                // what passed once and does not pass now is not certified any more
                self.passed.retain(|low| *low < rate);
                self.open = Some(self.open.map_or(rate, |open| open.min(rate)));
                if report.probe.purpose == ProbePurpose::Confirm {
                    self.step_back(rate, report.verdict);
                }
                if report.verdict == StepVerdict::Fail {
                    self.failed = Some(self.failed.map_or(rate, |failed| failed.min(rate)));
                }
            }
        }
        self.reports.push(report);
        if ended == Some(StepEnd::Interrupted) {
            self.finished = Some(not_certified(SearchFailure::Interrupted, self.failed));
        }
    }
}

fn not_certified(reason: SearchFailure, high: Option<f64>) -> SearchStep {
    SearchStep::NotCertified(NotCertified { reason, high })
}

impl SearchPolicy for CapacitySearch {
    fn next(&mut self) -> SearchStep {
        if let Some(finished) = &self.finished {
            return finished.clone();
        }
        if let Some(step) = &self.current {
            return SearchStep::Probe(step.probe);
        }
        let next = self.decide();
        if !matches!(next, SearchStep::Probe(_)) {
            self.finished = Some(next.clone());
        }
        next
    }

    fn observe(&mut self, good: bool) -> Look {
        let Some(step) = &mut self.current else { return Look::EndStep };
        let look = step.observe(good);
        if look == Look::EndStep {
            self.close(None);
        }
        look
    }

    fn end_step(&mut self, end: StepEnd) {
        if self.current.is_some() {
            self.close(Some(end));
        } else if end == StepEnd::Interrupted && self.finished.is_none() {
            self.finished = Some(not_certified(SearchFailure::Interrupted, self.failed));
        }
    }

    fn steps(&self) -> &[StepReport] {
        &self.reports
    }
}
