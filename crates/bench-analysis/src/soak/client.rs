//! Ageing of the process that measures, so that it is not taken for the service's.
//!
//! Theil–Sen over the samples of its probe (memory, descriptors, threads, tasks, lateness of the runtime) and over the
//! lateness of its own sends. A leak of the client is told as such; it explains a rising latency only as far as the
//! client's own lateness rises with it.

use llms_core::bench::{ClientHealth, probe::HealthSample};
use serde::Serialize;

use crate::stats::{
    Interval, StatsError,
    degradation::{ALARM_PER_HOUR, LAG1_MAX},
    trend::{mann_kendall, residual_lag1, theil_sen_dependent},
};

/// Fewest samples for a slope.
const LEAST: usize = 10;
/// Share of the samples at the start that are growing up, not ageing.
const SETTLING: f64 = 0.1;
/// Windows into which the lateness of sends is put.
const LAG_WINDOWS: usize = 100;
/// The client's own lateness explains a latency when it rises at least by this share of its rise.
const EXPLAINS: f64 = 0.5;

/// Slope of one gauge of the client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GaugeSlope {
    /// `rss`, `live_memory`, `descriptors`, `threads`, `tasks`, `runtime_lag`, `send_lag`.
    pub gauge: &'static str,
    /// `bytes`, `s`, or nothing for counts.
    pub unit: &'static str,
    /// Level at the first sample.
    pub start: f64,
    /// Change per hour, in the unit.
    pub per_hour: f64,
    /// Lower limit of that.
    pub low: f64,
    /// Upper limit of that.
    pub high: f64,
    /// Mann–Kendall, two-sided p.
    pub p: f64,
    /// It rises beyond chance, by more than 1 % an hour, and enough to matter.
    pub alarm: bool,
}

/// How the client aged.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClientAgeing {
    /// What was seen.
    pub gauges: Vec<GaugeSlope>,
    /// What was not, and why.
    pub not_measured: Vec<String>,
}

/// Who aged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Culprit {
    /// Nothing gets worse.
    Nobody,
    /// The service: what this client adds does not rise with it.
    Service,
    /// At least half of the rise is this client's own lateness.
    Client,
    /// It gets worse, and whether this client adds to it was not measured.
    Unknown,
}

impl ClientAgeing {
    /// Gauges that alarm.
    pub fn alarms(&self) -> impl Iterator<Item = &GaugeSlope> {
        self.gauges.iter().filter(|g| g.alarm)
    }

    /// Who aged, by the steepest alarming latency (seconds per hour) and whether failures rise.
    pub fn culprit(&self, latency_per_hour: Option<f64>, failures: bool) -> Culprit {
        let lag = |name: &str| self.gauges.iter().find(|g| g.gauge == name);
        match latency_per_hour {
            None if failures => Culprit::Service,
            None => Culprit::Nobody,
            Some(rise) => match lag("send_lag") {
                None => Culprit::Unknown,
                Some(send) => {
                    let own = [Some(send), lag("runtime_lag")].into_iter().flatten();
                    let explains = own.filter(|g| g.alarm).any(|g| EXPLAINS * rise <= g.per_hour);
                    if explains { Culprit::Client } else { Culprit::Service }
                }
            },
        }
    }
}

/// Ageing by the probe's samples and by `send_lag`: `(seconds from the start, seconds late)` in order of time.
pub fn client_ageing(
    health: Option<&ClientHealth>,
    send_lag: &[(f64, f64)],
    confidence: f64,
) -> ClientAgeing {
    let mut found = ClientAgeing::default();
    let mut gauge = |name, unit, least: f64, points: Vec<(f64, f64)>| match slope(&points, confidence) {
        Ok((start, per_hour, limits, p)) => {
            let hours = points.last().map_or(0.0, |l| l.0 - points[0].0) / 3600.0;
            let alarm =
                0.0 < limits.low && ALARM_PER_HOUR * start.max(0.0) < per_hour && least <= per_hour * hours;
            found.gauges.push(GaugeSlope {
                gauge: name,
                unit,
                start,
                per_hour,
                low: limits.low,
                high: limits.high,
                p,
                alarm,
            });
        }
        Err(e) => found.not_measured.push(format!("slope of {name}: {e}")),
    };
    gauge("send_lag", "s", 1e-3, worst_of(send_lag));
    let samples = health.map_or(&[][..], |h| &h.samples);
    let first = samples.first().map_or(0, |s| s.at.as_nanos());
    let series = |value: fn(&HealthSample) -> Option<f64>| -> Vec<(f64, f64)> {
        samples
            .iter()
            .filter_map(|s| Some((s.at.as_nanos().saturating_sub(first) as f64 / 1e9, value(s)?)))
            .collect()
    };
    gauge("runtime_lag", "s", 1e-3, series(|s| s.lag_max_s));
    gauge("rss", "bytes", 4.0 * 1024.0 * 1024.0, series(|s| s.rss_bytes.map(|b| b as f64)));
    gauge("live_memory", "bytes", 1024.0 * 1024.0, series(|s| s.live_bytes.map(|b| b as f64)));
    gauge("descriptors", "", 8.0, series(|s| s.descriptors.map(|n| n as f64)));
    gauge("threads", "", 4.0, series(|s| s.threads.map(|n| n as f64)));
    gauge("tasks", "", 32.0, series(|s| s.tasks.map(|n| n as f64)));
    found
}

