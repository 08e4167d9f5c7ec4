//! One series: its stretches, changes, levels and the slope of its newest runs. Says what moved; what that means is `decide`'s.

use llms_core::bench::{
    Annotation, Better, Bounded, ChangePoint, ChangeStatus, DeclaredChange, Estimate, Measured, MetricTrend,
    SecondOpinions, TrendDirection, TrendOptions, TrendSegment, TrendSeries, TrendSlope, WatchAlarm,
};

use super::confirm;
use super::stretch::{Prepared, Run, Scale, effect_min, prepare, split};
use crate::stats::change::history::{DRIFTING, Evidence, Found, History, Recipe, history};
use crate::stats::change::online::{ARL0, OnlineScan};
use crate::stats::change::{pelt, segments};
use crate::stats::distribution::norm_quantile;
use crate::stats::interval::{Interval, StatsError};
use crate::stats::order_interval::quantile_estimate;
use crate::stats::quantile::Sample;
use crate::stats::trend::{mann_kendall, median, residual_lag1, theil_sen_dependent};

/// Fewest runs of a slope.
const SLOPE_RUNS: usize = 4;
/// Fewest runs after a change before they have a slope of their own.
const SLOPE_AFTER: usize = 8;
/// Power at which the smallest detectable change is told.
const POWER: f64 = 0.8;

/// A judged series with what its direction will rest on.
pub(super) struct Judged {
    pub(super) trend: MetricTrend,
    /// change over the newest stretch by its slope, with limits, on the series' scale
    pub(super) drift: Option<(f64, Interval)>,
    /// smallest change worth telling, and the margin of "steady", on the scale
    pub(super) effect_min: f64,
    pub(super) margin: f64,
    /// the newest supported change of the newest stretch: direction, and how sure
    pub(super) newest: Option<(TrendDirection, f64)>,
}

pub(super) fn judge(
    series: &TrendSeries,
    annotations: &[Annotation],
    options: &TrendOptions,
    family: usize,
) -> Result<Judged, StatsError> {
    let Prepared { scale, runs, not_compared } = prepare(series, None);
    let values: Vec<f64> = runs.iter().map(|r| r.x).collect();
    let level = if values.is_empty() { 0.0 } else { scale.back(median(&values)) };
    let effect_min = effect_min(series, scale, level, options);
    let unit = series.definition().map_or("", |d| d.unit).to_owned();
    let mut out = Judged {
        trend: MetricTrend {
            target: series.target.clone(),
            metric: series.metric.clone(),
            statistic: series.statistic.clone(),
            unit,
            relative: scale.is_relative(),
            better: series.better(),
            data_points: runs.len() as u64,
            direction: TrendDirection::Undecided,
            confidence: None,
            slope: Measured::absent("no comparable run"),
            changes: Vec::new(),
            segments: Vec::new(),
            watch: Vec::new(),
            declared: Vec::new(),
            memory: None,
            drifting: false,
            smallest_detectable: None,
            not_compared,
            summary: String::new(),
        },
        drift: None,
        effect_min,
        margin: scale.size(options.margin, options.margin_share, series, level),
        newest: None,
    };
    let stretches = split(series, &runs, annotations);
    let last = stretches.len() - 1;
    let mut before: &[Run<'_>] = &[];
    for (i, stretch) in stretches.iter().enumerate() {
        let tell = Tell { series, scale, options };
        if !stretch.declared.is_empty() {
            let effect = tell.effect(before, stretch.runs)?;
            out.trend.declared.extend(
                stretch
                    .declared
                    .iter()
                    .map(|a| DeclaredChange { annotation: (*a).clone(), effect: effect.clone() }),
            );
        }
        before = stretch.runs;
        tell.stretch(&mut out, stretch.runs, i == last, family)?;
    }
    Ok(out)
}

/// What every statement about a series shares.
struct Tell<'a> {
    series: &'a TrendSeries,
    scale: Scale,
    options: &'a TrendOptions,
}

