//! The comparison as a run gets it, records and all: false alarms between equals, and power where it was predicted.

use std::collections::BTreeMap;
use std::time::Duration;

use llms_core::bench::{
    Analysis, BuildInfo, EnvironmentInfo, Hashes, Load, PairComparison, PerformanceAnalyzer, RecordOutcome,
    RequestRecord, RunManifest, RunPhase, RunResult, Scenario, Seeds, TargetInfo, TokenCounts, Verdict,
    Window,
};
use llms_core::chat::FinishReason;
use llms_core::error::{Error, ErrorCode};
use llms_core::observe::ConnectionInfo;
use llms_core::time::Timestamp;
use llms_core::{Capabilities, ModelInfo, Usage};

use super::intervals::estimate_holds;
use super::{Draw, Experiment, Question, yes};
use crate::Analyzer;
use crate::stats::equivalence::{Gate, noninferiority_gate};
use crate::stats::power::{difference_pairs, noninferiority_pairs, smallest_detectable_ratio};

const TOPIC: &str = "comparison";
/// Log-sd of one request about its prompt, and of prompts.
const NOISE: f64 = 0.3;
const PROMPTS: f64 = 0.6;
/// Efficiency of the signed-rank test relative to t under normal log ratios.
const RANK_EFFICIENCY: f64 = 3.0 / std::f64::consts::PI;
/// Points by which power may differ from what was predicted.
const POWER_WITHIN: f64 = 0.03;

pub(super) fn experiments() -> Vec<Experiment> {
    vec![rates(), equals(), dependent_equals(), different(), planned()]
}

/// One request of a simulated run: seconds to its end, or that it failed.
type Answer = Option<f64>;

fn record(target: u32, block: u64, answer: Answer) -> RequestRecord {
    let at = Timestamp::from_nanos(block * 20_000_000_000);
    let outcome = if answer.is_some() {
        RecordOutcome::Ok
    } else {
        RecordOutcome::Failed((&Error::new("chat", ErrorCode::Internal, "no answer")).into())
    };
    RequestRecord {
        request_id: format!("{block}-{target}").into(),
        target,
        block,
        position: target,
        attempt: 0,
        prompt: "p".into(),
        phase: RunPhase::Measured,
        session: None,
        turn: None,
        scheduled: at,
        released: at,
        sent: Some(at),
        connection: ConnectionInfo::default(),
        resent: false,
        written: None,
        headers: None,
        status: Some(200),
        first_byte: None,
        first_answer: None,
        chunks: Vec::new(),
        end: Some(at + Duration::from_secs_f64(answer.unwrap_or(0.1))),
        tokens: TokenCounts::default(),
        finish_reason: answer.map(|_| FinishReason::Stop),
        model: None,
        bytes_out: None,
        bytes_in: None,
        reads: None,
        reported: BTreeMap::new(),
        outcome,
    }
}

/// Judged as every run is.
fn judged(blocks: &[Vec<Answer>], seed: u64) -> Option<Analysis> {
    Analyzer::new().analyze(&interleaved(blocks, seed)).ok()
}

/// A closed-loop run of targets a, b, … that answered in one piece: for each block the seconds of every target, `None` where it
/// failed.
pub fn interleaved(blocks: &[Vec<Option<f64>>], seed: u64) -> RunResult {
    let targets = blocks.first().map_or(0, Vec::len);
    let info = |i: usize| TargetInfo {
        name: char::from(b'a' + i as u8).to_string(),
        model: ModelInfo {
            provider: "simulated".to_owned(),
            model: "m".to_owned(),
            endpoint: None,
            capabilities: Capabilities::default(),
        },
        simulated: true,
        transport: None,
        unavailable: None,
    };
    let mut scenario = Scenario::new("simulation", ["hello"]);
    scenario.requests = Some(blocks.len() as u64);
    scenario.streaming = false;
    scenario.seeds = Seeds::from_one(seed);
    let end = Timestamp::from_nanos((blocks.len() as u64 + 1) * 20_000_000_000);
    RunResult {
        manifest: RunManifest {
            schema_version: llms_core::bench::result::SCHEMA_VERSION,
            run_id: "simulation".to_owned(),
            label: None,
            started_at: time::OffsetDateTime::UNIX_EPOCH,
            started: Timestamp::ZERO,
            planned: vec![blocks.len() as u64; targets],
            scenario,
            targets: (0..targets).map(info).collect(),
            hashes: Hashes::default(),
            environment: EnvironmentInfo::default(),
            build: BuildInfo::default(),
            window: Some(Window { start: Timestamp::ZERO, end, drained: end }),
            complete: true,
            interrupted: false,
            client: None,
            stopped: None,
            facts: BTreeMap::new(),
        },
        records: (0..)
            .zip(blocks)
            .flat_map(|(block, answers)| {
                (0..).zip(answers).map(move |(target, answer)| record(target, block, *answer))
            })
            .collect(),
    }
}

