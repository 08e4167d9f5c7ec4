//! The runner: checks everything, draws the plan, lets the phases run, and returns what happened.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use async_trait::async_trait;
use llms_core::{
    CallContext, Error, ErrorCode, Result,
    bench::{
        BenchmarkRunner, Budget, BuildInfo, Calibration, ClientHealth, ClientProbe, Hashes, Load, Progress,
        RecordSink, RunManifest, RunResult, Scenario, StopRule, Target, TokenCounter, metric::METRICS,
        result::SCHEMA_VERSION,
    },
    config::ConfigErrors,
    wire::Transport,
};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio::{runtime::Handle, sync::mpsc};

use crate::{
    environment,
    executor::{Executor, ResponseValidator},
    expectations::Expectations,
    lines::Lines,
    pacer::Pacer,
    phases::{Course, Ending, Segment, conduct},
    purse::Purse,
    recorder::{QUEUED_RECORDS, Recorded, Recorder},
    workload::{Source, data_hash, hex, is_made, resolve, scenario_hash},
};

/// Makes the rules of one run.
type MakeRules = Arc<dyn Fn() -> Vec<Box<dyn StopRule>> + Send + Sync>;

/// Runs scenarios on targets. Immutable and cheap to clone: one runner serves any number of runs at once.
///
/// What a run does that its scenario does not spell out:
/// - all targets are warmed up at the same time, each by as many requests at once as the load allows;
/// - blocks of one prompt × all available targets are never cut by the plan, only by the end of a timed closed loop
///   or by an interruption;
/// - in a closed loop a user whose request failed is ready again no sooner than 10 ms after it was scheduled;
/// - [`Order::Sequential`](llms_core::bench::Order::Sequential) gives each target the whole duration, drains, and
///   goes on with the next; the window spans all of them;
/// - requests that the end of the drain or an interruption finds in flight or waiting for the cap are censored;
///   their `end` is that moment.
///
/// The clock is that of the context given to [`run`](BenchmarkRunner::run). On a simulated clock with all seeds
/// given, a run repeats bit for bit, ids included. On a real clock it needs a tokio runtime with I/O and time
/// enabled.
#[derive(Clone)]
pub struct Runner {
    progress: Arc<dyn Progress>,
    validator: Option<Arc<dyn ResponseValidator>>,
    counter: Option<Arc<dyn TokenCounter>>,
    run_id: Option<String>,
    label: Option<String>,
    build: BuildInfo,
    facts: BTreeMap<String, String>,
    keep_records: bool,
    probe: Option<Arc<dyn ClientProbe>>,
    wire: Option<Arc<dyn Transport>>,
    calibration: Option<Calibration>,
    budget: Budget,
    rules: Option<MakeRules>,
}

impl Runner {
    /// A runner with defaults: no progress display, records kept.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Configures a runner.
    pub fn builder() -> RunnerBuilder {
        RunnerBuilder(Self {
            progress: Arc::new(()),
            validator: None,
            counter: None,
            run_id: None,
            label: None,
            build: BuildInfo {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
                commit: None,
                rustc: None,
            },
            facts: BTreeMap::new(),
            keep_records: true,
            probe: None,
            wire: None,
            calibration: None,
            budget: Budget::default(),
            rules: None,
        })
    }
}

impl Default for Runner {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner")
            .field("run_id", &self.run_id)
            .field("label", &self.label)
            .field("keep_records", &self.keep_records)
            .finish_non_exhaustive()
    }
}

/// See [`Runner::builder`].
#[derive(Clone, Debug)]
pub struct RunnerBuilder(Runner);

impl RunnerBuilder {
    /// Shows where runs stand.
    pub fn progress(mut self, progress: Arc<dyn Progress>) -> Self {
        self.0.progress = progress;
        self
    }

    /// Checks every answer that came well; one that does not pass counts as failed.
    pub fn validator(mut self, validator: Arc<dyn ResponseValidator>) -> Self {
        self.0.validator = Some(validator);
        self
    }

    /// Makes synthetic prompts exactly as long as asked, by this vocabulary, and counts every answer beside the server's own
    /// count, when its request is over. Without one lengths are approximate, and the manifest says so.
    pub fn token_counter(mut self, counter: Arc<dyn TokenCounter>) -> Self {
        self.0.counter = Some(counter);
        self
    }

