//! "No worse than X %" and "the same within X %": success first, then the interval of the ratio. Three outcomes.
//!
//! A gate rests on two one-sided limits at 5 % each (the 90 % interval). "Not significant" is never a pass.

use llms_core::bench::{GateOutcome, GateResult};

use super::pairs::PairedValues;
use crate::stats::interval::{Interval, StatsError};
use crate::stats::paired::paired_ratio_dependent;
use crate::stats::proportion::mcnemar_exact;
use crate::stats::signed_rank::signed_rank_dependent;

/// Level of each side.
const ALPHA: f64 = 0.05;

/// The three gates of a pair: a no worse than b, b no worse than a, both the same.
pub(super) struct Gates {
    pub(super) a_no_worse: GateResult,
    pub(super) b_no_worse: GateResult,
    pub(super) equivalent: GateResult,
}

/// `pairs`: log ratios a/b, `±∞` where one side failed; `margin` a ratio above 1.
pub(super) fn gates(pairs: &PairedValues, tau: f64, margin: f64) -> Gates {
    let failures = mcnemar_exact(pairs.only_b_failed, pairs.only_a_failed);
    let worse_success = failures < 2.0 * ALPHA && pairs.only_a_failed != pairs.only_b_failed;
    let a_fails_more = worse_success && pairs.only_b_failed < pairs.only_a_failed;
    let b_fails_more = worse_success && pairs.only_a_failed < pairs.only_b_failed;
    let interval = limits(pairs, tau);
    let inverse = interval.clone().map(|i| Interval { low: 1.0 / i.high, high: 1.0 / i.low });
    let success = |who: &str| GateResult {
        outcome: GateOutcome::Fail,
        why: format!(
            "{who} fails more: {} blocks in which a alone failed, {} in which b did, p {failures:.3}",
            pairs.only_a_failed, pairs.only_b_failed
        ),
    };
    let no_worse = |fails_more: bool, who: &str, interval: &Result<Interval, StatsError>| match interval {
        _ if fails_more => success(who),
        Err(e) => GateResult { outcome: GateOutcome::Inconclusive, why: e.to_string() },
        Ok(i) => {
            let outcome = if i.high < margin {
                GateOutcome::Pass
            } else if margin < i.low {
                GateOutcome::Fail
            } else {
                GateOutcome::Inconclusive
            };
            GateResult { outcome, why: in_words(i, &format!("allowed up to {margin:.3}")) }
        }
    };
    let equivalent = match &interval {
        _ if a_fails_more => success("a"),
        _ if b_fails_more => success("b"),
        Err(e) => GateResult { outcome: GateOutcome::Inconclusive, why: e.to_string() },
        Ok(i) => {
            let outcome = if 1.0 / margin < i.low && i.high < margin {
                GateOutcome::Pass
            } else if margin < i.low || i.high < 1.0 / margin {
                GateOutcome::Fail
            } else {
                GateOutcome::Inconclusive
            };
            GateResult { outcome, why: in_words(i, &format!("allowed {:.3} to {margin:.3}", 1.0 / margin)) }
        }
    };
    Gates {
        a_no_worse: no_worse(a_fails_more, "a", &interval),
        b_no_worse: no_worse(b_fails_more, "b", &inverse),
        equivalent,
    }
}

fn in_words(i: &Interval, allowed: &str) -> String {
    let number = |x: f64| if x.is_finite() { format!("{x:.3}") } else { "∞".to_owned() };
    format!("90 % interval of the ratio {} to {}, {allowed}", number(i.low), number(i.high))
}

/// The 90 % interval of the ratio: t on logs, or by ranks where one side failed in some pairs.
fn limits(pairs: &PairedValues, tau: f64) -> Result<Interval, StatsError> {
    let confidence = 1.0 - 2.0 * ALPHA;
    if pairs.effects.iter().all(|d| d.is_finite()) {
        return paired_ratio_dependent(&pairs.effects, confidence, tau).map(|t| t.interval);
    }
    signed_rank_dependent(&pairs.effects, confidence, tau).map(|r| r.interval.map(f64::exp))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Log ratios about `centre` with the spread of a square.
    fn about(centre: f64, sd: f64, n: usize) -> PairedValues {
        let effects = (0..n).map(|i| centre + if i % 2 == 0 { sd } else { -sd }).collect();
        PairedValues { effects, both_ok: n as u64, ..PairedValues::default() }
    }

    #[track_caller]
    fn check(pairs: &PairedValues, expected: [GateOutcome; 3]) {
        let g = gates(pairs, 1.0, 1.1);
        assert_eq!(
            [&g.a_no_worse, &g.b_no_worse, &g.equivalent].map(|r| r.outcome),
            expected,
            "{}",
            g.equivalent.why
        );
    }

    #[test]
    fn three_outcomes() {
        use GateOutcome::{Fail, Inconclusive, Pass};
        check(&about(0.0, 0.1, 100), [Pass, Pass, Pass]);
        check(&about(0.0, 0.5, 10), [Inconclusive, Inconclusive, Inconclusive]);
        check(&about(0.3, 0.1, 100), [Fail, Pass, Fail]);
        check(&about(-0.3, 0.1, 100), [Pass, Fail, Fail]);
        check(&about(0.08, 0.1, 30), [Inconclusive, Pass, Inconclusive]);
        check(&PairedValues::default(), [Inconclusive, Inconclusive, Inconclusive]);
        // much faster, and it fails: no gate is passed by failing
        let mut failing = about(-0.5, 0.1, 100);
        failing.only_a_failed = 12;
        failing.effects.extend([f64::INFINITY; 12]);
        check(&failing, [Fail, Fail, Fail]);
    }
}
