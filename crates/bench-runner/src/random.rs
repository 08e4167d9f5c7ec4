//! Reproducible randomness: ChaCha8 sub-streams of named seeds.
//!
//! Everything random in a run is drawn here, by code of our own on top of the cipher, so that the same seed gives
//! the same plan whatever version of a random-number crate is linked. One seed serves many purposes without
//! their draws touching: each purpose has a stream of its own.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};

/// What a stream is for; together with a number (block, target) it selects the stream of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Gaps between arrivals.
    Arrivals,
    /// Order of targets within blocks.
    Order,
    /// Order of the prompts.
    Prompts,
    /// Cache-busting nonces.
    Nonce,
    /// Pauses of users between requests.
    Think,
    /// Lengths of prompts and answers.
    Lengths,
    /// Words of synthetic prompts.
    Words,
    /// Words of prefixes that synthetic prompts share.
    Prefixes,
}

/// A stream of random numbers.
#[derive(Clone)]
pub(crate) struct Stream(ChaCha8Rng);

impl Stream {
    /// The stream of `seed` for `purpose`, number `index` (below 2⁶⁰).
    pub(crate) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let mut key = [0; 32];
        let mut state = seed;
        for word in key.chunks_exact_mut(8) {
            word.copy_from_slice(&split_mix(&mut state).to_le_bytes());
        }
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(((purpose as u64) << 60) | (index & ((1 << 60) - 1)));
        Self(rng)
    }

    /// 64 random bits.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform in (0, 1]: its logarithm is finite.
    pub(crate) fn unit(&mut self) -> f64 {
        1.0 - (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `0..n` (n ≥ 1), by multiplication; the bias is below n / 2⁶⁴.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(n)) >> 64) as u64
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// Standard normal, by Box and Muller (1958); two draws each, the second normal is not kept.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Gamma of shape `k` > 0 and scale 1, by Marsaglia and Tsang, "A simple method for generating gamma variables"
    /// (ACM TOMS 26, 2000); below shape 1 their boost `Gamma(k) = Gamma(k + 1) · U^(1/k)`.
    pub(crate) fn gamma(&mut self, k: f64) -> f64 {
        if k < 1.0 {
            let boost = self.unit().powf(1.0 / k);
            return self.gamma(k + 1.0) * boost;
        }
        let d = k - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }

    /// A random order, Fisher–Yates.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

/// Steele, Lea & Flood's SplitMix64: spreads one word over a key.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed from the system, below 2⁵³ so that every JSON and TOML reader keeps it exact.
pub(crate) fn system_seed() -> u64 {
    rand::random::<u64>() >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let draw = |purpose, index| Stream::new(7, purpose, index).bits();
        let all = [
            draw(Purpose::Arrivals, 0),
            draw(Purpose::Order, 0),
            draw(Purpose::Prompts, 0),
            draw(Purpose::Nonce, 0),
            draw(Purpose::Nonce, 1),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
        assert_eq!(draw(Purpose::Order, 0), all[1]);
    }

    /// The draws are part of the file format: a run's seed must give the same plan next year. Expected values by
    /// an independent ChaCha8 (RFC 8439 quarter rounds, 64-bit counter and stream) keyed through SplitMix64.
    #[test]
    fn the_first_draws_are_pinned() {
        let mut s = Stream::new(1, Purpose::Arrivals, 0);
        let first = [s.bits(), s.bits()];
        assert_eq!(first, PINNED);
        let mut order = [0, 1, 2, 3, 4];
        Stream::new(1, Purpose::Order, 0).shuffle(&mut order);
        assert_eq!(order, PINNED_ORDER);
    }

    const PINNED: [u64; 2] = [17254111457321727320, 9958508360252413363];
    const PINNED_ORDER: [i32; 5] = [1, 4, 0, 3, 2];

    #[test]
    fn below_covers_its_range_evenly() {
        let mut s = Stream::new(3, Purpose::Order, 0);
        let mut counts = [0_u32; 5];
        for _ in 0..50_000 {
            counts[s.below(5) as usize] += 1;
        }
        // Each count is binomial with sd 89; five of them within 4 sd.
        assert!(counts.iter().all(|c| c.abs_diff(10_000) < 360), "{counts:?}");
    }

    /// Mean and variance of n draws against the law's own, within 5 standard errors.
    #[track_caller]
    fn check_moments(mut draw: impl FnMut(&mut Stream) -> f64, mean: f64, variance: f64, kurtosis: f64) {
        let mut s = Stream::new(17, Purpose::Think, 0);
        let n = 200_000_f64;
        let sample: Vec<f64> = (0..200_000).map(|_| draw(&mut s)).collect();
        let m = sample.iter().sum::<f64>() / n;
        let v = sample.iter().map(|x| (x - m).powi(2)).sum::<f64>() / n;
        assert!((m - mean).abs() < 5.0 * (variance / n).sqrt(), "mean {m}, expected {mean}");
        let se = variance * ((kurtosis - 1.0) / n).sqrt();
        assert!((v - variance).abs() < 5.0 * se, "variance {v}, expected {variance}");
    }

    #[test]
    fn laws_have_their_moments() {
        check_moments(Stream::exponential, 1.0, 1.0, 9.0);
        check_moments(Stream::normal, 0.0, 1.0, 3.0);
        for k in [0.05, 0.5, 1.0, 2.5, 40.0] {
            check_moments(|s| s.gamma(k), k, k, 3.0 + 6.0 / k);
        }
    }

    #[test]
    fn units_never_reach_zero() {
        let mut s = Stream::new(3, Purpose::Arrivals, 0);
        for _ in 0..10_000 {
            let u = s.unit();
            assert!(0.0 < u && u <= 1.0);
        }
    }
}
