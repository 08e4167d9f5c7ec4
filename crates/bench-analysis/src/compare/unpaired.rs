//! Two targets as if their requests were no pairs: Brunner–Munzel, Cliff's delta, Hodges–Lehmann; and ratios of tails.
//!
//! Effect sizes beside a paired verdict, and the verdict itself where no block holds both targets. The prompts' spread stays in,
//! so much less is seen than by pairs. Intervals here suppose independent requests; where they depend on one another there is
//! none, and no p.

use llms_core::bench::{Bounded, Estimate, Measured, TailRatio, UnpairedEvidence};

use super::Side;
use crate::estimate::{Series, Setting, is_dependent};
use crate::stats::interval::Interval;
use crate::stats::ratio::mover;
use crate::stats::two_sample::{brunner_munzel, cliff_delta, hodges_lehmann};
use crate::summary::{Values, values};

/// Levels of tail ratios.
const TAILS: [f64; 2] = [0.95, 0.99];

const DEPENDENT: &str = "requests depend on one another: no interval";

/// The values of a metric: with failures at +∞, and those of successes.
pub(super) fn of(side: &Side<'_>, metric: &str) -> Values {
    values(side.population, metric, side.population.headline)
}

/// The unpaired view of two samples; absent below two values a side.
pub(super) fn evidence(a: &Values, b: &Values, setting: &Setting) -> Measured<UnpairedEvidence> {
    let dependent = is_dependent(&a.all) || is_dependent(&b.all);
    let n = (a.all.len() + b.all.len()) as u64;
    let cliff = match cliff_delta(&a.all, &b.all, setting.confidence) {
        Ok(c) => c,
        Err(e) => return Measured::absent(e.to_string()),
    };
    let plain = |value: f64, interval: Interval, method: &str| {
        if dependent {
            return Measured::Value(setting.point(value, n, method, DEPENDENT));
        }
        Measured::Value(ratio(value, interval, n, method, setting))
    };
    let test = brunner_munzel(&a.all, &b.all).ok();
    let log = |x: &[f64]| x.iter().map(|v| v.ln()).collect::<Vec<_>>();
    let positive = a.success.iter().chain(&b.success).all(|v| 0.0 < *v);
    let shift = if positive && !a.success.is_empty() && !b.success.is_empty() {
        match hodges_lehmann(&log(&a.success), &log(&b.success), setting.confidence) {
            Ok(s) => plain(
                s.shift.exp(),
                s.interval.map(f64::exp),
                "Hodges–Lehmann shift of logarithms, successes",
            ),
            Err(e) => Measured::absent(e.to_string()),
        }
    } else {
        Measured::absent("a side has no success, or values of 0")
    };
    Measured::Value(UnpairedEvidence {
        p_less: 0.5 * (1.0 - cliff.delta),
        p_value: test.filter(|_| !dependent).map(|t| t.p),
        cliff: plain(cliff.delta, cliff.interval, "Cliff's delta, Feng and Cliff, failures at +∞"),
        ratio: shift,
    })
}

/// A ratio has no timeout: its bound says nothing but "above 1".
pub(super) fn ratio(value: f64, interval: Interval, n: u64, method: &str, setting: &Setting) -> Estimate {
    let bounded = |x: f64| Bounded::from_f64(x, 1.0);
    Estimate {
        value: bounded(value),
        low: Some(bounded(interval.low)),
        high: Some(bounded(interval.high)),
        confidence: setting.confidence,
        n,
        ess: None,
        method: method.to_owned(),
        note: None,
    }
}

/// Ratios of p95 and p99 by MOVER on the limits that each side's quantile has, at its effective n where requests depend on one
/// another. Too wide rather than too narrow: what the sides have in common (prompts) is not taken out.
pub(super) fn tails(a: &Values, b: &Values, setting: &Setting) -> Vec<TailRatio> {
    let (first, second) = (Series::new(&a.all), Series::new(&b.all));
    let limits = |e: &Estimate| -> Option<(f64, Interval)> {
        Some((e.value.as_f64()?, Interval { low: e.low?.as_f64()?, high: e.high?.as_f64()? }))
    };
    let one = |p: f64| -> Measured<Estimate> {
        let (x, y) = (first.quantile(p, setting), second.quantile(p, setting));
        let (x, y) = match (&x, &y) {
            (Measured::Value(x), Measured::Value(y)) => (x, y),
            (Measured::Absent { absent }, _) | (_, Measured::Absent { absent }) => {
                return Measured::absent(absent.clone());
            }
        };
        let Some((p_x, p_y)) = limits(x).zip(limits(y)) else {
            return Measured::absent("a side has no interval at its effective n");
        };
        match mover(p_x, p_y) {
            Ok((value, interval)) => {
                let mut estimate = ratio(value, interval, x.n.min(y.n), "MOVER, order statistics", setting);
                estimate.ess = x.ess.into_iter().chain(y.ess).reduce(f64::min);
                Measured::Value(estimate)
            }
            Err(_) => Measured::absent("failures reach this quantile or its limit: no ratio"),
        }
    };
    TAILS.iter().map(|&p| TailRatio { p, ratio: one(p) }).collect()
}
