//! `verbose_prompt`: one part of the prompt that is not the user's makes up most of the input.

use llms_core::bench::{Effort, HintCategory, Measured, PromptPart};
use rust_decimal::prelude::ToPrimitive;

use super::Scene;
use super::draft::{Draft, Look, evidence, per_request};
use crate::cost::ledger::Entry;

/// Least share of the input, and tokens per request, that are worth a word.
const SHARE: f64 = 0.5;
const TOKENS: f64 = 500.0;

pub(crate) fn verbose(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let entries = &ledger.entries;
    let user = PromptPart::ALL.len() - 1;
    // tokens of a part in each attempt, by characters; later turns are mostly answers that nobody kept
    let part = |part: usize| -> Vec<f64> {
        entries
            .iter()
            .map(|e| {
                let (Some(p), Some(input)) = (e.prompt, e.input()) else { return 0.0 };
                let sheet = &scene.book.sheets[p as usize];
                let first = e.key.2.unwrap_or(0) == 0;
                if first {
                    input as f64 * sheet.chars[part] as f64 / sheet.total().max(1) as f64
                } else {
                    0.0
                }
            })
            .collect()
    };
    let input: f64 = entries.iter().filter_map(Entry::input).map(|i| i as f64).sum();
    if !entries.iter().any(|e| e.prompt.is_some()) {
        return Look::Cannot(scene.book.why_not.clone());
    }
    let parts: Vec<(usize, Vec<f64>)> = (0..user).map(|i| (i, part(i))).collect();
    let sum = |tokens: &[f64]| tokens.iter().sum::<f64>();
    let Some((largest, tokens)) = parts.into_iter().max_by(|a, b| sum(&a.1).total_cmp(&sum(&b.1))) else {
        return Look::Nothing;
    };
    let usd: Vec<f64> = entries
        .iter()
        .zip(&tokens)
        .map(|(e, part)| {
            let Some((t, rates)) = e.tokens.zip(ledger.price.as_ref().ok().and_then(|p| p.rates(e.input()?)))
            else {
                return 0.0;
            };
            // what is cached is cheap already: the part is billed like the rest of its prompt
            let paid = crate::cost::input_bill(&t, &rates).and_then(|d| d.to_f64()).unwrap_or(0.0);
            paid * part / (t.input().max(1) as f64)
        })
        .collect();
    let Measured::Value(effect) = per_request(scene, ledger, &tokens) else { return Look::Nothing };
    let share = if 0.0 < input { sum(&tokens) / input } else { 0.0 };
    let mean = effect.value.value.unwrap_or(0.0);
    let name = PromptPart::ALL[largest].as_str();
    Look::Measured(Box::new(
        Draft {
            categories: vec![HintCategory::PromptSimplification, HintCategory::InputOptimization],
            title: format!("most of the input is {name}"),
            description: format!(
                "{name} makes up {:.0} % of the input, {mean:.0} tokens with each request; the saving is what all of it costs: the most that cutting it can save",
                100.0 * share
            ),
            implementation: match PromptPart::ALL[largest] {
                PromptPart::Tools => "offer only the tools that the request may need; shorten their descriptions and schemas",
                PromptPart::History => "summarise or drop old turns",
                PromptPart::Retrieval => "retrieve fewer or shorter documents; rank before sending",
                PromptPart::System | PromptPart::User => "say it in fewer words, drop examples that change nothing; check quality on your own cases",
            }
            .to_owned(),
            evidence: vec![
                evidence(&format!("share of {name} in the input"), share, "1", entries.len()),
                evidence(&format!("{name} per request"), mean, "tokens", entries.len()),
            ],
            effort: Effort::Medium,
            refuted_by: "answers that fail your own quality check with the shorter prompt".to_owned(),
            enough: SHARE <= share && TOKENS <= mean,
            ..Draft::of_effect(effect, "tokens")
        }
        .saving(scene, ledger, &usd),
    ))
}
