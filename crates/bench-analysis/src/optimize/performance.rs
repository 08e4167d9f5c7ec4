//! `connection_reuse`, `streaming`, `region`: time that goes into the way there.

use llms_core::bench::{Effort, Estimate, Measured};

use super::Scene;
use super::draft::{Draft, Look, evidence, per_request, share};
use crate::cost::ledger::{Entry, Ledger};
use crate::cost::ratio::{limits, ratio_of_sums};
use crate::stats::quantile::{QuantileType, Sample};

/// Connections beyond those needed at once matter from this share of requests on.
const OPENED: f64 = 0.1;
/// People wait without a word for so many seconds.
const PATIENCE: f64 = 1.0;
/// A round trip matters from so many seconds and this share of the first token's time on.
const ROUND_TRIP: f64 = 0.03;
const OF_TTFT: f64 = 0.2;

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let values: Vec<f64> = values.collect();
    Sample::new(&values[..]).ok()?.quantile(0.5, QuantileType::Type7).ok()
}

fn mean_of(scene: &Scene<'_>, ledger: &Ledger, of: fn(&Entry) -> Option<f64>) -> Option<Estimate> {
    let entries = ledger.entries.iter().filter(|e| of(e).is_some());
    match ratio_of_sums(entries, |e| of(e).unwrap_or(0.0), |_| 1.0, &scene.setting) {
        Measured::Value(e) => Some(e),
        Measured::Absent { .. } => None,
    }
}

/// Most requests that were in flight at once.
fn at_once(ledger: &Ledger) -> usize {
    let mut edges: Vec<(u64, i64)> = Vec::new();
    for e in &ledger.entries {
        let start = e.scheduled.as_nanos();
        edges.push((start, 1));
        edges.push((start + (e.e2e.unwrap_or(0.0) * 1e9) as u64, -1));
    }
    edges.sort_unstable();
    let (mut now, mut most) = (0_i64, 0_i64);
    for (_, step) in edges {
        now += step;
        most = most.max(now);
    }
    most.max(1) as usize
}

pub(crate) fn connections(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let known = ledger.entries.iter().filter(|e| e.reused.is_some()).count();
    if known == 0 {
        return Look::Nothing;
    }
    let needed = at_once(ledger).max(ledger.concurrency.unwrap_or(1) as usize);
    let mut opened = 0;
    let lost: Vec<f64> = ledger
        .entries
        .iter()
        .map(|e| {
            let new = e.reused == Some(false);
            opened += usize::from(new);
            if new && needed < opened { e.connect.unwrap_or(0.0) } else { 0.0 }
        })
        .collect();
    let Measured::Value(effect) = per_request(scene, ledger, &lost) else { return Look::Nothing };
    let beyond = share(opened.saturating_sub(needed), known);
    let e2e = median(ledger.entries.iter().filter_map(|e| e.e2e));
    let relative = effect.low.and_then(|l| l.value).zip(e2e).map(|(low, e2e)| low / e2e);
    Look::Measured(Box::new(Draft {
        title: "keep connections open".to_owned(),
        description: format!(
            "{opened} connections were opened for {known} requests, where {needed} were enough for all that were in flight at once"
        ),
        implementation: "share one client with a pool of kept-alive connections; raise its idle limit; look for a proxy that closes them".to_owned(),
        evidence: vec![
            evidence("connections opened beyond need, per request", beyond, "1", known),
            evidence("in flight at once, at most", needed as f64, "requests", known),
        ],
        relative,
        refuted_by: "a later run with kept connections and the same latencies".to_owned(),
        enough: OPENED < beyond,
        ..Draft::of_effect(effect, "s")
    }))
}

pub(crate) fn streaming(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    if ledger.streamed {
        return Look::Nothing;
    }
    let Some(effect) = mean_of(scene, ledger, |e| e.e2e) else { return Look::Nothing };
    let low = limits(&effect).map_or(0.0, |l| l.0);
    let n = effect.n as usize;
    Look::Measured(Box::new(Draft {
        title: "stream the answers".to_owned(),
        description: "people see nothing until the whole answer is there; streamed, they read from the first token on. The effect shown is the whole wait: the most that can be gained".to_owned(),
        implementation: "ask for a stream, and measure its time to first token with this tool".to_owned(),
        evidence: vec![evidence("mean wait for the whole answer", effect.value.value.unwrap_or(0.0), "s", n)],
        relative: Some(0.05),
        effort: Effort::Medium,
        refuted_by: "a streamed run whose first token comes no earlier, or answers that no person waits for".to_owned(),
        enough: PATIENCE < low,
        ..Draft::of_effect(effect, "s")
    }))
}

pub(crate) fn region(scene: &Scene<'_>, target: usize) -> Look {
    let ledger = &scene.ledgers[target];
    let Some(effect) = mean_of(scene, ledger, |e| e.tcp) else { return Look::Nothing };
    let Some(ttft) = median(ledger.entries.iter().filter_map(|e| e.ttft)) else { return Look::Nothing };
    let low = limits(&effect).map_or(0.0, |l| l.0);
    let n = effect.n as usize;
    Look::Measured(Box::new(Draft {
        title: "the endpoint is far away".to_owned(),
        description: format!(
            "a round trip to it takes {:.0} ms (TCP handshake), the first token {:.0} ms: every request waits at least one round trip, a new TLS connection three",
            1e3 * effect.value.value.unwrap_or(0.0),
            1e3 * ttft
        ),
        implementation: "use an endpoint in your region, or run the application near the endpoint".to_owned(),
        evidence: vec![
            evidence("TCP handshake", effect.value.value.unwrap_or(0.0), "s", n),
            evidence("median time to first token", ttft, "s", ledger.entries.len()),
        ],
        relative: Some(low / ttft),
        effort: Effort::High,
        refuted_by: "a run from or to another region with the same time to first token".to_owned(),
        enough: ROUND_TRIP < low && OF_TTFT * ttft < low,
        ..Draft::of_effect(effect, "s")
    }))
}