/// 95th percentiles of windows of equal count.
fn worst_of(lags: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = lags.len().div_ceil(LAG_WINDOWS).max(20);
    lags.chunks_exact(window)
        .map(|chunk| {
            let mut values: Vec<f64> = chunk.iter().map(|c| c.1).collect();
            values.sort_unstable_by(f64::total_cmp);
            (chunk[window / 2].0, values[window * 95 / 100])
        })
        .collect()
}

/// Level at the start, slope per hour, its limits, Mann–Kendall p.
fn slope(points: &[(f64, f64)], confidence: f64) -> Result<(f64, f64, Interval, f64), StatsError> {
    let settled = &points[(points.len() as f64 * SETTLING) as usize..];
    if settled.len() < LEAST {
        let (needed, have) = (LEAST as u64, settled.len() as u64);
        return Err(StatsError::TooFew { what: "a slope of the client", needed, have });
    }
    let hours: Vec<f64> = settled.iter().map(|p| p.0 / 3600.0).collect();
    let values: Vec<f64> = settled.iter().map(|p| p.1).collect();
    let lag1 = residual_lag1(&values)?;
    let worth = if lag1 < LAG1_MAX { 1.0 } else { (1.0 + lag1) / (1.0 - lag1.min(0.999)) };
    let line = theil_sen_dependent(&hours, &values, confidence, worth)?;
    let p = mann_kendall(&values)?.discounted(worth).p;
    Ok((line.at(hours[0]), line.slope, line.interval, p))
}

#[cfg(test)]
mod tests {
    use super::*;
    use llms_core::time::Timestamp;

    /// An hour of samples, one every 10 s.
    fn health(rss: impl Fn(f64) -> f64, descriptors: impl Fn(f64) -> f64) -> ClientHealth {
        let mut health = ClientHealth::unwatched("not in this test");
        health.samples = (0..360_u64)
            .map(|i| {
                let hours = i as f64 / 360.0;
                HealthSample {
                    at: Timestamp::from_nanos(i * 10_000_000_000),
                    cpu_s: None,
                    wait_s: None,
                    throttled_s: None,
                    stalled_s: None,
                    steal_share: None,
                    clock_offset_s: None,
                    rss_bytes: Some((rss(hours) + (i % 7) as f64 * 1e4) as u64),
                    live_bytes: None,
                    allocations: None,
                    descriptors: Some(descriptors(hours) as u64),
                    time_wait: None,
                    threads: Some(4),
                    tasks: None,
                    lag_max_s: Some(2e-4),
                }
            })
            .collect();
        health
    }

    #[test]
    fn a_leak_of_the_client_is_told_and_does_not_explain_a_slow_service() {
        let lags: Vec<(f64, f64)> =
            (0..3600).map(|i| (f64::from(i), 5e-5 + f64::from(i % 9) * 1e-6)).collect();
        let leaking = health(|h| 3e7 + 2e7 * h, |h| 20.0 + 100.0 * h);
        let found = client_ageing(Some(&leaking), &lags, 0.95);
        let alarms: Vec<&str> = found.alarms().map(|g| g.gauge).collect();
        assert_eq!(alarms, ["rss", "descriptors"]);
        let rss = found.alarms().next().unwrap();
        assert!((rss.per_hour / 2e7 - 1.0).abs() < 0.05, "{rss:?}");
        assert_eq!(found.culprit(Some(0.01), false), Culprit::Service);
        assert_eq!(found.culprit(None, false), Culprit::Nobody);
        let flat = client_ageing(Some(&health(|_| 3e7, |_| 20.0)), &lags, 0.95);
        assert_eq!(flat.alarms().count(), 0, "{flat:?}");
        assert!(flat.not_measured.iter().any(|n| n.starts_with("slope of tasks")), "{flat:?}");
    }

    #[test]
    fn a_client_that_sends_ever_later_is_the_culprit() {
        let lags: Vec<(f64, f64)> = (0..3600).map(|i| (f64::from(i), f64::from(i) * 1e-5)).collect();
        let found = client_ageing(None, &lags, 0.95);
        // 36 ms an hour of its own
        assert_eq!(found.culprit(Some(0.04), false), Culprit::Client);
        assert_eq!(found.culprit(Some(0.4), false), Culprit::Service);
        assert_eq!(ClientAgeing::default().culprit(Some(0.4), false), Culprit::Unknown);
    }
}
