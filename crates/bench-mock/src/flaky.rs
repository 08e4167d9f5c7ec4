//! The memory of flaky models: what failed once works when it comes again.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Requests that failed once, kept until they come again; the oldest are forgotten.
const MAX_FAILED: usize = 4_096;

/// Requests that failed once, by fingerprint.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    failed: Mutex<VecDeque<u64>>,
}

impl Failed {
    /// Whether a flaky model fails this time: the first time that a request comes, then every other.
    pub(crate) fn fails(&self, fingerprint: u64) -> bool {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = failed.iter().position(|f| *f == fingerprint) {
            failed.remove(at);
            return false;
        }
        if failed.len() >= MAX_FAILED {
            failed.pop_front();
        }
        failed.push_back(fingerprint);
        true
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Tells requests apart (FNV-1a).
pub(crate) fn fingerprint(what: &str, body: &[u8]) -> u64 {
    let bytes = what.bytes().chain([0]).chain(body.iter().copied());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_fails_every_other_time() {
        let recall = Failed::default();
        let seen: Vec<bool> = [1, 2, 1, 2, 1].map(|f| recall.fails(f)).to_vec();
        assert_eq!(seen, [true, true, false, false, true]);
        (10..10 + 2 * MAX_FAILED as u64).for_each(|f| assert!(recall.fails(f)));
        assert_eq!(recall.failed.lock().unwrap().len(), MAX_FAILED);
        recall.clear();
        assert!(recall.fails(11));
    }
}
