//! `llms-bench validate`: proves on this machine that the instrument is right.
//!
//! The simulated vendors run in a process of their own and log what they really did; every protocol is driven at several
//! loads, and what was measured is held against that log. PASS and FAIL rest on tolerances printed beside them; where the
//! machine did not give this process its time, tails are CANNOT TELL instead of a verdict on the tool.

pub mod against;
mod cases;
mod long;
mod machine;
mod render;
pub(crate) mod server;
mod statistics;

use std::{sync::Arc, time::Duration};

use bench_analysis::{Analyzer, simulate};
use bench_mock::{TruthRecord, server::Protocol};
use bench_profiling::{ProbeOptions, ProcessProbe};
use bench_runner::Runner;
use llms_core::{
    CallContext,
    bench::{
        Arrivals, BenchmarkRunner as _, Level, Load, NullSink, PerformanceAnalyzer as _, RequestRecord,
        RunPhase, RunResult, Scenario, Target, TargetInfo, Verdict as Difference,
    },
    config::ModelConfig,
    registry::BuildContext,
    wire::Transport,
};
use serde::Serialize;

use crate::{
    cli::{DoctorFormat, ValidateArgs},
    exit::{Exit, Failure},
    providers,
    signals::SignalsToEnd,
};
use against::{Account, Errors, hold};
use cases::{LEVELS, SHAPES, Tolerance, on, scenario};
use server::Server;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// Within its tolerance.
    Pass,
    /// The machine did not allow a judgement.
    CannotTell,
    /// Not within its tolerance.
    Fail,
}

/// One check.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) case: String,
    /// Where: a protocol, or the tool as a whole.
    pub(crate) subject: String,
    pub(crate) verdict: Verdict,
    /// What was found, with what was allowed.
    pub(crate) found: String,
}

/// Distances from the truth at one load on one protocol, in microseconds; absent where nothing could be compared.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Distances {
    pub(crate) in_flight: u32,
    pub(crate) protocol: &'static str,
    pub(crate) requests: u64,
    /// p50 and p99 of the distance.
    pub(crate) ttft_us: Option<(f64, f64)>,
    pub(crate) icl_us: Option<(f64, f64)>,
    pub(crate) e2e_us: Option<(f64, f64)>,
    pub(crate) arrival_us: Option<(f64, f64)>,
    /// Share of gaps inside one read.
    pub(crate) merged: Option<f64>,
    pub(crate) verdict: Verdict,
}

/// Everything found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Validation {
    pub(crate) distances: Vec<Distances>,
    pub(crate) checks: Vec<Check>,
    /// Simulations of the statistics.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) statistics: Vec<simulate::Row>,
    /// What of the machine stood in the way.
    pub(crate) machine: Vec<String>,
}

impl Validation {
    fn verdict(&self) -> Verdict {
        let checks = self.checks.iter().map(|c| c.verdict);
        let rows = self.statistics.iter().map(|r| if r.pass { Verdict::Pass } else { Verdict::Fail });
        checks
            .chain(self.distances.iter().map(|d| d.verdict))
            .chain(rows)
            .max()
            .unwrap_or(Verdict::CannotTell)
    }

    fn check(&mut self, case: &str, subject: &str, verdict: Verdict, found: String) {
        self.checks.push(Check { case: case.to_owned(), subject: subject.to_owned(), verdict, found });
    }
}

/// Runs all checks and prints them.
///
/// # Errors
/// When the simulated vendors cannot be started, or the run is interrupted.
pub(crate) async fn validate(args: &ValidateArgs) -> Result<Exit, Failure> {
    let ctx = CallContext::new();
    let mut signals =
        SignalsToEnd::listen().map_err(|e| Failure::run(format!("cannot listen for Ctrl-C: {e}")))?;
    let found = tokio::select! {
        found = all(args, &ctx) => found?,
        () = signals.asked() => {
            return Err(Failure { exit: Exit::Interrupted, message: "interrupted; nothing was judged".to_owned() });
        }
    };
    let text = match args.format {
        DoctorFormat::Text => render::text(&found),
        DoctorFormat::Json => render::json(&found),
    };
    crate::output::print(&text)?;
    Ok(if found.verdict() == Verdict::Fail { Exit::Gate } else { Exit::Ok })
}

