//! What load control asks of statistics: which rate to probe next, and when there is reason to stop.
//!
//! The runner executes and knows no statistics; `bench-analysis` implements these traits over plain data and knows
//! neither sockets nor clocks; `llms-bench` wires the two. Both traits are object safe and `Send`: a run owns a
//! `Box<dyn SearchPolicy>` or a list of `Box<dyn StopRule>`.
//!
//! How a runner drives a search:
//!
//! ```text
//! loop {
//!     match policy.next() {
//!         SearchStep::Probe(probe) => {
//!             if probe.recover_first { wait until nothing is in flight and the latency is back to its baseline }
//!             send at probe.rate; for each request in the order of *scheduled*, once its outcome is known:
//!                 if policy.observe(good) == Look::EndStep { stop sending; break }
//!             out of time, or the run is interrupted: policy.end_step(StepEnd::TimeLimit)
//!         }
//!         SearchStep::Certified(answer) => …   SearchStep::NotCertified(why) => …
//!     }
//! }
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::record::RequestRecord;

/// Searches the highest rate that holds an objective, one probe after another.
///
/// `next` starts a step; `observe` feeds it, in the order in which its requests were *scheduled* (an order by
/// completion would show the quick ones first and bias every early look); the step ends when `observe` says so, or by
/// `end_step`. What is observed between steps is ignored, so requests still in flight at the end of a step do no harm.
pub trait SearchPolicy: Send + fmt::Debug {
    /// What to do next: at the start, and after each step. While a step is under way, that step again.
    fn next(&mut self) -> SearchStep;

    /// Whether the next request of the step, in the order of *scheduled*, met every objective. Failed, timed-out and
    /// shed requests are not good.
    fn observe(&mut self, good: bool) -> Look;

    /// The step ends for a reason of the runner's; undecided unless the requests seen so far decide it.
    fn end_step(&mut self, end: StepEnd);

    /// Every step so far, in the order they were made: for the report.
    fn steps(&self) -> &[StepReport];
}

/// Whether a finished request met every objective: failed, timed-out and shed ones did not.
///
/// Implemented beside the analysis, so that a search and the report of its run agree on what is good.
pub trait RequestJudge: Send + Sync {
    /// The judgement on one finished request.
    fn is_good(&self, record: &RequestRecord) -> bool;
}

/// What a search wants next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SearchStep {
    /// Send at a rate and observe.
    Probe(Probe),
    /// The search is over with an answer.
    Certified(Certified),
    /// The search is over without one.
    NotCertified(NotCertified),
}

/// One step of a search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Number of the step, from 1.
    pub step: u32,
    /// Requests per second to offer, open loop.
    pub rate: f64,
    /// Most requests the step may take; at that many it ends, decided or not.
    pub requests_max: u64,
    /// Why this rate.
    pub purpose: ProbePurpose,
    /// The step before may have left a backlog: wait until nothing is in flight and the latency is back near its
    /// baseline before sending (hysteresis).
    pub recover_first: bool,
}

/// Why a rate is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbePurpose {
    /// Looks for a rate that holds and one that does not.
    Bracket,
    /// Narrows the gap between the two, in random order.
    Narrow,
    /// Asks the answer once more with fresh requests, at full length.
    Confirm,
}

impl ProbePurpose {
    /// `bracket`, `narrow`, `confirm`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bracket => "bracket",
            Self::Narrow => "narrow",
            Self::Confirm => "confirm",
        }
    }
}

/// Whether a step goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a step that has ended must not send more"]
pub enum Look {
    /// Not decided yet.
    Continue,
    /// Decided, or its requests are used up: stop sending and ask for the next step.
    EndStep,
}

/// Why the runner ended a step that had not ended itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepEnd {
    /// The time for a step is over.
    TimeLimit,
    /// The client could not offer the rate; what was seen says nothing about it.
    RateNotReached,
    /// The run is being stopped: the search ends here, too.
    Interrupted,
}

