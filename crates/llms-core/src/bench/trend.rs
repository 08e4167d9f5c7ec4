//! Runs over time: did something change, is it worse, and what would prove it. [`TrendAnalyzer`] and its entities.
//!
//! The unit is the run: one number per run, target, metric and statistic ([`RunPoint`] in a [`TrendSeries`]). Only runs with the
//! same [`Fingerprint`] are held against each other, and a declared change ([`Annotation`]) splits a series: nothing alarms
//! across it. What is found is a candidate until an interleaved re-run ([`ConfirmationPlan`]) says otherwise.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::analysis::{Analysis, Estimate, Measured};
use super::metric::{self, Better};
use super::result::RunManifest;
use super::validity::Level;
use crate::config::ConfigErrors;
use crate::error::Result;

/// What must be the same for two runs to be comparable. An unknown part is `None` and equals only another unknown one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Fingerprint {
    /// Version of this tool.
    pub tool_version: String,
    /// SHA-256 of the scenario without seeds.
    pub configuration_hash: String,
    /// SHA-256 of all prompts.
    pub prompt_set_hash: String,
    /// `provider:model`.
    pub model: String,
    /// Host that was asked: for the vendors' clouds it names the region.
    pub endpoint: Option<String>,
    /// The client's machine: system, processor, number of processors, memory in GiB.
    pub client: Option<String>,
}

impl Fingerprint {
    /// That of one target of a run.
    pub fn of(manifest: &RunManifest, target: usize) -> Self {
        let info = manifest.targets.get(target);
        let e = &manifest.environment;
        let cores = e.cpu_cores.map(|c| format!("{c} processors"));
        let memory = e.memory_bytes.map(|b| format!("{} GiB", b.div_ceil(1 << 30)));
        let parts = [Some(e.os.clone()), Some(e.architecture.clone()), e.cpu_model.clone(), cores, memory];
        let known: Vec<String> = parts.into_iter().flatten().filter(|p| !p.is_empty()).collect();
        Self {
            tool_version: manifest.build.version.clone(),
            configuration_hash: manifest.hashes.scenario.clone(),
            prompt_set_hash: manifest.hashes.data.clone(),
            model: info.map(|t| format!("{}:{}", t.model.provider, t.model.model)).unwrap_or_default(),
            endpoint: info.and_then(|t| t.stable_endpoint()).map(str::to_owned),
            client: (!known.is_empty()).then(|| known.join(", ")),
        }
    }

    /// Names of the parts in which two differ, in words; none when comparable.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let parts = [
            ("tool version", self.tool_version == other.tool_version),
            ("configuration", self.configuration_hash == other.configuration_hash),
            ("prompt set", self.prompt_set_hash == other.prompt_set_hash),
            ("model", self.model == other.model),
            ("endpoint", self.endpoint == other.endpoint),
            ("client machine", self.client == other.client),
        ];
        parts.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
    }
}

/// One run's number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunPoint {
    /// The run.
    pub run_id: String,
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The statistic in the metric's unit, with its interval where the run carries one.
    pub estimate: Estimate,
    /// The run's own verdict on itself; INVALID ones take no part.
    #[serde(default)]
    pub validity: Level,
    /// What it may be compared with.
    #[serde(default)]
    pub fingerprint: Fingerprint,
}

/// What a declared change touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnnotationKind {
    /// The provider released something.
    ProviderRelease,
    /// A price changed: splits series of money only.
    Price,
    /// The client, its machine or its network changed.
    ClientUpgrade,
    /// Anything else that explains a change.
    Other,
}

/// A change that people know of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Annotation {
    /// From this moment on.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What kind.
    pub kind: AnnotationKind,
    /// For the reader.
    pub text: String,
    /// The target it concerns; all when `None`.
    #[serde(default)]
    pub target: Option<String>,
}

impl Annotation {
    /// Whether it splits that series.
    pub fn concerns(&self, series: &TrendSeries) -> bool {
        let of_target = self.target.as_ref().is_none_or(|t| *t == series.target);
        of_target
            && (self.kind != AnnotationKind::Price || series.definition().is_some_and(|d| d.unit == "USD"))
    }
}

