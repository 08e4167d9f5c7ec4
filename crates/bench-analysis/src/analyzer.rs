//! The analyzer: a run in, its judgement out. The one place that puts the parts of this crate together.

use std::collections::BTreeMap;

use llms_core::bench::{
    Analysis, Bounded, Comparison, Estimate, Measured, PerformanceAnalyzer, ProviderComparator, RunPhase,
    RunResult, TargetAnalysis, Window,
};
use llms_core::error::{Error, ErrorCode, Result};
use llms_core::observe::Reported;

use crate::compare::{Side, compare};
use crate::cost::{Prices, summary as cost};
use crate::estimate::Setting;
use crate::population::Population;
use crate::stats::proportion::wilson;
use crate::validity::{Thresholds, judge, merged_share};
use crate::{errors, summary, throughput};

/// Judges runs. Pure: the same run gives the same analysis, byte for byte.
#[derive(Debug, Clone)]
pub struct Analyzer {
    confidence: f64,
    prices: Prices,
    thresholds: Thresholds,
}

impl Default for Analyzer {
    fn default() -> Self {
        Self { confidence: 0.95, prices: Prices::default(), thresholds: Thresholds::default() }
    }
}

impl Analyzer {
    /// 95 % intervals, the bundled list prices, the default thresholds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Another price list.
    pub fn with_prices(mut self, prices: Prices) -> Self {
        self.prices = prices;
        self
    }

    /// Another confidence of all intervals and of the family of verdicts, 0.5 to 0.99.
    ///
    /// # Errors
    /// `invalid_config` outside that range.
    pub fn with_confidence(mut self, confidence: f64) -> Result<Self> {
        if !(0.5..=0.99).contains(&confidence) {
            let message = format!("expected a confidence from 0.5 to 0.99, found {confidence}");
            return Err(Error::new("analysis.configure", ErrorCode::InvalidConfig, message));
        }
        self.confidence = confidence;
        Ok(self)
    }

    /// Other limits of validity.
    pub fn with_thresholds(mut self, thresholds: Thresholds) -> Self {
        self.thresholds = thresholds;
        self
    }

    fn target(
        &self,
        run: &RunResult,
        index: usize,
        population: &Population<'_>,
        window: Option<Window>,
        setting: &Setting,
    ) -> Target {
        let info = &run.manifest.targets[index];
        let (ok, failed, censored) = population.counts();
        let cost = cost::cost(population, info, &self.prices, setting);
        let both_origins = population.headline == llms_core::bench::Origin::Response;
        let (metrics, absent) = summary::metrics(population, &cost.per_success, both_origins, setting);
        let records = || population.requests.iter().map(|r| r.record);
        let warmup =
            run.records.iter().filter(|r| r.target as usize == index && r.phase == RunPhase::Warmup).count();
        let nothing =
            population.requests.is_empty().then(|| "no request was scheduled in the window".to_owned());
        let analysis = TargetAnalysis {
            target: info.name.clone(),
            simulated: info.simulated,
            unavailable: info.unavailable.clone().or(nothing),
            scheduled: population.requests.len() as u64,
            ok,
            failed,
            censored,
            warmup: warmup as u64,
            error_rate: error_rate(ok, failed, setting),
            errors: errors::group(records()),
            metrics,
            throughput: throughput::throughput(population, window, &run.manifest.scenario, setting),
            objectives: throughput::objectives(population, &run.manifest.scenario.slo, setting),
            tokens: cost::tokens(population),
            cost: cost.summary,
            finish_reasons: count(
                population.ok().filter_map(|r| Some(r.record.finish_reason.as_ref()?.as_str())),
            ),
            connections_opened: connections_opened(population),
            resent: records().filter(|r| r.resent).count() as u64,
            models: count(population.ok().filter_map(|r| r.record.model.as_deref())),
            merged_gap_share: merged_share(population).map(|(share, _)| share),
            reported: reported_means(population),
        };
        let absent = absent.into_iter().map(|(def, why)| (def.title, why)).collect();
        Target { analysis, absent, price_date: cost.price_date }
    }
}

/// One target judged, with what it lacks.
struct Target {
    analysis: TargetAnalysis,
    absent: Vec<(&'static str, &'static str)>,
    price_date: Option<time::Date>,
}

impl PerformanceAnalyzer for Analyzer {
    fn analyze(&self, run: &RunResult) -> Result<Analysis> {
        fits(run)?;
        let manifest = &run.manifest;
        let setting = Setting {
            confidence: self.confidence,
            limit: manifest.scenario.timeout.as_secs_f64(),
            seed: manifest.scenario.seeds.bootstrap.unwrap_or(0),
        };
        let populations: Vec<Population<'_>> =
            (0..manifest.targets.len()).map(|i| Population::of(run, i as u32)).collect();
        let (window, derived) = throughput::window_of(run);
        let judged: Vec<Target> =
            populations.iter().enumerate().map(|(i, p)| self.target(run, i, p, window, &setting)).collect();
        let sides: Vec<Side<'_>> = judged
            .iter()
            .zip(&populations)
            .zip(&manifest.targets)
            .map(|((t, population), info)| {
                // a target whose cost is absent has none in the comparison either
                let price =
                    t.analysis.cost.value().and_then(|_| self.prices.find(&info.model, info.simulated).ok());
                Side { population, price: price.map(|(_, price)| price), analysis: &t.analysis }
            })
            .collect();
        let comparison = compare(run, &sides, &setting);
        let dates: Vec<_> = judged.iter().map(|t| t.price_date).collect();
        let judgement = judge(run, &populations, &dates, &self.thresholds);
        let mut not_measured = missing(&judged);
        not_measured.extend(judgement.not_measured);
        if derived {
            not_measured.push("window derived from records: the run was cut off".to_owned());
        }
        Ok(Analysis {
            confidence: self.confidence,
            comparison,
            validity: judgement.validity,
            not_measured,
            targets: judged.into_iter().map(|t| t.analysis).collect(),
            ..Analysis::empty(manifest)
        })
    }
}