    /// The id of the next run, for callers that name directories before it begins. Left out, every run gets an id
    /// of its own that sorts by time.
    pub fn run_id(mut self, id: impl Into<String>) -> Self {
        self.0.run_id = Some(id.into());
        self
    }

    /// The user's label.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.0.label = Some(label.into());
        self
    }

    /// The build that measures; this crate's version and profile unless given.
    pub fn build_info(mut self, build: BuildInfo) -> Self {
        self.0.build = build;
        self
    }

    /// A further fact for the manifest.
    pub fn fact(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.facts.insert(key.into(), value.into());
        self
    }

    /// Whether [`RunResult::records`] is filled (the default). Without, memory stays flat however long the run:
    /// the sink alone has the records.
    pub fn keep_records(mut self, keep: bool) -> Self {
        self.0.keep_records = keep;
        self
    }

    /// Watches this process while it measures, from the first measured request to the end of the last; what it sees stands in
    /// [`RunManifest::client`].
    pub fn probe(mut self, probe: Arc<dyn ClientProbe>) -> Self {
        self.0.probe = Some(probe);
        self
    }

    /// The transport of the targets. Connections are opened in advance, as many as the load will want at once; what it counts
    /// between the first measured request and the end of the last stands in [`ClientHealth::transport`].
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.0.wire = Some(transport);
        self
    }

    /// What this client was wrong by on a twin, for [`ClientHealth::calibration`].
    pub fn calibration(mut self, calibration: Calibration) -> Self {
        self.0.calibration = Some(calibration);
        self
    }

    /// What a run may spend. When it is used up nothing more is sent, what is in flight is waited for, and
    /// [`RunManifest::stopped`] says so.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.0.budget = budget;
        self
    }

    /// Rules that end the sending when they see reason to; `make` gives each run rules of its own. What is in flight is waited
    /// for, and [`RunManifest::stopped`] has the reason.
    pub fn stop_rules(mut self, make: impl Fn() -> Vec<Box<dyn StopRule>> + Send + Sync + 'static) -> Self {
        self.0.rules = Some(Arc::new(make));
        self
    }

    /// The runner.
    pub fn build(self) -> Runner {
        self.0
    }
}

#[async_trait]
impl BenchmarkRunner for Runner {
    async fn run(
        &self,
        targets: &[Target],
        scenario: &Scenario,
        sink: &mut dyn RecordSink,
        ctx: &CallContext,
    ) -> Result<RunResult> {
        if ctx.cancel.is_cancelled() {
            return Err(Error::cancelled("runner.run"));
        }
        let scenario = check(targets, scenario)?;
        let available: Vec<u32> =
            (0..).zip(targets).filter(|(_, t)| t.model.is_some()).map(|(i, _)| i).collect();
        let segments = Segment::plan(&scenario, &available);
        let mut manifest = self.manifest(targets, scenario, &segments, ctx);
        sink.begin(&manifest)?;

        let ending = Ending::new(ctx.cancel.child_token());
        // Dropping this future ends everything it started.
        let _stop_when_dropped = ending.cut.clone().drop_guard();
        let (mut executor, messages) = self.executor(targets, &manifest, ctx);
        executor.enough = ending.enough.clone();
        let purse = executor.purse.clone();
        let lines = executor.lines.clone();
        let in_flight = executor.in_flight.clone();
        let course = tokio::spawn(conduct(Arc::new(executor), segments, ending.clone()));
        let recorder = Recorder {
            sink: &mut *sink,
            progress: &*self.progress,
            clock: ctx.clock.clone(),
            started: manifest.started,
            planned: (!manifest.planned.is_empty()).then(|| manifest.planned.iter().sum()),
            planned_s: manifest.scenario.duration.map(|d| d.as_secs_f64()),
            keep: self.keep_records,
            rules: self.rules.as_ref().map(|make| make()).unwrap_or_default(),
        };
        let recorded = {
            let collect = recorder.collect(messages, || in_flight.load(Relaxed), &ending);
            let mut collect = pin!(collect);
            let out_of_time = async { ctx.clock.sleep_until(ctx.deadline.unwrap_or_default()).await };
            tokio::select! {
                biased;
                recorded = &mut collect => recorded,
                () = out_of_time, if ctx.deadline.is_some() => {
                    ending.cut.cancel();
                    collect.await
                }
            }
        };
        let course = course.await;
        manifest.client = self.suffered(&lines);
        manifest.facts.extend(purse.facts());
        manifest.facts.extend(lines.facts());
        close(&mut manifest, &recorded, course.as_ref().copied().unwrap_or_default(), ctx);
        let finished = sink.finish(&manifest);
        if course.is_err() {
            return Err(Error::new(
                "runner.run",
                ErrorCode::Unknown,
                "a task of the runner panicked, which is a bug; what was recorded is saved",
            ));
        }
        match recorded.error {
            Some(e) => Err(e),
            None => finished.map(|()| RunResult { manifest, records: recorded.records }),
        }
    }

