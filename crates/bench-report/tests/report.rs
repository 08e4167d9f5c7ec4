//! What people see: four targets, one that failed, ties, n too small, one target alone, interruptions.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeMap;

use bench_report::{Document, Findings, Style, render_json, render_markdown, render_text};
use llms_core::{
    ErrorCode, ErrorKind, ModelInfo,
    bench::{
        Analysis, Bounded, BuildInfo, Comparison, ComparisonStudy, Effort, EnvironmentInfo, ErrorGroup,
        ErrorRecord, Estimate, Evidence, Finding, Front, Hashes, HintCategory, Level, Load, Measured,
        MetricSummary, Objective, ObjectiveVerdict, OptimizationReport, PairComparison, Priority,
        QuantileEstimate, RankEstimate, Recommendation, RunManifest, Scenario, Seeds, StudyOptions,
        TargetAnalysis, TargetInfo, Throughput, TokenSummary, Validity, Verdict, Winner,
        result::SCHEMA_VERSION,
    },
    model::Capabilities,
    time::Timestamp,
};

fn estimate(value: f64, low: f64, high: f64) -> Estimate {
    Estimate {
        value: Bounded::from_f64(value, 60.0),
        low: Some(Bounded::from_f64(low, 60.0)),
        high: Some(Bounded::from_f64(high, 60.0)),
        confidence: 0.95,
        n: 400,
        ess: None,
        method: "order statistic".into(),
        note: None,
    }
}

fn metric(name: &str, quantiles: &[(f64, Measured<Estimate>)]) -> (String, MetricSummary) {
    let summary = MetricSummary {
        metric: name.into(),
        unit: "s".into(),
        n: 400,
        n_failed: 0,
        mean: Measured::Value(estimate(0.61, 0.6, 0.62)),
        sd: Some(0.1),
        min: Some(0.1),
        max: Some(1.0),
        quantiles: quantiles
            .iter()
            .map(|(p, m)| QuantileEstimate { p: *p, all: m.clone(), success: m.clone() })
            .collect(),
    };
    (name.into(), summary)
}

fn target(name: &str, scale: f64) -> TargetAnalysis {
    let e = |v: f64| Measured::Value(estimate(v * scale, v * scale * 0.98, v * scale * 1.02));
    TargetAnalysis {
        target: name.into(),
        simulated: true,
        unavailable: None,
        scheduled: 400,
        ok: 400,
        failed: 0,
        censored: 0,
        warmup: 8,
        error_rate: Measured::Value(estimate(0.0, 0.0, 0.0095)),
        errors: Vec::new(),
        metrics: BTreeMap::from([
            metric("ttft", &[(0.5, e(0.2))]),
            metric("e2e", &[(0.5, e(0.6)), (0.95, e(0.8)), (0.99, e(0.9))]),
            metric("tpot", &[(0.5, e(0.025))]),
        ]),
        throughput: Throughput {
            window_s: 22.0,
            requests: Measured::Value(estimate(18.2, 16.4, 20.1)),
            output_tokens: Measured::Value(estimate(291.0, 280.0, 300.0)),
            offered: Measured::absent("closed loop"),
            mean_in_flight: Measured::Value(16.0),
            goodput: Measured::absent("no SLO given"),
            slo_attainment: Measured::absent("no SLO given"),
        },
        objectives: Vec::new(),
        tokens: TokenSummary::default(),
        cost: Measured::absent("no price for it; give a price file"),
        finish_reasons: BTreeMap::new(),
        connections_opened: Some(16),
        resent: 0,
        models: BTreeMap::new(),
        merged_gap_share: Some(0.0),
        reported: BTreeMap::new(),
    }
}

fn manifest(targets: &[&str]) -> RunManifest {
    RunManifest {
        schema_version: SCHEMA_VERSION,
        run_id: "0191".into(),
        label: None,
        started_at: time::OffsetDateTime::UNIX_EPOCH,
        started: Timestamp::ZERO,
        scenario: Scenario {
            load: Load::closed(64),
            seeds: Seeds::from_one(7),
            requests: Some(400),
            ..Scenario::new("four-vendors", ["What is 2+2?"])
        },
        targets: targets
            .iter()
            .map(|name| TargetInfo {
                name: (*name).into(),
                model: ModelInfo {
                    provider: "openai".into(),
                    model: "m".into(),
                    endpoint: None,
                    capabilities: Capabilities::default(),
                },
                simulated: true,
                transport: None,
                unavailable: None,
            })
            .collect(),
        hashes: Hashes::default(),
        environment: EnvironmentInfo::default(),
        build: BuildInfo::default(),
        window: None,
        planned: Vec::new(),
        complete: true,
        interrupted: false,
        client: None,
        stopped: None,
        facts: BTreeMap::new(),
    }
}