async fn all(args: &ValidateArgs, ctx: &CallContext) -> Result<Validation, Failure> {
    if args.statistics {
        return statistics::statistics(args).await;
    }
    let bench = Bench {
        server: Server::start(cases::PROFILES, args.long.is_none())?,
        transport: providers::transport(&args.connect)?,
        ctx: ctx.clone(),
        quiet: args.quiet,
    };
    let mut found = Validation::default();
    let before = machine::Pressure::now();
    match args.long {
        Some(requests) => long::long(&bench, requests, ctx, &mut found).await?,
        None => {
            bench.accuracy(&mut found).await?;
            bench.open_loop(&mut found).await?;
            bench.shapes(&mut found).await?;
            bench.failures(&mut found).await?;
            bench.queue(&mut found).await?;
            bench.freeze(&mut found).await?;
            bench.same_and_different(&mut found).await?;
        }
    }
    found.machine = machine::Pressure::now().since(&before);
    if cfg!(debug_assertions) {
        found.check(
            "build",
            "this program",
            Verdict::Fail,
            "a debug build measures itself; build with --release".to_owned(),
        );
    }
    Ok(found)
}

struct Bench {
    server: Server,
    transport: Arc<dyn Transport>,
    ctx: CallContext,
    quiet: bool,
}

/// One run and the truth about it.
struct Held {
    run: RunResult,
    truth: Vec<TruthRecord>,
    /// Whether the tool itself found its numbers wanting.
    level: Level,
    reasons: Vec<String>,
}

impl Held {
    fn of(&self, target: u32) -> Account {
        hold(self.records(target), self.truth_of(target))
    }

    fn records(&self, target: u32) -> impl Iterator<Item = &RequestRecord> {
        self.run.records.iter().filter(move |r| r.target == target)
    }

    /// Request ids end in the number of their target.
    fn truth_of(&self, target: u32) -> impl Iterator<Item = &TruthRecord> {
        let tail = format!("-{target}");
        self.truth.iter().filter(move |t| t.request_id.ends_with(&tail))
    }
}

impl Bench {
    #[allow(clippy::print_stderr, reason = "progress belongs on standard error")]
    fn say(&self, what: &str) {
        if !self.quiet {
            eprintln!("validate: {what}");
        }
    }

