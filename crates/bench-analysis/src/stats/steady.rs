//! Is what follows the warm-up steady? MSER-5 cuts, then a trend test and a look at both halves.
//!
//! Works on requests in order of arrival; which part of them a report uses is decided by who asks.

use super::dependence::batch_means;
use super::interval::{Interval, StatsError};
use super::trend::{MannKendall, mann_kendall, median, residual_lag1, theil_sen_dependent};
use super::warmup::{BATCH, WarmupCut, mser5};

/// Batches whose medians are tested for a trend.
pub const BATCHES: usize = 20;
/// p of the trend test below which a run is not steady.
pub const P_MIN: f64 = 0.01;
/// Batches of each half for its interval.
const HALF_BATCHES: usize = 10;

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// no trend, and both halves agree
    Steady,
    /// a trend or halves that differ: the figures describe this run, not the server
    NonStationary,
    /// the warm-up takes half of the run or more: the run is too short
    NoSteadyState,
}

impl Verdict {
    /// `steady`, `non_stationary`, `no_steady_state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::NonStationary => "non_stationary",
            Self::NoSteadyState => "no_steady_state",
        }
    }
}

/// A series and its own cut.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SeriesCheck {
    /// its own MSER-5 cut
    pub warmup: WarmupCut,
    /// trend test on 20 batch medians after the common cut
    pub trend: MannKendall,
    /// Theil–Sen slope of those medians: change per request, in the series' unit
    pub slope: f64,
    /// 95 % limits of the slope
    pub slope_interval: Interval,
    /// mean of the first half after the cut, 99 % limits by batch means
    pub first_half: Interval,
    /// mean of the second half
    pub second_half: Interval,
    /// p ≥ 0.01 and the halves' intervals overlap
    pub steady: bool,
}

/// Steadiness of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SteadyState {
    /// requests to leave out: the largest cut of the three
    pub cut: usize,
    /// the verdict
    pub verdict: Verdict,
    /// time to first token
    pub ttft: SeriesCheck,
    /// end to end
    pub e2e: SeriesCheck,
    /// requests in flight at each arrival
    pub in_flight: SeriesCheck,
}

/// Three series of one length, a value per request in order of arrival; give a failed request the time it took.
///
/// # Errors
/// `TooFew` unless the rest after the cut holds 20 batches of five, `Unpaired`, `Infinite`, `NotANumber`.
pub fn steady_state(ttft: &[f64], e2e: &[f64], in_flight: &[f64]) -> Result<SteadyState, StatsError> {
    for other in [e2e, in_flight] {
        if other.len() != ttft.len() {
            return Err(StatsError::Unpaired { left: ttft.len(), right: other.len() });
        }
    }
    let series = [ttft, e2e, in_flight];
    let mut cuts = Vec::with_capacity(3);
    for s in series {
        cuts.push(mser5(s)?);
    }
    let cut = cuts.iter().map(|c| c.cut).max().unwrap_or(0);
    let reached = cuts.iter().all(|c| c.reached);
    let rest = ttft.len() - cut;
    if rest < BATCHES * BATCH {
        return Err(StatsError::TooFew {
            what: "a test of steadiness",
            needed: (cut + BATCHES * BATCH) as u64,
            have: ttft.len() as u64,
        });
    }
    let check = |i: usize| series_check(&series[i][cut..], cuts[i]);
    let (ttft, e2e, in_flight) = (check(0)?, check(1)?, check(2)?);
    let verdict = if !reached {
        Verdict::NoSteadyState
    } else if ttft.steady && e2e.steady && in_flight.steady {
        Verdict::Steady
    } else {
        Verdict::NonStationary
    };
    Ok(SteadyState { cut, verdict, ttft, e2e, in_flight })
}

