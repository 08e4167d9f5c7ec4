//! Stress: a ladder of rates, each held for a while and followed by a low rate, to see what breaks and whether it heals.
//!
//! Each rung is one ordinary open-loop run: the rate of the rung, then at once, without waiting for answers, the base rate:
//! what a service does with its backlog while requests go on coming is the question. Between rungs everything in flight is
//! drained and the latency at rest awaited. What a rung means is the caller's affair, which also says whether to climb on.

use std::time::Duration;

use llms_core::{
    CallContext, Error, ErrorCode, Result,
    bench::{Arrivals, BenchmarkRunner as _, Load, RatePiece, RecordSink, RunResult, Scenario, Target},
};

use crate::{
    RunnerBuilder,
    capacity::{pulse, recover},
};

/// A ladder.
#[derive(Clone, Debug, PartialEq)]
pub struct StressPlan {
    /// Rates of the rungs, requests per second, in the order they are climbed.
    pub rates: Vec<f64>,
    /// Rate of the baseline and after each rung, requests per second.
    pub base_rate: f64,
    /// How long each rate is held.
    pub hold: Duration,
    /// How long the base rate follows.
    pub recover: Duration,
    /// Longest wait between rungs for the latency at rest.
    pub rest: Duration,
}

/// One rung.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rung {
    /// From 1; 0 is the baseline, the base rate throughout.
    pub number: u32,
    /// Requests per second held.
    pub rate: f64,
    /// Requests per second afterwards.
    pub base_rate: f64,
    /// How long the rate is held.
    pub hold: Duration,
    /// How long the base rate follows.
    pub recover: Duration,
    /// Before it, the service was not back to its latency at rest within the time allowed.
    pub not_at_rest: bool,
}

/// Whether to climb on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Climb {
    /// The next rung.
    On,
    /// Enough.
    Stop,
}

impl StressPlan {
    /// Checks the fields.
    ///
    /// # Errors
    /// `invalid_config` naming the first field that is wrong.
    pub fn validate(&self) -> Result<()> {
        let rates_fine = !self.rates.is_empty() && self.rates.iter().all(|r| r.is_finite() && *r > 0.0);
        let fine = [
            (rates_fine, "expected one rate or more, all above 0"),
            (self.base_rate.is_finite() && self.base_rate > 0.0, "expected a base rate above 0"),
            (!self.hold.is_zero(), "expected a hold above 0 s"),
            (!self.recover.is_zero(), "expected a time to recover above 0 s"),
        ];
        match fine.iter().find(|(fine, _)| !fine) {
            Some((_, message)) => Err(Error::new("stress.plan", ErrorCode::InvalidConfig, *message)),
            None => Ok(()),
        }
    }
}

/// Climbs the ladder; `true` when it went to its end or to a [`Climb::Stop`], `false` when `ctx` was cancelled.
///
/// `scenario` gives everything but the load, whose arrivals and cap are kept when it is open; `step` gives the runner of each
/// rung and takes its records; `judge` sees each finished run, the baseline first.
///
/// # Errors
/// A wrong plan; those of [`Runner::run`](llms_core::bench::BenchmarkRunner::run); those of `judge`.
pub async fn climb(
    target: &Target,
    scenario: &Scenario,
    plan: &StressPlan,
    mut step: impl FnMut(&Rung) -> (RunnerBuilder, Box<dyn RecordSink>),
    mut judge: impl FnMut(&Rung, RunResult) -> Result<Climb>,
    ctx: &CallContext,
) -> Result<bool> {
    plan.validate()?;
    let mut rest = None;
    let rates = std::iter::once(plan.base_rate).chain(plan.rates.iter().copied());
    for (number, rate) in (0_u32..).zip(rates) {
        let not_at_rest = match number {
            0 => {
                rest = pulse(target, scenario, ctx).await?;
                false
            }
            _ => !recover(target, scenario, rest, plan.rest, ctx).await?,
        };
        if ctx.cancel.is_cancelled() {
            return Ok(false);
        }
        let (hold, after) = (plan.hold, plan.recover);
        let rung = Rung { number, rate, base_rate: plan.base_rate, hold, recover: after, not_at_rest };
        let (builder, mut sink) = step(&rung);
        let scenario = of_rung(scenario, &rung);
        let run = builder.build().run(std::slice::from_ref(target), &scenario, &mut *sink, ctx).await?;
        let interrupted = run.manifest.interrupted;
        let climb = judge(&rung, run)?;
        if interrupted {
            return Ok(false);
        }
        if climb == Climb::Stop {
            break;
        }
    }
    Ok(true)
}

fn of_rung(scenario: &Scenario, rung: &Rung) -> Scenario {
    let mut scenario = scenario.clone();
    let (arrivals, cap) = match scenario.load {
        Load::Open { arrivals, max_concurrency, .. } => (arrivals, max_concurrency),
        Load::Closed { .. } => (Arrivals::default(), None),
    };
    scenario.load = Load::open(rung.base_rate, arrivals)
        .capped(cap)
        .shaped([RatePiece::step(rung.hold, rung.rate), RatePiece::step(rung.recover, rung.base_rate)]);
    scenario.requests = None;
    scenario.duration = Some(rung.hold + rung.recover);
    // The connections are open after the first rung.
    if rung.number > 0 {
        scenario.warmup.requests = 0;
    }
    // Each rung asks anew, as the steps of a capacity search do.
    scenario.seeds.arrivals = scenario.seeds.arrivals.map(|s| s.wrapping_add(u64::from(rung.number)));
    scenario.seeds.prompts = scenario.seeds.prompts.map(|s| s.wrapping_add(u64::from(rung.number)));
    scenario
}
