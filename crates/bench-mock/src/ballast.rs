//! The memory simulation: bytes that are really allocated and written to while a request is served.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::profile::Memory;

/// Bytes held by all requests of one engine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Bytes held now.
    pub(crate) fn held(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Allocates what a request takes, and touches each page so that it is resident.
    pub(crate) fn load(&self, memory: &Memory, stream: bool) -> Ballast {
        let factor = if stream { memory.streaming_factor } else { 1.0 };
        let mut bytes = vec![0; (memory.bytes as f64 * factor) as usize];
        for page in bytes.chunks_mut(4096) {
            page[0] = std::hint::black_box(1);
        }
        self.0.fetch_add(bytes.len() as u64, Relaxed);
        Ballast { bytes, gauge: self.clone() }
    }
}

/// Bytes held until dropped.
#[derive(Debug)]
pub(crate) struct Ballast {
    bytes: Vec<u8>,
    gauge: Gauge,
}

impl Drop for Ballast {
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.bytes.len() as u64, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streaming_takes_its_factor_and_all_is_given_back() {
        let (gauge, memory) = (Gauge::default(), Memory { bytes: 10_000, streaming_factor: 1.5 });
        let whole = gauge.load(&memory, false);
        assert_eq!(gauge.held(), 10_000);
        let streamed = gauge.load(&memory, true);
        assert_eq!(gauge.held(), 25_000);
        drop((whole, streamed));
        let nothing = gauge.load(&Memory::default(), true);
        assert_eq!(gauge.held(), 0);
        drop(nothing);
    }
}