    async fn run(
        &self,
        scenario: &Scenario,
        targets: &[(String, Protocol, &'static str)],
    ) -> Result<Held, Failure> {
        let targets = self.targets(scenario, targets).await?;
        let probe = Arc::new(ProcessProbe::here(ProbeOptions::default()));
        let runner = Runner::builder().probe(probe).build();
        let run = runner.run(&targets, scenario, &mut NullSink, &self.ctx).await?;
        let written = run.records.iter().filter(|r| r.written.is_some()).count();
        let truth = self.server.truth_of(&run.manifest.run_id, written)?;
        let analysis = Analyzer::new().analyze(&run)?;
        let reasons = analysis.validity.findings.iter().filter(|f| f.level > Level::Valid);
        let reasons = reasons.map(|f| format!("{} {}", f.signal, f.measured)).collect();
        Ok(Held { level: analysis.validity.level, reasons, run, truth })
    }

    async fn targets(
        &self,
        scenario: &Scenario,
        named: &[(String, Protocol, &'static str)],
    ) -> Result<Vec<Target>, Failure> {
        // Nothing of the user's environment takes part.
        let env = |_: &str| None;
        let build = BuildContext { transport: self.transport.clone(), env: &env };
        let mut targets = Vec::new();
        for (name, protocol, model) in named {
            let config = ModelConfig::new(protocol.as_str(), *model)
                .with_base_url(self.server.base(*protocol))
                .with_timeout(scenario.timeout);
            let model = providers::registry().create(&config, &build).await?;
            let info = TargetInfo {
                name: name.clone(),
                model: model.info().clone(),
                simulated: true,
                transport: Some(self.transport.info()),
                unavailable: None,
            };
            targets.push(Target { info, model: Some(model) });
        }
        Ok(targets)
    }

    /// Every protocol at 1 to 1000 requests in flight.
    async fn accuracy(&self, found: &mut Validation) -> Result<(), Failure> {
        for (in_flight, requests, tolerance) in LEVELS {
            self.say(&format!("accuracy, {in_flight} in flight"));
            let scenario = scenario("accuracy", Load::closed(in_flight), Some(requests));
            let held = self.run(&scenario, &on(&Protocol::ALL, "paced")).await?;
            for (target, protocol) in (0..).zip(Protocol::ALL) {
                let account = held.of(target);
                let subject = format!("{protocol}, {in_flight} in flight");
                found.distances.push(distances(in_flight, protocol, &account, tolerance, &held));
                balance(found, "conservation", &subject, &account, (requests + 2) as usize);
            }
        }
        Ok(())
    }

    /// Sends leave when the plan says so, and none is skipped.
    async fn open_loop(&self, found: &mut Validation) -> Result<(), Failure> {
        for (arrivals, name) in [(Arrivals::Constant, "constant"), (Arrivals::Poisson, "Poisson")] {
            self.say(&format!("open loop, {name} arrivals"));
            let load = Load::open(100.0, arrivals);
            let mut scenario = scenario("open", load, None);
            scenario.duration = Some(Duration::from_secs(4));
            let held = self.run(&scenario, &on(&Protocol::ALL, "short")).await?;
            let planned: u64 = held.run.manifest.planned.iter().sum();
            let measured = held.run.records.iter().filter(|r| r.phase == RunPhase::Measured);
            let lag: Vec<f64> =
                measured.clone().filter_map(|r| Some(r.sent?.since(r.scheduled)?.as_secs_f64())).collect();
            let complete = measured.count() as u64 == planned && lag.len() as u64 == planned;
            found.check(
                "every slot sent",
                name,
                if complete { Verdict::Pass } else { Verdict::Fail },
                format!("{} sent of {planned} planned", lag.len()),
            );
            let lag = Errors::from(lag);
            let limit = Tolerance { median: 0.5e-3, p99: 5e-3 };
            found.check("send lag", name, judge(&[&lag], limit, &held), in_words(&lag, limit));
            for (target, protocol) in (0..).zip(Protocol::ALL) {
                let account = held.of(target);
                balance(found, "conservation", &format!("{protocol}, {name}"), &account, lag.len() / 4 + 2);
            }
        }
        Ok(())
    }

    /// Chunks of several tokens, reasoning first, stalls.
    async fn shapes(&self, found: &mut Validation) -> Result<(), Failure> {
        for (model, what) in SHAPES {
            self.say(what);
            let scenario = scenario(model, Load::closed(8), Some(12));
            let held = self.run(&scenario, &on(&Protocol::ALL, model)).await?;
            for (target, protocol) in (0..).zip(Protocol::ALL) {
                let account = held.of(target);
                balance(found, what, protocol.as_str(), &account, 14);
                let wrong = held.records(target).find_map(|r| shape(model, r));
                let verdict = if wrong.is_some() { Verdict::Fail } else { Verdict::Pass };
                let seen = wrong.unwrap_or_else(|| match model {
                    "coalesced" => "33 tokens in 9 chunks".to_owned(),
                    "reasoning" => "6 reasoning chunks before the first of the answer".to_owned(),
                    _ => "the pause of 300 ms is the longest gap".to_owned(),
                });
                found.check(what, protocol.as_str(), verdict, seen);
            }
        }
        Ok(())
    }

    /// Each failure of the server is a failure of the record.
    async fn failures(&self, found: &mut Validation) -> Result<(), Failure> {
        self.say("refusals, errors in mid-stream, truncation, resets");
        let scenario = scenario("failing", Load::closed(16), Some(60));
        let held = self.run(&scenario, &on(&Protocol::ALL, "failing")).await?;
        for (target, protocol) in (0..).zip(Protocol::ALL) {
            let account = held.of(target);
            balance(found, "failures", protocol.as_str(), &account, 62);
            // 84 % are meant to fail: without any, nothing was tested.
            let [ok, failed, _] = account.ends;
            let verdict = if failed > ok { Verdict::Pass } else { Verdict::Fail };
            found.check(
                "failures",
                protocol.as_str(),
                verdict,
                format!("{failed} failed, {ok} ok, each as the server says"),
            );
        }
        Ok(())
    }

    /// One server, one queue: with the instants of arrival and the service times every wait follows (Lindley 1952), and with
    /// it the response time of each request.
    async fn queue(&self, found: &mut Validation) -> Result<(), Failure> {
        self.say("one queue, every wait known");
        let mut scenario = scenario("queue", Load::poisson(50.0), None);
        scenario.duration = Some(Duration::from_secs(5));
        let held = self.run(&scenario, &on(&[Protocol::OpenAi], "queue")).await?;
        let mut truth: Vec<&TruthRecord> =
            held.truth.iter().filter(|t| t.service_start_ns.is_some()).collect();
        truth.sort_by_key(|t| t.arrival_ns);
        let mut free = llms_core::time::Timestamp::ZERO;
        let mut errors = Vec::new();
        let mut waited = 0;
        for t in truth {
            let (Some(start), Some(write)) = (t.service_start_ns, t.first_token()) else { continue };
            let begin = free.max(t.arrival_ns);
            free = begin + t.end_ns.saturating_since(start);
            waited += usize::from(begin > t.arrival_ns);
            let record = held.run.records.iter().find(|r| *r.request_id == *t.request_id);
            let Some((record, first)) = record.and_then(|r| Some((r, r.chunks.first()?))) else { continue };
            let Some(sent) = record.sent else { continue };
            let oracle = begin.saturating_since(t.arrival_ns) + write.after.saturating_since(start);
            let measured = first.stamp.arrival().saturating_since(sent);
            errors.push(measured.as_secs_f64() - oracle.as_secs_f64());
        }
        let errors = Errors::from(errors);
        // Half a millisecond for the server to take the next request from its queue.
        let limit = Tolerance { median: 1e-3, p99: 10e-3 };
        let verdict = if waited < 20 { Verdict::Fail } else { judge(&[&errors], limit, &held) };
        found.check(
            "queueing oracle",
            "openai",
            verdict,
            format!("{}, {waited} waited", in_words(&errors, limit)),
        );
        Ok(())
    }

    /// A server that stands still for two seconds: those who came meanwhile have waited, and must say so.
    async fn freeze(&self, found: &mut Validation) -> Result<(), Failure> {
        self.say("a server that freezes for 2 s");
        const FREEZE: Duration = Duration::from_secs(2);
        let load = Load::open(100.0, Arrivals::Constant);
        let mut scenario = scenario("freeze", load, None);
        scenario.duration = Some(Duration::from_secs(8));
        let freezing = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            tokio::task::block_in_place(|| self.server.freeze(FREEZE));
        };
        let targets = on(&[Protocol::OpenAi], "short");
        let (held, ()) = tokio::join!(self.run(&scenario, &targets), freezing);
        let held = held?;
        // A quarter of the requests fell into the freeze and waited for its rest: the 90th percentile of all is the 60th of
        // theirs, 1.2 s.
        let response: Vec<f64> = held
            .run
            .records
            .iter()
            .filter(|r| r.phase == RunPhase::Measured)
            .filter_map(|r| Some(r.chunks.first()?.stamp.arrival().since(r.scheduled)?.as_secs_f64()))
            .collect();
        let n = response.len();
        let p90 = Errors::from(response).quantile(0.9);
        let seen = p90.is_some_and(|p| (0.9..1.6).contains(&p));
        let shown = p90.map_or_else(|| "–".to_owned(), |p| format!("{p:.2} s"));
        found.check(
            "coordinated omission",
            "openai",
            if seen && n == 800 { Verdict::Pass } else { Verdict::Fail },
            format!("p90 of the response time {shown}, expected 1.2 ± 0.4 s; {n} answers of 800"),
        );
        let verdict = if held.level < Level::Invalid { Verdict::Pass } else { Verdict::CannotTell };
        let why = if held.reasons.is_empty() { "VALID".to_owned() } else { held.reasons.join("; ") };
        found.check("a freeze is the server's", "openai", verdict, format!("the run's own verdict: {why}"));
        Ok(())
    }

    /// The same server under two names is not different; one that is 20 % slower is.
    async fn same_and_different(&self, found: &mut Validation) -> Result<(), Failure> {
        self.say("the same twice, and one that is slower");
        let scenario = scenario("a-a-b", Load::closed(12), Some(150));
        let openai = |name: &str, model| (name.to_owned(), Protocol::OpenAi, model);
        let targets = [openai("a", "same"), openai("again", "same"), openai("slower", "slower")];
        let held = self.run(&scenario, &targets).await?;
        let analysis = Analyzer::new().analyze(&held.run)?;
        let Some(comparison) = analysis.comparison else {
            found.check("A/A", "tool", Verdict::Fail, "no comparison was made".to_owned());
            return Ok(());
        };
        for (a, b, differs, case) in [("a", "again", false, "A/A"), ("a", "slower", true, "A/B +20 %")] {
            let pair = comparison
                .pairs
                .iter()
                .find(|p| p.metric.starts_with("ttft") && [&p.a, &p.b].into_iter().all(|n| n == a || n == b));
            let Some(pair) = pair else {
                found.check(case, "tool", Verdict::Fail, "TTFT was not compared".to_owned());
                continue;
            };
            // One in twenty honest A/A runs has p < 0.05; a validation shall not fail for that.
            let said = if differs {
                matches!(pair.verdict, Difference::Better | Difference::Worse)
            } else {
                pair.p_adjusted.is_none_or(|p| p < 0.001)
            };
            found.check(
                case,
                "tool",
                if said == differs { Verdict::Pass } else { Verdict::Fail },
                format!("TTFT: {}", render::pair(pair)),
            );
        }
        Ok(())
    }
}

/// What is wrong with the shape of an answer.
fn shape(model: &str, r: &RequestRecord) -> Option<String> {
    if !r.is_ok() {
        return Some(format!("{} failed", r.request_id));
    }
    let chunks = r.chunks.len();
    match model {
        "coalesced" if chunks != 9 => Some(format!("{chunks} chunks instead of 9")),
        "reasoning" if r.first_answer != Some(6) => {
            Some(format!("the answer begins at chunk {:?} instead of 6", r.first_answer))
        }
        "stalling" => {
            let gaps = r.chunks.windows(2).filter_map(|w| w[1].stamp.arrival().since(w[0].stamp.arrival()));
            let longest = gaps.max().unwrap_or_default();
            (longest < Duration::from_millis(290)).then(|| format!("longest gap {longest:?}"))
        }
        _ => None,
    }
}

fn balance(found: &mut Validation, case: &str, subject: &str, account: &Account, expected: usize) {
    let whole = account.records as usize == expected;
    let mut complaints = account.complaints();
    if !whole {
        complaints.push(format!("{} records of {expected} planned", account.records));
    }
    let verdict = if account.balances() && whole { Verdict::Pass } else { Verdict::Fail };
    let [ok, failed, cut] = account.ends;
    let sum = format!(
        "{} planned = {ok} ok + {failed} failed + {cut} censored; all in the server's log",
        account.records
    );
    found.check(case, subject, verdict, if complaints.is_empty() { sum } else { complaints.join("; ") });
}

/// Medians are the tool's; tails only where the run found nothing against itself.
fn judge(errors: &[&Errors], limit: Tolerance, held: &Held) -> Verdict {
    let over = |p: f64, limit: f64| errors.iter().any(|e| e.quantile(p).is_none_or(|q| q > limit));
    match (over(0.5, limit.median), over(0.99, limit.p99)) {
        (false, false) => Verdict::Pass,
        _ if held.level > Level::Valid => Verdict::CannotTell,
        _ => Verdict::Fail,
    }
}

fn in_words(errors: &Errors, limit: Tolerance) -> String {
    let ms = |p: f64| errors.quantile(p).map_or_else(|| "–".to_owned(), |s| format!("{:.3}", s * 1e3));
    format!(
        "p50 {} ms, p99 {} ms (n {}); allowed {} and {} ms",
        ms(0.5),
        ms(0.99),
        errors.len(),
        limit.median * 1e3,
        limit.p99 * 1e3
    )
}

fn distances(
    in_flight: u32,
    protocol: Protocol,
    account: &Account,
    limit: Tolerance,
    held: &Held,
) -> Distances {
    let us = |e: &Errors| Some((e.quantile(0.5)? * 1e6, e.quantile(0.99)? * 1e6));
    Distances {
        in_flight,
        protocol: protocol.as_str(),
        requests: account.records,
        ttft_us: us(&account.ttft),
        icl_us: us(&account.icl),
        e2e_us: us(&account.e2e),
        arrival_us: us(&account.arrival),
        merged: (account.gaps > 0).then(|| account.merged as f64 / account.gaps as f64),
        verdict: judge(&[&account.ttft, &account.icl, &account.e2e], limit, held),
    }
}
