//! From what moved to what it means: direction and confidence of each series, and of the whole.

use std::collections::BTreeSet;

use llms_core::bench::{
    ChangeStatus, Measured, MetricTrend, NotCompared, TrendAnalysis, TrendDirection, TrendOptions,
};

use super::judge::{Judged, direction};
use crate::stats::distribution::{norm_quantile, norm_sf};
use crate::stats::multiple::benjamini_hochberg;

/// Puts the judged series together.
pub(super) fn decide(mut judged: Vec<Judged>, options: &TrendOptions) -> TrendAnalysis {
    adjust(&mut judged);
    let sure: Vec<f64> = judged.iter_mut().map(|j| one(j, options)).collect();
    let metrics: Vec<MetricTrend> = judged.into_iter().map(|j| j.trend).collect();
    let (verdict, confidence_level) = verdict(&metrics, &sure);
    let drifting = metrics.iter().any(|m| m.drifting);
    TrendAnalysis {
        trend_id: id(&metrics),
        data_points: metrics.iter().map(|m| m.data_points).max().unwrap_or(0),
        confidence_level,
        confidence: options.confidence,
        latency_trend: worst(&metrics, |m| m.unit == "s" || m.metric == "stalls"),
        throughput_trend: worst(&metrics, |m| {
            ["throughput", "output_token_rate", "goodput", "decode_rate"].contains(&m.metric.as_str())
        }),
        error_rate_trend: worst(&metrics, |m| m.metric == "error_rate"),
        cost_trend: worst(&metrics, |m| m.unit == "USD"),
        token_usage_trend: worst(&metrics, |m| m.unit == "tokens"),
        verdict,
        drifting,
        not_compared: left_out(&metrics),
        trend_summary: summary(&metrics, verdict, drifting),
        metrics,
    }
}

/// The slopes' p over all series: Benjamini–Hochberg, as it is a table that is read.
fn adjust(judged: &mut [Judged]) {
    let p: Vec<f64> = judged.iter().filter_map(|j| j.trend.slope.value().map(|s| s.p)).collect();
    let mut adjusted = benjamini_hochberg(&p).into_iter();
    for j in judged {
        if let Measured::Value(slope) = &mut j.trend.slope {
            slope.p_adjusted = adjusted.next().unwrap_or(slope.p);
        }
    }
}

/// Sets direction, confidence and sentence of one series; gives how sure it is that nothing beyond the margin happened.
fn one(j: &mut Judged, options: &TrendOptions) -> f64 {
    let alpha = 1.0 - options.confidence;
    let better = j.trend.better;
    let mut still = 0.0;
    if let Some((to, sure)) = j.newest {
        (j.trend.direction, j.trend.confidence) = (to, Some(sure.clamp(0.0, 1.0)));
    } else if let (Some((drift, interval)), Some(slope)) = (j.drift, j.trend.slope.value()) {
        let se = (interval.high - interval.low) / (2.0 * norm_quantile(0.5 + 0.5 * options.confidence));
        let room = j.margin - drift.abs();
        still = if 0.0 < se { 1.0 - norm_sf(room / se) } else { f64::from(u8::from(0.0 < room)) };
        if slope.p_adjusted < alpha && j.effect_min <= drift.abs() {
            (j.trend.direction, j.trend.confidence) =
                (direction(better, drift), Some(1.0 - slope.p_adjusted));
        } else if -j.margin < interval.low && interval.high < j.margin {
            (j.trend.direction, j.trend.confidence) = (TrendDirection::Steady, Some(still));
        }
    }
    j.trend.summary = sentence(&j.trend);
    still
}

