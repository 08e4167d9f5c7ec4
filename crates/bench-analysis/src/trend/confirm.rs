//! The second stage: how to find out whether a candidate is real, and what the re-run says.
//!
//! A candidate at p < 0.05 confirmed at 5 % alarms falsely in 0.25 % of histories. The re-run asks both configurations in turns,
//! so that whatever drifts hits both.

use llms_core::bench::{
    Bounded, Confirmation, ConfirmationPlan, Estimate, Measured, PairUnit, TrendOptions, TrendSeries,
};

use super::stretch::{Run, Scale, effect_min};
use crate::stats::distribution::{norm_pdf, norm_quantile};
use crate::stats::power::noninferiority_pairs;
use crate::stats::trend::median;

/// One-sided level of the re-run.
const ALPHA: f64 = 0.05;
/// Its power to say "no change" when there is none.
const POWER: f64 = 0.9;

/// The plan for a change by `shift` between two levels. `noise`: deviation of single runs, `stage_one`: level of the first stage.
#[allow(clippy::too_many_arguments, reason = "one caller; each is a different thing")]
pub(super) fn plan(
    series: &TrendSeries,
    scale: Scale,
    before: &[Run<'_>],
    after: &[Run<'_>],
    shift: f64,
    noise: f64,
    options: &TrendOptions,
    stage_one: f64,
) -> Measured<ConfirmationPlan> {
    let newest = &after[after.len() - 1];
    let level = scale.back(median(&before.iter().map(|r| r.x).collect::<Vec<f64>>()));
    let margin = (0.5 * shift.abs()).max(effect_min(series, scale, level, options));
    let by_request = request_sd(series, scale, newest).map(|sd| (sd, PairUnit::Requests));
    let by_run = (0.0 < noise).then_some((noise * std::f64::consts::SQRT_2, PairUnit::Runs));
    let Some((sd, of)) = by_request.or(by_run) else {
        return Measured::absent("the spread of single requests is not known, and runs do not vary");
    };
    // the margin on the scale is all that the formula looks at
    let Ok(pairs) = noninferiority_pairs(sd, margin.exp(), ALPHA, POWER) else {
        return Measured::absent("no margin can be told from none");
    };
    let pairs = (pairs.ceil() as u64).max(5);
    let baseline = before[before.len() - 1].point.run_id.clone();
    let told = if scale.is_relative() {
        format!("{:.1} %", 100.0 * margin.exp_m1())
    } else {
        format!("{margin:.4}")
    };
    let what = match of {
        PairUnit::Requests => format!("{pairs} prompts, each asked of both within seconds, in random order"),
        PairUnit::Runs => format!("{pairs} whole runs of each in turns"),
    };
    Measured::Value(ConfirmationPlan {
        how: format!(
            "run the configuration of {baseline} against the present one: {what}; real if worse beyond chance, refuted if the \
             interval stays below {told}"
        ),
        baseline_run: baseline,
        current_run: newest.point.run_id.clone(),
        margin: if scale.is_relative() { margin.exp() } else { margin },
        alpha: ALPHA,
        power: POWER,
        pairs,
        of,
        sd,
        false_alarm_rate: stage_one * ALPHA,
    })
}

/// Deviation of the log ratio (difference, for shares) of one pair of requests, from the interval of the newest run: √2 times
/// that of a request. `None` where the metric has no value a request or the run no interval.
///
/// A quantile's interval is about `2z √(p(1−p)) / (φ(z_p) √n)` deviations wide when logs are normal.
fn request_sd(series: &TrendSeries, scale: Scale, newest: &Run<'_>) -> Option<f64> {
    let e = &newest.point.estimate;
    if series.metric == "error_rate" || series.metric == "slo_attainment" {
        let share = e.value.value?;
        // nothing failed: what a single failure more would have made of it
        let share = share.clamp(1.0 / (e.n as f64 + 2.0), 1.0 - 1.0 / (e.n as f64 + 2.0));
        return Some((2.0 * share * (1.0 - share)).sqrt());
    }
    if !series.definition()?.per_request || !scale.is_relative() {
        return None;
    }
    let (low, high) = (e.low?.value?, e.high?.value?);
    if low <= 0.0 || high <= low {
        return None;
    }
    let n = e.ess.unwrap_or(e.n as f64);
    let se = 0.5 * (high / low).ln() / norm_quantile(0.5 + 0.5 * e.confidence);
    let shape = match series.statistic.strip_prefix('p').and_then(|p| p.parse::<f64>().ok()) {
        Some(percent) => {
            let p = percent / 100.0;
            norm_pdf(norm_quantile(p)) / (p * (1.0 - p)).sqrt()
        }
        None => 1.0,
    };
    Some(se * n.sqrt() * shape * std::f64::consts::SQRT_2).filter(|sd| sd.is_finite() && 0.0 < *sd)
}

/// What the re-run's effect (present over baseline: a ratio, or present − baseline for shares) says about a planned change.
///
/// `rose`: the change to confirm is one upwards. `effect` needs both limits, two-sided at 1 − 2α or more.
pub fn confirm(plan: &ConfirmationPlan, rose: bool, effect: &Estimate) -> Confirmation {
    let limit = |b: Option<Bounded>| b.and_then(Bounded::as_f64);
    let (Some(low), Some(high)) = (limit(effect.low), limit(effect.high)) else {
        return Confirmation::Inconclusive;
    };
    // ratios have a margin above 1, differences of shares one below
    let relative = 1.0 < plan.margin;
    let neutral = if relative { 1.0 } else { 0.0 };
    let (low, high) = match (rose, relative) {
        (true, _) => (low, high),
        (false, true) => (1.0 / high, 1.0 / low),
        (false, false) => (-high, -low),
    };
    if high < plan.margin {
        Confirmation::Refuted
    } else if neutral < low {
        Confirmation::Confirmed
    } else {
        Confirmation::Inconclusive
    }
}
