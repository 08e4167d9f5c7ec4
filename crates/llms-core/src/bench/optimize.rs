//! What to change, and why one can believe it: [`Recommendation`]s of an [`OptimizationEngine`].

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{
    analysis::{Estimate, Measured},
    result::RunManifest,
    traits::RecordSource,
};
use crate::error::{Error, ErrorCode, Result};

/// What kind of change a recommendation asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HintCategory {
    /// Ask so that less is said.
    PromptOptimization,
    /// Limit what may be said.
    OutputLengthControl,
    /// Say the same in fewer words.
    PromptSimplification,
    /// Send less with each request.
    InputOptimization,
    /// Another provider or model.
    ProviderSelection,
    /// The same for less money.
    CostOptimization,
    /// Fewer failures and repetitions.
    Reliability,
    /// Faster, at the same price.
    Performance,
}

impl HintCategory {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PromptOptimization,
        Self::OutputLengthControl,
        Self::PromptSimplification,
        Self::InputOptimization,
        Self::ProviderSelection,
        Self::CostOptimization,
        Self::Reliability,
        Self::Performance,
    ];

    /// The snake_case name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PromptOptimization => "prompt_optimization",
            Self::OutputLengthControl => "output_length_control",
            Self::PromptSimplification => "prompt_simplification",
            Self::InputOptimization => "input_optimization",
            Self::ProviderSelection => "provider_selection",
            Self::CostOptimization => "cost_optimization",
            Self::Reliability => "reliability",
            Self::Performance => "performance",
        }
    }
}

impl FromStr for HintCategory {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            let message = format!("expected a category of hints ({names}), found `{text}`");
            Error::new("optimize.category", ErrorCode::InvalidInput, message)
        })
    }
}

/// How much it matters, from the saving's lower limit: low below 1 %, high from 10 % of the spend (or of the time).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Below 1 %.
    Low,
    /// In between.
    Medium,
    /// 10 % or more.
    High,
}

/// Work it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effort {
    /// A setting.
    Low,
    /// A change of code or prompts.
    Medium,
    /// A change of how the application works.
    High,
}

/// A number that a recommendation rests on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is.
    pub what: String,
    /// How much.
    pub value: f64,
    /// Unit; `1` for shares and ratios.
    pub unit: String,
    /// Observations behind it.
    pub n: u64,
}

/// One thing to change. It exists only when the interval of what it would save lies above zero.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Stable name of the rule.
    pub rule: String,
    /// Target it is about.
    pub target: String,
    /// Kinds of change, the main one first; at least one.
    pub categories: Vec<HintCategory>,
    /// How much it matters.
    pub priority: Priority,
    /// One line.
    pub title: String,
    /// What was found.
    pub description: String,
    /// What to do.
    pub implementation: String,
    /// The numbers behind it; at least one.
    pub evidence: Vec<Evidence>,
    /// What would change per request, with interval.
    pub effect: Estimate,
    /// Unit of the effect: `USD`, `tokens`, `s`, `1`.
    pub effect_unit: String,
    /// US dollars saved per million requests, with interval from the requests; absent where no price is known or no money
    /// is saved.
    pub saving_usd_per_million: Measured<Estimate>,
    /// The saving as a share of all spend, in per cent; absent as the saving is.
    pub saving_percent: Measured<Estimate>,
    /// Work it takes.
    pub effort: Effort,
    /// What, seen in a later run, would show that it is wrong.
    pub refuted_by: String,
}

/// A rule that could not look, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotJudged {
    /// Name of the rule.
    pub rule: String,
    /// Target.
    pub target: String,
    /// What it lacked.
    pub why: String,
}

/// All that an engine found in a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OptimizationReport {
    /// Most important first.
    pub recommendations: Vec<Recommendation>,
    /// Rules that could not look.
    pub not_judged: Vec<NotJudged>,
}

/// What a later run says about an earlier recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "recheck")]
pub enum Recheck {
    /// The effect is there again: its interval lies above zero and meets the earlier one, or lies above it.
    Held {
        /// The effect now.
        now: Estimate,
    },
    /// The effect is gone or smaller: its interval ends below the earlier one.
    Refuted {
        /// The effect now.
        now: Estimate,
    },
    /// Nothing can be said.
    CannotTell {
        /// Why.
        why: String,
    },
}

/// Finds what to change in a run. Pure; the same run gives the same report.
pub trait OptimizationEngine: Send + Sync {
    /// Looks at every target with every rule.
    ///
    /// # Errors
    /// `invalid_input` when the records do not fit the manifest; errors of `records`.
    fn optimize(&self, manifest: &RunManifest, records: &dyn RecordSource) -> Result<OptimizationReport>;

    /// Looks again, in a later run, at what an earlier one showed.
    ///
    /// # Errors
    /// As [`optimize`](OptimizationEngine::optimize).
    fn recheck(
        &self,
        earlier: &Recommendation,
        manifest: &RunManifest,
        records: &dyn RecordSource,
    ) -> Result<Recheck>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn categories_read_as_they_are_written() {
        for c in HintCategory::ALL {
            assert_eq!(c.as_str().parse::<HintCategory>().unwrap(), c);
            assert_eq!(serde_json::to_value(c).unwrap(), c.as_str());
        }
        let wrong = "caching".parse::<HintCategory>().unwrap_err();
        assert!(wrong.message().contains("cost_optimization"), "{wrong}");
    }
}
