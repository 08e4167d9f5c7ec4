//! A comparison in depth: how sure the ranks are, who is beaten by nobody, what gates say.

use llms_core::bench::{
    ComparisonStudy, FrontPoint, GateOutcome, GateResult, Measured, PairStudy, RankEstimate, metric,
};

use crate::{advice::chance, number, sheet::Sheet, table::Table};

/// Categories in the order in which people ask, what their values are, and the unit.
const CATEGORIES: [(&str, &str, &str); 5] = [
    ("latency", "latency (median)", "s"),
    ("ttft", "time to first token (median)", "s"),
    ("tail", "tail (p95, failures above all)", "s"),
    ("reliability", "reliability (share of failures)", "1"),
    ("cost", "cost (of a complete answer, all spend included)", "USD"),
];

/// The study as a page.
pub fn study(run: &str, s: &ComparisonStudy) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.title(format!("Study of run {run}: {} blocks, resampled {} times", s.blocks, s.resamples));
    for (category, title, unit) in CATEGORIES {
        let Some(standings) = s.standings.get(category) else { continue };
        sheet.title(format!("Ranks by {title}"));
        let mut table = Table::new(["target", "value", "rank", "95 % of ranks", "chance to be first"]);
        let mut sorted: Vec<&RankEstimate> = standings.iter().collect();
        sorted.sort_by(|a, b| a.rank.cmp(&b.rank).then(b.p_first.total_cmp(&a.p_first)));
        for r in sorted {
            table.row([
                r.target.clone(),
                number::bound(r.value, unit),
                r.rank.to_string(),
                if r.rank_low == r.rank_high {
                    r.rank_low.to_string()
                } else {
                    format!("{}–{}", r.rank_low, r.rank_high)
                },
                chance(r.p_first, s.resamples),
            ]);
        }
        sheet.table(table);
    }
    front(&mut sheet, s);
    pairs(&mut sheet, s);
    noise(&mut sheet, s);
    sheet
}

fn front(sheet: &mut Sheet, s: &ComparisonStudy) {
    let by = s.front.coordinates.join(", ");
    sheet.title(format!("Beaten by nobody in all of {by}"));
    let mut table = Table::new(["target", "$ per answer", "p95", "goodput", "on the front", "in resamples"]);
    let row = |p: &FrontPoint| {
        [
            p.target.clone(),
            number::plain(p.cost_per_success, "USD"),
            number::bound(p.p95, "s"),
            number::plain(Some(p.goodput), "1/s"),
            if p.on_front { "yes" } else { "no" }.to_owned(),
            chance(p.p_on_front, s.resamples),
        ]
    };
    s.front.points.iter().for_each(|p| table.row(row(p)));
    sheet.table(table);
}

fn pairs(sheet: &mut Sheet, s: &ComparisonStudy) {
    let margin = (s.options.margin - 1.0) * 100.0;
    let metrics = s.pairs.iter().fold(Vec::new(), |mut seen: Vec<&str>, p| {
        if !seen.contains(&p.metric.as_str()) {
            seen.push(&p.metric);
        }
        seen
    });
    for name in metrics {
        let label = metric::find(name).map_or(name, |d| d.title);
        sheet.title(format!("Pairs by {label}"));
        let mut table = Table::new([
            "a / b",
            "P(a<b)",
            "p95 ratio",
            "p99 ratio",
            "a no worse",
            "b no worse",
            "same",
            "blocks",
        ]);
        s.pairs.iter().filter(|p| p.metric == name).for_each(|p| table.row(pair(p)));
        sheet.table(table);
    }
    if !s.pairs.is_empty() {
        sheet.item(format!(
            "P(a<b): chance that a request of a has the smaller value. no worse, same: within {} %, one-sided 5 % limits; open = more data \
             are needed. blocks: what would show a difference of {} % with {} % chance.",
            number::digits(margin),
            number::digits((s.options.wanted - 1.0) * 100.0),
            number::digits(s.options.power * 100.0),
        ));
    }
}

fn pair(p: &PairStudy) -> [String; 8] {
    let tail = |level: f64| {
        let at = p.tails.iter().find(|t| (t.p - level).abs() < 1e-9).map(|t| &t.ratio);
        number::measured(at, "×")
    };
    let less = match &p.unpaired {
        Measured::Value(u) => format!("{:.2}", u.p_less),
        Measured::Absent { .. } => number::ABSENT.to_owned(),
    };
    [
        format!("{} / {}", p.a, p.b),
        less,
        tail(0.95),
        tail(0.99),
        gate(&p.a_no_worse),
        gate(&p.b_no_worse),
        gate(&p.equivalent),
        p.blocks_needed.map_or_else(|| number::ABSENT.to_owned(), |n| n.to_string()),
    ]
}

fn gate(g: &GateResult) -> String {
    match g.outcome {
        GateOutcome::Pass => "yes",
        GateOutcome::Inconclusive => "open",
        GateOutcome::Fail => "no",
    }
    .to_owned()
}

fn noise(sheet: &mut Sheet, s: &ComparisonStudy) {
    if s.noise_floor.is_empty() {
        return;
    }
    sheet.title("One endpoint under two names: differences of this size are noise");
    for n in &s.noise_floor {
        let ratio = number::measured_interval(Some(&n.ratio), "×");
        let alarm = if n.alarm { "; called different: a false alarm" } else { "" };
        sheet.item(format!("{} and {}, {}: {ratio}{alarm}", n.a, n.b, n.metric));
    }
}
