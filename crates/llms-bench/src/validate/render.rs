//! Findings as text and as JSON.

use std::fmt::Write as _;

use bench_analysis::simulate::Row;
use llms_core::bench::PairComparison;

use super::{Distances, Validation, Verdict};

pub(super) fn json(found: &Validation) -> String {
    let mut value = serde_json::to_value(found).expect("invariant: findings are plain data");
    value["verdict"] = serde_json::to_value(found.verdict()).expect("invariant: a word");
    format!("{value:#}\n")
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::CannotTell => "CANNOT TELL",
        Verdict::Fail => "FAIL",
    }
}

pub(super) fn text(found: &Validation) -> String {
    let mut out = String::new();
    if !found.distances.is_empty() {
        all_distances(&mut out, found);
    }
    let (mut case, mut passed) = ("", 0);
    for check in &found.checks {
        if check.verdict == Verdict::Pass && check.case == case {
            passed += 1;
            continue;
        }
        more(&mut out, passed);
        (case, passed) = (&check.case, 0);
        let _ =
            writeln!(out, "{:11}  {} ({}): {}", word(check.verdict), check.case, check.subject, check.found);
    }
    more(&mut out, passed);
    all_rows(&mut out, &found.statistics);
    out.push('\n');
    for line in &found.machine {
        let _ = writeln!(out, "meanwhile, {line}");
    }
    let count = |v: Verdict| {
        found.checks.iter().filter(|c| c.verdict == v).count()
            + found.distances.iter().filter(|d| d.verdict == v).count()
            + found
                .statistics
                .iter()
                .filter(|r| (if r.pass { Verdict::Pass } else { Verdict::Fail }) == v)
                .count()
    };
    let _ = writeln!(
        out,
        "{} passed, {} failed, {} could not be told{}",
        count(Verdict::Pass),
        count(Verdict::Fail),
        count(Verdict::CannotTell),
        if count(Verdict::CannotTell) > 0 {
            ": this machine gave the client too little time; try again on an idle one"
        } else {
            ""
        }
    );
    let _ = writeln!(out, "{}", word(found.verdict()));
    out
}

/// The table of distances.
fn all_distances(out: &mut String, found: &Validation) {
    out.push_str(
        "|reported − truth|, µs, p50 / p99\n\
         in flight  protocol      n         TTFT          ICL          E2E      arrival  merged\n",
    );
    for d in &found.distances {
        distances(out, d);
    }
    out.push_str(
        "TTFT and E2E from the request's arrival at the server; ICL over gaps whose ends lie in different reads;\n\
         arrival against the write itself; merged: gaps inside one read.\n\n",
    );
}

/// What came of the simulations, topic by topic.
fn all_rows(out: &mut String, rows: &[Row]) {
    let mut topic = "";
    for r in rows {
        if topic != r.topic {
            topic = &r.topic;
            let _ = writeln!(out, "\n{topic}\n     measured  claimed        allowed  data sets");
        }
        let measured = r.measured.map_or_else(|| "–".to_owned(), |m| format!("{:.1} %", m * 100.0));
        let allowed =
            format!("{:.1} to {:.1}", r.low.clamp(0.0, 1.0) * 100.0, r.high.clamp(0.0, 1.0) * 100.0);
        let withheld =
            if r.withheld == 0 { String::new() } else { format!(" ({} without an answer)", r.withheld) };
        let word = if r.pass { "PASS" } else { "FAIL" };
        let _ = writeln!(
            out,
            "{word}  {measured:>7}  {:>7}  {allowed:>13}  {:>9}  {}{withheld}",
            format!("{:.1}", r.expected * 100.0),
            r.replications,
            r.name
        );
    }
}

/// Checks of one case that passed like the first are told by their number.
fn more(out: &mut String, passed: usize) {
    if passed > 0 {
        let _ = writeln!(out, "             … and {passed} more like it");
    }
}

fn distances(out: &mut String, d: &Distances) {
    let pair = |v: Option<(f64, f64)>| v.map_or_else(|| "–".to_owned(), |(a, b)| format!("{a:.0} / {b:.0}"));
    let merged = d.merged.map_or_else(|| "–".to_owned(), |m| format!("{:.1} %", m * 100.0));
    let _ = writeln!(
        out,
        "{:>9}  {:9} {:>5} {:>12} {:>12} {:>12} {:>12} {merged:>7}  {}",
        d.in_flight,
        d.protocol,
        d.requests,
        pair(d.ttft_us),
        pair(d.icl_us),
        pair(d.e2e_us),
        pair(d.arrival_us),
        word(d.verdict),
    );
}

/// The ratio of a pair with its interval and p.
pub(super) fn pair(pair: &PairComparison) -> String {
    let number = |b: Option<&llms_core::bench::Bounded>| {
        b.and_then(|b| b.value).map_or_else(|| "–".to_owned(), |v| format!("{v:.3}"))
    };
    let ratio = pair.ratio_robust.value();
    let p = pair
        .p_adjusted
        .map_or_else(|| "–".to_owned(), |p| if p < 1e-4 { "< 0.0001".to_owned() } else { format!("{p:.4}") });
    format!(
        "ratio {} [{}, {}], adjusted p {p}, {} pairs",
        number(ratio.map(|e| &e.value)),
        number(ratio.and_then(|e| e.low.as_ref())),
        number(ratio.and_then(|e| e.high.as_ref())),
        pair.n_pairs
    )
}
