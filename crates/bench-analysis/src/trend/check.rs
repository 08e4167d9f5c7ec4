//! Current against baseline: no worse than the margin allows, worse, or not known.

use llms_core::bench::{
    Better, Bounded, Estimate, Measured, NotCompared, RegressionCheck, RegressionOutcome, RunPoint,
    TrendOptions, TrendSeries,
};

use super::stretch::{Prepared, Run, Scale, prepare};
use crate::stats::distribution::{norm_quantile, norm_sf, t_quantile, t_sf};
use crate::stats::interval::{Interval, StatsError};
use crate::stats::multiple::holm;
use crate::stats::ratio::welch;
use crate::stats::summary::{mean, variance};
use crate::stats::trend::median;

/// Fewest runs, both sides together, for an interval that holds the spread between runs.
const RUNS_MIN: usize = 5;

/// One check a series of the current side; p of "worse" is adjusted over all of them.
pub(super) fn check(
    baseline: &[TrendSeries],
    current: &[TrendSeries],
    options: &TrendOptions,
) -> Result<Vec<RegressionCheck>, StatsError> {
    let none = |like: &TrendSeries| TrendSeries { points: Vec::new(), ..like.clone() };
    let mut raw = Vec::new();
    for series in current {
        let same = |b: &&TrendSeries| {
            (&b.target, &b.metric, &b.statistic) == (&series.target, &series.metric, &series.statistic)
        };
        let base = baseline.iter().find(same).cloned().unwrap_or_else(|| none(series));
        raw.push(one(&base, series, options)?);
    }
    let p: Vec<f64> = raw.iter().filter_map(|(_, v)| v.as_ref().map(|v| v.p_worse)).collect();
    let family = p.len();
    let mut adjusted = holm(&p).into_iter();
    Ok(raw
        .into_iter()
        .map(|(mut check, verdict)| {
            if let Some(verdict) = verdict {
                let p = adjusted.next().unwrap_or(verdict.p_worse);
                check.p_worse = Some(p);
                (check.outcome, check.reason) = outcome(&verdict, p, family, options);
            }
            check
        })
        .collect())
}

/// What the interval says before the family is looked at.
struct Verdict {
    passes: bool,
    p_worse: f64,
    /// what the interval does not hold
    caveat: &'static str,
}

fn outcome(v: &Verdict, p: f64, family: usize, options: &TrendOptions) -> (RegressionOutcome, String) {
    let alpha = 1.0 - options.confidence;
    let with = |text: String| if v.caveat.is_empty() { text } else { format!("{text}; {}", v.caveat) };
    if v.passes {
        return (
            RegressionOutcome::Pass,
            with("the interval excludes a change as bad as the margin".to_owned()),
        );
    }
    if p < alpha {
        return (RegressionOutcome::Fail, with("worse than the margin allows, beyond chance".to_owned()));
    }
    let why = if v.p_worse < alpha {
        format!("worse alone, but not beyond chance among {family} checks: more runs are needed")
    } else {
        "the interval holds the margin: more runs are needed".to_owned()
    };
    (RegressionOutcome::Inconclusive, with(why))
}

fn one(
    base: &TrendSeries,
    series: &TrendSeries,
    options: &TrendOptions,
) -> Result<(RegressionCheck, Option<Verdict>), StatsError> {
    let now = prepare(series, None);
    let newest: Option<&RunPoint> = now.runs.last().map(|r| r.point);
    let before = prepare(base, newest);
    let scale = if before.scale == Scale::Plain { Scale::Plain } else { now.scale };
    let relative = scale.is_relative();
    let margin = if relative || series.is_relative() { options.margin } else { options.margin_share };
    let not_compared: Vec<NotCompared> =
        before.not_compared.iter().chain(&now.not_compared).cloned().collect();
    let mut out = RegressionCheck {
        target: series.target.clone(),
        metric: series.metric.clone(),
        statistic: series.statistic.clone(),
        baseline_runs: before.runs.len() as u64,
        current_runs: now.runs.len() as u64,
        margin,
        effect: Measured::absent("no comparable run on one side"),
        outcome: RegressionOutcome::Inconclusive,
        reason: "no comparable run on one side: nothing can be said".to_owned(),
        p_worse: None,
        not_compared,
    };
    if before.runs.is_empty() || now.runs.is_empty() {
        return Ok((out, None));
    }
    let (b, c) = (values(&before, scale), values(&now, scale));
    let alpha = 1.0 - options.confidence;
    let few = b.len() + c.len() < RUNS_MIN;
    let within = || within_runs(&before, &now, scale, alpha);
    let mut told = if few { within() } else { between_runs(&b, &c, alpha)? };
    // Runs without spread, such as none with a failure, say no more than the runs themselves can: 0 of 40 is not 0 %.
    let mut rests_within = few;
    if told.as_ref().is_some_and(|t| t.se == 0.0)
        && let Some(own) = within().filter(|own| 0.0 < own.se)
    {
        (told, rests_within) = (Some(own), true);
    }
    let Some(told) = told else {
        let why = "fewer than five runs, and the newest have no interval of their own: more runs are needed";
        (out.effect, out.reason) = (Measured::absent(why), why.to_owned());
        return Ok((out, None));
    };
    let level = scale.back(median(&b));
    let size = scale.size(options.margin, options.margin_share, series, level);
    let open = before.runs.iter().chain(&now.runs).any(|r| r.open);
    out.effect = Measured::Value(Estimate {
        value: Bounded::finite(scale.back(told.value)),
        low: Some(Bounded::finite(scale.back(told.interval.low))),
        high: Some(Bounded::finite(scale.back(told.interval.high))),
        confidence: 1.0 - 2.0 * alpha,
        n: (b.len() + c.len()) as u64,
        ess: None,
        method: told.method.to_owned(),
        note: open.then(|| "some run's value lies beyond its limit: the effect is a lower limit".to_owned()),
    });
    let (passes, p_worse) = match series.better() {
        Better::Lower => (told.interval.high < size, told.p_above(size)),
        Better::Higher => (-size < told.interval.low, told.p_below(-size)),
        Better::Neither => (
            -size < told.interval.low && told.interval.high < size,
            (2.0 * told.p_above(size).min(told.p_below(-size))).min(1.0),
        ),
    };
    // a value beyond its limit on the current side can only be worse than it looks
    let hidden = now.runs.iter().any(|r| r.open) && series.better() != Better::Higher;
    let caveat = if !few && rests_within {
        "the runs do not vary, so that the interval holds the noise within the newest ones"
    } else if few {
        "one side has so few runs that the interval holds the noise within runs only, not between them"
    } else {
        ""
    };
    Ok((out, Some(Verdict { passes: passes && !hidden, p_worse, caveat })))
}

