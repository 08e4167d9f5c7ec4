//! How the bytes of an answer go to the socket: one write a chunk, or as networks and proxies have it.

use llms_core::config::ConfigErrors;
use serde::{Deserialize, Serialize};

/// Most cuts of one write.
const MAX_CUTS: u32 = 64;

/// How the bytes of an answer go to the socket. By default each chunk is one write at its time.
///
/// The truth log has one entry for each piece really written; the tokens of a chunk stand at the piece that
/// completes it. Pieces of one write follow each other at the given pause, and never overtake what is due before.
/// In process only `chunks_per_write` has an effect (events of one write share one read).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wire {
    /// Chunks sent in one write, when the last of them is due: 1–1024. What ends an answer takes along what is left.
    pub chunks_per_write: u32,
    /// Cuts each write into pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// Sends status line and headers piecemeal (HTTP/1.1 only).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_head: Option<Drip>,
    /// What becomes of a streamed answer that its client reads more slowly than it is made (HTTP/1.1 without TLS only).
    #[serde(skip_serializing_if = "is_default")]
    pub slow_reader: SlowReader,
    /// Bytes of a streamed answer that the kernel may hold for a slow reader (SO_SNDBUF, which Linux doubles); the system's
    /// own measure unless given, which is megabytes and hides most of what `slow_reader` does. HTTP/1.1 without TLS only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_buffer: Option<u32>,
}

/// What becomes of an answer that its client reads more slowly than it is made, once the kernel holds no more of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowReader {
    /// The answer goes on being made, and all of it comes as soon as it is read.
    #[default]
    Buffer,
    /// No more is made until the client reads.
    Pause,
    /// Chunks that come due meanwhile are left out.
    Drop,
    /// After half a second the connection is reset.
    Kill,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for Wire {
    fn default() -> Self {
        Self {
            chunks_per_write: 1,
            split: None,
            slow_head: None,
            slow_reader: SlowReader::default(),
            send_buffer: None,
        }
    }
}

impl Wire {
    /// Whether each chunk is one write at its time.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a write is cut. At most 4096 pieces a write; what remains is the last one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Split {
    /// After so many bytes of what the protocol says in this write, at each of these offsets that lies within it.
    At {
        /// Ascending, from 1; at most 64.
        offsets: Vec<u32>,
        /// Between two pieces, in ms before `time_scale`.
        #[serde(default)]
        pause_ms: u32,
    },
    /// At bytes drawn evenly over the write, its framing included.
    Random {
        /// Cuts a write, 1–64; a short write has fewer.
        cuts: u32,
        /// Between two pieces, in ms before `time_scale`.
        #[serde(default)]
        pause_ms: u32,
    },
    /// After every so many bytes, framing included; 1 sends one byte at a time.
    Every {
        /// At least 1.
        bytes: u32,
        /// Between two pieces, in ms before `time_scale`: a slow body.
        #[serde(default)]
        pause_ms: u32,
    },
}

impl Split {
    /// Between two pieces, in ms before `time_scale`.
    pub fn pause_ms(&self) -> u32 {
        match self {
            Self::At { pause_ms, .. } | Self::Random { pause_ms, .. } | Self::Every { pause_ms, .. } => {
                *pause_ms
            }
        }
    }
}

/// So many bytes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drip {
    /// At least 1.
    pub bytes: u32,
    /// Between two pieces, in ms before `time_scale`.
    #[serde(default)]
    pub pause_ms: u32,
}

impl Wire {
    pub(super) fn validate(&self, e: &mut ConfigErrors) {
        let n = self.chunks_per_write;
        e.check((1..=1024).contains(&n), "wire.chunks_per_write", "expected a number from 1 to 1024", n);
        match &self.split {
            None => {}
            Some(Split::At { offsets, .. }) => {
                let ascending = offsets.first().is_some_and(|o| *o > 0)
                    && offsets.windows(2).all(|w| w[0] < w[1])
                    && offsets.len() <= MAX_CUTS as usize;
                e.check(
                    ascending,
                    "wire.split.offsets",
                    "expected 1 to 64 ascending numbers from 1",
                    format!("{offsets:?}"),
                );
            }
            Some(Split::Random { cuts, .. }) => {
                let ok = (1..=MAX_CUTS).contains(cuts);
                e.check(ok, "wire.split.cuts", "expected a number from 1 to 64", cuts);
            }
            Some(Split::Every { bytes, .. }) => {
                e.check(*bytes > 0, "wire.split.bytes", "expected a number ≥ 1", bytes);
            }
        }
        if let Some(bytes) = self.send_buffer {
            e.check(
                (1..=1 << 30).contains(&bytes),
                "wire.send_buffer",
                "expected 1 to 1073741824 bytes",
                bytes,
            );
        }
        if let Some(drip) = &self.slow_head {
            e.check(drip.bytes > 0, "wire.slow_head.bytes", "expected a number ≥ 1", drip.bytes);
        }
    }
}