/// One statistic of one metric of one target over runs, in any order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrendSeries {
    /// Name of the target.
    pub target: String,
    /// Name in the metric table.
    pub metric: String,
    /// `p50`, `p95`, `mean`; `value` for metrics with one value a run.
    pub statistic: String,
    /// The runs.
    pub points: Vec<RunPoint>,
}

impl TrendSeries {
    /// The row of the metric table.
    pub fn definition(&self) -> Option<&'static metric::MetricDef> {
        metric::find(&self.metric)
    }

    /// Which direction is good, from the metric table; neither for a name it does not know.
    pub fn better(&self) -> Better {
        self.definition().map_or(Better::Neither, |d| d.better)
    }

    /// Whether ratios of its values mean something: all but shares (error rate, SLO attainment), where a difference does.
    pub fn is_relative(&self) -> bool {
        self.definition().is_none_or(|d| d.unit != "1")
    }
}

/// What a trend is looked for in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrendInput {
    /// The series.
    pub series: Vec<TrendSeries>,
    /// Declared changes.
    pub annotations: Vec<Annotation>,
}

/// How much counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrendOptions {
    /// Of intervals, 0.5 to 0.99.
    pub confidence: f64,
    /// Smallest change of level worth telling, relative: 0.05 is 5 %.
    pub min_effect: f64,
    /// The same for shares, as a difference: 0.01 is one point.
    pub min_effect_share: f64,
    /// What a check against a baseline allows, relative.
    pub margin: f64,
    /// The same for shares, as a difference.
    pub margin_share: f64,
    /// Runs of stable history to a false alarm of the sequential watch, over all series together.
    pub arl0: f64,
    /// Seed of permutations.
    pub seed: u64,
}

impl Default for TrendOptions {
    fn default() -> Self {
        Self {
            confidence: 0.95,
            min_effect: 0.05,
            min_effect_share: 0.01,
            margin: 0.10,
            margin_share: 0.01,
            arl0: 500.0,
            seed: 1,
        }
    }
}

impl TrendOptions {
    /// Checks the limits of every field.
    ///
    /// # Errors
    /// Every field outside its range.
    pub fn validate(&self) -> std::result::Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        e.check(
            (0.5..=0.99).contains(&self.confidence),
            "confidence",
            "expected 0.5 to 0.99",
            self.confidence,
        );
        for (field, value) in [("min_effect", self.min_effect), ("margin", self.margin)] {
            e.check(0.0 < value && value < 10.0, field, "expected a share above 0, such as 0.05", value);
        }
        for (field, value) in
            [("min_effect_share", self.min_effect_share), ("margin_share", self.margin_share)]
        {
            e.check(
                0.0 < value && value < 1.0,
                field,
                "expected a difference of shares inside (0, 1)",
                value,
            );
        }
        e.check((200.0..=10_000.0).contains(&self.arl0), "arl0", "expected 200 to 10000 runs", self.arl0);
        e.into_result()
    }
}

/// Where a metric goes, in the terms of whoever pays for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrendDirection {
    /// Better than before, beyond chance.
    Better,
    /// Worse than before, beyond chance.
    Worse,
    /// The whole interval of its change lies within the margin.
    Steady,
    /// Changed, in a metric of which neither direction is good.
    Changed,
    /// Nothing was detected, and a change as large as the margin is not excluded: more runs are needed.
    Undecided,
}

impl TrendDirection {
    /// `improving`, `degrading`, `stable`, `changed`, `undecided`: the contract's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Better => "improving",
            Self::Worse => "degrading",
            Self::Steady => "stable",
            Self::Changed => "changed",
            Self::Undecided => "undecided",
        }
    }
}

