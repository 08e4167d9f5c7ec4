//! `cheaper_model` and `verbose_output`: what another target of the same run did with the same prompts.

use std::collections::HashMap;

use llms_core::bench::{Effort, Estimate, HintCategory, Measured};
use rust_decimal::prelude::ToPrimitive;

use super::Scene;
use super::draft::{Draft, Look, dollars, evidence, spent};
use crate::cost::ledger::{Entry, Ledger};
use crate::cost::ratio::{limits, ratio_of_pairs, scaled};
use crate::stats::proportion::newcombe;

/// Points of the share of good answers that a cheaper model may lie behind, at most.
const MARGIN: f64 = 0.02;
/// Answers are long from this many times those of the tersest target.
const LONG: f64 = 1.25;

/// Pairs of last attempts at the same request.
fn pairs<'a>(a: &'a Ledger, b: &'a Ledger) -> Vec<(&'a Entry, &'a Entry)> {
    let last: HashMap<_, &Entry> = b.entries.iter().filter(|e| !e.replaced).map(|e| (e.key, e)).collect();
    a.entries.iter().filter(|e| !e.replaced).filter_map(|e| Some((e, *last.get(&e.key)?))).collect()
}

fn others<'a>(scene: &'a Scene<'_>, target: usize) -> impl Iterator<Item = &'a Ledger> {
    scene
        .ledgers
        .iter()
        .enumerate()
        .filter(move |(i, l)| *i != target && !l.entries.is_empty())
        .map(|(_, l)| l)
}

pub(crate) fn cheaper(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    if ledger.unpriced().is_some() || others(scene, target).all(|o| o.unpriced().is_some()) {
        return Look::Nothing;
    }
    if !ledger.has_quality {
        return Look::Cannot(
            "whether a cheaper model answers well enough is not known: say what answers must be like (expect)"
                .to_owned(),
        );
    }
    let best = others(scene, target)
        .filter(|o| o.unpriced().is_none())
        .filter_map(|other| compare(scene, ledger, other))
        .max_by(|a, b| weight(a).total_cmp(&weight(b)));
    best.map_or(Look::Nothing, |d| Look::Measured(Box::new(d)))
}

fn weight(d: &Draft) -> f64 {
    if d.enough { d.effect.value.value.unwrap_or(0.0) } else { f64::NEG_INFINITY }
}

fn compare(scene: &Scene<'_>, ledger: &Ledger, other: &Ledger) -> Option<Draft> {
    let pairs = pairs(ledger, other);
    let n = pairs.len() as u64;
    let good = |f: fn(&(&Entry, &Entry)) -> bool| pairs.iter().filter(|p| f(p)).count() as u64;
    let (ours, theirs) = (good(|p| p.0.good && p.0.useful()), good(|p| p.1.good && p.1.useful()));
    let (behind, interval) = newcombe(theirs, n, ours, n, scene.setting.confidence).ok()?;
    let difference = |of: f64| {
        ratio_of_pairs(
            pairs.iter().map(|(a, b)| (Ledger::unit(a), of * (spent(ledger, a) - spent(other, b)), 1.0)),
            &scene.setting,
        )
    };
    let Measured::Value(effect) = difference(1.0) else { return None };
    let saving = difference(1e6);
    let all = pairs.iter().map(|(a, _)| spent(ledger, a)).sum::<f64>() / (n.max(1) as f64);
    let percent = if 0.0 < all {
        Measured::Value(scaled(&effect, 100.0 / all))
    } else {
        Measured::absent("nothing was spent")
    };
    let name = &other.info.name;
    Some(Draft {
        categories: vec![HintCategory::ProviderSelection, HintCategory::CostOptimization],
        title: format!("{name} does the same for less"),
        description: format!(
            "on the same prompts {name} was good in {theirs} of {n} against {ours}: at most {:.1} points behind",
            (-100.0 * interval.low).max(0.0)
        ),
        implementation: format!("try {name} on part of the traffic and watch your own quality figures"),
        evidence: vec![
            evidence("difference of the share of good answers", behind, "1", pairs.len()),
            evidence("its lower end", interval.low, "1", pairs.len()),
        ],
        saving,
        percent,
        effort: Effort::Medium,
        refuted_by: "a larger sample in which the share of good answers is more than 2 points behind"
            .to_owned(),
        enough: -MARGIN < interval.low,
        ..Draft::of_effect(effect, "USD")
    })
}

pub(crate) fn verbose_output(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let tokens = |e: &Entry| e.tokens.filter(|_| e.ok).map(|t| t.output as f64);
    let draft = |other: &Ledger| -> Option<(Estimate, Draft)> {
        let both: Vec<(&Entry, f64, f64)> =
            pairs(ledger, other).into_iter().filter_map(|(a, b)| Some((a, tokens(a)?, tokens(b)?))).collect();
        let Measured::Value(ratio) =
            ratio_of_pairs(both.iter().map(|(e, a, b)| (Ledger::unit(e), *a, *b)), &scene.setting)
        else {
            return None;
        };
        let more = || both.iter().map(|(e, a, b)| (Ledger::unit(e), a - b, 1.0));
        let Measured::Value(effect) = ratio_of_pairs(more(), &scene.setting) else { return None };
        let by_entry: HashMap<_, f64> = both.iter().map(|(e, a, b)| ((e.key, e.attempt), a - b)).collect();
        let usd: Vec<f64> = ledger
            .entries
            .iter()
            .map(|e| {
                let rates = e.input().and_then(|i| ledger.price.as_ref().ok()?.rates(i));
                by_entry.get(&(e.key, e.attempt)).zip(rates).map_or(0.0, |(more, r)| dollars(*more, r.output))
            })
            .collect();
        let (low, value) = (limits(&ratio)?.0, ratio.value.value?);
        let name = &other.info.name;
        let mut d = Draft {
            categories: vec![HintCategory::PromptOptimization, HintCategory::OutputLengthControl],
            title: "answers are long".to_owned(),
            description: format!("answers have {value:.2} times the tokens of {name} on the same prompts"),
            implementation: "ask for the length you need (\"in two sentences\"), for a format, or lower the verbosity setting where the model has one; check quality on your own cases".to_owned(),
            evidence: vec![evidence(&format!("output tokens against {name}"), value, "1", both.len())],
            effort: Effort::Low,
            refuted_by: "answers that fail your own quality check when they are as short".to_owned(),
            enough: LONG < low,
            ..Draft::of_effect(effect, "tokens")
        };
        if ledger.price.as_ref().is_ok_and(|p| p.output.to_f64().is_some_and(|o| 0.0 < o)) {
            d = d.saving(scene, ledger, &usd);
        }
        Some((ratio, d))
    };
    let longest = others(scene, target)
        .filter_map(draft)
        .max_by(|a, b| a.0.value.value.unwrap_or(0.0).total_cmp(&b.0.value.value.unwrap_or(0.0)));
    longest.map_or(Look::Nothing, |(_, d)| Look::Measured(Box::new(d)))
}