fn values(side: &Prepared<'_>, scale: Scale) -> Vec<f64> {
    side.runs.iter().map(|r| rescaled(r, side.scale, scale)).collect()
}

fn rescaled(run: &Run<'_>, from: Scale, to: Scale) -> f64 {
    if from == to { run.x } else { from.back(run.x) }
}

/// A difference on the scale with its one-sided tests.
struct Told {
    value: f64,
    interval: Interval,
    se: f64,
    df: Option<f64>,
    method: &'static str,
}

impl Told {
    /// p of "at most `limit`".
    fn p_above(&self, limit: f64) -> f64 {
        self.tail((self.value - limit) / self.se)
    }

    /// p of "at least `limit`".
    fn p_below(&self, limit: f64) -> f64 {
        self.tail((limit - self.value) / self.se)
    }

    fn tail(&self, t: f64) -> f64 {
        if t.is_nan() {
            // no spread and exactly at the margin
            return 1.0;
        }
        self.df.map_or_else(|| norm_sf(t), |df| t_sf(t, df))
    }
}

/// Runs as units: Welch, or the spread of the side that has one.
fn between_runs(b: &[f64], c: &[f64], alpha: f64) -> Result<Option<Told>, StatsError> {
    let confidence = 1.0 - 2.0 * alpha;
    let value = mean(c) - mean(b);
    if 2 <= b.len() && 2 <= c.len() {
        return match welch(c, b, confidence) {
            Ok(w) => Ok(Some(Told {
                value: w.difference,
                interval: w.interval,
                se: w.se,
                df: Some(w.df),
                method: "Welch on runs",
            })),
            Err(StatsError::Undefined(_)) => Ok(Some(exact(value))),
            Err(e) => Err(e),
        };
    }
    let many = if b.len() < c.len() { c } else { b };
    let n = many.len() as f64;
    let sd = variance(many).unwrap_or(0.0).sqrt();
    if sd == 0.0 {
        return Ok(Some(exact(value)));
    }
    let se = sd * (1.0 + 1.0 / n).sqrt();
    let reach = t_quantile(0.5 + 0.5 * confidence, n - 1.0) * se;
    Ok(Some(Told {
        value,
        interval: Interval::new(value - reach, value + reach),
        se,
        df: Some(n - 1.0),
        method: "one run against the spread of the others, t",
    }))
}

/// Runs that do not vary at all.
fn exact(value: f64) -> Told {
    Told { value, interval: Interval::new(value, value), se: 0.0, df: None, method: "runs without spread" }
}

/// The newest run of either side by their own intervals: MOVER, limits brought to the level asked for.
fn within_runs(before: &Prepared<'_>, now: &Prepared<'_>, scale: Scale, alpha: f64) -> Option<Told> {
    let own = |p: &Prepared<'_>| {
        let run = p.runs.last()?;
        let e = &run.point.estimate;
        let on = |v: f64| if scale.is_relative() { v.ln() } else { v };
        let (low, high) = (e.low?.value?, e.high?.value?);
        let x = rescaled(run, p.scale, scale);
        // from the run's confidence to ours, as if normal
        let widen = norm_quantile(1.0 - alpha) / norm_quantile(0.5 + 0.5 * e.confidence);
        let (down, up) = ((x - on(low)) * widen, (on(high) - x) * widen);
        (down.is_finite() && up.is_finite() && 0.0 <= down && 0.0 <= up).then_some((x, down, up))
    };
    let ((b, b_down, b_up), (c, c_down, c_up)) = (own(before)?, own(now)?);
    let value = c - b;
    let interval = Interval::new(value - c_down.hypot(b_up), value + c_up.hypot(b_down));
    let se = (interval.high - interval.low) / (2.0 * norm_quantile(1.0 - alpha));
    Some(Told { value, interval, se, df: None, method: "MOVER on the newest run of either side" })
}
