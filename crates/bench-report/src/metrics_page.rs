//! `docs/metrics.md`, from the one table of metrics.

use llms_core::bench::{Better, metric::METRICS};

use crate::table::{Table, escape};

/// The page on metrics; a test holds the committed file against it.
pub fn metrics_markdown() -> String {
    let mut table = Table::new(["metric", "title", "unit", "formula", "absent when", "better", "source"]);
    for m in METRICS {
        let better = match m.better {
            Better::Lower => "lower",
            Better::Higher => "higher",
            Better::Neither => "–",
        };
        let unit = if m.unit == "1" { "share" } else { m.unit };
        table.row([m.name, m.title, unit, m.formula, m.absent, better, m.source].map(str::to_owned));
    }
    let origins: Vec<String> =
        METRICS.iter().filter(|m| m.has_origin).map(|m| format!("`{}`", m.name)).collect();
    format!(
        "# Metrics\n\nGenerated from the table in `llms_core::bench::metric`; do not edit.\n\n{}\n{} count from an origin: `sent` (service time, the headline \
         under closed loop) or `scheduled` (response time, the headline under open loop). A bare name follows the headline of the load mode; `_service` or \
         `_response` appended forces one. Quantiles are type 7, type 1 where an order statistic they touch is +∞; {}.\n",
        table.markdown(),
        origins.join(", "),
        escape("failed requests rank as +∞ in every percentile a verdict uses"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_page_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let page = metrics_markdown();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == page,
            "docs/metrics.md is not what the table says; run the tests of bench-report with UPDATE_DOCS=1"
        );
    }
}
