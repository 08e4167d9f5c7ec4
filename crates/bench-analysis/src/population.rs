//! The measured requests of one target, in the order they were scheduled, and what each of them counts as.
//!
//! Everything later (metrics, throughput, comparison, cost) starts from here, so that all of it agrees on which requests
//! exist. A failed request ranks as `+∞`. One that was still in flight when the drain ended ranks so too: it waited longer
//! than anybody allowed. One cut off by the user's interrupt is unknown, counted and left out of the ranks.
//!
//! Records are read once and not kept: of each request a [`Row`] stays, of its chunks what [`Tally`] sums
//! up. The same holds whether they lie in memory or in a file, so both give the same answer.

use llms_core::bench::{
    Order, Origin, RecordSource, RequestRecord, RunManifest, RunPhase, RunResult, Scenario, Window,
};
use llms_core::error::Result;
use llms_core::time::Timestamp;

use crate::cost::Price;
use crate::request::Request;
use crate::row::{Ended, Row, Rows};
use crate::tally::Tally;

/// The requests of one target that were scheduled in the measured window.
#[derive(Debug)]
pub struct Population {
    /// in the order of their schedule
    pub rows: Rows,
    /// what was counted beside them
    pub tally: Tally,
    /// the part of the measured window that is this target's; `None` when nothing measured has ended
    pub window: Option<Window>,
    /// where a bare latency name starts
    pub headline: Origin,
    /// requests still in flight at the end rank as +∞ (drained) or are left out (interrupted)
    pub censored_rank: bool,
    /// what is known of a +∞: more than this many seconds
    pub timeout: f64,
}

/// What a request counts as in a percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// a complete answer
    Ok,
    /// ranks as +∞
    Failed,
    /// unknown: left out
    Unknown,
}

impl Population {
    /// Nobody yet: of a target with this window and price.
    pub fn new(
        scenario: &Scenario,
        interrupted: bool,
        window: Option<Window>,
        price: Option<&Price>,
    ) -> Self {
        Self {
            rows: Rows::default(),
            tally: Tally::new(scenario, window, price),
            window,
            headline: scenario.load.headline_origin(),
            censored_rank: !interrupted,
            timeout: scenario.timeout.as_secs_f64(),
        }
    }

    /// The measured requests of target number `target` of a run in memory, without prices.
    pub fn of(run: &RunResult, target: u32) -> Self {
        let manifest = &run.manifest;
        let mut extents = Extents::none(manifest.targets.len());
        run.records.iter().for_each(|r| extents.add(r));
        let (window, _) = extents.window(manifest);
        let own = window.map(|w| extents.own_part(target as usize, w, &manifest.scenario));
        let mut population = Self::new(&manifest.scenario, manifest.interrupted, own, None);
        run.measured(target).for_each(|r| population.add(r));
        population.in_order();
        population
    }

    /// Adds a measured request of this target.
    pub fn add(&mut self, record: &RequestRecord) {
        let request = Request::new(record, self.tally.streamed());
        let (cost, version) = self.tally.add(&request, self.headline);
        self.rows.push(&Row::of(&request, cost, version));
    }

    /// To be called once all were added.
    pub fn in_order(&mut self) {
        self.rows.in_order();
    }

    /// What a request counts as.
    pub fn standing(&self, row: &Row) -> Standing {
        match row.ended {
            Ended::Ok => Standing::Ok,
            Ended::Failed => Standing::Failed,
            Ended::Censored if self.censored_rank => Standing::Failed,
            Ended::Censored => Standing::Unknown,
        }
    }

    /// Complete answers.
    pub fn ok(&self) -> impl Iterator<Item = Row> + '_ {
        self.rows.iter().filter(Row::is_ok)
    }

    /// Complete answers, failures, censored requests.
    pub fn counts(&self) -> (u64, u64, u64) {
        let [ok, failed, censored] = self.tally.ended;
        (ok, failed, censored)
    }

    /// Requests that rank as +∞.
    pub fn ranked_failures(&self) -> u64 {
        let (_, failed, censored) = self.counts();
        failed + if self.censored_rank { censored } else { 0 }
    }
}

/// From when to when each target was measured, by its measured records.
#[derive(Clone, Debug)]
pub(crate) struct Extents(Vec<Extent>);

#[derive(Clone, Copy, Debug, Default)]
struct Extent {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    end: Option<Timestamp>,
}

impl Extents {
    pub(crate) fn none(targets: usize) -> Self {
        Self(vec![Extent::default(); targets])
    }

    /// Reads all records for it, where anything depends on it; else nothing is read and nothing known.
    pub(crate) fn read(manifest: &RunManifest, records: &dyn RecordSource) -> Result<Self> {
        let mut extents = Self::none(manifest.targets.len());
        if manifest.window.is_none() || manifest.scenario.order != Order::Interleaved {
            records.each(&mut |r| {
                extents.add(r);
                Ok(())
            })?;
        }
        Ok(extents)
    }

    fn add(&mut self, record: &RequestRecord) {
        let Some(extent) = self.0.get_mut(record.target as usize) else { return };
        if record.phase == RunPhase::Measured {
            let at = record.scheduled;
            extent.first = Some(extent.first.map_or(at, |first| first.min(at)));
            extent.last = Some(extent.last.map_or(at, |last| last.max(at)));
            extent.end = extent.end.max(record.end);
        }
    }

    /// The measured window, and whether it had to be derived: a run that was cut off wrote none, and its measured records say
    /// from when (first schedule) to when (last end) it measured. `None` when nothing measured has ended either.
    pub(crate) fn window(&self, manifest: &RunManifest) -> (Option<Window>, bool) {
        if manifest.window.is_some() {
            return (manifest.window, false);
        }
        let start = self.0.iter().filter_map(|e| e.first).min();
        let last = self.0.iter().filter_map(|e| e.end).max();
        let window = start.zip(last).map(|(start, last)| {
            // the end is exclusive, and the last answer is inside
            let end = Timestamp::from_nanos(last.as_nanos() + 1);
            Window { start, end, drained: end }
        });
        (window, window.is_some())
    }

    /// The part of the window that belongs to a target. Interleaved targets share the whole; targets measured one after the
    /// other have their own stretch of it each, from the first to the last send (closed loop: to the end of the last answer, as
    /// the next request would have been ready then).
    pub(crate) fn own_part(&self, target: usize, window: Window, scenario: &Scenario) -> Window {
        let extent = self.0[target];
        let last = match scenario.load {
            llms_core::bench::Load::Open { .. } => extent.last,
            llms_core::bench::Load::Closed { .. } => extent.end,
        };
        match (scenario.order, extent.first, last) {
            (Order::Sequential, Some(first), Some(last)) => Window { start: first, end: last, ..window },
            _ => window,
        }
    }
}
