//! Experiments, the rows they give, and the threads that do them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::{Deserialize, Serialize};

use super::Draw;

/// Parts an experiment is cut into, so that threads share it.
const PARTS: u64 = 64;
/// Standard errors by which a band is widened for what fewer data sets add to the noise.
const WIDENED: f64 = 3.0;

/// What is asked of every data set of an experiment, and the band for the mean of the answers.
#[derive(Clone, Debug)]
pub struct Question {
    /// what it is
    pub name: String,
    /// what is claimed: nominal coverage, level, predicted power, a published figure
    pub expected: f64,
    /// the least mean that passes
    pub low: f64,
    /// the greatest mean that passes
    pub high: f64,
}

impl Question {
    /// A mean that must lie between `low` and `high`.
    pub fn within(name: impl Into<String>, expected: f64, low: f64, high: f64) -> Self {
        Self { name: name.into(), expected, low, high }
    }

    /// The coverage of an interval that claims 95 %: 93 to 97 %.
    pub fn covers(name: impl Into<String>) -> Self {
        Self::within(name, 0.95, 0.93, 0.97)
    }

    /// The coverage of an interval that may be too wide and never too narrow: at least `nominal`, less three standard errors
    /// of `replications` data sets.
    pub fn at_least(name: impl Into<String>, nominal: f64, replications: u64) -> Self {
        Self::within(name, nominal, nominal - 3.0 * standard_error(nominal, replications), 1.0)
    }

    /// A share of at most `level`, and `errors` standard errors of `replications` data sets.
    pub fn at_most(name: impl Into<String>, level: f64, errors: f64, replications: u64) -> Self {
        Self::within(name, level, 0.0, level + errors * standard_error(level, replications))
    }

    /// A share that is known: within three standard errors of `replications` data sets.
    pub fn known(name: impl Into<String>, share: f64, replications: u64) -> Self {
        let reach = 3.0 * standard_error(share, replications);
        Self::within(name, share, share - reach, share + reach)
    }

    /// With a band wider by `by` on both sides: what the claimed figure was rounded by.
    pub fn rounded(self, by: f64) -> Self {
        Self { low: self.low - by, high: self.high + by, ..self }
    }
}

/// The score of a yes or no.
pub fn yes(answer: bool) -> f64 {
    f64::from(u8::from(answer))
}

/// Standard error of a share over `n` independent cases.
pub(super) fn standard_error(share: f64, n: u64) -> f64 {
    (share * (1.0 - share) / n.max(1) as f64).sqrt()
}

/// Scores one data set: an answer to each question in turn (1 and 0 for yes and no), `None` where none was given.
pub type Trial = Box<dyn Fn(&mut Draw, &mut [Option<f64>]) + Send + Sync>;

/// One law of data and what is asked of each data set drawn from it.
pub struct Experiment {
    /// what it belongs to: `intervals`, `comparison`, `change points`, …
    pub topic: &'static str,
    /// seed; data set i is stream i of it
    pub seed: u64,
    /// data sets
    pub replications: u64,
    /// what is asked
    pub questions: Vec<Question>,
    /// draws and scores one
    pub trial: Trial,
}

impl Experiment {
    /// An experiment with one question or more.
    pub fn new(
        topic: &'static str,
        seed: u64,
        replications: u64,
        questions: Vec<Question>,
        trial: impl Fn(&mut Draw, &mut [Option<f64>]) + Send + Sync + 'static,
    ) -> Self {
        Self { topic, seed, replications, questions, trial: Box::new(trial) }
    }

    fn replications(&self, options: &Options) -> u64 {
        let wanted = (self.replications as f64 * options.fraction).ceil() as u64;
        wanted.clamp(1, self.replications)
    }
}

impl std::fmt::Debug for Experiment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Experiment")
            .field("topic", &self.topic)
            .field("seed", &self.seed)
            .field("replications", &self.replications)
            .field("questions", &self.questions)
            .finish_non_exhaustive()
    }
}

/// How much of the experiments is done, and by how many threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// share of the data sets, in (0, 1]; bands are widened for the noise that fewer add
    pub fraction: f64,
    /// threads, at least 1
    pub threads: usize,
}

impl Options {
    /// All data sets on all processors.
    pub fn full() -> Self {
        Self { fraction: 1.0, threads: std::thread::available_parallelism().map_or(1, usize::from) }
    }

    /// A twentieth of them.
    pub fn quick() -> Self {
        Self { fraction: 0.05, ..Self::full() }
    }
}

/// What came of one question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// what it belongs to
    pub topic: String,
    /// what was asked
    pub name: String,
    /// data sets that gave an answer
    pub replications: u64,
    /// data sets that gave none (an interval withheld for want of n)
    pub withheld: u64,
    /// mean of the answers; `None` when there was none
    pub measured: Option<f64>,
    /// what is claimed
    pub expected: f64,
    /// least mean that passes
    pub low: f64,
    /// greatest mean that passes
    pub high: f64,
    /// whether it lies in the band
    pub pass: bool,
    /// seed of the experiment
    pub seed: u64,
}

