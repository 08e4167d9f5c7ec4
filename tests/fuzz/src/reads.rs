//! One body, cut into reads in different ways.

/// How a body arrives.
#[derive(Clone, Copy, Debug)]
pub enum Reads {
    /// In one read.
    Whole,
    /// Byte by byte.
    Drip,
    /// In reads of 1 to 2^k bytes, drawn from this seed.
    Drawn(u8),
}

impl Reads {
    /// The three ways that are compared with each other.
    pub fn all(seed: u8) -> [Self; 3] {
        [Self::Whole, Self::Drip, Self::Drawn(seed)]
    }

    /// The reads, none empty.
    pub fn of(self, bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = bytes;
        let mut state = match self {
            Self::Drawn(seed) => u64::from(seed) + 1,
            _ => 0,
        };
        std::iter::from_fn(move || {
            let most = match self {
                Self::Whole => rest.len(),
                Self::Drip => 1,
                Self::Drawn(seed) => {
                    // xorshift64
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    1 + (state as usize) % (1 << (1 + seed % 12))
                }
            };
            let (read, tail) = rest.split_at(most.min(rest.len()));
            rest = tail;
            (!read.is_empty()).then_some(read)
        })
    }
}
