//! Tokens by their bytes: an arena and a hash table of 4 bytes a slot, about 4 MB for 200,000 tokens.

/// A slot that is free.
const FREE: u32 = u32::MAX;

/// The tokens of a vocabulary, numbered from 0 in the order they were added.
#[derive(Clone)]
pub(crate) struct Vocabulary {
    bytes: Vec<u8>,
    /// Where each token ends in `bytes`.
    ends: Vec<u32>,
    /// Open addressing; its length is a power of two, at most half of it is used.
    table: Vec<u32>,
}

impl Vocabulary {
    /// With room for so many tokens.
    pub(crate) fn with_capacity(tokens: usize) -> Self {
        let slots = (tokens.max(8) * 2).next_power_of_two();
        Self { bytes: Vec::new(), ends: Vec::with_capacity(tokens), table: vec![FREE; slots] }
    }

    /// Adds a token unless it is there; its number. Beyond the capacity the table has no room: `None`.
    pub(crate) fn add(&mut self, token: &[u8]) -> Option<u32> {
        let slot = match self.find(token) {
            Ok(known) => return Some(known),
            Err(slot) => slot,
        };
        if self.ends.len() * 2 >= self.table.len() {
            return None;
        }
        let number = u32::try_from(self.ends.len()).ok()?;
        self.bytes.extend_from_slice(token);
        self.ends.push(u32::try_from(self.bytes.len()).ok()?);
        self.table[slot] = number;
        Some(number)
    }

    /// The number of a token.
    pub(crate) fn get(&self, token: &[u8]) -> Option<u32> {
        self.find(token).ok()
    }

    /// Its bytes.
    pub(crate) fn token(&self, number: u32) -> &[u8] {
        let at = number as usize;
        let start = if at == 0 { 0 } else { self.ends[at - 1] as usize };
        &self.bytes[start..self.ends[at] as usize]
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The number, or the slot where it would go.
    fn find(&self, token: &[u8]) -> Result<u32, usize> {
        let mask = self.table.len() - 1;
        let mut slot = hash(token) as usize & mask;
        loop {
            match self.table[slot] {
                FREE => return Err(slot),
                number if self.token(number) == token => return Ok(number),
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

/// FNV-1a over the bytes, its halves folded: tokens are short, and nobody attacks this table.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for b in bytes {
        hash = (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_numbers_in_order_and_are_there_once() {
        let mut v = Vocabulary::with_capacity(3);
        assert_eq!(
            [v.add(b"a"), v.add(b""), v.add(b"ab"), v.add(b"a")],
            [Some(0), Some(1), Some(2), Some(0)]
        );
        assert_eq!(
            (v.get(b"ab"), v.get(b"b"), v.token(2), v.token(1), v.len()),
            (Some(2), None, &b"ab"[..], &b""[..], 3)
        );
    }

    #[test]
    fn a_full_table_says_so() {
        let mut v = Vocabulary::with_capacity(8);
        let added = (0..100_u32).filter(|n| v.add(&n.to_le_bytes()).is_some()).count();
        assert_eq!(added, 8);
        assert_eq!(v.get(&99_u32.to_le_bytes()), None);
    }
}
