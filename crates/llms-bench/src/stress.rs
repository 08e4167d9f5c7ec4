//! `llms-bench stress`: a ladder of rates, what breaks first, and whether it heals when the load drops.

mod text;

use std::time::Duration;

use bench_analysis::soak::ladder::{Ladder, LadderOptions, RungPlan};
use bench_runner::stress::{Climb, Rung, StressPlan, climb};
use llms_core::{CallContext, bench::Level};
use serde::Serialize;

use crate::{
    cli::RunArgs,
    exit::{Exit, Failure},
    output, plan, providers,
    session::cancel_on_interrupt,
    soak::{args::StressArgs, outlets, put, refuse, writable_outputs},
    tokenizer::{self, counting},
};

/// Windows of the time to recover.
const WINDOWS: u32 = 10;
/// Requests a window should hold at the base rate.
const PER_WINDOW: f64 = 8.0;

/// What is printed as JSON.
#[derive(Serialize)]
pub(crate) struct Found<'a> {
    target: &'a str,
    simulated: bool,
    interrupted: bool,
    objectives: Vec<String>,
    share: f64,
    /// The first rate that failed, requests per second.
    first_failing: Option<f64>,
    /// The highest rate below it that held.
    highest_held: Option<f64>,
    collapsed: bool,
    #[serde(flatten)]
    ladder: &'a Ladder,
}

/// Climbs a ladder and prints what it found.
///
/// # Errors
/// What is wrong with the arguments; when the target cannot be used; when a run failed.
pub(crate) async fn execute(mut args: StressArgs) -> Result<Exit, Failure> {
    refuse(&args.run, "stress")?;
    refuse_load(&args.run)?;
    let ladder = of(&args);
    ladder.validate()?;
    args.run.request_rate = Some(ladder.base_rate);
    let (args, run) = (&args, &args.run);
    let plan = plan::resolve(run)?;
    if plan.targets.len() != 1 {
        let n = plan.targets.len();
        return Err(Failure::usage(format!("stress climbs on one target, found {n}; name it with --target")));
    }
    let scenario = plan.scenario;
    let counter = tokenizer::load(&scenario)?;
    let analyzer = output::analyzer(run.prices.as_deref())?;
    writable_outputs(run)?;
    let ctx = CallContext::new().with_cancel(cancel_on_interrupt());
    let transport = providers::transport(&run.connect)?;
    let mut targets = providers::build(&plan.targets, &scenario, &transport).await?;
    providers::preflight(&mut targets, &scenario, &ctx).await?;
    let target = &targets[0];
    let options =
        LadderOptions { share: args.share, confidence: 0.95, window_s: window(args, &ladder).as_secs_f64() };
    let mut found = Ladder::new(options);
    let whole = climb(
        target,
        &scenario,
        &ladder,
        |rung| {
            let name = match rung.number {
                0 => "baseline".to_owned(),
                n => format!("step {n}"),
            };
            progress(run.quiet, &name, rung);
            let (_, builder, sink) = outlets(run, "stress", Some(&name));
            (counting(builder, &counter).transport(transport.clone()), sink)
        },
        |rung, result| {
            let found = found.add(of_rung(rung), result, &analyzer)?;
            Ok(if args.stop_at_failure && rung.number > 0 && found.failed() {
                Climb::Stop
            } else {
                Climb::On
            })
        },
        &ctx,
    )
    .await;
    // What was climbed before a failure is told all the same.
    let (whole, failed) = match whole {
        Ok(whole) => (whole, None),
        Err(e) if found.baseline.is_some() => (false, Some(Failure::from(e))),
        Err(e) if ctx.cancel.is_cancelled() => {
            return Err(Failure { exit: Exit::Interrupted, message: e.message().to_owned() });
        }
        Err(e) => return Err(e.into()),
    };
    let shown = Found {
        target: &target.info.name,
        simulated: target.info.simulated,
        interrupted: !whole && failed.is_none(),
        objectives: scenario.slo.iter().cloned().map(String::from).collect(),
        share: args.share,
        first_failing: found.first_failing().map(|r| r.plan.rate),
        highest_held: found.highest_held(),
        collapsed: found.collapsed(),
        ladder: &found,
    };
    put(run, &shown, || text::render(&shown))?;
    match failed {
        Some(failure) if !ctx.cancel.is_cancelled() => Err(failure),
        _ => Ok(exit(&found, whole, run.output.strict)),
    }
}

