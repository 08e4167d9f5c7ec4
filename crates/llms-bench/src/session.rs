//! One run from arguments to exit code: resolve, build, run, judge, render. Read top to bottom.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bench_analysis::{
    Analyzer,
    optimize::{Engine, EngineOptions},
};
use bench_profiling::{ProbeOptions, ProcessProbe};
use bench_report::{Document, Findings};
use bench_runner::Runner;
use bench_store::{JsonlSink, RunDir, RunSink, ScratchSink, StoredRecords, Tee};
use llms_core::{
    CallContext,
    bench::{
        Analysis, BenchmarkRunner, Budget, BuildInfo, Calibration, ComparisonStudy, Level,
        OptimizationEngine, OptimizationReport, RecordSource, RunManifest, RunPhase, StopRule, StudyOptions,
        Target,
    },
    wire::Transport,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    calibrate::{self, calibrate},
    cli::{ReportArgs, RunArgs},
    exit::{Exit, Failure},
    output::{self, Files},
    plan::{self, Plan},
    progress::Display,
    providers,
    signals::SignalsToEnd,
    simulated::Simulation,
    telemetry,
    tokenizer::{self, Counter, counting},
};

/// Requests up to which hints and ranks come with every report: beyond, they would cost more than the rest of the judging.
const IN_DEPTH: u64 = 5_000;

/// How many targets a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `compare`: two or more, or the simulated ones.
    Compare,
    /// `run`: exactly one.
    Run,
}

/// Runs `compare` or `run`.
///
/// # Errors
/// One message that says what was wrong, where, and what to do.
pub async fn execute(args: &RunArgs, kind: Kind) -> Result<Exit, Failure> {
    let plan = plan::resolve(args)?;
    check_count(&plan, kind)?;
    let analyzer = output::analyzer(args.prices.as_deref())?;
    for path in
        [&args.records, &args.truth_log, &args.output.json, &args.output.markdown].into_iter().flatten()
    {
        writable(path)?;
    }
    if !args.no_save {
        writable_dir(&args.output_dir)?;
    }
    let telemetry = telemetry::start(args.otlp.as_deref())?;
    let cancel = cancel_on_interrupt();
    let ctx = CallContext::new().with_cancel(cancel.clone());

    let transport = providers::transport(&args.connect)?;
    let simulation = match plan.targets[..] {
        [] => Some(Simulation::start(args.seed, args.truth_log.as_deref())?),
        _ => None,
    };
    let mut targets = match &simulation {
        Some(simulation) => simulation.targets(&plan.scenario, &transport).await?,
        None => providers::build(&plan.targets, &plan.scenario, &transport).await?,
    };

    let limits = Limits::of(args, &plan, &targets)?;
    let counter = tokenizer::load(&plan.scenario)?;
    if simulation.is_none() {
        providers::preflight(&mut targets, &plan.scenario, &ctx)
            .await
            .map_err(|e| if cancel.is_cancelled() { interrupted("") } else { e })?;
    }
    telemetry::instrument(&mut targets, &telemetry);

    let calibration = match args.calibrate {
        Some(gap) => Some(calibrate(&plan.scenario, gap, &args.connect, &ctx).await?),
        None => None,
    };
    let wire = (transport, calibration);
    let measured = measure(args, &plan, &targets, (limits, counter), wire, &ctx).await;
    // Before anything else may fail, and before the report, which says how it went.
    drop(targets);
    let delivered = telemetry::finish(telemetry).await;
    let Measured { manifest, records, dir } = measured?;
    let mut notes: Vec<String> = delivered.into_iter().collect();
    if let Some(simulation) = simulation {
        notes.extend(simulation.finish(&records)?);
    }
    let mut files: Files = Vec::new();
    if let Some(dir) = dir {
        files.push(("run".to_owned(), dir.display().to_string()));
    }
    for (label, path) in [("records", &args.records), ("truth log", &args.truth_log)] {
        files.extend(path.as_ref().map(|p| (label.to_owned(), p.display().to_string())));
    }
    if manifest.interrupted && !got_beyond_warmup(&records)? {
        let kept = files.iter().map(|(_, path)| path.as_str()).collect::<Vec<_>>().join(", ");
        let kept = if kept.is_empty() { String::new() } else { format!("; what there is stands in {kept}") };
        return Err(interrupted(&kept));
    }
    let exit = conclude((&manifest, &records), &analyzer, &args.output, notes, files, args.max_error_rate)?;
    Ok(if manifest.interrupted { Exit::Interrupted } else { exit })
}

fn got_beyond_warmup(records: &dyn RecordSource) -> Result<bool, Failure> {
    let mut beyond = false;
    records.each(&mut |r| {
        beyond |= r.phase != RunPhase::Warmup;
        Ok(())
    })?;
    Ok(beyond)
}

