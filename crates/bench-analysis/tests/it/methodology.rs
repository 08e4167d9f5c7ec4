//! The worked example of `docs/methodology.md`: every line of numbers there is computed here, from the same data.

#![allow(clippy::unwrap_used)] // a panic here is the report

use crate::support;

use bench_analysis::Analyzer;
use bench_analysis::request::Request;
use bench_analysis::simulate::interleaved;
use bench_analysis::stats::order_interval::quantile_ranks;
use bench_analysis::stats::signed_rank::signed_rank;
use llms_core::bench::{Bounded, Estimate, Origin, PerformanceAnalyzer, ProviderComparator, StudyOptions};
use llms_core::event::Stamp;
use support::{at_ms, record};

/// Milliseconds of twelve prompts asked of both; `None` failed.
const BLOCKS: [(f64, Option<f64>); 12] = [
    (812.0, Some(905.0)),
    (640.0, Some(702.0)),
    (1105.0, Some(1080.0)),
    (930.0, Some(1088.0)),
    (705.0, Some(798.0)),
    (1480.0, Some(1655.0)),
    (560.0, Some(601.0)),
    (890.0, None),
    (1010.0, Some(1175.0)),
    (765.0, Some(840.0)),
    (1230.0, Some(1392.0)),
    (680.0, Some(741.0)),
];

fn number(b: Option<Bounded>) -> f64 {
    b.unwrap().as_f64().unwrap()
}

fn interval(e: &Estimate) -> String {
    format!("{:.3} [{:.3}, {:.3}]", number(Some(e.value)), number(e.low), number(e.high))
}

