//! Capacity: the highest rate that holds an objective, found by driving a [`SearchPolicy`] step by step.
//!
//! Each step is an ordinary open-loop run of one target at the rate that the policy asks for; its outcomes reach the policy
//! in the order in which they were *scheduled*, and the step ends inside the run when the policy says so. What decides is the
//! policy's affair; here are the order, the time limit, the recovery between steps, and the client's own failure to keep up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use llms_core::{
    CallContext, Result,
    bench::{
        BenchmarkRunner as _, Load, Look, Probe, RecordOutcome, RecordSink, RequestJudge, RequestRecord,
        RunManifest, RunPhase, RunResult, Scenario, SearchPolicy, SearchStep, StepEnd, StepReport, Target,
    },
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::{Runner, RunnerBuilder};

/// Share of a step's requests that may leave late before the step says nothing about its rate.
const LATE_SHARE: f64 = 0.01;
/// A send later than this share of the step's planned length after its slot is late.
const LATE: f64 = 0.01;
/// How near the latency must be to its baseline before the next step, as a factor.
const RECOVERED: f64 = 1.1;
/// Fewest answers of a step that tell its mean load.
const LOAD_MIN: usize = 20;
/// Requests whose median is the latency between steps.
const PULSE: u64 = 5;

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Capacity {
    /// The answer, or why there is none; never [`SearchStep::Probe`].
    pub answer: SearchStep,
    /// Every step, in the order they were made.
    pub steps: Vec<StepReport>,
    /// Ids of the steps' runs, in the same order.
    pub runs: Vec<String>,
    /// What each step put on the service and got out of it, where enough of its requests ended to say.
    pub loads: Vec<StepLoad>,
    /// Steps before which the service had not come back to its baseline within the time allowed, from 1.
    pub not_recovered: Vec<u32>,
}

/// Mean load of a step, from its first send to its last end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepLoad {
    /// The step, from 1.
    pub step: u32,
    /// Mean number of requests in flight: the sum of their times over the span.
    pub in_flight: f64,
    /// Complete answers per second.
    pub throughput: f64,
}

impl StepLoad {
    /// Of a step's records; `None` below [`LOAD_MIN`] answers.
    fn of(step: u32, records: &[RequestRecord]) -> Option<Self> {
        let calls: Vec<_> = records
            .iter()
            // What the end of the step cut off would count as load without an answer.
            .filter(|r| r.phase == RunPhase::Measured && r.outcome != RecordOutcome::Censored)
            .filter_map(|r| Some((r.sent?, r.end?, r.is_ok())))
            .collect();
        let answers = calls.iter().filter(|(.., ok)| *ok).count();
        let first = calls.iter().map(|c| c.0).min()?;
        let last = calls.iter().map(|c| c.1).max()?;
        let span = last.since(first)?.as_secs_f64();
        if answers < LOAD_MIN || span <= 0.0 {
            return None;
        }
        let busy: f64 =
            calls.iter().filter_map(|(sent, end, _)| end.since(*sent)).map(|d| d.as_secs_f64()).sum();
        Some(Self { step, in_flight: busy / span, throughput: answers as f64 / span })
    }
}

/// Bounds of a search that are not the policy's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapacityLimits {
    /// Longest time of one step.
    pub step_time: Duration,
    /// Longest wait for the service to come back to its baseline between steps.
    pub recovery: Duration,
}

impl Default for CapacityLimits {
    /// Five minutes a step, one minute to recover.
    fn default() -> Self {
        Self { step_time: Duration::from_secs(300), recovery: Duration::from_secs(60) }
    }
}

