//! The shortcut for plain text: most chunks of a stream differ from the one before in a run of text only.
//!
//! After a full parse that gave one text (or one piece of reasoning) and nothing else, the bytes around that text are
//! kept. A frame with the same bytes around a run without quote, backslash or control byte can only parse to the same
//! chunk with that run as its text, so the run is the event. Two fields that the parse skips may differ too, under the
//! same rule: OpenAI's random padding (`"obfuscation":"…"`) and the event counter of the Responses API
//! (`"sequence_number":7`). Never taken for finish, usage, timings or tool frames: those are not learned from, and no
//! other frame can look like a learned one. Property-tested against the full parse in `tests/replay.rs`.

/// What the learned text was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answer text.
    #[default]
    Text,
    /// Reasoning.
    Reasoning,
}

/// A place where frames may differ from the learned one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hole {
    /// The text: not empty.
    #[default]
    Text,
    /// Any other string.
    Padding,
    /// A whole number.
    Number,
}

/// The bytes around the text of the last fully parsed plain chunk.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    kind: Kind,
    /// How many holes there are; 0 until something was learned.
    count: usize,
    holes: [Hole; MAX_HOLES],
    /// What stands before, between and behind the holes.
    parts: [String; MAX_HOLES + 1],
}

const MAX_HOLES: usize = 3;
/// What stands before OpenAI's padding.
const PADDING: &str = "\"obfuscation\":\"";
/// What stands before the counter of the Responses API.
const NUMBER: &str = "\"sequence_number\":";

impl Plain {
    /// Keeps what stands around `text`, a slice of `data`.
    pub(crate) fn learn(&mut self, data: &str, kind: Kind, text: &str) {
        self.count = 0;
        // Slices of one string: the distance of their beginnings is the offset.
        let start = (text.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        let Some(end) = start.checked_add(text.len()) else { return };
        let around = data.get(..start).zip(data.get(end..));
        if !around.is_some_and(|(before, after)| before.ends_with('"') && after.starts_with('"')) {
            return;
        }
        let mut holes = [(start, end, Hole::Text); MAX_HOLES];
        let mut count = 1;
        for (mark, hole) in [(PADDING, Hole::Padding), (NUMBER, Hole::Number)] {
            if let Some(at) = data.find(mark).map(|at| at + mark.len()) {
                // A padding with escapes may end later than it seems: nothing can be learned from it.
                let Some(len) = length(hole, &data[at..]) else { return };
                holes[count] = (at, at + len, hole);
                count += 1;
            }
        }
        let holes = &mut holes[..count];
        holes.sort_unstable_by_key(|(at, ..)| *at);
        let mut from = 0;
        for (i, &mut (at, end, hole)) in holes.iter_mut().enumerate() {
            let Some(part) = data.get(from..at) else { return };
            self.keep(i, part);
            self.holes[i] = hole;
            from = end;
        }
        self.keep(count, &data[from..]);
        self.kind = kind;
        self.count = count;
    }

    fn keep(&mut self, i: usize, part: &str) {
        self.parts[i].clear();
        self.parts[i].push_str(part);
    }

    /// The text of a frame that differs from the learned one in its holes only.
    #[inline]
    pub(crate) fn text<'d>(&self, data: &'d str) -> Option<(Kind, &'d str)> {
        if self.count == 0 {
            return None;
        }
        let mut rest = data.strip_prefix(&*self.parts[0])?;
        let mut text = "";
        for (hole, after) in self.holes[..self.count].iter().zip(&self.parts[1..]) {
            let (found, tail) = rest.split_at(length(*hole, rest)?);
            if *hole == Hole::Text {
                text = found;
            }
            rest = tail.strip_prefix(&**after)?;
        }
        (rest.is_empty() && !text.is_empty()).then_some((self.kind, text))
    }
}