/// The lines of the page.
fn lines() -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |line: String| lines.push(line);
    // one record
    let mut r = record("r", 0, 0, at_ms(2000.0));
    r.sent = Some(at_ms(2000.4));
    r.chunks = [2180.4, 2200.4, 2220.4, 2290.4, 2310.4]
        .iter()
        .zip(0..)
        .map(|(ms, read)| llms_core::bench::ChunkStamp {
            stamp: Stamp::user(at_ms(*ms), read),
            tokens: Some(1),
        })
        .collect();
    r.first_answer = Some(0);
    r.end = Some(at_ms(2310.9));
    r.tokens.usage = Some(llms_core::Usage { output_tokens: Some(5), ..llms_core::Usage::default() });
    let request = Request::new(&r, true);
    let ms = |s: Option<f64>| s.unwrap() * 1e3;
    say(format!("TTFT (service)   2180.4 − 2000.4 = {:.1} ms", ms(request.ttft(Origin::Service))));
    say(format!("TTFT (response)  2180.4 − 2000.0 = {:.1} ms", ms(request.ttft(Origin::Response))));
    say(format!("E2E (service)    2310.4 − 2000.4 = {:.1} ms", ms(request.e2e(Origin::Service))));
    say(format!("TPOT             (310.0 − 180.0) / (5 − 1) = {:.1} ms", ms(request.tpot())));
    let gaps: Vec<String> = request.icl().map(|g| format!("{:.0}", g * 1e3)).collect();
    say(format!("gaps             {} ms, longest {:.0} ms", gaps.join(", "), ms(request.max_gap())));

    // one target
    let blocks: Vec<Vec<Option<f64>>> =
        BLOCKS.iter().map(|(a, b)| vec![Some(a / 1e3), b.map(|b| b / 1e3)]).collect();
    let run = interleaved(&blocks, 1);
    let analysis = Analyzer::new().analyze(&run).unwrap();
    let (a, b) = (&analysis.targets[0], &analysis.targets[1]);
    let mut sorted: Vec<f64> = BLOCKS.iter().map(|x| x.0).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let list: Vec<String> = sorted.iter().map(|v| format!("{v:.0}")).collect();
    say(format!("sorted  {}", list.join(" ")));
    let ranks = quantile_ranks(12, 0.5, 0.95).unwrap();
    say(format!(
        "ranks {} and {} of 12 hold the median with {:.1} %",
        ranks.lower.unwrap(),
        ranks.upper.unwrap(),
        ranks.coverage * 100.0
    ));
    let p50 = a.metrics["e2e"].quantile(0.5).unwrap().all.value().unwrap();
    say(format!(
        "p50 of a  {:.1} ms [{:.0}, {:.0}]",
        number(Some(p50.value)) * 1e3,
        number(p50.low) * 1e3,
        number(p50.high) * 1e3
    ));
    say(format!("p95 of a  {}", a.metrics["e2e"].quantile(0.95).unwrap().all.reason().unwrap()));
    let p50 = b.metrics["e2e"].quantile(0.5).unwrap().all.value().unwrap();
    let above = p50.high.unwrap();
    say(format!(
        "p50 of b  {:.1} ms [{:.0}, {}]",
        number(Some(p50.value)) * 1e3,
        number(p50.low) * 1e3,
        above.value.map_or_else(|| "∞".to_owned(), |v| format!("{:.0}", v * 1e3))
    ));

    // the pair
    let d: Vec<f64> = BLOCKS.iter().map(|(a, b)| b.map_or(f64::NEG_INFINITY, |b| (a / b).ln())).collect();
    let shown: Vec<String> =
        d.iter().map(|v| if v.is_finite() { format!("{v:+.3}") } else { "−∞".to_owned() }).collect();
    say(format!("ln(a/b)  {}", shown.join(" ").replace('-', "−")));
    let rank = signed_rank(&d, 0.95).unwrap();
    say(format!("V = {:.0}, p = 2 · 2/2¹² = {:.6}", rank.v, rank.p));
    let comparison = analysis.comparison.as_ref().unwrap();
    let find = |metric: &str| comparison.pairs.iter().find(|p| p.metric == metric).unwrap();
    let (e2e, success) = (find("e2e"), find("error_rate"));
    say(format!(
        "McNemar  a alone failed in {} blocks, b alone in {}: p = {:.3}",
        success.only_a_failed,
        success.only_b_failed,
        success.p_success.unwrap()
    ));
    say(format!("a/b by Hodges–Lehmann, failure last   {}", interval(e2e.ratio_robust.value().unwrap())));
    say(format!(
        "a/b by t on logs, {} pairs            {}",
        e2e.n_pairs,
        interval(e2e.ratio.value().unwrap())
    ));
    say(format!(
        "family of {}: p = {:.6} becomes {:.6} (Holm)",
        comparison.family_size,
        e2e.p_value.unwrap(),
        e2e.p_adjusted.unwrap()
    ));
    say(format!("verdict: a is {} than b in e2e", format!("{:?}", e2e.verdict).to_lowercase()));
    let study = Analyzer::new().study(&run, &StudyOptions::default()).unwrap();
    let pair = &study.pairs[0];
    say(format!("a at most 10 % slower: {:?} ({})", pair.a_no_worse.outcome, pair.a_no_worse.why)
        .to_lowercase());
    say(format!("b at most 10 % slower: {:?} ({})", pair.b_no_worse.outcome, pair.b_no_worse.why)
        .to_lowercase());
    lines
}

#[test]
fn every_line_of_the_worked_example_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/methodology.md");
    let page = std::fs::read_to_string(path).unwrap();
    let start = page.find("## From a raw record to a verdict").expect("the worked example");
    let page = &page[start..];
    for (block, (a, b)) in BLOCKS.iter().enumerate() {
        let b = b.map_or_else(|| "failed".to_owned(), |b| format!("{b:.0}"));
        let row = format!("| {} | {a:.0} | {b} |", block + 1);
        assert!(page.contains(&row), "the page lacks its data: {row}");
    }
    let lines = lines();
    let missing: Vec<&String> =
        lines.iter().filter(|l| !page.lines().any(|p| p.trim() == l.as_str())).collect();
    assert!(
        missing.is_empty(),
        "docs/methodology.md should say:\n{}",
        missing.iter().map(|l| l.as_str()).collect::<Vec<_>>().join("\n")
    );
}
