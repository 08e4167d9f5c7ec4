//! What the suite found, as data and as a table.

use std::fmt;

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "reason")]
pub enum Status {
    /// The model behaves as the trait promises.
    Passed,
    /// The check does not apply, or could not be made, and why.
    Skipped(String),
    /// It does not, and how that showed.
    Failed(String),
}

/// One promise of the trait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable name.
    pub name: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub status: Status,
}

/// All checks of one model, in the order they were made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Provider of the model.
    pub provider: String,
    /// The model.
    pub model: String,
    /// Every check, the skipped ones too.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether nothing failed.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|c| matches!(c.status, Status::Failed(_)))
    }

    /// How the check of this name ended.
    pub fn status(&self, name: &str) -> Option<&Status> {
        self.checks.iter().find(|c| c.name == name).map(|c| &c.status)
    }

    /// For tests.
    ///
    /// # Panics
    /// With the whole table, when a check failed.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.passed(), "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failures().count();
        let skipped = self.checks.iter().filter(|c| matches!(c.status, Status::Skipped(_))).count();
        let passed = self.checks.len() - failed - skipped;
        let Self { provider, model, .. } = self;
        writeln!(
            f,
            "conformance of {provider}:{model}: {passed} passed, {skipped} skipped, {failed} failed"
        )?;
        let width = self.checks.iter().map(|c| c.name.len()).max().unwrap_or(0);
        for Check { name, status } in &self.checks {
            match status {
                Status::Passed => writeln!(f, "  pass  {name}")?,
                Status::Skipped(reason) => writeln!(f, "  skip  {name:width$}  {reason}")?,
                Status::Failed(reason) => writeln!(f, "  FAIL  {name:width$}  {reason}")?,
            }
        }
        Ok(())
    }
}