impl Tell<'_> {
    fn stretch(
        &self,
        out: &mut Judged,
        runs: &[Run<'_>],
        newest: bool,
        family: usize,
    ) -> Result<(), StatsError> {
        if runs.is_empty() {
            return Ok(());
        }
        let x: Vec<f64> = runs.iter().map(|r| r.x).collect();
        let history = if x.len() < 2 {
            History { changes: Vec::new(), memory: None, drifting: false, explained: true, noise: 0.0 }
        } else {
            history(&x, &Recipe::new(out.effect_min, self.options.seed))?
        };
        let supported = history.supported();
        let bounds: Vec<usize> =
            [0].into_iter().chain(supported.iter().copied()).chain([runs.len()]).collect();
        for found in &history.changes {
            let from = bounds.iter().rfind(|b| **b < found.at).copied().unwrap_or(0);
            let to = bounds.iter().find(|b| found.at < **b).copied().unwrap_or(runs.len());
            let current = newest && to == runs.len();
            let change = self.change(found, &history, &runs[from..found.at], &runs[found.at..to], current)?;
            if newest && found.supported {
                out.newest = Some((change.direction, sureness(&found.evidence)));
            }
            out.trend.changes.push(change);
        }
        for bound in bounds.windows(2) {
            out.trend.segments.push(self.segment(&runs[bound[0]..bound[1]]));
        }
        self.watch(out, runs, family)?;
        if newest {
            out.trend.memory = history.memory;
            out.trend.drifting = history.drifting;
            let since = supported.last().copied().unwrap_or(0);
            self.slope(out, &runs[since..], 0 < since)?;
        }
        Ok(())
    }

    fn change(
        &self,
        found: &Found,
        history: &History,
        before: &[Run<'_>],
        after: &[Run<'_>],
        current: bool,
    ) -> Result<ChangePoint, StatsError> {
        let measured = self.effect(before, after)?;
        let effect = measured.value().cloned().unwrap_or_else(|| self.estimate(0.0, None, 0, ""));
        let shift = segments::shift_value(&values(before), &values(after))?;
        let (method, p) = match found.evidence {
            Evidence::Level { p, .. } => ("rank scan, permutation p".to_owned(), Some(p)),
            Evidence::Prewhitened { p, .. } => {
                ("rank scan on prewhitened values, permutation p".to_owned(), Some(p))
            }
            Evidence::Break { gain, price } => (
                format!("break of lines with AR(1) noise: gains {gain:.1}, had to gain {price:.1} (5 ln n)"),
                None,
            ),
            Evidence::Energy { p } => ("E-divisive, permutation p".to_owned(), Some(p)),
            Evidence::Cusum => ("CUSUM, slack 0.5, limit 5".to_owned(), None),
        };
        let direction = direction(self.series.better(), shift);
        let confirmation = if current {
            let stage_one = if found.supported { 0.01 } else { 0.05 };
            confirm::plan(
                self.series,
                self.scale,
                before,
                after,
                shift,
                history.noise,
                self.options,
                stage_one,
            )
        } else {
            Measured::absent("the level after it has passed: nothing is left to run again")
        };
        let first = after[0].point;
        Ok(ChangePoint {
            run_id: first.run_id.clone(),
            at: first.at,
            method,
            p,
            effect,
            n_before: before.len() as u64,
            n_after: after.len() as u64,
            direction,
            votes: SecondOpinions {
                e_divisive: found.votes.e_divisive,
                pelt: found.votes.pelt,
                cusum: found.votes.cusum,
                bocpd: found.votes.bocpd,
            },
            status: if found.supported { ChangeStatus::Supported } else { ChangeStatus::Candidate },
            confirmation,
        })
    }

    /// After against before by Hodges–Lehmann.
    fn effect(&self, before: &[Run<'_>], after: &[Run<'_>]) -> Result<Measured<Estimate>, StatsError> {
        if before.is_empty() || after.is_empty() {
            return Ok(Measured::absent("no comparable run on one side"));
        }
        let shift = segments::shift(&values(before), &values(after), self.options.confidence)?;
        let method =
            if self.scale.is_relative() { "Hodges–Lehmann ratio" } else { "Hodges–Lehmann difference" };
        let n = (before.len() + after.len()) as u64;
        let mut estimate = self.estimate(shift.value, shift.interval, n, method);
        if estimate.low.is_none() {
            estimate.note = Some(format!(
                "{} runs before and {} after are too few for an interval",
                before.len(),
                after.len()
            ));
        }
        if before.iter().chain(after).any(|r| r.open) {
            estimate.note =
                Some("some run's value lies beyond its limit: the effect is a lower limit".to_owned());
        }
        Ok(Measured::Value(estimate))
    }

    fn estimate(&self, value: f64, interval: Option<Interval>, n: u64, method: &str) -> Estimate {
        Estimate {
            value: Bounded::finite(self.scale.back(value)),
            low: interval.map(|i| Bounded::finite(self.scale.back(i.low))),
            high: interval.map(|i| Bounded::finite(self.scale.back(i.high))),
            confidence: self.options.confidence,
            n,
            ess: None,
            method: method.to_owned(),
            note: None,
        }
    }

    fn segment(&self, runs: &[Run<'_>]) -> TrendSegment {
        let x = values(runs);
        let exact = Sample::new(x.as_slice())
            .and_then(|sample| quantile_estimate(&sample, 0.5, self.options.confidence))
            .ok();
        let mut level = self.estimate(
            median(&x),
            exact.map(|e| e.interval),
            runs.len() as u64,
            "median of runs, exact order-statistic interval",
        );
        if level.low.is_none() {
            level.note = Some(format!("{} runs are too few for an interval", runs.len()));
        }
        TrendSegment {
            from_run: runs[0].point.run_id.clone(),
            to_run: runs[runs.len() - 1].point.run_id.clone(),
            level,
        }
    }

    fn watch(&self, out: &mut Judged, runs: &[Run<'_>], family: usize) -> Result<(), StatsError> {
        // one false alarm in so many runs over all series together
        let arl0 = (self.options.arl0 * family.max(1) as f64).clamp(ARL0[0], ARL0[ARL0.len() - 1]);
        let mut scan = OnlineScan::new(arl0)?;
        for run in runs {
            if let Some(alarm) = scan.observe(run.x)? {
                out.trend.watch.push(WatchAlarm {
                    raised_by: run.point.run_id.clone(),
                    since_run: runs[alarm.at].point.run_id.clone(),
                    z: alarm.z.abs(),
                    limit: alarm.threshold,
                });
            }
        }
        Ok(())
    }

    fn slope(&self, out: &mut Judged, runs: &[Run<'_>], after_change: bool) -> Result<(), StatsError> {
        let n = runs.len();
        let needed = if after_change { SLOPE_AFTER } else { SLOPE_RUNS };
        if n < needed {
            let since = if after_change { " since the newest change" } else { "" };
            out.trend.slope = Measured::absent(format!("a slope needs {needed} runs{since}, have {n}"));
            return Ok(());
        }
        let x = values(runs);
        let number: Vec<f64> = (0..n).map(|i| i as f64).collect();
        let lag1 = residual_lag1(&x)?;
        let worth = if DRIFTING < lag1 { (1.0 + lag1) / (1.0 - lag1.min(0.98)) } else { 1.0 };
        let per_run = theil_sen_dependent(&number, &x, self.options.confidence, worth)?;
        let test = mann_kendall(&x)?.discounted(worth);
        let begin = runs[0].point.at;
        let days: Vec<f64> = runs.iter().map(|r| (r.point.at - begin).as_seconds_f64() / 86_400.0).collect();
        // relative slopes are small: e^b − 1 a run
        let tell = |slope: f64, interval: Interval| {
            let f = |b: f64| if self.scale.is_relative() { b.exp_m1() } else { b };
            Estimate {
                value: Bounded::finite(f(slope)),
                low: Some(Bounded::finite(f(interval.low))),
                high: Some(Bounded::finite(f(interval.high))),
                confidence: self.options.confidence,
                n: n as u64,
                ess: (1.0 < worth).then(|| n as f64 / worth),
                method: "Theil–Sen".to_owned(),
                note: None,
            }
        };
        let per_day = match theil_sen_dependent(&days, &x, self.options.confidence, worth) {
            Ok(s) => Measured::Value(tell(s.slope, s.interval)),
            Err(StatsError::Undefined(_)) => Measured::absent("all runs began at the same moment"),
            Err(e) => return Err(e),
        };
        let span = (n - 1) as f64;
        out.drift = Some((per_run.slope * span, per_run.interval.map(|s| s * span)));
        // two halves against each other
        let sd = pelt::noise(&x)?;
        let reach = norm_quantile(0.5 + 0.5 * self.options.confidence) + norm_quantile(POWER);
        let visible = reach * sd * (4.0 * worth / n as f64).sqrt();
        out.trend.smallest_detectable =
            (0.0 < visible).then(|| if self.scale.is_relative() { visible.exp_m1() } else { visible });
        out.trend.slope = Measured::Value(TrendSlope {
            per_run: tell(per_run.slope, per_run.interval),
            per_day,
            p: test.p,
            p_adjusted: test.p,
            n: n as u64,
        });
        Ok(())
    }
}

fn values(runs: &[Run<'_>]) -> Vec<f64> {
    runs.iter().map(|r| r.x).collect()
}

/// What a change by `shift` means.
pub(super) fn direction(better: Better, shift: f64) -> TrendDirection {
    match better {
        Better::Neither => TrendDirection::Changed,
        Better::Lower if shift < 0.0 => TrendDirection::Better,
        Better::Higher if 0.0 < shift => TrendDirection::Better,
        _ => TrendDirection::Worse,
    }
}

/// 1 − p; for a break the posterior chance of it by its price, even odds before (Schwarz 1978).
fn sureness(evidence: &Evidence) -> f64 {
    match evidence {
        Evidence::Level { p, .. } | Evidence::Prewhitened { p, .. } | Evidence::Energy { p } => 1.0 - p,
        Evidence::Break { gain, price } => 1.0 / (1.0 + (-0.5 * (gain - price)).exp()),
        Evidence::Cusum => 0.5,
    }
}