/// How long the content of a hole is at the beginning of `rest`; `None` when no such content is there.
#[inline]
fn length(hole: Hole, rest: &str) -> Option<usize> {
    match hole {
        // Without an escape the text ends at the first quote. Texts are a few bytes: a search by vectors does not pay.
        Hole::Text | Hole::Padding => {
            let end = rest.bytes().position(|b| b < 0x20 || b == b'"' || b == b'\\')?;
            (rest.as_bytes()[end] == b'"').then_some(end)
        }
        Hole::Number => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            (digits == 1 || (digits > 1 && !rest.starts_with('0'))).then_some(digits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(learned: &str, text: &str, data: &str, expected: Option<&str>) {
        let mut plain = Plain::default();
        let at = learned.find(text).unwrap();
        plain.learn(learned, Kind::Text, &learned[at..at + text.len()]);
        assert_eq!(plain.text(data), expected.map(|t| (Kind::Text, t)), "{data}");
    }

    #[test]
    fn only_the_text_may_differ() {
        let learned = r#"{"id":"a","c":"x1","z":null}"#;
        for (data, expected) in [
            (r#"{"id":"a","c":"x","z":null}"#, Some("x")),
            (r#"{"id":"a","c":" wörld 😄","z":null}"#, Some(" wörld 😄")),
            (r#"{"id":"a","c":"","z":null}"#, None),
            (r#"{"id":"a","c":"a\n","z":null}"#, None),
            (r#"{"id":"a","c":"a","c":"b","z":null}"#, None),
            ("{\"id\":\"a\",\"c\":\"a\tb\",\"z\":null}", None),
            (r#"{"id":"b","c":"x","z":null}"#, None),
            (r#"{"id":"a","c":"x","z":true}"#, None),
            (r#"{"id":"a","c":"x","z":null} "#, None),
            (r#"{"id":"a","c":"#, None),
            ("[DONE]", None),
        ] {
            check(learned, "x1", data, expected);
        }
        assert_eq!(Plain::default().text(learned), None);
    }

    #[test]
    fn the_padding_may_differ_too() {
        let learned = r#"{"c":"x1","n":null,"obfuscation":"abc","o":1}"#;
        for (data, expected) in [
            (r#"{"c":"y","n":null,"obfuscation":"","o":1}"#, Some("y")),
            (r#"{"c":"y","n":null,"obfuscation":"abcdefg","o":1}"#, Some("y")),
            (r#"{"c":"y","n":null,"obfuscation":"a","e":"b","o":1}"#, None),
            (r#"{"c":"y","n":null,"obfuscation":"a\"","o":1}"#, None),
            (r#"{"c":"y","n":true,"obfuscation":"a","o":1}"#, None),
            (r#"{"c":"y","n":null,"obfuscation":"#, None),
        ] {
            check(learned, "x1", data, expected);
        }
    }

    #[test]
    fn the_counter_may_differ_wherever_it_stands() {
        let before = r#"{"t":"d","sequence_number":9,"c":"x1","obfuscation":"a"}"#;
        check(before, "x1", r#"{"t":"d","sequence_number":10,"c":"y","obfuscation":"bc"}"#, Some("y"));
        check(before, "x1", r#"{"t":"d","sequence_number":0,"c":"y","obfuscation":""}"#, Some("y"));
        check(before, "x1", r#"{"t":"d","sequence_number":1.5,"c":"y","obfuscation":"bc"}"#, None);
        check(before, "x1", r#"{"t":"d","sequence_number":01,"c":"y","obfuscation":"bc"}"#, None);
        check(before, "x1", r#"{"t":"d","sequence_number":,"c":"y","obfuscation":"bc"}"#, None);
        let behind = r#"{"c":"x1","sequence_number":9}"#;
        check(behind, "x1", r#"{"c":"yy","sequence_number":123}"#, Some("yy"));
        check(behind, "x1", r#"{"c":"yy","sequence_number":123,"f":1}"#, None);
        // A counter that is no number is a fixed part of nothing.
        check(r#"{"c":"x1","sequence_number":null}"#, "x1", r#"{"c":"y","sequence_number":null}"#, None);
    }

    #[test]
    fn what_is_no_slice_is_not_learned() {
        let mut plain = Plain::default();
        plain.learn(r#"{"c":"x"}"#, Kind::Text, "elsewhere");
        assert_eq!(plain.text(r#"{"c":"x"}"#), None);
    }
}
