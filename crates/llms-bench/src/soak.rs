//! `llms-bench soak`: one long run, and what it says about degradation, error budget, recovery and the client itself.

pub(crate) mod args;
pub(crate) mod text;

use std::sync::Arc;

use bench_analysis::soak::{SoakAnalysis, SoakLog, SoakOptions};
use bench_profiling::{ProbeOptions, ProcessProbe};
use bench_runner::{
    Runner, RunnerBuilder,
    soak::{Burst, sustain},
};
use bench_store::{JsonlSink, RunSink, Tee};
use llms_core::{
    CallContext,
    bench::{Level, RecordSink, Scenario},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    calibrate::calibrate,
    cli::{Format, RunArgs},
    exit::{Exit, Failure},
    output, plan,
    progress::Display,
    providers,
    session::{build_info, cancel_on_interrupt, writable, writable_dir},
    tokenizer::{self, counting},
};
use args::SoakArgs;

/// What is printed as JSON.
#[derive(Serialize)]
pub(crate) struct Found<'a> {
    /// The run's id.
    run: &'a str,
    target: &'a str,
    simulated: bool,
    interrupted: bool,
    /// The rule or budget that ended the run before its plan did.
    stopped: Option<&'a str>,
    objectives: Vec<String>,
    #[serde(flatten)]
    analysis: &'a SoakAnalysis,
}

/// Runs a soak and prints what it says.
///
/// # Errors
/// What is wrong with the arguments; when the target cannot be used; when the run failed.
pub(crate) async fn execute(args: &SoakArgs) -> Result<Exit, Failure> {
    let run = &args.run;
    refuse(run, "soak")?;
    let shaped = run.shape.rate_profile.is_some() || run.replay.trace.is_some();
    if run.duration.is_none() && run.num_requests.is_none() && !shaped {
        return Err(Failure::usage("soak needs a length: --duration 30m, or --num-requests 20000"));
    }
    let plan = plan::resolve(run)?;
    if plan.targets.len() != 1 {
        let n = plan.targets.len();
        return Err(Failure::usage(format!("soak runs on one target, found {n}; name it with --target")));
    }
    let mut scenario = plan.scenario;
    let burst =
        args.burst_rate.zip(args.burst_at).map(|(rate, at)| Burst { rate, at, length: args.burst_for });
    if let Some(burst) = burst {
        if scenario.duration.is_none_or(|d| d <= burst.at + burst.length) {
            return Err(Failure::usage(
                "--burst-at: the burst must end before --duration, so that recovery shows",
            ));
        }
        scenario.load = burst.within(&scenario.load)?;
        scenario.validate().map_err(|e| Failure::from(e).at("scenario"))?;
    }
    writable_outputs(run)?;
    let ctx = CallContext::new().with_cancel(cancel_on_interrupt());
    let transport = providers::transport(&run.connect)?;
    let mut targets = providers::build(&plan.targets, &scenario, &transport).await?;
    let budget = run.limits.budget(&scenario, &targets, &output::prices(run.prices.as_deref())?)?;
    let rules = run.limits.rules(&scenario, planned(&scenario))?;
    providers::preflight(&mut targets, &scenario, &ctx).await?;
    let target = &targets[0];
    let display = Arc::new(Display::new(run.quiet));
    let (id, builder, sink) = outlets(run, "soak", None);
    let mut builder = builder.transport(transport);
    if let Some(gap) = run.calibrate {
        builder = builder.calibration(calibrate(&scenario, gap, &run.connect, &ctx).await?);
    }
    let mut log = SoakLog::new(&scenario);
    let builder = counting(builder, &tokenizer::load(&scenario)?)
        .progress(display.clone())
        .budget(budget)
        .stop_rules(rules);
    let sustained = sustain(target, &scenario, (builder, sink), &mut log, &ctx).await;
    display.finish();
    let manifest = sustained?;
    let options = SoakOptions {
        confidence: args.confidence,
        budget: args.budget,
        pairs: args.windows.clone(),
        burst: burst.map(|b| (b.at.as_secs_f64(), (b.at + b.length).as_secs_f64())),
    };
    let analysis = log.judge(&manifest, &options).map_err(|e| Failure::run(e.to_string()))?;
    if analysis.requests == 0 {
        let exit = if manifest.interrupted { Exit::Interrupted } else { Exit::Run };
        return Err(Failure { exit, message: "the run ended before anything was measured".to_owned() });
    }
    let found = Found {
        run: &id,
        target: &target.info.name,
        simulated: target.info.simulated,
        interrupted: manifest.interrupted,
        stopped: manifest.stopped.as_deref(),
        objectives: scenario.slo.iter().cloned().map(String::from).collect(),
        analysis: &analysis,
    };
    put(run, &found, || text::render(&found))?;
    Ok(exit(&analysis, manifest.interrupted, run))
}

