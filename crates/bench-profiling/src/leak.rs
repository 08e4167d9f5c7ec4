//! Compares what a process holds at two moments: tasks, threads, descriptors, heap.
//!
//! Off by default: nothing is counted unless somebody makes a [`LeakDetector`] and asks. The first mark belongs after the
//! first operations, when caches and pools are filled; the second after as many more, when all is quiet again.
//!
//! Says that something grew and by how much, not where: that is for a heap profile.

use std::{
    fmt,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use crate::{allocator::NOT_COUNTED, reading::Sources};

/// What the process holds at one moment. `None`: not measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Async tasks alive on the watched runtimes.
    pub tasks: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open descriptors, the detector's own among them.
    pub descriptors: Option<u64>,
    /// Bytes live in the allocator.
    pub heap_bytes: Option<u64>,
}

/// Growth that is no leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeakLimits {
    /// Tasks.
    pub tasks: u64,
    /// Threads. Runtimes keep idle threads of their blocking pool for 10 s.
    pub threads: u64,
    /// Descriptors. A connection pool keeps idle connections.
    pub descriptors: u64,
    /// Bytes.
    pub heap_bytes: u64,
}

impl Default for LeakLimits {
    /// None of anything but 64 KiB of heap, for tables that grow by themselves.
    fn default() -> Self {
        Self { tasks: 0, threads: 0, descriptors: 0, heap_bytes: 64 * 1024 }
    }
}

/// One kind of resource that grew by more than its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// `tasks`, `threads`, `descriptors` or `heap bytes`.
    pub resource: &'static str,
    /// At the first mark.
    pub before: u64,
    /// Now.
    pub after: u64,
    /// Growth allowed.
    pub allowed: u64,
}

/// What grew between two moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeakReport {
    /// Above their limits.
    pub growths: Vec<Growth>,
    /// Could not be compared, with the reason.
    pub not_compared: Vec<(&'static str, String)>,
}

impl LeakReport {
    /// Nothing that was compared grew by more than its limit.
    pub fn is_clean(&self) -> bool {
        self.growths.is_empty()
    }
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self
            .growths
            .iter()
            .map(|g| {
                format!(
                    "{} grew by {}, from {} to {} ({} allowed)",
                    g.resource,
                    g.after - g.before,
                    g.before,
                    g.after,
                    g.allowed
                )
            })
            .collect();
        if parts.is_empty() {
            parts.push("no leak".to_owned());
        }
        parts.extend(self.not_compared.iter().map(|(what, why)| format!("{what} not compared: {why}")));
        f.write_str(&parts.join("; "))
    }
}

/// Counts and compares. Holds some open files of the kernel's; costs nothing else until asked.
#[derive(Debug)]
pub struct LeakDetector {
    limits: LeakLimits,
    sources: Mutex<Sources>,
}

impl LeakDetector {
    /// With the given limits; tasks are counted on `runtimes`.
    pub fn new(limits: LeakLimits, runtimes: impl IntoIterator<Item = Handle>) -> Self {
        let sources = Sources::open(Path::new("/proc"), runtimes.into_iter().collect(), 0);
        let detector = Self { limits, sources: Mutex::new(sources) };
        // Buffers that only the first reading needs are not growth.
        detector.mark();
        detector
    }

    /// What the process holds now.
    pub fn mark(&self) -> Resources {
        let reading = self.sources.lock().unwrap_or_else(PoisonError::into_inner).read();
        Resources {
            tasks: reading.tasks,
            threads: reading.status.threads,
            descriptors: reading.descriptors,
            heap_bytes: reading.allocator.map(|a| a.live_bytes),
        }
    }

    /// What grew since `before`.
    pub fn since(&self, before: &Resources) -> LeakReport {
        self.compare(before, &self.mark())
    }

    /// As [`since`](Self::since), asked again until nothing is above its limit or `patience` is over: tasks and threads take a
    /// moment to end. Blocks the calling thread.
    pub fn settled(&self, before: &Resources, patience: Duration) -> LeakReport {
        let began = Instant::now();
        loop {
            let report = self.since(before);
            if report.is_clean() || patience <= began.elapsed() {
                return report;
            }
            drop(report);
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn compare(&self, before: &Resources, after: &Resources) -> LeakReport {
        let limits = &self.limits;
        let mut report = LeakReport { growths: Vec::new(), not_compared: Vec::new() };
        for (resource, before, after, allowed, reason) in [
            ("tasks", before.tasks, after.tasks, limits.tasks, "no async runtime was given to the detector"),
            ("threads", before.threads, after.threads, limits.threads, "this platform does not tell them"),
            (
                "descriptors",
                before.descriptors,
                after.descriptors,
                limits.descriptors,
                "this platform does not tell them",
            ),
            ("heap bytes", before.heap_bytes, after.heap_bytes, limits.heap_bytes, NOT_COUNTED),
        ] {
            match (before, after) {
                (Some(before), Some(after)) if before.saturating_add(allowed) < after => {
                    report.growths.push(Growth { resource, before, after, allowed });
                }
                (Some(_), Some(_)) => {}
                _ => report.not_compared.push((resource, reason.to_owned())),
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: Resources =
        Resources { tasks: Some(10), threads: Some(4), descriptors: Some(20), heap_bytes: Some(1000) };

    #[track_caller]
    fn check(after: Resources, expected: &str) {
        let limits = LeakLimits { heap_bytes: 100, ..LeakLimits::default() };
        let report = LeakDetector::new(limits, []).compare(&BEFORE, &after);
        assert_eq!(report.to_string(), expected);
        assert_eq!(report.is_clean(), expected.starts_with("no leak"));
    }

    #[test]
    fn growth_above_its_limit_is_named() {
        check(BEFORE, "no leak");
        check(Resources { heap_bytes: Some(1100), threads: Some(3), ..BEFORE }, "no leak");
        check(
            Resources { heap_bytes: Some(1101), tasks: Some(11), ..BEFORE },
            "tasks grew by 1, from 10 to 11 (0 allowed); heap bytes grew by 101, from 1000 to 1101 (100 allowed)",
        );
        check(
            Resources { tasks: None, descriptors: Some(21), ..BEFORE },
            "descriptors grew by 1, from 20 to 21 (0 allowed); tasks not compared: no async runtime was given to the detector",
        );
    }
}
