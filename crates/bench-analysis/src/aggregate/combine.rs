//! From digests to what holds over runs: t on log statistics, variance components, merged sketches, runs that stand out.

use std::collections::{BTreeMap, BTreeSet};

use llms_core::bench::aggregate::LEAST_RUNS;
use llms_core::bench::{
    AggregateOptions, Bounded, Estimate, LeftOut, Level, Measured, MergedDistribution, MetricAggregate,
    MetricDigest, OutlierRun, QuantileAggregate, RunDigest, TargetAggregate, VarianceComponents, metric,
};

use crate::estimate::{LEVELS, level_name};
use crate::stats::mean::t_interval;
use crate::stats::quantile::Sample;
use crate::stats::summary::{mean, variance};

/// Robust standard deviations from which a run stands out.
const STANDS_OUT: f64 = 3.5;
/// Of a normal sample, the median absolute deviation is this many standard deviations.
const MAD: f64 = 0.674_489_750_196_081_7;

const POLICY: &str = "no request and no run is left out for its numbers: slow answers are answers, and statistics on ranks \
and logarithms bear them. Runs whose log median lies more than 3.5 robust standard deviations from that of all runs are named, \
to be looked into. Only runs that judged themselves INVALID take no part, whatever they show";

/// A target over its runs, in the order of their start.
pub(super) fn target(name: &str, all: &[&RunDigest], options: &AggregateOptions) -> TargetAggregate {
    let valid = |r: &RunDigest| options.include_invalid || r.level < Level::Invalid;
    let runs: Vec<&RunDigest> = all.iter().copied().filter(|r| valid(r)).collect();
    let left_out = all.iter().filter(|r| !valid(r)).map(|r| LeftOut {
        run_id: r.run_id.clone(),
        why: "it judged itself INVALID: the client measured itself".to_owned(),
    });
    let names: BTreeSet<&String> = runs.iter().flat_map(|r| r.metrics.keys()).collect();
    let metrics: BTreeMap<String, MetricAggregate> =
        names.into_iter().map(|m| (m.clone(), one_metric(m, &runs, options))).collect();
    let rates: BTreeSet<&String> = runs.iter().flat_map(|r| r.rates.keys()).collect();
    let rate = |name: &&String| {
        let list: Vec<Option<f64>> = runs.iter().map(|r| r.rates.get(*name).copied()).collect();
        ((*name).clone(), over_runs(&list, name, options))
    };
    TargetAggregate {
        target: name.to_owned(),
        runs: runs.iter().map(|r| r.run_id.clone()).collect(),
        left_out: left_out.collect(),
        error_rate: error_rate(&runs, options),
        outliers: metrics.keys().flat_map(|m| outliers(m, &runs)).collect(),
        metrics,
        rates: rates.iter().map(rate).collect(),
        policy: POLICY.to_owned(),
    }
}

fn one_metric(name: &str, runs: &[&RunDigest], options: &AggregateOptions) -> MetricAggregate {
    let of: Vec<Option<&MetricDigest>> = runs.iter().map(|r| r.metrics.get(name)).collect();
    let present: Vec<&MetricDigest> = of.iter().copied().flatten().collect();
    let mut merged = MergedDistribution {
        sketch: llms_core::bench::Hdr::new(llms_core::bench::Grid::THREE),
        failed: present.iter().map(|m| m.failed).sum(),
    };
    for one in &present {
        merged.sketch.merge(&one.sketch).expect("invariant: digests have the grid of three figures");
    }
    let means: Vec<Option<f64>> = of.iter().map(|m| m.and_then(|m| m.mean)).collect();
    let quantile = |p: f64| {
        let list: Vec<Option<f64>> = of
            .iter()
            .map(|m| m.and_then(|m| m.quantiles.iter().find(|q| q.p == p)?.value.as_f64()))
            .collect();
        QuantileAggregate {
            p,
            of_runs: over_runs(&list, &level_name(p), options),
            pooled: match merged.quantile(p) {
                Some(v) => Measured::Value(Bounded::from_f64(
                    v,
                    merged.sketch.quantile(1.0).map_or(0.0, |m| m as f64 / 1e9),
                )),
                None => Measured::absent("no values"),
            },
        }
    };
    MetricAggregate {
        unit: metric::METRICS.iter().find(|m| m.name == name).map_or("s", |m| m.unit).to_owned(),
        mean: over_runs(&means, "mean", options),
        quantiles: LEVELS.map(quantile).into(),
        variance: components(&present, options),
        merged,
    }
}

/// One statistic of each run → its geometric mean with t(r − 1) on logs; a point and the reason below [`LEAST_RUNS`] runs.
fn over_runs(list: &[Option<f64>], what: &str, options: &AggregateOptions) -> Measured<Estimate> {
    let known: Vec<f64> = list.iter().copied().flatten().collect();
    if known.is_empty() {
        return Measured::absent(format!("no run has {what}"));
    }
    let infinite = known.iter().filter(|v| v.is_infinite()).count();
    if 0 < infinite {
        return Measured::absent(format!("failures reach {what} in {infinite} of {} runs", known.len()));
    }
    if let Some(v) = known.iter().find(|v| **v <= 0.0) {
        return Measured::absent(format!("a run has {what} of {v}: no logarithm"));
    }
    let logs: Vec<f64> = known.iter().map(|v| v.ln()).collect();
    let lacking = list.len() - known.len();
    let note = (0 < lacking).then(|| format!("{lacking} runs have no {what}"));
    claim(&logs, f64::exp, "t on logs of runs", note, options)
}

