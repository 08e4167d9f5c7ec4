//! Golden cases on change points.

use bench_analysis::stats::change::bocpd::{Bocpd, Prior};
use bench_analysis::stats::change::control::{self, Side};
use bench_analysis::stats::change::{edivisive, online, pelt, rank_scan, score};
use serde_json::{Map, Value, json};

use super::Case;

pub(crate) fn edivisive(case: &Case<'_>) -> Value {
    let x = case.list("x");
    let energy = |at: usize| edivisive::energy(&x[..at], &x[at..]).unwrap();
    let best = edivisive::scan(&x, 2).unwrap();
    let ranks = rank_scan::scan(&x, rank_scan::SEGMENT_MIN).unwrap();
    json!({
        "qhat_at_20": energy(20), "qhat_at_10": energy(10), "best_tau": best.at, "best_qhat": best.q,
        "rank_scan_k": ranks.at, "rank_scan_z": ranks.z,
        // what another tool finds on this series is what ours must find
        "otava_0_8_default_indices": [ranks.at],
    })
}

pub(crate) fn rank_scan_ties(case: &Case<'_>) -> Value {
    let x = case.list("x");
    let best = rank_scan::scan(&x, rank_scan::SEGMENT_MIN).unwrap();
    json!({ "k": best.at, "z": best.z, "all": rank_scan::statistics(&x, rank_scan::SEGMENT_MIN).unwrap() })
}

/// The penalties stand with the expected values, as multiples of the default in their keys.
pub(crate) fn pelt(case: &Case<'_>) -> Value {
    let x = case.list("x");
    let one: Map<String, Value> = case
        .expected
        .as_object()
        .expect("by penalty")
        .iter()
        .map(|(key, value)| {
            let penalty = value["pen"].as_f64().unwrap();
            let s = pelt::pelt(&x, penalty, 1).unwrap();
            (key.clone(), json!({ "pen": penalty, "changes": s.changes, "objective": s.objective }))
        })
        .collect();
    Value::Object(one)
}

pub(crate) fn bocpd(case: &Case<'_>) -> Value {
    let prior = case.list("prior_mu0_k0_a0_b0");
    let prior = Prior { mean: prior[0], worth: prior[1], shape: prior[2], rate: prior[3] };
    let mut filter = Bocpd::new(case.number("hazard"), prior).unwrap();
    for v in case.list("x") {
        filter.observe(v).unwrap();
    }
    json!({
        "posterior_last": filter.posterior(), "log_evidence": filter.log_evidence(), "map_r": filter.most_probable(),
    })
}

pub(crate) fn charts(case: &Case<'_>) -> Value {
    let (x, target, sd) = (case.list("x"), case.number("target"), case.number("sd"));
    let cusum =
        control::cusum(&x, target, sd, Side::Upper, control::CUSUM_SLACK, control::CUSUM_LIMIT).unwrap();
    let ewma = control::ewma(&x, target, sd, control::EWMA_WEIGHT, control::EWMA_LIMIT).unwrap();
    json!({ "cusum": cusum.path, "cusum_alarm": cusum.alarm, "ewma": ewma.path, "ewma_alarm": ewma.alarm })
}

pub(crate) fn tcpd(case: &Case<'_>) -> Value {
    let points = |v: &Value| -> Vec<usize> {
        v.as_array().unwrap().iter().map(|p| p.as_u64().unwrap() as usize).collect()
    };
    let annotations: Vec<Vec<usize>> =
        case.input["annotations"].as_array().unwrap().iter().map(points).collect();
    let n = case.input["n"].as_u64().unwrap() as usize;
    let s = score::score(&points(&case.input["predicted"]), &annotations, n, score::MARGIN);
    json!({ "f1": s.f1, "precision": s.precision, "recall": s.recall, "cover": s.cover })
}

/// Our own table, drawn again from another generator: the case allows 2 %.
pub(crate) fn online(case: &Case<'_>) -> Value {
    let rows: Map<String, Value> = case
        .expected
        .as_object()
        .expect("by ARL0")
        .iter()
        .map(|(arl0, row)| {
            let limits: Vec<Value> = row
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| {
                    let n = entry[0].as_u64().unwrap();
                    let limit = online::threshold(n as usize, arl0.parse().unwrap()).unwrap();
                    json!([n, limit, online::TABLE_SE])
                })
                .collect();
            (arl0.clone(), Value::from(limits))
        })
        .collect();
    Value::Object(rows)
}
