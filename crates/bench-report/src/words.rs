//! What text and Markdown say in the same words: headings, verdicts, failures, validity.

use llms_core::bench::{
    Analysis, Arrivals, Better, Load, Measured, ObjectiveVerdict, Origin, PairComparison, RatePiece,
    TargetAnalysis, ThinkLaw, Verdict,
    metric::{self, MetricDef},
};

use rust_decimal::Decimal;

use crate::{
    Document,
    number::{self, ABSENT},
    table::Table,
};

fn duration(seconds: f64) -> String {
    if seconds < 120.0 {
        format!("{} s", number::digits(seconds))
    } else {
        format!("{} min", number::digits(seconds / 60.0))
    }
}

/// A ramp-up, when there was one.
fn ramp(over: std::time::Duration) -> String {
    if over.is_zero() {
        return String::new();
    }
    format!(", after a ramp-up of {}", duration(over.as_secs_f64()))
}

/// A piece of a rate profile.
fn piece(p: &RatePiece) -> String {
    let (from, to) = (number::digits(p.from), number::digits(p.end_rate()));
    let rates = if from == to { from } else { format!("{from} to {to}") };
    format!("{rates} for {}", duration(p.duration.as_secs_f64()))
}

/// Lines that say what was run.
pub(crate) fn heading(doc: &Document<'_>) -> Vec<String> {
    let m = doc.manifest;
    let s = &m.scenario;
    let mut title = format!("{} · scenario {}", m.label.as_deref().unwrap_or("llms-bench"), s.name);
    let simulated: Vec<&str> = m.targets.iter().filter(|t| t.simulated).map(|t| t.name.as_str()).collect();
    if !simulated.is_empty() {
        if simulated.len() == m.targets.len() {
            title.push_str(" · SIMULATED vendors on this machine");
        } else {
            title.push_str(&format!(" · SIMULATED: {}", simulated.join(", ")));
        }
    }
    let load = match &s.load {
        Load::Closed { concurrency, think_time, think_law, ramp_up } => {
            let users = if *concurrency == 1 { "1 user".to_owned() } else { format!("{concurrency} users") };
            let turns = if m.targets.len() > 1 { ", each asking every target in turn" } else { "" };
            let think = if think_time.is_zero() {
                String::new()
            } else {
                let law = match think_law {
                    ThinkLaw::Constant => "",
                    ThinkLaw::Exponential => "exponential, mean ",
                };
                format!(", {law}{} think time", duration(think_time.as_secs_f64()))
            };
            format!("closed loop, {users}{turns}{think}{}", ramp(*ramp_up))
        }
        Load::Open { max_concurrency, trace: Some(trace), .. } => {
            let cap = max_concurrency.map_or_else(String::new, |c| format!(", at most {c} in flight"));
            let scale = if trace.time_scale == 1.0 {
                String::new()
            } else {
                format!(", recorded times × {}", number::digits(trace.time_scale))
            };
            format!("open loop, arrivals of the trace {}{scale}{cap}", trace.file)
        }
        Load::Open { rate, arrivals, max_concurrency, ramp_up, profile, trace: None } => {
            let law = match arrivals {
                Arrivals::Constant => "constant".to_owned(),
                Arrivals::Poisson => "Poisson".to_owned(),
                Arrivals::Gamma { burstiness } => {
                    format!("Gamma (burstiness {})", number::digits(*burstiness))
                }
            };
            let cap = max_concurrency.map_or_else(String::new, |c| format!(", at most {c} in flight"));
            let rate = if profile.is_empty() {
                number::digits(*rate)
            } else {
                let pieces: Vec<String> = profile.iter().map(piece).collect();
                let then =
                    if *rate > 0.0 { format!(", then {}", number::digits(*rate)) } else { String::new() };
                format!("{}{then}", pieces.join(", "))
            };
            format!("open loop, {rate} requests/s per target, {law} arrivals{cap}{}", ramp(*ramp_up))
        }
    };
    let requests: u64 = doc.analysis.targets.iter().map(|t| t.ok + t.failed).sum();
    let window = doc.analysis.targets.first().map_or(0.0, |t| t.throughput.window_s);
    let seed = s.seeds.order.map_or_else(String::new, |seed| format!(" · seed {seed}"));
    let origin = match doc.analysis.headline_origin {
        Origin::Service => "latency counts from sent (service time)",
        Origin::Response => "latency counts from scheduled (response time); service time counts from sent",
    };
    let mut lines = vec![
        title,
        load,
        format!("{requests} measured requests in {}{seed} · run {}", duration(window), m.run_id),
        format!(
            "{origin}; failures rank above every latency; {} intervals in brackets",
            number::percent(doc.analysis.confidence)
        ),
    ];
    if m.interrupted {
        lines.push("INTERRUPTED: this is what was measured until then".to_owned());
    } else if let Some(why) = &m.stopped {
        lines.push(format!("ENDED EARLY: {why}"));
    } else if !m.complete {
        let why = m.facts.get("records_tail").map_or_else(String::new, |w| format!(" ({w})"));
        lines.push(format!("INCOMPLETE: the run did not end as planned{why}"));
    }
    lines
}