fn interrupted(kept: &str) -> Failure {
    Failure { exit: Exit::Interrupted, message: format!("interrupted before anything was measured{kept}") }
}

fn check_count(plan: &Plan, kind: Kind) -> Result<(), Failure> {
    match (kind, plan.targets.len()) {
        (Kind::Run, 0) => Err(Failure::usage(
            "run needs a target: --target provider:model, or a [[target]] table in llms-bench.toml; for the simulated vendors use `llms-bench compare`",
        )),
        (Kind::Run, n) if n > 1 => Err(Failure::usage(format!(
            "run measures one target, found {n}; use `llms-bench compare` for several"
        ))),
        (Kind::Compare, 1) => Err(Failure::usage(
            "compare needs at least two targets; name another --target, or use `llms-bench run` for one",
        )),
        _ => Ok(()),
    }
}

/// What ends a run before its plan does.
struct Limits {
    budget: Budget,
    rules: Box<dyn Fn() -> Vec<Box<dyn StopRule>> + Send + Sync>,
}

impl Limits {
    fn of(args: &RunArgs, plan: &Plan, targets: &[Target]) -> Result<Self, Failure> {
        let several = targets.len() > 1;
        if several && (args.limits.precision.is_some() || args.limits.stop_saturated) {
            return Err(Failure::usage(
                "--precision and --stop-saturated watch one target; use them with `llms-bench run`",
            ));
        }
        let scenario = &plan.scenario;
        let arrivals = scenario.duration.map(|d| scenario.load.window_arrivals(d.as_secs_f64()) as u64);
        let planned = match (scenario.requests, arrivals.filter(|n| *n > 0)) {
            (Some(n), Some(m)) => Some(n.min(m)),
            (n, m) => n.or(m),
        };
        let budget = args.limits.budget(scenario, targets, &output::prices(args.prices.as_deref())?)?;
        Ok(Self { budget, rules: Box::new(args.limits.rules(scenario, planned)?) })
    }
}

/// What a run left. The records are on disk, so that memory does not grow with the run: with the run when it is kept, else in
/// a file without a name.
struct Measured {
    manifest: RunManifest,
    records: StoredRecords,
    dir: Option<PathBuf>,
}

async fn measure(
    args: &RunArgs,
    plan: &Plan,
    targets: &[Target],
    (limits, counter): (Limits, Counter),
    (transport, calibration): (Arc<dyn Transport>, Option<Calibration>),
    ctx: &CallContext,
) -> Result<Measured, Failure> {
    let run_id = Uuid::now_v7().to_string();
    let display = Arc::new(Display::new(args.quiet));
    let mut builder = Runner::builder()
        .run_id(&run_id)
        .keep_records(false)
        .progress(display.clone())
        .build_info(build_info())
        .probe(Arc::new(ProcessProbe::here(ProbeOptions::default())));
    builder = counting(builder.budget(limits.budget).stop_rules(limits.rules), &counter).transport(transport);
    if let Some(calibration) = calibration {
        builder = builder.calibration(calibration);
    }
    if let Some(label) = &args.label {
        builder = builder.label(label);
    }
    let runner = builder.build();
    let mut sink = Tee::new();
    if let Some(path) = &args.records {
        sink = sink.with(JsonlSink::new(path));
    }
    let (mut dir, mut scratch) = (None, None);
    if args.no_save {
        let unnamed = ScratchSink::new()?;
        scratch = Some(unnamed.records());
        sink = sink.with(unnamed);
    } else {
        let run = RunSink::new(&args.output_dir, &run_id);
        dir = Some(run.dir().to_owned());
        sink = sink.with(run);
    }
    let result = runner.run(targets, &plan.scenario, &mut sink, ctx).await;
    display.finish();
    let manifest = result?.manifest;
    let records = match (scratch, &dir) {
        (Some(records), _) => records,
        (None, dir) => RunDir::at(dir.as_deref().unwrap_or(&args.output_dir)).open()?.1,
    };
    Ok(Measured { manifest, records, dir })
}

/// Renders a saved run again.
///
/// # Errors
/// When the run cannot be found or read.
pub fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    let analyzer = output::analyzer(args.prices.as_deref())?;
    let dir = RunDir::find(&args.output_dir, &args.run).map_err(|e| Failure::usage(e.message()))?;
    let (manifest, records) = dir.open().map_err(|e| Failure::run(e.message()))?;
    let files = vec![("run".to_owned(), dir.path().display().to_string())];
    let exit = conclude((&manifest, &records), &analyzer, &args.output, Vec::new(), files, 1.0)?;
    // Rendering succeeded; that the run lacked a target was its own exit code.
    Ok(if exit == Exit::Run { Exit::Ok } else { exit })
}

