//! The shortcut for plain text: most text deltas of a stream differ from the one before in a run of text only, and in
//! the blanks that Anthropic pads its frames with.
//!
//! After a full parse that gave one text and nothing else, the bytes before that text are kept, if nothing but closing
//! braces follows it. A frame with the same bytes before, and after them a run without quote, backslash or control byte
//! and the same end, can only parse to the same delta with that run as its text. Never taken for thinking, tools, usage
//! or ends: those are not learned from, and no other frame can look like a learned one. Property-tested against the
//! full parse in `tests/it/properties.rs`.

/// The bytes before the text of the last fully parsed text delta.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// Up to and including the opening quote of the text; empty until something was learned.
    before: String,
}

impl Plain {
    /// Keeps what stands before `text`, a slice of `data`.
    pub(crate) fn learn(&mut self, data: &str, text: &str) {
        self.before.clear();
        // Slices of one string: the distance of their beginnings is the offset.
        let start = (text.as_ptr() as usize).wrapping_sub(data.as_ptr() as usize);
        if let Some(before) = data.get(..start)
            && before.ends_with('"')
            && data.get(start..).and_then(without_end) == Some(text)
        {
            self.before.push_str(before);
        }
    }

    /// The text of a frame that differs from the learned one in its text and padding only.
    #[inline]
    pub(crate) fn text<'d>(&self, data: &'d str) -> Option<&'d str> {
        if self.before.is_empty() {
            return None;
        }
        let text = without_end(data.strip_prefix(&*self.before)?)?;
        let plain = !text.is_empty() && text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\');
        plain.then_some(text)
    }
}

/// What stands before `"}` and the closing brace, blanks between them or not.
#[inline]
fn without_end(rest: &str) -> Option<&str> {
    rest.strip_suffix('}')?.trim_end_matches(' ').strip_suffix("\"}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_and_padding_may_differ() {
        let data = r#"{"index":0,"delta":{"text":"x"}}"#;
        let mut plain = Plain::default();
        assert_eq!(plain.text(data), None);
        plain.learn(data, &data[28..29]);
        for (data, expected) in [
            (r#"{"index":0,"delta":{"text":"x"}}"#, Some("x")),
            (r#"{"index":0,"delta":{"text":" wörld 😄 "}      }"#, Some(" wörld 😄 ")),
            (r#"{"index":0,"delta":{"text":"}"}}"#, Some("}")),
            (r#"{"index":0,"delta":{"text":""}}"#, None),
            (r#"{"index":0,"delta":{"text":"a\n"}}"#, None),
            (r#"{"index":0,"delta":{"text":"a","b":"c"}}"#, None),
            ("{\"index\":0,\"delta\":{\"text\":\"a\tb\"}}", None),
            (r#"{"index":1,"delta":{"text":"x"}}"#, None),
            (r#"{"index":0,"delta":{"text":"x"},"z":1}"#, None),
            (r#"{"index":0,"delta":{"text":"x"#, None),
        ] {
            assert_eq!(plain.text(data), expected, "{data}");
        }
    }

    #[test]
    fn what_ends_otherwise_or_is_no_slice_is_not_learned() {
        let mut plain = Plain::default();
        let data = r#"{"delta":{"text":"x"},"z":1}"#;
        plain.learn(data, &data[18..19]);
        assert_eq!(plain.text(data), None);
        plain.learn(r#"{"delta":{"text":"x"}}"#, "elsewhere");
        assert_eq!(plain.text(r#"{"delta":{"text":"x"}}"#), None);
    }
}