fn quantile(t: &TargetAnalysis, name: &str, p: f64) -> Option<Measured<llms_core::bench::Estimate>> {
    t.metrics.get(name)?.quantile(p).map(|q| q.all.clone())
}

/// Latencies: the table people look at first.
pub(crate) fn latency_table(a: &Analysis, intervals: bool) -> Table {
    let open = a.headline_origin == Origin::Response;
    let mut head = vec!["target", "ok/all", "TTFT p50", "E2E p50", "E2E p95"];
    if open {
        head.push("service p50");
    }
    let mut table = Table::new(head);
    for t in &a.targets {
        let q = |name: &str, p| quantile(t, name, p);
        let show = |m: Option<Measured<_>>| {
            if intervals {
                number::measured_interval(m.as_ref(), "s")
            } else {
                number::measured(m.as_ref(), "s")
            }
        };
        let mut row = vec![
            t.target.clone(),
            format!("{}/{}", t.ok, t.ok + t.failed),
            show(q("ttft", 0.5)),
            show(q("e2e", 0.5)),
            number::measured(q("e2e", 0.95).as_ref(), "s"),
        ];
        if open {
            row.push(number::measured(q("e2e_service", 0.5).as_ref(), "s"));
        }
        table.row(row);
    }
    table
}

/// Tails, pace, errors, money.
pub(crate) fn detail_table(a: &Analysis) -> Table {
    let mut table =
        Table::new(["target", "E2E p99", "TPOT p50", "req/s", "tok/s", "errors", "$/1k ok", "goodput"]);
    for t in &a.targets {
        let per_thousand = t.cost.value().and_then(|c| c.per_success_usd).map(|d| d * Decimal::from(1000));
        table.row([
            t.target.clone(),
            number::measured(quantile(t, "e2e", 0.99).as_ref(), "s"),
            number::measured(quantile(t, "tpot", 0.5).as_ref(), "s"),
            if t.scheduled == 0 {
                ABSENT.to_owned()
            } else {
                number::measured(Some(&t.throughput.requests), "")
            },
            number::measured(Some(&t.throughput.output_tokens), ""),
            number::measured_interval(Some(&t.error_rate), "1"),
            per_thousand.map_or_else(|| ABSENT.to_owned(), |d| d.round_dp(4).normalize().to_string()),
            number::measured(Some(&t.throughput.goodput), "1/s"),
        ]);
    }
    table
}

/// The words for better and worse in a metric.
fn comparative(m: Option<&MetricDef>) -> (&'static str, &'static str) {
    match m {
        Some(m) if m.unit == "s" => ("faster", "slower"),
        Some(m) if m.unit == "USD" => ("cheaper", "dearer"),
        Some(m) if m.better == Better::Higher => ("higher", "lower"),
        _ => ("better", "worse"),
    }
}

/// Verdicts on one metric of the family.
pub(crate) struct MetricVerdicts {
    /// The metric's title.
    pub(crate) title: String,
    /// A row per pair: who, ratio with interval, verdict, evidence.
    pub(crate) table: Table,
    /// Pairs that cannot be compared, and why.
    pub(crate) remarks: Vec<String>,
    /// Nothing to see: no detectable difference in any pair, and no ratio to show.
    pub(crate) calm: bool,
}

