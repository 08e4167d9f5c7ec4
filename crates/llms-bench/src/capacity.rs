//! `llms-bench capacity`: the highest rate at which a service holds an objective, with confidence.

use std::{fmt::Write as _, sync::Arc};

use bench_analysis::{
    search::{CapacityOptions, CapacitySearch},
    stats::usl::{Parameter, usl},
    throughput::SloJudge,
};
use bench_profiling::{ProbeOptions, ProcessProbe};
use bench_runner::{CapacityLimits, Runner, StepLoad, search_capacity};
use bench_store::{JsonlSink, RunSink, Tee};
use llms_core::{
    CallContext,
    bench::{RecordSink, Scenario, SearchStep, Slo, StepReport, StepVerdict},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    cli::{CapacityArgs, Format, RunArgs},
    exit::{Exit, Failure},
    plan, providers,
    session::{build_info, cancel_on_interrupt, writable, writable_dir},
    tokenizer::{self, counting},
};

/// What is printed as JSON.
#[derive(Serialize)]
struct Found<'a> {
    target: &'a str,
    objectives: Vec<String>,
    /// Share of requests that must meet all of them.
    share: f64,
    margin: f64,
    answer: &'a SearchStep,
    steps: &'a [StepReport],
    runs: &'a [String],
    not_recovered: &'a [u32],
    /// Mean load and throughput of the steps.
    loads: &'a [StepLoad],
    /// A description of how throughput grows with load; never the answer.
    scalability: Scalability,
    seed: u64,
}

/// The Universal Scalability Law through the steps, X(N) = γN / (1 + σ(N−1) + κN(N−1)), or why there is none.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Scalability {
    /// A fit.
    Fit {
        /// Contention, with its 95 % limits where they exist.
        sigma: (f64, Option<[f64; 2]>),
        /// Cost of each pair that must agree.
        kappa: (f64, Option<[f64; 2]>),
        /// Throughput of one.
        gamma: (f64, Option<[f64; 2]>),
        /// Requests in flight at the highest throughput; absent when the fit never falls.
        knee: Option<f64>,
        /// Answers per second there.
        knee_throughput: Option<f64>,
        r_squared: f64,
        points: usize,
    },
    /// Too few or too similar loads.
    Absent(String),
}

impl Scalability {
    fn of(loads: &[StepLoad]) -> Self {
        // The law begins with one request in flight.
        let points = || loads.iter().filter(|l| l.in_flight >= 1.0);
        let n: Vec<f64> = points().map(|l| l.in_flight).collect();
        let x: Vec<f64> = points().map(|l| l.throughput).collect();
        match usl(&n, &x, 0.95) {
            Err(e) => Self::Absent(e.to_string()),
            Ok(fit) => {
                let of = |p: Parameter| (p.value, p.interval.map(|i| [i.low, i.high]));
                Self::Fit {
                    sigma: of(fit.sigma),
                    kappa: of(fit.kappa),
                    gamma: of(fit.gamma),
                    knee: fit.peak,
                    knee_throughput: fit.peak_throughput,
                    r_squared: fit.r_squared,
                    points: fit.points,
                }
            }
        }
    }

    fn text(&self) -> String {
        match self {
            Self::Absent(why) => format!("no scalability fit: {why}\n"),
            Self::Fit { sigma, kappa, gamma, knee, knee_throughput, r_squared, points } => {
                let knee = match (knee, knee_throughput) {
                    (Some(n), Some(x)) => format!("highest throughput {x:.1}/s with {n:.1} in flight"),
                    _ => "no knee within reach: the fit never falls".to_owned(),
                };
                let of = |(value, limits): &(f64, Option<[f64; 2]>)| {
                    let limits =
                        limits.map_or_else(String::new, |[low, high]| format!(" [{low:.4}, {high:.4}]"));
                    format!("{value:.4}{limits}")
                };
                format!(
                    "scalability (a description, {points} steps, R² {r_squared:.2}): {knee}; one alone {}/s, contention {}, \
                     coherency {}\n",
                    of(gamma),
                    of(sigma),
                    of(kappa)
                )
            }
        }
    }
}

