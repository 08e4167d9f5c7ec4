//! `retries`: input and answers paid twice.

use llms_core::bench::{Effort, HintCategory, Measured};
use rust_decimal::prelude::ToPrimitive;

use super::Scene;
use super::draft::{Draft, Look, evidence, per_request, share};
use crate::cost::again;

pub(crate) fn retries(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let entries = &ledger.entries;
    let usd: Vec<f64> = entries
        .iter()
        .map(|e| {
            let replaced = if e.replaced { e.dollars() } else { 0.0 };
            replaced + again(ledger, e).to_f64().unwrap_or(0.0)
        })
        .collect();
    let tokens: Vec<f64> = entries
        .iter()
        .map(|e| {
            let all = e.tokens.filter(|_| e.replaced).map_or(0, |t| t.input() + t.output);
            (all + if e.resent { e.input().unwrap_or(0) } else { 0 }) as f64
        })
        .collect();
    let Measured::Value(effect) = per_request(scene, ledger, &tokens) else { return Look::Nothing };
    let requests = entries.iter().filter(|e| e.attempt == 0).count();
    let repeated = entries.iter().filter(|e| e.replaced).count();
    let resent = entries.iter().filter(|e| e.resent).count();
    let mut causes = std::collections::BTreeMap::new();
    for e in entries.iter().filter(|e| e.replaced) {
        *causes.entry(e.error.map_or("an answer that was not taken", |c| c.as_str())).or_insert(0_usize) += 1;
    }
    let mut proof = vec![
        evidence("attempts repeated per request", share(repeated, requests), "1", requests),
        evidence("inputs sent again on a new connection per request", share(resent, requests), "1", requests),
    ];
    proof.extend(
        causes.iter().map(|(c, n)| evidence(&format!("repeated after {c}"), *n as f64, "attempts", repeated)),
    );
    Look::Measured(Box::new(
        Draft {
            categories: vec![HintCategory::Reliability, HintCategory::CostOptimization],
            title: "tokens are paid twice".to_owned(),
            description: format!(
                "{repeated} attempts were replaced by another one and {resent} inputs were sent again, over {requests} requests; what the first copies cost bought nothing"
            ),
            implementation: "cure the most frequent cause above; raise timeouts that give up on answers under way; let retries back off and honour Retry-After".to_owned(),
            evidence: proof,
            effort: Effort::Medium,
            refuted_by: "a bill on which the first attempts do not appear".to_owned(),
            ..Draft::of_effect(effect, "tokens")
        }
        .saving(scene, ledger, &usd),
    ))
}
