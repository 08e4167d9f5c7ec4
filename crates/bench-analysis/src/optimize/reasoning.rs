//! `reasoning_effort`: much of the output is reasoning.

use llms_core::bench::{Effort, HintCategory, Measured};

use super::Scene;
use super::draft::{Draft, Look, dollars, evidence, per_request};

/// Least share of the output that is worth a word.
const SHARE: f64 = 0.2;

pub(crate) fn effort(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let told: Vec<(u64, u64)> = ledger
        .entries
        .iter()
        .filter_map(|e| e.tokens)
        .filter_map(|t| Some((t.reasoning?, t.output)))
        .collect();
    let (thought, output) = told.iter().fold((0, 0), |(a, b), (r, o)| (a + r, b + o));
    if output == 0 {
        return Look::Nothing;
    }
    let tokens: Vec<f64> =
        ledger.entries.iter().map(|e| e.tokens.and_then(|t| t.reasoning).unwrap_or(0) as f64).collect();
    let usd: Vec<f64> = ledger
        .entries
        .iter()
        .zip(&tokens)
        .map(|(e, t)| {
            let rates = e.input().and_then(|i| ledger.price.as_ref().ok()?.rates(i));
            rates.map_or(0.0, |r| dollars(*t, r.reasoning.unwrap_or(r.output)))
        })
        .collect();
    let Measured::Value(effect) = per_request(scene, ledger, &tokens) else { return Look::Nothing };
    let share = thought as f64 / output as f64;
    Look::Measured(Box::new(
        Draft {
            categories: vec![HintCategory::OutputLengthControl, HintCategory::CostOptimization],
            title: "much of the output is reasoning".to_owned(),
            description: format!(
                "{:.0} % of the output tokens were reasoning; the saving is what all of it costs: the most that less effort can save",
                100.0 * share
            ),
            implementation: "lower the reasoning effort (or its token budget) for requests that do well without; the first answer token comes earlier too".to_owned(),
            evidence: vec![evidence("share of reasoning in the output", share, "1", told.len())],
            effort: Effort::Low,
            refuted_by: "answers that fail your own quality check at the lower effort".to_owned(),
            enough: SHARE <= share,
            ..Draft::of_effect(effect, "tokens")
        }
        .saving(scene, ledger, &usd),
    ))
}
