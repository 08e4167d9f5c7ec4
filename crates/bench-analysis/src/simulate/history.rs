//! Histories of runs: false alarms where nothing changed, power where something did, and agreement with what people marked.
//!
//! A run's number is 100 ms with a coefficient of variation of 5 %; the rows and figures are those of the published table
//! (false alarms and power of the rank scan). Marked series and runs of untouched machines stand in `data/changepoints`.

use super::{Draw, Experiment, Question, yes};
use crate::stats::change::history::{Recipe, history};
use crate::stats::change::online::OnlineScan;
use crate::stats::change::prewhiten::{memory, prewhiten};
use crate::stats::change::rank_scan::{self, SEGMENT_MIN, SplitTest};
use crate::stats::change::score::{MARGIN, score};
use crate::stats::change::segments::shift;
use crate::stats::interval::StatsError;
use crate::stats::trend::{mann_kendall, theil_sen};

const TOPIC: &str = "change points";
const DATA_SETS: u64 = 1000;
/// Where a drifting series is searched for breaks, which takes time.
const FEWER: u64 = 500;
/// Permutations: p near 0.01 is then known to a tenth of itself.
const RESAMPLES: u64 = 1999;
/// The figures of the table are whole per cent.
const ROUNDED: f64 = 0.005;
/// What counts as a change.
const EFFECT: f64 = 0.05;

pub(super) fn experiments() -> Vec<Experiment> {
    let mut all = stable();
    all.extend([prewhitened(), untouched()]);
    all.extend(steps());
    all.extend([watch(), effects(), slopes(), marked(), machines()]);
    all
}

/// Logs of `n` runs.
#[derive(Clone, Copy)]
struct Law {
    n: usize,
    /// memory of the noise
    phi: f64,
    /// share of runs that take twice as long
    wild: f64,
    /// factor of the last runs, and how many they are
    step: (f64, usize),
}

const STABLE: Law = Law { n: 50, phi: 0.0, wild: 0.0, step: (1.0, 0) };

impl Law {
    fn draw(&self, draw: &mut Draw) -> Vec<f64> {
        let mut state = draw.normal();
        (0..self.n)
            .map(|i| {
                if 0 < i {
                    state = self.phi * state + (1.0 - self.phi * self.phi).sqrt() * draw.normal();
                }
                let wild = if draw.happens(self.wild) { 2.0 } else { 1.0 };
                let step = if self.n - self.step.1 <= i { self.step.0 } else { 1.0 };
                (100.0 * (1.0 + 0.05 * state) * wild * step).max(1.0).ln()
            })
            .collect()
    }
}

fn scan(x: &[f64], draw: &mut Draw) -> Result<SplitTest, StatsError> {
    rank_scan::test(x, SEGMENT_MIN, RESAMPLES, draw.seed())
}

fn alarms(x: &[f64], draw: &mut Draw) -> Option<f64> {
    let recipe = Recipe { resamples: RESAMPLES, ..Recipe::new(EFFECT.ln_1p(), draw.seed()) };
    history(x, &recipe).ok().map(|h| yes(!h.supported().is_empty()))
}

/// The rank scan at its levels, and the whole recipe, where nothing changes. Permutations make the first exact.
fn stable() -> Vec<Experiment> {
    let laws = [
        ("stable, n 30", Law { n: 30, ..STABLE }),
        ("stable, n 50", STABLE),
        ("stable, n 100", Law { n: 100, ..STABLE }),
        ("stable, n 50, 2 % of runs twice as slow", Law { wild: 0.02, ..STABLE }),
    ];
    (0..)
        .zip(laws)
        .map(|(number, (name, law))| {
            let questions = vec![
                Question::known(format!("{name}: rank scan p < 0.05"), 0.05, DATA_SETS),
                Question::known(format!("{name}: rank scan p < 0.01"), 0.01, DATA_SETS),
                Question::at_most(format!("{name}: alarms by the recipe"), 0.01, 3.0, DATA_SETS),
            ];
            Experiment::new(TOPIC, 9600 + number, DATA_SETS, questions, move |draw, answers| {
                let x = law.draw(draw);
                let p = scan(&x, draw).ok().map(|t| t.p);
                answers[0] = p.map(|p| yes(p < 0.05));
                answers[1] = p.map(|p| yes(p < 0.01));
                answers[2] = alarms(&x, draw);
            })
        })
        .collect()
}