impl ProviderComparator for Analyzer {
    fn compare(&self, run: &RunResult) -> Result<Comparison> {
        let targets = run.manifest.targets.len();
        self.analyze(run)?.comparison.ok_or_else(|| {
            let message = format!("expected two targets or more to compare, found {targets}; add a --target");
            Error::new("analysis.compare", ErrorCode::InvalidInput, message)
        })
    }
}

/// Whether the records belong to the manifest and there is anything to judge.
fn fits(run: &RunResult) -> Result<()> {
    let wrong = |message: String| Err(Error::new("analysis.analyze", ErrorCode::InvalidInput, message));
    let targets = run.manifest.targets.len();
    if targets == 0 {
        return wrong("expected a run with at least one target, found none".to_owned());
    }
    if let Some(r) = run.records.iter().find(|r| targets <= r.target as usize) {
        return wrong(format!(
            "expected records of {targets} targets, found target number {} in request {}; are these files of one run?",
            r.target, r.request_id
        ));
    }
    let measured = run.records.iter().any(|r| r.phase == RunPhase::Measured);
    if !measured && run.manifest.targets.iter().all(|t| t.unavailable.is_none()) {
        return wrong(match run.manifest.facts.get("records_tail") {
            Some(why) => format!("expected measured requests, found none: the record file is damaged: {why}"),
            None if run.records.iter().any(|r| r.phase == RunPhase::Replayed) => {
                "expected measured requests, found only answers replayed from a cache on this side: take the cache layer off"
                    .to_owned()
            }
            None => {
                "expected measured requests, found none: the run ended before its measured window".to_owned()
            }
        });
    }
    Ok(())
}

fn error_rate(ok: u64, failed: u64, setting: &Setting) -> Measured<Estimate> {
    let n = ok + failed;
    match wilson(failed, n, setting.confidence) {
        Ok(interval) => {
            let mut estimate = setting.estimate(failed as f64 / n as f64, interval, n, "Wilson");
            estimate.value = Bounded::finite(failed as f64 / n as f64);
            Measured::Value(estimate)
        }
        Err(_) => Measured::absent("no request ended"),
    }
}

fn count<'a>(names: impl Iterator<Item = &'a str>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name.to_owned()).or_insert(0) += 1;
    }
    counts
}

fn connections_opened(population: &Population<'_>) -> Option<u64> {
    let known: Vec<bool> = population.requests.iter().filter_map(|r| r.record.connection.reused).collect();
    (!known.is_empty()).then(|| known.into_iter().filter(|reused| !reused).count() as u64)
}

/// Means of the numbers a server reported about itself.
fn reported_means(population: &Population<'_>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<&str, (f64, u64)> = BTreeMap::new();
    for request in population.ok() {
        for (key, value) in &request.record.reported {
            if let Reported::Number(x) = value {
                let sum = sums.entry(key).or_default();
                *sum = (sum.0 + x, sum.1 + 1);
            }
        }
    }
    sums.into_iter().map(|(key, (sum, n))| (key.to_owned(), sum / n as f64)).collect()
}

/// What could not be measured, one line for each reason, with the targets it concerns.
fn missing(judged: &[Target]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    let mut add = |line: String, target| match lines.iter_mut().find(|(l, _)| *l == line) {
        Some((_, targets)) => targets.push(target),
        None => lines.push((line, vec![target])),
    };
    for t in judged {
        let name = t.analysis.target.as_str();
        if let Some(why) = &t.analysis.unavailable {
            add(format!("everything: {why}"), name);
            continue;
        }
        for (title, why) in &t.absent {
            // a reused connection has no connect phase; cost says more below
            if !matches!(*title, "Connect" | "Cost per request") {
                add(format!("{title}: {why}"), name);
            }
        }
        if let Some(e2e) = t.analysis.metrics.get("e2e") {
            for q in &e2e.quantiles {
                if let Some(why) = q.all.reason() {
                    add(why.to_owned(), name);
                }
            }
        }
        if let Some(why) = t.analysis.cost.reason() {
            add(format!("cost: {why}"), name);
        }
    }
    let all = judged.len();
    lines
        .into_iter()
        .map(
            |(line, targets)| {
                if targets.len() == all && 1 < all { line } else { format!("{}: {line}", targets.join(", ")) }
            },
        )
        .collect()
}
