//! What to change: rules over the ledgers of a run, each with evidence, effect, saving, and what would refute it.
//!
//! A rule measures; the [`Engine`] decides: it speaks only when the interval of the saving (of the effect, where no money is saved
//! or no price known) lies above zero and the rule's own condition holds. Savings are per million requests, from the requests
//! themselves ([`ratio`](crate::cost) of sums with conversations as units). Nothing is assumed that the records do not show;
//! a rule that lacks something says what ([`NotJudged`]). The table of rules is in `docs/guide/cost.md`.

mod batch;
mod cache;
mod capacity;
mod draft;
mod max_tokens;
mod models;
mod performance;
mod prompt;
mod reasoning;
mod retries;

use llms_core::bench::{
    Estimate, HintCategory, NotJudged, OptimizationEngine, OptimizationReport, Priority, Recheck,
    Recommendation, RecordSource, RunManifest,
};
use llms_core::error::{Error, ErrorCode, Result};

use crate::Analyzer;
use crate::cost::ledger::Ledger;
use crate::cost::prompts::Book;
use crate::cost::ratio::limits;
use crate::estimate::Setting;
use draft::{Draft, Look};

/// One load level of a stress run, for the rule on the knee.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadStep {
    /// users at once
    pub concurrency: u32,
    /// complete answers per second
    pub throughput: Estimate,
    /// mean end-to-end latency, seconds
    pub e2e: Estimate,
}

/// What only the user can say.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineOptions {
    /// share of the traffic, 0–1, that may wait a day for its answer
    pub deferrable_share: Option<f64>,
    /// load levels measured elsewhere
    pub steps: Vec<LoadStep>,
    /// a cached prefix lives so long after its last use, seconds; five minutes at the providers' default
    pub cache_ttl_s: f64,
    /// only recommendations of these categories; empty: all
    pub categories: Vec<HintCategory>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { deferrable_share: None, steps: Vec::new(), cache_ttl_s: 300.0, categories: Vec::new() }
    }
}

/// All that a rule may look at.
pub(crate) struct Scene<'a> {
    pub(crate) ledgers: &'a [Ledger],
    pub(crate) book: &'a Book,
    pub(crate) options: &'a EngineOptions,
    pub(crate) setting: Setting,
}

type Rule = fn(&Scene<'_>, usize) -> Look;

/// Name and function of every rule.
const RULES: [(&str, Rule); 15] = [
    ("prefix_cacheable", cache::cacheable),
    ("cache_missed", cache::missed),
    ("max_tokens_too_low", max_tokens::too_low),
    ("max_tokens_too_high", max_tokens::too_high),
    ("verbose_prompt", prompt::verbose),
    ("verbose_output", models::verbose_output),
    ("retries", retries::retries),
    ("batch_api", batch::batch),
    ("cheaper_model", models::cheaper),
    ("reasoning_effort", reasoning::effort),
    ("connection_reuse", performance::connections),
    ("streaming", performance::streaming),
    ("region", performance::region),
    ("concurrency_knee", capacity::knee),
    ("rate_limit_headroom", capacity::headroom),
];

/// The engine: an analyzer's prices and confidence, and what the user said.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    analyzer: Analyzer,
    options: EngineOptions,
}

impl Engine {
    /// An engine with the prices and confidence of `analyzer`.
    ///
    /// # Errors
    /// `invalid_config` for a share outside 0–1 or a lifetime that is not above 0.
    pub fn new(analyzer: Analyzer, options: EngineOptions) -> Result<Self> {
        let wrong = |message| Err(Error::new("optimize.configure", ErrorCode::InvalidConfig, message));
        if let Some(share) = options.deferrable_share.filter(|s| !(0.0..=1.0).contains(s)) {
            return wrong(format!("expected a deferrable share from 0 to 1, found {share}"));
        }
        if !options.cache_ttl_s.is_finite() || options.cache_ttl_s <= 0.0 {
            return wrong(format!("expected a cache lifetime above 0 s, found {}", options.cache_ttl_s));
        }
        Ok(Self { analyzer, options })
    }

    /// Names of the rules, in the order they are asked.
    pub fn rules() -> impl Iterator<Item = &'static str> {
        RULES.iter().map(|(name, _)| *name)
    }

    fn with_scene<T>(
        &self,
        manifest: &RunManifest,
        records: &dyn RecordSource,
        then: impl FnOnce(&Scene<'_>) -> T,
    ) -> Result<T> {
        let (ledgers, book) = Ledger::read(manifest, records, self.analyzer.prices())?;
        let setting = self.analyzer.setting(manifest);
        Ok(then(&Scene { ledgers: &ledgers, book: &book, options: &self.options, setting }))
    }

    fn wanted(&self, draft: &Draft) -> bool {
        let asked = &self.options.categories;
        asked.is_empty() || draft.categories.iter().any(|c| asked.contains(c))
    }
}

