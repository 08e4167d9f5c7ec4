//! Every interval that a report prints, on data of known law: it must hold the truth as often as it says.
//!
//! Approximate intervals must cover 93 to 97 %. Exact order statistics have a coverage that follows from their ranks alone:
//! theirs is held to it, ± 1.5 points. Intervals that are exact by being too wide (Clopper–Pearson, Garwood, anytime, MOVER with
//! exact limits) must cover what they say or more.

use llms_core::bench::{Estimate, Measured, metric};

use super::{Draw, Experiment, Process, Question, yes};
use crate::clusters::Clusters;
use crate::estimate::{Series, Setting};
use crate::stats::anytime::AnytimeProportion;
use crate::stats::censor::{KaplanMeier, Observed};
use crate::stats::interval::Interval;
use crate::stats::mean::t_interval;
use crate::stats::order_interval::quantile_ranks;
use crate::stats::paired::paired_ratio;
use crate::stats::proportion::{clopper_pearson, garwood, newcombe, wilson};
use crate::stats::quantile::Sample;
use crate::stats::ratio::{fieller, quantile_ratio, welch_log_ratio};
use crate::stats::signed_rank::signed_rank;
use crate::stats::two_sample::{brunner_munzel, cliff_delta, hodges_lehmann};

const TOPIC: &str = "intervals";
const DATA_SETS: u64 = 2000;
/// By how much a coverage that is known may be missed.
const EXACT: f64 = 0.015;

pub(super) fn experiments() -> Vec<Experiment> {
    let mut all = summaries();
    all.extend([clustered(), shares(), peeking(), rates(), two_samples(), pairs(), runs()]);
    all.extend([unequal_spread(), cut_off()]);
    all
}

/// Score of an interval that should hold `truth`.
fn holds(interval: Interval, truth: f64) -> f64 {
    yes(interval.contains(truth))
}

/// Score of an estimate as a report has it; `None` where it has no interval.
pub(super) fn estimate_holds(estimate: &Measured<Estimate>, truth: f64) -> Option<f64> {
    let e = estimate.value()?;
    let (low, high) = (e.low?.as_f64()?, e.high?.as_f64()?);
    Some(holds(Interval { low, high }, truth))
}

fn setting(draw: &mut Draw) -> Setting {
    Setting { confidence: 0.95, limit: 1e9, seed: draw.seed() }
}

/// Mean, p50, p95 and p99 of one series, as every metric of a report has them.
fn summaries() -> Vec<Experiment> {
    const LEVELS: [f64; 3] = [0.5, 0.95, 0.99];
    let laws = [
        (Process::LogNormal(0.5), 500),
        (Process::LogNormal(1.0), 500),
        (Process::Bimodal, 500),
        (Process::Autoregressive(0.5), 5000),
        (Process::Queue(0.5), 20_000),
    ];
    let one = |(number, (process, n)): (u64, (Process, usize))| {
        let name = |what: &str| format!("{}, n {n}: {what}", process.name());
        let mut questions = vec![Question::covers(name("mean"))];
        questions.extend(LEVELS.map(|p| {
            let what = name(&format!("p{:.0}", p * 100.0));
            let exact = quantile_ranks(n, p, 0.95).map_or(0.95, |r| r.coverage);
            if process.independent() {
                Question::within(what, exact, exact - EXACT, exact + EXACT)
            } else {
                Question::covers(what)
            }
        }));
        Experiment::new(TOPIC, 500 + number, DATA_SETS, questions, move |draw, answers| {
            let x = process.draw(n, draw);
            let (series, setting) = (Series::new(&x), setting(draw));
            answers[0] = estimate_holds(&series.mean(&setting), process.mean());
            for (answer, p) in answers[1..].iter_mut().zip(LEVELS) {
                *answer = estimate_holds(&series.quantile(p, &setting), process.quantile(p));
            }
        })
    };
    (0..).zip(laws).map(one).collect()
}

/// Gaps of 200 answers that differ in pace: mean and quantiles of all gaps, answers as clusters; exact, and on the grid that takes
/// over where there are very many.
fn clustered() -> Experiment {
    const LEVELS: [f64; 3] = [0.5, 0.95, 0.99];
    const ANSWERS: usize = 200;
    let (between, within) = (0.3_f64, 0.4_f64);
    let mut questions = Vec::new();
    for how in ["", ", sketch"] {
        questions.push(Question::covers(format!("gaps of {ANSWERS} answers: mean{how}")));
        questions.extend(
            LEVELS.map(|p| Question::covers(format!("gaps of {ANSWERS} answers: p{:.0}{how}", p * 100.0))),
        );
    }
    Experiment::new(TOPIC, 520, DATA_SETS, questions, move |draw, answers| {
        let mut both = [Clusters::default(), Clusters::exact_up_to(0)];
        for _ in 0..ANSWERS {
            let pace = between * draw.normal();
            let n = 10 + draw.below(40);
            // tens of milliseconds, as the grid counts nanoseconds
            let gaps: Vec<(f64, u64)> =
                (0..n).map(|_| (0.03 * (pace + within * draw.normal()).exp(), 1)).collect();
            for clusters in &mut both {
                clusters.add(&mut gaps.clone());
            }
        }
        let law = Process::LogNormal(between.hypot(within));
        let (setting, def) = (setting(draw), metric::METRICS.iter().find(|m| m.name == "icl"));
        for (clusters, answers) in both.iter().zip(answers.chunks_mut(1 + LEVELS.len())) {
            let Some(found) = def.and_then(|def| clusters.summary(def, &setting)) else { return };
            answers[0] = estimate_holds(&found.mean, 0.03 * law.mean());
            for (answer, p) in answers[1..].iter_mut().zip(LEVELS) {
                *answer = found.quantile(p).and_then(|q| estimate_holds(&q.all, 0.03 * law.quantile(p)));
            }
        }
    })
}

