//! `batch_api`: traffic that can wait a day costs less in a batch.

use llms_core::bench::{Effort, HintCategory, Measured};
use rust_decimal::prelude::ToPrimitive;

use super::Scene;
use super::draft::{Draft, Look, evidence, per_request};
use crate::cost::batch_bill;

pub(crate) fn batch(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let Ok(price) = &ledger.price else { return Look::Nothing };
    if price.batch.is_none() {
        return Look::Nothing;
    }
    let Some(deferrable) = scene.options.deferrable_share else {
        return Look::Cannot(
            "how much of the traffic may wait a day is not in the records: say it".to_owned(),
        );
    };
    let usd: Vec<f64> = ledger
        .entries
        .iter()
        .map(|e| {
            let less = e.tokens.and_then(|t| e.usd?.checked_sub(batch_bill(&t, price)?));
            deferrable * less.and_then(|d| d.to_f64()).unwrap_or(0.0)
        })
        .collect();
    let Measured::Value(effect) = per_request(scene, ledger, &usd) else { return Look::Nothing };
    Look::Measured(Box::new(
        Draft {
            categories: vec![HintCategory::CostOptimization],
            title: "send what can wait as a batch".to_owned(),
            description: format!(
                "{:.0} % of the traffic may wait a day; batches have lower prices",
                100.0 * deferrable
            ),
            implementation: "collect such requests and submit them through the provider's batch API"
                .to_owned(),
            evidence: vec![evidence(
                "share that may wait, as you said",
                deferrable,
                "1",
                ledger.entries.len(),
            )],
            effort: Effort::High,
            refuted_by: "users who need those answers within a day, or a batch price that is no longer lower"
                .to_owned(),
            ..Draft::of_effect(effect, "USD")
        }
        .saving(scene, ledger, &usd),
    ))
}