    fn supported_metrics(&self) -> Vec<&'static str> {
        METRICS.iter().map(|m| m.name).collect()
    }
}

/// Everything that can be wrong before anything is sent; the scenario ready to run.
fn check(targets: &[Target], scenario: &Scenario) -> Result<Scenario> {
    let mut errors = ConfigErrors::default();
    errors.check(!targets.is_empty(), "targets", "expected at least one target", "none");
    for (i, t) in targets.iter().enumerate() {
        let name = &t.info.name;
        errors.check(!name.trim().is_empty(), &format!("targets[{i}].name"), "expected a name", "nothing");
        if targets[..i].iter().any(|other| other.info.name == *name) {
            errors.push(format!("targets[{i}].name"), "expected a name used once", name);
        }
    }
    let scenario = resolve(scenario);
    errors.nest("scenario", scenario.validate());
    errors.nest("scenario", Expectations::compile(&scenario).map(|_| ()));
    errors.into_result()?;
    let available: Vec<&Target> = targets.iter().filter(|t| t.model.is_some()).collect();
    for target in &available {
        scenario.validate_provider(&target.info.model)?;
    }
    if available.is_empty() {
        let reasons: Vec<String> = targets
            .iter()
            .map(|t| {
                let reason = t.info.unavailable.as_deref().unwrap_or("no reason given");
                format!("{}: {reason}", t.info.name)
            })
            .collect();
        return Err(Error::new(
            "runner.run",
            ErrorCode::ModelNotAvailable,
            format!("none of the targets is available: {}", reasons.join("; ")),
        ));
    }
    Ok(scenario)
}

impl Runner {
    /// What the client suffered, as far as somebody watched.
    fn suffered(&self, lines: &Lines) -> Option<Box<ClientHealth>> {
        let transport = lines.counted();
        if self.probe.is_none() && transport.is_none() && self.calibration.is_none() {
            return None;
        }
        let unwatched = || ClientHealth::unwatched("this run had no process probe");
        let health = self.probe.as_ref().map_or_else(unwatched, |p| p.finish());
        Some(Box::new(ClientHealth { transport, calibration: self.calibration.clone(), ..health }))
    }

    fn manifest(
        &self,
        targets: &[Target],
        scenario: Scenario,
        segments: &[Segment],
        ctx: &CallContext,
    ) -> RunManifest {
        let started_at = ctx.clock.wall();
        let hashes = Hashes {
            scenario: scenario_hash(&scenario),
            schedule: joined_hash(segments),
            data: data_hash(&scenario),
        };
        let run_id = self.run_id.clone().unwrap_or_else(|| new_run_id(ctx, started_at, &scenario, &hashes));
        let mut environment = environment::hardware();
        if ctx.clock.is_real() {
            environment.load_before = environment::load_average();
        }
        RunManifest {
            schema_version: SCHEMA_VERSION,
            run_id,
            label: self.label.clone(),
            started_at,
            started: ctx.clock.now(),
            planned: planned(targets.len(), &scenario, segments),
            targets: targets.iter().map(|t| t.info.clone()).collect(),
            hashes,
            environment,
            build: self.build.clone(),
            window: None,
            client: None,
            stopped: None,
            complete: false,
            interrupted: false,
            facts: self
                .facts
                .clone()
                .into_iter()
                .chain(facts(&scenario, self.counter.as_deref(), ctx))
                .collect(),
            scenario,
        }
    }

