//! `validate --long`: a million answers of a hundred chunks, and what memory they take.
//!
//! One run as people make it: records to disk, none kept, judged from the file. Everything must come and be counted, and
//! neither the run nor its judging may take memory by the number of chunks.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bench_analysis::{Analyzer, stats::trend::theil_sen};
use bench_mock::server::Protocol;
use bench_profiling::{ProbeOptions, ProcessProbe};
use bench_runner::Runner;
use bench_store::{ScratchSink, StoredRecords};
use llms_core::{
    CallContext, Result,
    bench::{
        Analysis, BenchmarkRunner as _, Load, Progress, ProgressUpdate, RecordSource, RunManifest, RunPhase,
    },
};

use super::{
    Bench, Validation, Verdict,
    cases::{on, scenario},
};
use crate::exit::Failure;

/// Chunks of each answer.
pub(crate) const CHUNKS: u64 = 100;
/// Users who ask.
const USERS: u32 = 64;
/// Resident memory is read so often, and that many readings are kept.
const EVERY: Duration = Duration::from_millis(500);
/// What the run may take beyond what it had after its first tenth.
const RUN_MAY_GROW: f64 = 10e6;
/// What judging may take for each request, beside what it takes for any run.
const JUDGING_EACH: f64 = 200.0;
const JUDGING_ANY: f64 = 20e6;

/// Resident bytes of this process; `None` where the platform does not say.
fn resident() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kb| kb * 1024.0)
}

/// Reads resident memory along the course of the run; says how far it is.
struct Watch {
    quiet: bool,
    state: std::sync::Mutex<Course>,
}

struct Course {
    last: Instant,
    said: u64,
    /// Requests done, and bytes.
    readings: Vec<(f64, f64)>,
}

impl Progress for Watch {
    #[allow(clippy::print_stderr, reason = "progress belongs on standard error")]
    fn update(&self, now: &ProgressUpdate) {
        let mut course = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if now.phase != RunPhase::Measured || course.last.elapsed() < EVERY {
            return;
        }
        course.last = Instant::now();
        if let Some(bytes) = resident() {
            course.readings.push((now.done as f64, bytes));
        }
        let tenth = now.planned.map_or(0, |planned| now.done * 10 / planned.max(1));
        if tenth > course.said && !self.quiet {
            course.said = tenth;
            eprintln!("validate: {} requests after {:.0} s", now.done, now.elapsed_s);
        }
    }
}

/// The most memory resident while `work` goes on.
fn peak_during<T>(work: impl FnOnce() -> T) -> (T, Option<f64>) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = resident();
            while !done.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
                peak = peak.zip(resident()).map(|(a, b)| a.max(b));
            }
            peak
        });
        let result = work();
        done.store(true, Relaxed);
        (result, watch.join().unwrap_or(None))
    })
}

/// What the records of the run add up to.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    measured: u64,
    ok: u64,
    chunks: u64,
    /// Answers with another number of chunks.
    odd: u64,
    /// Blocks that have their answer, a bit each.
    blocks: Vec<u64>,
    twice: u64,
}

impl Sums {
    fn of(records: &dyn RecordSource, requests: u64) -> Result<Self> {
        let mut sums = Self { blocks: vec![0; requests.div_ceil(64) as usize], ..Self::default() };
        records.each(&mut |r| {
            if r.phase != RunPhase::Measured {
                return Ok(());
            }
            sums.measured += 1;
            sums.ok += u64::from(r.is_ok());
            sums.chunks += r.chunks.len() as u64;
            sums.odd += u64::from(r.chunks.len() as u64 != CHUNKS);
            if let Some(word) = sums.blocks.get_mut((r.block / 64) as usize) {
                sums.twice += *word >> (r.block % 64) & 1;
                *word |= 1 << (r.block % 64);
            }
            Ok(())
        })?;
        Ok(sums)
    }

    fn missing(&self, requests: u64) -> u64 {
        requests - self.blocks.iter().map(|word| u64::from(word.count_ones())).sum::<u64>()
    }
}

/// Runs `requests` answers and checks what is left of them.
pub(super) async fn long(
    bench: &Bench,
    requests: u64,
    ctx: &CallContext,
    found: &mut Validation,
) -> std::result::Result<(), Failure> {
    bench.say(&format!("{requests} answers of {CHUNKS} chunks, {USERS} in flight"));
    let mut scenario = scenario("long", Load::closed(USERS), Some(requests));
    scenario.warmup.requests = USERS;
    let targets = bench.targets(&scenario, &on(&[Protocol::OpenAi], "long")).await?;
    let course = Course { last: Instant::now(), said: 0, readings: Vec::new() };
    let watch = Arc::new(Watch { quiet: bench.quiet, state: course.into() });
    let runner = Runner::builder()
        .keep_records(false)
        .progress(watch.clone())
        .probe(Arc::new(ProcessProbe::here(ProbeOptions::default())))
        .build();
    let mut sink = ScratchSink::new()?;
    let records = sink.records();
    let manifest = runner.run(&targets, &scenario, &mut sink, ctx).await?.manifest;
    let readings =
        std::mem::take(&mut watch.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner).readings);
    bench.say("judging them from the file");
    let before = resident();
    let judged = tokio::task::block_in_place(|| peak_during(|| judge(&manifest, &records, requests)));
    let ((sums, analysis), peak) = (judged.0?, judged.1);
    counts(found, requests, &manifest, &sums, &analysis);
    let (verdict, said) = flat(&readings);
    found.check("memory of the run", "this program", verdict, said);
    let limit = JUDGING_ANY + JUDGING_EACH * requests as f64;
    let (verdict, said) = match before.zip(peak) {
        Some((before, peak)) => (
            if peak - before <= limit { Verdict::Pass } else { Verdict::Fail },
            format!(
                "{:.1} MB more than before; at most {:.0} MB and {JUDGING_EACH} bytes a request",
                (peak - before) / 1e6,
                JUDGING_ANY / 1e6
            ),
        ),
        None => (Verdict::CannotTell, "this platform does not say how much memory is resident".to_owned()),
    };
    found.check("memory of judging", "this program", verdict, said);
    Ok(())
}