/// Runs a search and prints it.
///
/// # Errors
/// What is wrong with the arguments; when the target cannot be used.
pub(crate) async fn execute(mut args: CapacityArgs) -> Result<Exit, Failure> {
    refuse(&args.run)?;
    args.run.request_rate = Some(args.start_rate.unwrap_or(args.min_rate));
    let (args, run) = (&args, &args.run);
    let plan = plan::resolve(run)?;
    if plan.targets.len() != 1 {
        let n = plan.targets.len();
        return Err(Failure::usage(format!(
            "capacity searches on one target, found {n}; name it with --target"
        )));
    }
    let mut scenario = plan.scenario;
    let share = share(&scenario, args)?;
    let seed = run.seed.unwrap_or_else(rand::random);
    let options = options(args, share, seed);
    let mut policy =
        CapacitySearch::new(options).map_err(|e| Failure::usage(e.to_string()).at("capacity"))?;
    if let Some(path) = &run.output.json {
        writable(path)?;
    }
    if let Some(path) = &run.records {
        writable(path)?;
    }
    if !run.no_save {
        writable_dir(&run.output_dir)?;
    }
    scenario.seeds =
        llms_core::bench::Seeds { nonce: scenario.seeds.nonce, ..llms_core::bench::Seeds::from_one(seed) };
    let cancel = cancel_on_interrupt();
    let ctx = CallContext::new().with_cancel(cancel);
    let transport = providers::transport(&run.connect)?;
    let mut targets = providers::build(&plan.targets, &scenario, &transport).await?;
    providers::preflight(&mut targets, &scenario, &ctx).await?;
    let target = &targets[0];
    let judge = Arc::new(SloJudge::new(&scenario));
    let counter = tokenizer::load(&scenario)?;
    let limits = CapacityLimits { step_time: args.step_time, recovery: args.recovery };
    let found = search_capacity(
        target,
        &scenario,
        limits,
        (&mut policy, judge),
        |step| {
            let id = Uuid::now_v7().to_string();
            let label = run.label.as_deref().map_or_else(String::new, |l| format!("{l}, "));
            let builder = Runner::builder()
                .run_id(&id)
                .label(format!("{label}capacity, step {step}"))
                .build_info(build_info())
                .transport(transport.clone())
                .probe(Arc::new(ProcessProbe::here(ProbeOptions::default())));
            let builder = counting(builder, &counter);
            let mut sink = Tee::new();
            if let Some(path) = &run.records {
                sink = sink.with(JsonlSink::new(path.with_extension(format!("{step}.jsonl"))));
            }
            if !run.no_save {
                sink = sink.with(RunSink::new(&run.output_dir, &id));
            }
            progress(run.quiet, step);
            (builder, Box::new(sink) as Box<dyn RecordSink>)
        },
        &ctx,
    )
    .await?;
    let shown = Found {
        target: &target.info.name,
        objectives: scenario.slo.iter().cloned().map(String::from).collect(),
        share,
        margin: options.margin,
        answer: &found.answer,
        steps: &found.steps,
        runs: &found.runs,
        not_recovered: &found.not_recovered,
        loads: &found.loads,
        scalability: Scalability::of(&found.loads),
        seed,
    };
    let json = serde_json::to_string_pretty(&shown).expect("invariant: a capacity is plain data") + "\n";
    if let Some(path) = &run.output.json {
        std::fs::write(path, &json)
            .map_err(|e| Failure::run(format!("cannot write {}: {e}", path.display())))?;
    }
    match run.output.format {
        Format::Json => crate::output::print(&json)?,
        Format::Text | Format::Markdown => crate::output::print(&text(&shown))?,
    }
    Ok(match &found.answer {
        SearchStep::Certified(_) => Exit::Ok,
        SearchStep::NotCertified(why)
            if matches!(why.reason, llms_core::bench::SearchFailure::Interrupted) =>
        {
            Exit::Interrupted
        }
        _ => Exit::Inconclusive,
    })
}

#[allow(clippy::print_stderr, reason = "progress belongs on standard error")]
fn progress(quiet: bool, step: u32) {
    if !quiet {
        eprintln!("capacity: step {step}");
    }
}