/// What a step decided about its rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepVerdict {
    /// The lower limit of the share of good requests lies above target − margin.
    Pass,
    /// The upper limit lies below the target.
    Fail,
    /// Neither: never an answer.
    Undecided,
}

impl StepVerdict {
    /// `pass`, `fail`, `undecided`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Undecided => "undecided",
        }
    }
}

/// A step that is over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// What was asked.
    pub probe: Probe,
    /// Requests judged.
    pub requests: u64,
    /// Of these, good.
    pub good: u64,
    /// Lower limit of the share of good requests at the step's confidence; `None` when nothing was judged.
    pub low: Option<f64>,
    /// Upper limit.
    pub high: Option<f64>,
    /// Requests for each independent one: above 1 when bad ones come in clumps; widens the limits.
    pub dependence: f64,
    /// What it decided.
    pub verdict: StepVerdict,
    /// Why it ended early; `None` when it ended itself.
    pub ended: Option<StepEnd>,
}

/// The answer of a search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certified {
    /// Highest rate that passed twice, the second time with fresh requests at full length; requests per second.
    pub low: f64,
    /// Lowest rate that failed; `None` when no rate up to the highest allowed one did.
    pub high: Option<f64>,
    /// Confidence of the whole search: at least this often the rate `low` really holds target − margin.
    pub confidence: f64,
}

/// Why a search has no answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotCertified {
    /// The reason.
    pub reason: SearchFailure,
    /// Lowest rate that failed, when one did; requests per second.
    pub high: Option<f64>,
}

/// Why no rate could be certified.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SearchFailure {
    /// Even the lowest rate allowed did not hold.
    LowestRateFailed {
        /// That rate, requests per second.
        rate: f64,
    },
    /// The lowest rate allowed stayed undecided: allow more requests a step or a wider margin.
    LowestRateUndecided {
        /// That rate, requests per second.
        rate: f64,
    },
    /// Rates passed once, but none passed again with fresh requests.
    NotConfirmed {
        /// The last one tried, requests per second.
        rate: f64,
    },
    /// The run was stopped.
    Interrupted,
}

impl fmt::Display for SearchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowestRateFailed { rate } => {
                write!(
                    f,
                    "the lowest rate, {rate:.3}/s, does not hold; lower --min-rate or relax the objective"
                )
            }
            Self::LowestRateUndecided { rate } => {
                write!(
                    f,
                    "the lowest rate, {rate:.3}/s, stayed undecided; allow more requests a step or a wider margin"
                )
            }
            Self::NotConfirmed { rate } => {
                write!(
                    f,
                    "{rate:.3}/s held once and not again; the server changes, or the margin is too narrow"
                )
            }
            Self::Interrupted => write!(f, "the run was stopped before there was an answer"),
        }
    }
}

/// Watches finished requests and says when there is reason to stop sending.
///
/// Counts, duration and tokens are plain fields of a scenario; what rests on statistics is a rule. A rule keeps bounded
/// memory, and looking at it after each request must not make its claim untrue.
pub trait StopRule: Send + fmt::Debug {
    /// One finished request, in the order they end, with the number of others that are scheduled and not finished
    /// (waiting for a free place included). Once a rule has given a reason it gives the same again.
    fn observe(&mut self, record: &RequestRecord, in_flight: u64) -> Option<StopReason>;
}

/// Why a rule stops a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rule", rename_all = "snake_case")]
pub enum StopReason {
    /// The interval is as narrow as was asked: there is enough.
    Precision(PrecisionStop),
    /// Requests in flight and time to first token both grow: the server cannot keep up with the rate.
    OverSaturated(SaturationStop),
    /// More requests fail than allowed.
    ErrorRate(ErrorRateStop),
}

