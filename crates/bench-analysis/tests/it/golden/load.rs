//! Golden cases on load: warm-up, trends, queues, capacity fits, planning, budgets.

use bench_analysis::stats::budget;
use bench_analysis::stats::censor::{KaplanMeier, Observed};
use bench_analysis::stats::quantile::{QuantileType, Sample};
use bench_analysis::stats::summary::mean;
use bench_analysis::stats::{arrivals, queueing, shape, trend, usl as scalability, warmup as mser};
use serde_json::{Value, json};

use super::{Case, floats};

fn rows(case: &Case<'_>, f: impl Fn(&[f64]) -> Value) -> Value {
    case.expected.as_array().unwrap().iter().map(|row| f(&floats(row))).collect()
}

fn whole(case: &Case<'_>, key: &str) -> Vec<u64> {
    case.input[key].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
}

pub(crate) fn warmup(case: &Case<'_>) -> Value {
    let cut = mser::mser5(&case.list("x")).unwrap();
    assert!(cut.reached, "{}: a steady state", case.name);
    json!({
        "batches": cut.batches, "d": cut.cut_batches, "truncate": cut.cut, "min_z": cut.z, "z0": cut.z_uncut,
    })
}

pub(crate) fn trend(case: &Case<'_>) -> Value {
    let x = case.list("x");
    let t: Vec<f64> = (0..x.len()).map(|i| i as f64).collect();
    let (mk, sen) = (trend::mann_kendall(&x).unwrap(), trend::theil_sen(&t, &x, 0.95).unwrap());
    json!({
        "S": mk.s, "var": mk.variance, "z": mk.z, "p": mk.p,
        "sen_slope": sen.slope, "sen_lo": sen.interval.low, "sen_hi": sen.interval.high,
    })
}

pub(crate) fn recovery(case: &Case<'_>) -> Value {
    let consecutive = case.number("consecutive") as usize;
    let r = budget::recovery_time(
        &case.list("baseline"),
        &case.list("after"),
        case.number("factor"),
        consecutive,
    )
    .unwrap();
    json!({ "limit": r.limit, "recovery_index": r.index, "relapses": r.relapses })
}

pub(crate) fn mmc_mdc(case: &Case<'_>) -> Value {
    rows(case, |row| {
        let (lambda, mu, servers) = (row[0], row[1], row[2] as u32);
        let q = queueing::Mmc::new(lambda, mu, servers).unwrap();
        let fixed = queueing::mdc_mean_wait(lambda, 1.0 / mu, servers).unwrap();
        let at = |p| q.sojourn_quantile(p).unwrap();
        json!([
            lambda,
            mu,
            servers,
            q.utilisation,
            q.wait_share,
            q.mean_wait(),
            q.mean_sojourn(),
            at(0.5),
            at(0.99),
            fixed
        ])
    })
}

pub(crate) fn md1(case: &Case<'_>) -> Value {
    let (lambda, service) = (case.number("lambda"), case.number("D"));
    rows(case, |row| json!([row[0], queueing::md1_wait_cdf(lambda, service, row[0]).unwrap()]))
}

pub(crate) fn mg1(case: &Case<'_>) -> Value {
    let (lambda, mean) = (case.number("lambda"), case.number("mean"));
    json!({
        "Wq_fifo": queueing::mg1_mean_wait(lambda, mean, case.number("cv2")).unwrap(),
        "T_ps": queueing::processor_sharing_sojourn(lambda, mean).unwrap(),
    })
}

pub(crate) fn usl(case: &Case<'_>) -> Value {
    let fit = scalability::usl(&case.list("N"), &case.list("X"), 0.95).unwrap();
    assert!(1.0 - fit.r_squared < 1e-12, "{fit:?}");
    json!({
        "sigma": fit.sigma.value, "kappa": fit.kappa.value, "gamma": fit.gamma.value,
        "N_star": fit.peak, "X_at_N_star": fit.peak_throughput,
    })
}

pub(crate) fn pava(case: &Case<'_>) -> Value {
    let y = case.list("y");
    shape::isotonic_decreasing(&y, &vec![1.0; y.len()]).unwrap().into()
}

