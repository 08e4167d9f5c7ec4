//! The rungs of a stress test judged: where it fails, how, and whether it heals when the load drops.
//!
//! A rung is one run: a rate held, then a low rate. A request is *good* when it met every objective of the scenario or, without
//! one, ended well within three times the baseline's 95th percentile. A rung fails when the exact interval of its good share
//! lies below the share wanted. Latencies count from the scheduled instant. Pure, like all of this crate.

use std::collections::BTreeMap;

use llms_core::{
    bench::{
        Bounded, ErrorGroup, Estimate, Level, Measured, MetricSummary, PerformanceAnalyzer as _,
        RecordOutcome, RequestRecord, RunPhase, RunResult, Window,
    },
    error::{Error, ErrorCode, ErrorKind, Result},
};
use serde::Serialize;

use super::recovery::{RecoveryTime, medians, recovery};
use crate::{
    Analyzer, SloJudge,
    request::Request,
    stats::{Sample, StatsError, proportion::clopper_pearson, quantile::QuantileType, trend::mann_kendall},
};
use llms_core::bench::RequestJudge as _;

/// Times the baseline's 95th percentile within which an answer is good when the scenario has no objective.
pub const GOOD_FACTOR: f64 = 3.0;
/// Good share after the load dropped, over the baseline's, below which goodput has collapsed.
const COLLAPSED: f64 = 0.9;
/// p of the test that a latency still falls.
const FALLS: f64 = 0.05;
/// A send later than this after its release, or than this share of the hold, whichever is more, left late.
const LATE_S: f64 = 0.02;
/// The same as a share of the hold, and the share of requests that may leave late.
const LATE: f64 = 0.01;

/// What a rung was.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RungPlan {
    /// From 1; 0 is the baseline.
    pub number: u32,
    /// Requests per second held.
    pub rate: f64,
    /// Seconds it was held.
    pub hold_s: f64,
    /// Requests per second afterwards.
    pub base_rate: f64,
    /// Seconds of that.
    pub recover_s: f64,
    /// Before it, the service was not back to its latency at rest.
    pub not_at_rest: bool,
}

/// How rungs are judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LadderOptions {
    /// Share of requests that must be good, in (0, 1).
    pub share: f64,
    /// Confidence of all intervals.
    pub confidence: f64,
    /// Width of the windows of recovery, seconds.
    pub window_s: f64,
}

/// What is common in the requests of a failing rung that were not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureMode {
    /// Answered, and too late.
    Latency,
    /// Refused for their rate (429).
    RateLimited,
    /// Refused for load, or errors of the server (5xx).
    ServerError,
    /// Connections refused, reset or cut in mid-answer.
    Connection,
    /// No answer within the time limit, or when the drain ended.
    Timeout,
    /// Anything else.
    Other,
    /// The client did not offer the rate: the rung says nothing about the service.
    Client,
}

/// `Retry-After` as seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RetryAfter {
    /// Answers that carried it.
    pub count: u64,
    /// Least asked for, seconds.
    pub min_s: f64,
    /// Most asked for, seconds.
    pub max_s: f64,
}

/// One rung, judged.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RungFound {
    /// What it was.
    pub plan: RungPlan,
    /// Id of its run.
    pub run_id: String,
    /// Requests scheduled while the rate was held.
    pub requests: u64,
    /// Scheduled per second.
    pub offered: Measured<f64>,
    /// Answered per second within the hold.
    pub achieved: Measured<Estimate>,
    /// Good requests, of those scheduled in the hold.
    pub good: u64,
    /// Share of them.
    pub good_share: Option<f64>,
    /// Lower limit of that, Clopper–Pearson.
    pub good_low: Option<f64>,
    /// Upper limit.
    pub good_high: Option<f64>,
    /// Good requests per second of the hold.
    pub goodput: f64,
    /// `ttft` and `e2e` over the hold, with quantiles and their intervals.
    pub metrics: BTreeMap<String, MetricSummary>,
    /// Failures by kind.
    pub errors: Vec<ErrorGroup>,
    /// `Retry-After`, where seen. This client does not retry: whether waiting helps was not tried.
    pub retry_after: Option<RetryAfter>,
    /// How it failed; `None`: it held.
    pub failure: Option<FailureMode>,
    /// How long it was felt after the load dropped.
    pub recovery: Measured<RecoveryTime>,
    /// Share of good requests in the last third of the low load.
    pub good_after: Option<f64>,
    /// The load dropped, goodput did not come back, and latency did not fall any more: the service is stuck (metastable).
    pub collapsed: bool,
    /// The verdict on the client for this rung's run.
    pub validity: Level,
    /// Its reasons.
    pub validity_reasons: Vec<String>,
}

impl RungFound {
    /// Whether the service (not the client) failed it.
    pub fn failed(&self) -> bool {
        self.failure.is_some_and(|f| f != FailureMode::Client)
    }
}

