//! The provider `mock` of the registry.

use std::sync::Arc;

use async_trait::async_trait;
use llms_core::{
    Capabilities, Result, SharedModel,
    config::{ConfigErrors, ModelConfig},
    registry::{BuildContext, ModelFactory},
};
use serde_json::Value;

use super::MockModel;
use crate::{
    FaultKind, FaultRule, Preset, Profile, SITUATIONS,
    situation::{Situation, nearest},
    truth::TruthLog,
};

/// Builds in-process mocks: `mock:openai`, `mock:very-fast`, … name a [`Preset`], without its faults and memory
/// simulation; `mock:default` is the contract's default profile. The names of [`SITUATIONS`]
/// (`mock:mock-flaky`, …) bring them about as on the server, over the default profile or the `profile` given. Any other
/// name needs a `profile` and is its name then; without one it is refused. Works without key, address or network.
///
/// Provider-specific settings: `profile` (a table as [`Profile::from_value`] reads it, or the name of a preset,
/// with faults and all), `seed`, `time_scale`, `responses` (answers in turn), `should_error` (every call fails
/// with an internal error).
#[derive(Clone, Debug, Default)]
pub struct MockFactory {
    truth: Option<TruthLog>,
}

impl MockFactory {
    /// Models of this factory write into one shared truth log.
    pub fn with_truth_log(log: TruthLog) -> Self {
        Self { truth: Some(log) }
    }

    /// The profile that a configuration asks for.
    ///
    /// # Errors
    /// Every setting that is wrong; an unknown one is refused by name.
    pub fn profile(config: &ModelConfig) -> Result<Profile, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let mut profile = match config.provider_specific.get("profile") {
            Some(Value::String(name)) => name.parse().map(Preset::profile),
            Some(table) => Profile::from_value(table.clone()),
            None if config.model == "default" => Ok(Profile::default()),
            None => named(&config.model),
        }
        .unwrap_or_else(|e| {
            if config.provider_specific.contains_key("profile") {
                errors.nest("provider_specific", Err(e));
            } else {
                errors.errors.extend(e.errors);
            }
            Profile::default()
        });
        for (key, value) in &config.provider_specific {
            let known = match key.as_str() {
                "profile" => true,
                "seed" => value.as_u64().map(|seed| profile.seed = seed).is_some(),
                "time_scale" => value.as_f64().map(|scale| profile.time_scale = scale).is_some(),
                "should_error" => match value.as_bool() {
                    Some(true) => {
                        profile.faults.insert(0, FaultRule::always(FaultKind::Server));
                        true
                    }
                    other => other.is_some(),
                },
                "responses" => serde_json::from_value(value.clone()).map(|r| profile.responses = r).is_ok(),
                _ => {
                    let known = "expected one of profile, seed, time_scale, responses, should_error";
                    errors.push(format!("provider_specific.{key}"), known, "an unknown setting");
                    continue;
                }
            };
            errors.check(known, &format!("provider_specific.{key}"), "expected another type", value);
        }
        errors.nest("provider_specific.profile", profile.validate());
        errors.into_result().map(|()| profile)
    }
}

/// The preset of this name, quiet; the default profile where the name is a situation's.
fn named(model: &str) -> Result<Profile, ConfigErrors> {
    let preset: Result<Preset, _> = match model {
        "mock-fast" => Ok(Preset::VeryFast),
        "mock-slow" => Ok(Preset::VerySlow),
        _ => model.strip_prefix("mock-").unwrap_or(model).parse(),
    };
    if preset.is_err() && (model == "mock" || Situation::named_or_missing(model).is_some()) {
        return Ok(Profile::default());
    }
    preset.map(|preset| preset.profile().quiet()).map_err(|_| {
        let names: Vec<_> = Preset::ALL.iter().map(|p| p.as_str()).collect();
        let mut errors = ConfigErrors::default();
        let mut expected =
            format!("expected default or a preset ({}), or a setting `profile`", names.join(", "));
        if model.starts_with("mock-")
            && let Some(nearest) = nearest(model, SITUATIONS.iter().map(|(name, _)| *name))
        {
            expected.push_str(&format!("; did you mean `{nearest}`?"));
        }
        errors.push("model", expected, format!("`{model}`"));
        errors
    })
}

#[async_trait]
impl ModelFactory for MockFactory {
    async fn create(&self, config: &ModelConfig, _build: &BuildContext<'_>) -> Result<SharedModel> {
        config.validate(&Capabilities::default())?;
        let profile = Self::profile(config)?;
        let mut builder = MockModel::builder().profile(profile).name("mock", &config.model);
        if let Some(log) = &self.truth {
            builder = builder.truth_log(log.clone());
        }
        Ok(Arc::new(builder.build()?))
    }
}
