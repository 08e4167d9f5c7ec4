//! Stop when the server cannot keep up: requests in flight and time to first token both grow, significantly.
//!
//! GuideLLM's rule accepts a slope whose 95 % interval still contains 0 (t above half its critical value), asks after every
//! request, and takes queueing data for independent: a stable server is stopped, too. Here both trends must be significant
//! by Mann–Kendall and Theil–Sen *and* against a random walk, which is what a queue looks like that merely remembers; the
//! error probability is divided over all looks, and the growth must matter: arrivals exceed completions by 2 % at least.

use llms_core::bench::policy::{SaturationStop, StopReason, StopRule};
use llms_core::bench::{RequestRecord, RunPhase};
use llms_core::time::Timestamp;

use crate::stats::StatsError;
use crate::stats::interval::check_unit;
use crate::stats::trend::{drift, mann_kendall, theil_sen};

/// Windows kept at most; at that many, neighbours are merged.
const WINDOWS_MAX: usize = 80;
/// Windows between two looks once there are half as many as kept: two looks each time the run doubles.
const LOOK_EVERY: usize = 20;
/// Windows at the first look.
const WINDOWS_FIRST: usize = 40;

/// Settings of the over-saturation rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SaturationOptions {
    /// chance at most that a run whose server keeps up is ever stopped; in (0, 1)
    pub alpha: f64,
    /// requests of the smallest window; the first look is at 40 windows
    pub window: u64,
    /// smallest growth of requests in flight over completions that counts
    pub excess_min: f64,
}

impl Default for SaturationOptions {
    /// 5 %, windows of 10 (first look at 400 requests), 2 % more arrivals than completions.
    fn default() -> Self {
        Self { alpha: 0.05, window: 10, excess_min: 0.02 }
    }
}

/// Sums over consecutive finished requests.
#[derive(Debug, Clone, Copy, Default)]
struct Window {
    n: u64,
    /// seconds since the first request, summed
    at: f64,
    in_flight: f64,
    ttft: f64,
}

impl Window {
    fn join(self, other: Self) -> Self {
        Self {
            n: self.n + other.n,
            at: self.at + other.at,
            in_flight: self.in_flight + other.in_flight,
            ttft: self.ttft + other.ttft,
        }
    }
}

/// Watches requests in flight and time to first token; memory and cost do not grow with the run.
///
/// The looks are at 40 and 60 windows of 10 requests, then of 20, 40 …; look i may err with probability α/(i(i+1)), which
/// sums to α. Each look leaves out the first quarter of the windows, so that the ramp at the start of a run is no trend. A
/// failed request counts with the time it took. Under closed loop requests in flight cannot grow: never stops.
#[derive(Debug, Clone)]
pub struct SaturationRule {
    options: SaturationOptions,
    begin: Option<Timestamp>,
    /// requests of a whole window now
    size: u64,
    windows: Vec<Window>,
    partial: Window,
    looks: u32,
    seen: u64,
    reason: Option<SaturationStop>,
}

impl SaturationRule {
    /// A rule that has seen nothing.
    ///
    /// # Errors
    /// `OutOfRange` for alpha, an empty window or a negative excess.
    pub fn new(options: SaturationOptions) -> Result<Self, StatsError> {
        check_unit("alpha", options.alpha)?;
        if options.window == 0 {
            return Err(StatsError::OutOfRange {
                what: "requests of a window",
                range: "1 or more",
                got: 0.0,
            });
        }
        if options.excess_min.is_nan() || options.excess_min < 0.0 {
            return Err(StatsError::OutOfRange {
                what: "smallest excess",
                range: "0 or more",
                got: options.excess_min,
            });
        }
        Ok(Self {
            options,
            begin: None,
            size: options.window,
            windows: Vec::with_capacity(WINDOWS_MAX),
            partial: Window::default(),
            looks: 0,
            seen: 0,
            reason: None,
        })
    }

    /// One finished request: seconds since some origin, requests in flight after it, seconds to its first token (to its end
    /// when it has none). What [`StopRule::observe`] calls with the record's values.
    pub fn point(&mut self, at: f64, in_flight: f64, ttft: f64) -> Option<SaturationStop> {
        if self.reason.is_some() {
            return self.reason;
        }
        self.seen += 1;
        self.partial = self.partial.join(Window { n: 1, at, in_flight, ttft });
        if self.partial.n == self.size {
            self.windows.push(std::mem::take(&mut self.partial));
            if self.windows.len() == WINDOWS_MAX {
                self.windows = self.windows.chunks_exact(2).map(|w| w[0].join(w[1])).collect();
                self.size *= 2;
            }
            let n = self.windows.len();
            if WINDOWS_FIRST <= n && (n - WINDOWS_FIRST).is_multiple_of(LOOK_EVERY) {
                self.looks += 1;
                let look = f64::from(self.looks);
                self.reason = self.look(self.options.alpha / (look * (look + 1.0)));
            }
        }
        self.reason
    }

    /// Both trends without the first quarter; `None` when there is no reason to stop.
    fn look(&self, alpha: f64) -> Option<SaturationStop> {
        let later = &self.windows[self.windows.len() / 4..];
        let mean = |f: fn(&Window) -> f64| later.iter().map(|w| f(w) / w.n as f64).collect::<Vec<f64>>();
        let at = mean(|w| w.at);
        let in_flight = rising(&at, &mean(|w| w.in_flight), alpha)?;
        let ttft = rising(&at, &mean(|w| w.ttft), alpha)?;
        let span = at[at.len() - 1] - at[0];
        let completions = self.size as f64 * (later.len() - 1) as f64 / span;
        let excess = in_flight.slope / completions;
        (self.options.excess_min <= excess).then_some(SaturationStop {
            requests: self.seen,
            in_flight_per_s: in_flight.slope,
            in_flight_per_s_low: in_flight.low,
            in_flight_p: in_flight.p,
            ttft_per_s: ttft.slope,
            ttft_per_s_low: ttft.low,
            ttft_p: ttft.p,
            excess,
            alpha,
        })
    }
}

struct Rise {
    slope: f64,
    low: f64,
    p: f64,
}

/// A significant rise at one-sided `alpha`: Mann–Kendall, the lower limit of the slope and the drift all say so.
fn rising(at: &[f64], y: &[f64], alpha: f64) -> Option<Rise> {
    let p = mann_kendall(y).ok()?.p_rising().max(drift(y).ok()?.p_rising);
    if alpha < p {
        return None;
    }
    let line = theil_sen(at, y, 1.0 - 2.0 * alpha).ok()?;
    (0.0 < line.interval.low).then_some(Rise { slope: line.slope, low: line.interval.low, p })
}

impl StopRule for SaturationRule {
    fn observe(&mut self, record: &RequestRecord, in_flight: u64) -> Option<StopReason> {
        let seconds = |later: Timestamp, earlier: Timestamp| {
            (i128::from(later.as_nanos()) - i128::from(earlier.as_nanos())) as f64 / 1e9
        };
        if record.phase == RunPhase::Measured
            && let Some(end) = record.end
        {
            let begin = *self.begin.get_or_insert(end);
            let first = record.chunks.first().map_or(end, |c| c.stamp.arrival());
            let ttft = seconds(first, record.scheduled);
            self.point(seconds(end, begin), in_flight as f64, ttft);
        }
        self.reason.map(StopReason::OverSaturated)
    }
}
