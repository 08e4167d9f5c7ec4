//! One stream of random numbers, shared by all calls of a layer.

use std::sync::{Mutex, PoisonError};

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// Seeded draws behind a lock; drawn a few times a call at most.
#[derive(Debug)]
pub(crate) struct Random(Mutex<ChaCha8Rng>);

impl Random {
    /// Of this seed, or one from the system.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(Mutex::new(ChaCha8Rng::seed_from_u64(seed.unwrap_or_else(rand::random))))
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&self) -> f64 {
        let bits = self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64();
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}
