//! A long run judged: does it get worse, does it keep its error budget, how long is a burst felt, and who ages.
//!
//! [`SoakLog`] is a record sink that keeps a few words of each request and, beyond half a million of them, of every second,
//! fourth, … one, so that memory stays flat however long the run; counts stay exact. [`SoakLog::judge`] then says what
//! [`degradation`](crate::stats::degradation), [`budget`](crate::stats::budget) and
//! [`trend`](crate::stats::trend) find in it. [`client`] looks at the process that measured, [`ladder`] judges the steps of a
//! stress test. Nothing here stores a run or reads a clock.

pub mod client;
mod found;
pub mod ladder;
pub mod recovery;

use llms_core::{
    Result,
    bench::{
        Bounded, Measured, Origin, RecordOutcome, RecordSink, RequestJudge as _, RequestRecord, RunManifest,
        RunPhase, RunResult, Scenario, Validity,
    },
};

use crate::{
    SloJudge,
    population::Population,
    request::Request,
    stats::{
        Sample, StatsError,
        budget::{BurnPair, budget, burn_alerts},
        degradation::degradation,
        quantile::QuantileType,
    },
    validity::{Thresholds, judge},
};
use client::client_ageing;
use found::found;
use recovery::{RecoveryTime, recovery};

pub use found::{BudgetFound, Burn, MetricSlopes, Slice, SlopeFound, SoakAnalysis, WindowFound};

/// Requests kept at most before every second one goes.
const POINTS: usize = 1 << 19;
/// Whole records kept at most, for the verdict on the client.
const SAMPLE: usize = 2000;
/// Slices of equal time in the curve.
const SLICES: usize = 20;
/// Windows before a burst whose medians are the baseline, and the width of those after it, as a share of the baseline.
const BURST_WINDOWS: f64 = 20.0;

/// What is asked of a long run.
#[derive(Clone, Debug, PartialEq)]
pub struct SoakOptions {
    /// Confidence of all intervals, in (0, 1).
    pub confidence: f64,
    /// Share of requests that must be good, in (0, 1); `None`: no error budget is kept.
    pub budget: Option<f64>,
    /// Pairs of windows that alarm together when the budget burns.
    pub pairs: Vec<BurnPair>,
    /// A burst inside the window: its begin and end, seconds from the start of the window. Requests scheduled from its
    /// begin to the recovery take no part in the slopes.
    pub burst: Option<(f64, f64)>,
}

/// One number of a request.
type Part = fn(&Point) -> f32;

/// What is kept of a request.
#[derive(Clone, Copy, Debug)]
struct Point {
    at_ns: u64,
    // NaN: absent; read only where the outcome is Ok
    ttft: f32,
    e2e: f32,
    tpot: f32,
    send_lag: f32,
    block: u64,
    end: End,
    good: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Ok,
    Failed,
    Censored,
}

/// Takes the records of a long run; see the module.
#[derive(Debug)]
pub struct SoakLog {
    streamed: bool,
    headline: Origin,
    judge: SloJudge,
    points: Vec<Point>,
    one_in: u64,
    counts: [u64; 3],
    good: u64,
    sample: Vec<RequestRecord>,
    sample_one_in: u64,
    room: usize,
}

impl SoakLog {
    /// For a run of `scenario`.
    pub fn new(scenario: &Scenario) -> Self {
        Self {
            streamed: scenario.streaming,
            headline: scenario.load.headline_origin(),
            judge: SloJudge::new(scenario),
            points: Vec::new(),
            one_in: 1,
            counts: [0; 3],
            good: 0,
            sample: Vec::new(),
            sample_one_in: 1,
            room: POINTS,
        }
    }

