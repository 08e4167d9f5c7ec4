//! Tokens and money of a run's targets: [`UsageAnalysis`] by the analyzer.

use llms_core::bench::{
    Bounded, ClassTotals, CountAgreement, Disagreement, Estimate, Measured, PartShare, PromptBreakdown,
    PromptPart, RecordSource, RunManifest, TokenCounter, UnitCosts, UsageAnalysis, UsageAnalyzer,
};
use llms_core::error::Result;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::ledger::{Entry, Ledger};
use super::prompts::Book;
use super::ratio::ratio_of_sums;
use super::waste::{again, spending, waste};
use crate::Analyzer;
use crate::estimate::Setting;

impl UsageAnalyzer for Analyzer {
    fn analyze_usage(
        &self,
        manifest: &RunManifest,
        records: &dyn RecordSource,
        counter: Option<&dyn TokenCounter>,
    ) -> Result<Vec<UsageAnalysis>> {
        let setting = self.setting(manifest);
        let (ledgers, book) = Ledger::read(manifest, records, self.prices())?;
        let counted = counter.map(|c| (Book::counted(&manifest.scenario, c), c.name().to_owned()));
        let (book, method) = match &counted {
            Some((counted, name)) => (counted, format!("reported input split by {name}")),
            None => (&book, "reported input split by characters: an estimate".to_owned()),
        };
        Ok(ledgers.iter().map(|l| usage(l, book, &method, &setting)).collect())
    }
}

fn usage(ledger: &Ledger, book: &Book, method: &str, setting: &Setting) -> UsageAnalysis {
    let entries = &ledger.entries;
    let count = |is: fn(&Entry) -> bool| entries.iter().filter(|e| is(e)).count() as u64;
    let told = || entries.iter().filter(|e| e.tokens.is_some());
    UsageAnalysis {
        target: ledger.info.name.clone(),
        provider: ledger.info.model.provider.clone(),
        model: ledger.info.model.model.clone(),
        simulated: ledger.info.simulated,
        attempts: entries.len() as u64,
        ok: count(|e| e.ok),
        useful: count(Entry::useful),
        tokens: totals(ledger),
        output_per_answer: ratio_of_sums(
            told().filter(|e| e.ok),
            |e| e.tokens.map_or(0.0, |t| t.output as f64),
            |_| 1.0,
            setting,
        ),
        input_per_request: ratio_of_sums(told(), |e| e.input().unwrap_or(0) as f64, |_| 1.0, setting),
        counts: CountAgreement {
            tokenizer: disagreement(
                ledger,
                |e| e.tokenizer,
                "no tokenizer counted the answers; name one",
                setting,
            ),
            chunks: disagreement(ledger, |e| e.chunks, "answers were not streamed", setting),
        },
        prompt: breakdown(ledger, book, method),
        cost: costs(ledger, setting),
        waste: waste(ledger, setting),
    }
}

fn totals(ledger: &Ledger) -> Measured<ClassTotals> {
    let mut sum = ClassTotals::default();
    for t in ledger.entries.iter().filter_map(|e| e.tokens) {
        sum.requests += 1;
        sum.input_uncached += t.input_uncached;
        sum.cache_read += t.cache_read;
        sum.cache_write += t.cache_write;
        sum.output += t.output;
        if let Some(r) = t.reasoning {
            sum.reasoning = Some(sum.reasoning.unwrap_or(0) + r);
        }
    }
    if sum.requests == 0 { Measured::absent("no answer reported its usage") } else { Measured::Value(sum) }
}

fn disagreement(
    ledger: &Ledger,
    other: fn(&Entry) -> Option<u64>,
    why_not: &str,
    setting: &Setting,
) -> Measured<Disagreement> {
    // text can be counted only where it was shown: hidden reasoning is in no other count
    let visible = |e: &Entry| e.tokens.map(|t| t.answer().unwrap_or(t.output));
    let both = |e: &&Entry| e.ok && visible(e).is_some_and(|v| 0 < v) && other(e).is_some();
    let entries: Vec<&Entry> = ledger.entries.iter().filter(both).collect();
    if entries.is_empty() {
        let told = ledger.entries.iter().any(|e| e.ok && e.tokens.is_some());
        return Measured::absent(if told { why_not } else { "no answer reported its usage" });
    }
    let sum = |f: &dyn Fn(&Entry) -> Option<u64>| entries.iter().filter_map(|e| f(e)).sum();
    let ratio = ratio_of_sums(
        entries.iter().copied(),
        |e| other(e).unwrap_or(0) as f64,
        |e| visible(e).unwrap_or(0) as f64,
        setting,
    );
    match ratio {
        Measured::Value(ratio) => {
            Measured::Value(Disagreement { usage: sum(&visible), other: sum(&other), ratio })
        }
        Measured::Absent { absent } => Measured::Absent { absent },
    }
}

