//! Golden cases on dependent values.

use bench_analysis::stats::dependence as dep;
use bench_analysis::stats::order_interval::quantile_ranks;
use bench_analysis::stats::quantile::Sample;
use serde_json::{Value, json};

use super::Case;

pub(crate) fn series(case: &Case<'_>) -> Value {
    let x = case.list("x");
    let (q, p) = dep::ljung_box(&x, 10).unwrap();
    let effective = dep::effective_size(&x).unwrap();
    let batches = dep::batch_means(&x, 20, 0.95).unwrap();
    let (b, se) = dep::overlapping_batch_means(&x).unwrap();
    json!({
        "acf1_10": dep::autocorrelation(&x, 10).unwrap(), "ljung_box_q10": q, "ljung_box_p": p,
        "geyer_tau": effective.tau, "geyer_ess": effective.ess,
        "batch_size": batches.batch, "batch_mean": batches.mean, "batch_se": batches.se,
        "obm_b": b, "obm_se": se,
    })
}

pub(crate) fn ess_order_statistic(case: &Case<'_>) -> Value {
    let x = case.list("x");
    let p = case.number("p");
    let d = dep::quantile_estimate(&x, p, 0.95).unwrap();
    let sample = Sample::new(x.as_slice()).unwrap();
    let naive = quantile_ranks(x.len(), p, 0.95).unwrap();
    let at = |rank: Option<usize>| rank.map(|r| sample.order_statistic(r));
    json!({
        "q": d.value, "ess": d.ess, "n_e": d.n_effective,
        "rank_lower_ne": d.ranks.lower, "rank_upper_ne": d.ranks.upper,
        "lower": d.interval.low, "upper": d.interval.high,
        "naive_lower": at(naive.lower), "naive_upper": at(naive.upper),
    })
}

pub(crate) fn block_length(case: &Case<'_>) -> Value {
    let (stationary, circular) = dep::automatic_block_length(&case.list("x")).unwrap();
    json!({ "stationary": stationary, "circular": circular })
}