fn judge(manifest: &RunManifest, records: &StoredRecords, requests: u64) -> Result<(Sums, Analysis)> {
    Ok((Sums::of(records, requests)?, Analyzer::new().analyze_from(manifest, records)?))
}

fn counts(found: &mut Validation, requests: u64, manifest: &RunManifest, sums: &Sums, analysis: &Analysis) {
    let missing = sums.missing(requests);
    let all = manifest.complete
        && (sums.measured, sums.ok, sums.chunks) == (requests, requests, requests * CHUNKS)
        && sums.odd + sums.twice + missing == 0;
    found.check(
        "long run",
        "openai",
        if all { Verdict::Pass } else { Verdict::Fail },
        format!(
            "{} answers of {requests}, {} ok, {} chunks; {missing} missing, {} twice, {} with another number of chunks{}",
            sums.measured,
            sums.ok,
            sums.chunks,
            sums.twice,
            sums.odd,
            if manifest.complete { "" } else { "; the run did not come to its end" }
        ),
    );
    let target = &analysis.targets[0];
    let gaps = target.metrics.get("icl").map_or(0, |m| m.n);
    let merged = target.merged_gap_share.unwrap_or(0.0);
    // Gaps inside one read are no gaps; together they are all that lie between the chunks.
    let between = (requests * (CHUNKS - 1)) as f64;
    let agrees = target.ok == requests && ((gaps as f64 + merged * between) / between - 1.0).abs() < 1e-6;
    let seconds = target.throughput.window_s;
    found.check(
        "long run, as judged",
        "openai",
        if agrees { Verdict::Pass } else { Verdict::Fail },
        format!(
            "{} answers, {gaps} gaps measured, {:.1} % inside one read; {:.0} answers/s over {seconds:.0} s",
            target.ok,
            merged * 100.0,
            requests as f64 / seconds.max(f64::MIN_POSITIVE)
        ),
    );
}

/// Whether memory stays where it was after the first tenth of the run.
fn flat(readings: &[(f64, f64)]) -> (Verdict, String) {
    let Some((last, _)) = readings.last() else {
        return (Verdict::CannotTell, "this platform does not say how much memory is resident".to_owned());
    };
    let settled: Vec<(f64, f64)> =
        readings.iter().copied().filter(|(done, _)| *done >= last / 10.0).collect();
    let (x, y): (Vec<f64>, Vec<f64>) = settled.iter().copied().unzip();
    let thin = x.len().div_ceil(500);
    let every = |all: &[f64]| -> Vec<f64> { all.iter().copied().step_by(thin.max(1)).collect() };
    let Ok(slope) = theil_sen(&every(&x), &every(&y), 0.95) else {
        return (
            Verdict::CannotTell,
            format!("{} readings are too few; ask for more requests", settled.len()),
        );
    };
    let (first, peak) = (y[0], y.iter().copied().fold(0.0, f64::max));
    let grows = slope.slope * (last - x[0]);
    let flat = peak - first <= RUN_MAY_GROW && grows <= RUN_MAY_GROW;
    (
        if flat { Verdict::Pass } else { Verdict::Fail },
        format!(
            "{:.1} MB after a tenth, at most {:.1} MB until {last} requests, {:+.2} MB each 100000; allowed {:.0} MB more",
            first / 1e6,
            peak / 1e6,
            slope.slope * 1e5 / 1e6,
            RUN_MAY_GROW / 1e6
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_seen_and_noise_is_not() {
        let run = |bytes: &dyn Fn(f64) -> f64| -> Vec<(f64, f64)> {
            (1..200).map(|i| (f64::from(i) * 5000.0, bytes(f64::from(i)))).collect()
        };
        assert_eq!(flat(&run(&|i| 20e6 + (i % 7.0) * 1e5)).0, Verdict::Pass);
        assert_eq!(flat(&run(&|i| 20e6 + i * 1e5)).0, Verdict::Fail, "20 MB in all");
        assert_eq!(flat(&run(&|i| if i > 150.0 { 35e6 } else { 20e6 })).0, Verdict::Fail, "a step");
        assert_eq!(flat(&run(&|i| if i < 10.0 { 5e6 } else { 20e6 })).0, Verdict::Pass, "while it begins");
        assert_eq!(flat(&[]).0, Verdict::CannotTell);
    }

    #[test]
    fn every_block_once() {
        let mut sums = Sums { blocks: vec![0b1011, 1], ..Sums::default() };
        assert_eq!(sums.missing(65), 61);
        sums.blocks = vec![u64::MAX, 1];
        assert_eq!(sums.missing(65), 0);
    }
}