/// Flags of `run` that a ladder decides itself, or cannot keep over its many runs.
fn refuse_load(run: &RunArgs) -> Result<(), Failure> {
    let loads = [
        ("--request-rate", run.request_rate.is_some()),
        ("--concurrency", run.concurrency.is_some()),
        ("--num-requests", run.num_requests.is_some()),
        ("--duration", run.duration.is_some()),
        ("--rate-profile", run.shape.rate_profile.is_some()),
        ("--ramp-up", run.shape.ramp_up.is_some()),
        ("--think-time", run.shape.think_time.is_some()),
        ("--trace", run.replay.trace.is_some()),
    ];
    if let Some((flag, _)) = loads.iter().find(|(_, given)| *given) {
        return Err(Failure::usage(format!(
            "{flag}: the ladder has its own load; see --rates, --start, --factor, --steps, --hold, --recover"
        )));
    }
    if run.calibrate.is_some() {
        return Err(Failure::usage(
            "--calibrate: a ladder has many loads; calibrate a `run` at the rate in question",
        ));
    }
    let limits = &run.limits;
    let limits = [
        ("--max-cost", limits.max_cost.is_some()),
        ("--max-tokens-total", limits.max_tokens_total.is_some()),
        ("--precision", limits.precision.is_some()),
        ("--stop-saturated", limits.stop_saturated),
        ("--stop-error-rate", limits.stop_error_rate.is_some()),
    ];
    match limits.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failure::usage(format!(
            "{flag}: a ladder is many runs, over which it cannot be kept; use --stop-at-failure, or fewer and shorter steps"
        ))),
        None => Ok(()),
    }
}

/// How the program ends: that a step fails is what a ladder is for; a service that stays down afterwards is a failure.
fn exit(ladder: &Ladder, whole: bool, strict: bool) -> Exit {
    let rungs = || ladder.baseline.iter().chain(&ladder.rungs);
    if !whole {
        Exit::Interrupted
    } else if ladder.baseline.as_ref().is_none_or(|b| b.good == 0) {
        Exit::Run
    } else if strict && rungs().any(|r| r.validity == Level::Invalid) {
        Exit::Invalid
    } else if ladder.collapsed() {
        Exit::Gate
    } else {
        Exit::Ok
    }
}

fn of(args: &StressArgs) -> StressPlan {
    let rates = args.ladder();
    let lowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    StressPlan {
        base_rate: args.base_rate.unwrap_or(lowest / 2.0),
        rates,
        hold: args.hold,
        recover: args.recover,
        rest: args.rest,
    }
}

fn of_rung(rung: &Rung) -> RungPlan {
    RungPlan {
        number: rung.number,
        rate: rung.rate,
        hold_s: rung.hold.as_secs_f64(),
        base_rate: rung.base_rate,
        recover_s: rung.recover.as_secs_f64(),
        not_at_rest: rung.not_at_rest,
    }
}

/// Width of the windows by which recovery is told.
fn window(args: &StressArgs, plan: &StressPlan) -> Duration {
    let least = Duration::from_secs_f64(PER_WINDOW / plan.base_rate);
    args.window.unwrap_or_else(|| (args.recover / WINDOWS).max(least))
}

#[allow(clippy::print_stderr, reason = "progress belongs on standard error")]
fn progress(quiet: bool, name: &str, rung: &Rung) {
    if !quiet {
        eprintln!("stress: {name}, {:.2}/s", rung.rate);
    }
}
