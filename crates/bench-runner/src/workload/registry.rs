//! Scenarios by name.

use std::collections::BTreeMap;

use llms_core::{Error, ErrorCode, Result, bench::Scenario};

use super::builtin;

/// Scenarios by name: the built-in ones and those added. Load tests and command lines refer to scenarios so.
#[derive(Clone, Debug, Default)]
pub struct ScenarioRegistry {
    scenarios: BTreeMap<String, Scenario>,
}

impl ScenarioRegistry {
    /// Nothing registered.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The built-in set: `simple`, `complex`, `comparison`, `tool-calling`, `streaming`, `long-context`,
    /// `development` and `load`.
    pub fn builtin() -> Self {
        let scenarios = builtin::all().into_iter().map(|s| (s.name.clone(), s)).collect();
        Self { scenarios }
    }

    /// Adds a scenario under its own name.
    ///
    /// # Errors
    /// `invalid_config` when a field is wrong or the name is taken.
    pub fn register(&mut self, scenario: Scenario) -> Result<()> {
        let scenario = scenario.with_ids();
        scenario.validate()?;
        if self.scenarios.contains_key(&scenario.name) {
            return Err(Error::new(
                "scenario.register",
                ErrorCode::InvalidConfig,
                format!("a scenario called `{}` exists already; give this one another name", scenario.name),
            ));
        }
        self.scenarios.insert(scenario.name.clone(), scenario);
        Ok(())
    }

    /// The scenario of that name.
    ///
    /// # Errors
    /// `not_found`, naming those that exist.
    pub fn get(&self, name: &str) -> Result<&Scenario> {
        self.scenarios.get(name).ok_or_else(|| {
            let names: Vec<_> = self.names().collect();
            Error::new(
                "scenario.get",
                ErrorCode::NotFound,
                format!("no scenario is called `{name}`; expected a file or one of {}", names.join(", ")),
            )
        })
    }

    /// All names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.scenarios.keys().map(String::as_str)
    }

    /// All scenarios, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Scenario> {
        self.scenarios.values()
    }
}
