//! Which read completed which event-stream frame.
//!
//! The SDK yields decoded events without arrival times. This log watches the same bytes go by: every frame begins
//! with its total length (4 bytes, big endian), so the end of each frame is known without decoding it, and the
//! stamp of the read that brought its last byte is queued. The SDK decodes every complete frame before it asks for
//! more bytes and yields one event or error for each, in order, so the queue never holds more than one read's
//! frames and the next stamp always belongs to the next event.

use llms_core::Stamp;

/// Length field, headers length and checksum of the prelude, and the checksum of the message.
const MIN_FRAME: u32 = 16;
/// Longest frame accepted. AWS's own limit is 24 MiB for a message with its headers.
const MAX_FRAME: u32 = 24 << 20;

/// Cuts the bytes of one event stream into frames, keeping only lengths and stamps.
#[derive(Debug, Default)]
pub(crate) struct FrameLog {
    /// The length field of the frame under way, as far as it has come.
    length: [u8; 4],
    /// How much of it has come.
    length_bytes: usize,
    /// Bytes of the frame that are still to come, once its length is known.
    missing: u64,
    /// Frames completed by the last read and not yet yielded as events.
    complete: u32,
    /// The stamp of the last read that completed a frame.
    stamp: Stamp,
}

/// A length no frame can have: the body is no event stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadLength {
    pub(crate) length: u32,
    /// Bytes of the read up to the end of the last whole frame before it: they are events all the same, whatever shared
    /// their read.
    pub(crate) good: usize,
}

impl FrameLog {
    /// Notes the bytes of one read.
    pub(crate) fn read(&mut self, all: &[u8], stamp: Stamp) -> Result<(), BadLength> {
        let (mut bytes, mut complete, mut good, mut bad) = (all, 0, 0, None);
        while let Some(&first) = bytes.first() {
            if self.length_bytes < 4 {
                self.length[self.length_bytes] = first;
                self.length_bytes += 1;
                bytes = &bytes[1..];
                if self.length_bytes == 4 {
                    let length = u32::from_be_bytes(self.length);
                    if !(MIN_FRAME..=MAX_FRAME).contains(&length) {
                        bad = Some(BadLength { length, good });
                        break;
                    }
                    self.missing = u64::from(length) - 4;
                }
                continue;
            }
            let take = usize::try_from(self.missing).unwrap_or(usize::MAX).min(bytes.len());
            bytes = &bytes[take..];
            self.missing -= take as u64;
            if self.missing == 0 {
                self.length_bytes = 0;
                complete += 1;
                good = all.len() - bytes.len();
            }
        }
        if complete > 0 {
            debug_assert_eq!(self.complete, 0, "the SDK reads only when it has decoded every complete frame");
            self.complete = complete;
            self.stamp = stamp;
        }
        bad.map_or(Ok(()), Err)
    }

    /// The stamp of the next event: that of the read which completed its frame.
    pub(crate) fn next_stamp(&mut self) -> Stamp {
        debug_assert!(self.complete > 0, "one event for each frame");
        self.complete = self.complete.saturating_sub(1);
        self.stamp
    }

    /// Whether a frame has begun and not ended.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.length_bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use llms_core::time::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn frame(length: u32) -> Vec<u8> {
        let mut bytes = vec![7; length as usize];
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes
    }

    fn at(read: u32) -> Stamp {
        Stamp::user(Timestamp::from_nanos(u64::from(read) * 10), read)
    }

    proptest! {
        #[test]
        fn every_frame_gets_the_stamp_of_the_read_that_completed_it(
            lengths in prop::collection::vec(MIN_FRAME..90, 1..12),
            cuts in prop::collection::vec(1_usize..60, 1..12),
        ) {
            let bytes: Vec<u8> = lengths.iter().flat_map(|&l| frame(l)).collect();
            let ends: Vec<usize> =
                lengths.iter().scan(0, |end, &l| { *end += l as usize; Some(*end) }).collect();
            let (mut log, mut from, mut seen) = (FrameLog::default(), 0, Vec::new());
            for (read, size) in cuts.iter().cycle().enumerate() {
                let to = (from + size).min(bytes.len());
                log.read(&bytes[from..to], at(read as u32)).unwrap();
                for _ in 0..ends.iter().filter(|&&end| from < end && end <= to).count() {
                    seen.push((log.next_stamp().read, read as u32));
                }
                prop_assert_eq!(log.is_mid_frame(), !ends.contains(&to));
                from = to;
                if to == bytes.len() { break; }
            }
            prop_assert_eq!(seen.len(), lengths.len());
            for (stamped, completed) in seen {
                prop_assert_eq!(stamped, completed);
            }
        }
    }

    #[test]
    fn frames_before_a_bad_one_stay_events() {
        let bytes = [frame(20), frame(30), vec![0xff; 9]].concat();
        let mut log = FrameLog::default();
        assert_eq!(log.read(&bytes, at(3)), Err(BadLength { length: u32::MAX, good: 50 }));
        assert_eq!([log.next_stamp().read, log.next_stamp().read], [3, 3]);
    }

    #[test]
    fn what_is_no_event_stream_is_refused_at_once() {
        for (bytes, length) in
            [(b"<htm".as_slice(), 0x3c68_746d), (&[0, 0, 0, 15], 15), (&[0xff; 4], u32::MAX)]
        {
            assert_eq!(FrameLog::default().read(bytes, at(0)), Err(BadLength { length, good: 0 }));
        }
    }
}
