//! One read buffer per thread, shared by all connections that are read there: a connection that waits holds none.
//!
//! Bytes stay in it only within one poll: the head is parsed and the transfer coding taken off there, and what is
//! payload is copied out, a few hundred bytes for a token. In turn every read has room for 64 KiB.

use std::cell::Cell;

/// Room for one read.
pub(super) const SIZE: usize = 64 << 10;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the buffer of this thread to `f`; its content is what the last borrower left.
pub(super) fn with<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut buffer = BUFFER.take();
    if buffer.len() != SIZE {
        // The first time on this thread, or a borrower panicked.
        buffer = vec![0; SIZE];
    }
    let result = f(&mut buffer);
    BUFFER.set(buffer);
    result
}
