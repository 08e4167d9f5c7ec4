//! The tool's judgement of itself: can these numbers be trusted?

use serde::{Deserialize, Serialize};

/// The verdict on a run, worst first when ordered descending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Nothing found.
    #[default]
    Valid,
    /// Something may have touched the numbers.
    Suspect,
    /// The client measured itself, or the numbers do not mean what they say.
    Invalid,
}

impl Level {
    /// `VALID`, `SUSPECT`, `INVALID`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::Suspect => "SUSPECT",
            Self::Invalid => "INVALID",
        }
    }
}

/// One signal that was out of bounds, or could not be read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// Stable name: `send_lag`, `merged_reads`, `debug_build`, …
    pub signal: String,
    /// What it makes of the run. `VALID` for findings about the server and for signals that are only missing.
    pub level: Level,
    /// Target it concerns; all when `None`.
    pub target: Option<String>,
    /// What was measured, with unit.
    pub measured: String,
    /// What was allowed.
    pub threshold: String,
    /// What it means and what to do.
    pub cure: String,
}

/// The verdict with its reasons.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validity {
    /// The worst level of the findings.
    pub level: Level,
    /// Reasons, worst first.
    pub findings: Vec<Finding>,
    /// Signals that were checked and in bounds.
    pub checked: Vec<String>,
}

impl Validity {
    /// Adds a finding and raises the level.
    pub fn add(&mut self, finding: Finding) {
        self.level = self.level.max(finding.level);
        self.findings.push(finding);
        self.findings.sort_by_key(|f| std::cmp::Reverse(f.level));
    }
}
