//! Golden cases on quantiles and summaries.

use bench_analysis::stats::quantile::{
    QuantileType, Sample, harrell_davis as hd, maritz_jarrett_se, weighted_quantile,
};
use bench_analysis::stats::summary::summarize;
use serde_json::{Map, Value, json};

use super::{Case, finite};

pub(crate) fn hyndman_fan(case: &Case<'_>) -> Value {
    let sample = Sample::new(case.list("x")).unwrap();
    let levels = case.list("p");
    let row = |kind| levels.iter().map(|p| finite(sample.quantile(*p, kind).unwrap())).collect::<Vec<_>>();
    QuantileType::ALL
        .into_iter()
        .map(|kind| (format!("type{}", kind.number()), Value::from(row(kind))))
        .collect::<Map<_, _>>()
        .into()
}

pub(crate) fn failures(case: &Case<'_>) -> Value {
    let sample = Sample::with_failures(case.list("success_ms"), case.number("failures") as usize).unwrap();
    case.list("p").iter().map(|p| finite(sample.quantile(*p, QuantileType::Type1).unwrap())).collect()
}

pub(crate) fn weighted(case: &Case<'_>) -> Value {
    let (x, w) = (case.list("x"), case.list("w"));
    case.list("p").iter().map(|p| finite(weighted_quantile(&x, &w, *p).unwrap())).collect()
}

pub(crate) fn summary(case: &Case<'_>) -> Value {
    let s = summarize(&case.list("x")).unwrap();
    json!({
        "mean": s.mean, "sd": s.sd, "cv": s.cv, "median": s.median, "mad": s.mad, "min": s.min, "max": s.max,
        "gmean": s.geometric_mean, "trimmed_mean_10": s.trimmed_mean_10, "skew_g1": s.skewness,
    })
}

pub(crate) fn harrell_davis(case: &Case<'_>) -> Value {
    let sample = Sample::new(case.list("x")).unwrap();
    let keys = case.expected.as_object().unwrap().keys();
    keys.map(|key| {
        let p: f64 = key.parse().unwrap();
        let se = maritz_jarrett_se(&sample, p).ok();
        (key.clone(), json!({ "hd": hd(&sample, p).unwrap(), "mj_se": se }))
    })
    .collect::<Map<_, _>>()
    .into()
}
