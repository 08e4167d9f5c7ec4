//! Golden cases on intervals, sample sizes and the bootstrap.

use bench_analysis::stats::bootstrap::{acceleration, bootstrap, from_indices, order_statistic_law};
use bench_analysis::stats::mean::{studentized_from_indices, t_interval};
use bench_analysis::stats::order_interval as order;
use bench_analysis::stats::proportion as share;
use bench_analysis::stats::quantile::{QuantileType, Sample, quantile_sorted};
use bench_analysis::stats::summary::mean;
use serde_json::{Map, Value, json};

use super::{Case, finite, floats};

/// The rows of a table case: the arguments stand in the first columns of what is expected.
fn rows(case: &Case<'_>, f: impl Fn(&[f64]) -> Value) -> Value {
    case.expected.as_array().unwrap().iter().map(|row| f(&floats(row))).collect()
}

fn optional(case: &Case<'_>, key: &str, default: f64) -> f64 {
    case.input.get(key).and_then(Value::as_f64).unwrap_or(default)
}

pub(crate) fn ranks(case: &Case<'_>) -> Value {
    let confidence = optional(case, "confidence", 0.95);
    rows(case, |row| {
        let r = order::quantile_ranks(row[0] as usize, row[1], confidence).unwrap();
        json!([row[0] as u64, row[1], r.lower, r.upper, r.coverage])
    })
}

pub(crate) fn order_statistic(case: &Case<'_>) -> Value {
    let sample = Sample::new(case.list("x")).unwrap();
    let p = case.number("p");
    let ranks = order::quantile_ranks(sample.len(), p, optional(case, "confidence", 0.95)).unwrap();
    let at = |rank: Option<usize>| rank.map(|r| sample.order_statistic(r));
    json!({
        "lower": at(ranks.lower), "upper": at(ranks.upper),
        "rank_lower": ranks.lower, "rank_upper": ranks.upper, "coverage": ranks.coverage,
        "point_type7": sample.quantile(p, QuantileType::Type7).unwrap(),
        "point_type1": sample.quantile(p, QuantileType::Type1).unwrap(),
    })
}

pub(crate) fn smallest_n(case: &Case<'_>) -> Value {
    rows(case, |row| json!([row[0], row[1], order::smallest_n_one_sided(row[0], row[1]).unwrap()]))
}

pub(crate) fn quantile_sample_size(case: &Case<'_>) -> Value {
    rows(case, |row| {
        json!([row[0], row[1], row[2], order::quantile_sample_size(row[0], row[1], row[2], 0.95).unwrap()])
    })
}

pub(crate) fn early_stopping_under(case: &Case<'_>) -> Value {
    rows(case, |row| {
        json!([row[0] as u64, row[1], order::early_stopping_under(row[0] as u64, row[1], 0.99).unwrap()])
    })
}

pub(crate) fn early_stopping_bound(case: &Case<'_>) -> Value {
    let sample = Sample::new(case.list("x")).unwrap();
    let keys = case.expected.as_object().unwrap().keys();
    keys.map(|key| {
        let (estimate, t) = order::early_stopping_bound(&sample, key.parse().unwrap(), 0.99).ok().unzip();
        (key.clone(), json!({ "estimate": estimate, "t": t }))
    })
    .collect::<Map<_, _>>()
    .into()
}

pub(crate) fn proportion(case: &Case<'_>) -> Value {
    rows(case, |row| {
        let (k, n) = (row[0] as u64, row[1] as u64);
        let wilson = share::wilson(k, n, 0.95).unwrap();
        let exact = share::clopper_pearson(k, n, 0.95).unwrap();
        let anytime = share::anytime(k, n, 0.95).unwrap();
        json!([k, n, wilson.low, wilson.high, exact.low, exact.high, anytime.low, anytime.high])
    })
}

pub(crate) fn newcombe(case: &Case<'_>) -> Value {
    rows(case, |row| {
        let k = [row[0] as u64, row[1] as u64, row[2] as u64, row[3] as u64];
        let (d, interval) = share::newcombe(k[0], k[1], k[2], k[3], 0.95).unwrap();
        json!([k[0], k[1], k[2], k[3], d, interval.low, interval.high])
    })
}