/// Runs a search on one target. `scenario` gives everything but the load, whose arrivals and cap are kept when it is open;
/// `runner` builds the runner of each step, so that ids and labels differ; `sink` takes the records of each step.
///
/// # Errors
/// Those of [`Runner::run`](llms_core::bench::BenchmarkRunner::run). Cancelling `ctx` ends the search with what there is.
pub async fn search_capacity(
    target: &Target,
    scenario: &Scenario,
    limits: CapacityLimits,
    (policy, judge): (&mut dyn SearchPolicy, Arc<dyn RequestJudge>),
    mut step: impl FnMut(u32) -> (RunnerBuilder, Box<dyn RecordSink>),
    ctx: &CallContext,
) -> Result<Capacity> {
    let mut found = Capacity {
        answer: SearchStep::NotCertified(llms_core::bench::NotCertified {
            reason: llms_core::bench::SearchFailure::Interrupted,
            high: None,
        }),
        steps: Vec::new(),
        runs: Vec::new(),
        loads: Vec::new(),
        not_recovered: Vec::new(),
    };
    let mut baseline = None;
    loop {
        let probe = match policy.next() {
            SearchStep::Probe(probe) => probe,
            answer => {
                found.answer = answer;
                break;
            }
        };
        if ctx.cancel.is_cancelled() {
            policy.end_step(StepEnd::Interrupted);
            continue;
        }
        if baseline.is_none() {
            baseline = pulse(target, scenario, ctx).await?;
        } else if probe.recover_first && !recover(target, scenario, baseline, limits.recovery, ctx).await? {
            found.not_recovered.push(probe.step);
        }
        let (builder, sink) = step(probe.step);
        let run =
            one_step(target, scenario, &probe, limits, (&mut *policy, &judge), (builder, sink), ctx).await?;
        found.loads.extend(StepLoad::of(probe.step, &run.records));
        found.runs.push(run.manifest.run_id);
    }
    found.steps = policy.steps().to_vec();
    Ok(found)
}

/// One probe; the policy knows afterwards how it ended.
async fn one_step(
    target: &Target,
    scenario: &Scenario,
    probe: &Probe,
    limits: CapacityLimits,
    (policy, judge): (&mut dyn SearchPolicy, &Arc<dyn RequestJudge>),
    (builder, sink): (RunnerBuilder, Box<dyn RecordSink>),
    ctx: &CallContext,
) -> Result<RunResult> {
    let mut scenario = scenario.clone();
    let (arrivals, cap) = match scenario.load {
        Load::Open { arrivals, max_concurrency, .. } => (arrivals, max_concurrency),
        Load::Closed { .. } => (llms_core::bench::Arrivals::default(), None),
    };
    scenario.load = open(probe.rate, arrivals, cap);
    scenario.requests = Some(probe.requests_max);
    scenario.duration = Some(limits.step_time);
    // The connections are open after the first step; a pause between steps is no cold start.
    if probe.step > 1 {
        scenario.warmup.requests = 0;
    }
    // Each step asks anew: the same arrivals and prompts every time would make the steps repeat each other's luck.
    scenario.seeds.arrivals = scenario.seeds.arrivals.map(|s| s.wrapping_add(u64::from(probe.step)));
    scenario.seeds.prompts = scenario.seeds.prompts.map(|s| s.wrapping_add(u64::from(probe.step)));
    let cancel = ctx.cancel.child_token();
    let feed = Arc::new(Mutex::new(Feed::new(judge.clone())));
    let mut sink = Feeding { sink, feed: feed.clone(), policy, cancel: cancel.clone() };
    let runner: Runner = builder.build();
    let within = CallContext { cancel, ..ctx.clone() };
    let run = runner.run(std::slice::from_ref(target), &scenario, &mut sink, &within).await?;
    let policy = sink.policy;
    let feed = lock(&feed);
    if ctx.cancel.is_cancelled() {
        policy.end_step(StepEnd::Interrupted);
    } else if late_share(&run) > LATE_SHARE {
        policy.end_step(StepEnd::RateNotReached);
    } else if !feed.ended {
        policy.end_step(StepEnd::TimeLimit);
    }
    Ok(run)
}

/// The load of one step.
fn open(rate: f64, arrivals: llms_core::bench::Arrivals, max_concurrency: Option<u32>) -> Load {
    Load::open(rate, arrivals).capped(max_concurrency)
}