fn sentence(t: &MetricTrend) -> String {
    let name = format!("{} {} {}", t.target, t.metric, t.statistic);
    let newest = t.changes.iter().rfind(|c| c.status == ChangeStatus::Supported);
    let effect = |v: Option<f64>| match v {
        Some(v) if t.relative => format!("{:+.1} %", 100.0 * (v - 1.0)),
        Some(v) if t.unit == "1" => format!("{:+.2} points", 100.0 * v),
        Some(v) => format!("{v:+.4} {}", t.unit),
        None => "by an unknown amount".to_owned(),
    };
    let word = match t.direction {
        TrendDirection::Better => "better",
        TrendDirection::Worse => "worse",
        TrendDirection::Changed => "changed",
        TrendDirection::Steady => {
            return format!("{name}: steady within the margin over {} runs", t.data_points);
        }
        TrendDirection::Undecided => {
            let seen = match t.smallest_detectable {
                Some(d) if t.relative => format!("; a change of {:.1} % would have been seen", 100.0 * d),
                Some(d) => format!("; a change of {d:.4} would have been seen"),
                None => String::new(),
            };
            let candidate = if t.changes.is_empty() { "" } else { ", one candidate to confirm" };
            return format!("{name}: nothing certain in {} runs{candidate}{seen}", t.data_points);
        }
    };
    let unconfirmed = if t.drifting { "; the environment drifts: confirm by a re-run" } else { "" };
    match (newest, t.slope.value()) {
        (Some(c), _) => {
            format!("{name}: {word} since run {} ({}){unconfirmed}", c.run_id, effect(c.effect.value.value))
        }
        (None, Some(s)) => {
            let per_run = s.per_run.value.value.map(|v| if t.relative { 1.0 + v } else { v });
            format!("{name}: {word}, {} a run over {} runs{unconfirmed}", effect(per_run), s.n)
        }
        (None, None) => format!("{name}: {word}"),
    }
}

/// Worse beats changed beats undecided beats better beats steady.
fn rank(d: TrendDirection) -> u8 {
    match d {
        TrendDirection::Worse => 4,
        TrendDirection::Changed => 3,
        TrendDirection::Undecided => 2,
        TrendDirection::Better => 1,
        TrendDirection::Steady => 0,
    }
}

fn worst(metrics: &[MetricTrend], of: impl Fn(&MetricTrend) -> bool) -> Option<TrendDirection> {
    metrics.iter().filter(|m| of(m)).map(|m| m.direction).max_by_key(|d| rank(*d))
}

fn verdict(metrics: &[MetricTrend], sure: &[f64]) -> (TrendDirection, f64) {
    let with = |d: TrendDirection| metrics.iter().filter(move |m| m.direction == d);
    let most = |d: TrendDirection| with(d).filter_map(|m| m.confidence).fold(0.0, f64::max);
    let still = sure.iter().copied().fold(1.0, f64::min);
    if with(TrendDirection::Worse).next().is_some() {
        (TrendDirection::Worse, most(TrendDirection::Worse))
    } else if with(TrendDirection::Better).next().is_some() {
        (TrendDirection::Better, most(TrendDirection::Better))
    } else if metrics.iter().all(|m| m.direction == TrendDirection::Steady) {
        (TrendDirection::Steady, still)
    } else {
        (TrendDirection::Undecided, still)
    }
}

fn id(metrics: &[MetricTrend]) -> String {
    let first = metrics.iter().find_map(|m| m.segments.first()).map_or("none", |s| s.from_run.as_str());
    let last = metrics.iter().find_map(|m| m.segments.last()).map_or("none", |s| s.to_run.as_str());
    format!("trend-{first}-{last}")
}

fn left_out(metrics: &[MetricTrend]) -> Vec<NotCompared> {
    let mut seen = BTreeSet::new();
    metrics
        .iter()
        .flat_map(|m| &m.not_compared)
        .filter(|n| seen.insert((n.run_id.clone(), n.reason.clone())))
        .cloned()
        .collect()
}

fn summary(metrics: &[MetricTrend], verdict: TrendDirection, drifting: bool) -> String {
    let moved: Vec<&str> = metrics
        .iter()
        .filter(|m| {
            matches!(m.direction, TrendDirection::Worse | TrendDirection::Better | TrendDirection::Changed)
        })
        .map(|m| m.summary.as_str())
        .collect();
    let mut text =
        format!("{} of {} series moved; overall {}.", moved.len(), metrics.len(), verdict.as_str());
    for sentence in moved {
        text.push(' ');
        text.push_str(sentence);
        text.push('.');
    }
    let candidates =
        metrics.iter().flat_map(|m| &m.changes).filter(|c| c.status == ChangeStatus::Candidate).count();
    if 0 < candidates {
        text.push_str(&format!(" {candidates} candidates wait for a confirming re-run."));
    }
    if drifting {
        text.push_str(" Neighbouring runs are alike: the environment drifts.");
    }
    text
}