/// The baseline and the rungs climbed so far.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ladder {
    #[serde(skip)]
    options: LadderOptions,
    /// Seconds within which an answer is good, where the scenario has no objective.
    pub good_within_s: Option<f64>,
    /// The base rate alone.
    pub baseline: Option<RungFound>,
    /// The rungs.
    pub rungs: Vec<RungFound>,
    #[serde(skip)]
    quiet: Vec<(f64, f64)>,
}

impl Ladder {
    /// An empty ladder.
    pub fn new(options: LadderOptions) -> Self {
        Self { options, good_within_s: None, baseline: None, rungs: Vec::new(), quiet: Vec::new() }
    }

    /// The first rung that the service failed.
    pub fn first_failing(&self) -> Option<&RungFound> {
        self.rungs.iter().find(|r| r.failed())
    }

    /// The highest rate held below the first that failed; `None` when the first rung failed or none was climbed.
    pub fn highest_held(&self) -> Option<f64> {
        let below = self.first_failing().map_or(f64::INFINITY, |r| r.plan.rate);
        self.rungs
            .iter()
            .filter(|r| r.failure.is_none() && r.plan.rate < below)
            .map(|r| r.plan.rate)
            .reduce(f64::max)
    }

    /// Whether goodput collapsed after some rung.
    pub fn collapsed(&self) -> bool {
        self.rungs.iter().any(|r| r.collapsed)
    }

    /// Judges a rung, the baseline first, and adds it.
    ///
    /// # Errors
    /// `invalid_input` when the run measured nothing; the statistics' errors for options outside their range.
    pub fn add(&mut self, plan: RungPlan, run: RunResult, analyzer: &Analyzer) -> Result<&RungFound> {
        let Some(window) = run.manifest.window else {
            let message = "expected a measured window, found none: the run ended before it began";
            return Err(Error::new("stress.judge", ErrorCode::InvalidInput, message));
        };
        let streamed = run.manifest.scenario.streaming;
        let begin = window.start;
        let at = |r: &RequestRecord| r.scheduled.saturating_since(begin).as_secs_f64();
        let e2e = |r: &RequestRecord| {
            let ok = r.is_ok().then(|| Request::new(r, streamed).e2e(llms_core::bench::Origin::Response));
            ok.flatten().unwrap_or(f64::INFINITY)
        };
        let unknown = run.manifest.interrupted;
        let counted = |r: &&RequestRecord| {
            r.phase == RunPhase::Measured && !(unknown && r.outcome == RecordOutcome::Censored)
        };
        let times: Vec<(f64, f64)> = run.records.iter().filter(counted).map(|r| (at(r), e2e(r))).collect();
        if self.baseline.is_none() {
            self.quiet.clone_from(&times);
            if run.manifest.scenario.slo.is_empty() {
                let sample = Sample::new(times.iter().map(|t| t.1).collect::<Vec<_>>());
                let p95 = sample.and_then(|s| s.quantile(0.95, QuantileType::Type7)).map_err(wrong)?;
                self.good_within_s = p95.is_finite().then_some(GOOD_FACTOR * p95);
            }
        }
        let judge = SloJudge::new(&run.manifest.scenario);
        let within = self.good_within_s.unwrap_or(f64::INFINITY);
        let is_good = |r: &RequestRecord| judge.is_good(r) && e2e(r) <= within;
        let share = |from: f64, to: f64| {
            let inside = run.records.iter().filter(counted).filter(|r| (from..to).contains(&at(r)));
            inside.fold((0, 0), |(good, n), r| (good + u64::from(is_good(r)), n + 1))
        };
        let (hold_s, end_s) = (plan.hold_s, plan.hold_s + plan.recover_s);
        let (good, requests) = share(0.0, hold_s);
        let interval = clopper_pearson(good, requests, self.options.confidence).ok();
        let recovered =
            recovery(&self.quiet, self.quiet_span(), &times, (hold_s, end_s), self.options.window_s);
        let (good_after, n_after) = share(end_s - plan.recover_s / 3.0, end_s);
        let base_share = self.baseline.as_ref().and_then(|b| b.good_share);
        let collapsed = base_share.is_some_and(|base| {
            clopper_pearson(good_after, n_after, self.options.confidence)
                .is_ok_and(|i| i.high < COLLAPSED * base)
        }) && recovered.as_ref().is_ok_and(|r| r.recovered_s.is_none())
            && !falls(&medians(&times, (hold_s, end_s), self.options.window_s));
        let held: Vec<&RequestRecord> =
            run.records.iter().filter(counted).filter(|r| at(r) < hold_s).collect();
        let failure = if late(&held, hold_s) {
            Some(FailureMode::Client)
        } else if interval.is_some_and(|i| i.high < self.options.share) {
            Some(mode(held.iter().filter(|r| !is_good(r)).map(|r| &**r)))
        } else {
            None
        };
        let retry_after = retry_after(&held);
        drop(held);
        let analysis = analyzer.analyze(&hold_of(run, window, hold_s))?;
        let validity = analysis.validity;
        let target = analysis.targets.into_iter().next().ok_or_else(|| {
            Error::new("stress.judge", ErrorCode::InvalidInput, "expected a run of one target, found none")
        })?;
        let keep = ["ttft", "e2e"];
        let found = RungFound {
            plan,
            run_id: analysis.run_id,
            requests,
            offered: target.throughput.offered,
            achieved: target.throughput.requests,
            good,
            good_share: (requests > 0).then(|| good as f64 / requests as f64),
            good_low: interval.map(|i| i.low),
            good_high: interval.map(|i| i.high),
            goodput: good as f64 / hold_s,
            metrics: target.metrics.into_iter().filter(|(name, _)| keep.contains(&name.as_str())).collect(),
            errors: target.errors,
            retry_after,
            failure,
            recovery: recovered.map_or_else(|e| Measured::absent(e.to_string()), Measured::Value),
            good_after: (n_after > 0).then(|| good_after as f64 / n_after as f64),
            collapsed,
            validity: validity.level,
            validity_reasons: validity
                .findings
                .iter()
                .filter(|f| f.level == validity.level)
                .map(|f| format!("{}: {}", f.signal, f.measured))
                .collect(),
        };
        Ok(match self.baseline {
            None => self.baseline.insert(found),
            Some(_) => {
                self.rungs.push(found);
                self.rungs.last().expect("invariant: just added")
            }
        })
    }

