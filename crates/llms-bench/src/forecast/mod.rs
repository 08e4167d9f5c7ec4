//! `llms-bench plan`: what a run would do, take and cost, before anything is sent. Opens no socket and reads no key.
//!
//! The flags are those of `run` and `compare`: put `plan` in their place. What only latencies can tell (how long a closed loop
//! takes, how many requests a precision needs) is supposed, and said to be, unless `--pilot` names an earlier run.

mod pilot;
mod samples;
mod text;
mod volume;

use bench_runner::{Schedule, workload::resolve};
use llms_core::{
    Capabilities, ModelInfo,
    bench::{Load, Order, Scenario, TargetInfo},
    config::process_env,
};
use serde::Serialize;

use crate::{
    cli::{Format, PlanArgs},
    exit::{Exit, Failure},
    limit_args, output, plan, providers, simulated,
    target::{TargetSpec, unique_names},
    tokenizer,
};
use pilot::Pilots;
use samples::SampleSize;
use volume::{TargetVolume, Volume};

/// Everything a plan says; printed as JSON as it stands.
#[derive(Serialize)]
pub(crate) struct Forecast {
    scenario: String,
    /// Whether times, lengths and order are those of the run to come: they are when the seed is given.
    seeded: bool,
    load: String,
    targets: Vec<TargetVolume>,
    /// Measured requests of each target; absent when only time ends a closed loop.
    requests: Option<u64>,
    /// Turns of each conversation on average, where conversations are asked.
    turns: Option<f64>,
    warmup_requests: u64,
    ramp_up_requests: u64,
    /// The one short answer that each target is asked for before the run.
    preflight_requests: u64,
    duration: Duration,
    /// The offered rate of each target over time.
    rate: Vec<Slice>,
    samples: Vec<SampleSize>,
    /// What the sizes suppose of latencies.
    supposed: String,
    /// What would end the run before its plan does.
    limits: Vec<String>,
    /// Why the run would be refused.
    refused: Vec<String>,
    /// Limits that the plan passes.
    conflicts: Vec<String>,
}

/// How long it takes, seconds.
#[derive(Clone, Debug, Serialize)]
struct Duration {
    ramp_up_s: f64,
    window_s: Option<f64>,
    /// The longest it can take, where every request runs into its timeout.
    window_at_most_s: Option<f64>,
    drain_at_most_s: f64,
    basis: &'static str,
}

/// A stretch of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Slice {
    from_s: f64,
    to_s: Option<f64>,
    /// Requests per second at its beginning.
    rate_from: f64,
    /// At its end.
    rate_to: f64,
    /// Requests expected (of a trace: counted) in it.
    requests: Option<f64>,
}

/// Slices of a trace, whose rate is counted.
const SLICES: u32 = 12;

/// Prints the plan.
///
/// # Errors
/// What is wrong with the arguments.
pub(crate) fn execute(args: &PlanArgs) -> Result<Exit, Failure> {
    let forecast = forecast(args)?;
    match args.run.output.format {
        Format::Json => {
            let json = serde_json::to_string_pretty(&forecast).expect("invariant: a plan is plain data");
            output::print(&(json + "\n"))?;
        }
        Format::Text | Format::Markdown => output::print(&text::render(&forecast))?,
    }
    Ok(match (forecast.refused.is_empty(), forecast.conflicts.is_empty()) {
        (false, _) => Exit::Usage,
        (true, false) => Exit::Gate,
        (true, true) => Exit::Ok,
    })
}

