//! The look-alikes of the contract.

use std::{fmt, str::FromStr, time::Duration};

use llms_core::config::ConfigErrors;
use rust_decimal::Decimal;

use super::{FaultKind, FaultRule, Memory, PrefixCache, Profile, SimulatedPrices};
use crate::dist::Dist;

/// A ready-made profile. Numbers of the contract: latency is the time to the first token; `Bedrock` and `Ollama`
/// have only a latency there, their spreads and rates are ours.
///
/// | preset | first token | tokens/s | faults | memory |
/// | --- | --- | --- | --- | --- |
/// | `openai` | 200 ms ± 0.3 | 40 ± 0.2 | 2 % rate limit, timeout | 2 MB × 1.5 |
/// | `anthropic` | 150 ms ± 0.25 | 35 ± 0.15 | 1 % quota, auth | 1.5 MB × 2 |
/// | `bedrock` | 300 ms ± 0.25 | 30 ± 0.2 | | |
/// | `ollama` | 500 ms ± 0.2 | 25 ± 0.1 | | |
/// | `very-slow` | 5 s ± 0.8 | 1 ± 0.2 | | |
/// | `very-fast` | 10 ms ± 0.05 | 200 ± 0.05 | | |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Preset {
    /// Like OpenAI.
    OpenAi,
    /// Like Anthropic.
    Anthropic,
    /// Like Amazon Bedrock.
    Bedrock,
    /// Like a local Ollama.
    Ollama,
    /// Slower than anybody.
    VerySlow,
    /// Faster than anybody.
    VeryFast,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 6] =
        [Self::OpenAi, Self::Anthropic, Self::Bedrock, Self::Ollama, Self::VerySlow, Self::VeryFast];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
            Self::Bedrock => "bedrock",
            Self::Ollama => "ollama",
            Self::VerySlow => "very-slow",
            Self::VeryFast => "very-fast",
        }
    }

    /// The profile with the faults and the memory of the contract; [`Profile::quiet`] leaves them out.
    pub fn profile(self) -> Profile {
        let shape = |ms: u64, spread: f64, rate: f64, rate_spread: f64| {
            Profile::named(self.as_str())
                .with_latency(Duration::from_millis(ms), spread)
                .with_token_rate(rate, rate_spread)
        };
        match self {
            Self::OpenAi => Profile {
                faults: FaultRule::split(0.02, &[FaultKind::RateLimit, FaultKind::Timeout]),
                memory: Memory { bytes: 2_000_000, streaming_factor: 1.5 },
                prefix_cache: Some(PrefixCache::openai()),
                prices: Some(prices("openai small model", 15, 60)),
                ..shape(200, 0.3, 40.0, 0.2)
            },
            Self::Anthropic => Profile {
                faults: FaultRule::split(0.01, &[FaultKind::Quota, FaultKind::Auth]),
                memory: Memory { bytes: 1_500_000, streaming_factor: 2.0 },
                prefix_cache: Some(PrefixCache::marked()),
                prices: Some(prices("anthropic small model", 100, 500)),
                ..shape(150, 0.25, 35.0, 0.15)
            },
            Self::Bedrock => Profile {
                prefix_cache: Some(PrefixCache::marked()),
                prices: Some(prices("bedrock small model", 25, 125)),
                ..shape(300, 0.25, 30.0, 0.2)
            },
            // Ollama's first bytes come with its first token.
            Self::Ollama => {
                Profile { head_share: 1.0, prices: Some(prices("local", 0, 0)), ..shape(500, 0.2, 25.0, 0.1) }
            }
            Self::VerySlow => Profile { output_tokens: Dist::constant(8.0), ..shape(5000, 0.8, 1.0, 0.2) },
            Self::VeryFast => shape(10, 0.05, 200.0, 0.05),
        }
    }
}

/// Prices in cents for a million tokens.
fn prices(label: &str, input_cents: i64, output_cents: i64) -> SimulatedPrices {
    SimulatedPrices {
        label: format!("simulated: {label}"),
        input_usd_per_mtok: Decimal::new(input_cents, 2),
        output_usd_per_mtok: Decimal::new(output_cents, 2),
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Preset {
    type Err = ConfigErrors;

    fn from_str(text: &str) -> Result<Self, ConfigErrors> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or_else(|| {
            let mut errors = ConfigErrors::default();
            let names: Vec<_> = Self::ALL.iter().map(|p| p.as_str()).collect();
            errors.push("preset", format!("expected one of {}", names.join(", ")), format!("`{text}`"));
            errors
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_keep_their_order_and_their_names() {
        for preset in Preset::ALL {
            preset.profile().validate().unwrap();
            assert_eq!(preset.as_str().parse(), Ok(preset));
        }
        for scale in [1.0, 0.1] {
            let median = |p: Preset| p.profile().with_time_scale(scale).true_ttft_median();
            let order = [
                Preset::VeryFast,
                Preset::Anthropic,
                Preset::OpenAi,
                Preset::Bedrock,
                Preset::Ollama,
                Preset::VerySlow,
            ];
            assert!(order.windows(2).all(|w| median(w[0]) < median(w[1])));
        }
    }
}