pub(crate) fn knee(case: &Case<'_>) -> Value {
    let knee = shape::kneedle(&case.list("x"), &case.list("y")).unwrap().unwrap();
    json!({ "knee_x": knee.x as i64, "difference_max": knee.difference })
}

pub(crate) fn pathwise(case: &Case<'_>) -> Value {
    let servers = case.number("c") as usize;
    let waits =
        queueing::fifo_waits(&whole(case, "arrival_us"), &whole(case, "service_us"), servers).unwrap();
    let floats: Vec<f64> = waits.iter().map(|w| *w as f64).collect();
    json!({ "wait_us": waits, "mean_wait_us": mean(&floats), "max_wait_us": waits.iter().max() })
}

pub(crate) fn mm1_sample_size(case: &Case<'_>) -> Value {
    rows(case, |row| {
        let n = queueing::mm1_sample_size(row[0], row[1], 0.95).unwrap();
        json!([row[0], row[1], n.asymptotic_variance, n.requests])
    })
}

/// The open loop is the oracle's; the closed loop waits for each answer and takes the next tick, here.
pub(crate) fn coordinated_omission(case: &Case<'_>) -> Value {
    let us = |key: &str| (case.number(key) * 1e6).round() as u64;
    let tick = 1_000_000 / case.number("rate") as u64;
    let (end, service) = (us("dur_s"), us("svc_s"));
    let freeze = queueing::Freeze { start: us("stall_start_s"), end: us("stall_start_s") + us("stall_s") };
    let ticks: Vec<u64> = (0..end / tick).map(|i| i * tick).collect();
    let waits = queueing::fifo_waits_frozen(&ticks, &vec![service; ticks.len()], 1, Some(freeze)).unwrap();
    let open: Vec<f64> = waits.iter().map(|w| (w + service) as f64).collect();
    let (mut closed, mut at) = (Vec::new(), 0);
    // the case's closed loop still takes the tick at its very end
    while at <= end {
        let wait = queueing::fifo_waits_frozen(&[at], &[service], 1, Some(freeze)).unwrap()[0];
        closed.push((wait + service) as f64);
        at = (at + tick).max((at + wait + service).div_ceil(tick) * tick);
    }
    let summary = |x: Vec<f64>| {
        let (n, m) = (x.len(), mean(&x));
        let sample = Sample::new(x).unwrap();
        let q = |p| sample.quantile(p, QuantileType::Type1).unwrap() as i64;
        json!({ "n": n, "mean": m, "p50": q(0.5), "p90": q(0.9), "p99": q(0.99), "max": q(1.0) })
    };
    json!({ "open": summary(open), "closed": summary(closed) })
}

pub(crate) fn poisson(case: &Case<'_>) -> Value {
    let c = arrivals::poisson_check(&case.list("gaps_s"), case.number("rate")).unwrap();
    json!({
        "ks_D": c.exponential.d, "ks_p": c.exponential.p, "cv": c.cv, "gamma_shape": c.gamma_shape,
        "idc": c.dispersion,
    })
}

pub(crate) fn burn_rate(case: &Case<'_>) -> Value {
    rows(case, |row| {
        let burn = budget::burn_rate(row[1] as u64, row[2] as u64, row[0]).unwrap();
        json!([row[0], row[1] as u64, row[2] as u64, burn])
    })
}

pub(crate) fn kaplan_meier(case: &Case<'_>) -> Value {
    let cut_off = case.input["censored"].as_array().unwrap();
    let observed: Vec<Observed> = case
        .list("t_ms")
        .into_iter()
        .zip(cut_off)
        .map(|(t, cut)| if cut.as_bool().unwrap() { Observed::LongerThan(t) } else { Observed::At(t) })
        .collect();
    let km = KaplanMeier::new(&observed).unwrap();
    let (s, se) = km.survival(500.0);
    let at = |p: f64| km.quantile(p).unwrap();
    json!({ "n": km.n, "events": km.events, "S_500": s, "se_500": se, "p50": at(0.5), "p75": at(0.75) })
}