/// Shares: error rate, goodput, SLO attainment.
fn shares() -> Experiment {
    const N: u64 = 400;
    const RATES: [f64; 3] = [0.5, 0.1, 0.02];
    const SETS: u64 = 20_000;
    let mut questions: Vec<Question> =
        RATES.map(|p| Question::covers(format!("share {p} of {N}: Wilson"))).into();
    questions
        .extend(RATES.map(|p| Question::at_least(format!("share {p} of {N}: Clopper–Pearson"), 0.95, SETS)));
    questions.push(Question::covers("shares .95 and .9 of 400: difference, Newcombe"));
    Experiment::new(TOPIC, 530, SETS, questions, |draw, answers| {
        for (i, p) in RATES.into_iter().enumerate() {
            let k = draw.binomial(N, p);
            answers[i] = wilson(k, N, 0.95).ok().map(|interval| holds(interval, p));
            answers[3 + i] = clopper_pearson(k, N, 0.95).ok().map(|interval| holds(interval, p));
        }
        let (first, second) = (draw.binomial(N, 0.95), draw.binomial(N, 0.9));
        answers[6] = newcombe(first, N, second, N, 0.95).ok().map(|(_, interval)| holds(interval, 0.05));
    })
}

/// The anytime interval looked at after each of 2000 trials: the chance that it is ever wrong.
fn peeking() -> Experiment {
    const SETS: u64 = 4000;
    let questions = vec![
        Question::at_most(
            "share .99, looked at after each of 2000: anytime interval ever wrong",
            0.05,
            2.0,
            SETS,
        ),
        Question::at_most(
            "share .5, looked at after each of 2000: anytime interval ever wrong",
            0.05,
            2.0,
            SETS,
        ),
    ];
    Experiment::new(TOPIC, 531, SETS, questions, |draw, answers| {
        for (answer, p) in answers.iter_mut().zip([0.99, 0.5]) {
            let Ok(mut seen) = AnytimeProportion::new(0.95) else { return };
            let mut wrong = false;
            for _ in 0..2000 {
                seen.observe(draw.happens(p));
                wrong |= seen.above(p, 1.0) || seen.below(p, 1.0);
            }
            *answer = Some(yes(wrong));
        }
    })
}

/// Rates of events.
fn rates() -> Experiment {
    const SETS: u64 = 20_000;
    let rates = [3.0, 30.0, 300.0];
    let questions = rates.map(|r| Question::at_least(format!("{r} events in a minute: Garwood"), 0.95, SETS));
    Experiment::new(TOPIC, 532, SETS, questions.into(), move |draw, answers| {
        for (answer, rate) in answers.iter_mut().zip(rates) {
            let events = draw.poisson(rate);
            *answer = garwood(events, 60.0, 0.95).ok().map(|interval| holds(interval, rate / 60.0));
        }
    })
}

/// Two independent samples that differ by a factor.
fn two_samples() -> Experiment {
    const FACTOR: f64 = 1.3;
    const N: usize = 400;
    let (law, other) = (Process::LogNormal(0.5), Process::LogNormal(0.5));
    // P(X > Y) − P(X < Y) for X/Y log-normal about the factor
    let delta = 2.0 * crate::stats::distribution::norm_cdf(FACTOR.ln() / (0.5 * 2.0_f64.sqrt())) - 1.0;
    let questions = vec![
        Question::covers("ratio of means, n 400 and 400: Fieller"),
        Question::covers("ratio of geometric means, n 400 and 400: Welch on logs"),
        Question::at_least("ratio of p50, n 400 and 400: MOVER", 0.95, DATA_SETS),
        Question::at_least("ratio of p95, n 400 and 400: MOVER", 0.95, DATA_SETS),
        Question::at_least("ratio of p99, n 400 and 400: MOVER", 0.95, DATA_SETS),
        Question::covers("shift of logs, n 400 and 400: Hodges–Lehmann"),
        Question::covers("Cliff's delta, n 400 and 400: Feng and Cliff"),
    ];
    Experiment::new(TOPIC, 540, DATA_SETS, questions, move |draw, answers| {
        let x: Vec<f64> = law.draw(N, draw).into_iter().map(|v| v * FACTOR).collect();
        let y = other.draw(N, draw);
        let log = |x: &[f64]| x.iter().map(|v| v.ln()).collect::<Vec<_>>();
        answers[0] = fieller(&x, &y, 0.95).ok().map(|(_, interval)| holds(interval, FACTOR));
        answers[1] = welch_log_ratio(&x, &y, 0.95).ok().map(|w| holds(w.interval, FACTOR.ln()));
        if let (Ok(a), Ok(b)) = (Sample::new(&x[..]), Sample::new(&y[..])) {
            for (answer, p) in answers[2..5].iter_mut().zip([0.5, 0.95, 0.99]) {
                *answer = quantile_ratio(&a, &b, p, 0.95).ok().map(|r| holds(r.interval, FACTOR));
            }
        }
        answers[5] = hodges_lehmann(&log(&x), &log(&y), 0.95).ok().map(|s| holds(s.interval, FACTOR.ln()));
        answers[6] = cliff_delta(&x, &y, 0.95).ok().map(|c| holds(c.interval, delta));
    })
}

