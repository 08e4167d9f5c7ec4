//! Framers: any split of the bytes gives the frames of the whole, in bounded memory.

use llms_core::{Result, wire::Framer};

use crate::{reads::Reads, secret::check_error};

/// A limit that no input reaches.
pub const NO_LIMIT: usize = 1 << 24;

/// What a framer made of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Event name and data of each frame.
    pub frames: Vec<(Option<String>, String)>,
    /// Whether it ended in an error.
    pub failed: bool,
}

/// The limit of a frame that an input asks for.
pub fn limit(seed: u8) -> usize {
    match seed >> 6 {
        0 => 16,
        1 => 100,
        _ => NO_LIMIT,
    }
}

/// The frames of `body` in one read.
pub fn cut_whole<F: Framer>(framer: impl Fn() -> F, body: &[u8]) -> Cut {
    cut(&mut framer(), body, Reads::Whole).0
}

/// The frames, and the most bytes that were kept from one read to the next.
fn cut(framer: &mut impl Framer, body: &[u8], reads: Reads) -> (Cut, usize) {
    let (mut cut, mut kept) = (Cut::default(), 0);
    if let Err(error) = read(framer, body, reads, &mut cut, &mut kept) {
        check_error(&error);
        cut.failed = true;
    }
    (cut, kept)
}

fn read(framer: &mut impl Framer, body: &[u8], reads: Reads, cut: &mut Cut, kept: &mut usize) -> Result<()> {
    for read in reads.of(body) {
        let buffer = framer.buffer();
        *kept = buffer.len().max(*kept);
        buffer.extend_from_slice(read);
        while let Some(frame) = framer.next_frame()? {
            cut.frames.push((frame.event.map(str::to_owned), frame.data.to_owned()));
        }
    }
    if let Some(frame) = framer.finish()? {
        cut.frames.push((frame.event.map(str::to_owned), frame.data.to_owned()));
    }
    Ok(())
}

/// Every way to read gives `expected`; read byte by byte, no more is kept than the limit makes necessary.
pub fn check<F: Framer>(framer: impl Fn() -> F, body: &[u8], seed: u8, expected: &Cut) {
    for reads in Reads::all(seed) {
        let (cut, kept) = cut(&mut framer(), body, reads);
        assert_eq!(&cut, expected, "in reads of {reads:?}, and as expected");
        // A frame under way, the line end behind it, and as much again that is consumed and not yet moved out.
        let most = 2 * (limit(seed) + 4);
        assert!(kept <= most || !matches!(reads, Reads::Drip), "{kept} bytes kept, expected at most {most}");
    }
}