/// AR(1) 0.5, n 50: the published figures after prewhitening are 16 and 8 %; the recipe looks for lines instead.
fn prewhitened() -> Experiment {
    let questions = vec![
        Question::at_most("memory 0.5, n 50: prewhitened rank scan p < 0.05", 0.16, 3.0, FEWER),
        Question::at_most("memory 0.5, n 50: prewhitened rank scan p < 0.01", 0.08, 3.0, FEWER),
        Question::at_most("memory 0.5, n 50: alarms by the recipe", 0.05, 3.0, FEWER),
        Question::at_most("memory 0.9, n 100: alarms by the recipe", 0.05, 3.0, FEWER),
    ];
    Experiment::new(TOPIC, 9610, FEWER, questions, |draw, answers| {
        let x = Law { phi: 0.5, ..STABLE }.draw(draw);
        let Ok(raw) = scan(&x, draw) else { return };
        let levels = if raw.p < 0.05 { vec![raw.split.at] } else { Vec::new() };
        let Ok(phi) = memory(&x, &levels) else { return };
        let p = if phi <= crate::stats::change::history::DRIFTING {
            raw.p
        } else {
            let Ok(white) = scan(&prewhiten(&x, phi), draw) else { return };
            white.p
        };
        answers[0] = Some(yes(p < 0.05));
        answers[1] = Some(yes(p < 0.01));
        answers[2] = alarms(&x, draw);
        let wandering = Law { n: 100, phi: 0.9, ..STABLE }.draw(draw);
        answers[3] = alarms(&wandering, draw);
    })
}

/// One run ten times as slow, and a stable history in another order.
fn untouched() -> Experiment {
    let questions = vec![
        Question::at_most("one tenfold run in 50: alarms", 0.01, 3.0, DATA_SETS),
        Question::known("stable, shuffled, n 50: rank scan p < 0.05", 0.05, DATA_SETS),
    ];
    Experiment::new(TOPIC, 9611, DATA_SETS, questions, |draw, answers| {
        let mut x = STABLE.draw(draw);
        let place = (draw.uniform() * x.len() as f64) as usize;
        x[place] += 10.0_f64.ln();
        answers[0] = alarms(&x, draw);
        x[place] -= 10.0_f64.ln();
        for i in (1..x.len()).rev() {
            x.swap(i, (draw.uniform() * (i + 1) as f64) as usize);
        }
        answers[1] = scan(&x, draw).ok().map(|t| yes(t.p < 0.05));
    })
}

/// +10 % in the last runs: at least the published power less five points.
fn steps() -> Vec<Experiment> {
    let laws = [
        ("+10 % in the last 10 of 50", 0.90, Law { step: (1.1, 10), ..STABLE }),
        ("the same, 2 % of runs twice as slow", 0.85, Law { step: (1.1, 10), wild: 0.02, ..STABLE }),
        ("+10 % in the last 5 of 50", 0.40, Law { step: (1.1, 5), ..STABLE }),
    ];
    (0..)
        .zip(laws)
        .map(|(number, (name, power, law))| {
            let question = Question::within(format!("{name}: rank scan p < 0.01"), power, power - 0.05, 1.0);
            Experiment::new(TOPIC, 9620 + number, DATA_SETS, vec![question], move |draw, answers| {
                let x = law.draw(draw);
                answers[0] = scan(&x, draw).ok().map(|t| yes(t.p < 0.01));
            })
        })
        .collect()
}

/// ARL0 500: a false alarm after each look with chance 1/500, so in 89 looks at 12 to 100 runs with 16.3 %.
fn watch() -> Experiment {
    let share = 1.0 - (1.0 - 1.0 / 500.0_f64).powi(89);
    let question =
        Question::known("watch at ARL0 500: false alarm within 100 runs", share, 2000).rounded(ROUNDED);
    Experiment::new(TOPIC, 9630, 2000, vec![question], |draw, answers| {
        let Ok(mut watch) = OnlineScan::new(500.0) else { return };
        let raised = (0..100).any(|_| watch.observe(draw.exponential()).is_ok_and(|a| a.is_some()));
        answers[0] = Some(yes(raised));
    })
}

