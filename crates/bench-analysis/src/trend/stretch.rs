//! Which runs of a series may be held against each other, in which order, and where declared changes split them.

use llms_core::bench::{Annotation, Bound, Level, NotCompared, RunPoint, TrendOptions, TrendSeries};

use crate::stats::change::trend_break::VALUES_MAX;

/// One run that takes part.
#[derive(Debug, Clone)]
pub(super) struct Run<'a> {
    pub(super) point: &'a RunPoint,
    /// its number on the series' scale
    pub(super) x: f64,
    /// the number is a lower limit: the quantile lies among the failures
    pub(super) open: bool,
}

/// The scale on which a series is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// logarithms: effects are ratios
    Log,
    /// as they are: effects are differences
    Plain,
}

impl Scale {
    pub(super) fn is_relative(self) -> bool {
        self == Self::Log
    }

    /// A value on the scale back in the metric's unit; a difference on the scale as an effect.
    pub(super) fn back(self, x: f64) -> f64 {
        if self == Self::Log { x.exp() } else { x }
    }

    /// On the scale: the option for ratios, or for shares; `level` where a metric that usually has ratios has none.
    pub(super) fn size(self, relative: f64, share: f64, series: &TrendSeries, level: f64) -> f64 {
        match self {
            Self::Log => relative.ln_1p(),
            Self::Plain if series.is_relative() => relative * level.abs(),
            Self::Plain => share,
        }
    }
}

/// A series ready to be looked at.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub(super) scale: Scale,
    /// comparable runs in order of time
    pub(super) runs: Vec<Run<'a>>,
    pub(super) not_compared: Vec<NotCompared>,
}

/// Sorts by time, leaves out what is INVALID, has no value, or has not the fingerprint of the newest run (`like`, where given).
pub(super) fn prepare<'a>(series: &'a TrendSeries, like: Option<&'a RunPoint>) -> Prepared<'a> {
    let mut points: Vec<&RunPoint> = series.points.iter().collect();
    points.sort_by(|a, b| (a.at, &a.run_id).cmp(&(b.at, &b.run_id)));
    let mut not_compared = Vec::new();
    let mut leave_out = |p: &RunPoint, reason: String| {
        not_compared.push(NotCompared { run_id: p.run_id.clone(), reason });
    };
    let usable: Vec<&RunPoint> = points
        .into_iter()
        .filter(|p| {
            let reason = if p.validity == Level::Invalid {
                "the run is INVALID: the client measured itself"
            } else if p.estimate.value.as_f64().is_none_or(f64::is_nan) {
                "nothing was measured"
            } else {
                return true;
            };
            leave_out(p, reason.to_owned());
            false
        })
        .collect();
    let reference = like.or(usable.last().copied()).map(|p| &p.fingerprint);
    let mut comparable: Vec<&RunPoint> = usable
        .into_iter()
        .filter(|p| {
            let differs = reference.map(|r| r.differences(&p.fingerprint)).unwrap_or_default();
            if differs.is_empty() {
                return true;
            }
            leave_out(p, format!("not the newest run's {}", differs.join(", ")));
            false
        })
        .collect();
    if VALUES_MAX < comparable.len() {
        for p in comparable.drain(..comparable.len() - VALUES_MAX) {
            leave_out(p, format!("older than the newest {VALUES_MAX} runs"));
        }
    }
    let value = |p: &RunPoint| p.estimate.value.value;
    let limit = |p: &RunPoint| match p.estimate.value.bound {
        Some(Bound::Above(limit)) => limit,
        None => f64::NEG_INFINITY,
    };
    // what is only known to be large ranks above all that is known
    let largest =
        comparable.iter().map(|p| value(p).unwrap_or_else(|| limit(p))).fold(f64::NEG_INFINITY, f64::max);
    let values: Vec<f64> = comparable.iter().map(|p| value(p).unwrap_or(largest)).collect();
    let scale =
        if series.is_relative() && values.iter().all(|v| 0.0 < *v) { Scale::Log } else { Scale::Plain };
    let runs = comparable
        .into_iter()
        .zip(values)
        .map(|(point, v)| Run {
            point,
            x: if scale == Scale::Log { v.ln() } else { v },
            open: value(point).is_none(),
        })
        .filter(|r| r.x.is_finite())
        .collect();
    Prepared { scale, runs, not_compared }
}

/// A stretch without a declared change inside, and the ones that began it.
#[derive(Debug)]
pub(super) struct Stretch<'p, 'a> {
    pub(super) runs: &'p [Run<'a>],
    pub(super) declared: Vec<&'p Annotation>,
}

/// Splits runs at the annotations that concern the series. An annotation before the first run or after the last splits nothing.
pub(super) fn split<'p, 'a>(
    series: &TrendSeries,
    runs: &'p [Run<'a>],
    annotations: &'p [Annotation],
) -> Vec<Stretch<'p, 'a>> {
    let mut declared: Vec<&Annotation> = annotations.iter().filter(|a| a.concerns(series)).collect();
    declared.sort_by_key(|a| a.at);
    let mut out: Vec<Stretch<'p, 'a>> = Vec::new();
    let mut start = 0;
    let mut began: Vec<&Annotation> = Vec::new();
    for annotation in declared {
        let at = runs.partition_point(|r| r.point.at < annotation.at);
        if at == 0 || at == runs.len() {
            continue;
        }
        if start < at {
            out.push(Stretch { runs: &runs[start..at], declared: std::mem::take(&mut began) });
            start = at;
        }
        began.push(annotation);
    }
    out.push(Stretch { runs: &runs[start..], declared: began });
    out
}

/// Smallest change of level worth telling, on the series' scale.
pub(super) fn effect_min(series: &TrendSeries, scale: Scale, level: f64, options: &TrendOptions) -> f64 {
    scale.size(options.min_effect, options.min_effect_share, series, level)
}