/// Reported input tokens of each request, split by the characters (or counted tokens) of its parts. Later turns hold answers that
/// nobody kept: what their new text does not explain is history.
fn breakdown(ledger: &Ledger, book: &Book, method: &str) -> Measured<PromptBreakdown> {
    let known = || {
        ledger.entries.iter().filter_map(|e| {
            let sheet = &book.sheets[e.prompt? as usize];
            Some((e, sheet, e.input().filter(|i| 0 < *i)? as f64))
        })
    };
    let first = |e: &Entry| e.key.2.unwrap_or(0) == 0;
    let (tokens, units) = known()
        .filter(|(e, ..)| first(e))
        .fold((0.0, 0.0), |(t, u), (_, sheet, input)| (t + input, u + sheet.total() as f64));
    if units <= 0.0 {
        let told = ledger.entries.iter().any(|e| e.tokens.is_some());
        return Measured::absent(if told { book.why_not.as_str() } else { "no answer reported its usage" });
    }
    let per_unit = tokens / units;
    let history = PromptPart::ALL.iter().position(|p| *p == PromptPart::History).unwrap_or(0);
    let user = PromptPart::ALL.len() - 1;
    let (mut sums, mut requests) = ([0.0; 5], 0_u64);
    for (e, sheet, input) in known() {
        requests += 1;
        let turn = e.key.2.unwrap_or(0) as usize;
        if turn == 0 {
            for (sum, chars) in sums.iter_mut().zip(sheet.chars) {
                *sum += input * chars as f64 / sheet.total().max(1) as f64;
            }
            continue;
        }
        let mut rest = input;
        let now = sheet.turns.get(turn - 1).copied().unwrap_or(0);
        for (i, sum) in sums.iter_mut().enumerate().filter(|(i, _)| *i != history) {
            let chars = if i == user { now } else { sheet.chars[i] };
            let share = (chars as f64 * per_unit).min(rest);
            *sum += share;
            rest -= share;
        }
        sums[history] += rest;
    }
    let all: f64 = sums.iter().sum();
    let mut parts: Vec<PartShare> = PromptPart::ALL
        .into_iter()
        .zip(sums)
        .filter(|(_, s)| 0.0 < *s)
        .map(|(part, s)| PartShare { part, tokens_per_request: s / requests as f64, share: s / all })
        .collect();
    parts.sort_by(|a, b| b.share.total_cmp(&a.share));
    Measured::Value(PromptBreakdown { parts, requests, method: method.to_owned() })
}

fn costs(ledger: &Ledger, setting: &Setting) -> Measured<UnitCosts> {
    if let Some(why) = ledger.unpriced() {
        return Measured::absent(why);
    }
    if ledger.entries.is_empty() {
        return Measured::absent("no request was scheduled in the window");
    }
    let spent = |e: &Entry| e.dollars() + again(ledger, e).to_f64().unwrap_or(0.0);
    let per = |is: &dyn Fn(&Entry) -> bool| {
        ratio_of_sums(&ledger.entries, spent, |e| f64::from(u8::from(is(e))), setting)
    };
    let named = |m: Measured<Estimate>, nothing: &str| match m {
        Measured::Value(e) if e.value != Bounded::default() => Measured::Value(e),
        _ => Measured::absent(nothing),
    };
    Measured::Value(UnitCosts {
        total_usd: spending(ledger).total.normalize(),
        per_request: named(per(&|e| e.attempt == 0), "no request was scheduled in the window"),
        per_success: named(per(&|e| e.ok), "no request succeeded"),
        per_useful: named(per(&Entry::useful), "no complete answer that was not truncated"),
        per_slo_good: if ledger.has_slo {
            named(per(&|e| e.useful() && e.good), "no useful answer met every objective")
        } else {
            Measured::absent("no objectives were given: add --goodput or --slo")
        },
        saved_by_cache_usd: ledger.entries.iter().map(|e| e.cache_saved).sum::<Decimal>().normalize(),
        failures_without_usage: ledger.entries.iter().filter(|e| !e.ok && e.tokens.is_none()).count() as u64,
        price_source: ledger.price_source.0.clone(),
        price_date: ledger.price_source.1.clone(),
    })
}