    /// What the run says. `manifest` is that of the finished run.
    ///
    /// # Errors
    /// `OutOfRange` for options outside their range.
    pub fn judge(
        mut self,
        manifest: &RunManifest,
        options: &SoakOptions,
    ) -> Result<SoakAnalysis, StatsError> {
        crate::stats::interval::check_unit("confidence", options.confidence)?;
        self.points.sort_by_key(|p| (p.at_ns, p.block));
        // Cut off by the user: nobody knows. Given up by the drain: it waited longer than anybody allowed.
        if manifest.interrupted {
            self.points.retain(|p| p.end != End::Censored);
        }
        let begin = manifest.window.map(|w| w.start.as_nanos());
        let begin = begin.or_else(|| self.points.first().map(|p| p.at_ns)).unwrap_or_default();
        let at = |p: &Point| (p.at_ns as f64 - begin as f64) / 1e9;
        let window_s = manifest.window.map_or_else(
            || self.points.last().map_or(0.0, at),
            |w| w.end.saturating_since(w.start).as_secs_f64(),
        );
        let value = |p: &Point, v: f32| if p.end == End::Ok { f64::from(v) } else { f64::INFINITY };
        let limit = manifest.scenario.timeout.as_secs_f64();
        let burst = options.burst.map(|burst| felt(&self.points, at, value, burst, window_s));
        let left_out = options.burst.map(|(from, to)| {
            let found = burst.as_ref().and_then(|b| b.as_ref().ok()).and_then(|r| r.recovered_s);
            (from, found.map_or(f64::INFINITY, |s| to + s))
        });
        let counts = |t: f64| left_out.is_none_or(|(from, to)| t < from || to <= t);
        let series = |v: Part| -> Vec<(f64, f64)> {
            self.points
                .iter()
                .map(|p| (at(p), value(p, v(p))))
                .filter(|(t, v)| counts(*t) && !v.is_nan())
                .collect()
        };
        let metrics: [(&'static str, Part); 3] =
            [("ttft", |p| p.ttft), ("e2e", |p| p.e2e), ("tpot", |p| p.tpot)];
        let all: Vec<(&'static str, Vec<(f64, f64)>)> = metrics
            .into_iter()
            // a metric that no answer has is not asked for, and costs the others nothing
            .filter(|(_, v)| self.points.iter().any(|p| p.end == End::Ok && !v(p).is_nan()))
            .map(|(name, v)| (name, series(v)))
            .collect();
        let each = of_each(options.confidence, 2 * all.len() + 1);
        let (mut slopes, mut failing, mut not_measured) =
            (Vec::new(), Measured::absent("no request was scheduled in the window"), Vec::new());
        for (name, series) in all {
            match degradation(&series, each) {
                Ok(d) => {
                    if name == "e2e" {
                        failing = Measured::Value(d.failed.into());
                    }
                    slopes.push(found(name, &d, limit));
                }
                Err(e) => {
                    not_measured.push(format!("slope of {name}: {e}"));
                    if name == "e2e" {
                        failing = Measured::absent(e.to_string());
                    }
                }
            }
        }
        let budget = match options.budget {
            Some(objective) => self.spent(objective, options, at, window_s, manifest.interrupted)?,
            None => None,
        };
        let client = client_ageing(
            manifest.client.as_deref(),
            &self
                .points
                .iter()
                .filter(|p| !p.send_lag.is_nan())
                .map(|p| (at(p), f64::from(p.send_lag)))
                .collect::<Vec<_>>(),
            options.confidence,
        );
        let (validity, more) = self.validity(manifest);
        not_measured.extend(more);
        let worst = slopes.iter().filter(|s| s.alarm()).filter_map(MetricSlopes::steepest).reduce(f64::max);
        let failures = failing.value().is_some_and(|s: &SlopeFound| s.alarm);
        Ok(SoakAnalysis {
            requests: self.counts.iter().sum(),
            ok: self.counts[0],
            failed: self.counts[1],
            censored: self.counts[2],
            one_in: self.one_in,
            window_s,
            confidence: options.confidence,
            curve: self.curve(at, window_s, limit),
            culprit: client.culprit(worst, failures),
            slopes,
            failing,
            budget,
            burst: burst.map(|b| b.map_or_else(|e| Measured::absent(e.to_string()), Measured::Value)),
            client,
            validity,
            not_measured,
        })
    }

    fn spent(
        &self,
        objective: f64,
        options: &SoakOptions,
        at: impl Fn(&Point) -> f64,
        window_s: f64,
        interrupted: bool,
    ) -> Result<Option<BudgetFound>, StatsError> {
        let total = self.counts.iter().sum::<u64>() - if interrupted { self.counts[2] } else { 0 };
        if total == 0 {
            return Ok(None);
        }
        let bad = total - self.good;
        let b = budget(bad, total, objective, options.confidence)?;
        let requests: Vec<(f64, bool)> = self.points.iter().map(|p| (at(p), !p.good)).collect();
        let alerts = burn_alerts(&requests, objective, &options.pairs)?;
        let pairs = options.pairs.iter().map(|pair| Burn {
            long_s: pair.long_s,
            short_s: pair.short_s,
            limit: pair.burn,
            at_s: alerts.iter().find(|a| a.pair == *pair).map(|a| a.at_s),
            too_short: window_s < pair.long_s,
        });
        Ok(Some(BudgetFound {
            objective,
            bad,
            total,
            burn: b.burn,
            left: b.left,
            left_low: b.left_interval.low,
            left_high: b.left_interval.high,
            pairs: pairs.collect(),
        }))
    }

    fn curve(&self, at: impl Fn(&Point) -> f64, window_s: f64, limit: f64) -> Vec<Slice> {
        if window_s <= 0.0 {
            return Vec::new();
        }
        let width = window_s / SLICES as f64;
        let mut rest = &self.points[..];
        (0..SLICES)
            .map(|i| {
                let to_s = if i + 1 == SLICES { f64::INFINITY } else { width * (i + 1) as f64 };
                let (slice, later) = rest.split_at(rest.partition_point(|p| at(p) < to_s));
                rest = later;
                let failures = slice.iter().filter(|p| p.end != End::Ok).count();
                let quantile = |v: Part, p: f64| {
                    let known = slice.iter().filter(|s| s.end == End::Ok).map(|s| f64::from(v(s)));
                    let known: Vec<f64> = known.filter(|v| !v.is_nan()).collect();
                    let sample = Sample::with_failures(known, failures).ok()?;
                    Some(Bounded::from_f64(sample.quantile(p, QuantileType::Type7).ok()?, limit))
                };
                Slice {
                    from_s: width * i as f64,
                    to_s: width * (i + 1) as f64,
                    requests: slice.len() as u64,
                    failed: failures as u64,
                    ttft_p50: quantile(|p| p.ttft, 0.5),
                    e2e_p50: quantile(|p| p.e2e, 0.5),
                    e2e_p95: quantile(|p| p.e2e, 0.95),
                }
            })
            .collect()
    }

    /// The verdict on the client, by the whole records kept: a share over every n-th request is a share over all.
    fn validity(&mut self, manifest: &RunManifest) -> (Validity, Vec<String>) {
        let mut manifest = manifest.clone();
        manifest.planned = Vec::new();
        let run = RunResult { manifest, records: std::mem::take(&mut self.sample) };
        let population = Population::of(&run, 0);
        let judged = judge(&run.manifest, &[population], &[None], &Thresholds::default());
        (judged.validity, judged.not_measured)
    }
}

/// Two-sided confidence of each of `slopes` lower limits, so that all of them hold together with `confidence` (Bonferroni):
/// who looks at seven slopes of a run that does not change must not see an alarm in one run of six.
fn of_each(confidence: f64, slopes: usize) -> f64 {
    1.0 - 2.0 * (1.0 - confidence) / slopes as f64
}

/// Recovery after a burst within the run.
fn felt(
    points: &[Point],
    at: impl Fn(&Point) -> f64,
    value: impl Fn(&Point, f32) -> f64,
    (from, to): (f64, f64),
    window_s: f64,
) -> Result<RecoveryTime, StatsError> {
    let times: Vec<(f64, f64)> =
        points.iter().map(|p| (at(p), value(p, p.e2e))).filter(|(_, v)| !v.is_nan()).collect();
    recovery(&times, (0.0, from), &times, (to, window_s), from / BURST_WINDOWS)
}

impl RecordSink for SoakLog {
    fn begin(&mut self, _manifest: &RunManifest) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, record: &RequestRecord) -> Result<()> {
        if record.phase != RunPhase::Measured {
            return Ok(());
        }
        let end = match record.outcome {
            RecordOutcome::Ok => End::Ok,
            RecordOutcome::Failed(_) => End::Failed,
            RecordOutcome::Censored => End::Censored,
        };
        self.counts[end as usize] += 1;
        let good = self.judge.is_good(record);
        self.good += u64::from(good);
        if record.block.is_multiple_of(self.one_in) {
            let request = Request::new(record, self.streamed);
            let seconds = |v: Option<f64>| v.map_or(f32::NAN, |v| v as f32);
            self.points.push(Point {
                at_ns: record.scheduled.as_nanos(),
                ttft: seconds(request.ttft(self.headline)),
                e2e: seconds(request.e2e(self.headline)),
                tpot: seconds(request.tpot()),
                send_lag: seconds(request.send_lag()),
                block: record.block,
                end,
                good,
            });
            if self.room <= self.points.len() {
                self.one_in *= 2;
                let one_in = self.one_in;
                self.points.retain(|p| p.block.is_multiple_of(one_in));
            }
        }
        if record.block.is_multiple_of(self.sample_one_in) {
            self.sample.push(record.clone());
            if SAMPLE <= self.sample.len() {
                self.sample_one_in *= 2;
                let one_in = self.sample_one_in;
                self.sample.retain(|r| r.block.is_multiple_of(one_in));
            }
        }
        Ok(())
    }

    fn finish(&mut self, _manifest: &RunManifest) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llms_core::time::Timestamp;

    fn record(i: u64, failed: bool) -> RequestRecord {
        let text = r#"{"request_id":"r","target":0,"block":0,"position":0,"prompt":"p","phase":"measured",
            "scheduled":0,"released":0,"sent":0,"written":null,"headers":null,"first_byte":null,"end":0,"outcome":"ok"}"#;
        let mut record: RequestRecord = serde_json::from_str(text).unwrap();
        record.block = i;
        record.scheduled = Timestamp::from_nanos(i * 1_000_000);
        (record.released, record.sent) = (record.scheduled, Some(record.scheduled));
        record.end = Some(record.scheduled + std::time::Duration::from_millis(20));
        if failed {
            record.outcome = RecordOutcome::Censored;
        }
        record
    }

    #[test]
    fn memory_is_bounded_and_counts_stay_exact() {
        let mut scenario = Scenario::new("soak", ["hello"]);
        scenario.streaming = false;
        let mut log = SoakLog::new(&scenario);
        log.room = 1000;
        for i in 0..50_000 {
            log.record(&record(i, i % 100 == 0)).unwrap();
        }
        assert!(log.points.len() < 1000 && log.one_in == 64, "{} {}", log.points.len(), log.one_in);
        assert!(log.sample.len() < SAMPLE);
        assert_eq!((log.counts, log.good), ([49_500, 0, 500], 49_500));
        assert!(log.points.iter().all(|p| p.block % 64 == 0 && (p.e2e - 0.02).abs() < 1e-6));
    }
}
