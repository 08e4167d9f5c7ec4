//! The report for a terminal: heading, main table, verdicts in words, health line; no empty section.

use llms_core::bench::{Level, Origin, TargetAnalysis};

use crate::{Document, Style, number, table::wrap, words};

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const RESET: &str = "\x1b[0m";

struct Page {
    out: String,
    width: usize,
    color: bool,
}

impl Page {
    fn paint(&self, text: &str, code: &str) -> String {
        if self.color { format!("{code}{text}{RESET}") } else { text.to_owned() }
    }

    fn title(&mut self, text: &str) {
        let painted = self.paint(text, BOLD);
        self.out.push_str(&format!("\n{painted}\n"));
    }

    fn bullet(&mut self, text: &str) {
        self.out.push_str(&wrap(text, self.width, "  ", "    "));
    }

    fn section(&mut self, title: &str, lines: &[String]) {
        if !lines.is_empty() {
            self.title(title);
            for line in lines {
                self.bullet(line);
            }
        }
    }
}

/// Renders the report as text.
pub fn render_text(doc: &Document<'_>, style: &Style) -> String {
    let mut page = Page { out: String::new(), width: style.width.max(60), color: style.color };
    let a = doc.analysis;
    for (i, line) in words::heading(doc).iter().enumerate() {
        let wrapped = wrap(line, page.width, "", "  ");
        let wrapped = if i == 0 { page.paint(wrapped.trim_end(), BOLD) + "\n" } else { wrapped };
        page.out.push_str(&wrapped);
    }
    page.out.push('\n');
    if let [single] = &a.targets[..] {
        single_target(&mut page, single, a.headline_origin);
    } else {
        tables(&mut page, doc);
    }
    for mut verdicts in words::verdicts(a) {
        if verdicts.calm {
            let line = format!("{}: no detectable difference between any two", verdicts.title);
            page.out.push_str(&format!("\n{line}\n"));
            continue;
        }
        verdicts.table.drop_absent();
        page.out.push('\n');
        let table = verdicts.table.text(page.width);
        page.out.push_str(&table);
        for remark in &verdicts.remarks {
            page.bullet(remark);
        }
    }
    if let Some(legend) = words::verdict_legend(a) {
        page.out.push('\n');
        page.bullet(&legend);
    }
    page.section("Objectives", &words::objectives(a));
    page.section("Best", &words::winners(a));
    page.section("Failures", &words::failures(a));
    page.section("Not measured", &words::not_measured(a));
    page.section("Notes", &words::notes(doc));
    let (head, reasons) = words::validity(a);
    page.title("Validity");
    let code = match a.validity.level {
        Level::Valid => GREEN,
        Level::Suspect => YELLOW,
        Level::Invalid => RED,
    };
    let head = wrap(&head, page.width, "  ", "    ");
    let level = a.validity.level.as_str();
    let painted = head.replacen(level, &page.paint(level, code), 1);
    page.out.push_str(&painted);
    for line in &reasons {
        page.bullet(line);
    }
    page.section("How sure the ranks are", &doc.findings.ranks());
    page.section("What to change", &doc.findings.changes());
    let files: Vec<String> = doc.files.iter().map(|(label, path)| format!("{label}: {path}")).collect();
    page.section("Files", &files);
    page.out
}

fn tables(page: &mut Page, doc: &Document<'_>) {
    let mut latency = words::latency_table(doc.analysis, true);
    latency.drop_absent();
    page.out.push_str(&latency.text(page.width));
    let mut detail = words::detail_table(doc.analysis);
    detail.drop_absent();
    page.out.push('\n');
    page.out.push_str(&detail.text(page.width));
}

/// Q1 of the contract: provider, mean and p95 latency, requests per second, error share, cost.
fn single_target(page: &mut Page, t: &TargetAnalysis, origin: Origin) {
    let mut lines =
        vec![("target", t.target.clone()), ("answers", format!("{} of {}", t.ok, t.ok + t.failed))];
    let mut metric = |label: &'static str, name: &str| {
        let Some(m) = t.metrics.get(name).filter(|m| m.n + m.n_failed > 0) else { return };
        let mut parts = vec![format!("mean {}", number::measured_interval(Some(&m.mean), &m.unit))];
        for (p, title) in [(0.5, "p50"), (0.95, "p95"), (0.99, "p99")] {
            if let Some(q) = m.quantile(p).filter(|q| q.all.value().is_some()) {
                parts.push(format!("{title} {}", number::measured_interval(Some(&q.all), &m.unit)));
            }
        }
        lines.push((label, parts.join(" · ")));
    };
    metric("TTFT", "ttft");
    metric("E2E latency", "e2e");
    if origin == Origin::Response {
        metric("E2E service time", "e2e_service");
    }
    metric("TPOT", "tpot");
    metric("inter-chunk latency", "icl");
    let rate = |m, unit| number::measured_interval(Some(m), unit);
    lines.push(("requests/s", rate(&t.throughput.requests, "")));
    lines.push(("output tokens/s", rate(&t.throughput.output_tokens, "")));
    lines.push(("in flight, mean", number::plain(t.throughput.mean_in_flight.value().copied(), "")));
    lines.push(("goodput", rate(&t.throughput.goodput, "1/s")));
    lines.push(("SLO attainment", rate(&t.throughput.slo_attainment, "1")));
    lines.push(("error rate", rate(&t.error_rate, "1")));
    lines.push((
        "total cost",
        t.cost.value().map_or_else(
            || number::ABSENT.to_owned(),
            |c| format!("{} $ ({} of {})", c.total_usd.normalize(), c.price_source, c.price_date),
        ),
    ));
    for (label, text) in lines.iter().filter(|(_, text)| text != number::ABSENT) {
        page.out.push_str(&wrap(text, page.width, &format!("{label:<20}"), &" ".repeat(22)));
    }
}
