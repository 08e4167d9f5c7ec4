//! Prompts and answers by length alone: how long they are, and what prompts share.
//!
//! Data; the texts are made by `bench-runner`, counted by a [`TokenCounter`].

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::ConfigErrors;

/// Longest length anybody may ask for, tokens.
const MAX_TOKENS: u32 = 10_000_000;

/// Counts the tokens of a text.
///
/// # Contract
/// Deterministic; the same name always counts the same.
pub trait TokenCounter: Send + Sync {
    /// The vocabulary, such as `o200k_base`: what reports call it.
    fn name(&self) -> &str;

    /// Tokens of `text` on its own, without any chat template.
    fn count(&self, text: &str) -> u64;
}

/// A distribution of lengths in tokens; every draw is at least 1. A bare number is a constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "LengthFile", into = "LengthFile")]
pub enum LengthLaw {
    /// Always this.
    Constant(u32),
    /// Every whole number from `min` to `max`, both included, equally likely.
    Uniform {
        /// At least 1.
        min: u32,
        /// At least `min`.
        max: u32,
    },
    /// Normal, redrawn until inside `min`–`max`, rounded.
    Normal {
        /// Mean before truncation.
        mean: f64,
        /// Standard deviation before truncation, 0 or more.
        sd: f64,
        /// Least length; 1 when left out.
        min: u32,
        /// Greatest length.
        max: Option<u32>,
    },
    /// Log-normal, redrawn until inside `min`–`max`, rounded.
    LogNormal {
        /// Median before truncation, above 0.
        median: f64,
        /// Standard deviation of the logarithm, 0 or more.
        sigma: f64,
        /// Least length; 1 when left out.
        min: u32,
        /// Greatest length.
        max: Option<u32>,
    },
    /// One of these, equally likely: a sample of real lengths.
    Empirical(Vec<u32>),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum LengthTable {
    Uniform {
        min: u32,
        max: u32,
    },
    Normal {
        mean: f64,
        sd: f64,
        #[serde(default = "one")]
        min: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
    },
    LogNormal {
        median: f64,
        sigma: f64,
        #[serde(default = "one")]
        min: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
    },
    Empirical(Vec<u32>),
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a number of tokens, or one of { uniform = { min, max } }, { normal = { mean, sd, min, \
                 max } }, { log_normal = { median, sigma, min, max } }, { empirical = [..] }"
)]
enum LengthFile {
    Number(u32),
    Table(LengthTable),
}

fn one() -> u32 {
    1
}

impl From<LengthFile> for LengthLaw {
    fn from(file: LengthFile) -> Self {
        match file {
            LengthFile::Number(n) => Self::Constant(n),
            LengthFile::Table(LengthTable::Uniform { min, max }) => Self::Uniform { min, max },
            LengthFile::Table(LengthTable::Normal { mean, sd, min, max }) => {
                Self::Normal { mean, sd, min, max }
            }
            LengthFile::Table(LengthTable::LogNormal { median, sigma, min, max }) => {
                Self::LogNormal { median, sigma, min, max }
            }
            LengthFile::Table(LengthTable::Empirical(all)) => Self::Empirical(all),
        }
    }
}

impl From<LengthLaw> for LengthFile {
    fn from(law: LengthLaw) -> Self {
        match law {
            LengthLaw::Constant(n) => Self::Number(n),
            LengthLaw::Uniform { min, max } => Self::Table(LengthTable::Uniform { min, max }),
            LengthLaw::Normal { mean, sd, min, max } => {
                Self::Table(LengthTable::Normal { mean, sd, min, max })
            }
            LengthLaw::LogNormal { median, sigma, min, max } => {
                Self::Table(LengthTable::LogNormal { median, sigma, min, max })
            }
            LengthLaw::Empirical(all) => Self::Table(LengthTable::Empirical(all)),
        }
    }
}

/// `512`, `uniform:100-900`, `normal:500,50`, `lognormal:400,0.5` (the last two with `,MIN-MAX` if wanted) or
/// `one-of:128,512,2048`, as command lines give it.
impl FromStr for LengthLaw {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "expected tokens such as 512, uniform:100-900, normal:500,50 (mean, sd), lognormal:400,0.5 (median, \
                 sigma; both with ,MIN-MAX if wanted) or one-of:128,512, found `{text}`"
            )
        };
        fn number<T: FromStr>(text: &str) -> Option<T> {
            text.trim().parse().ok()
        }
        fn range(text: &str) -> Option<(u32, u32)> {
            let (min, max) = text.split_once('-')?;
            Some((number(min)?, number(max)?))
        }
        // Two numbers, and bounds where there is a third part.
        fn law(text: &str) -> Option<(f64, f64, u32, Option<u32>)> {
            let (centre, rest) = text.split_once(',')?;
            let (width, bounds) = match rest.split_once(',') {
                None => (rest, None),
                Some((width, bounds)) => (width, Some(range(bounds)?)),
            };
            let (min, max) = bounds.map_or((1, None), |(min, max)| (min, Some(max)));
            Some((number(centre)?, number(width)?, min, max))
        }
        let read = match text.trim().split_once(':') {
            None => number(text).map(Self::Constant),
            Some(("uniform", rest)) => range(rest).map(|(min, max)| Self::Uniform { min, max }),
            Some(("normal", rest)) => {
                law(rest).map(|(mean, sd, min, max)| Self::Normal { mean, sd, min, max })
            }
            Some(("lognormal", rest)) => {
                law(rest).map(|(median, sigma, min, max)| Self::LogNormal { median, sigma, min, max })
            }
            Some(("one-of", rest)) => rest.split(',').map(number).collect::<Option<_>>().map(Self::Empirical),
            Some(_) => None,
        };
        let read = read.ok_or_else(wrong)?;
        read.validate().map_err(|e| format!("`{text}`: {e}"))?;
        Ok(read)
    }
}