fn verdict_words(pair: &PairComparison, def: Option<&MetricDef>) -> String {
    let (better, worse) = comparative(def);
    match &pair.verdict {
        Verdict::Better => better.to_owned(),
        Verdict::Worse => worse.to_owned(),
        Verdict::NoDetectableDifference { smallest_detectable: Some(s) } => {
            format!("none ≥ {}", number::percent(*s))
        }
        Verdict::NoDetectableDifference { smallest_detectable: None } => "none".to_owned(),
        Verdict::NotComparable { .. } => "not comparable".to_owned(),
    }
}

/// Verdicts by metric, in the order of the family.
pub(crate) fn verdicts(a: &Analysis) -> Vec<MetricVerdicts> {
    let Some(c) = &a.comparison else { return Vec::new() };
    // A target that was not measured is named once, with the reason, among the failures.
    let measured = |name: &str| a.targets.iter().any(|t| t.target == name && t.unavailable.is_none());
    let pairs: Vec<&PairComparison> = c.pairs.iter().filter(|p| measured(&p.a) && measured(&p.b)).collect();
    c.family
        .iter()
        .filter_map(|name| metric_verdicts(name, pairs.iter().copied().filter(|p| p.metric == *name)))
        .collect()
}

fn metric_verdicts<'p>(
    name: &str,
    pairs: impl Iterator<Item = &'p PairComparison>,
) -> Option<MetricVerdicts> {
    let def = metric::find(name);
    let title = def.map_or(name, |m| m.title).to_owned();
    let mut table = Table::new([title.as_str(), "ratio", "verdict", "pairs"]);
    let (mut any, mut calm, mut remarks) = (false, true, Vec::new());
    for pair in pairs {
        any = true;
        // Where failures decide, the interval shown is the one the verdict rests on.
        let robust_first = pair.only_a_failed + pair.only_b_failed > 0;
        let choice =
            if robust_first { [&pair.ratio_robust, &pair.ratio] } else { [&pair.ratio, &pair.ratio_robust] };
        let ratio = choice.into_iter().find_map(|m| m.value());
        calm &= ratio.is_none() && matches!(pair.verdict, Verdict::NoDetectableDifference { .. });
        let one_sided = pair.only_a_failed + pair.only_b_failed;
        table.row([
            format!("{} vs {}", pair.a, pair.b),
            ratio.map_or_else(|| ABSENT.to_owned(), |e| number::with_interval(e, "×")),
            verdict_words(pair, def),
            if one_sided == 0 {
                pair.n_pairs.to_string()
            } else {
                format!("{} ({}:{})", pair.n_pairs, pair.only_a_failed, pair.only_b_failed)
            },
        ]);
        let reason = if let Verdict::NotComparable { reason } = &pair.verdict {
            Some(reason)
        } else {
            pair.note.as_ref()
        };
        if let Some(reason) = reason {
            remarks.push(format!("{} and {}: {reason}", pair.a, pair.b));
        }
    }
    any.then_some(MetricVerdicts { title, table, remarks, calm })
}

/// How the verdict tables are to be read.
pub(crate) fn verdict_legend(a: &Analysis) -> Option<String> {
    let c = a.comparison.as_ref().filter(|c| c.family_size > 0)?;
    Some(format!(
        "ratio: first over second, same prompt in the same block. Verdicts hold over all {} tests together (Holm). “none ≥ x %”: no detectable \
         difference; x is the smallest difference this run could see. pairs: blocks in which both succeeded (only the first : only the second \
         failed)",
        c.family_size
    ))
}

/// Which objectives were met, for objectives that ask for a share of the requests.
pub(crate) fn objectives(a: &Analysis) -> Vec<String> {
    let mut lines = Vec::new();
    for t in &a.targets {
        for o in &t.objectives {
            let verdict = match o.verdict {
                ObjectiveVerdict::Met => "met",
                ObjectiveVerdict::Missed => "missed",
                ObjectiveVerdict::Undecided => "cannot tell",
                ObjectiveVerdict::NotJudged => continue,
            };
            let wanted = o.wanted.map_or_else(String::new, number::percent);
            let attained = match o.attained.reason() {
                Some(reason) => reason.to_owned(),
                None => format!(
                    "{} of the requests, wanted {wanted}",
                    number::measured_interval(Some(&o.attained), "1")
                ),
            };
            lines.push(format!("{}: {} {verdict}: {attained}", t.target, o.slo));
        }
    }
    lines
}

