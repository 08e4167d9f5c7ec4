//! Latenesses counted in buckets of a fixed number, so that a run of any length takes the same memory.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Sixteen buckets for each doubling: a bucket is at most 1/16 wider than its lower edge.
const SUB_BITS: u32 = 4;
const SUBS: u64 = 1 << SUB_BITS;
const BUCKETS: usize = ((64 - SUB_BITS + 1) << SUB_BITS) as usize;

fn bucket(nanos: u64) -> usize {
    if nanos < SUBS {
        return nanos as usize;
    }
    let top = nanos.ilog2();
    let sub = (nanos >> (top - SUB_BITS)) & (SUBS - 1);
    (u64::from(top - SUB_BITS + 1) * SUBS + sub) as usize
}

/// The largest value of a bucket.
fn upper_edge(bucket: usize) -> u64 {
    let (octave, sub) = (bucket as u64 / SUBS, bucket as u64 % SUBS);
    if octave == 0 {
        return sub;
    }
    let last = u128::from(SUBS + sub + 1) << (octave - 1);
    u64::try_from(last - 1).unwrap_or(u64::MAX)
}

/// Counted by one thread, read by others.
#[derive(Debug)]
pub(crate) struct SharedHistogram {
    buckets: Box<[AtomicU64]>,
    max: AtomicU64,
    /// Highest since it was last taken.
    recent: AtomicU64,
}

impl SharedHistogram {
    pub(crate) fn new() -> Self {
        let buckets = (0..BUCKETS).map(|_| AtomicU64::new(0)).collect();
        Self { buckets, max: AtomicU64::new(0), recent: AtomicU64::new(0) }
    }

    pub(crate) fn record(&self, nanos: u64, times: u64) {
        self.buckets[bucket(nanos)].fetch_add(times, Relaxed);
        self.max.fetch_max(nanos, Relaxed);
        self.recent.fetch_max(nanos, Relaxed);
    }

    /// Highest since the last call, which begins anew.
    pub(crate) fn take_recent(&self) -> u64 {
        self.recent.swap(0, Relaxed)
    }
}

/// A copy, to add up and ask.
#[derive(Debug)]
pub(crate) struct Counts {
    buckets: Vec<u64>,
    n: u64,
    max: u64,
}

impl Counts {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], n: 0, max: 0 }
    }

    pub(crate) fn add(&mut self, shared: &SharedHistogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&shared.buckets) {
            let count = bucket.load(Relaxed);
            *sum += count;
            self.n += count;
        }
        self.max = self.max.max(shared.max.load(Relaxed));
    }

    pub(crate) fn record(&mut self, nanos: u64, times: u64) {
        if times == 0 {
            return;
        }
        self.buckets[bucket(nanos)] += times;
        self.n += times;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn n(&self) -> u64 {
        self.n
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value of rank ⌈p·n⌉, rounded up to the edge of its bucket, never above the maximum. `None` when empty.
    pub(crate) fn quantile(&self, p: f64) -> Option<u64> {
        let rank = ((p * self.n as f64).ceil() as u64).clamp(1, self.n.max(1));
        let mut below = 0;
        self.buckets.iter().enumerate().find_map(|(i, count)| {
            below += count;
            (rank <= below && 0 < *count).then(|| upper_edge(i).min(self.max))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_the_edge_is_at_most_a_sixteenth_above() {
        let mut last = 0;
        for shift in 0..64 {
            for step in [0_u64, 1, 3, 7, 11] {
                let v = (1_u64 << shift).saturating_add((1_u64 << shift) / 16 * step);
                let (b, edge) = (bucket(v), upper_edge(bucket(v)));
                assert!(v <= edge && edge - v <= v / 16, "{v}: bucket {b} ends at {edge}");
                assert!(last <= b || step == 0, "buckets are in the order of their values");
                last = b;
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
        assert_eq!(upper_edge(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn quantiles_against_the_sorted_values() {
        let shared = SharedHistogram::new();
        let values: Vec<u64> = (1..=1000).map(|i| i * i).collect();
        for v in &values {
            shared.record(*v, 1);
        }
        let mut counts = Counts::new();
        assert_eq!(counts.quantile(0.5), None);
        counts.add(&shared);
        for (p, rank) in [(0.5, 500), (0.99, 990), (0.001, 1), (1.0, 1000)] {
            let (exact, got) = (values[rank - 1], counts.quantile(p).unwrap());
            assert!(exact <= got && got <= exact + exact / 16, "p{p}: {got} for {exact}");
        }
        assert_eq!((counts.n(), counts.max()), (1000, 1_000_000));
        assert_eq!((shared.take_recent(), shared.take_recent()), (1_000_000, 0));
    }
}