/// The size of a change whose place is known.
fn effects() -> Experiment {
    let question = Question::covers("shift of 20 % at a known place, 25 and 25 runs: Hodges–Lehmann");
    Experiment::new(TOPIC, 9631, 2000, vec![question], |draw, answers| {
        let x = Law { step: (1.2, 25), ..STABLE }.draw(draw);
        answers[0] = shift(&x[..25], &x[25..], 0.95)
            .ok()
            .and_then(|s| s.interval)
            .map(|i| yes(i.contains(1.2_f64.ln())));
    })
}

/// Theil–Sen's interval and Mann–Kendall's level on 30 runs.
fn slopes() -> Experiment {
    let questions = vec![
        Question::covers("slope of 1 % a run, 30 runs: Theil–Sen"),
        Question::known("no slope, 30 runs: Mann–Kendall p < 0.05", 0.05, 2000).rounded(ROUNDED),
    ];
    Experiment::new(TOPIC, 9632, 2000, questions, |draw, answers| {
        let x = Law { n: 30, ..STABLE }.draw(draw);
        answers[1] = mann_kendall(&x).ok().map(|m| yes(m.p < 0.05));
        let number: Vec<f64> = (0..30).map(f64::from).collect();
        let rising: Vec<f64> = x.iter().zip(&number).map(|(v, i)| v + 0.01 * i).collect();
        answers[0] = theil_sen(&number, &rising, 0.95).ok().map(|s| yes(s.interval.contains(0.01)));
    })
}

/// F1 on the 22 marked series, default settings: silence has 0.69 on them, PELT 0.52, E-divisive 0.60.
fn marked() -> Experiment {
    let question = Question::within("F1 on 22 marked series (never alarming: 0.69)", 0.75, 0.75, 1.0);
    Experiment::new(TOPIC, 9640, 1, vec![question], |_, answers| {
        let text = include_str!("../../data/changepoints/tcpd_series.json");
        let series: serde_json::Value = serde_json::from_str(text).expect("invariant: bundled data");
        let scores: Vec<f64> = series.as_object().into_iter().flatten().filter_map(|(_, s)| f1(s)).collect();
        answers[0] = (scores.len() == 22).then(|| scores.iter().sum::<f64>() / 22.0);
    })
}

fn f1(series: &serde_json::Value) -> Option<f64> {
    let values: Vec<f64> =
        series["series"][0].as_array()?.iter().filter_map(serde_json::Value::as_f64).collect();
    let marks: Vec<Vec<usize>> = series["annotations"]
        .as_object()?
        .values()
        .map(|a| a.as_array().into_iter().flatten().filter_map(|p| p.as_u64().map(|p| p as usize)).collect())
        .collect();
    let found = history(&values, &Recipe::new(0.0, 1)).ok()?.supported();
    Some(score(&found, &marks, values.len(), MARGIN).f1)
}

/// Runs of two benchmarks on three machines that nobody touched, as histories of 100: at most one alarm in 100 runs.
fn machines() -> Experiment {
    let questions = ["redis", "postgres"].map(|name| {
        Question::within(format!("{name} on untouched machines: alarms per 100 runs"), 0.0, 0.0, 1.0)
    });
    Experiment::new(TOPIC, 9641, 1, questions.to_vec(), |_, answers| {
        let files = [
            include_str!("../../data/changepoints/vm_noise_redis_get_rps.csv"),
            include_str!("../../data/changepoints/vm_noise_postgres_latency_ms.csv"),
        ];
        for (answer, file) in answers.iter_mut().zip(files) {
            let (mut alarms, mut runs) = (0, 0);
            for machine in ["0,", "1,", "2,"] {
                let values: Vec<f64> = file
                    .lines()
                    .filter(|l| l.starts_with(machine))
                    .filter_map(|l| l.rsplit(',').next()?.parse::<f64>().ok())
                    .map(f64::ln)
                    .collect();
                for part in values.chunks_exact(100) {
                    let Ok(h) = history(part, &Recipe::new(EFFECT.ln_1p(), 1)) else { return };
                    alarms += h.supported().len();
                    runs += part.len();
                }
            }
            *answer = (0 < runs).then(|| 100.0 * alarms as f64 / runs as f64);
        }
    })
}