/// Who wins in which category, ties said as ties.
pub(crate) fn winners(a: &Analysis) -> Vec<String> {
    let Some(c) = &a.comparison else { return Vec::new() };
    c.winner_by_category
        .iter()
        .map(|(category, w)| {
            let title = category.replace('_', " ");
            let note = w.note.as_ref().map_or_else(String::new, |n| format!(" ({n})"));
            match &w.targets[..] {
                [] => format!("{title}: nobody{note}"),
                [one] => {
                    let value = w
                        .value
                        .map_or_else(String::new, |v| format!(", {}", number::plain(Some(v), &w.unit)));
                    format!("{title}: {one}{value}{note}")
                }
                several => format!("{title}: {} cannot be told apart", several.join(", ")),
            }
        })
        .collect()
}

/// Failures, grouped, with a sample and what to do.
pub(crate) fn failures(a: &Analysis) -> Vec<String> {
    let mut lines = Vec::new();
    for t in &a.targets {
        if let Some(why) = &t.unavailable {
            lines.push(format!("{}: not measured: {why}", t.target));
        }
        for g in &t.errors {
            let status = g.status.map_or_else(String::new, |s| format!(", HTTP {s}"));
            let phase = g.phase.map_or_else(String::new, |p| format!(" in {p}"));
            lines.push(format!(
                "{}: {} × {}{status}{phase}: “{}”. {}",
                t.target,
                g.count,
                g.code,
                g.sample.message,
                // What a simulation injects is nobody's mistake.
                if t.simulated { "injected by the simulation" } else { &g.advice }
            ));
        }
        if t.censored > 0 {
            lines.push(format!(
                "{}: {} requests were still in flight when the run ended",
                t.target, t.censored
            ));
        }
    }
    lines
}

/// What is worth knowing and no failure.
pub(crate) fn notes(doc: &Document<'_>) -> Vec<String> {
    let resent = doc.analysis.targets.iter().filter(|t| t.resent > 0).map(|t| {
        format!(
            "{}: {} requests were sent again because the server had closed the kept-alive connection",
            t.target, t.resent
        )
    });
    resent.chain(doc.notes.iter().cloned()).collect()
}

/// Validity in one line, and its reasons.
pub(crate) fn validity(a: &Analysis) -> (String, Vec<String>) {
    let v = &a.validity;
    let head = match v.checked.len() {
        0 => v.level.as_str().to_owned(),
        n => format!("{} ({n} checks in bounds: {})", v.level.as_str(), v.checked.join(", ")),
    };
    let lines = v
        .findings
        .iter()
        .map(|f| {
            let target = f.target.as_ref().map_or_else(String::new, |t| format!(" on {t}"));
            format!(
                "{} {}{target}: {}, allowed {}. {}",
                f.level.as_str(),
                f.signal,
                f.measured,
                f.threshold,
                f.cure
            )
        })
        .collect();
    (head, lines)
}

/// Why cells of the tables read `–`, each reason once.
pub(crate) fn not_measured(a: &Analysis) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut add = |line: String| {
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    let unavailable: Vec<&str> = a.targets.iter().filter_map(|t| t.unavailable.as_deref()).collect();
    for line in a.not_measured.iter().filter(|line| !unavailable.iter().any(|why| line.contains(why))) {
        add(line.clone());
    }
    for t in a.targets.iter().filter(|t| t.unavailable.is_none()) {
        for (name, p) in [("ttft", 0.5), ("e2e", 0.5), ("e2e", 0.95), ("e2e", 0.99), ("tpot", 0.5)] {
            if let Some(m) = quantile(t, name, p)
                && let Some(reason) = m.reason()
            {
                // Said once for all targets when it is.
                if !a.not_measured.iter().any(|line| line.contains(reason)) {
                    let title = metric::find(name).map_or(name, |d| d.title);
                    add(format!("{}: {title} p{}: {reason}", t.target, p * 100.0));
                }
            }
        }
        // Values that stand without an interval; a reason that several share is said once.
        let means =
            ["ttft", "e2e", "tpot", "icl"].iter().filter_map(|name| t.metrics.get(*name)?.mean.value());
        for bare in means.chain(t.throughput.output_tokens.value()).filter(|e| e.low.is_none()) {
            if let Some(why) = &bare.note {
                add(format!("{}: {why}", t.target));
            }
        }
        if let Some(reason) = t.cost.reason() {
            add(format!("{}: cost: {reason}", t.target));
        }
    }
    lines
}