fn forecast(args: &PlanArgs) -> Result<Forecast, Failure> {
    let run = &args.run;
    let plan = plan::resolve(run)?;
    let scenario = resolve(&plan.scenario);
    scenario.validate().map_err(|e| Failure::from(e).at("scenario"))?;
    let counter = tokenizer::load(&scenario)?;
    let prices = output::prices(run.prices.as_deref())?;
    let targets = targets(&plan.targets)?;
    let pilots = Pilots::read(args.pilot.as_deref(), &run.output_dir, &targets)?;
    let each = scenario.order == Order::Sequential;
    let width = if each { 1 } else { targets.len() as u32 };
    let schedule = Schedule::new(&scenario, width);
    let (rounds, at_once) = if each { (targets.len() as f64, 1.0) } else { (1.0, targets.len() as f64) };

    let turns = scenario.sessions.as_ref().map(|sessions| {
        let all: f64 = scenario.prompts.iter().map(|p| f64::from(sessions.turns_of(p))).sum();
        all / scenario.prompts.len().max(1) as f64
    });
    let duration = duration(&scenario, &schedule, &pilots, turns.unwrap_or(1.0), rounds, at_once);
    let requests = schedule.planned().or_else(|| {
        // A closed loop that only time ends: as many as the pilot's latency lets its users ask.
        let (Load::Closed { concurrency, think_time, .. }, Some(e2e)) = (&scenario.load, pilots.e2e()) else {
            return None;
        };
        let each = e2e + think_time.as_secs_f64();
        Some((scenario.duration?.as_secs_f64() * f64::from(*concurrency) / each / at_once) as u64)
    });
    let volume = Volume::of(&scenario, &schedule, counter.as_deref(), requests, pilots.output());
    let mut forecast = Forecast {
        scenario: scenario.name.clone(),
        seeded: run.seed.is_some(),
        load: text::load(&scenario.load),
        targets: targets.iter().map(|t| volume.on(t, &prices)).collect(),
        requests,
        turns,
        warmup_requests: u64::from(scenario.warmup.requests),
        ramp_up_requests: schedule.ramp_up_blocks(),
        preflight_requests: u64::from(!plan.targets.is_empty()),
        duration,
        rate: rate(&scenario, &schedule),
        samples: samples::sizes(run.limits.precision.as_ref(), &scenario, &pilots, requests),
        supposed: pilots.basis(),
        limits: Vec::new(),
        refused: Vec::new(),
        conflicts: Vec::new(),
    };
    limits(args, &scenario, &volume, &mut forecast);
    Ok(forecast)
}

/// The targets as a run would call them; the simulated vendors when none is named.
fn targets(specs: &[TargetSpec]) -> Result<Vec<TargetInfo>, Failure> {
    if specs.is_empty() {
        return Ok(simulated::targets_info());
    }
    let known = providers::registry();
    let names = unique_names(specs)?;
    specs
        .iter()
        .zip(names)
        .map(|(spec, name)| {
            if !known.contains(&spec.provider) {
                let all = known.providers().join(", ");
                let found = &spec.provider;
                return Err(Failure::usage(format!(
                    "no provider is called `{found}`; expected one of {all}"
                )));
            }
            let model = ModelInfo {
                provider: spec.provider.clone(),
                model: spec.model.clone(),
                endpoint: spec.base_url.clone().or_else(|| endpoint(&spec.provider)),
                capabilities: Capabilities::default(),
            };
            let simulated = spec.provider == "mock";
            Ok(TargetInfo { name, model, simulated, transport: None, unavailable: None })
        })
        .collect()
}

/// The address that the provider's variable gives: list prices hold at the vendor's own only.
fn endpoint(provider: &str) -> Option<String> {
    let variable = match provider {
        "openai" => "OPENAI_BASE_URL",
        "anthropic" => "ANTHROPIC_BASE_URL",
        "bedrock" => "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        "ollama" => "OLLAMA_HOST",
        _ => return None,
    };
    process_env(variable).filter(|v| !v.is_empty())
}

fn duration(
    scenario: &Scenario,
    schedule: &Schedule,
    pilots: &Pilots,
    turns: f64,
    rounds: f64,
    at_once: f64,
) -> Duration {
    let mut found = Duration {
        ramp_up_s: scenario.load.ramp_up().as_secs_f64() * rounds,
        window_s: schedule.end().map(|d| d.as_secs_f64() * rounds),
        window_at_most_s: None,
        drain_at_most_s: scenario.drain.as_secs_f64() * rounds,
        basis: "the plan's own end",
    };
    let Load::Closed { concurrency, think_time, .. } = &scenario.load else {
        if scenario.sessions.is_some() {
            found.basis = "the last conversation begins then; its turns follow";
        }
        return found;
    };
    let Some(requests) = scenario.requests else { return found };
    let pause = think_time.as_secs_f64()
        + scenario.sessions.as_ref().map_or(0.0, |s| s.think_time.as_secs_f64() * (1.0 - 1.0 / turns));
    let asked = requests as f64 * turns * at_once * rounds;
    // The last round of users counts in full.
    let takes = |each: f64| (asked / f64::from(*concurrency)).ceil() * (each + pause);
    let limit = found.window_s;
    let shorter = |s: f64| limit.map_or(s, |limit| limit.min(s));
    found.window_at_most_s = Some(shorter(takes(scenario.timeout.as_secs_f64())));
    match pilots.e2e() {
        Some(e2e) => {
            found.window_s = Some(shorter(takes(e2e)));
            found.basis = "as fast as the pilot's answers";
        }
        None => {
            found.window_s = None;
            found.basis = "as fast as answers come: --pilot tells how fast";
        }
    }
    found
}

