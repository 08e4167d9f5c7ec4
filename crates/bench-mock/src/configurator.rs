//! The contract's configurator: shapes mocks while they run.
//!
//! Every model built from one configurator shares its [`ProfileHandle`], so a change reaches all of them with
//! their next request; a server does so too when it is given the handle
//! ([`ServerConfig::with_handle`](crate::server::ServerConfig::with_handle)).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use llms_core::{
    ErrorCode,
    bench::{MockConfiguration, MockConfigurator},
    config::ConfigErrors,
};

use crate::{
    dist::Dist,
    engine::ProfileHandle,
    model::MockModel,
    profile::{FaultKind, MAX_BALLAST, Profile},
};

/// Which parts of a configuration take effect. What is off is remembered and has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aspects {
    /// Delays, of the first token and between tokens; off: answers come at once.
    pub latency: bool,
    /// Injected errors.
    pub errors: bool,
    /// The memory simulation.
    pub memory: bool,
}

impl Default for Aspects {
    fn default() -> Self {
        Self { latency: true, errors: true, memory: true }
    }
}

/// Shapes mocks while they run. [`MockConfigurator`] has the settings of the contract; for everything else take
/// the [`handle`](Self::handle) and change the profile.
#[derive(Debug)]
pub struct Configurator {
    /// What the settings do not touch.
    base: Profile,
    aspects: Mutex<Aspects>,
    settings: Mutex<MockConfiguration>,
    handle: ProfileHandle,
}

impl Default for Configurator {
    fn default() -> Self {
        Self::new(Profile::default(), Aspects::default()).expect("invariant: the default profile is valid")
    }
}

impl Configurator {
    /// A configurator with default settings over `base`, which gives all that the settings do not name: seed,
    /// time scale, lengths, content, capacity as long as no limit is set.
    ///
    /// # Errors
    /// Every field of `base` that is wrong.
    pub fn new(base: Profile, aspects: Aspects) -> Result<Self, ConfigErrors> {
        Self::attach(ProfileHandle::new(base)?, aspects)
    }

    /// A configurator of what already runs: the handle of a model, or of a server. Its default settings take effect at
    /// once, over the profile in force.
    ///
    /// # Errors
    /// Every field that is wrong.
    pub fn attach(handle: ProfileHandle, aspects: Aspects) -> Result<Self, ConfigErrors> {
        let (base, aspects) = (handle.get(), Mutex::new(aspects));
        let configurator = Self { base, aspects, settings: Mutex::default(), handle };
        configurator.change(|settings| *settings = MockConfiguration::default())?;
        Ok(configurator)
    }

    /// Which parts take effect.
    pub fn aspects(&self) -> Aspects {
        *self.aspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Switches parts on and off, from the next request on.
    ///
    /// # Errors
    /// Every field that is wrong then; nothing is changed then.
    pub fn set_aspects(&self, aspects: Aspects) -> Result<(), ConfigErrors> {
        let settings = self.lock();
        self.handle.set(self.profile(&settings, aspects))?;
        *self.aspects.lock().unwrap_or_else(PoisonError::into_inner) = aspects;
        Ok(())
    }

    /// The profile in force, live.
    pub fn handle(&self) -> &ProfileHandle {
        &self.handle
    }

    /// A model that follows this configurator, with its own slots, counters and truth log.
    pub fn model(&self) -> MockModel {
        MockModel::builder().handle(self.handle.clone()).build().expect("invariant: the handle is valid")
    }

    /// Replaces all settings at once.
    ///
    /// # Errors
    /// Every field that is out of range; nothing is changed then.
    pub fn configure(&self, configuration: MockConfiguration) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        let c = &configuration;
        check_share(&mut e, "latency_variability", c.latency_variability);
        check_share(&mut e, "token_variability", c.token_variability);
        check_rate(&mut e, c.token_generation_rate);
        check_errors(&mut e, c.error_injection_rate, &c.error_types);
        check_memory(&mut e, c.memory_usage_bytes, c.streaming_memory_multiplier);
        if let Some(limit) = c.concurrency_limit {
            e.check(limit > 0, "concurrency_limit", "expected a number ≥ 1", limit);
        }
        e.into_result()?;
        self.change(|settings| *settings = configuration)
    }

