//! A ratio of sums over requests, with its interval: dollars per answer, tokens per answer, savings per request.
//!
//! Units are requests with all their attempts, or whole conversations, in time order. `R = ΣN/ΣD`; each unit's linear value is
//! `R + (N − R·D)/D̄`, whose mean is R and whose spread is that of R (Taylor linearisation, Cochran 1977, 6.4). The interval is that
//! of a mean: studentised bootstrap of the units up to 1000, t above, batch means where they depend on one another.

use llms_core::bench::{Bounded, Estimate, Measured};

use super::ledger::{Entry, Ledger};
use crate::estimate::{Series, Setting};

/// `Σ top / Σ below` over the attempts.
pub(crate) fn ratio_of_sums<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    top: impl Fn(&Entry) -> f64,
    below: impl Fn(&Entry) -> f64,
    setting: &Setting,
) -> Measured<Estimate> {
    ratio_of_pairs(entries.into_iter().map(|e| (Ledger::unit(e), top(e), below(e))), setting)
}

/// The same over `(unit, top, below)` in time order.
pub(crate) fn ratio_of_pairs(
    values: impl IntoIterator<Item = ((bool, u64), f64, f64)>,
    setting: &Setting,
) -> Measured<Estimate> {
    let mut place = std::collections::HashMap::new();
    let mut units: Vec<(f64, f64)> = Vec::new();
    let mut never_negative = true;
    for (unit, top, below) in values {
        never_negative &= 0.0 <= top;
        let i = *place.entry(unit).or_insert_with(|| {
            units.push((0.0, 0.0));
            units.len() - 1
        });
        units[i].0 += top;
        units[i].1 += below;
    }
    let (top, below) = units.iter().fold((0.0, 0.0), |(a, b), u| (a + u.0, b + u.1));
    if below <= 0.0 {
        return Measured::absent("nothing to divide by: no such request");
    }
    let ratio = top / below;
    let mean_below = below / units.len() as f64;
    let linear: Vec<f64> = units.iter().map(|(t, b)| ratio + (t - ratio * b) / mean_below).collect();
    match Series::new(&linear).mean(setting) {
        Measured::Value(mut e) => {
            e.value = Bounded::finite(ratio);
            if never_negative && e.low.and_then(|l| l.value).is_some_and(|l| l < 0.0) {
                e.low = Some(Bounded::finite(0.0));
            }
            e.method = format!("ratio of sums, {}", e.method);
            Measured::Value(e)
        }
        absent @ Measured::Absent { .. } => absent,
    }
}

/// Both limits of an estimate, where it has them.
pub(crate) fn limits(e: &Estimate) -> Option<(f64, f64)> {
    Some((e.low?.value?, e.high?.value?))
}

/// An estimate times a positive number.
pub(crate) fn scaled(e: &Estimate, factor: f64) -> Estimate {
    let times = |b: Bounded| Bounded { value: b.value.map(|v| v * factor), bound: b.bound };
    Estimate { value: times(e.value), low: e.low.map(times), high: e.high.map(times), ..e.clone() }
}
