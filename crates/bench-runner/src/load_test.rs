//! Load tests of the contract: the runner under an open loop, its records counted window by window.
//!
//! Latencies come from an injected [`Summarizer`]; here are counts only.

use std::sync::Arc;

use async_trait::async_trait;
use llms_core::{
    CallContext, Error, ErrorCode, Result,
    bench::{
        BenchmarkRunner as _, ErrorRatePoint, Load, LoadTestConfig, LoadTestResult, LoadTester, NullSink,
        RecordOutcome, RequestRecord, RunPhase, RunResult, Scenario, Summarizer, Target, ThroughputPoint,
    },
    time::Timestamp,
};

use crate::{Runner, ScenarioRegistry};

/// A send later than this after its release is late.
const LATE: std::time::Duration = std::time::Duration::from_millis(1);

/// The load tester; see the module.
pub struct LoadTests {
    scenarios: ScenarioRegistry,
    summarizer: Arc<dyn Summarizer>,
    make: Box<dyn Fn() -> Runner + Send + Sync>,
}

impl std::fmt::Debug for LoadTests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadTests").field("scenarios", &self.scenarios).finish_non_exhaustive()
    }
}

impl LoadTests {
    /// Load tests of the standard scenarios, summed up by `summarizer`.
    pub fn new(summarizer: Arc<dyn Summarizer>) -> Self {
        Self { scenarios: ScenarioRegistry::builtin(), summarizer, make: Box::new(Runner::new) }
    }

    /// Other scenarios.
    pub fn with_scenarios(mut self, scenarios: ScenarioRegistry) -> Self {
        self.scenarios = scenarios;
        self
    }

    /// Runners with what a test shall have beside: a probe, a budget, rules to stop. Each test gets one of its own.
    pub fn with_runner(mut self, make: impl Fn() -> Runner + Send + Sync + 'static) -> Self {
        self.make = Box::new(make);
        self
    }

    fn scenario(&self, config: &LoadTestConfig) -> Result<Scenario> {
        let mut scenario = self.scenarios.get(&config.scenario_name)?.clone();
        scenario.load = Load::open(config.target_rps, config.arrivals)
            .capped(config.max_concurrency)
            .ramped(config.ramp_up);
        scenario.duration = Some(config.duration);
        scenario.requests = None;
        scenario.seeds.arrivals = Some(config.seed);
        scenario.seeds.order = Some(config.seed);
        Ok(scenario)
    }
}

#[async_trait]
impl LoadTester for LoadTests {
    async fn run_load_test(
        &self,
        target: &Target,
        config: &LoadTestConfig,
        ctx: &CallContext,
    ) -> Result<LoadTestResult> {
        config
            .validate()
            .map_err(|e| Error::new("load_test.configure", ErrorCode::InvalidConfig, e.to_string()))?;
        let scenario = self.scenario(config)?;
        let run = (self.make)().run(std::slice::from_ref(target), &scenario, &mut NullSink, ctx).await?;
        let summary = self.summarizer.summarize(&run)?.pop().ok_or_else(|| {
            let message = "expected a request to end within the test, none did; lengthen it or its drain";
            Error::new("load_test.summarize", ErrorCode::Timeout, message)
        })?;
        let (throughput_curve, error_rate_over_time) = curves(&run, config);
        let count = |which: fn(&RequestRecord) -> bool| run.measured(0).filter(|r| which(r)).count() as u64;
        let timeout_ops = count(timed_out);
        let planned_ops = run.manifest.planned.first().copied().unwrap_or_default();
        let cost = summary.cost_analysis.as_ref();
        Ok(LoadTestResult {
            test_id: run.manifest.run_id.clone(),
            duration_s: summary.duration_s,
            target_rps: config.target_rps,
            actual_rps: summary.throughput_rps,
            max_concurrency: config.max_concurrency,
            planned_ops,
            successful_ops: summary.successful_ops,
            failed_ops: count(|r| matches!(r.outcome, RecordOutcome::Failed(_))) - timeout_ops,
            timeout_ops,
            censored_ops: count(|r| r.outcome == RecordOutcome::Censored),
            unsent_ops: planned_ops.saturating_sub(run.measured(0).count() as u64),
            late_sends: count(late),
            latency_metrics: summary.latency_metrics,
            throughput_curve,
            error_rate_over_time,
            memory_metrics: summary.memory_usage,
            cpu_usage_percent: run
                .manifest
                .client
                .as_ref()
                .and_then(|c| Some(c.cpu.value()?.share?.clamp(0.0, 1.0) * 100.0)),
            total_cost_usd: cost.map(|c| c.total_cost_usd),
            cost_per_successful_op: cost.and_then(|c| c.cost_per_operation),
        })
    }
}

fn timed_out(r: &RequestRecord) -> bool {
    matches!(&r.outcome, RecordOutcome::Failed(e) if e.code == ErrorCode::DeadlineExceeded)
}

fn late(r: &RequestRecord) -> bool {
    r.sent.and_then(|s| s.since(r.released)).is_some_and(|lag| LATE < lag)
}

/// What the windows saw, from the beginning of the measured one to the last end of a measured request.
fn curves(run: &RunResult, config: &LoadTestConfig) -> (Vec<ThroughputPoint>, Vec<ErrorRatePoint>) {
    let Some(start) = run.manifest.window.map(|w| w.start) else { return Default::default() };
    let last = run.measured(0).filter_map(|r| r.end).max().unwrap_or(start);
    let width = config.window.as_secs_f64();
    let after = |t: Timestamp| t.saturating_since(start).as_secs_f64();
    let windows = ((after(last) / width).floor() as usize) + 1;
    let mut points: Vec<Window> = vec![Window::default(); windows];
    for r in run.records.iter().filter(|r| r.phase != RunPhase::Warmup) {
        let (Some(sent), Some(end)) = (r.sent, r.end) else { continue };
        let (from, to) = (after(sent) / width, after(end) / width);
        for (i, point) in
            points.iter_mut().enumerate().skip(from as usize).take(to as usize + 1 - from as usize)
        {
            point.in_flight += (to.min(i as f64 + 1.0) - from.max(i as f64)).max(0.0);
        }
        // What was scheduled in the ramp-up loads the target, and is not measured.
        let Some(point) = points.get_mut(to as usize).filter(|_| r.phase == RunPhase::Measured) else {
            continue;
        };
        match &r.outcome {
            RecordOutcome::Ok => {
                point.ok += 1;
                point.latency_s += end.saturating_since(r.scheduled).as_secs_f64();
            }
            RecordOutcome::Failed(e) => *point.errors.entry(e.code).or_default() += 1,
            RecordOutcome::Censored => {}
        }
    }
    let throughput = points.iter().enumerate().map(|(i, p)| ThroughputPoint {
        at_s: i as f64 * width,
        rps: p.ok as f64 / width,
        concurrency: p.in_flight,
        avg_latency_s: (0 < p.ok).then(|| p.latency_s / p.ok as f64),
    });
    let throughput = throughput.collect();
    let errors = points.into_iter().enumerate().map(|(i, p)| {
        let failed: u64 = p.errors.values().sum();
        ErrorRatePoint {
            at_s: i as f64 * width,
            error_rate: (0 < p.ok + failed).then(|| failed as f64 / (p.ok + failed) as f64),
            error_count: failed,
            error_types: p.errors,
        }
    });
    (throughput, errors.collect())
}

/// One window of the curves.
#[derive(Clone, Default)]
struct Window {
    ok: u64,
    latency_s: f64,
    /// Time that requests were in flight, in widths of the window.
    in_flight: f64,
    errors: std::collections::BTreeMap<ErrorCode, u64>,
}