/// Median time of a few requests one after the other, in seconds; `None` when one of them failed.
pub(crate) async fn pulse(target: &Target, scenario: &Scenario, ctx: &CallContext) -> Result<Option<f64>> {
    let mut scenario = scenario.clone();
    scenario.load = Load::closed(1);
    (scenario.requests, scenario.duration) = (Some(PULSE), None);
    let mut records: Vec<RequestRecord> = Vec::new();
    let targets = std::slice::from_ref(target);
    Runner::builder().keep_records(false).build().run(targets, &scenario, &mut records, ctx).await?;
    let mut times: Vec<f64> = records
        .iter()
        .filter(|r| r.phase == RunPhase::Measured && r.is_ok())
        .filter_map(|r| {
            Some(r.chunks.first().map_or(r.end?, |c| c.stamp.arrival()).since(r.sent?)?.as_secs_f64())
        })
        .collect();
    times.sort_by(f64::total_cmp);
    Ok((times.len() as u64 == PULSE).then(|| times[times.len() / 2]))
}

/// Waits until the latency is back near its baseline; whether it came back in time.
pub(crate) async fn recover(
    target: &Target,
    scenario: &Scenario,
    baseline: Option<f64>,
    limit: Duration,
    ctx: &CallContext,
) -> Result<bool> {
    let end = ctx.now() + limit;
    let mut quiet = scenario.clone();
    quiet.warmup.requests = 0;
    loop {
        let now = pulse(target, &quiet, ctx).await?;
        match (now, baseline) {
            (Some(now), Some(base)) if now <= base * RECOVERED => return Ok(true),
            // Without a baseline an answer is all that can be asked for.
            (Some(_), None) => return Ok(true),
            _ if ctx.now() >= end || ctx.cancel.is_cancelled() => return Ok(false),
            _ => ctx.clock.sleep_until(ctx.now() + Duration::from_secs(1)).await,
        }
    }
}

/// Puts outcomes into the order in which they were scheduled. Bounded by the requests in flight.
struct Feed {
    judge: Arc<dyn RequestJudge>,
    next: u64,
    waiting: BTreeMap<u64, bool>,
    ended: bool,
}

fn lock(feed: &Mutex<Feed>) -> MutexGuard<'_, Feed> {
    feed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Feed {
    fn new(judge: Arc<dyn RequestJudge>) -> Self {
        Self { judge, next: 0, waiting: BTreeMap::new(), ended: false }
    }

    /// One outcome; `true` when the step has ended.
    fn take(&mut self, record: &RequestRecord, policy: &mut dyn SearchPolicy) -> bool {
        // Cut off by the end of the step: nobody knows how it would have ended.
        if self.ended || record.phase != RunPhase::Measured || record.outcome == RecordOutcome::Censored {
            return self.ended;
        }
        self.waiting.insert(record.block, self.judge.is_good(record));
        while let Some(good) = self.waiting.remove(&self.next) {
            self.next += 1;
            if policy.observe(good) == Look::EndStep {
                self.ended = true;
                self.waiting.clear();
                break;
            }
        }
        self.ended
    }
}

/// Share of the requests that left late enough to be another load than was asked for.
fn late_share(run: &RunResult) -> f64 {
    let Some(window) = run.manifest.window else { return 0.0 };
    let late = window.end.saturating_since(window.start).mul_f64(LATE).max(Duration::from_millis(20));
    let sent: Vec<Duration> = run
        .records
        .iter()
        .filter(|r| r.phase == RunPhase::Measured)
        .filter_map(|r| r.sent?.since(r.released))
        .collect();
    sent.iter().filter(|lag| **lag > late).count() as f64 / sent.len().max(1) as f64
}

/// Records on their way to the step's own sink and to the policy.
struct Feeding<'p> {
    sink: Box<dyn RecordSink>,
    feed: Arc<Mutex<Feed>>,
    policy: &'p mut dyn SearchPolicy,
    cancel: CancellationToken,
}

impl RecordSink for Feeding<'_> {
    fn begin(&mut self, manifest: &RunManifest) -> Result<()> {
        self.sink.begin(manifest)
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        if lock(&self.feed).take(record, self.policy) {
            self.cancel.cancel();
        }
        self.sink.record(record)
    }

    fn finish(&mut self, manifest: &RunManifest) -> Result<()> {
        // Ended inside its run by the search, which is its planned end.
        let mut whole = manifest.clone();
        if whole.interrupted && lock(&self.feed).ended {
            (whole.interrupted, whole.complete) = (false, true);
        }
        self.sink.finish(&whole)
    }
}
