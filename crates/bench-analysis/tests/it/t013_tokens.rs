//! T013: tokens and cost of a run: to the cent, by class, per success, with waste, and absent where nobody can know.

use bench_analysis::Analyzer;
use bench_analysis::cost::{Price, PriceTable, Prices, TokenClasses, batch_bill, bill};
use bench_analysis::stats::trend::mann_kendall;
use llms_core::Usage;
use llms_core::bench::{Measured, PromptPart, RunResult, Slo, TokenCounter, UsageAnalysis, UsageAnalyzer};
use llms_core::chat::{FinishReason, Message};
use llms_core::error::ErrorCode;

use crate::support::{answered, at_ms, failed, record, run};

/// Input 30 and output 60 dollars per million, as in the contract's row; cached input a tenth.
const TABLE: &str = r#"{"schema":1,"source":"test","date":"2026-11-01","models":[
    {"provider":"a","model":"m","input":"30","output":"60","cache_read":"3"},
    {"provider":"local","model":"*","input":"0","output":"0"}]}"#;

fn analyzer() -> Analyzer {
    Analyzer::new().with_prices(Prices::none().with(PriceTable::parse(TABLE).unwrap()))
}

fn usage(run: &RunResult) -> UsageAnalysis {
    analyzer().analyze_usage(&run.manifest, &run.records, None).unwrap().remove(0)
}

/// `n` answers of so many tokens.
fn answers(target: &str, n: u64, input: u64, output: u32) -> RunResult {
    let one = |i: u64| {
        let mut r = answered(record(&format!("r{i}"), 0, i, at_ms(i as f64 * 100.0)), 10.0, 5.0, output);
        r.tokens.usage = Some(Usage {
            input_tokens: Some(input),
            output_tokens: Some(u64::from(output)),
            ..Usage::default()
        });
        r
    };
    run(&[target], (0..n).map(one).collect())
}

#[track_caller]
fn check_cost(input: u64, output: u32, dollars: f64) {
    let found = usage(&answers("a", 10, input, output));
    let cost = found.cost.value().unwrap();
    let per = cost.per_success.value().unwrap();
    assert!((per.value.value.unwrap() - dollars).abs() < 1e-12, "{per:?}");
    assert!(per.low.is_some() && per.high.is_some(), "{per:?}");
    assert_eq!(cost.price_date, "2026-11-01");
}

#[test]
fn costs_to_the_cent() {
    check_cost(10, 25, 0.0018);
    check_cost(25, 75, 0.00525);
    check_cost(50, 200, 0.0135);
}

#[test]
fn without_a_price_there_is_no_cost_and_local_is_free_by_table_only() {
    let unknown = usage(&answers("b", 6, 10, 10));
    assert!(unknown.cost.reason().unwrap().contains("no price for b:m"), "{:?}", unknown.cost);
    assert!(matches!(&unknown.waste.failed.usd, Measured::Absent { .. }));
    let local = usage(&answers("local", 6, 10, 10));
    assert_eq!(local.cost.value().unwrap().total_usd, 0.into());
}

