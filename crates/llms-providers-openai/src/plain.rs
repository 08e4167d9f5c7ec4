//! The shortcut for plain text: most chunks of a stream differ from the one before in a run of text only.
//!
//! After a full parse that gave one text (or one piece of reasoning) and nothing else, the bytes around that text are
//! kept. A frame with the same bytes around a run without quote, backslash or control byte can only parse to the same
//! chunk with that run as its text, so the run is the event. OpenAI's random padding (`"obfuscation":"…"`, a field that
//! the parse skips) may differ too, under the same rule. Never taken for finish, usage, timings or tool frames: those
//! are not learned from, and no other frame can look like a learned one. Property-tested against the full parse in
//! `tests/replay.rs`.

/// What the learned text was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Answer text.
    #[default]
    Text,
    /// Reasoning.
    Reasoning,
}

/// The bytes around the text of the last fully parsed plain chunk.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    kind: Kind,
    /// Up to and including the opening quote of the text; empty until something was learned.
    before: String,
    /// From the closing quote on; with padding, up to and including the padding's opening quote.
    after: String,
    /// With padding, from its closing quote on.
    tail: String,
}

/// What stands before OpenAI's padding.
const PADDING: &str = "\"obfuscation\":\"";

impl Plain {
    /// Keeps what stands around `text`, a slice of `data`.
    pub(crate) fn learn(&mut self, data: &str, kind: Kind, text: &str) {
        self.kind = kind;
        for kept in [&mut self.before, &mut self.after, &mut self.tail] {
            kept.clear();
        }
        // Slices of one string: the distance of their beginnings is the offset.
        let start = (text.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        let around = data.get(..start).zip(start.checked_add(text.len()).and_then(|end| data.get(end..)));
        let Some((before, after)) = around.filter(|(b, a)| b.ends_with('"') && a.starts_with('"')) else {
            return;
        };
        let (after, tail) = match after.find(PADDING) {
            Some(at) => {
                let (after, padded) = after.split_at(at + PADDING.len());
                let Some(end) = padded.find('"').filter(|end| is_plain(&padded[..*end])) else { return };
                (after, &padded[end..])
            }
            None => (after, ""),
        };
        self.before.push_str(before);
        self.after.push_str(after);
        self.tail.push_str(tail);
    }

    /// The text of a frame that differs from the learned one in its text (and padding) only.
    #[inline]
    pub(crate) fn text<'d>(&self, data: &'d str) -> Option<(Kind, &'d str)> {
        if self.before.is_empty() {
            return None;
        }
        let rest = data.strip_prefix(&*self.before)?;
        // Without an escape the text ends at the first quote.
        let (text, rest) = rest.split_at(rest.find('"')?);
        let padding = rest.strip_prefix(&*self.after)?.strip_suffix(&*self.tail)?;
        let as_learned = !text.is_empty()
            && is_plain(text)
            && (padding.is_empty() || (!self.tail.is_empty() && is_plain(padding)));
        as_learned.then_some((self.kind, text))
    }
}

/// Whether the JSON string of these bytes is these bytes.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\')
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
    fn what_is_no_slice_is_not_learned() {
        let mut plain = Plain::default();
        plain.learn(r#"{"c":"x"}"#, Kind::Text, "elsewhere");
        assert_eq!(plain.text(r#"{"c":"x"}"#), None);
    }
}