fn pair(metric: &str, verdict: Verdict) -> PairComparison {
    PairComparison {
        a: "anthropic".into(),
        b: "openai".into(),
        metric: metric.into(),
        n_pairs: 391,
        only_a_failed: 3,
        only_b_failed: 6,
        both_failed: 0,
        ratio: Measured::Value(estimate(0.752, 0.731, 0.774)),
        ratio_robust: Measured::absent("–"),
        p_value: Some(1e-9),
        p_adjusted: Some(1e-8),
        p_success: Some(0.5),
        verdict,
        note: None,
    }
}

fn analysis(m: &RunManifest, targets: Vec<TargetAnalysis>) -> Analysis {
    let validity = Validity { checked: vec!["send_lag".into()], ..Validity::default() };
    Analysis { targets, validity, ..Analysis::empty(m) }
}

fn text(m: &RunManifest, a: &Analysis, width: usize) -> String {
    let files = [("run".to_owned(), ".llms-bench/runs/0191".to_owned())];
    render_text(
        &Document { manifest: m, analysis: a, notes: &[], files: &files, findings: Findings::default() },
        &Style { width, color: false },
    )
}

#[test]
fn two_targets() {
    let m = manifest(&["anthropic", "openai"]);
    let mut a = analysis(&m, vec![target("anthropic", 0.75), target("openai", 1.0)]);
    a.comparison = Some(Comparison {
        family: vec!["ttft".into(), "e2e".into()],
        family_size: 2,
        pairs: vec![
            pair("ttft", Verdict::Better),
            pair("e2e", Verdict::NoDetectableDifference { smallest_detectable: Some(0.041) }),
        ],
        rankings: Vec::new(),
        performance_matrix: BTreeMap::new(),
        winner_by_category: BTreeMap::from([
            (
                "lowest_ttft".into(),
                Winner { targets: vec!["anthropic".into()], value: Some(0.15), unit: "s".into(), note: None },
            ),
            (
                "fastest".into(),
                Winner {
                    targets: vec!["anthropic".into(), "openai".into()],
                    value: None,
                    unit: "s".into(),
                    note: None,
                },
            ),
        ]),
        overall_winner: None,
        overall_scores: BTreeMap::new(),
    });
    let page = text(&m, &a, 80);
    assert_eq!(
        page,
        "\
llms-bench · scenario four-vendors · SIMULATED vendors on this machine
closed loop, 64 users, each asking every target in turn
800 measured requests in 22.0 s · seed 7 · run 0191
latency counts from sent (service time); failures rank above every latency; 95 %
  intervals in brackets

target      ok/all           TTFT p50            E2E p50  E2E p95
anthropic  400/400  150 ms [147, 153]  450 ms [441, 459]   600 ms
openai     400/400  200 ms [196, 204]  600 ms [588, 612]   800 ms
"
        .to_owned()
            + "
target     E2E p99  TPOT p50  req/s  tok/s          errors
anthropic   675 ms   18.8 ms   18.2    291  0 % [0, 0.950]
openai      900 ms   25.0 ms   18.2    291  0 % [0, 0.950]

TTFT                                 ratio  verdict      pairs
anthropic vs openai  0.752× [0.731, 0.774]   faster  391 (3:6)

E2E latency                          ratio       verdict      pairs
anthropic vs openai  0.752× [0.731, 0.774]  none ≥ 4.1 %  391 (3:6)

  ratio: first over second, same prompt in the same block. Verdicts hold over
    all 2 tests together (Holm). “none ≥ x %”: no detectable difference; x is
    the smallest difference this run could see. pairs: blocks in which both
    succeeded (only the first : only the second failed)

Best
  fastest: anthropic, openai cannot be told apart
  lowest ttft: anthropic, 150 ms

Not measured
  anthropic: cost: no price for it; give a price file
  openai: cost: no price for it; give a price file

Validity
  VALID (1 checks in bounds: send_lag)

Files
  run: .llms-bench/runs/0191
"
    );
}

