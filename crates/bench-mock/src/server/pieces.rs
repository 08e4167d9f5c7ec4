//! Cutting writes into pieces, as the profile's [`Wire`] says.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::write::Parts;
use crate::{
    draw::{Purpose, stream},
    profile::{Profile, Split, Wire},
};

/// Most pieces of one write.
const MAX_PIECES: usize = 4_096;

/// One piece of a write: where it ends, and how long after it the next one follows.
pub(super) type Piece = (usize, Duration);

/// Cuts the writes of one answer.
pub(super) struct Cutter {
    wire: Wire,
    /// Seconds of a millisecond.
    scale: f64,
    rng: ChaCha8Rng,
    pieces: Vec<Piece>,
}

impl Cutter {
    /// `None`: every write is one piece.
    pub(super) fn of(profile: &Profile, key: u64) -> Option<Self> {
        let wire = &profile.wire;
        let cuts = wire.split.is_some() || wire.slow_head.is_some();
        cuts.then(|| Self {
            wire: wire.clone(),
            scale: profile.time_scale / 1e3,
            rng: stream(key, Purpose::Cuts),
            pieces: Vec::new(),
        })
    }

    /// The pieces of one write, at least one.
    pub(super) fn cut(&mut self, parts: Parts) -> &[Piece] {
        self.pieces.clear();
        let mut from = 0;
        if let Some(drip) = self.wire.slow_head
            && parts.head > 0
        {
            let pause = pause(drip.pause_ms, self.scale);
            every(&mut self.pieces, 0, parts.head, drip.bytes, pause);
            from = parts.head;
        }
        match &self.wire.split {
            None => {}
            Some(Split::At { offsets, pause_ms }) => {
                let pause = pause(*pause_ms, self.scale);
                let ends = offsets.iter().map(|o| parts.said_from.saturating_add(*o as usize));
                self.pieces.extend(ends.filter(|end| from < *end && *end < parts.len).map(|e| (e, pause)));
            }
            Some(Split::Random { cuts, pause_ms }) => {
                let pause = pause(*pause_ms, self.scale);
                let mut ends: Vec<usize> = (0..*cuts)
                    .filter(|_| from + 1 < parts.len)
                    .map(|_| self.rng.random_range(from + 1..parts.len))
                    .collect();
                ends.sort_unstable();
                ends.dedup();
                self.pieces.extend(ends.into_iter().map(|e| (e, pause)));
            }
            Some(Split::Every { bytes, pause_ms }) => {
                let pause = pause(*pause_ms, self.scale);
                every(&mut self.pieces, from, parts.len, *bytes, pause);
            }
        }
        if self.pieces.last().is_none_or(|(end, _)| *end < parts.len) {
            let after = self.wire.split.as_ref().map_or(0, Split::pause_ms);
            self.pieces.push((parts.len, pause(after, self.scale)));
        }
        &self.pieces
    }
}

fn pause(ms: u32, scale: f64) -> Duration {
    Duration::from_secs_f64(f64::from(ms) * scale)
}

fn every(pieces: &mut Vec<Piece>, from: usize, to: usize, bytes: u32, pause: Duration) {
    let mut end = from;
    while end < to {
        let last = pieces.len() + 1 >= MAX_PIECES;
        end = if last { to } else { to.min(end + bytes.max(1) as usize) };
        pieces.push((end, pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Drip;

    #[track_caller]
    fn check(wire: Wire, parts: Parts, expected: &[usize]) {
        let profile = Profile { wire, ..Profile::default() };
        let mut cutter = Cutter::of(&profile, 7).unwrap();
        let ends: Vec<_> = cutter.cut(parts).iter().map(|(end, _)| *end).collect();
        assert_eq!(ends, expected);
    }

    #[test]
    fn writes_are_cut_as_the_plan_says() {
        let body = Parts { head: 0, said_from: 3, len: 10 };
        let split = |split| Wire { split: Some(split), ..Wire::default() };
        check(split(Split::At { offsets: vec![1, 4, 90], pause_ms: 0 }), body, &[4, 7, 10]);
        check(split(Split::Every { bytes: 4, pause_ms: 0 }), body, &[4, 8, 10]);
        check(split(Split::Every { bytes: 1, pause_ms: 0 }), body, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        let slow = Wire { slow_head: Some(Drip { bytes: 3, pause_ms: 1 }), ..Wire::default() };
        check(slow.clone(), Parts { head: 7, said_from: 7, len: 10 }, &[3, 6, 7, 10]);
        check(slow.clone(), body, &[10]);
        let both = Wire { split: Some(Split::Every { bytes: 2, pause_ms: 0 }), ..slow };
        check(both, Parts { head: 7, said_from: 7, len: 10 }, &[3, 6, 7, 9, 10]);
        assert!(Cutter::of(&Profile::default(), 7).is_none());
    }

    #[test]
    fn random_cuts_lie_within_and_pieces_are_bounded() {
        let wire = Wire { split: Some(Split::Random { cuts: 8, pause_ms: 0 }), ..Wire::default() };
        let mut cutter = Cutter::of(&Profile { wire, ..Profile::default() }, 7).unwrap();
        for len in [1, 2, 3, 100] {
            let ends: Vec<_> = cutter.cut(Parts { head: 0, said_from: 0, len }).to_vec();
            assert!(ends.windows(2).all(|w| w[0].0 < w[1].0) && ends[0].0 > 0);
            assert_eq!(ends.last().unwrap().0, len);
            assert!(ends.len() <= 9);
        }
        let wire = Wire { split: Some(Split::Every { bytes: 1, pause_ms: 0 }), ..Wire::default() };
        let mut cutter = Cutter::of(&Profile { wire, ..Profile::default() }, 7).unwrap();
        let pieces = cutter.cut(Parts { head: 0, said_from: 0, len: 1 << 20 });
        assert_eq!((pieces.len(), pieces.last().unwrap().0), (MAX_PIECES, 1 << 20));
    }
}