impl LengthLaw {
    /// Mean before truncation, tokens: what plans reckon with.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant(n) => f64::from(*n),
            Self::Uniform { min, max } => f64::midpoint(f64::from(*min), f64::from(*max)),
            Self::Normal { mean, .. } => *mean,
            // Exact: m·exp(σ²/2).
            Self::LogNormal { median, sigma, .. } => median * (sigma * sigma / 2.0).exp(),
            Self::Empirical(all) => all.iter().copied().map(f64::from).sum::<f64>() / all.len().max(1) as f64,
        }
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let bounds = |min: u32, max: u32| 1 <= min && min <= max && max <= MAX_TOKENS;
        let between = "expected 1 ≤ min ≤ max ≤ 10000000 tokens";
        match self {
            Self::Constant(n) => {
                errors.check(bounds(*n, *n), "constant", "expected 1 to 10000000 tokens", n);
            }
            Self::Uniform { min, max } => {
                errors.check(bounds(*min, *max), "uniform", between, format!("{min} to {max}"));
            }
            Self::Normal { mean: centre, sd: width, min, max }
            | Self::LogNormal { median: centre, sigma: width, min, max } => {
                let max = max.unwrap_or(MAX_TOKENS);
                let law = if matches!(self, Self::Normal { .. }) { "normal" } else { "log_normal" };
                let inside = (f64::from(*min)..=f64::from(max)).contains(centre);
                errors.check(
                    inside && bounds(*min, max),
                    law,
                    "expected the middle between min and max, both from 1 to 10000000 tokens",
                    format!("{centre} in {min} to {max}"),
                );
                errors.check(width.is_finite() && *width >= 0.0, law, "expected a width of 0 or more", width);
            }
            Self::Empirical(all) => {
                errors.check(!all.is_empty(), "empirical", "expected at least one length", "none");
                if let Some(bad) = all.iter().find(|n| !bounds(**n, **n)) {
                    errors.push("empirical", "expected 1 to 10000000 tokens each", bad);
                }
            }
        }
        errors.into_result()
    }
}

/// Beginnings that prompts have in common, for prefix caches to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedPrefix {
    /// Different beginnings, at least 1; each prompt has one of them, drawn evenly.
    pub groups: u32,
    /// Tokens of each, at least 1; they come on top of the prompt's own length.
    pub tokens: u32,
}

/// Prompts made by length: no two alike beyond the prefix they share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Synthetic {
    /// Tokens of the prompt, beside the shared prefix.
    pub input: LengthLaw,
    /// `max_tokens` of each request; the scenario's when left out. Answers end earlier when the model has said all:
    /// servers that can be told to go on (`options.extra.ignore_eos`) give exactly this many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<LengthLaw>,
    /// What prompts share at their beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<SharedPrefix>,
}

impl Synthetic {
    /// Prompts of this length.
    pub fn new(input: LengthLaw) -> Self {
        Self { input, output: None, prefix: None }
    }

    /// Checks the fields.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        errors.nest("input", self.input.validate());
        if let Some(output) = &self.output {
            errors.nest("output", output.validate());
        }
        if let Some(SharedPrefix { groups, tokens }) = self.prefix {
            errors.check(groups >= 1, "prefix.groups", "expected at least 1", groups);
            errors.check(
                (1..=MAX_TOKENS).contains(&tokens),
                "prefix.tokens",
                "expected 1 to 10000000 tokens",
                tokens,
            );
        }
        errors.into_result()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &LengthLaw, mean: f64) {
        let law: LengthLaw = text.parse().unwrap();
        assert_eq!(law, *expected, "{text}");
        assert!((law.mean() - mean).abs() < 0.01, "{text}: {}", law.mean());
    }

    #[test]
    fn spellings() {
        check("512", &LengthLaw::Constant(512), 512.0);
        check("uniform:100-900", &LengthLaw::Uniform { min: 100, max: 900 }, 500.0);
        check("normal:500,50", &LengthLaw::Normal { mean: 500.0, sd: 50.0, min: 1, max: None }, 500.0);
        check(
            "lognormal:400, 0.5, 1-8000",
            &LengthLaw::LogNormal { median: 400.0, sigma: 0.5, min: 1, max: Some(8000) },
            453.26,
        );
        check("one-of:128,512", &LengthLaw::Empirical(vec![128, 512]), 320.0);
        for wrong in [
            "",
            "0",
            "many",
            "-5",
            "uniform:9-1",
            "uniform:5",
            "normal:5",
            "lognormal:0,1",
            "one-of:",
            "zipf:3",
        ] {
            assert!(wrong.parse::<LengthLaw>().unwrap_err().contains("expected"), "{wrong}");
        }
    }
}