pub(crate) fn poisson(case: &Case<'_>) -> Value {
    rows(case, |row| {
        let interval = share::garwood(row[0] as u64, row[1], 0.95).unwrap();
        json!([row[0] as u64, row[1], interval.low, interval.high])
    })
}

pub(crate) fn mean_t(case: &Case<'_>) -> Value {
    let x = case.list("x");
    let t = t_interval(&x, 0.95).unwrap();
    json!({
        "mean": t.mean, "se": t.se, "lo": t.interval.low, "hi": t.interval.high,
        "bca_acceleration": acceleration(&x, mean),
    })
}

fn indices(value: &Value) -> Vec<Vec<usize>> {
    let rows = value["indices"].as_array().expect("a list of resamples");
    rows.iter().map(|row| floats(row).into_iter().map(|i| i as usize).collect()).collect()
}

fn median(x: &[f64]) -> f64 {
    Sample::new(x).unwrap().median()
}

pub(crate) fn bca(case: &Case<'_>) -> Value {
    let b = from_indices(&case.list("x"), &indices(case.input), median, 0.95).unwrap();
    json!({
        "theta": b.value, "percentile": [b.percentile.low, b.percentile.high], "z0": b.z0, "a": b.acceleration,
        "levels": [b.levels.0, b.levels.1], "bca": [b.bca.low, b.bca.high],
    })
}

pub(crate) fn studentized(case: &Case<'_>) -> Value {
    let source = case.input["indices_from"].as_str().unwrap();
    let other = case.all.iter().find(|c| c["name"] == source).expect("the case it refers to");
    let x = case.list("x");
    let b = studentized_from_indices(&x, &indices(&other["input"]), 0.95).unwrap();
    json!({
        "lo": b.interval.low, "hi": b.interval.high,
        "t_lo": (b.mean - b.interval.high) / b.se, "t_hi": (b.mean - b.interval.low) / b.se,
    })
}

/// All nⁿ resamples by counting in base n; the seeded bootstrap must come near.
pub(crate) fn exact_mean(case: &Case<'_>) -> Value {
    let x = case.list("x");
    let n = x.len();
    let mut means: Vec<f64> = (0..n.pow(n as u32))
        .map(|code| mean(&(0..n).map(|digit| x[code / n.pow(digit as u32) % n]).collect::<Vec<_>>()))
        .collect();
    means.sort_unstable_by(f64::total_cmp);
    let centre = mean(&means);
    let sd = (means.iter().map(|m| (m - centre).powi(2)).sum::<f64>() / means.len() as f64).sqrt();
    let at = |p| quantile_sorted(&means, p, QuantileType::Type1);
    let seeded = bootstrap(&x, mean, 0.95, 20_000, 7).unwrap();
    let reach = 0.03 * (at(0.975) - at(0.025));
    assert!((seeded.percentile.low - at(0.025)).abs() < reach, "{}: {:?}", case.name, seeded.percentile);
    assert!((seeded.percentile.high - at(0.975)).abs() < reach, "{}: {:?}", case.name, seeded.percentile);
    json!({ "boot_sd": sd, "q025": at(0.025), "q50": at(0.5), "q975": at(0.975) })
}

pub(crate) fn exact_quantile(case: &Case<'_>) -> Value {
    let sample = Sample::new(case.list("x")).unwrap();
    let n = sample.len();
    let keys = case.expected.as_object().unwrap().keys();
    keys.map(|key| {
        let p: f64 = key.parse().unwrap();
        let rank = (p * n as f64 - 1e-9).ceil() as usize;
        let law = order_statistic_law(n, rank).unwrap();
        let moment = |k: i32| law.iter().zip(sample.values()).map(|(w, x)| w * x.powi(k)).sum::<f64>();
        let (first, sd) = (moment(1), (moment(2) - moment(1).powi(2)).sqrt());
        let head: Vec<Value> = law.iter().take(5).map(|p| finite(*p)).collect();
        (key.clone(), json!({ "rank": rank, "boot_mean": first, "boot_sd": sd, "p_first5": head }))
    })
    .collect::<Map<_, _>>()
    .into()
}