#[test]
fn every_line_fits() {
    let m = manifest(&["a", "b"]);
    let long = "openai:accounts/fireworks/models/llama-v3p1-405b-instruct-with-a-long-tail";
    let a = analysis(&m, vec![target(long, 1.0), target("b", 2.0)]);
    for width in [60, 80, 120] {
        for line in text(&m, &a, width).lines() {
            let columns = unicode_width::UnicodeWidthStr::width(line);
            assert!(columns <= width.max(80), "{columns} > {width}: {line}");
        }
    }
}

#[test]
fn a_failed_target_says_why_and_what_to_do() {
    let m = manifest(&["a", "b"]);
    let mut broken = target("b", 1.0);
    broken.ok = 0;
    broken.failed = 400;
    let above = || Measured::Value(estimate(f64::INFINITY, f64::INFINITY, f64::INFINITY));
    broken.metrics = BTreeMap::from([metric("e2e", &[(0.5, above()), (0.95, above())])]);
    broken.errors = vec![ErrorGroup {
        code: ErrorCode::RateLimit,
        phase: None,
        status: Some(429),
        count: 400,
        sample: ErrorRecord {
            code: ErrorCode::RateLimit,
            kind: ErrorKind::RateLimited,
            phase: None,
            status: Some(429),
            provider_code: None,
            retry_after_s: Some(2.0),
            message: "slow | down".into(),
        },
        advice: "Lower the load.".into(),
    }];
    let a = analysis(&m, vec![target("a", 1.0), broken]);
    let page = text(&m, &a, 80);
    assert!(page.contains("> 60 s"), "{page}");
    assert!(
        page.contains("b: 400 × rate_limit, HTTP 429: “slow | down”. injected by the simulation"),
        "{page}"
    );
    let doc = Document { manifest: &m, analysis: &a, notes: &[], files: &[], findings: Findings::default() };
    assert!(render_markdown(&doc).contains("slow \\| down"));
}

#[test]
fn what_is_too_small_is_not_invented() {
    let m = manifest(&["a", "b"]);
    let mut small = target("a", 1.0);
    let e2e = small.metrics.get_mut("e2e").unwrap();
    e2e.quantiles[2].all = Measured::absent("n too small: p99 needs 368 requests, there are 30");
    let a = analysis(&m, vec![small, target("b", 1.0)]);
    let page = text(&m, &a, 80);
    assert!(page.contains("a: E2E latency p99: n too small: p99 needs 368 requests"), "{page}");
}

#[test]
fn a_mean_without_an_interval_says_why() {
    let m = manifest(&["a"]);
    let mut small = target("a", 1.0);
    for name in ["ttft", "e2e"] {
        let why = Some("n too small: an interval for a mean needs 5 values, have 3".into());
        let bare = Estimate { low: None, high: None, note: why, ..estimate(0.61, 0.0, 0.0) };
        small.metrics.get_mut(name).unwrap().mean = Measured::Value(bare);
    }
    let page = text(&m, &analysis(&m, vec![small]), 100);
    assert_eq!(
        page.matches("a: n too small: an interval for a mean needs 5 values, have 3").count(),
        1,
        "{page}"
    );
}

#[test]
fn one_target_alone_reads_as_a_list() {
    let m = manifest(&["a"]);
    let page = text(&m, &analysis(&m, vec![target("a", 1.0)]), 80);
    for part in [
        "target",
        "E2E latency         mean 610 ms [600, 620]",
        "p95 800 ms",
        "requests/s          18.2 [16.4, 20.1]",
        "error rate          0 %",
    ] {
        assert!(page.contains(part), "`{part}` in:\n{page}");
    }
    assert!(!page.contains("goodput"), "an empty row:\n{page}");
}

#[test]
fn interruptions_and_invalid_results_are_said_loudly() {
    let mut m = manifest(&["a", "b"]);
    m.interrupted = true;
    m.complete = false;
    let mut a = analysis(&m, vec![target("a", 1.0), target("b", 1.0)]);
    a.validity.add(Finding {
        signal: "send_lag".into(),
        level: Level::Invalid,
        target: None,
        measured: "p99 30 ms".into(),
        threshold: "4 ms".into(),
        cure: "Lower the load of this machine.".into(),
    });
    let page = text(&m, &a, 80);
    assert!(page.contains("INTERRUPTED"), "{page}");
    assert!(page.contains("INVALID send_lag: p99 30 ms, allowed 4 ms. Lower the load of this"), "{page}");
}

