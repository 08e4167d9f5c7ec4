//! The state of one span of watching: where it began, what was added up since, what was highest.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use llms_core::bench::probe::{Course, HealthSample};

use crate::{
    beat::Beats,
    clock::ClockWatch,
    reading::{Reading, Sources},
    threads::ThreadTable,
    timeline::Timeline,
};

/// Fed by [`Watch::read`], told by `health`.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) sources: Sources,
    pub(crate) beats: Vec<Arc<Beats>>,
    pub(crate) first: Reading,
    pub(crate) last: Reading,
    pub(crate) threads: ThreadTable,
    /// The kernel keeps accounts of waiting threads.
    pub(crate) has_threads: bool,
    pub(crate) first_switches: Option<Vec<(u32, u64, u64)>>,
    pub(crate) clock: ClockWatch,
    pub(crate) timeline: Timeline,
    pub(crate) highest: Highest,
    pub(crate) readings: u64,
    pub(crate) longest_reading: Duration,
    /// The probe's thread, not counted among those that wait.
    own_thread: Option<u32>,
    last_sample: HealthSample,
}

/// Highest levels at any reading.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Highest {
    pub(crate) avg10: f64,
    pub(crate) avg10_own: f64,
    pub(crate) rss: u64,
    pub(crate) descriptors: u64,
    pub(crate) time_wait: u64,
    pub(crate) threads: u64,
    pub(crate) tasks: u64,
}

impl Highest {
    fn see(&mut self, now: &Reading) {
        let raise = |level: &mut u64, now: Option<u64>| *level = (*level).max(now.unwrap_or(0));
        raise(&mut self.rss, now.status.rss_bytes);
        raise(&mut self.descriptors, now.descriptors);
        raise(&mut self.time_wait, now.sockets.map(|s| s.1));
        raise(&mut self.threads, now.status.threads);
        raise(&mut self.tasks, now.tasks);
        self.avg10 = self.avg10.max(now.pressure.map_or(0.0, |p| p.avg10));
        self.avg10_own = self.avg10_own.max(now.pressure_own.map_or(0.0, |p| p.avg10));
    }
}

impl Watch {
    /// Takes the first reading. At most `samples` are kept.
    pub(crate) fn begin(
        mut sources: Sources,
        beats: Vec<Arc<Beats>>,
        own_thread: Option<u32>,
        samples: usize,
    ) -> Self {
        let first_switches = sources.switches();
        let mut threads = ThreadTable::new();
        let timeline = Timeline::new(samples);
        let has_threads = sources.threads(&mut threads, own_thread).is_some();
        // After all that watching needs has been allocated.
        let first = sources.read();
        let mut watch = Self {
            sources,
            beats,
            first,
            last: first,
            threads,
            has_threads,
            first_switches,
            clock: ClockWatch::new(first.clock),
            timeline,
            highest: Highest::default(),
            readings: 1,
            longest_reading: Duration::ZERO,
            own_thread,
            last_sample: HealthSample::default(),
        };
        watch.highest.see(&first);
        watch.sample();
        watch
    }

    /// One more reading.
    pub(crate) fn read(&mut self) {
        let began = Instant::now();
        if self.has_threads {
            // A failure now is one of this moment: what was added up stands.
            let _ = self.sources.threads(&mut self.threads, self.own_thread);
        }
        self.last = self.sources.read();
        self.clock.see(self.last.clock);
        self.highest.see(&self.last);
        self.readings += 1;
        self.sample();
        self.longest_reading = self.longest_reading.max(began.elapsed());
    }

    fn sample(&mut self) {
        let (first, last) = (&self.first, &self.last);
        let seconds = |nanos: u64| nanos as f64 / 1e9;
        let sample = HealthSample {
            at: last.clock.at,
            cpu_s: grown(first, last, |r| r.cpu_ns).map(seconds),
            wait_s: self.has_threads.then(|| seconds(self.threads.total().wait_ns)),
            throttled_s: grown(first, last, |r| Some(r.throttled?.1)).map(seconds),
            stalled_s: grown(first, last, |r| Some(r.pressure?.total_us)).map(|us| us as f64 / 1e6),
            steal_share: steal(first, last).map(|(share, _)| share),
            clock_offset_s: Some(self.clock.offset_s()),
            rss_bytes: last.status.rss_bytes,
            live_bytes: last.allocator.map(|a| a.live_bytes),
            allocations: grown(first, last, |r| Some(r.allocator?.allocations)),
            descriptors: last.descriptors,
            time_wait: last.sockets.map(|s| s.1),
            threads: last.status.threads,
            tasks: last.tasks,
            lag_max_s: self.beats.iter().map(|b| seconds(b.take_recent(last.clock.at))).reduce(f64::max),
        };
        self.last_sample = sample;
        self.timeline.push(sample);
    }

    /// The course so far, the last reading always in it.
    pub(crate) fn samples(&self) -> Vec<HealthSample> {
        self.timeline.with_last(self.last_sample)
    }

    /// A level at both ends, and the highest seen.
    pub(crate) fn course(&self, max: u64, of: impl Fn(&Reading) -> Option<u64>) -> Option<Course> {
        Some(Course { start: of(&self.first)?, end: of(&self.last)?, max })
    }
}

/// Growth of a counter; `None` when it is not there or went back.
pub(crate) fn grown(first: &Reading, last: &Reading, of: impl Fn(&Reading) -> Option<u64>) -> Option<u64> {
    of(last)?.checked_sub(of(first)?)
}

/// Stolen share of all time and of wanted time. `None` when no tick has passed.
pub(crate) fn steal(first: &Reading, last: &Reading) -> Option<(f64, Option<f64>)> {
    // Idle time may go back by some ticks (the kernel corrects its estimate): what is wanted is then all of it.
    let (first, last) = (first.machine?, last.machine?);
    let all = last.all.checked_sub(first.all).filter(|all| 0 < *all)?;
    let stolen = last.stolen.saturating_sub(first.stolen).min(all);
    let wanted = all - last.idle.saturating_sub(first.idle).min(all);
    let wanted = (0 < wanted).then(|| stolen as f64 / wanted.max(stolen) as f64);
    Some((stolen as f64 / all as f64, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::clocks, parse::MachineCpu, parse::Status};

    fn reading(machine: Option<MachineCpu>) -> Reading {
        Reading {
            clock: clocks(),
            cpu_ns: None,
            ticks: None,
            machine,
            status: Status::default(),
            pressure: None,
            pressure_own: None,
            throttled: None,
            descriptors: None,
            sockets: None,
            tasks: None,
            allocator: None,
        }
    }

    #[track_caller]
    fn check(first: [u64; 3], last: [u64; 3], expected: Option<(f64, Option<f64>)>) {
        let at = |[all, idle, stolen]: [u64; 3]| reading(Some(MachineCpu { all, idle, stolen }));
        assert_eq!(steal(&at(first), &at(last)), expected);
    }

    #[test]
    fn stolen_time_as_a_share_of_all_and_of_what_was_wanted() {
        check([100, 50, 0], [200, 100, 10], Some((0.1, Some(0.2))));
        check([100, 50, 7], [200, 150, 7], Some((0.0, None)));
        check([100, 50, 0], [100, 50, 0], None);
        check([100, 60, 0], [200, 59, 100], Some((1.0, Some(1.0))));
        assert_eq!(steal(&reading(None), &reading(None)), None);
    }
}
