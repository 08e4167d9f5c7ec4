//! Token use, cost and hints as text or Markdown: the same lines, with headings and lists for Markdown.

use std::fmt::Write as _;

use llms_core::bench::{Disagreement, Measured, Recheck, Recommendation, UsageAnalysis, WastePart};

use super::Told;
use crate::lines::{estimate, item, measured, number};

pub(crate) fn render(told: &Told, markdown: bool) -> String {
    let mut out = String::new();
    let heading = |level: usize, text: &str| {
        if markdown { format!("\n{} {text}\n\n", "#".repeat(level)) } else { format!("\n{text}\n") }
    };
    let item = |text: &str| item(text, markdown);
    out.push_str(heading(1, &format!("Tokens and cost of run {}", told.run_id)).trim_start());
    for u in &told.usage {
        let simulated = if u.simulated { " (simulated)" } else { "" };
        out.push_str(&heading(2, &format!("{} · {}:{}{simulated}", u.target, u.provider, u.model)));
        out.extend(lines(u).iter().map(|l| item(l)));
    }
    out.push_str(&heading(2, "What would save money or time"));
    if told.hints.recommendations.is_empty() {
        out.push_str(&item("nothing whose saving is beyond doubt"));
    }
    for r in &told.hints.recommendations {
        let title = format!("{}: {} [{}]", r.target, r.title, format!("{:?}", r.priority).to_lowercase());
        out.push_str(&heading(3, &title));
        out.extend(hint(r).iter().map(|l| item(l)));
    }
    if !told.hints.not_judged.is_empty() {
        out.push_str(&heading(2, "Not judged"));
        for n in &told.hints.not_judged {
            out.push_str(&item(&format!("{}, {}: {}", n.target, n.rule, n.why)));
        }
    }
    if !told.rechecks.is_empty() {
        out.push_str(&heading(2, "The first run's hints, looked for again"));
        for (title, r) in &told.rechecks {
            let says = match r {
                Recheck::Held { now } => format!("held: {}", estimate(now)),
                Recheck::Refuted { now } => format!("gone or smaller: {}", estimate(now)),
                Recheck::CannotTell { why } => format!("cannot tell: {why}"),
            };
            out.push_str(&item(&format!("{title}: {says}")));
        }
    }
    out
}

fn lines(u: &UsageAnalysis) -> Vec<String> {
    let mut l = vec![format!("{} attempts, {} complete answers, {} useful", u.attempts, u.ok, u.useful)];
    match &u.tokens {
        Measured::Value(t) => {
            let reasoning = t.reasoning.map_or(String::new(), |r| format!(" ({r} reasoning)"));
            l.push(format!(
                "input {} (uncached {}, cache read {}, cache write {}), output {}{reasoning}",
                t.input(),
                t.input_uncached,
                t.cache_read,
                t.cache_write,
                t.output
            ));
        }
        Measured::Absent { absent } => l.push(format!("tokens: – {absent}")),
    }
    l.push(format!("input per request: {}", measured(&u.input_per_request, "")));
    l.push(format!("output per answer: {}", measured(&u.output_per_answer, "")));
    l.push(format!("tokenizer / usage: {}", disagreement(&u.counts.tokenizer)));
    l.push(format!("chunks / usage: {}", disagreement(&u.counts.chunks)));
    match &u.prompt {
        Measured::Value(p) => {
            let parts: Vec<String> = p
                .parts
                .iter()
                .map(|s| {
                    format!("{} {:.0} % ({:.0})", s.part.as_str(), 100.0 * s.share, s.tokens_per_request)
                })
                .collect();
            l.push(format!("prompt by part: {} · {}", parts.join(", "), p.method));
        }
        Measured::Absent { absent } => l.push(format!("prompt by part: – {absent}")),
    }
    match &u.cost {
        Measured::Value(c) => {
            l.push(format!("cost {} $ in all · {} of {}", c.total_usd, c.price_source, c.price_date));
            for (what, m) in [
                ("request", &c.per_request),
                ("success", &c.per_success),
                ("useful answer", &c.per_useful),
                ("SLO-good answer", &c.per_slo_good),
            ] {
                l.push(format!("$ per {what}: {}", measured(m, "")));
            }
            if !c.saved_by_cache_usd.is_zero() {
                l.push(format!("the provider's cache saved {} $", c.saved_by_cache_usd));
            }
            if 0 < c.failures_without_usage {
                l.push(format!(
                    "{} failures without usage are counted as not billed",
                    c.failures_without_usage
                ));
            }
        }
        Measured::Absent { absent } => l.push(format!("cost: – {absent}")),
    }
    for (what, w) in
        [("failed", &u.waste.failed), ("truncated", &u.waste.truncated), ("retried", &u.waste.retried)]
    {
        if 0 < w.requests {
            l.push(format!("waste, {what}: {}", waste(w)));
        }
    }
    l
}

fn waste(w: &WastePart) -> String {
    let usd = match &w.usd {
        Measured::Value(d) => format!("{d} $"),
        Measured::Absent { absent } => format!("– {absent}"),
    };
    format!("{} requests (share {}), {} tokens, {usd}", w.requests, measured(&w.share, ""), w.tokens)
}

fn hint(r: &Recommendation) -> Vec<String> {
    let mut l = vec![r.description.clone(), format!("do: {}", r.implementation)];
    let mut effect = format!("effect: {}", estimate(&r.effect));
    let _ = write!(effect, " {} per request", r.effect_unit);
    l.push(effect);
    l.push(format!("saving per million requests, $: {}", measured(&r.saving_usd_per_million, "")));
    if let Some(p) = r.saving_percent.value() {
        l.push(format!("saving, % of the spend: {}", estimate(p)));
    }
    let proof: Vec<String> = r
        .evidence
        .iter()
        .map(|e| format!("{} {} {} (n = {})", e.what, number(e.value), e.unit, e.n))
        .collect();
    l.push(format!("evidence: {}", proof.join("; ")));
    l.push(format!("refuted by: {}", r.refuted_by));
    let kinds: Vec<&str> = r.categories.iter().map(|c| c.as_str()).collect();
    l.push(format!("{} · effort {:?}", kinds.join(", "), r.effort).to_lowercase());
    l
}

fn disagreement(m: &Measured<Disagreement>) -> String {
    match m {
        Measured::Value(d) => format!("{} ({} / {})", estimate(&d.ratio), d.other, d.usage),
        Measured::Absent { absent } => format!("– {absent}"),
    }
}