/// A robust line through the newest comparable runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrendSlope {
    /// Change per run, Theil–Sen: relative (0.01 is 1 %), or in the metric's unit for shares.
    pub per_run: Estimate,
    /// Change per day, likewise; absent when all runs are of one moment.
    pub per_day: Measured<Estimate>,
    /// Two-sided p of Mann–Kendall, its variance widened where runs depend on each other.
    pub p: f64,
    /// The same, Benjamini–Hochberg over all series of the analysis.
    pub p_adjusted: f64,
    /// Runs behind it.
    pub n: u64,
}

/// Who else sees a change at that place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecondOpinions {
    /// E-divisive, p < 0.001.
    pub e_divisive: bool,
    /// PELT, penalty 3 s² ln n.
    pub pelt: bool,
    /// CUSUM, slack 0.5, limit 5.
    pub cusum: bool,
    /// Bayesian run lengths.
    pub bocpd: bool,
}

/// How much a change point is worth before it is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// Strong test, large enough, and a second opinion agrees.
    Supported,
    /// Worth a confirming re-run, no more.
    Candidate,
}

/// A change of level between two runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangePoint {
    /// First run of the new level.
    pub run_id: String,
    /// When that run began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How it was found.
    pub method: String,
    /// Permutation p over the whole search; `None` where the method has none (breaks of lines, CUSUM).
    pub p: Option<f64>,
    /// After against before: ratio, or difference for shares; Hodges–Lehmann.
    pub effect: Estimate,
    /// Runs before it, back to the change before.
    pub n_before: u64,
    /// Runs after it, up to the next change.
    pub n_after: u64,
    /// What it means for this metric.
    pub direction: TrendDirection,
    /// Second opinions.
    pub votes: SecondOpinions,
    /// How much it is worth.
    pub status: ChangeStatus,
    /// How to find out; absent with the reason where it cannot be planned.
    pub confirmation: Measured<ConfirmationPlan>,
}

/// The re-run that decides: both configurations, interleaved, same prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfirmationPlan {
    /// A run of the level before.
    pub baseline_run: String,
    /// The newest run of the level after.
    pub current_run: String,
    /// Smallest change that the re-run must tell from none: half of the one seen, at least the smallest worth telling.
    /// A ratio above 1, or a difference for shares.
    pub margin: f64,
    /// One-sided level of the non-inferiority test.
    pub alpha: f64,
    /// Probability of its right answer when nothing changed.
    pub power: f64,
    /// Pairs needed. An upper bound for requests: pairing takes out what prompts differ by.
    pub pairs: u64,
    /// Pairs of what.
    pub of: PairUnit,
    /// Deviation of the log ratio of a pair (of the difference, for shares) that it rests on.
    pub sd: f64,
    /// False alarms of both stages together, as a share of histories.
    pub false_alarm_rate: f64,
    /// What to do, for the reader.
    pub how: String,
}

/// What a pair of a confirming re-run consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairUnit {
    /// One request to each side, the same prompt.
    Requests,
    /// A whole run of each side: for numbers that only a run has.
    Runs,
}

/// What a confirming re-run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// The change is real: alarm.
    Confirmed,
    /// The interval excludes a change as large as the margin.
    Refuted,
    /// Neither: more pairs.
    Inconclusive,
}

/// Runs between two changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrendSegment {
    /// First run.
    pub from_run: String,
    /// Last run.
    pub to_run: String,
    /// Median of its runs, with exact order-statistic interval where there are enough.
    pub level: Estimate,
}

/// An alarm of the sequential watch, as it would have been raised at the time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchAlarm {
    /// The run that raised it.
    pub raised_by: String,
    /// First run of the new level.
    pub since_run: String,
    /// |z| of the split.
    pub z: f64,
    /// The limit it passed.
    pub limit: f64,
}

/// A declared change and what it did. Never an alarm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeclaredChange {
    /// The annotation.
    pub annotation: Annotation,
    /// Stretch after against stretch before: ratio, or difference for shares.
    pub effect: Measured<Estimate>,
}

/// A run that took no part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotCompared {
    /// The run.
    pub run_id: String,
    /// Why.
    pub reason: String,
}

