//! Runs over time: where each number goes, what changed when, and a run held against its baseline.

use llms_core::bench::{
    Better, ChangePoint, ChangeStatus, Measured, MetricTrend, RegressionCheck, RegressionOutcome, RunPoint,
    TrendAnalysis, TrendDirection, TrendSeries, metric,
};

use crate::{number, sheet::Sheet, table::Table};

/// Runs in a picture at most: the newest.
const DRAWN: usize = 24;

/// The trend as a page, with a small picture of each series.
pub fn trend(t: &TrendAnalysis, series: &[TrendSeries]) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.title(format!("{} over {} runs", verdict(t.verdict), t.data_points));
    sheet.item(t.trend_summary.clone());
    let mut targets: Vec<&str> = Vec::new();
    for m in &t.metrics {
        if !targets.contains(&m.target.as_str()) {
            targets.push(&m.target);
        }
    }
    for target in targets {
        sheet.title(target);
        let mut table = Table::new(["metric", "runs", "goes", "now", "a run", "p", "history"]);
        for m in t.metrics.iter().filter(|m| m.target == target) {
            table.row(row(m, series));
        }
        sheet.table(table);
        for m in t.metrics.iter().filter(|m| m.target == target) {
            m.changes.iter().for_each(|c| sheet.item(change(m, c)));
            for w in &m.watch {
                sheet.item(format!(
                    "{}: the watch alarmed at {} (|z| {} above {}), since {}",
                    name(&m.metric, &m.statistic),
                    w.raised_by,
                    number::digits(w.z),
                    number::digits(w.limit),
                    w.since_run
                ));
            }
            for d in &m.declared {
                let effect = measured(&d.effect, m.relative);
                let what = name(&m.metric, &m.statistic);
                sheet.item(format!(
                    "{what}: {} at {}: {effect} (declared, no alarm)",
                    d.annotation.text, d.annotation.at
                ));
            }
        }
    }
    if t.drifting {
        sheet.item("neighbouring runs are alike beyond chance: the environment drifts, confirm before you believe a change");
    }
    for n in &t.not_compared {
        sheet.item(format!("not compared: {}: {}", n.run_id, n.reason));
    }
    sheet
}

fn name(metric_name: &str, statistic: &str) -> String {
    let title = metric::find(metric_name).map_or(metric_name, |d| d.title);
    if statistic == "value" { title.to_owned() } else { format!("{title} {statistic}") }
}

fn verdict(d: TrendDirection) -> &'static str {
    match d {
        TrendDirection::Better => "Better",
        TrendDirection::Worse => "Worse",
        TrendDirection::Steady => "Steady",
        TrendDirection::Changed => "Changed",
        TrendDirection::Undecided => "Undecided",
    }
}

fn row(m: &MetricTrend, series: &[TrendSeries]) -> [String; 7] {
    let now =
        m.segments.last().map_or_else(|| number::ABSENT.to_owned(), |s| number::value(&s.level, &m.unit));
    let (slope, p) = match &m.slope {
        Measured::Value(s) => (
            s.per_run.value.value.map_or_else(|| number::ABSENT.to_owned(), |v| signed(v, m.relative)),
            format!("{:.3}", s.p_adjusted),
        ),
        Measured::Absent { .. } => (number::ABSENT.to_owned(), number::ABSENT.to_owned()),
    };
    let of = |s: &&TrendSeries| s.target == m.target && s.metric == m.metric && s.statistic == m.statistic;
    [
        name(&m.metric, &m.statistic),
        m.data_points.to_string(),
        m.direction.as_str().to_owned(),
        now,
        slope,
        p,
        series.iter().find(of).map_or_else(String::new, |s| picture(&s.points)),
    ]
}

/// A change per run or a difference: per cent, or points of per cent for shares.
fn signed(x: f64, relative: bool) -> String {
    format!(
        "{}{} %{}",
        if x < 0.0 { "−" } else { "+" },
        number::digits(x.abs() * 100.0),
        if relative { "" } else { "-points" }
    )
}

