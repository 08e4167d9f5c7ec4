//! The signals of the wire: merged reads, kernel stamps, requests sent twice, a send lag that grows, the twin.
//!
//! What the records say of each request, held together with what the transport counted of its own work.

use llms_core::bench::{Level, Load, TwinError};

use super::{Judge, each, ms};
use crate::{
    population::Population,
    stats::{quantile::Sample, trend::mann_kendall},
};

/// Batches of a trend.
const BATCHES: usize = 20;
/// Least requests of a batch.
const BATCH: usize = 5;

impl Judge<'_> {
    pub(super) fn merged_reads(&mut self, populations: &[Population]) {
        if !self.manifest.scenario.streaming {
            return;
        }
        let limits = self.limits;
        let on = each(populations, |population| {
            let (share, gaps) = population.tally.merged_share()?;
            (limits.least as u64 <= gaps && limits.merged_gaps < share)
                .then(|| format!("{:.1} % of {gaps} chunk gaps lie inside one read", share * 100.0))
        });
        let threshold = format!("at most {:.1} %", limits.merged_gaps * 100.0);
        if self.server_bundles(populations) {
            let cure = "the server sends several tokens in one piece (one HTTP chunk), which no client can see apart; gaps are known between the pieces, TTFT and E2E stand";
            self.find_on("merged_reads", Level::Valid, on, threshold, cure);
        } else {
            let cure = "these gaps are unknown: the server sends several chunks at once, or the client is too slow to see them apart; ICL and stalls are not complete, TTFT and E2E stand";
            self.find_on("merged_reads", Level::Invalid, on, threshold, cure);
        }
    }

    /// Whether gaps inside one read are the server's doing: the transport knows how many reads held two HTTP chunks or more,
    /// and there are too few of them. One an answer is allowed for the closing events, which servers send together.
    fn server_bundles(&self, populations: &[Population]) -> bool {
        let counted = self.manifest.client.as_ref().and_then(|c| c.transport);
        let Some(counted) = counted.filter(|c| c.chunked_reads > 0) else { return false };
        let gaps: u64 = populations.iter().filter_map(|p| Some(p.tally.merged_share()?.1)).sum();
        let answers: u64 = populations.iter().map(|p| p.counts().0).sum();
        let explained = self.limits.merged_gaps * gaps as f64 + answers as f64;
        counted.merged_reads as f64 <= explained
    }

    /// What the transport counted of its stamps.
    pub(super) fn transport(&mut self) {
        let Some(counted) = self.manifest.client.as_ref().and_then(|c| c.transport) else { return };
        if counted.reads == 0 || counted.kernel_stamped == 0 {
            return;
        }
        let share = counted.kernel_stamped as f64 / counted.reads as f64;
        let refused = counted.stamps_refused as f64 / counted.reads as f64;
        let least = self.limits.stamped_reads;
        let threshold = format!("a kernel stamp on at least {:.0} % of the reads", least * 100.0);
        if share < least || 1.0 - least < refused {
            let measured = format!(
                "{:.1} % of {} reads carry a kernel stamp, {} stamps fit no offset of the clocks",
                share * 100.0,
                counted.reads,
                counted.stamps_refused
            );
            let cure = "arrivals are the kernel's on some reads and the program's on others, which are later: HTTP/2 has user stamps only; else look at the clock of this machine";
            self.find("mixed_stamps", Level::Suspect, None, measured, threshold, cure);
        } else {
            self.checked("mixed_stamps");
        }
    }

    /// Requests that met a connection the server had closed. Some are told with the errors; many are another load.
    pub(super) fn resent(&mut self, populations: &[Population]) {
        let most = self.limits.resent;
        let on = each(populations, |population| {
            let (n, of) = (population.tally.resent, population.rows.len());
            (most * (of as f64) < n as f64)
                .then(|| format!("{n} of {of} requests were sent once more on a new connection"))
        });
        let cure = "the server closes connections that it had promised to keep; the first copy may have been served too, so its load is higher than asked";
        let threshold = format!("at most {:.0} %", most * 100.0);
        self.find_on("resent", Level::Suspect, on, threshold, cure);
    }

    /// Requests that this machine could not send: their failures are not the server's.
    pub(super) fn own_limits(&mut self, populations: &[Population]) {
        let on = each(populations, |population| {
            let (own, first) = population.tally.own_limits.as_ref()?;
            Some(format!("{own} of {} requests failed here: {first}", population.rows.len()))
        });
        let cure = "these failures are this client's, and stand among the server's: do what the message says and repeat";
        self.find_on("own_limits", Level::Invalid, on, "none".to_owned(), cure);
    }

    /// A client that falls behind more and more is overloaded, though its p99 may still be in bounds.
    pub(super) fn send_lag_trend(&mut self, populations: &[Population]) {
        if !matches!(self.manifest.scenario.load, Load::Open { .. }) {
            return;
        }
        let limits = self.limits;
        let on = each(populations, |population| {
            let mut lags: Vec<_> =
                population.rows.iter().filter_map(|r| Some((r.scheduled, r.send_lag()?))).collect();
            lags.sort_by_key(|(at, _)| *at);
            let size = lags.len() / BATCHES;
            if size < BATCH {
                return None;
            }
            let medians: Vec<f64> = lags
                .chunks_exact(size)
                .filter_map(|batch| median(batch.iter().map(|(_, lag)| *lag).collect()))
                .collect();
            let p = mann_kendall(&medians).ok()?.p_rising();
            let end = |part: &[f64]| median(part.to_vec());
            let quarter = medians.len() / 4;
            let (first, last) = (end(&medians[..quarter])?, end(&medians[medians.len() - quarter..])?);
            (p < limits.trend_p && limits.lag_rise < last - first)
                .then(|| format!("grew from {} to {} (medians, p {p:.4})", ms(first), ms(last)))
        });
        let threshold = format!("no growth of more than {} with p < {}", ms(limits.lag_rise), limits.trend_p);
        let cure = "the client falls behind its schedule more and more: lower the rate, or use a faster or quieter machine";
        self.find_on("send_lag_trend", Level::Suspect, on, threshold, cure);
    }

    /// The client's own error on a twin, against what was measured.
    pub(super) fn calibration(&mut self, populations: &[Population]) {
        let Some(twin) = self.manifest.client.as_ref().and_then(|c| c.calibration.as_ref()) else {
            return;
        };
        // A p99 of a few requests is their worst; the arrivals of their chunks are the same instants, and many.
        let enough = |e: &TwinError| self.limits.least as u64 <= e.n;
        let Some(TwinError { n, p50_s, p99_s }) = twin.ttft.filter(enough).or(twin.arrival) else {
            self.not_measured.push("calibration: the twin gave nothing to compare".to_owned());
            return;
        };
        let share = self.limits.twin_share;
        let on = each(populations, |population| {
            let times = population.ok().filter_map(|r| r.value("ttft", population.headline)).collect();
            let typical = median(times)?;
            (share * typical < p99_s).then(|| {
                format!(
                    "on the twin arrivals were wrong by {} (p50) and {} (p99, n {n}), {:.1} % of the median here",
                    ms(p50_s),
                    ms(p99_s),
                    p99_s / typical * 100.0
                )
            })
        });
        let threshold = format!("p99 at most {:.0} % of the median time to first token", share * 100.0);
        let cure = "this machine cannot time such short answers so finely under this load: use a quieter or larger one, or a lower load";
        self.find_on("calibration", Level::Suspect, on, threshold, cure);
        if 0 < twin.unaccounted {
            let measured = format!("{} of {} requests", twin.unaccounted, twin.requests);
            let cure = "the twin on this machine did not answer them, or its log does not know them: something here loses connections";
            let signal = "calibration_lost";
            self.find(signal, Level::Suspect, None, measured, "none".to_owned(), cure);
        }
    }
}

fn median(values: Vec<f64>) -> Option<f64> {
    Sample::new(values).ok().map(|s| s.median())
}