/// One series judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricTrend {
    /// Name of the target.
    pub target: String,
    /// Name in the metric table.
    pub metric: String,
    /// `p50`, `p95`, `mean`, `value`.
    pub statistic: String,
    /// Unit of levels.
    pub unit: String,
    /// Effects are ratios (else differences, for shares).
    pub relative: bool,
    /// Which direction is good.
    pub better: Better,
    /// Runs that took part, over all stretches.
    pub data_points: u64,
    /// Where it goes: the newest supported change of the newest stretch, else its slope, else whether it is steady.
    pub direction: TrendDirection,
    /// How sure the direction is, 0–1: 1 − p of what decided it; `None` when undecided.
    pub confidence: Option<f64>,
    /// The line through the newest stretch.
    pub slope: Measured<TrendSlope>,
    /// Changes of all stretches in order of time, candidates among them.
    pub changes: Vec<ChangePoint>,
    /// Levels between supported changes, stretch by stretch.
    pub segments: Vec<TrendSegment>,
    /// Alarms of the sequential watch.
    pub watch: Vec<WatchAlarm>,
    /// Declared changes that split the series.
    pub declared: Vec<DeclaredChange>,
    /// Lag-1 autocorrelation of the newest stretch about its levels.
    pub memory: Option<f64>,
    /// Neighbouring runs are alike beyond chance: the environment drifts, and every change needs confirmation.
    pub drifting: bool,
    /// Smallest change of the newest stretch's mean from its first half to its second that had a power of 0.8 to be seen,
    /// relative (difference for shares).
    pub smallest_detectable: Option<f64>,
    /// Runs left out.
    pub not_compared: Vec<NotCompared>,
    /// One sentence.
    pub summary: String,
}

/// The judgement of a history: the contract's `TrendAnalysis` and `TrendMetrics` in one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrendAnalysis {
    /// From the ids of the first and the last run.
    pub trend_id: String,
    /// Runs with at least one comparable number, at least 3.
    pub data_points: u64,
    /// How sure the overall direction is, 0–1.
    pub confidence_level: f64,
    /// Nominal confidence of all intervals.
    pub confidence: f64,
    /// All series, in the order given.
    pub metrics: Vec<MetricTrend>,
    /// Worst of the latencies.
    pub latency_trend: Option<TrendDirection>,
    /// Worst of the rates.
    pub throughput_trend: Option<TrendDirection>,
    /// Error rate.
    pub error_rate_trend: Option<TrendDirection>,
    /// Worst of the costs.
    pub cost_trend: Option<TrendDirection>,
    /// Of the token counts.
    pub token_usage_trend: Option<TrendDirection>,
    /// Worse when any series is; better when some are and none is worse; steady when all are; else undecided.
    pub verdict: TrendDirection,
    /// Some series drifts.
    pub drifting: bool,
    /// What was not comparable, once per run and reason.
    pub not_compared: Vec<NotCompared>,
    /// A few sentences.
    pub trend_summary: String,
}

/// Outcome of a check against a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RegressionOutcome {
    /// No worse than the margin allows, beyond chance.
    Pass,
    /// Worse than the margin allows, beyond chance.
    Fail,
    /// Neither, or nothing comparable: never a pass.
    Inconclusive,
}

/// Current against baseline in one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegressionCheck {
    /// Name of the target.
    pub target: String,
    /// Name in the metric table.
    pub metric: String,
    /// `p50`, `p95`, `mean`, `value`.
    pub statistic: String,
    /// Runs of the baseline that took part.
    pub baseline_runs: u64,
    /// Runs of the current side that took part.
    pub current_runs: u64,
    /// What was allowed: relative, or a difference for shares.
    pub margin: f64,
    /// Current over baseline, or current − baseline for shares. The interval is two-sided at 1 − 2α, α = 1 − confidence: its
    /// limit towards worse is the one-sided one that decides.
    pub effect: Measured<Estimate>,
    /// The outcome.
    pub outcome: RegressionOutcome,
    /// Why, for the reader.
    pub reason: String,
    /// One-sided p of "no worse than the margin", Holm over all series of the check; `None` where nothing could be compared.
    pub p_worse: Option<f64>,
    /// Runs left out.
    pub not_compared: Vec<NotCompared>,
}