/// The newest runs from low to high, in eighths; `·` for one that has only a bound.
fn picture(points: &[RunPoint]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let mut points: Vec<&RunPoint> = points.iter().collect();
    points.sort_by_key(|p| p.at);
    let values: Vec<Option<f64>> =
        points[points.len().saturating_sub(DRAWN)..].iter().map(|p| p.estimate.value.value).collect();
    let known = values.iter().flatten().copied();
    let (low, high) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    let bar = |x: f64| {
        let share = if high > low { (x - low) / (high - low) } else { 0.5 };
        BARS[((share * 8.0) as usize).min(7)]
    };
    values.into_iter().map(|x| x.map_or('·', bar)).collect()
}

fn change(m: &MetricTrend, c: &ChangePoint) -> String {
    let p = c.p.map_or_else(String::new, |p| format!(", p {p:.3}"));
    let status = match c.status {
        ChangeStatus::Supported => "",
        ChangeStatus::Candidate => " (candidate)",
    };
    let how = match &c.confirmation {
        Measured::Value(plan) => format!("; to confirm: {}", plan.how),
        Measured::Absent { absent } => format!("; no plan to confirm: {absent}"),
    };
    format!(
        "{}: {} since {}{status}: {}{p}, {} runs before, {} after, {}{how}",
        name(&m.metric, &m.statistic),
        c.direction.as_str(),
        c.run_id,
        effect(&c.effect, m.relative),
        c.n_before,
        c.n_after,
        c.method
    )
}

fn effect(e: &llms_core::bench::Estimate, relative: bool) -> String {
    if relative {
        number::with_interval(e, "×")
    } else {
        format!("{} of share", number::with_interval(e, "1"))
    }
}

fn measured(m: &Measured<llms_core::bench::Estimate>, relative: bool) -> String {
    match m {
        Measured::Value(e) => effect(e, relative),
        Measured::Absent { absent } => format!("{} {absent}", number::ABSENT),
    }
}

/// Checks against a baseline as a page: what failed first, then what could not be decided, then the rest.
pub fn checks(title: &str, checks: &[RegressionCheck]) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.title(title);
    let mut sorted: Vec<&RegressionCheck> = checks.iter().collect();
    sorted.sort_by_key(|c| match c.outcome {
        RegressionOutcome::Fail => 0,
        RegressionOutcome::Inconclusive => 1,
        RegressionOutcome::Pass => 2,
    });
    let mut targets: Vec<&str> = Vec::new();
    for c in &sorted {
        if !targets.contains(&c.target.as_str()) {
            targets.push(&c.target);
        }
    }
    for target in targets {
        sheet.title(target);
        let mut table = Table::new(["metric", "result", "now / baseline", "allowed", "p"]);
        for c in sorted.iter().filter(|c| c.target == target) {
            table.row(check(c));
        }
        sheet.table(table);
    }
    let mut told: Vec<(&str, Vec<String>)> = Vec::new();
    for c in sorted.iter().filter(|c| c.outcome != RegressionOutcome::Pass) {
        let what = format!("{} {}", c.target, name(&c.metric, &c.statistic));
        match told.iter_mut().find(|(why, _)| *why == c.reason) {
            Some((_, named)) => named.push(what),
            None => told.push((&c.reason, vec![what])),
        }
    }
    for (why, named) in told {
        sheet.item(format!("{}: {why}", named.join(", ")));
    }
    let mut left: Vec<(&str, &str)> = Vec::new();
    for n in checks.iter().flat_map(|c| &c.not_compared) {
        if !left.contains(&(&n.run_id, &n.reason)) {
            left.push((&n.run_id, &n.reason));
        }
    }
    for (run, why) in left {
        sheet.item(format!("not compared: {run}: {why}"));
    }
    sheet
}

fn check(c: &RegressionCheck) -> [String; 5] {
    let definition = metric::find(&c.metric);
    let relative = definition.is_none_or(|d| d.unit != "1");
    let worse_is_more = definition.is_none_or(|d| d.better != Better::Higher);
    [
        name(&c.metric, &c.statistic),
        outcome(c.outcome).to_owned(),
        c.effect.value().map_or_else(|| number::ABSENT.to_owned(), |e| effect(e, relative)),
        signed(if worse_is_more { c.margin } else { -c.margin }, relative),
        c.p_worse.map_or_else(|| number::ABSENT.to_owned(), |p| format!("{p:.3}")),
    ]
}

fn outcome(o: RegressionOutcome) -> &'static str {
    match o {
        RegressionOutcome::Pass => "pass",
        RegressionOutcome::Fail => "FAIL",
        RegressionOutcome::Inconclusive => "inconclusive",
    }
}
