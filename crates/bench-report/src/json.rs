//! The result as one JSON document, described by `docs/schema/result.schema.json`.

use llms_core::bench::{Analysis, ComparisonStudy, OptimizationReport, RunManifest, result::SCHEMA_VERSION};
use serde::Serialize;

use crate::Document;

#[derive(Serialize)]
struct Result<'a> {
    schema_version: u32,
    manifest: &'a RunManifest,
    analysis: &'a Analysis,
    notes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    hints: Option<&'a OptimizationReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    study: Option<&'a ComparisonStudy>,
}

/// Renders the result as JSON.
///
/// # Panics
/// Never: every type of the document has a JSON form (tested).
pub fn render_json(doc: &Document<'_>) -> String {
    let result = Result {
        schema_version: SCHEMA_VERSION,
        manifest: doc.manifest,
        analysis: doc.analysis,
        notes: doc.notes,
        hints: doc.findings.hints,
        study: doc.findings.study,
    };
    let mut json = serde_json::to_string_pretty(&result).expect("every type of the document has a JSON form");
    json.push('\n');
    json
}
