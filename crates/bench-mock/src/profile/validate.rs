//! Checks every field of a profile.

use llms_core::config::ConfigErrors;

use super::Profile;

/// Longest answer.
pub(crate) const MAX_OUTPUT_TOKENS: u32 = 1 << 20;
/// Largest memory simulation of one request.
pub(crate) const MAX_BALLAST: u64 = 1 << 30;

impl Profile {
    /// Checks every field.
    ///
    /// # Errors
    /// All that are wrong, what was expected, and what was found.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        e.check(!self.name.trim().is_empty(), "name", "expected a name", "nothing");
        e.check(
            self.time_scale > 0.0 && self.time_scale.is_finite(),
            "time_scale",
            "expected a number above 0",
            self.time_scale,
        );
        for (field, dist) in [
            ("ttft_ms", &self.ttft_ms),
            ("gap_ms", &self.gap_ms),
            ("pace", &self.pace),
            ("output_tokens", &self.output_tokens),
            ("tokens_per_chunk", &self.tokens_per_chunk),
        ] {
            e.nest(field, dist.validate());
        }
        if let Some(r) = &self.reasoning {
            e.nest("reasoning.tokens", r.tokens.validate());
        }
        if self.output_tokens.validate().is_ok() {
            let most = f64::from(MAX_OUTPUT_TOKENS);
            let p99 = self.output_tokens.quantile(0.99) * self.verbosity;
            e.check(p99 <= most, "output_tokens", &format!("expected a 99th percentile ≤ {most}"), p99);
        }
        for (field, value) in [
            ("prefill_ms_per_1k", self.prefill_ms_per_1k),
            ("verbosity", self.verbosity),
            ("refusal_ms", self.refusal_ms),
            ("memory.streaming_factor", self.memory.streaming_factor),
        ] {
            e.check(value >= 0.0 && value.is_finite(), field, "expected a number ≥ 0", value);
        }
        e.check(
            self.drift_per_hour > -1.0 && self.drift_per_hour.is_finite(),
            "drift_per_hour",
            "expected a number above -1",
            self.drift_per_hour,
        );
        for (field, value) in [
            ("head_share", self.head_share),
            ("cached_share", self.cached_share),
            ("tools.share", self.tools.share),
        ] {
            e.check((0.0..=1.0).contains(&value), field, "expected a share from 0 to 1", value);
        }
        e.check(self.tools.calls > 0, "tools.calls", "expected a number ≥ 1", self.tools.calls);
        e.check(self.tools.calls <= 128, "tools.calls", "expected at most 128", self.tools.calls);
        if let Some(slots) = self.capacity.slots {
            e.check(slots > 0, "capacity.slots", "expected a number ≥ 1", slots);
        }
        if let Some(limit) = &self.rate_limit {
            limit.validate(&mut e);
        }
        if let Some(batching) = &self.batching {
            batching.validate(self.capacity.slots, &mut e);
        }
        if let Some(cache) = &self.prefix_cache {
            cache.validate(&mut e);
        }
        self.wire.validate(&mut e);
        let ballast = self.memory.bytes as f64 * self.memory.streaming_factor.max(1.0);
        e.check(
            ballast <= MAX_BALLAST as f64,
            "memory.bytes",
            "expected at most 1 GiB with its factor",
            self.memory.bytes,
        );
        for (i, rule) in self.faults.iter().enumerate() {
            rule.validate(&mut e, &format!("faults.{i}"));
        }
        let free: f64 = self.faults.iter().filter(|r| r.applies(1, 0.0)).map(|r| r.share).sum();
        let always = self.faults.iter().any(|r| r.share == 1.0);
        e.check(always || free <= 1.0 + 1e-9, "faults", "expected shares that add up to at most 1", free);
        e.into_result()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Batching, Dist, Drip, FaultKind, FaultRule, PrefixCache, Preset, RateLimit, Split, Wire};

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let profile = Profile {
            time_scale: 0.0,
            ttft_ms: Dist::log_normal(-1.0, 0.1),
            head_share: 2.0,
            faults: vec![FaultRule::share(FaultKind::Server, 1.5)],
            ..Profile::default()
        };
        let errors = profile.validate().unwrap_err();
        let fields: Vec<_> = errors.errors.iter().map(|e| e.field.as_str()).collect();
        assert_eq!(fields, ["time_scale", "ttft_ms.median", "head_share", "faults.0.share", "faults"]);
    }

    #[test]
    fn settings_of_load_and_wire_are_checked() {
        let profile = Profile {
            batching: Some(Batching { slope: -1.0, ..Batching::default() }),
            prefix_cache: Some(PrefixCache { step_tokens: 1, capacity_tokens: 0, ..PrefixCache::openai() }),
            rate_limit: Some(RateLimit { tokens_per_min: Some(0.0), ..RateLimit::requests(1.0, 0.5) }),
            wire: Wire {
                chunks_per_write: 0,
                split: Some(Split::At { offsets: vec![4, 2], pause_ms: 0 }),
                slow_head: Some(Drip { bytes: 0, pause_ms: 1 }),
                ..Wire::default()
            },
            ..Profile::default()
        };
        let errors = profile.validate().unwrap_err();
        let fields: Vec<_> = errors.errors.iter().map(|e| e.field.as_str()).collect();
        let expected = [
            "rate_limit.tokens_per_min",
            "rate_limit.burst",
            "batching.slope",
            "batching.batch",
            "prefix_cache.step_tokens",
            "prefix_cache.capacity_tokens",
            "wire.chunks_per_write",
            "wire.split.offsets",
            "wire.slow_head.bytes",
        ];
        assert_eq!(fields, expected);
    }

    #[test]
    fn a_profile_round_trips_through_json_and_toml() {
        for preset in Preset::ALL {
            let profile = preset.profile();
            let json = serde_json::to_value(&profile).unwrap();
            assert_eq!(Profile::from_value(json).unwrap(), profile);
            let text = toml::to_string(&profile).unwrap();
            let back: serde_json::Value = toml::from_str(&text).unwrap();
            assert_eq!(Profile::from_value(back).unwrap(), profile);
        }
    }

    #[test]
    fn a_file_may_begin_from_a_preset_and_is_read_strictly() {
        let text = r#"
            preset = "anthropic"
            time_scale = 0.5
            output_tokens = { kind = "constant", value = 12 }
            [[faults]]
            kind = "overloaded"
            every = 10
        "#;
        let profile = Profile::from_value(toml::from_str(text).unwrap()).unwrap();
        assert_eq!(profile.ttft_ms, Preset::Anthropic.profile().ttft_ms);
        assert_eq!(profile.output_tokens, Dist::constant(12.0));
        assert_eq!(profile.faults, [FaultRule::every(FaultKind::Overloaded, 10)]);
        let unknown = Profile::from_value(json!({"ttft": 3})).unwrap_err().to_string();
        assert!(unknown.contains("unknown field `ttft`"), "{unknown}");
        let preset = Profile::from_value(json!({"preset": "skynet"})).unwrap_err().to_string();
        assert!(preset.contains("very-fast"), "{preset}");
    }
}
