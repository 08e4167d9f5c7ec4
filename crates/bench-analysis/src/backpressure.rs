//! What a server does with a client that reads more slowly than tokens are made: pause, buffer, drop or kill; and whether
//! its neighbours suffer.
//!
//! A reader stops for a while in mid-stream and then reads on at full speed. Its answer is held against answers to the same
//! request that were read as they came. Kernels on the way hold megabytes for a reader that does not read, and what they
//! hold the server never feels: an answer that fits into them tells nothing, and is called inconclusive.
//!
//! Pure: what was read goes in, a class with its reason comes out. The reading is done by `bench-runner`.

use llms_core::bench::StreamRead;
use serde::Serialize;

use crate::stats::{
    StatsError,
    paired::{log_ratios, paired_ratio},
};

/// Share of the longest possible delay from which a stream counts as held up: neither the buffers on the way, which shorten the
/// delay of a server that pauses, nor the noise of a machine shall decide.
const HELD_UP: f64 = 0.3;
/// Share of the chunks of a full answer below which one counts as cut, where the texts themselves differ from call to call.
const CUT: f64 = 0.9;

/// What becomes of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowReaderClass {
    /// Nothing more is made, or sent, until the reader reads.
    Pause,
    /// All of it is made and kept, and comes as soon as it is read.
    Buffer,
    /// Parts of it are missing.
    Drop,
    /// The connection is ended.
    Kill,
    /// What was made meanwhile fits into the buffers on the way: the server cannot have felt it.
    Inconclusive,
}

impl SlowReaderClass {
    /// The name, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Buffer => "buffer",
            Self::Drop => "drop",
            Self::Kill => "kill",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// What was found about one slow reader.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlowReaderFinding {
    /// What the server does.
    pub class: SlowReaderClass,
    /// Why it is called so, with the numbers.
    pub why: String,
}

/// Names what the server did with `slow`, by what it did with readers at full speed; `buffers`: bytes that kernels on the way
/// may hold.
///
/// Drop is judged by the text where all controls have the same one, else by the number of chunks. A delay is measured from the
/// end that a server that buffers would reach: `delay = stream − max(control, end of the pause)`, out of
/// `min(pause, rest of the stream at the control's pace)`.
pub fn classify(controls: &[StreamRead], slow: &StreamRead, buffers: u64) -> SlowReaderFinding {
    let found = |class, why| SlowReaderFinding { class, why };
    let whole: Vec<&StreamRead> = controls.iter().filter(|c| c.failed.is_none() && c.chunks > 1).collect();
    let (Some(first), Some(pause)) = (whole.first(), slow.pause) else {
        let why = match (&slow.failed, whole.is_empty()) {
            (Some(e), false) => format!("the answer ended before the reader paused: {}", e.message),
            (_, true) => "no reader at full speed got a whole answer of two chunks or more".to_owned(),
            _ => "the answer ended before the reader paused; ask for a longer one".to_owned(),
        };
        return found(SlowReaderClass::Inconclusive, why);
    };
    match &slow.failed {
        Some(e) if e.own => return found(SlowReaderClass::Inconclusive, e.message.clone()),
        Some(e) => {
            let why = format!("{} of {} chunks came, then: {}", slow.chunks, first.chunks, e.message);
            return found(SlowReaderClass::Kill, why);
        }
        None => {}
    }
    let least = whole.iter().map(|c| c.chunks).min().unwrap_or(0);
    let alike = whole.len() > 1 && whole.iter().all(|c| c.text == first.text);
    let cut = (slow.chunks as f64) < CUT * least as f64;
    if (alike && slow.text != first.text) || cut {
        let why = format!(
            "{} chunks came where readers at full speed get {least}{}",
            slow.chunks,
            if alike { ", and the text is another" } else { "" }
        );
        return found(SlowReaderClass::Drop, why);
    }
    let control_s = median(whole.iter().map(|c| c.stream_s).collect());
    let per_chunk = first.bytes as f64 / first.chunks as f64;
    let gap_s = control_s / (first.chunks - 1) as f64;
    let rest_s = (control_s - pause.began_s).max(0.0);
    let made = (pause.length_s.min(rest_s) / gap_s * per_chunk) as u64;
    let delay_s = slow.stream_s - control_s.max(pause.began_s + pause.length_s);
    let longest_s = pause.length_s.min(rest_s);
    if longest_s > 0.0 && delay_s > HELD_UP * longest_s {
        let why = format!(
            "the rest came {:.1} s later than it would have been ready, of at most {longest_s:.1} s: it was made after the pause ({} chunks in its first 0.1 s)",
            delay_s, pause.burst
        );
        return found(SlowReaderClass::Pause, why);
    }
    if made <= buffers {
        let why = format!(
            "about {} were made in the pause, and kernels on the way may hold {}: the server need not have noticed; ask for a longer answer or pause longer",
            bytes(made),
            bytes(buffers)
        );
        return found(SlowReaderClass::Inconclusive, why);
    }
    let why = format!(
        "about {} were made in the pause, more than the {} that kernels on the way may hold, and came at once ({} chunks in the first 0.1 s)",
        bytes(made),
        bytes(buffers),
        pause.burst
    );
    found(SlowReaderClass::Buffer, why)
}

