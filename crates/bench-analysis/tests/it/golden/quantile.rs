//! Golden cases on quantiles and summaries.

use bench_analysis::stats::quantile::{
    QuantileType, Sample, harrell_davis as hd, maritz_jarrett_se, weighted_quantile,
};
use bench_analysis::stats::summary::summarize;
use llms_core::bench::{Grid, Hdr};
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

pub(crate) fn hdr(case: &Case<'_>) -> Value {
    let values: Vec<u64> = case.list("x_us").into_iter().map(|x| x as u64).collect();
    let with = |figures: u32| {
        let grid = Grid::figures(figures);
        // in two halves, merged: the same as one
        let (mut sketch, mut other) = (Hdr::new(grid), Hdr::new(grid));
        values.iter().enumerate().for_each(|(i, v)| if i % 2 == 0 { sketch.add(*v) } else { other.add(*v) });
        sketch.merge(&other).unwrap();
        let level = |p: &str| (p.to_owned(), json!(sketch.quantile(p.parse::<f64>().unwrap() / 100.0)));
        let levels: Map<_, _> = ["50", "90", "95", "99", "99.9", "100"].map(level).into_iter().collect();
        json!({
            "p": levels,
            "sub_bucket_count": grid.lowest_steps(), "mean_equiv": sketch.mean(),
        })
    };
    json!({ "2": with(2), "3": with(3) })
}

pub(crate) fn ddsketch(case: &Case<'_>) -> Value {
    let alpha = case.number("alpha");
    let sketch = bench_analysis::stats::ddsketch::DdSketch::new(alpha).unwrap();
    let rows = case.expected.as_array().unwrap();
    rows.iter()
        .map(|row| {
            let v = row[0].as_f64().unwrap();
            let step = sketch.step(v);
            assert!((sketch.value(step) - v).abs() <= alpha * v, "{}: {v}", case.name);
            json!([v, step, sketch.value(step)])
        })
        .collect()
}
