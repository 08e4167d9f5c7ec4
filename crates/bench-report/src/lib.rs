//! Analysis to terminal text, Markdown and JSON. Renders what it is given: computes no statistic, reads no clock.

mod advice;
mod aggregate;
mod json;
mod markdown;
mod metrics_page;
mod number;
mod sheet;
mod study;
mod table;
mod text;
mod trend;
mod words;

use llms_core::bench::{Analysis, RunManifest};

pub use advice::Findings;
pub use aggregate::aggregate;
pub use json::render_json;
pub use markdown::render_markdown;
pub use metrics_page::metrics_markdown;
pub use sheet::Sheet;
pub use study::study;
pub use text::render_text;
pub use trend::{checks, trend};

/// What a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// What was run, where, with what.
    pub manifest: &'a RunManifest,
    /// What it means.
    pub analysis: &'a Analysis,
    /// Further findings, one paragraph each.
    pub notes: &'a [String],
    /// Files written, as label and path.
    pub files: &'a [(String, String)],
    /// What to change, how sure the ranks are.
    pub findings: Findings<'a>,
}

/// How text is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Columns of the terminal; lines are kept within, down to 60.
    pub width: usize,
    /// ANSI colours.
    pub color: bool,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: 80, color: false }
    }
}
