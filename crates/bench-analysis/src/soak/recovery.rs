//! How long a burst is felt: from the moment the load drops to the first of three windows near the baseline.

use serde::Serialize;

use crate::stats::{Sample, StatsError, budget::recovery_time};

/// A window at most this many times the baseline's median is as before.
pub const FACTOR: f64 = 1.1;
/// So many windows in a row.
pub const CONSECUTIVE: usize = 3;

/// How long a burst was felt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RecoveryTime {
    /// Width of a window, seconds: the answer is right to one of them.
    pub window_s: f64,
    /// Median of the baseline's windows, seconds.
    pub baseline_s: f64,
    /// From the end of the burst to the begin of the first of three windows at or below 1.1 × the baseline, seconds.
    /// `None`: not within `watched_s`, right-censored.
    pub recovered_s: Option<f64>,
    /// How long was watched, seconds.
    pub watched_s: f64,
    /// Later windows above the limit.
    pub relapses: usize,
}

/// Recovery by the medians of windows of `width_s` seconds. Times are those at which requests were *scheduled*; a failed
/// request is `+∞`, and so is a window after the burst to which no request belongs.
///
/// `before` and `after` are `(seconds, value)` in any order with the stretch `[from, to)` of each that counts.
///
/// # Errors
/// `Empty` or `TooFew` without a baseline; `OutOfRange` for a width that fits neither stretch.
pub fn recovery(
    before: &[(f64, f64)],
    before_span: (f64, f64),
    after: &[(f64, f64)],
    after_span: (f64, f64),
    width_s: f64,
) -> Result<RecoveryTime, StatsError> {
    if width_s.is_nan() || width_s <= 0.0 {
        return Err(StatsError::OutOfRange { what: "recovery window", range: "above 0 s", got: width_s });
    }
    let baseline: Vec<f64> = medians(before, before_span, width_s).into_iter().flatten().collect();
    let later: Vec<f64> =
        medians(after, after_span, width_s).into_iter().map(|m| m.unwrap_or(f64::INFINITY)).collect();
    let found = recovery_time(&baseline, &later, FACTOR, CONSECUTIVE)?;
    Ok(RecoveryTime {
        window_s: width_s,
        baseline_s: found.limit / FACTOR,
        recovered_s: found.index.map(|i| i as f64 * width_s),
        watched_s: later.len() as f64 * width_s,
        relapses: found.relapses,
    })
}

/// Medians of the whole windows of a stretch; `None` where no request belongs.
pub(super) fn medians(points: &[(f64, f64)], (from, to): (f64, f64), width_s: f64) -> Vec<Option<f64>> {
    let windows = ((to - from) / width_s + 1e-9).floor().max(0.0) as usize;
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); windows];
    for (at, value) in points.iter().filter(|(at, _)| from <= *at) {
        if let Some(window) = values.get_mut(((at - from) / width_s) as usize) {
            window.push(*value);
        }
    }
    values
        .into_iter()
        .map(|v| {
            let known: Vec<f64> = v.iter().copied().filter(|v| v.is_finite()).collect();
            let failures = v.len() - known.len();
            Some(Sample::with_failures(known, failures).ok()?.median())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_three_quiet_windows_counts_and_empty_ones_do_not_recover() {
        let before: Vec<(f64, f64)> = (0..100).map(|i| (f64::from(i), 1.0)).collect();
        // 40 s of backlog that drains evenly, then as before
        let after: Vec<(f64, f64)> =
            (0..100).map(|i| (f64::from(i), 1.0_f64.max(41.0 - f64::from(i)))).collect();
        let r = recovery(&before, (0.0, 100.0), &after, (0.0, 100.0), 5.0).unwrap();
        assert_eq!((r.recovered_s, r.watched_s, r.relapses), (Some(40.0), 100.0, 0));
        let cut = recovery(&before, (0.0, 100.0), &after, (0.0, 45.0), 5.0).unwrap();
        assert_eq!(cut.recovered_s, None);
        let gone = recovery(&before, (0.0, 100.0), &[], (0.0, 100.0), 5.0).unwrap();
        assert_eq!(gone.recovered_s, None);
        assert!(recovery(&[], (0.0, 100.0), &after, (0.0, 100.0), 5.0).is_err());
    }
}