/// How much slower neighbours are served while others read slowly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Neighbours {
    /// Pairs of requests.
    pub pairs: usize,
    /// Time to first token with slow readers, as a multiple of that without: Hodges–Lehmann of the log ratios.
    pub ttft: f64,
    /// Its 95 % interval.
    pub ttft_interval: (f64, f64),
    /// Time from first to last chunk, likewise.
    pub stream: f64,
    /// Its 95 % interval.
    pub stream_interval: (f64, f64),
}

impl Neighbours {
    /// Whether they are served more slowly, beyond doubt and by a tenth or more.
    pub fn suffer(&self) -> bool {
        let worse = |ratio: f64, (low, _): (f64, f64)| ratio > 1.1 && low > 1.0;
        worse(self.ttft, self.ttft_interval) || worse(self.stream, self.stream_interval)
    }
}

/// Neighbours alone and beside slow readers, pair by pair.
///
/// # Errors
/// `TooFew` when not enough pairs came well for an interval.
pub fn neighbours(pairs: &[(StreamRead, StreamRead)]) -> Result<Neighbours, StatsError> {
    let well = |r: &StreamRead| r.failed.is_none() && r.ttft_s.is_some() && r.stream_s > 0.0;
    let pairs: Vec<_> = pairs.iter().filter(|(alone, beside)| well(alone) && well(beside)).collect();
    let ratio = |of: fn(&StreamRead) -> f64| -> Result<(f64, (f64, f64)), StatsError> {
        let (logs, _) = log_ratios(pairs.iter().map(|(alone, beside)| (of(beside), of(alone))))?;
        let ratio = paired_ratio(&logs, 0.95)?;
        Ok((ratio.ratio, (ratio.interval.low, ratio.interval.high)))
    };
    let (ttft, ttft_interval) = ratio(|r| r.ttft_s.unwrap_or(0.0))?;
    let (stream, stream_interval) = ratio(|r| r.stream_s)?;
    Ok(Neighbours { pairs: pairs.len(), ttft, ttft_interval, stream, stream_interval })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn bytes(n: u64) -> String {
    match n {
        0..10_000 => format!("{n} B"),
        10_000..10_000_000 => format!("{} kB", n / 1000),
        _ => format!("{} MB", n / 1_000_000),
    }
}

#[cfg(test)]
mod tests {
    use llms_core::bench::{PauseRead, ReadFailure};

    use super::*;

    /// 100 chunks of 100 bytes in 10 s.
    fn control() -> StreamRead {
        StreamRead {
            chunks: 101,
            bytes: 10_100,
            text: 7,
            ttft_s: Some(0.2),
            stream_s: 10.0,
            ..StreamRead::default()
        }
    }

    /// The same answer, not read from 2 s to 6 s.
    fn slow(stream_s: f64) -> StreamRead {
        let pause = PauseRead { before: 21, began_s: 2.0, length_s: 4.0, burst: 40 };
        StreamRead { stream_s, pause: Some(pause), ..control() }
    }

    #[track_caller]
    fn check(slow: &StreamRead, buffers: u64, class: SlowReaderClass) {
        let found = classify(&[control(), control()], slow, buffers);
        assert_eq!(found.class, class, "{}", found.why);
        assert!(!found.why.is_empty());
    }

    #[test]
    fn each_class_by_what_was_read() {
        // 40 chunks, 4000 bytes, are made in the pause.
        check(&slow(14.0), 1000, SlowReaderClass::Pause);
        check(&slow(13.0), 1000, SlowReaderClass::Pause);
        check(&slow(10.0), 1000, SlowReaderClass::Buffer);
        check(&slow(10.0), 5000, SlowReaderClass::Inconclusive);
        // Held up all the same: what the buffers may hold is an upper bound.
        check(&slow(13.0), 5000, SlowReaderClass::Pause);
        check(&StreamRead { chunks: 61, text: 8, ..slow(10.0) }, 1000, SlowReaderClass::Drop);
        let garbled = StreamRead { text: 8, ..slow(10.0) };
        check(&garbled, 1000, SlowReaderClass::Drop);
        let failed = |own| Some(ReadFailure { message: "reset".to_owned(), own });
        check(&StreamRead { failed: failed(false), ..slow(6.0) }, 1000, SlowReaderClass::Kill);
        check(&StreamRead { failed: failed(true), ..slow(6.0) }, 1000, SlowReaderClass::Inconclusive);
    }

    #[test]
    fn texts_that_differ_from_call_to_call_say_nothing_but_their_length_does() {
        let other = StreamRead { text: 9, ..control() };
        let garbled = StreamRead { text: 8, ..slow(10.0) };
        let found = classify(&[control(), other.clone()], &garbled, 1000);
        assert_eq!(found.class, SlowReaderClass::Buffer, "{}", found.why);
        let found = classify(&[control(), other], &StreamRead { chunks: 80, ..garbled.clone() }, 1000);
        assert_eq!(found.class, SlowReaderClass::Drop, "{}", found.why);
        // One control alone cannot show that texts repeat.
        assert_eq!(classify(&[control()], &garbled, 1000).class, SlowReaderClass::Buffer);
    }

    #[test]
    fn a_pause_longer_than_the_rest_of_the_answer() {
        let pause = |stream_s: f64| {
            let pause = PauseRead { before: 21, began_s: 2.0, length_s: 30.0, burst: 80 };
            StreamRead { stream_s, pause: Some(pause), ..control() }
        };
        // All 8 s of the rest are made after 32 s, or have been.
        check(&pause(39.0), 1000, SlowReaderClass::Pause);
        check(&pause(32.1), 1000, SlowReaderClass::Buffer);
    }

    #[test]
    fn nothing_to_compare_is_no_class() {
        assert_eq!(classify(&[], &slow(10.0), 1).class, SlowReaderClass::Inconclusive);
        let unpaused = control();
        assert_eq!(classify(&[control()], &unpaused, 1).class, SlowReaderClass::Inconclusive);
    }

    #[test]
    fn neighbours_suffer_when_all_of_them_do() {
        let with =
            |factor: f64| StreamRead { ttft_s: Some(0.2 * factor), stream_s: 10.0 * factor, ..control() };
        let pairs = |factor: f64| -> Vec<_> {
            (0..12)
                .map(|i| (with(1.0 + f64::from(i) / 100.0), with(factor * (1.0 + f64::from(i % 5) / 100.0))))
                .collect()
        };
        let same = neighbours(&pairs(1.0)).unwrap();
        assert!(!same.suffer(), "{same:?}");
        let worse = neighbours(&pairs(1.5)).unwrap();
        assert!(worse.suffer() && worse.ttft > 1.3 && worse.pairs == 12, "{worse:?}");
        assert!(neighbours(&[]).is_err());
    }
}