    /// All of the baseline's run: both its parts have the base rate.
    fn quiet_span(&self) -> (f64, f64) {
        (0.0, self.quiet.iter().map(|q| q.0).fold(0.0, f64::max))
    }
}

fn wrong(e: StatsError) -> Error {
    Error::new("stress.judge", ErrorCode::InvalidInput, e.to_string())
}

/// The part of a run in which the rate was held.
fn hold_of(mut run: RunResult, window: Window, hold_s: f64) -> RunResult {
    let end = window.start + std::time::Duration::from_secs_f64(hold_s);
    run.records.retain(|r| r.phase == RunPhase::Warmup || r.scheduled < end);
    run.manifest.window = Some(Window { start: window.start, end: end.min(window.end), ..window });
    // The plan counts both parts.
    run.manifest.planned = Vec::new();
    run
}

/// Whether the client failed to offer the rate.
fn late(held: &[&RequestRecord], hold_s: f64) -> bool {
    let lags = held.iter().filter_map(|r| r.sent?.since(r.released)).map(|lag| lag.as_secs_f64());
    let limit = LATE_S.max(LATE * hold_s);
    let (late, n) = lags.fold((0_usize, 0_usize), |(late, n), lag| (late + usize::from(limit < lag), n + 1));
    n > 0 && LATE * (n as f64) < late as f64
}

/// The most frequent way in which requests were not good.
fn mode<'a>(bad: impl Iterator<Item = &'a RequestRecord>) -> FailureMode {
    let mut counts: BTreeMap<FailureMode, u64> = BTreeMap::new();
    for record in bad {
        let mode = match &record.outcome {
            RecordOutcome::Ok => FailureMode::Latency,
            RecordOutcome::Censored => FailureMode::Timeout,
            RecordOutcome::Failed(e) => match (e.status, e.kind) {
                (Some(429), _) | (_, ErrorKind::RateLimited) => FailureMode::RateLimited,
                (Some(500..), _) | (_, ErrorKind::Overloaded) => FailureMode::ServerError,
                (_, ErrorKind::Timeout) => FailureMode::Timeout,
                (_, ErrorKind::Transport) => FailureMode::Connection,
                _ if e.code == ErrorCode::StreamTruncated => FailureMode::Connection,
                _ => FailureMode::Other,
            },
        };
        *counts.entry(mode).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, n)| *n).map_or(FailureMode::Other, |(mode, _)| mode)
}

fn retry_after(held: &[&RequestRecord]) -> Option<RetryAfter> {
    held.iter()
        .filter_map(|r| match &r.outcome {
            RecordOutcome::Failed(e) => e.retry_after_s,
            _ => None,
        })
        .fold(None, |seen: Option<RetryAfter>, s| {
            let seen = seen.unwrap_or(RetryAfter { count: 0, min_s: s, max_s: s });
            Some(RetryAfter { count: seen.count + 1, min_s: seen.min_s.min(s), max_s: seen.max_s.max(s) })
        })
}

/// Whether latency still falls beyond chance from window to window.
fn falls(windows: &[Option<f64>]) -> bool {
    let values: Vec<f64> = windows.iter().map(|m| m.unwrap_or(f64::INFINITY)).collect();
    mann_kendall(&values).is_ok_and(|mk| mk.s < 0.0 && mk.p < FALLS)
}

/// The quantile of a rung's metric with failures at +∞, for printing: value and limits, seconds.
pub fn quantile_of(
    rung: &RungFound,
    metric: &str,
    p: f64,
) -> Option<(Bounded, Option<Bounded>, Option<Bounded>)> {
    let estimate = rung.metrics.get(metric)?.quantile(p)?.all.value()?;
    Some((estimate.value, estimate.low, estimate.high))
}