    fn lock(&self) -> MutexGuard<'_, MockConfiguration> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes settings and puts them in force, or does neither.
    fn change(&self, with: impl FnOnce(&mut MockConfiguration)) -> Result<(), ConfigErrors> {
        let mut settings = self.lock();
        let mut changed = settings.clone();
        with(&mut changed);
        self.handle.set(self.profile(&changed, self.aspects()))?;
        *settings = changed;
        Ok(())
    }

    fn profile(&self, settings: &MockConfiguration, aspects: Aspects) -> Profile {
        let mut profile = Profile::from(settings);
        if !aspects.latency {
            (profile.ttft_ms, profile.gap_ms) = (Dist::constant(0.0), Dist::constant(0.0));
        }
        if !aspects.errors {
            profile.faults.clear();
        }
        if !aspects.memory {
            profile.memory = self.base.memory;
        }
        let mut capacity = self.base.capacity;
        capacity.slots = settings.concurrency_limit.or(capacity.slots);
        profile.faults.extend(self.base.faults.iter().cloned());
        Profile {
            ttft_ms: profile.ttft_ms,
            gap_ms: profile.gap_ms,
            faults: profile.faults,
            memory: profile.memory,
            capacity,
            ..self.base.clone()
        }
    }
}

impl MockConfigurator for Configurator {
    fn configure_latency(&self, base: Duration, variability: f64) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        check_share(&mut e, "latency_variability", variability);
        e.into_result()?;
        self.change(|s| (s.simulated_latency, s.latency_variability) = (base, variability))
    }

    fn configure_error_injection(&self, rate: f64, types: &[ErrorCode]) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        check_errors(&mut e, rate, types);
        e.into_result()?;
        self.change(|s| (s.error_injection_rate, s.error_types) = (rate, types.to_vec()))
    }

    fn configure_token_generation(
        &self,
        tokens_per_second: f64,
        variability: f64,
    ) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        check_rate(&mut e, tokens_per_second);
        check_share(&mut e, "token_variability", variability);
        e.into_result()?;
        self.change(|s| (s.token_generation_rate, s.token_variability) = (tokens_per_second, variability))
    }

    fn configure_memory_usage(&self, base_bytes: u64, streaming_multiplier: f64) -> Result<(), ConfigErrors> {
        let mut e = ConfigErrors::default();
        check_memory(&mut e, base_bytes, streaming_multiplier);
        e.into_result()?;
        self.change(|s| {
            (s.memory_usage_bytes, s.streaming_memory_multiplier) = (base_bytes, streaming_multiplier);
        })
    }

    fn reset_to_defaults(&self) {
        self.change(|s| *s = MockConfiguration::default()).expect("invariant: the defaults are valid");
    }

    fn configuration(&self) -> MockConfiguration {
        self.lock().clone()
    }
}

fn check_share(e: &mut ConfigErrors, field: &str, value: f64) {
    e.check((0.0..=1.0).contains(&value), field, "expected a number from 0 to 1", value);
}

fn check_rate(e: &mut ConfigErrors, rate: f64) {
    let ok = rate > 0.0 && rate.is_finite();
    e.check(ok, "token_generation_rate", "expected tokens per second above 0", rate);
}

fn check_errors(e: &mut ConfigErrors, rate: f64, types: &[ErrorCode]) {
    check_share(e, "error_injection_rate", rate);
    e.check(
        rate <= 0.0 || !types.is_empty(),
        "error_types",
        "expected at least one type when the rate is above 0",
        "none",
    );
    for code in types.iter().filter(|code| FaultKind::of_code(**code).is_none()) {
        e.push("error_types", "expected a type that a server can bring about", code);
    }
}

fn check_memory(e: &mut ConfigErrors, bytes: u64, factor: f64) {
    let ok = factor >= 0.0 && factor.is_finite();
    e.check(ok, "streaming_memory_multiplier", "expected a number ≥ 0", factor);
    let most = bytes as f64 * factor.max(1.0);
    e.check(
        !ok || most <= MAX_BALLAST as f64,
        "memory_usage_bytes",
        "expected at most 1 GiB with its factor",
        bytes,
    );
}
