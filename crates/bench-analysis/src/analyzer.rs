//! The analyzer: a run in, its judgement out. The one place that puts the parts of this crate together.

use llms_core::bench::{
    Analysis, Bounded, Comparison, ComparisonStudy, Estimate, Measured, PerformanceAnalyzer,
    ProviderComparator, RecordSource, RequestRecord, RunDigest, RunManifest, RunPhase, RunResult,
    StudyOptions, TargetAnalysis, TargetInfo,
};
use llms_core::error::{Error, ErrorCode, Result};

use crate::aggregate::digest;
use crate::compare::{Side, compare, study};
use crate::cost::{Prices, summary as cost};
use crate::estimate::Setting;
use crate::population::{Extents, Population};
use crate::stats::proportion::wilson;
use crate::validity::{Thresholds, judge};
use crate::{summary, throughput};

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

    /// The prices it bills at.
    pub(crate) fn prices(&self) -> &Prices {
        &self.prices
    }

    /// [`analyze`](PerformanceAnalyzer::analyze) of records wherever they lie; they are read once, and twice where the window or
    /// the part of it that is each target's must be found first. Memory grows by about 70 bytes a request, whatever its length.
    ///
    /// # Errors
    /// `invalid_input` when there is nothing to analyse, or the records do not fit the manifest; errors of `records`.
    pub fn analyze_from(&self, manifest: &RunManifest, records: &dyn RecordSource) -> Result<Analysis> {
        if manifest.targets.is_empty() {
            return Err(wrong("expected a run with at least one target, found none".to_owned()));
        }
        let taken = Taken::read(manifest, records, &self.prices)?;
        taken.fits(manifest)?;
        let setting = self.setting(manifest);
        let judged: Vec<Target> =
            (0..manifest.targets.len()).map(|i| self.target(manifest, i, &taken, &setting)).collect();
        let sides = sides(&judged, &taken);
        let comparison = compare(manifest, &sides, &setting);
        let dates: Vec<_> = judged.iter().map(|t| t.price_date).collect();
        let judgement = judge(manifest, &taken.populations, &dates, &self.thresholds);
        let mut not_measured = missing(&judged);
        not_measured.extend(judgement.not_measured);
        if taken.derived {
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

    /// [`study`](ProviderComparator::study) of records wherever they lie.
    ///
    /// # Errors
    /// `invalid_input` below two targets and as [`analyze_from`](Self::analyze_from); `invalid_config` for options outside
    /// their ranges.
    pub fn study_from(
        &self,
        manifest: &RunManifest,
        records: &dyn RecordSource,
        options: &StudyOptions,
    ) -> Result<ComparisonStudy> {
        options.check()?;
        let taken = Taken::read(manifest, records, &self.prices)?;
        taken.fits(manifest)?;
        let setting = self.setting(manifest);
        let judged: Vec<Target> =
            (0..manifest.targets.len()).map(|i| self.target(manifest, i, &taken, &setting)).collect();
        let sides = sides(&judged, &taken);
        let comparison = compare(manifest, &sides, &setting).ok_or_else(|| too_few(manifest))?;
        Ok(study(manifest, &sides, &comparison, options, &setting))
    }

    /// [`digest`](llms_core::bench::ResultAggregator::digest) of a run.
    pub(crate) fn digest_from(
        &self,
        manifest: &RunManifest,
        records: &dyn RecordSource,
    ) -> Result<Vec<RunDigest>> {
        let taken = Taken::read(manifest, records, &self.prices)?;
        taken.fits(manifest)?;
        let setting = self.setting(manifest);
        let judged: Vec<Target> =
            (0..manifest.targets.len()).map(|i| self.target(manifest, i, &taken, &setting)).collect();
        let dates: Vec<_> = judged.iter().map(|t| t.price_date).collect();
        let level = judge(manifest, &taken.populations, &dates, &self.thresholds).validity.level;
        let known = judged.iter().zip(&taken.populations).enumerate();
        let measured = known.filter(|(_, (_, population))| !population.rows.is_empty());
        Ok(measured.map(|(i, (t, p))| digest(manifest, i, p, &t.analysis, level)).collect())
    }

    /// What every estimate of a run shares.
    pub(crate) fn setting(&self, manifest: &RunManifest) -> Setting {
        Setting {
            confidence: self.confidence,
            limit: manifest.scenario.timeout.as_secs_f64(),
            seed: manifest.scenario.seeds.bootstrap.unwrap_or(0),
        }
    }

    fn target(&self, manifest: &RunManifest, index: usize, taken: &Taken, setting: &Setting) -> Target {
        let (info, population) = (&manifest.targets[index], &taken.populations[index]);
        let tally = &population.tally;
        let (ok, failed, censored) = population.counts();
        let cost = cost::cost(population, info, &self.prices, setting);
        let both_origins = population.headline == llms_core::bench::Origin::Response;
        let (metrics, absent) = summary::metrics(population, &cost.per_success, both_origins, setting);
        let nothing = population.rows.is_empty().then(|| "no request was scheduled in the window".to_owned());
        let (known, opened) = tally.connections;
        let analysis = TargetAnalysis {
            target: info.name.clone(),
            simulated: info.simulated,
            unavailable: info.unavailable.clone().or(nothing),
            scheduled: population.rows.len() as u64,
            ok,
            failed,
            censored,
            warmup: taken.warmup[index],
            error_rate: error_rate(ok, failed, setting),
            errors: tally.errors.by_size(),
            metrics,
            throughput: throughput::throughput(population, &manifest.scenario, setting),
            objectives: throughput::objectives(population, &manifest.scenario.slo, setting),
            tokens: tally.tokens.clone(),
            cost: cost.summary,
            finish_reasons: tally.finish_reasons.clone(),
            connections_opened: (0 < known).then_some(opened),
            resent: tally.resent,
            models: tally.models.clone(),
            merged_gap_share: tally.merged_share().map(|(share, _)| share),
            reported: tally.reported_means(),
        };
        let absent = absent.into_iter().map(|(def, why)| (def.title, why)).collect();
        Target { analysis, absent, price_date: cost.price_date }
    }
}

/// All that was taken from the records of a run.
struct Taken {
    populations: Vec<Population>,
    /// warm-up requests of each target
    warmup: Vec<u64>,
    measured: bool,
    replayed: bool,
    /// the manifest has no window; the records had to say it
    derived: bool,
}

impl Taken {
    fn read(manifest: &RunManifest, records: &dyn RecordSource, prices: &Prices) -> Result<Self> {
        let targets = manifest.targets.len();
        let extents = Extents::read(manifest, records)?;
        let (window, derived) = extents.window(manifest);
        let scenario = &manifest.scenario;
        let population = |(i, info): (usize, &TargetInfo)| {
            let own = window.map(|w| extents.own_part(i, w, scenario));
            let price = prices.find(&info.model, info.simulated).ok().map(|(_, price)| price);
            Population::new(scenario, manifest.interrupted, own, price)
        };
        let mut taken = Self {
            populations: manifest.targets.iter().enumerate().map(population).collect(),
            warmup: vec![0; targets],
            measured: false,
            replayed: false,
            derived,
        };
        records.each(&mut |record| taken.add(record))?;
        taken.populations.iter_mut().for_each(Population::in_order);
        Ok(taken)
    }

    fn add(&mut self, record: &RequestRecord) -> Result<()> {
        let (target, targets) = (record.target as usize, self.populations.len());
        if targets <= target {
            return Err(wrong(format!(
                "expected records of {targets} targets, found target number {target} in request {}; are these files of one run?",
                record.request_id
            )));
        }
        match record.phase {
            RunPhase::Measured => {
                self.measured = true;
                self.populations[target].add(record);
            }
            RunPhase::Warmup => self.warmup[target] += 1,
            RunPhase::Replayed => self.replayed = true,
            RunPhase::RampUp => {}
        }
        Ok(())
    }

    /// Whether there is anything to judge.
    fn fits(&self, manifest: &RunManifest) -> Result<()> {
        if self.measured || manifest.targets.iter().any(|t| t.unavailable.is_some()) {
            return Ok(());
        }
        Err(wrong(match manifest.facts.get("records_tail") {
            Some(why) => format!("expected measured requests, found none: the record file is damaged: {why}"),
            None if self.replayed => {
                "expected measured requests, found only answers replayed from a cache on this side: take the cache layer off"
                    .to_owned()
            }
            None => {
                "expected measured requests, found none: the run ended before its measured window".to_owned()
            }
        }))
    }
}

/// One target judged, with what it lacks.
struct Target {
    analysis: TargetAnalysis,
    absent: Vec<(&'static str, &'static str)>,
    price_date: Option<time::Date>,
}

/// What the comparison needs of each target.
fn sides<'a>(judged: &'a [Target], taken: &'a Taken) -> Vec<Side<'a>> {
    let side = |(t, population): (&'a Target, &'a Population)| Side {
        population,
        // a target whose cost is absent has none in the comparison either
        priced: t.analysis.cost.value().is_some(),
        analysis: &t.analysis,
    };
    judged.iter().zip(&taken.populations).map(side).collect()
}

fn too_few(manifest: &RunManifest) -> Error {
    let message =
        format!("expected two targets or more to compare, found {}; add a --target", manifest.targets.len());
    Error::new("analysis.compare", ErrorCode::InvalidInput, message)
}

impl PerformanceAnalyzer for Analyzer {
    fn analyze(&self, run: &RunResult) -> Result<Analysis> {
        self.analyze_from(&run.manifest, &run.records)
    }
}

impl ProviderComparator for Analyzer {
    fn compare(&self, run: &RunResult) -> Result<Comparison> {
        self.analyze(run)?.comparison.ok_or_else(|| too_few(&run.manifest))
    }

    fn study(&self, run: &RunResult, options: &StudyOptions) -> Result<ComparisonStudy> {
        self.study_from(&run.manifest, &run.records, options)
    }
}

fn wrong(message: String) -> Error {
    Error::new("analysis.analyze", ErrorCode::InvalidInput, message)
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