/// Log ratios of pairs: normal ones, and ones with heavy tails.
fn pairs() -> Experiment {
    const SIZES: [usize; 2] = [20, 200];
    const SETS: u64 = 4000;
    let mut questions = Vec::new();
    for n in SIZES {
        for law in ["normal", "heavy-tailed"] {
            questions.push(Question::covers(format!("ratio of {n} pairs, {law}: t on logs")));
            questions.push(Question::covers(format!("ratio of {n} pairs, {law}: Hodges–Lehmann")));
        }
    }
    Experiment::new(TOPIC, 541, SETS, questions, |draw, answers| {
        let mut at = 0;
        for n in SIZES {
            for heavy in [false, true] {
                // one pair in ten has five times the spread
                let one = |draw: &mut Draw| {
                    0.3 * draw.normal() * if heavy && draw.happens(0.1) { 5.0 } else { 1.0 }
                };
                let d: Vec<f64> = (0..n).map(|_| 0.1 + one(draw)).collect();
                answers[at] = paired_ratio(&d, 0.95).ok().map(|t| holds(t.interval, 0.1_f64.exp()));
                answers[at + 1] = signed_rank(&d, 0.95).ok().map(|r| holds(r.interval, 0.1));
                at += 2;
            }
        }
    })
}

/// Runs that differ: the run is the unit.
fn runs() -> Experiment {
    const SIZES: [usize; 3] = [3, 5, 10];
    const SETS: u64 = 4000;
    let questions = SIZES.map(|r| Question::covers(format!("{r} runs: t on the logs of run medians")));
    Experiment::new(TOPIC, 542, SETS, questions.into(), |draw, answers| {
        for (answer, r) in answers.iter_mut().zip(SIZES) {
            let logs: Vec<f64> = (0..r)
                .map(|_| {
                    let level = 0.1 * draw.normal();
                    let run = Process::LogNormal(0.5).draw(101, draw);
                    level + Sample::new(run).map_or(f64::NAN, |s| s.median()).ln()
                })
                .collect();
            *answer = t_interval(&logs, 0.95).ok().map(|t| holds(t.interval, 0.0));
        }
    })
}

/// Equal medians, spread 1 against 4, sizes 200 and 50: Mann–Whitney gives 15 % false alarms here.
fn unequal_spread() -> Experiment {
    const SETS: u64 = 4000;
    let questions = vec![Question::known(
        "equal medians, sd 1 and 4, n 200 and 50: Brunner–Munzel's false alarms",
        0.05,
        SETS,
    )];
    Experiment::new(TOPIC, 543, SETS, questions, |draw, answers| {
        let x: Vec<f64> = (0..200).map(|_| draw.normal()).collect();
        let y: Vec<f64> = (0..50).map(|_| 4.0 * draw.normal()).collect();
        answers[0] = brunner_munzel(&x, &y).ok().map(|b| yes(b.p < 0.05));
    })
}

/// Latencies of which a third is cut off at some age, as by an interrupt: quantiles by Kaplan and Meier.
fn cut_off() -> Experiment {
    const N: usize = 300;
    const LEVELS: [f64; 2] = [0.5, 0.9];
    let law = Process::LogNormal(0.5);
    let questions = LEVELS.map(|p| {
        Question::covers(format!(
            "log-normal, sd 0.5, n {N}, a third cut off: p{:.0}, Kaplan–Meier",
            p * 100.0
        ))
    });
    Experiment::new(TOPIC, 544, DATA_SETS, questions.into(), move |draw, answers| {
        let seen = |(x, age): (f64, f64)| if x <= age { Observed::At(x) } else { Observed::LongerThan(age) };
        let ages: Vec<f64> = (0..N).map(|_| 3.2 * draw.uniform()).collect();
        let observed: Vec<Observed> = law.draw(N, draw).into_iter().zip(ages).map(seen).collect();
        let Ok(km) = KaplanMeier::new(&observed) else { return };
        for (answer, p) in answers.iter_mut().zip(LEVELS) {
            *answer = km.quantile_interval(p, 0.95).ok().map(|i| holds(i, law.quantile(p)));
        }
    })
}
