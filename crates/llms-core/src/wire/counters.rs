//! What a transport counts about its own work, for the verdict on the client: reads, merged reads, kernel stamps,
//! connections, and trouble with the machine's clocks.

use serde::{Deserialize, Serialize};

/// Counts of a transport since it was made, all connections together. Take them before and after a window and ask
/// for the difference with [`since`](Self::since).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct TransportCounters {
    /// Connections opened, those opened in advance included.
    pub opened: u64,
    /// Requests that took an idle connection.
    pub reused: u64,
    /// Idle connections found closed, or spoken on unasked, when a request wanted one: replaced before anything was
    /// sent.
    pub found_dead: u64,
    /// Requests sent once more because the reused connection died without a byte of an answer.
    pub resent: u64,
    /// Socket reads that brought bytes, handshakes included.
    pub reads: u64,
    /// Receive calls into the kernel, also those that brought nothing.
    pub receive_calls: u64,
    /// Bytes those reads brought, framing and encryption included.
    pub bytes: u64,
    /// Reads that carry the kernel's receive stamp.
    pub kernel_stamped: u64,
    /// Reads of chunked bodies with payload: where it is known whether chunks were merged.
    pub chunked_reads: u64,
    /// Of those, reads with two HTTP chunks or more: their one stamp is that of the last. Servers that stream write an
    /// HTTP chunk for each event, the closing events (usage, end marker) included.
    pub merged_reads: u64,
    /// Kernel stamps that no offset of the clocks could place between the read before and this one: left out.
    pub stamps_refused: u64,
    /// Looks at the offset between the wall clock and the monotonic one.
    pub clock_looks: u64,
    /// Looks in which the offset had jumped by more than 0.1 ms: the wall clock was set, and kernel stamps of the second
    /// before may be wrong.
    pub clock_jumps: u64,
    /// The largest of those jumps in nanoseconds, of the whole life of the transport.
    pub clock_jump_max_ns: u64,
}

impl TransportCounters {
    /// What was counted after `earlier`; the largest jump stays that of the whole life.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            opened: self.opened.saturating_sub(earlier.opened),
            reused: self.reused.saturating_sub(earlier.reused),
            found_dead: self.found_dead.saturating_sub(earlier.found_dead),
            resent: self.resent.saturating_sub(earlier.resent),
            reads: self.reads.saturating_sub(earlier.reads),
            receive_calls: self.receive_calls.saturating_sub(earlier.receive_calls),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            kernel_stamped: self.kernel_stamped.saturating_sub(earlier.kernel_stamped),
            chunked_reads: self.chunked_reads.saturating_sub(earlier.chunked_reads),
            merged_reads: self.merged_reads.saturating_sub(earlier.merged_reads),
            stamps_refused: self.stamps_refused.saturating_sub(earlier.stamps_refused),
            clock_looks: self.clock_looks.saturating_sub(earlier.clock_looks),
            clock_jumps: self.clock_jumps.saturating_sub(earlier.clock_jumps),
            clock_jump_max_ns: self.clock_jump_max_ns,
        }
    }

    /// Share of the reads of chunked bodies that merged chunks; `None` when there were none.
    pub fn merged_share(&self) -> Option<f64> {
        (self.chunked_reads > 0).then(|| self.merged_reads as f64 / self.chunked_reads as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_the_difference() {
        let before =
            TransportCounters { reads: 5, chunked_reads: 4, merged_reads: 4, ..TransportCounters::default() };
        let after =
            TransportCounters { reads: 9, chunked_reads: 8, merged_reads: 5, clock_jump_max_ns: 7, ..before };
        let window = after.since(&before);
        assert_eq!((window.reads, window.chunked_reads, window.merged_reads), (4, 4, 1));
        assert_eq!((window.merged_share(), window.clock_jump_max_ns), (Some(0.25), 7));
        assert_eq!(before.since(&before).merged_share(), None, "no reads, no share");
    }
}
