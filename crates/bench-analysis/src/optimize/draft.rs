//! What a rule hands to the engine.

use llms_core::bench::{Effort, Estimate, Evidence, HintCategory, Measured};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::Scene;
use crate::cost::again;
use crate::cost::ledger::{Entry, Ledger};
use crate::cost::ratio::{ratio_of_pairs, scaled};

/// What a rule saw.
pub(crate) enum Look {
    /// measured, whether or not it is worth a word
    Measured(Box<Draft>),
    /// does not concern this target
    Nothing,
    /// lacks something
    Cannot(String),
}

/// A recommendation that nobody has decided on yet.
pub(crate) struct Draft {
    pub(crate) categories: Vec<HintCategory>,
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) implementation: String,
    pub(crate) evidence: Vec<Evidence>,
    pub(crate) effect: Estimate,
    pub(crate) effect_unit: &'static str,
    /// dollars per million requests
    pub(crate) saving: Measured<Estimate>,
    pub(crate) percent: Measured<Estimate>,
    /// the effect as a share of what it is part of, where no money is saved
    pub(crate) relative: Option<f64>,
    pub(crate) effort: Effort,
    pub(crate) refuted_by: String,
    /// the rule's own condition beside the interval
    pub(crate) enough: bool,
}

impl Draft {
    /// A draft that speaks of time or reliability.
    pub(crate) fn of_effect(effect: Estimate, effect_unit: &'static str) -> Self {
        Self {
            categories: vec![HintCategory::Performance],
            title: String::new(),
            description: String::new(),
            implementation: String::new(),
            evidence: Vec::new(),
            effect,
            effect_unit,
            saving: Measured::absent("saves no money by itself"),
            percent: Measured::absent("saves no money by itself"),
            relative: None,
            effort: Effort::Low,
            refuted_by: String::new(),
            enough: true,
        }
    }

    /// With the dollars that each attempt would save, in the order of the ledger.
    pub(crate) fn saving(mut self, scene: &Scene<'_>, ledger: &Ledger, dollars: &[f64]) -> Self {
        (self.saving, self.percent) = money(scene, ledger, dollars);
        self
    }
}

/// Dollars saved per million requests, and in per cent of all spend.
fn money(scene: &Scene<'_>, ledger: &Ledger, dollars: &[f64]) -> (Measured<Estimate>, Measured<Estimate>) {
    if let Some(why) = ledger.unpriced() {
        return (Measured::absent(why.clone()), Measured::absent(why));
    }
    let times = |m: Measured<Estimate>, factor: f64| match m {
        Measured::Value(e) => Measured::Value(scaled(&e, factor)),
        absent @ Measured::Absent { .. } => absent,
    };
    (
        times(per_request(scene, ledger, dollars), 1e6),
        times(
            ratio_of_pairs(
                ledger.entries.iter().zip(dollars).map(|(e, d)| (Ledger::unit(e), *d, spent(ledger, e))),
                &scene.setting,
            ),
            100.0,
        ),
    )
}

/// Dollars of an attempt with what was sent again.
pub(crate) fn spent(ledger: &Ledger, e: &Entry) -> f64 {
    e.dollars() + again(ledger, e).to_f64().unwrap_or(0.0)
}

/// The mean of a number of each attempt over requests (attempts of one request together).
pub(crate) fn per_request(scene: &Scene<'_>, ledger: &Ledger, values: &[f64]) -> Measured<Estimate> {
    let one = |e: &Entry| f64::from(u8::from(e.attempt == 0));
    ratio_of_pairs(
        ledger.entries.iter().zip(values).map(|(e, v)| (Ledger::unit(e), *v, one(e))),
        &scene.setting,
    )
}

/// Dollars of so many tokens at a price per million.
pub(crate) fn dollars(tokens: f64, per_million: Decimal) -> f64 {
    tokens * per_million.to_f64().unwrap_or(0.0) / 1e6
}

pub(crate) fn evidence(what: &str, value: f64, unit: &str, n: usize) -> Evidence {
    Evidence { what: what.to_owned(), value, unit: unit.to_owned(), n: n as u64 }
}

pub(crate) fn share(part: usize, of: usize) -> f64 {
    if of == 0 { 0.0 } else { part as f64 / of as f64 }
}