fn series_check(rest: &[f64], warmup: WarmupCut) -> Result<SeriesCheck, StatsError> {
    let batch = rest.len() / BATCHES;
    let medians: Vec<f64> = rest.chunks_exact(batch).take(BATCHES).map(median).collect();
    let middle: Vec<f64> = (0..BATCHES).map(|i| ((i as f64) + 0.5) * batch as f64).collect();
    // neighbouring batches of a queue still depend: the null is widened by what is left of it
    let lag1 = residual_lag1(&medians)?.clamp(0.0, 0.95);
    let worth = (1.0 + lag1) / (1.0 - lag1);
    let trend = mann_kendall(&medians)?.discounted(worth);
    let line = theil_sen_dependent(&middle, &medians, 0.95, worth)?;
    let (first, second) = rest.split_at(rest.len() / 2);
    let half = |s: &[f64]| batch_means(s, HALF_BATCHES, 0.99).map(|b| b.interval);
    let (first_half, second_half) = (half(first)?, half(second)?);
    let overlap = first_half.low <= second_half.high && second_half.low <= first_half.high;
    Ok(SeriesCheck {
        warmup,
        trend,
        slope: line.slope,
        slope_interval: line.interval,
        first_half,
        second_half,
        steady: P_MIN <= trend.p && overlap,
    })
}

#[cfg(test)]
mod tests {
    use super::super::queueing::fifo_waits;
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, Exp1};

    /// M/M/4 from empty: response times and requests in flight at each arrival.
    fn queue(rho: f64, n: usize, seed: u64) -> (Vec<f64>, Vec<f64>) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |mean: f64| -> u64 {
            let x: f64 = Exp1.sample(&mut rng);
            (x * mean * 1e6) as u64
        };
        let mut at = 0;
        let arrivals: Vec<u64> = (0..n)
            .map(|_| {
                at += draw(1.0 / (4.0 * rho));
                at
            })
            .collect();
        let service: Vec<u64> = (0..n).map(|_| draw(1.0)).collect();
        let waits = fifo_waits(&arrivals, &service, 4).unwrap();
        let ends: Vec<u64> = (0..n).map(|i| arrivals[i] + waits[i] + service[i]).collect();
        let in_flight: Vec<f64> = (0..n)
            .map(|i| ends[i.saturating_sub(400)..i].iter().filter(|e| arrivals[i] < **e).count() as f64)
            .collect();
        ((0..n).map(|i| (waits[i] + service[i]) as f64 / 1e6).collect(), in_flight)
    }

    #[test]
    fn a_stable_queue_is_steady_and_an_overloaded_one_is_not() {
        let verdict = |rho: f64, seed: u64| {
            let (sojourn, in_flight) = queue(rho, 2000, seed);
            steady_state(&sojourn, &sojourn, &in_flight).unwrap().verdict
        };
        let wrong = (0..200).filter(|s| verdict(0.7, *s) != Verdict::Steady).count();
        // p .01 on three dependent series, halves at 99 %, and cuts past the middle now and then
        assert!(wrong <= 24, "{wrong} of 200 stable queues called unsteady");
        let missed = (0..50).filter(|s| verdict(1.2, *s) == Verdict::Steady).count();
        assert_eq!(missed, 0, "overloaded queues called steady");
    }

    #[test]
    fn the_largest_cut_counts_and_a_step_is_seen() {
        let flat: Vec<f64> = (0..400).map(|i| 10.0 + f64::from(i * 7919 % 13)).collect();
        let mut warm = flat.clone();
        warm[..40].iter_mut().for_each(|v| *v += 100.0);
        let s = steady_state(&flat, &warm, &flat).unwrap();
        assert_eq!((s.cut, s.e2e.warmup.cut, s.verdict), (40, 40, Verdict::Steady));
        let step: Vec<f64> =
            flat.iter().enumerate().map(|(i, v)| if i < 250 { *v } else { v + 9.0 }).collect();
        let s = steady_state(&flat, &step, &flat).unwrap();
        assert_ne!(s.verdict, Verdict::Steady);
        assert!(steady_state(&flat[..60], &flat[..60], &flat[..60]).is_err());
    }
}