/// A mean over runs in the scale of `back`.
fn claim(
    values: &[f64],
    back: fn(f64) -> f64,
    method: &str,
    note: Option<String>,
    options: &AggregateOptions,
) -> Measured<Estimate> {
    let runs = values.len() as u64;
    let mut estimate = Estimate {
        value: Bounded::finite(back(mean(values))),
        low: None,
        high: None,
        confidence: options.confidence,
        n: runs,
        ess: None,
        method: method.to_owned(),
        note,
    };
    match t_interval(values, options.confidence) {
        Ok(t) if LEAST_RUNS <= runs => {
            estimate.low = Some(Bounded::finite(back(t.interval.low)));
            estimate.high = Some(Bounded::finite(back(t.interval.high)));
        }
        _ => {
            let why = format!("no claim below {LEAST_RUNS} runs, have {runs}: repeat the run");
            estimate.note = Some(estimate.note.map_or(why.clone(), |n| format!("{why}; {n}")));
        }
    }
    Measured::Value(estimate)
}

fn error_rate(runs: &[&RunDigest], options: &AggregateOptions) -> Measured<Estimate> {
    let share = |r: &&RunDigest| {
        let ended = r.ok + r.failed;
        (0 < ended).then(|| r.failed as f64 / ended as f64)
    };
    let shares: Vec<f64> = runs.iter().filter_map(share).collect();
    if shares.is_empty() {
        return Measured::absent("no request ended");
    }
    let mut told = claim(&shares, |s| s.clamp(0.0, 1.0), "t on shares of runs", None, options);
    // No spread between runs is no proof that there is none: an interval without width would be a claim.
    if let Measured::Value(estimate) = &mut told
        && shares.iter().all(|s| *s == shares[0])
    {
        (estimate.low, estimate.high) = (None, None);
        estimate.note = Some("every run has the same share: no spread to make an interval of".to_owned());
    }
    told
}

/// Two-level variance of the logarithms. Runs may differ in length: m is the harmonic mean of their effective requests.
///
/// # Source
/// Kalibera and Jones 2013, for equal lengths; `crate::stats::runs::run_variance`.
fn components(runs: &[&MetricDigest], options: &AggregateOptions) -> Measured<VarianceComponents> {
    let known: Vec<(f64, f64, f64)> = runs
        .iter()
        .filter_map(|m| Some((m.log_mean?, m.log_variance?, m.ess.unwrap_or(m.n as f64))))
        .collect();
    if known.len() < 2 {
        return Measured::absent(format!(
            "a variance between runs needs 2 runs with 2 values each, have {}",
            known.len()
        ));
    }
    let means: Vec<f64> = known.iter().map(|k| k.0).collect();
    let within = mean(&known.iter().map(|k| k.1).collect::<Vec<_>>());
    let of_means = variance(&means).expect("invariant: two runs or more");
    let requests = known.len() as f64 / known.iter().map(|k| 1.0 / k.2).sum::<f64>();
    let between = of_means - within / requests;
    let floored = between.max(0.0);
    let best = (options.start_cost * within / between).sqrt().ceil();
    Measured::Value(VarianceComponents {
        within,
        of_means,
        between,
        intraclass: if floored + within == 0.0 { 0.0 } else { floored / (floored + within) },
        best_requests: (0.0 < between && best.is_finite()).then_some(best as u64),
    })
}

/// Runs whose log median lies far from the others': by the median absolute deviation, five runs at least.
fn outliers(metric: &str, runs: &[&RunDigest]) -> Vec<OutlierRun> {
    let median = |r: &&RunDigest| {
        let m = r.metrics.get(metric)?;
        let at = m.quantiles.iter().find(|q| q.p == 0.5)?.value.value.filter(|v| 0.0 < *v)?;
        Some((r.run_id.clone(), at.ln()))
    };
    let known: Vec<(String, f64)> = runs.iter().filter_map(median).collect();
    if (known.len() as u64) < LEAST_RUNS {
        return Vec::new();
    }
    let middle = |x: Vec<f64>| Sample::new(x).map_or(f64::NAN, |s| s.median());
    let centre = middle(known.iter().map(|k| k.1).collect());
    let spread = middle(known.iter().map(|k| (k.1 - centre).abs()).collect()) / MAD;
    known
        .into_iter()
        .map(|(run_id, at)| OutlierRun {
            run_id,
            metric: metric.to_owned(),
            distance: (at - centre) / spread,
        })
        .filter(|o| STANDS_OUT < o.distance.abs() && o.distance.is_finite())
        .collect()
}