/// Flags of `run` that a search decides itself.
fn refuse(run: &RunArgs) -> Result<(), Failure> {
    let given = [
        ("--request-rate", run.request_rate.is_some()),
        ("--concurrency", run.concurrency.is_some()),
        ("--num-requests", run.num_requests.is_some()),
        ("--duration", run.duration.is_some()),
        ("--truth-log", run.truth_log.is_some()),
        ("--markdown", run.output.markdown.is_some()),
        ("--otlp", run.otlp.is_some()),
        ("--calibrate", run.calibrate.is_some()),
        ("--rate-profile", run.shape.rate_profile.is_some()),
        ("--ramp-up", run.shape.ramp_up.is_some()),
        ("--think-time", run.shape.think_time.is_some()),
        ("--trace", run.replay.trace.is_some()),
        ("--max-cost", run.limits.max_cost.is_some()),
        ("--max-tokens-total", run.limits.max_tokens_total.is_some()),
        ("--precision", run.limits.precision.is_some()),
        ("--stop-saturated", run.limits.stop_saturated),
        ("--stop-error-rate", run.limits.stop_error_rate.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Failure::usage(format!(
            "{flag}: the search chooses rate and length of its steps; see --min-rate, --max-rate, --max-requests, --step-time"
        ))),
        None => Ok(()),
    }
}

/// The share of requests that must be good.
fn share(scenario: &Scenario, args: &CapacityArgs) -> Result<f64, Failure> {
    if scenario.slo.is_empty() {
        return Err(Failure::usage(
            "capacity needs an objective to hold: --slo 'ttft:p99<500ms', or --goodput 'ttft:500' with --share 0.99",
        ));
    }
    let mut shares: Vec<f64> =
        scenario.slo.iter().filter_map(|slo: &Slo| slo.share).chain(args.share).collect();
    shares.dedup();
    match shares[..] {
        [] => Ok(0.99),
        [one] => Ok(one),
        _ => Err(Failure::usage(
            "the objectives name different shares; a search certifies one: give the limits with --goodput and the share with --share",
        )),
    }
}

fn options(args: &CapacityArgs, share: f64, seed: u64) -> CapacityOptions {
    let default = CapacityOptions::default();
    CapacityOptions {
        target: share,
        margin: args.margin.unwrap_or(default.margin),
        confidence: args.confidence,
        rate_min: args.min_rate,
        rate_start: args.start_rate.unwrap_or(args.min_rate),
        rate_max: args.max_rate,
        requests_max: args.max_requests,
        resolution: args.resolution,
        settle: args.settle,
        seed,
    }
}

fn text(found: &Found<'_>) -> String {
    let mut out = format!(
        "{}: {} of requests with {}\n\n",
        found.target,
        percent(found.share),
        found.objectives.join(", ")
    );
    let _ = writeln!(out, "step      rate/s  why       requests    good  interval          verdict");
    for s in found.steps {
        let share = |v: Option<f64>| v.map_or_else(|| "–".to_owned(), percent);
        let good = if s.requests > 0 { percent(s.good as f64 / s.requests as f64) } else { "–".to_owned() };
        let ended = s.ended.map_or_else(String::new, |e| {
            let why = match e {
                llms_core::bench::StepEnd::TimeLimit => "time limit",
                llms_core::bench::StepEnd::RateNotReached => "this client could not offer the rate",
                llms_core::bench::StepEnd::Interrupted => "interrupted",
            };
            format!(" ({why})")
        });
        let _ = writeln!(
            out,
            "{:>4}  {:>10.2}  {:8}  {:>8}  {good:>6}  [{}, {}]  {}{ended}",
            s.probe.step,
            s.probe.rate,
            s.probe.purpose.as_str(),
            s.requests,
            share(s.low),
            share(s.high),
            match s.verdict {
                StepVerdict::Pass => "holds",
                StepVerdict::Fail => "does not hold",
                StepVerdict::Undecided => "undecided",
            }
        );
    }
    out.push('\n');
    for step in found.not_recovered {
        let _ = writeln!(out, "before step {step} the service had not come back to its latency at rest");
    }
    match found.answer {
        SearchStep::Certified(c) => {
            let high = c.high.map_or_else(
                || "no rate up to --max-rate failed".to_owned(),
                |h| format!("{h:.2}/s does not"),
            );
            let _ = writeln!(
                out,
                "capacity: {:.2}/s holds the objective ({} − {} points, {} confidence, confirmed by a fresh run); {high}",
                c.low,
                percent(found.share),
                found.margin * 100.0,
                percent(c.confidence)
            );
        }
        SearchStep::NotCertified(why) => {
            let _ = writeln!(out, "not certified: {}", why.reason);
        }
        SearchStep::Probe(_) => {}
    }
    out.push_str(&found.scalability.text());
    out
}

fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}
