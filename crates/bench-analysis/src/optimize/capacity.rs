//! `concurrency_knee` and `rate_limit_headroom`: more load than the service takes gladly.

use llms_core::bench::{Bounded, HintCategory, Measured};
use llms_core::error::ErrorCode;

use super::Scene;
use super::draft::{Draft, Look, evidence, per_request, share};
use crate::cost::ratio::limits;

/// Throughput that may be given up below the knee.
const GIVEN_UP: f64 = 0.05;
/// A limit is near when less than this share of it is left.
const LEFT: f64 = 0.1;

/// Among load levels: one with nearly the throughput of this run's level and a lower latency. The difference's limits are those of
/// the two intervals against each other: wider than need be.
pub(crate) fn knee(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let steps = &scene.options.steps;
    let Some(here) = ledger.concurrency else { return Look::Nothing };
    let Some(own) = steps.iter().find(|s| s.concurrency == here) else {
        return if steps.is_empty() {
            Look::Cannot(
                "the knee shows only across load levels: `llms-bench stress` measures them".to_owned(),
            )
        } else {
            Look::Cannot(format!("none of the load levels has this run's concurrency of {here}"))
        };
    };
    let value = |b: &llms_core::bench::Estimate| b.value.value.unwrap_or(0.0);
    let below = steps
        .iter()
        .filter(|s| s.concurrency < here)
        .filter(|s| {
            limits(&s.throughput).is_some_and(|(low, _)| (1.0 - GIVEN_UP) * value(&own.throughput) <= low)
        })
        .min_by_key(|s| s.concurrency);
    let Some(step) = below else { return Look::Nothing };
    let Some(((own_low, own_high), (low, high))) = limits(&own.e2e).zip(limits(&step.e2e)) else {
        return Look::Cannot("the latencies of the load levels have no intervals".to_owned());
    };
    let mut effect = own.e2e.clone();
    effect.value = Bounded::finite(value(&own.e2e) - value(&step.e2e));
    effect.low = Some(Bounded::finite(own_low - high));
    effect.high = Some(Bounded::finite(own_high - low));
    "difference of two intervals".clone_into(&mut effect.method);
    Look::Measured(Box::new(Draft {
        title: format!("{} users at once do as much as {here}", step.concurrency),
        description: format!(
            "throughput is {:.2}/s at {} users and {:.2}/s at {here}; only waiting grows beyond the knee",
            value(&step.throughput),
            step.concurrency,
            value(&own.throughput)
        ),
        implementation: format!(
            "cap requests in flight at about {} and queue the rest on your side",
            step.concurrency
        ),
        evidence: vec![
            evidence("latency at the lower level", value(&step.e2e), "s", step.e2e.n as usize),
            evidence("latency at this level", value(&own.e2e), "s", own.e2e.n as usize),
        ],
        relative: Some((own_low - high) / value(&own.e2e)),
        refuted_by: "a run at the lower level with less throughput".to_owned(),
        ..Draft::of_effect(effect, "s")
    }))
}

pub(crate) fn headroom(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let entries = &ledger.entries;
    let refused = |e: &crate::cost::ledger::Entry| e.error == Some(ErrorCode::RateLimit);
    let near = |e: &crate::cost::ledger::Entry| e.limit_left.is_some_and(|left| left < LEFT);
    let hit: Vec<f64> = entries.iter().map(|e| f64::from(u8::from(refused(e) || near(e)))).collect();
    let Measured::Value(effect) = per_request(scene, ledger, &hit) else { return Look::Nothing };
    let refusals = entries.iter().filter(|e| refused(e)).count();
    let told = entries.iter().filter(|e| e.limit_left.is_some()).count();
    let least = entries.iter().filter_map(|e| e.limit_left).reduce(f64::min);
    let mut proof = vec![evidence(
        "share of attempts refused by a rate limit",
        share(refusals, entries.len()),
        "1",
        entries.len(),
    )];
    proof.extend(least.map(|l| evidence("least share of a limit that was left", l, "1", told)));
    Look::Measured(Box::new(Draft {
        categories: vec![HintCategory::Reliability, HintCategory::Performance],
        title: "the rate limit is near".to_owned(),
        description: format!(
            "{refusals} of {} attempts were refused; {}",
            entries.len(),
            least.map_or("the server does not say how much of its limits is left".to_owned(), |l| format!(
                "at the tightest {:.0} % of a limit was left",
                100.0 * l
            ))
        ),
        implementation: "spread requests (token bucket on your side), lower max_tokens where it counts against the limit, or ask for a higher one".to_owned(),
        relative: effect.low.and_then(|l| l.value),
        evidence: proof,
        refuted_by: "a later run at this load with no refusal and more than a tenth of every limit left".to_owned(),
        ..Draft::of_effect(effect, "1")
    }))
}
