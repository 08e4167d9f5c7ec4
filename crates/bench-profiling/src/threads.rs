//! Adds up the scheduler's accounts of threads that come and go.

use crate::parse::SchedStat;

#[derive(Debug, Clone, Copy)]
struct Seen {
    tid: u32,
    last: SchedStat,
    /// Waited since the start of the span, nanoseconds.
    waited: u64,
    round: u64,
}

/// The threads of a process, from one reading to the next.
#[derive(Debug)]
pub(crate) struct ThreadTable {
    /// In order of `tid`.
    seen: Vec<Seen>,
    round: u64,
    total: SchedStat,
    /// Waited by the thread that waited most, ended ones included.
    worst_wait: u64,
    ended: u64,
}

impl ThreadTable {
    pub(crate) fn new() -> Self {
        // Room for more threads than a client has, so that readings do not allocate.
        let seen = Vec::with_capacity(256);
        Self { seen, round: 0, total: SchedStat::default(), worst_wait: 0, ended: 0 }
    }

    /// Begins a reading; the first one only notes where each thread stands.
    pub(crate) fn begin(&mut self) {
        self.round += 1;
    }

    /// One thread's account.
    pub(crate) fn see(&mut self, tid: u32, now: SchedStat) {
        let first_round = self.round == 1;
        let round = self.round;
        let grown = match self.seen.binary_search_by_key(&tid, |s| s.tid) {
            Ok(i) => {
                let thread = &mut self.seen[i];
                let grown = now.since(thread.last).unwrap_or_else(|| {
                    // Its account went back: another thread got the number, and all it has lies in the span.
                    self.ended += 1;
                    thread.waited = 0;
                    now
                });
                *thread = Seen { tid, last: now, waited: thread.waited + grown.wait_ns, round };
                self.worst_wait = self.worst_wait.max(thread.waited);
                grown
            }
            Err(i) => {
                let grown = if first_round { SchedStat::default() } else { now };
                self.seen.insert(i, Seen { tid, last: now, waited: grown.wait_ns, round });
                self.worst_wait = self.worst_wait.max(grown.wait_ns);
                grown
            }
        };
        self.total = self.total.plus(grown);
    }

    /// Ends a reading: threads not seen in it are over.
    pub(crate) fn end(&mut self) {
        let before = self.seen.len();
        let round = self.round;
        self.seen.retain(|s| s.round == round);
        self.ended += (before - self.seen.len()) as u64;
    }

    /// Of all threads, since the first reading.
    pub(crate) fn total(&self) -> SchedStat {
        self.total
    }

    pub(crate) fn worst_wait_ns(&self) -> u64 {
        self.worst_wait
    }

    pub(crate) fn ended(&self) -> u64 {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(run_ns: u64, wait_ns: u64) -> SchedStat {
        SchedStat { run_ns, wait_ns, slices: run_ns / 10 }
    }

    /// One reading after the other; each lists (tid, run, wait).
    #[track_caller]
    fn check(readings: &[&[(u32, u64, u64)]], run_wait: (u64, u64), worst: u64, ended: u64) {
        let mut table = ThreadTable::new();
        for reading in readings {
            table.begin();
            for (tid, run, wait) in *reading {
                table.see(*tid, stat(*run, *wait));
            }
            table.end();
        }
        let total = table.total();
        assert_eq!((total.run_ns, total.wait_ns), run_wait);
        assert_eq!((table.worst_wait_ns(), table.ended()), (worst, ended));
    }

    #[test]
    fn threads_come_go_and_change_their_numbers() {
        // What was before the first reading does not count.
        check(&[&[(1, 1000, 500)]], (0, 0), 0, 0);
        check(&[&[(1, 1000, 500)], &[(1, 1300, 510)]], (300, 10), 10, 0);
        // A thread that came counts from its birth; order does not matter.
        check(&[&[(7, 1000, 500)], &[(9, 50, 30), (7, 1100, 520), (3, 10, 1)]], (160, 51), 30, 0);
        // A thread that went keeps what it had.
        check(&[&[(1, 0, 0), (2, 0, 0)], &[(1, 5, 1), (2, 70, 40)], &[(1, 6, 1)]], (76, 41), 40, 1);
        // A number given again to a new thread: its account is smaller than the old one's.
        check(&[&[(1, 900, 90)], &[(1, 1000, 100)], &[(1, 20, 7)]], (120, 17), 10, 1);
        // It went and came back within the readings.
        check(&[&[(1, 10, 10)], &[], &[(1, 20, 30)]], (20, 30), 30, 1);
    }
}