/// Requests that the plan has, where it says.
fn planned(scenario: &Scenario) -> Option<u64> {
    let arrivals = scenario.duration.map(|d| scenario.load.window_arrivals(d.as_secs_f64()) as u64);
    match (scenario.requests, arrivals.filter(|n| *n > 0)) {
        (Some(n), Some(m)) => Some(n.min(m)),
        (n, m) => n.or(m),
    }
}

/// How the program ends.
fn exit(analysis: &SoakAnalysis, interrupted: bool, run: &RunArgs) -> Exit {
    let ended = (analysis.ok + analysis.failed).max(1) as f64;
    let spent = analysis.budget.as_ref().is_some_and(bench_analysis::soak::BudgetFound::alarm);
    if interrupted {
        Exit::Interrupted
    } else if analysis.ok + analysis.failed == 0 || analysis.failed as f64 / ended > run.max_error_rate {
        Exit::Run
    } else if run.output.strict && analysis.validity.level == Level::Invalid {
        Exit::Invalid
    } else if analysis.degrades() || spent {
        Exit::Gate
    } else if analysis.decided() {
        Exit::Ok
    } else {
        Exit::Inconclusive
    }
}

/// Flags of `run` that long and stepped runs cannot honour.
pub(crate) fn refuse(run: &RunArgs, command: &str) -> Result<(), Failure> {
    let given = [
        ("--truth-log", run.truth_log.is_some()),
        ("--markdown", run.output.markdown.is_some()),
        ("--otlp", run.otlp.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => {
            Err(Failure::usage(format!("{flag}: `{command}` has no such output; leave it out")))
        }
        None => Ok(()),
    }
}

/// Refuses to begin when an output could not be written.
pub(crate) fn writable_outputs(run: &RunArgs) -> Result<(), Failure> {
    for path in [&run.output.json, &run.records].into_iter().flatten() {
        writable(path)?;
    }
    if run.no_save { Ok(()) } else { writable_dir(&run.output_dir) }
}

/// Id, runner and sink of a run; `part` names one of several.
pub(crate) fn outlets(
    run: &RunArgs,
    what: &str,
    part: Option<&str>,
) -> (String, RunnerBuilder, Box<dyn RecordSink>) {
    let id = Uuid::now_v7().to_string();
    let label = run.label.as_deref().map_or_else(String::new, |l| format!("{l}, "));
    let of = part.map_or_else(String::new, |p| format!(", {p}"));
    let builder = Runner::builder()
        .run_id(&id)
        .label(format!("{label}{what}{of}"))
        .build_info(build_info())
        .probe(Arc::new(ProcessProbe::here(ProbeOptions::default())));
    let mut sink = Tee::new();
    if let Some(path) = &run.records {
        let path = part
            .map_or_else(|| path.clone(), |p| path.with_extension(format!("{}.jsonl", p.replace(' ', "-"))));
        sink = sink.with(JsonlSink::new(path));
    }
    if !run.no_save {
        sink = sink.with(RunSink::new(&run.output_dir, &id));
    }
    (id, builder, Box::new(sink))
}

/// Prints a finding and writes the file asked for.
pub(crate) fn put(
    run: &RunArgs,
    found: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(found).expect("invariant: findings are plain data") + "\n";
    match run.output.format {
        Format::Json => output::print(&json)?,
        Format::Text | Format::Markdown => output::print(&text())?,
    }
    match &run.output.json {
        Some(path) => std::fs::write(path, &json)
            .map_err(|e| Failure::run(format!("cannot write {}: {e}", path.display()))),
        None => Ok(()),
    }
}