/// Looks at runs over time: pure, no I/O, no clock, seeded.
pub trait TrendAnalyzer: Send + Sync {
    /// The comparable series of these runs, one per target, metric and statistic; runs in any order.
    fn series(&self, runs: &[(&RunManifest, &Analysis)]) -> Vec<TrendSeries>;

    /// Slopes, change points and directions. Sorts copies by time; the input stays as it is.
    ///
    /// # Errors
    /// `invalid_input` when no series has three comparable runs, or a value is not a number; `invalid_config` for options
    /// outside their range.
    fn analyze(&self, input: &TrendInput) -> Result<TrendAnalysis>;

    /// Is `current` worse than `baseline` by more than the margin? One check for each series of `current`.
    ///
    /// # Errors
    /// `invalid_input` when `current` has no point at all; `invalid_config` as above.
    fn check(&self, baseline: &[TrendSeries], current: &[TrendSeries]) -> Result<Vec<RegressionCheck>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::analysis::Bounded;

    fn series(metric: &str) -> TrendSeries {
        let estimate = Estimate {
            value: Bounded::above(60.0),
            low: None,
            high: None,
            confidence: 0.95,
            n: 40,
            ess: None,
            method: "order-statistic".to_owned(),
            note: None,
        };
        let point = RunPoint {
            run_id: "r1".to_owned(),
            at: OffsetDateTime::UNIX_EPOCH,
            estimate,
            validity: Level::Suspect,
            fingerprint: Fingerprint { client: Some("linux".to_owned()), ..Fingerprint::default() },
        };
        TrendSeries {
            target: "openai".to_owned(),
            metric: metric.to_owned(),
            statistic: "p95".to_owned(),
            points: vec![point],
        }
    }

    #[test]
    fn input_reads_back_as_written() {
        let annotation = Annotation {
            at: OffsetDateTime::UNIX_EPOCH,
            kind: AnnotationKind::Price,
            text: "cheaper".to_owned(),
            target: None,
        };
        let input = TrendInput { series: vec![series("ttft")], annotations: vec![annotation] };
        let text = serde_json::to_string(&input).expect("plain data");
        assert_eq!(serde_json::from_str::<TrendInput>(&text).expect("its own text"), input);
    }

    #[test]
    fn a_price_splits_money_only_and_the_table_says_what_is_good() {
        let price = Annotation {
            at: OffsetDateTime::UNIX_EPOCH,
            kind: AnnotationKind::Price,
            text: String::new(),
            target: Some("openai".to_owned()),
        };
        assert!(price.concerns(&series("cost")) && !price.concerns(&series("e2e")));
        assert!(!Annotation { target: Some("ollama".to_owned()), ..price }.concerns(&series("cost")));
        assert_eq!(
            (series("throughput").better(), series("error_rate").better()),
            (Better::Higher, Better::Lower)
        );
        assert!(series("e2e").is_relative() && !series("error_rate").is_relative());
    }

    #[test]
    fn what_differs_is_named() {
        let a = series("e2e").points[0].fingerprint.clone();
        let b = Fingerprint { endpoint: Some("api".to_owned()), client: None, ..a.clone() };
        assert_eq!(a.differences(&b), ["endpoint", "client machine"]);
        assert!(a.differences(&a).is_empty());
    }

    #[test]
    fn options_outside_their_range_are_named() {
        assert!(TrendOptions::default().validate().is_ok());
        let wrong = TrendOptions { confidence: 1.0, margin: 0.0, arl0: f64::NAN, ..TrendOptions::default() };
        let text = wrong.validate().expect_err("three fields").to_string();
        assert!(["confidence", "margin", "arl0"].iter().all(|f| text.contains(f)), "{text}");
    }
}
