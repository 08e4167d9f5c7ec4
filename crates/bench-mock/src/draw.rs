//! Randomness that does not depend on the order in which requests happen to run.
//!
//! Each request has a key, hashed from the seed, the profile's name and its `x-request-id` (else its number);
//! each purpose draws from a ChaCha8 stream of its own, so that changing one setting moves no other draw.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream of draws is for.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Fault = 1,
    Ttft,
    Gaps,
    Pace,
    Length,
    Chunks,
    Text,
    Tools,
    Cuts,
}

/// What tells one request from another.
#[derive(Clone, Copy)]
pub(crate) enum Identity<'a> {
    Id(&'a str),
    Number(u64),
}

/// The key of a request: FNV-1a, finished by the mixing step of SplitMix64. Fixed for all time, so that a seed
/// means the same draws in every version.
pub(crate) fn key(seed: u64, profile: &str, identity: Identity<'_>) -> u64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |bytes: &[u8]| {
        for b in bytes {
            h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    feed(&seed.to_le_bytes());
    feed(profile.as_bytes());
    match identity {
        Identity::Id(id) => {
            feed(b"\0id\0");
            feed(id.as_bytes());
        }
        Identity::Number(n) => {
            feed(b"\0no\0");
            feed(&n.to_le_bytes());
        }
    }
    let mut z = h;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The draws of one request for one purpose.
pub(crate) fn stream(key: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(key);
    rng.set_stream(purpose as u64);
    rng
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn keys_are_fixed_and_tell_requests_apart() {
        let a = key(7, "p", Identity::Id("r-1"));
        assert_eq!(a, key(7, "p", Identity::Id("r-1")));
        for other in [
            key(8, "p", Identity::Id("r-1")),
            key(7, "q", Identity::Id("r-1")),
            key(7, "p", Identity::Id("r-2")),
            key(7, "p", Identity::Number(1)),
        ] {
            assert_ne!(a, other);
        }
        // Pinned: a change here changes what every recorded seed means.
        assert_eq!(key(0, "", Identity::Number(0)), 11_499_926_776_072_759_632);
        let draw = |purpose| stream(a, purpose).random::<u64>();
        assert_eq!(draw(Purpose::Ttft), draw(Purpose::Ttft));
        assert_ne!(draw(Purpose::Ttft), draw(Purpose::Gaps));
    }
}