/// Blocks of answers that share their prompt; `factor` is how much slower each target is, `failing` the chance of a failure.
fn blocks(n: usize, factors: &[f64], failing: f64, draw: &mut Draw) -> Vec<Vec<Answer>> {
    (0..n)
        .map(|_| {
            let prompt = (PROMPTS * draw.normal()).exp();
            let one = |factor: &f64| (prompt * factor * (NOISE * draw.normal()).exp(), draw.uniform());
            factors.iter().map(one).map(|(s, u)| (failing <= u).then_some(s)).collect()
        })
        .collect()
}

fn pairs(analysis: &Analysis) -> &[PairComparison] {
    analysis.comparison.as_ref().map_or(&[], |c| &c.pairs)
}

fn differs(pair: &PairComparison) -> bool {
    matches!(pair.verdict, Verdict::Better | Verdict::Worse)
}

fn alarm(analysis: Option<&Analysis>) -> Option<f64> {
    analysis.map(|a| yes(pairs(a).iter().any(differs)))
}

/// Rates of a run under Poisson arrivals: answers and tokens per second over a window in steady state.
fn rates() -> Experiment {
    const SETS: u64 = 2000;
    let (rate, seconds, before) = (10.0, 100.0, 10.0);
    // 20 to 119 tokens
    let tokens_each = 69.5;
    let questions = vec![
        Question::covers("answers per second, Poisson arrivals, 1000 of them: Garwood"),
        Question::covers("tokens per second, Poisson arrivals, 1000 answers: batch means"),
    ];
    Experiment::new("intervals", 604, SETS, questions, move |draw, answers| {
        let mut run = interleaved(&[vec![None]], 1);
        let blank = run.records.remove(0);
        let at = |s: f64| Timestamp::from_nanos((s * 1e9) as u64);
        let mut sent = draw.exponential() / rate;
        while sent < before + seconds {
            let end = sent + 0.5 * (0.5 * draw.normal()).exp();
            let tokens = 20 + draw.below(100);
            run.records.push(RequestRecord {
                scheduled: at(sent),
                released: at(sent),
                sent: Some(at(sent)),
                end: Some(at(end)),
                outcome: RecordOutcome::Ok,
                tokens: TokenCounts {
                    usage: Some(Usage { output_tokens: Some(tokens), ..Usage::default() }),
                    ..TokenCounts::default()
                },
                block: run.records.len() as u64,
                ..blank.clone()
            });
            sent += draw.exponential() / rate;
        }
        let (start, end) = (at(before), at(before + seconds));
        run.manifest.window = Some(Window { start, end, drained: at(before + seconds + 60.0) });
        run.manifest.scenario.load = Load::poisson(rate);
        let population = crate::population::Population::of(&run, 0);
        let setting = crate::estimate::Setting { confidence: 0.95, limit: 60.0, seed: draw.seed() };
        let found = crate::throughput::throughput(&population, &run.manifest.scenario, &setting);
        answers[0] = estimate_holds(&found.requests, rate);
        answers[1] = estimate_holds(&found.output_tokens, rate * tokens_each);
    })
}

