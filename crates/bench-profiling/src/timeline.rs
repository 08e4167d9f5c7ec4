//! The course of the signals in a bounded number of samples: when there are too many, every second one goes and the distance
//! doubles. Counters are cumulative, so nothing is lost by it; the worst lateness moves to the sample that stays.

use llms_core::bench::probe::HealthSample;

#[derive(Debug)]
pub(crate) struct Timeline {
    kept: Vec<HealthSample>,
    /// Readings for each sample kept.
    every: u64,
    readings: u64,
    /// Worst lateness of readings left out since the last kept.
    lag: Option<f64>,
}

fn worse(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

impl Timeline {
    /// At most `bound` samples, at least 4. All memory is taken now.
    pub(crate) fn new(bound: usize) -> Self {
        Self { kept: Vec::with_capacity(bound.max(4)), every: 1, readings: 0, lag: None }
    }

    pub(crate) fn push(&mut self, mut sample: HealthSample) {
        sample.lag_max_s = worse(sample.lag_max_s, self.lag.take());
        let keep = self.readings.is_multiple_of(self.every);
        self.readings += 1;
        if !keep {
            self.lag = sample.lag_max_s;
            return;
        }
        if self.kept.len() == self.kept.capacity() {
            self.halve();
            if !(self.readings - 1).is_multiple_of(self.every) {
                self.lag = worse(self.lag, sample.lag_max_s);
                return;
            }
        }
        sample.lag_max_s = worse(sample.lag_max_s, self.lag.take());
        self.kept.push(sample);
    }

    fn halve(&mut self) {
        let n = self.kept.len();
        for i in (1..n).step_by(2) {
            let dropped = self.kept[i].lag_max_s;
            match self.kept.get_mut(i + 1) {
                Some(next) => next.lag_max_s = worse(next.lag_max_s, dropped),
                None => self.lag = worse(self.lag, dropped),
            }
        }
        for i in 1..n.div_ceil(2) {
            self.kept[i] = self.kept[2 * i];
        }
        self.kept.truncate(n.div_ceil(2));
        self.every *= 2;
    }

    /// Readings for each sample.
    pub(crate) fn every(&self) -> u64 {
        self.every
    }

    /// The samples, with `last` as the last whether it was kept or not.
    pub(crate) fn with_last(&self, last: HealthSample) -> Vec<HealthSample> {
        let mut all = Vec::with_capacity(self.kept.len() + 1);
        all.extend_from_slice(&self.kept);
        if all.last().is_none_or(|s| s.at < last.at) {
            let lag_max_s = worse(last.lag_max_s, self.lag);
            all.push(HealthSample { lag_max_s, ..last });
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use llms_core::time::Timestamp;

    use super::*;

    fn sample(i: u64, lag: f64) -> HealthSample {
        HealthSample { at: Timestamp::from_nanos(i), lag_max_s: Some(lag), ..HealthSample::default() }
    }

    /// Pushes `n` readings with the worst lateness at reading `worst`.
    #[track_caller]
    fn check(bound: usize, n: u64, worst: u64) {
        let mut timeline = Timeline::new(bound);
        let at = |i: u64| sample(i, if i == worst { 9.0 } else { 1.0 });
        for i in 0..n {
            timeline.push(at(i));
        }
        let all = timeline.with_last(at(n - 1));
        assert!(all.len() <= bound + 1, "{} samples for a bound of {bound}", all.len());
        assert!(bound as u64 / 2 <= n.min(all.len() as u64) || all.len() as u64 == n);
        assert_eq!(all[0].at, Timestamp::from_nanos(0));
        assert_eq!(all[all.len() - 1].at, Timestamp::from_nanos(n - 1));
        let every = timeline.every();
        assert!(all[..all.len() - 1].iter().zip(0..).all(|(s, k)| s.at.as_nanos() == k * every));
        let found: Vec<u64> =
            all.iter().filter(|s| s.lag_max_s == Some(9.0)).map(|s| s.at.as_nanos()).collect();
        // It stands at the first sample at or after it.
        assert_eq!(found, [worst.next_multiple_of(every).min(n - 1)], "of {n} in {bound}");
    }

    #[test]
    fn samples_stay_bounded_and_no_lateness_is_lost() {
        for bound in [4, 5, 8, 16] {
            for n in 1..200 {
                for worst in [0, n / 3, n / 2, n - 1] {
                    check(bound, n, worst);
                }
            }
        }
    }
}