#[test]
fn json_round_trips() {
    let m = manifest(&["a", "b"]);
    let a = analysis(&m, vec![target("a", 1.0), target("b", 1.0)]);
    let json: serde_json::Value = serde_json::from_str(&render_json(&Document {
        manifest: &m,
        analysis: &a,
        notes: &["note".into()],
        files: &[],
        findings: Findings::default(),
    }))
    .unwrap();
    assert_eq!(json["schema_version"], SCHEMA_VERSION);
    assert_eq!(serde_json::from_value::<Analysis>(json["analysis"].clone()).unwrap(), a);
    assert_eq!(serde_json::from_value::<RunManifest>(json["manifest"].clone()).unwrap(), m);
}

#[test]
fn objectives_are_judged_in_words() {
    let m = manifest(&["a", "b"]);
    let mut slow = target("a", 1.0);
    slow.objectives = vec![Objective {
        slo: "ttft:p99<150ms".into(),
        wanted: Some(0.99),
        attained: Measured::Value(estimate(0.4, 0.35, 0.45)),
        verdict: ObjectiveVerdict::Missed,
    }];
    let page = text(&m, &analysis(&m, vec![slow, target("b", 1.0)]), 80);
    assert!(
        page.contains("a: ttft:p99<150ms missed: 40.0 % [35.0, 45.0] of the requests, wanted 99 %"),
        "{page}"
    );
}

#[test]
fn ranks_and_changes_are_said_in_few_lines() {
    let m = manifest(&["a", "b"]);
    let a = analysis(&m, vec![target("a", 1.0), target("b", 1.0)]);
    let hint = |rule: &str| Recommendation {
        rule: rule.into(),
        target: "a".into(),
        categories: vec![HintCategory::CostOptimization],
        priority: Priority::High,
        title: "less reasoning".into(),
        description: "found".into(),
        implementation: "do".into(),
        evidence: vec![Evidence { what: "share".into(), value: 0.6, unit: "1".into(), n: 400 }],
        effect: estimate(0.5, 0.4, 0.6),
        effect_unit: "s".into(),
        saving_usd_per_million: Measured::absent("no price"),
        saving_percent: Measured::absent("no price"),
        effort: Effort::Low,
        refuted_by: "nothing".into(),
    };
    let hints = OptimizationReport {
        recommendations: ["1", "2", "3", "4", "5"].map(hint).to_vec(),
        not_judged: Vec::new(),
    };
    let rank = |target: &str, rank, rank_high, p_first| RankEstimate {
        target: target.into(),
        value: Bounded::finite(1.0),
        rank,
        rank_low: 1,
        rank_high,
        p_first,
    };
    let study = ComparisonStudy {
        options: StudyOptions::default(),
        confidence: 0.95,
        blocks: 400,
        resamples: 2000,
        pairs: Vec::new(),
        standings: BTreeMap::from([(
            "latency".to_owned(),
            vec![rank("a", 2, 2, 0.04), rank("b", 1, 1, 0.96)],
        )]),
        front: Front { coordinates: vec!["p95".into()], points: Vec::new() },
        noise_floor: Vec::new(),
    };
    let findings = Findings { hints: Some(&hints), study: Some(&study) };
    let doc = Document { manifest: &m, analysis: &a, notes: &[], files: &[], findings };
    let page = render_text(&doc, &Style::default());
    assert!(page.contains("first in latency: b 96 % (rank 1), a 4 % (rank 1–2)"), "{page}");
    assert!(page.contains("a: less reasoning; effect 500 ms [400, 600] per request (n = 400)"), "{page}");
    assert!(page.contains("2 more, and the evidence: `llms-bench tokens`"), "{page}");
    assert!(page.find("Validity") < page.find("What to change"), "after the verdict: {page}");
    assert!(render_markdown(&doc).contains("### What to change"));
    let json: serde_json::Value = serde_json::from_str(&render_json(&doc)).unwrap();
    assert_eq!(json["hints"]["recommendations"].as_array().unwrap().len(), 5, "JSON has all");
    assert_eq!(serde_json::from_value::<ComparisonStudy>(json["study"].clone()).unwrap(), study);
    let silent = Document { findings: Findings::default(), ..doc };
    assert!(!render_text(&silent, &Style::default()).contains("What to change"));
    assert!(!render_json(&silent).contains("\"study\""));
}
