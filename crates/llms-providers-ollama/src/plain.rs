//! The shortcut for plain text: most lines of a stream differ from the one before in their time and in a run of text
//! only.
//!
//! After a full parse that gave one text and nothing else, the bytes before the time, between time and text, and after
//! the text are kept. A line with the same bytes around two runs without quote, backslash or control byte can only
//! parse to the same line with those runs as time and text, so the second run is the event. Never taken for thinking,
//! tools or the last line: those are not learned from, and no other line can look like a learned one. Property-tested
//! against the full parse in `tests/it/properties.rs`.

/// The bytes around time and text of the last fully parsed plain line.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    /// Up to and including the opening quote of the time; empty until something was learned.
    before: String,
    /// From the closing quote of the time to the opening quote of the text.
    between: String,
    /// From the closing quote of the text on.
    after: String,
}

impl Plain {
    /// Keeps what stands around `time` and `text`, slices of `line` in this order.
    pub(crate) fn learn(&mut self, line: &str, time: &str, text: &str) {
        self.before.clear();
        let at = |slice: &str| {
            // Slices of one string: the distance of their beginnings is the offset.
            let start = (slice.as_ptr() as usize).wrapping_sub(line.as_ptr() as usize);
            Some((start, start.checked_add(slice.len())?))
        };
        let Some(((a, b), (c, d))) = at(time).zip(at(text)) else { return };
        let parts = (line.get(..a), line.get(b..c), line.get(d..));
        if let (Some(before), Some(between), Some(after)) = parts
            && before.ends_with('"')
            && between.starts_with('"')
            && between.len() > 1
            && between.ends_with('"')
            && after.starts_with('"')
        {
            between.clone_into(&mut self.between);
            after.clone_into(&mut self.after);
            self.before.push_str(before);
        }
    }

    /// The text of a line that differs from the learned one in time and text only.
    #[inline]
    pub(crate) fn text<'l>(&self, line: &'l str) -> Option<&'l str> {
        if self.before.is_empty() {
            return None;
        }
        let rest = line.strip_prefix(&*self.before)?;
        let (time, _) = rest.split_once('"')?;
        let text = rest[time.len()..].strip_prefix(&*self.between)?.strip_suffix(&*self.after)?;
        (!text.is_empty() && is_plain(time) && is_plain(text)).then_some(text)
    }
}

#[inline]
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"model":"m","created_at":"12:00","message":{"content":"x"},"done":false}"#;

    fn learned() -> Plain {
        let mut plain = Plain::default();
        let at = |part: &str| LINE.find(part).unwrap();
        plain.learn(LINE, &LINE[at("12:00")..][..5], &LINE[at("x\"")..][..1]);
        plain
    }

    #[test]
    fn only_time_and_text_may_differ() {
        assert_eq!(Plain::default().text(LINE), None);
        let plain = learned();
        for (line, expected) in [
            (LINE, Some("x")),
            (
                r#"{"model":"m","created_at":"12:00:01.5","message":{"content":" wörld 😄"},"done":false}"#,
                Some(" wörld 😄"),
            ),
            (r#"{"model":"m","created_at":"12:00","message":{"content":""},"done":false}"#, None),
            (r#"{"model":"m","created_at":"12:00","message":{"content":"a\n"},"done":false}"#, None),
            (r#"{"model":"m","created_at":"12\u0030","message":{"content":"a"},"done":false}"#, None),
            (r#"{"model":"m","created_at":"12:00","message":{"content":"a"},"done":true}"#, None),
            (
                r#"{"model":"m","created_at":"12:00","message":{"content":"a","thinking":"b"},"done":false}"#,
                None,
            ),
            (r#"{"model":"n","created_at":"12:00","message":{"content":"a"},"done":false}"#, None),
            (r#"{"model":"m","created_at":"12:00""#, None),
            (r#"{"error":"x"}"#, None),
        ] {
            assert_eq!(plain.text(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_no_slice_is_not_learned() {
        let mut plain = learned();
        plain.learn(LINE, "12:00", "elsewhere");
        assert_eq!(plain.text(LINE), None);
    }
}