impl OptimizationEngine for Engine {
    fn optimize(&self, manifest: &RunManifest, records: &dyn RecordSource) -> Result<OptimizationReport> {
        self.with_scene(manifest, records, |scene| {
            let mut report = OptimizationReport::default();
            for (i, ledger) in scene.ledgers.iter().enumerate().filter(|(_, l)| !l.entries.is_empty()) {
                let target = &ledger.info.name;
                for (rule, look) in RULES {
                    match look(scene, i) {
                        Look::Measured(draft) if self.wanted(&draft) => {
                            report.recommendations.extend(recommend(rule, target, *draft));
                        }
                        Look::Cannot(why) => report.not_judged.push(NotJudged {
                            rule: rule.to_owned(),
                            target: target.clone(),
                            why,
                        }),
                        Look::Measured(_) | Look::Nothing => {}
                    }
                }
            }
            let weight = |r: &Recommendation| r.saving_usd_per_million.value().and_then(|e| e.value.value);
            report.recommendations.sort_by(|a, b| {
                let money = weight(b).unwrap_or(0.0).total_cmp(&weight(a).unwrap_or(0.0));
                b.priority.cmp(&a.priority).then(money)
            });
            report
        })
    }

    fn recheck(
        &self,
        earlier: &Recommendation,
        manifest: &RunManifest,
        records: &dyn RecordSource,
    ) -> Result<Recheck> {
        let cannot = |why: String| Ok(Recheck::CannotTell { why });
        let Some((_, look)) = RULES.iter().find(|(name, _)| *name == earlier.rule) else {
            return cannot(format!("this version has no rule `{}`", earlier.rule));
        };
        let Some(before) = limits(&earlier.effect) else {
            return cannot("the earlier effect has no interval".to_owned());
        };
        self.with_scene(manifest, records, |scene| {
            let target = scene.ledgers.iter().position(|l| l.info.name == earlier.target);
            let Some(i) = target.filter(|i| !scene.ledgers[*i].entries.is_empty()) else {
                return Recheck::CannotTell {
                    why: format!("the later run measured nothing on {}", earlier.target),
                };
            };
            match look(scene, i) {
                Look::Measured(draft) => against(before, draft.effect),
                Look::Cannot(why) => Recheck::CannotTell { why },
                Look::Nothing => {
                    Recheck::CannotTell { why: "the later run has nothing to look at".to_owned() }
                }
            }
        })
    }
}

fn against(before: (f64, f64), now: Estimate) -> Recheck {
    let Some((low, high)) = limits(&now) else {
        let why = now.note.unwrap_or_else(|| "the effect has no interval in the later run".to_owned());
        return Recheck::CannotTell { why };
    };
    if high < before.0 {
        Recheck::Refuted { now }
    } else if 0.0 < low {
        Recheck::Held { now }
    } else {
        Recheck::CannotTell {
            why: format!(
                "the effect is now between {low:.4} and {high:.4}: too few requests to tell it from none"
            ),
        }
    }
}

/// A draft becomes a recommendation when its interval says so.
fn recommend(rule: &str, target: &str, d: Draft) -> Option<Recommendation> {
    let above_zero = |e: &Estimate| limits(e).is_some_and(|(low, _)| 0.0 < low);
    let decided = match d.saving.value() {
        Some(saving) => above_zero(saving) && above_zero(&d.effect),
        None => above_zero(&d.effect),
    };
    if !d.enough || !decided {
        return None;
    }
    let weight = d.percent.value().and_then(limits).map(|(low, _)| low / 100.0).or(d.relative);
    let priority = match weight {
        Some(w) if 0.1 <= w => Priority::High,
        Some(w) if 0.01 <= w => Priority::Medium,
        Some(_) => Priority::Low,
        None => Priority::Medium,
    };
    Some(Recommendation {
        rule: rule.to_owned(),
        target: target.to_owned(),
        categories: d.categories,
        priority,
        title: d.title,
        description: d.description,
        implementation: d.implementation,
        evidence: d.evidence,
        effect: d.effect,
        effect_unit: d.effect_unit.to_owned(),
        saving_usd_per_million: d.saving,
        saving_percent: d.percent,
        effort: d.effort,
        refuted_by: d.refuted_by,
    })
}