/// Equal targets: any verdict in the family is false.
fn equals() -> Experiment {
    const SETS: u64 = 2000;
    let questions = vec![
        Question::at_most("A/A, 2 targets, 100 blocks: families with a false verdict", 0.05, 2.0, SETS),
        Question::at_most(
            "A/A, 2 targets, 100 blocks, 5 % fail: families with a false verdict",
            0.05,
            2.0,
            SETS,
        ),
        Question::at_most("A/A, 4 targets, 100 blocks: families with a false verdict", 0.05, 2.0, SETS),
        Question::covers("A/A, 2 targets: interval of the ratio, t"),
        Question::covers("A/A, 2 targets: interval of the ratio, Hodges–Lehmann"),
    ];
    Experiment::new(TOPIC, 600, SETS, questions, |draw, answers| {
        let two = judged(&blocks(100, &[1.0; 2], 0.0, draw), draw.seed());
        answers[0] = alarm(two.as_ref());
        answers[1] = alarm(judged(&blocks(100, &[1.0; 2], 0.05, draw), draw.seed()).as_ref());
        answers[2] = alarm(judged(&blocks(100, &[1.0; 4], 0.0, draw), draw.seed()).as_ref());
        if let Some(pair) = two.as_ref().and_then(|a| pairs(a).iter().find(|p| p.metric == "e2e")) {
            answers[3] = estimate_holds(&pair.ratio, 1.0);
            answers[4] = estimate_holds(&pair.ratio_robust, 1.0);
        }
    })
}

/// Equal targets, each of which remembers how slow it just was.
fn dependent_equals() -> Experiment {
    const SETS: u64 = 2000;
    const N: usize = 400;
    let question =
        Question::at_most("A/A, 400 blocks, noise AR(1) .5: families with a false verdict", 0.05, 2.0, SETS);
    Experiment::new(TOPIC, 601, SETS, vec![question], |draw, answers| {
        let law = super::Process::Autoregressive(0.5);
        let (a, b) = (law.draw(N, draw), law.draw(N, draw));
        let blocks: Vec<Vec<Answer>> = a.into_iter().zip(b).map(|(a, b)| vec![Some(a), Some(b)]).collect();
        answers[0] = alarm(judged(&blocks, draw.seed()).as_ref());
    })
}

/// A target slower by just what 100 blocks are said to show four times in five.
fn different() -> Experiment {
    const SETS: u64 = 3000;
    const N: usize = 100;
    let sd = NOISE * 2.0_f64.sqrt();
    let n = (N as f64 * RANK_EFFICIENCY) as usize;
    let ratio = smallest_detectable_ratio(sd, n, 0.05, 0.8).unwrap_or(f64::NAN);
    let name =
        format!("A/B {:+.1} %, 100 blocks: seen by the verdict, predicted 80 %", (ratio - 1.0) * 100.0);
    let question = Question::within(name, 0.8, 0.8 - POWER_WITHIN, 0.8 + POWER_WITHIN);
    Experiment::new(TOPIC, 602, SETS, vec![question], move |draw, answers| {
        let analysis = judged(&blocks(N, &[ratio, 1.0], 0.0, draw), draw.seed());
        answers[0] = analysis.and_then(|a| {
            let pair = pairs(&a).iter().find(|p| p.metric == "e2e")?;
            Some(yes(pair.verdict == Verdict::Worse))
        });
    })
}

/// Numbers of pairs as planned: for a wanted difference, and for a gate.
fn planned() -> Experiment {
    const SETS: u64 = 10_000;
    let sd = NOISE;
    let size = |n: Result<f64, _>| n.map_or(0, |n: f64| n.ceil() as usize);
    let gate = size(noninferiority_pairs(sd, 1.1, 0.05, 0.9));
    let difference = size(difference_pairs(sd, 1.1, 0.05, 0.8));
    let questions = vec![
        Question::within(
            format!("gate of +10 %, no difference, {gate} pairs: passes, predicted 90 %"),
            0.9,
            0.87,
            0.93,
        ),
        Question::at_most(format!("gate of +10 %, truly +10 %, {gate} pairs: passes"), 0.05, 3.0, SETS),
        Question::within(format!("+10 %, {difference} pairs: seen by t, predicted 80 %"), 0.8, 0.77, 0.83),
    ];
    Experiment::new(TOPIC, 603, SETS, questions, move |draw, answers| {
        let mut logs =
            |n: usize, centre: f64| -> Vec<f64> { (0..n).map(|_| centre + sd * draw.normal()).collect() };
        let passes = |d: &[f64]| noninferiority_gate(d, 1.1, 0.05).ok().map(|g| yes(g == Gate::Pass));
        answers[0] = passes(&logs(gate, 0.0));
        answers[1] = passes(&logs(gate, 1.1_f64.ln()));
        answers[2] = crate::stats::paired::paired_ratio(&logs(difference, 1.1_f64.ln()), 0.95)
            .ok()
            .map(|t| yes(t.p < 0.05));
    })
}
