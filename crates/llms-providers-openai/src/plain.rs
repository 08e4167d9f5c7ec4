//! The shortcut for plain text: most chunks of a stream differ from the one before in a run of text only.
//!
//! After a full parse that gave one text and nothing else, the bytes before and after that text are kept. A frame with
//! the same bytes around a run without quote, backslash or control byte can only parse to the same chunk with that run
//! as its text, so the run is the event. Never taken for finish, usage, timings, reasoning or tool frames: those are
//! not learned from, and no other frame can look like a learned one. Property-tested against the full parse in
//! `tests/properties.rs`.

/// The bytes around the text of the last fully parsed plain chunk.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// Up to and including the opening quote of the text; empty until something was learned.
    before: String,
    /// From the closing quote on.
    after: String,
}

impl Plain {
    /// Keeps what stands around `text`, a slice of `data`.
    pub(crate) fn learn(&mut self, data: &str, text: &str) {
        // Slices of one string: the distance of their beginnings is the offset.
        let start = (text.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        let around = data.get(..start).zip(start.checked_add(text.len()).and_then(|end| data.get(end..)));
        self.before.clear();
        self.after.clear();
        if let Some((before, after)) = around
            && before.ends_with('"')
            && after.starts_with('"')
        {
            self.before.push_str(before);
            self.after.push_str(after);
        }
    }

    /// The text of a frame that differs from the learned one in its text only.
    #[inline]
    pub(crate) fn text<'d>(&self, data: &'d str) -> Option<&'d str> {
        if self.before.is_empty() {
            return None;
        }
        let text = data.strip_prefix(&*self.before)?.strip_suffix(&*self.after)?;
        let plain = !text.is_empty() && text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
        plain.then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_may_differ() {
        let data = r#"{"id":"a","c":"x","z":null}"#;
        let mut plain = Plain::default();
        assert_eq!(plain.text(data), None);
        plain.learn(data, &data[15..16]);
        for (data, expected) in [
            (r#"{"id":"a","c":"x","z":null}"#, Some("x")),
            (r#"{"id":"a","c":" wörld 😄","z":null}"#, Some(" wörld 😄")),
            (r#"{"id":"a","c":"","z":null}"#, None),
            (r#"{"id":"a","c":"a\n","z":null}"#, None),
            (r#"{"id":"a","c":"a","c":"b","z":null}"#, None),
            ("{\"id\":\"a\",\"c\":\"a\tb\",\"z\":null}", None),
            (r#"{"id":"b","c":"x","z":null}"#, None),
            (r#"{"id":"a","c":"x","z":true}"#, None),
            (r#"{"id":"a","c":"#, None),
            ("[DONE]", None),
        ] {
            assert_eq!(plain.text(data), expected, "{data}");
        }
    }

    #[test]
    fn what_is_no_slice_is_not_learned() {
        let mut plain = Plain::default();
        plain.learn(r#"{"c":"x"}"#, "elsewhere");
        assert_eq!(plain.text(r#"{"c":"x"}"#), None);
    }
}
