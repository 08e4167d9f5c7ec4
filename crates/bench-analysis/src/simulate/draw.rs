//! Random numbers of one data set: a stream of its own under the seed of its experiment.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Exp1, StandardNormal};

/// The draws of one data set.
#[derive(Clone, Debug)]
pub struct Draw {
    rng: ChaCha8Rng,
}

impl Draw {
    /// Stream `number` of `seed`.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(number);
        Self { rng }
    }

    /// Uniform on [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.rng.random()
    }

    /// Whether something of chance `p` happens.
    pub fn happens(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// One of 0..n, each as likely.
    pub fn below(&mut self, n: u64) -> u64 {
        self.rng.random_range(0..n)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        StandardNormal.sample(&mut self.rng)
    }

    /// Exponential with mean 1.
    pub fn exponential(&mut self) -> f64 {
        Exp1.sample(&mut self.rng)
    }

    /// How many of `n` independent things of chance `p` happen.
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        (0..n).map(|_| u64::from(self.happens(p))).sum()
    }

    /// Events of a Poisson process of rate 1 in `time`.
    pub fn poisson(&mut self, time: f64) -> u64 {
        let (mut at, mut events) = (self.exponential(), 0);
        while at < time {
            at += self.exponential();
            events += 1;
        }
        events
    }

    /// A seed for code under test that draws by itself.
    pub fn seed(&mut self) -> u64 {
        self.rng.random()
    }
}