/// What a precision rule saw at the look that ended the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrecisionStop {
    /// Name in the metric table.
    pub metric: String,
    /// Quantile level.
    pub quantile: f64,
    /// Requests seen.
    pub requests: u64,
    /// The quantile, in the metric's unit.
    pub value: f64,
    /// Lower limit.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
    /// Half the width over the value.
    pub relative: f64,
    /// Which of the declared looks, from 1.
    pub look: u32,
    /// How many were declared; each has its share of the error probability.
    pub looks: u32,
}

/// What the over-saturation rule saw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SaturationStop {
    /// Requests seen.
    pub requests: u64,
    /// Requests in flight gained per second.
    pub in_flight_per_s: f64,
    /// Lower limit of that.
    pub in_flight_per_s_low: f64,
    /// Its one-sided p: the larger of Mann–Kendall's and that of a drift against a random walk.
    pub in_flight_p: f64,
    /// Seconds of time to first token gained per second.
    pub ttft_per_s: f64,
    /// Lower limit of that.
    pub ttft_per_s_low: f64,
    /// Its one-sided p.
    pub ttft_p: f64,
    /// In-flight growth over completions: 0.1 = arrivals exceed completions by 10 %.
    pub excess: f64,
    /// Error probability this look was allowed.
    pub alpha: f64,
}

/// What the error-rate rule saw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRateStop {
    /// Requests seen.
    pub requests: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Lower limit of the failing share, valid however often one looks.
    pub low: f64,
    /// The share allowed.
    pub allowed: f64,
    /// Confidence of the limit.
    pub confidence: f64,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Precision(s) => write!(
                f,
                "{} p{} is known to ±{:.1} % after {} requests (look {} of {})",
                s.metric,
                (s.quantile * 1e5).round() / 1e3,
                s.relative * 100.0,
                s.requests,
                s.look,
                s.looks
            ),
            Self::OverSaturated(s) => write!(
                f,
                "over-saturated: arrivals exceed completions by {:.1} %, time to first token grows by {:.1} ms a \
                 second; lower the rate",
                s.excess * 100.0,
                s.ttft_per_s * 1e3
            ),
            Self::ErrorRate(s) => write!(
                f,
                "{} of {} requests failed: more than the {} % allowed, with confidence {}",
                s.failed,
                s.requests,
                s.allowed * 100.0,
                s.confidence
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object_safe_and_send(_: Option<(Box<dyn SearchPolicy>, Box<dyn StopRule>)>) {}

    #[track_caller]
    fn check<T>(value: &T, tag: (&str, &str))
    where
        T: Serialize + for<'a> Deserialize<'a> + PartialEq + fmt::Debug,
    {
        let json = serde_json::to_value(value).unwrap();
        assert_eq!(json[tag.0], tag.1, "{json}");
        assert_eq!(&serde_json::from_value::<T>(json).unwrap(), value);
    }

    #[test]
    fn steps_and_reasons_are_plain_data() {
        object_safe_and_send(None);
        let probe = Probe {
            step: 1,
            rate: 10.0,
            requests_max: 3000,
            purpose: ProbePurpose::Bracket,
            recover_first: false,
        };
        check(&SearchStep::Probe(probe), ("kind", "probe"));
        check(
            &SearchStep::Certified(Certified { low: 99.0, high: None, confidence: 0.95 }),
            ("kind", "certified"),
        );
        let why = NotCertified { reason: SearchFailure::LowestRateFailed { rate: 1.0 }, high: Some(1.0) };
        check(&SearchStep::NotCertified(why), ("kind", "not_certified"));
        let stop = ErrorRateStop { requests: 9, failed: 9, low: 0.6, allowed: 0.5, confidence: 0.95 };
        check(&StopReason::ErrorRate(stop), ("rule", "error_rate"));
    }

    #[test]
    fn reasons_name_the_next_step() {
        let text = SearchFailure::LowestRateUndecided { rate: 2.0 }.to_string();
        assert!(text.contains("2.000/s") && text.contains("more requests"), "{text}");
    }
}