#[test]
fn each_success_pays_for_what_failed_was_cut_off_or_was_sent_again() {
    let mut made = answers("a", 100, 100, 10); // 0.0036 each
    for (i, r) in made.records.iter_mut().enumerate() {
        match i {
            0..10 => r.finish_reason = Some(FinishReason::Length),
            10..15 => {
                let usage = r.tokens.usage;
                *r = failed(r.clone(), 5.0, ErrorCode::Internal);
                r.tokens.usage = usage;
            }
            15..20 => *r = failed(r.clone(), 5.0, ErrorCode::RateLimit),
            20..22 => r.resent = true,
            _ => {}
        }
    }
    // the first attempt of one request, billed, and replaced
    let mut first = made.records[50].clone();
    first.request_id = "again".into();
    first.outcome = failed(first.clone(), 5.0, ErrorCode::StreamClosed).outcome;
    made.records[50].attempt = 1;
    made.records.push(first);
    made.manifest.scenario.slo = "ttft:20".split(' ').map(|s| s.parse::<Slo>().unwrap()).collect();
    let found = usage(&made);
    let cost = found.cost.value().unwrap();
    // 96 billed attempts, two inputs twice at 0.003
    let total = 96.0 * 0.0036 + 2.0 * 0.003;
    let value = |m: &Measured<llms_core::bench::Estimate>| m.value().unwrap().value.value.unwrap();
    for (what, got, expected) in [
        ("request", value(&cost.per_request), total / 100.0),
        ("success", value(&cost.per_success), total / 90.0),
        ("useful", value(&cost.per_useful), total / 80.0),
        ("good", value(&cost.per_slo_good), total / 80.0),
    ] {
        assert!((got - expected).abs() < 1e-12, "per {what}: {got}, expected {expected}");
    }
    assert_eq!(cost.failures_without_usage, 5);
    assert_eq!((found.attempts, found.ok, found.useful), (101, 90, 80));
    let w = &found.waste;
    assert_eq!((w.failed.requests, w.truncated.requests, w.retried.requests), (10, 10, 3));
    assert_eq!(w.failed.usd.value().unwrap().to_string(), "0.018");
    assert_eq!(w.truncated.usd.value().unwrap().to_string(), "0.036");
    assert_eq!(w.retried.usd.value().unwrap().to_string(), "0.0096");
    assert_eq!((w.failed.tokens, w.retried.tokens), (550, 310));
    let share = w.truncated.share.value().unwrap();
    assert!((share.value.value.unwrap() - 10.0 / 90.0).abs() < 1e-12 && share.low.is_some());
}

#[test]
fn long_prompts_batches_and_reasoning_have_prices_of_their_own() {
    let table = PriceTable::parse(
        r#"{"schema":1,"source":"t","date":"2026-11-01","models":[{"provider":"a","model":"m","input":"1","output":"2",
            "reasoning":"4","above":[{"tokens":1000,"input":"3","output":"6"}],"batch":{"input":"0.5","output":"1"}}]}"#,
    )
    .unwrap();
    let price: &Price = table.find("a", "m").unwrap();
    let tokens = |input, reasoning| TokenClasses {
        input_uncached: input,
        cache_read: 0,
        cache_write: 0,
        output: 100,
        reasoning,
    };
    let usd = |t: &TokenClasses| bill(t, price).map(|b| b.usd.to_string());
    assert_eq!(usd(&tokens(1000, Some(50))).unwrap(), "0.0013");
    assert_eq!(usd(&tokens(1000, None)), None, "reasoning has a price and nobody said how much there was");
    assert_eq!(usd(&tokens(1001, None)).unwrap(), "0.003603");
    assert_eq!(batch_bill(&tokens(1000, None), price).unwrap().to_string(), "0.0006");
    assert_eq!(batch_bill(&tokens(1001, None), price), None, "nobody knows the batch price of long prompts");
    for wrong in [
        r#"{"provider":"a","model":"m","input":"1","output":"2","batch":{"input":"-1","output":"1"}}"#,
        r#"{"provider":"a","model":"m","input":"1","output":"2","above":[{"tokens":2,"input":"1","output":"1"},
            {"tokens":1,"input":"1","output":"1"}]}"#,
        r#"{"provider":"a","model":"m","input":"1","output":"2","above":[{"tokens":2,"input":"1"}]}"#,
        r#"{"provider":"a","model":"m","input":"1","output":"2","above":[{"tokens":2,"input":"1","output":"1","x":"1"}]}"#,
    ] {
        let file = format!(r#"{{"schema":1,"source":"t","date":"2026-11-01","models":[{wrong}]}}"#);
        PriceTable::parse(&file).unwrap_err();
    }
}

#[test]
fn the_bundled_prices_know_long_prompts_and_batches() {
    let table = PriceTable::bundled();
    let long = table.find("anthropic", "claude-haiku-5-5").unwrap();
    assert_eq!(long.rates(100_000).unwrap().input.to_string(), "0.1");
    assert_eq!(long.rates(100_001).unwrap().input.to_string(), "0.5");
    let batch = table.find("openai", "o4-mini").unwrap().batch_rates(1000).unwrap();
    assert_eq!(batch.output.to_string(), "2.2");
}

