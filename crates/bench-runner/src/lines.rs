//! The connections of a run: opened before the window, and what their transport counts within it.
//!
//! A connection that is opened inside the window puts its handshake into somebody's time to first token, so as many as the
//! load will want at once are opened before. That cannot fail a run: what could not be opened is said, and the requests
//! will say the rest.

use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use llms_core::{
    bench::{Load, Scenario, Target},
    time::SharedClock,
    wire::{Transport, TransportCounters},
};
use tokio_util::sync::CancellationToken;

/// Longest time that opening may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Most connections opened in advance to one target: an estimate is not worth more.
const AT_MOST: u64 = 4096;

/// See the module. Without a transport it does nothing.
#[derive(Default)]
pub(crate) struct Lines {
    transport: Option<Arc<dyn Transport>>,
    /// Where requests of each target go.
    endpoints: Vec<Option<String>>,
    /// The longest answer of the warm-up, ns.
    slowest: AtomicU64,
    before: OnceLock<TransportCounters>,
    said: Mutex<Vec<String>>,
}

impl Lines {
    pub(crate) fn new(transport: Option<Arc<dyn Transport>>, targets: &[Target]) -> Self {
        // A model in this process has no connections.
        let wired = |t: &Target| t.info.transport.is_some() && t.model.is_some();
        let endpoint = |t: &Target| t.info.model.endpoint.clone().filter(|_| wired(t));
        Self { transport, endpoints: targets.iter().map(endpoint).collect(), ..Self::default() }
    }

    /// An answer of the warm-up took so long.
    pub(crate) fn answered_within(&self, time: Duration) {
        self.slowest.fetch_max(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Opens connections to `targets`.
    pub(crate) async fn open(
        &self,
        targets: &[u32],
        scenario: &Scenario,
        clock: &SharedClock,
        stop: &CancellationToken,
    ) {
        let Some(transport) = &self.transport else { return };
        let wanted = self.wanted(&scenario.load, targets.len());
        let end = clock.now() + PATIENCE;
        for endpoint in targets.iter().filter_map(|t| self.endpoints[*t as usize].as_ref()) {
            let Ok(uri) = endpoint.parse() else { continue };
            let opened = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                opened = transport.open(&uri, wanted as usize) => opened.map_err(|e| e.message().to_owned()),
                () = clock.sleep_until(end) => Err(format!("not within {PATIENCE:?}")),
            };
            let said = match opened {
                Ok(()) => format!("{wanted} before the window"),
                Err(why) => format!("{wanted} wanted before the window: {why}"),
            };
            let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if !all.contains(&said) {
                all.push(said);
            }
        }
    }

    /// Connections that this load will want at once towards one of `targets` targets: what a closed loop or a cap says, else
    /// by Little's law from the slowest answer of the warm-up, with three standard deviations of a Poisson number.
    fn wanted(&self, load: &Load, targets: usize) -> u64 {
        let targets = targets.max(1) as u64;
        let wanted = match load {
            // The users are spread over the targets, unevenly.
            Load::Closed { concurrency, .. } if targets > 1 => {
                (u64::from(*concurrency) * 3).div_ceil(2 * targets)
            }
            Load::Closed { concurrency, .. } => u64::from(*concurrency),
            Load::Open { rate, profile, max_concurrency, .. } => {
                let first = profile.first().map_or(*rate, |piece| piece.from.max(piece.end_rate()));
                let at_once = first * Duration::from_nanos(self.slowest.load(Relaxed)).as_secs_f64();
                let estimate = (at_once + 3.0 * at_once.sqrt()).ceil() as u64 + 1;
                estimate.min(max_concurrency.map_or(u64::MAX, u64::from))
            }
        };
        wanted.clamp(1, AT_MOST)
    }

    /// The window begins.
    pub(crate) fn begin(&self) {
        if let Some(counters) = self.transport.as_ref().and_then(|t| t.counters()) {
            // A second stretch of the same window changes nothing.
            let _ = self.before.set(counters);
        }
    }

    /// What was counted since the window began.
    pub(crate) fn counted(&self) -> Option<TransportCounters> {
        Some(self.transport.as_ref()?.counters()?.since(self.before.get()?))
    }

    /// What was opened, for the manifest.
    pub(crate) fn facts(&self) -> Option<(String, String)> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        (!said.is_empty()).then(|| ("connections_opened".to_owned(), said.join("; ")))
    }
}

#[cfg(test)]
mod tests {
    use llms_core::bench::RatePiece;

    use super::*;

    #[track_caller]
    fn check(load: &Load, targets: usize, slowest: f64, wanted: u64) {
        let lines = Lines::default();
        lines.answered_within(Duration::from_secs_f64(slowest));
        assert_eq!(lines.wanted(load, targets), wanted, "{load:?} on {targets}, {slowest} s");
    }

    #[test]
    fn as_many_as_the_load_will_want_at_once() {
        check(&Load::closed(32), 1, 9.0, 32);
        check(&Load::closed(32), 4, 9.0, 12);
        check(&Load::closed(1), 4, 9.0, 1);
        check(&Load::poisson(100.0), 1, 0.25, 25 + 15 + 1);
        check(&Load::poisson(100.0), 1, 0.0, 1);
        check(&Load::poisson(100.0).capped(8), 1, 0.25, 8);
        check(&Load::poisson(1e6), 1, 10.0, AT_MOST);
        let shaped = Load::poisson(1.0).shaped([RatePiece::step(Duration::from_secs(1), 64.0)]);
        check(&shaped, 1, 1.0, 64 + 24 + 1);
    }
}