/// Judges, prints, writes files, and says how the program ends.
fn conclude(
    (manifest, records): (&RunManifest, &dyn RecordSource),
    analyzer: &Analyzer,
    out: &crate::cli::OutputArgs,
    mut notes: Vec<String>,
    files: Files,
    max_error_rate: f64,
) -> Result<Exit, Failure> {
    let calibration = manifest.client.as_ref().and_then(|c| c.calibration.as_ref());
    notes.extend(calibration.map(calibrate::line));
    let analysis = analyzer.analyze_from(manifest, records).map_err(|e| Failure::run(e.message()))?;
    let (hints, study) = in_depth((manifest, records), analyzer, &analysis)?;
    if hints.is_none() && IN_DEPTH < ended(&analysis) {
        notes.push(format!(
            "more than {IN_DEPTH} requests: what to change and how sure ranks are is told by `llms-bench tokens` and `llms-bench study`"
        ));
    }
    let findings = Findings { hints: hints.as_ref(), study: study.as_ref() };
    let doc = Document { manifest, analysis: &analysis, notes: &notes, files: &files, findings };
    output::write(&doc, out)?;
    let share = |t: &llms_core::bench::TargetAnalysis| t.failed as f64 / (t.ok + t.failed).max(1) as f64;
    let lost = analysis
        .targets
        .iter()
        .any(|t| t.unavailable.is_some() || t.ok + t.failed == 0 || share(t) > max_error_rate);
    Ok(match analysis.validity.level {
        _ if lost => Exit::Run,
        Level::Invalid if out.strict => Exit::Invalid,
        _ => Exit::Ok,
    })
}

/// Requests that ended in the window.
fn ended(analysis: &Analysis) -> u64 {
    analysis.targets.iter().map(|t| t.ok + t.failed).sum()
}

/// What to change, and how sure the ranks are; neither above so many requests that it would take long.
fn in_depth(
    (manifest, records): (&RunManifest, &dyn RecordSource),
    analyzer: &Analyzer,
    analysis: &Analysis,
) -> Result<(Option<OptimizationReport>, Option<ComparisonStudy>), Failure> {
    if !(1..=IN_DEPTH).contains(&ended(analysis)) {
        return Ok((None, None));
    }
    let engine =
        Engine::new(analyzer.clone(), EngineOptions::default()).map_err(|e| Failure::run(e.message()))?;
    let hints = engine.optimize(manifest, records).map_err(|e| Failure::run(e.message()))?;
    let study = match &analysis.comparison {
        Some(_) => Some(
            analyzer
                .study_from(manifest, records, &StudyOptions::default())
                .map_err(|e| Failure::run(e.message()))?,
        ),
        None => None,
    };
    Ok((Some(hints), study))
}

pub(crate) fn build_info() -> BuildInfo {
    BuildInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        commit: option_env!("LLMS_BENCH_COMMIT").map(str::to_owned),
        rustc: None,
    }
}

/// The first Ctrl-C or SIGTERM ends the run with what there is, the second ends the program.
pub(crate) fn cancel_on_interrupt() -> CancellationToken {
    let token = CancellationToken::new();
    let cancelled = token.clone();
    // Where signals cannot be listened to, the system's own way of ending programs stays.
    if let Ok(mut signals) = SignalsToEnd::listen() {
        tokio::spawn(async move {
            signals.asked().await;
            cancelled.cancel();
            signals.asked().await;
            std::process::exit(i32::from(Exit::Interrupted as u8));
        });
    }
    token
}

/// Refuses to begin a run whose result could not be kept: the file is opened for writing, and removed again when
/// it was not there before.
pub(crate) fn writable(path: &Path) -> Result<(), Failure> {
    let existed = path.exists();
    let opened = std::fs::OpenOptions::new().create(true).append(true).open(path);
    match opened {
        Ok(_) if existed => Ok(()),
        Ok(_) => std::fs::remove_file(path)
            .map_err(|e| Failure::usage(format!("cannot write {}: {e}", path.display()))),
        Err(e) => Err(Failure::usage(format!("cannot write {}: {e}; choose another place", path.display()))),
    }
}

/// The same for the directory of runs, which is made when it is missing.
pub(crate) fn writable_dir(dir: &Path) -> Result<(), Failure> {
    let existing = dir.ancestors().find(|d| d.exists()).unwrap_or(Path::new("."));
    let existing = if existing.as_os_str().is_empty() { Path::new(".") } else { existing };
    if existing.is_dir() {
        writable(&existing.join(format!(".llms-bench-{}", Uuid::now_v7()))).map_err(|_| {
            Failure::usage(format!(
                "--output-dir: cannot write to {}; choose another place, or --no-save",
                existing.display()
            ))
        })
    } else {
        Err(Failure::usage(format!(
            "--output-dir: {} is not a directory; choose another place, or --no-save",
            existing.display()
        )))
    }
}
