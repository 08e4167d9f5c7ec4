//! The report for a pull request.

use crate::{Document, table::escape, words};

/// Renders the report as Markdown.
pub fn render_markdown(doc: &Document<'_>) -> String {
    let a = doc.analysis;
    let mut out = String::new();
    let heading = words::heading(doc);
    out.push_str(&format!("## {}\n\n", escape(&heading[0])));
    for line in &heading[1..] {
        out.push_str(&format!("{}  \n", escape(line)));
    }
    let (verdict, reasons) = words::validity(a);
    out.push_str(&format!("**{}**\n\n", escape(&verdict)));
    for mut table in [words::latency_table(a, true), words::detail_table(a)] {
        table.drop_absent();
        out.push_str(&table.markdown());
        out.push('\n');
    }
    for mut verdicts in words::verdicts(a) {
        verdicts.table.drop_absent();
        out.push_str(&format!("### {}\n\n{}\n", escape(&verdicts.title), verdicts.table.markdown()));
        for remark in &verdicts.remarks {
            out.push_str(&format!("- {}\n", escape(remark)));
        }
    }
    if let Some(legend) = words::verdict_legend(a) {
        out.push_str(&format!("{}\n\n", escape(&legend)));
    }
    let mut section = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            out.push_str(&format!("### {}\n\n", escape(title)));
            for line in lines {
                out.push_str(&format!("- {}\n", escape(line)));
            }
            out.push('\n');
        }
    };
    section("Objectives", &words::objectives(a));
    section("Best", &words::winners(a));
    section("Failures", &words::failures(a));
    section("Not measured", &words::not_measured(a));
    section("Notes", &words::notes(doc));
    section("Validity", &reasons);
    section("How sure the ranks are", &doc.findings.ranks());
    section("What to change", &doc.findings.changes());
    let files: Vec<String> = doc.files.iter().map(|(label, path)| format!("{label}: {path}")).collect();
    section("Files", &files);
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}