/// The offered rate over time.
fn rate(scenario: &Scenario, schedule: &Schedule) -> Vec<Slice> {
    let Load::Open { rate, ramp_up, profile, trace, .. } = &scenario.load else { return Vec::new() };
    let end = schedule.end().map(|d| d.as_secs_f64());
    let mut slices = Vec::new();
    if trace.is_some() {
        let end = end.unwrap_or_default();
        let width = end / f64::from(SLICES);
        let mut counts = [0_u32; SLICES as usize];
        for send in schedule.sends().filter(|s| s.target == 0) {
            let slice = (send.offset.as_secs_f64() / width) as usize;
            counts[slice.min(SLICES as usize - 1)] += 1;
        }
        for (i, count) in (0..).zip(counts) {
            let (from_s, count) = (f64::from(i) * width, f64::from(count));
            let mean = if width > 0.0 { count / width } else { 0.0 };
            let to_s = Some(from_s + width);
            slices.push(Slice { from_s, to_s, rate_from: mean, rate_to: mean, requests: Some(count) });
        }
        return slices;
    }
    let first = profile.first().map_or(*rate, |p| p.from);
    if !ramp_up.is_zero() {
        let (from_s, requests) = (-ramp_up.as_secs_f64(), Some(scenario.load.ramp_up_arrivals()));
        slices.push(Slice { from_s, to_s: Some(0.0), rate_from: 0.0, rate_to: first, requests });
    }
    let mut at = 0.0;
    for piece in profile {
        let to = at + piece.duration.as_secs_f64();
        slices.push(Slice {
            from_s: at,
            to_s: Some(to),
            rate_from: piece.from,
            rate_to: piece.end_rate(),
            requests: Some(piece.arrivals()),
        });
        at = to;
        if end.is_some_and(|end| end <= at) {
            return slices;
        }
    }
    if *rate > 0.0 {
        let requests = end.map(|end| (end - at) * rate);
        slices.push(Slice { from_s: at, to_s: end, rate_from: *rate, rate_to: *rate, requests });
    }
    slices
}

/// What ends the run early, what refuses it, and which limits its plan passes.
fn limits(args: &PlanArgs, scenario: &Scenario, volume: &Volume, forecast: &mut Forecast) {
    let limits = &args.run.limits;
    let several = forecast.targets.len() > 1;
    if several && (limits.precision.is_some() || limits.stop_saturated) {
        forecast.refused.push("--precision and --stop-saturated watch one target".to_owned());
    }
    if let (Some(wish), Some(planned)) = (&limits.precision, forecast.requests) {
        match limits.rules(scenario, Some(planned)) {
            Ok(_) => forecast.limits.push(format!(
                "--precision: {} p{} within ± {} %, looked at at requests {}",
                wish.metric,
                wish.quantile * 100.0,
                wish.relative * 100.0,
                text::list(&limit_args::looks(planned))
            )),
            Err(e) => forecast.refused.push(e.message),
        }
    } else if let Err(e) = limits.rules(scenario, forecast.requests) {
        forecast.refused.push(e.message);
    }
    if let Some(share) = limits.stop_error_rate {
        forecast.limits.push(format!("--stop-error-rate: more than {} % of requests fail", share * 100.0));
    }
    if limits.stop_saturated {
        forecast
            .limits
            .push("--stop-saturated: requests in flight and time to first token both grow".to_owned());
    }
    if let (Some(n), Some(time), Load::Open { .. }) = (scenario.requests, scenario.duration, &scenario.load) {
        let offered = scenario.load.window_arrivals(time.as_secs_f64());
        let first = if (n as f64) < offered { "the number" } else { "the time" };
        forecast.limits.push(format!(
            "--num-requests {n} and --duration {} s: {first} ends it first (about {offered:.0} arrive in that time)",
            time.as_secs_f64()
        ));
    }
    let limited = limits.max_cost.is_some() || limits.max_tokens_total.is_some();
    if limited && !limit_args::has_worst_case(scenario) {
        let why =
            "--max-cost and --max-tokens-total need --max-tokens: without it an answer has no worst case";
        forecast.refused.push(why.to_owned());
        return;
    }
    if limited && !volume.is_bounded() {
        let why = "a budget cannot bound the tokens of images and documents; leave them or the budget out";
        forecast.refused.push(why.to_owned());
        return;
    }
    if let Some(limit) = limits.max_cost {
        if let Some(why) = forecast.targets.iter().find_map(|t| t.no_cost.clone()) {
            forecast.refused.push(format!("--max-cost cannot be kept: {why} (--prices)"));
        } else {
            let sum = volume::total(&forecast.targets);
            volume::budget(&format!("--max-cost ${limit}"), sum, limit, "$", forecast);
        }
    }
    if let Some(limit) = limits.max_tokens_total {
        let sum = volume.tokens_total(forecast.targets.len());
        volume::budget(&format!("--max-tokens-total {limit}"), sum, limit.into(), "", forecast);
    }
}