    fn executor(
        &self,
        targets: &[Target],
        manifest: &RunManifest,
        ctx: &CallContext,
    ) -> (Executor, mpsc::Receiver<crate::recorder::Message>) {
        let (records, messages) = mpsc::channel(QUEUED_RECORDS);
        let models = targets.iter().map(|t| t.model.clone()).collect();
        let mut executor = Executor::new(
            manifest.scenario.clone(),
            models,
            ctx.clock.clone(),
            manifest.run_id.as_str().into(),
            records,
        );
        executor.validator = Expectations::with(&manifest.scenario, self.validator.clone());
        executor.source = Source::new(&manifest.scenario, self.counter.clone());
        executor.counter.clone_from(&self.counter);
        executor.observer.clone_from(&ctx.observer);
        executor.probe.clone_from(&self.probe);
        executor.lines = Arc::new(Lines::new(self.wire.clone(), targets));
        executor.purse = Arc::new(Purse::new(self.budget.clone()));
        (executor, messages)
    }
}

/// Measured requests planned per target, 0 for those that are skipped; empty when only time ends the run, and for
/// conversations, whose turns depend on the answers.
fn planned(targets: usize, scenario: &Scenario, segments: &[Segment]) -> Vec<u64> {
    if scenario.sessions.is_some() {
        return Vec::new();
    }
    let mut planned = vec![0; targets];
    for segment in segments {
        let Some(blocks) = segment.schedule.planned() else { return Vec::new() };
        for &target in &segment.targets {
            planned[target as usize] = blocks;
        }
    }
    planned
}

fn joined_hash(segments: &[Segment]) -> String {
    let mut hash = Sha256::new();
    for segment in segments {
        hash.update(segment.schedule.hash());
        for target in &segment.targets {
            hash.update(target.to_le_bytes());
        }
    }
    hex(&hash.finalize())
}

/// A UUID that sorts by time; on a simulated clock made of what is run, so that it repeats.
fn new_run_id(ctx: &CallContext, at: OffsetDateTime, scenario: &Scenario, hashes: &Hashes) -> String {
    let mut tail = [0_u8; 10];
    if ctx.clock.is_real() {
        tail = rand::random();
    } else {
        let mut hash = Sha256::new();
        hash.update(format!("{hashes:?} {:?}", scenario.seeds));
        tail.copy_from_slice(&hash.finalize()[..10]);
    }
    let ms = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(ms, &tail).into_uuid().to_string()
}

/// How requests are paced and run, under stable keys.
fn facts(
    scenario: &Scenario,
    counter: Option<&dyn TokenCounter>,
    ctx: &CallContext,
) -> Vec<(String, String)> {
    let pacer = match scenario.load {
        Load::Closed { think_time, .. } if think_time.is_zero() => "none",
        _ => Pacer::new(ctx.clock.clone()).name(),
    };
    let mut facts = vec![("pacer".to_owned(), pacer.to_owned())];
    if scenario.sessions.is_some() {
        let text = "each later turn is due when the answer before it has ended and the user has paused: closed loop by nature";
        facts.push(("sessions".to_owned(), text.to_owned()));
    }
    if let Some(counter) = counter {
        facts.push(("tokenizer".to_owned(), counter.name().to_owned()));
    }
    if is_made(scenario) {
        let text = counter.map_or_else(
            || "approximate: one common English word a token, no tokenizer at hand".to_owned(),
            |c| format!("exact by {}, without chat template", c.name()),
        );
        facts.push(("prompt_tokens".to_owned(), text));
    }
    if ctx.clock.is_real()
        && let Ok(runtime) = Handle::try_current()
    {
        let flavor = format!("{:?}", runtime.runtime_flavor());
        let workers = runtime.metrics().num_workers();
        facts.push(("runtime".to_owned(), format!("tokio {flavor}, {workers} workers")));
    }
    facts
}

/// Writes the end of the run into its manifest.
fn close(manifest: &mut RunManifest, recorded: &Recorded, course: Course, ctx: &CallContext) {
    manifest.window = course.window;
    manifest.stopped.clone_from(&recorded.stopped);
    manifest.interrupted = course.cut && recorded.error.is_none();
    manifest.complete = !course.cut && !course.enough && recorded.error.is_none() && course.window.is_some();
    if ctx.clock.is_real() {
        manifest.environment.load_after = environment::load_average();
    }
    manifest.facts.insert("late_sends".to_owned(), recorded.late.to_string());
    manifest.facts.insert("send_lag_max_us".to_owned(), recorded.max_lag.as_micros().to_string());
}
