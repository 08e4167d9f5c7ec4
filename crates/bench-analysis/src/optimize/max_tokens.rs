//! `max_tokens_too_low`: truncated answers, paid and useless. `max_tokens_too_high`: a limit far above any answer.

use llms_core::bench::{Effort, HintCategory, Measured};

use super::Scene;
use super::draft::{Draft, Look, evidence, per_request, share};
use crate::cost::ledger::Entry;
use crate::cost::ratio::limits;
use crate::estimate::Series;
use crate::stats::proportion::wilson;

/// Truncated answers matter from this share on.
const TRUNCATED_FROM: f64 = 0.01;
/// The limit is too high from this multiple of the 99th percentile on.
const TOO_HIGH: f64 = 4.0;

pub(crate) fn too_low(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let entries = &ledger.entries;
    let ok = entries.iter().filter(|e| e.ok).count();
    let cut = entries.iter().filter(|e| e.truncated).count();
    let Ok(interval) = wilson(cut as u64, ok as u64, scene.setting.confidence) else {
        return Look::Nothing;
    };
    let per = |f: fn(&Entry) -> f64| -> Vec<f64> {
        entries.iter().map(|e| if e.truncated && !e.replaced { f(e) } else { 0.0 }).collect()
    };
    let Measured::Value(effect) = per_request(scene, ledger, &per(|_| 1.0)) else { return Look::Nothing };
    Look::Measured(Box::new(
        Draft {
            categories: vec![HintCategory::OutputLengthControl, HintCategory::CostOptimization],
            title: "answers are cut off by max_tokens".to_owned(),
            description: format!(
                "{cut} of {ok} complete answers ended at the token limit ({:.1} % to {:.1} %): they were paid and are of no use",
                100.0 * interval.low,
                100.0 * interval.high
            ),
            implementation: "raise max_tokens, or ask for shorter answers in the prompt".to_owned(),
            evidence: vec![evidence("share of answers cut off", share(cut, ok), "1", ok)],
            effort: Effort::Low,
            refuted_by: "truncated answers that the application can use, or a later run without them at the same bill".to_owned(),
            enough: TRUNCATED_FROM < interval.low,
            ..Draft::of_effect(effect, "1")
        }
        .saving(scene, ledger, &per(Entry::dollars)),
    ))
}

pub(crate) fn too_high(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let answers: Vec<(f64, f64)> = ledger
        .entries
        .iter()
        .filter(|e| e.ok)
        .filter_map(|e| Some((f64::from(e.max_tokens?), e.tokens?.output as f64)))
        .collect();
    let Some(limit) = answers.iter().map(|(limit, _)| *limit).reduce(f64::min) else { return Look::Nothing };
    let output: Vec<f64> = answers.iter().map(|(_, output)| *output).collect();
    let p99 = match Series::new(&output).quantile(0.99, &scene.setting) {
        Measured::Value(e) => e,
        Measured::Absent { absent } => return Look::Cannot(absent),
    };
    let (Some(value), Some((low, high))) = (p99.value.value, limits(&p99)) else { return Look::Nothing };
    let mut effect = p99.clone();
    effect.value = llms_core::bench::Bounded::finite(limit - value);
    effect.low = Some(llms_core::bench::Bounded::finite(limit - high));
    effect.high = Some(llms_core::bench::Bounded::finite(limit - low));
    Look::Measured(Box::new(Draft {
        categories: vec![HintCategory::OutputLengthControl],
        title: "max_tokens is far above any answer".to_owned(),
        description: format!("99 % of answers have at most {value:.0} tokens, the limit is {limit:.0}"),
        implementation: format!(
            "set max_tokens to about {:.0}: providers count the limit against token quotas, and a runaway answer costs up to it",
            (high * 2.0).ceil()
        ),
        evidence: vec![
            evidence("99th percentile of output", value, "tokens", output.len()),
            evidence("max_tokens", limit, "tokens", output.len()),
        ],
        relative: Some(0.0),
        refuted_by: "a later run with answers near the limit".to_owned(),
        enough: TOO_HIGH * high <= limit,
        ..Draft::of_effect(effect, "tokens")
    }))
}