#[test]
fn three_counts_and_how_far_they_disagree() {
    let mut made = answers("a", 40, 10, 20);
    for r in &mut made.records {
        r.tokens.tokenizer = Some(18);
        r.chunks.truncate(10); // two tokens in each chunk
    }
    let found = usage(&made).counts;
    let ratio = |m: &Measured<llms_core::bench::Disagreement>| m.value().unwrap().ratio.value.value.unwrap();
    assert!((ratio(&found.tokenizer) - 0.9).abs() < 1e-12);
    assert!((ratio(&found.chunks) - 0.5).abs() < 1e-12);
    let plain = usage(&answers("a", 40, 10, 20)).counts;
    assert!(plain.tokenizer.reason().unwrap().contains("no tokenizer"), "{plain:?}");
}

struct Words;
impl TokenCounter for Words {
    fn name(&self) -> &'static str {
        "words"
    }
    fn count(&self, text: &str) -> u64 {
        text.split_whitespace().count() as u64
    }
}

#[test]
fn prompts_by_part() {
    let mut made = answers("a", 6, 100, 5);
    made.manifest.scenario.system = Some("abcdefghij".repeat(6)); // 60 characters, 1 word
    let prompt = &mut made.manifest.scenario.prompts[0];
    prompt.messages =
        vec![Message::user("x ".repeat(15)), Message::assistant("one two"), Message::user("now?")];
    let id = prompt.id.clone();
    made.records.iter_mut().for_each(|r| r.prompt = id.as_str().into());
    let shares = |counter: Option<&dyn TokenCounter>| {
        let found = analyzer().analyze_usage(&made.manifest, &made.records, counter).unwrap().remove(0);
        let b = found.prompt.value().unwrap().clone();
        assert!((b.parts.iter().map(|p| p.share).sum::<f64>() - 1.0).abs() < 1e-12);
        let of = |part| b.parts.iter().find(|p| p.part == part).map_or(0.0, |p| p.tokens_per_request);
        (of(PromptPart::System), of(PromptPart::History), of(PromptPart::User), b.method)
    };
    let (system, history, user, method) = shares(None);
    let sum = 60.0 + 37.0 + 4.0;
    assert!((system - 6000.0 / sum).abs() < 1e-9 && (history - 3700.0 / sum).abs() < 1e-9);
    assert!((user - 400.0 / sum).abs() < 1e-9 && method.contains("estimate"), "{method}");
    let (system, history, user, method) = shares(Some(&Words));
    assert!((system - 100.0 / 19.0).abs() < 1e-9 && (history - 1700.0 / 19.0).abs() < 1e-9, "{history}");
    assert!((user - 100.0 / 19.0).abs() < 1e-9 && method.contains("words"), "{method}");
    // a run that kept no text
    let mut bare = answers("a", 6, 100, 5);
    bare.manifest.scenario.prompts.clear();
    let unknown = usage(&bare);
    assert!(unknown.prompt.reason().unwrap().contains("no text"), "{:?}", unknown.prompt);
}

#[test]
fn growing_prompts_are_a_rising_trend() {
    let hourly: Vec<f64> = (0..15)
        .map(|i| {
            usage(&answers("a", 6, 100 + 7 * i, 5)).input_per_request.value().unwrap().value.value.unwrap()
        })
        .collect();
    let trend = mann_kendall(&hourly).unwrap();
    assert!(trend.p_rising() < 0.3 && 0.0 < trend.z, "{trend:?}");
}

#[test]
fn the_same_run_gives_the_same_analysis_and_it_reads_back() {
    let made = answers("a", 50, 100, 10);
    let first = usage(&made);
    assert_eq!(first, usage(&made));
    let json = serde_json::to_string(&first).unwrap();
    assert_eq!(serde_json::from_str::<UsageAnalysis>(&json).unwrap(), first);
}