/// Answers to one question.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    answers: u64,
    withheld: u64,
    total: f64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.withheld += other.withheld;
        self.total += other.total;
    }
}

/// Does the experiments; rows in their order and that of their questions. `say` hears the number of every
/// experiment of which the last part is done.
pub fn run(experiments: &[Experiment], options: &Options, say: &(dyn Fn(usize) + Sync)) -> Vec<Row> {
    let parts: Vec<(usize, std::ops::Range<u64>)> = experiments
        .iter()
        .enumerate()
        .flat_map(|(i, e)| {
            let n = e.replications(options);
            let parts = PARTS.min(n);
            (0..parts).map(move |k| (i, k * n / parts..(k + 1) * n / parts))
        })
        .collect();
    let left: Vec<AtomicUsize> = (0..experiments.len())
        .map(|i| AtomicUsize::new(parts.iter().filter(|(of, _)| *of == i).count()))
        .collect();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Vec<Sum>>>> = Mutex::new(vec![None; parts.len()]);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((i, range)) = parts.get(at) else { break };
            let sums = part(&experiments[*i], range.clone());
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[at] = Some(sums);
            if left[*i].fetch_sub(1, Ordering::Relaxed) == 1 {
                say(*i);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.threads {
            scope.spawn(work);
        }
        work();
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut rows = Vec::new();
    for (i, e) in experiments.iter().enumerate() {
        let mut sums = vec![Sum::default(); e.questions.len()];
        // summed in the order of the parts, whoever did them: the same to the last bit
        for (_, part) in parts.iter().zip(&done).filter(|((of, _), _)| *of == i) {
            for (sum, more) in sums.iter_mut().zip(part.iter().flatten()) {
                sum.add(*more);
            }
        }
        rows.extend(e.questions.iter().zip(sums).map(|(q, sum)| row(e, q, sum, options)));
    }
    rows
}

/// Some data sets of an experiment.
fn part(e: &Experiment, range: std::ops::Range<u64>) -> Vec<Sum> {
    let mut sums = vec![Sum::default(); e.questions.len()];
    let mut answers = vec![None; e.questions.len()];
    for number in range {
        answers.fill(None);
        (e.trial)(&mut Draw::new(e.seed, number), &mut answers);
        for (sum, answer) in sums.iter_mut().zip(&answers) {
            match answer {
                Some(score) => {
                    sum.answers += 1;
                    sum.total += score;
                }
                None => sum.withheld += 1,
            }
        }
    }
    sums
}

fn row(e: &Experiment, q: &Question, sum: Sum, options: &Options) -> Row {
    let measured = (0 < sum.answers).then(|| sum.total / sum.answers as f64);
    let noise = |n: u64| standard_error(q.expected.clamp(0.0, 1.0), n);
    let more = WIDENED * (noise(e.replications(options)) - noise(e.replications));
    let (low, high) = (q.low - more, q.high + more);
    Row {
        topic: e.topic.to_owned(),
        name: q.name.clone(),
        replications: sum.answers,
        withheld: sum.withheld,
        measured,
        expected: q.expected,
        low,
        high,
        pass: measured.is_some_and(|m| low <= m && m <= high),
        seed: e.seed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coin(chance: f64, claimed: f64) -> Experiment {
        let questions = vec![Question::known("heads", claimed, 2000), Question::covers("never answered")];
        Experiment::new("coins", 7, 2000, questions, move |draw, answers| {
            answers[0] = Some(yes(draw.happens(chance)));
        })
    }

    #[test]
    fn a_claim_passes_when_it_holds_and_fails_when_it_does_not() {
        let options = Options { fraction: 1.0, threads: 2 };
        let rows = run(&[coin(0.5, 0.5), coin(0.4, 0.5)], &options, &|_| {});
        assert_eq!(rows.iter().map(|r| r.pass).collect::<Vec<_>>(), [true, false, false, false]);
        assert_eq!((rows[0].replications, rows[0].withheld), (2000, 0));
        assert_eq!((rows[1].measured, rows[1].withheld), (None, 2000));
    }

    #[test]
    fn rows_do_not_depend_on_threads_and_fewer_data_sets_widen_the_band() {
        let with = |threads, fraction| run(&[coin(0.5, 0.5)], &Options { fraction, threads }, &|_| {});
        assert_eq!(with(1, 1.0), with(3, 1.0));
        let (quick, full) = (with(2, 0.05), with(2, 1.0));
        assert_eq!(quick[0].replications, 100);
        assert!(quick[0].low < full[0].low && full[0].high < quick[0].high);
    }
}
